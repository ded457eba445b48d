"""Ids of videos, and the search for video files below a folder."""

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
"""Extensions of video files, in lower case: containers that FFmpeg reads."""

MAX_ID = 100
"""Largest number of characters of a video's id."""

_RESERVED = {"con", "prn", "aux", "nul", *(f"{name}{k}" for name in ("com", "lpt") for k in range(10))}  # on Windows


def video_id(path: str) -> str:
    """Return the id of a video: its path below the dataset's root, made a valid file name on every system.

    At most `MAX_ID` characters of `A-Z a-z 0-9 . _ -`; `/` becomes `__`, `.mp4` is dropped, other extensions stay. If
    anything else had to change, a hyphen and 8 digits of the path's SHA-256 make the id unique again. The same path has
    the same id on every machine, whatever Unicode form its file system uses (the path is normalised to NFC).
    """
    path = unicodedata.normalize("NFC", path)
    stem = path[:-4] if path.lower().endswith(".mp4") else path
    flat = stem.replace("/", "__")
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", flat).strip(".")
    if not safe or safe.startswith("-") or safe.partition(".")[0].lower() in _RESERVED:
        safe = f"_{safe}"
    return safe if safe == flat and len(safe) <= MAX_ID else with_suffix(safe, path)


def with_suffix(safe: str, path: str) -> str:
    """Return an id with a hyphen and 8 digits of the SHA-256 of the video's path, cut to `MAX_ID` characters."""
    suffix = f"-{hashlib.sha256(unicodedata.normalize('NFC', path).encode()).hexdigest()[:8]}"
    return safe[: MAX_ID - len(suffix)].rstrip(".") + suffix


def files_below(root: Path | str, extensions: Collection[str] = EXTENSIONS) -> list[str]:
    """Return the paths of the videos (or files with other extensions) below a folder, sorted, with forward slashes.

    Hidden files and folders are skipped. Linked folders are followed, except into a folder that is being walked.

    Raises:
        InputError: if a folder cannot be read.
    """
    return [path for path in walk(Path(root), (), extensions)[0] if Path(root, path).is_file()]


def walk(
    root: Path, list_names: Iterable[str], extensions: Collection[str] = EXTENSIONS
) -> tuple[list[str], list[str]]:
    """Return the paths of the videos and of the list files (by lower-case name) below `root`, as `files_below` does.

    Raises:
        InputError: if a folder cannot be read.
    """
    list_names = set(list_names)
    videos, lists = [], []

    def visit(folder: str, prefix: str, parents: tuple[str, ...]) -> None:
        real_path = os.path.realpath(folder)
        if real_path in parents:
            return
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise InputError(f"The folder {folder} cannot be read: {error.strerror}.") from None
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if entry.is_dir():
                visit(entry.path, f"{prefix}{entry.name}/", (*parents, real_path))
            elif os.path.splitext(entry.name)[1].lower() in extensions:
                videos.append(prefix + entry.name)
            elif entry.name.lower() in list_names:
                lists.append(prefix + entry.name)

    visit(str(root), "", ())
    return sorted(videos), sorted(lists)
