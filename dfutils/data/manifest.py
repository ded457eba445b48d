"""Manifests: lists of the files that were unpacked into a folder, to verify the folder later.

A manifest lies beside its folder, not inside, and holds each file's size and SHA-256. It is written after the last
file. A folder without a manifest was not filled by the suite; its files are counted but not verified.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from dfutils.core.errors import InputError
from dfutils.core.files import file_digest, read_json, write_json

_IGNORED = {".DS_Store", "Thumbs.db", "desktop.ini"}  # written by file browsers


@dataclass(frozen=True)
class FolderState:
    """Result of comparing a folder of data with its manifest.

    `text` is one of `whole`, `partial: N of M files`, `changed since it was unpacked: <names>`,
    `not checked: N files, no manifest` and `missing`.
    """

    folder: Path
    text: str
    files: int  # number of files in the folder
    bytes: int  # of these files
    source: str = ""  # where they came from: `archive <name>` or `kaggle dataset <slug>`
    missing: tuple[str, ...] = ()  # names in the manifest without a file
    changed: tuple[str, ...] = ()  # names of files with other content, or that are not in the manifest

    @property
    def whole(self) -> bool:
        """Whether the folder contains exactly the files of the manifest, unchanged."""
        return self.text == "whole"


def manifest_path(folder: Path) -> Path:
    """Return the path of a folder's manifest, `<folder>.manifest.json` beside it."""
    folder = Path(folder).resolve()
    return folder.with_name(f"{folder.name}.manifest.json")


def write_manifest(folder: Path, files: dict[str, tuple[int, str, int]], source: str) -> None:
    """Write the manifest of a folder: its source, and each file's size, SHA-256 and time of modification in ns."""
    write_json({"schema": 1, "source": source, "files": files}, manifest_path(folder))


def verify(folder: Path) -> FolderState:
    """Return the result of comparing a folder with its manifest; without a manifest, files are only counted.

    Sizes are always compared. SHA-256 is compared only for files whose time of modification differs from the
    manifest's, so that gigabytes are verified in the time of listing them.

    Raises:
        InputError: if `folder` is a file, or the manifest cannot be read.
    """
    folder, manifest = Path(folder).resolve(), manifest_path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file where a folder should be: move it away or give another folder.")
    files = _list_files(folder)
    size = sum(entry.st_size for entry in files.values())
    if not manifest.exists():
        text = "missing" if is_empty(folder) else f"not checked: {len(files)} files, no manifest"
        return FolderState(folder, text, len(files), size)
    source, recorded = _read(manifest)
    missing = tuple(sorted(recorded.keys() - files.keys()))
    changed = files.keys() - recorded.keys()
    for name in recorded.keys() & files.keys():
        length, sha256, time = recorded[name]
        entry = files[name]
        if entry.st_size != length or (entry.st_mtime_ns != time and file_digest(folder / name) != sha256):
            changed.add(name)
    names = tuple(sorted(changed))
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        text = f"changed since it was unpacked: {', '.join(names[:3])}{more}"
    elif missing:
        text = f"partial: {len(recorded) - len(missing)} of {len(recorded)} files"
    else:
        text = "whole"
    return FolderState(folder, text, len(files), size, source, missing, names)


def check_unchanged(state: FolderState) -> None:
    """Check that no file of a folder was changed or added, which unpacking again would delete.

    Raises:
        InputError: if one was.
    """
    if state.changed:
        raise InputError(
            f"{state.folder} {state.text}; move it away to get a fresh copy, "
            f"or delete {manifest_path(state.folder).name} beside it to use it as it is."
        )


def is_empty(folder: Path) -> bool:
    """Return whether the folder is missing or empty, apart from files of file browsers."""
    return not folder.is_dir() or all(entry.name in _IGNORED for entry in folder.iterdir())


def _list_files(folder: Path) -> dict[str, os.stat_result]:
    """Return the files below a folder by relative path with forward slashes; links are followed, but not in a loop."""
    files, visited = {}, set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        stat = os.stat(parent)
        if (stat.st_dev, stat.st_ino) in visited:
            folders.clear()
            continue
        visited.add((stat.st_dev, stat.st_ino))
        relative = Path(parent).relative_to(folder)
        for name in names:
            path = os.path.join(parent, name)
            if name not in _IGNORED and os.path.isfile(path):
                files[(relative / name).as_posix()] = os.stat(path)
    return files


def _read(path: Path) -> tuple[str, dict[str, tuple[int, str, int]]]:
    """Return the source and the files in a manifest, as `write_manifest` takes them."""
    value = read_json(path)
    try:
        return str(value["source"]), {name: (int(a), str(b), int(c)) for name, (a, b, c) in value["files"].items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(
            f"{path} is not a manifest of this suite: delete it to use the folder beside it as it is."
        ) from None
