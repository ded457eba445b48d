"""A manifest says later whether a folder still holds what was unpacked into it.

It lies beside the folder, never inside, and holds each file's size and SHA-256. It is written after the last file,
when the folder gets its name; a folder without one was filled by somebody else and is only listed.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from dfutils.core.errors import InputError
from dfutils.core.files import file_digest, read_json, write_json

_LITTER = {".DS_Store", "Thumbs.db", "desktop.ini"}  # file browsers leave these behind; they are nobody's change


@dataclass(frozen=True)
class State:
    """What a folder of data holds, measured against its manifest.

    `text` is one of `whole`, `partial: N of M files`, `changed since it was unpacked: <names>`,
    `not checked: N files, no manifest` and `missing`.
    """

    folder: Path
    text: str
    files: int  # there now
    bytes: int  # of these files
    source: str = ""  # where they came from: `archive <name>` or `kaggle dataset <slug>`
    missing: tuple[str, ...] = ()  # names in the manifest that are not there
    changed: tuple[str, ...] = ()  # names that are there with other content, or that the manifest does not know

    @property
    def whole(self) -> bool:
        """Whether every file of the manifest is there, unchanged, and no other."""
        return self.text == "whole"


def manifest_path(folder: Path) -> Path:
    """Return where a folder's manifest lies: beside it, under its name, so that two folders can lie side by side."""
    folder = Path(folder).resolve()
    return folder.with_name(f"{folder.name}.manifest.json")


def write_manifest(folder: Path, files: dict[str, tuple[int, str, int]], source: str) -> None:
    """Write the manifest of a folder: for each name its size, SHA-256 and time of change in ns, and the source."""
    write_json({"schema": 1, "source": source, "files": files}, manifest_path(folder))


def verify(folder: Path) -> State:
    """Compare a folder with its manifest. Nothing is changed, and a folder without a manifest is only listed.

    Sizes are always compared. A file is read again and its SHA-256 compared only if its time of change is not the one
    noted when it was unpacked, so that a look at gigabytes takes no longer than listing them.

    Raises:
        InputError: if `folder` is a file, or the manifest cannot be read.
    """
    folder, manifest = Path(folder).resolve(), manifest_path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file where a folder should be: move it away or give another folder.")
    there = _listing(folder)
    size = sum(entry.st_size for entry in there.values())
    if not manifest.exists():
        text = f"not checked: {len(there)} files, no manifest" if holds_something(folder) else "missing"
        return State(folder, text, len(there), size)
    source, known = _read(manifest)
    missing = tuple(sorted(known.keys() - there.keys()))
    changed = there.keys() - known.keys()
    for name in known.keys() & there.keys():
        length, sha256, time = known[name]
        entry = there[name]
        if entry.st_size != length or (entry.st_mtime_ns != time and file_digest(folder / name) != sha256):
            changed.add(name)
    names = tuple(sorted(changed))
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        text = f"changed since it was unpacked: {', '.join(names[:3])}{more}"
    elif missing:
        text = f"partial: {len(known) - len(missing)} of {len(known)} files"
    else:
        text = "whole"
    return State(folder, text, len(there), size, source, missing, names)


def refuse_changed(state: State) -> None:
    """Do nothing unless files were changed or added, which unpacking again would lose.

    Raises:
        InputError: if they were.
    """
    if state.changed:
        raise InputError(
            f"{state.folder} {state.text}; move it away to get a fresh copy, "
            f"or delete {manifest_path(state.folder).name} beside it to use it as it is."
        )


def holds_something(folder: Path) -> bool:
    """Return whether anything at all lies in the folder, files of file browsers aside."""
    return folder.is_dir() and any(entry.name not in _LITTER for entry in folder.iterdir())


def _listing(folder: Path) -> dict[str, os.stat_result]:
    """Return the files below a folder by their names with forward slashes; links are followed, loops are not."""
    found, seen = {}, set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        here = os.stat(parent)
        if (here.st_dev, here.st_ino) in seen:
            folders.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        below = Path(parent).relative_to(folder)
        for name in names:
            path = os.path.join(parent, name)
            if name not in _LITTER and os.path.isfile(path):
                found[(below / name).as_posix()] = os.stat(path)
    return found


def _read(path: Path) -> tuple[str, dict[str, tuple[int, str, int]]]:
    value = read_json(path)
    try:
        return str(value["source"]), {name: (int(a), str(b), int(c)) for name, (a, b, c) in value["files"].items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(
            f"{path} is not a manifest of this suite: delete it to use the folder beside it as it is."
        ) from None
