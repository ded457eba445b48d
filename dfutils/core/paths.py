"""How videos are named, and which files below a folder are videos."""

import hashlib
import os
import re
import unicodedata
from collections.abc import Collection, Iterable
from pathlib import Path

from dfutils.core.errors import InputError

EXTENSIONS = frozenset({
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".asf", ".flv", ".3gp", ".3g2", ".ts",
    ".mts", ".m2ts", ".ogv", ".vob", ".mxf",
})  # fmt: skip
"""Ends of names, in lower case, that are taken for videos: containers that OpenCV's FFmpeg reads."""


MAX_ID = 100


_RESERVED = {"con", "prn", "aux", "nul", *(f"{name}{k}" for name in ("com", "lpt") for k in range(10))}


def video_id(path: str) -> str:
    """Return the name of a video: its path below the dataset's root made safe as a file name on every system.

    At most 100 characters of `A-Z a-z 0-9 . _ -`; `/` becomes `__`, `.mp4` is dropped, other extensions stay. Where
    anything else had to change, a hyphen and 8 digits of the path's SHA-256 keep it unlike its neighbours. The same
    path has the same name on every machine, however its file system spells accents (Unicode NFC is taken).
    """
    path = unicodedata.normalize("NFC", path)
    stem = path[:-4] if path.lower().endswith(".mp4") else path
    wanted = stem.replace("/", "__")
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", wanted).strip(".")
    if not safe or safe.startswith("-") or safe.partition(".")[0].lower() in _RESERVED:
        safe = f"_{safe}"
    return safe if safe == wanted and len(safe) <= MAX_ID else with_suffix(safe, path)


def with_suffix(safe: str, path: str) -> str:
    suffix = f"-{hashlib.sha256(unicodedata.normalize('NFC', path).encode()).hexdigest()[:8]}"
    return safe[: MAX_ID - len(suffix)].rstrip(".") + suffix


def files_below(root: Path | str, extensions: Collection[str] = EXTENSIONS) -> list[str]:
    """Return the videos (or other files) below a folder, by the ends of their names: sorted, with forward slashes.

    Hidden files and folders are none; linked folders are followed, but never in a circle.

    Raises:
        InputError: if a folder cannot be read.
    """
    return [path for path in walk(Path(root), (), extensions)[0] if Path(root, path).is_file()]


def walk(
    root: Path, list_names: Iterable[str], extensions: Collection[str] = EXTENSIONS
) -> tuple[list[str], list[str]]:
    """Return the videos and the lists below `root`, as sorted paths with forward slashes. Hidden files are none.

    Linked folders are followed, but never into a folder that is being walked already.
    """
    wanted = set(list_names)
    videos, lists = [], []

    def visit(folder: str, below: str, above: tuple[str, ...]) -> None:
        here = os.path.realpath(folder)
        if here in above:
            return
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise InputError(f"The folder {folder} cannot be read: {error.strerror}.") from None
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if entry.is_dir():
                visit(entry.path, f"{below}{entry.name}/", (*above, here))
            elif os.path.splitext(entry.name)[1].lower() in extensions:
                videos.append(below + entry.name)
            elif entry.name.lower() in wanted:
                lists.append(below + entry.name)

    visit(str(root), "", ())
    return sorted(videos), sorted(lists)
