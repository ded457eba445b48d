"""Ids of videos, what counts as a video, and the search for videos below a folder."""

import fnmatch
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
"""Extensions of video files, in lower case; a file with another or none is a video if it begins like one."""

PICTURES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".avif", ".bmp"})
"""Extensions of files of pictures, in lower case."""

_VIDEO = re.compile(
    rb"....(ftyp(?!avi[fs]|hei[cx]|m[is]f1|M4[AB] )|moov|mdat|free|skip|wide|pnot|moof|styp)|"  # MP4, MOV, 3GP
    rb"\x1aE\xdf\xa3|RIFF....(AVI |CDXA)|0&\xb2u\x8ef\xcf\x11|FLV\x01|"  # Matroska, AVI, Video CD, WMV, Flash
    rb"\x00\x00\x01[\xba\xb3]|\x06\x0e\+4|\x1f\x07\x00|GIF8[79]a|\.RMF|DHAV|YUV4MPEG2 |DKIF|"  # MPEG, MXF, DV
    rb"\x00?\x00\x00\x01([\x67\x27]|\x09.\x00\x00|\x40\x01)|"  # H.264 and H.265 without a container
    rb"OggS(?!.{24,26}(\x01vorbis|OpusHead|Speex|\x7fFLAC))|"
    rb".{0,191}?(G.{187}G.{187}G|G.{191}G.{191}G)",  # MPEG transport stream, also with time stamps or cut at the front
    re.DOTALL,
)
_PICTURE = re.compile(rb"\xff\xd8\xff|\x89PNG|BM....\x00\x00|RIFF....WEBP|....ftyp(avi[fs]|m[is]f1)", re.DOTALL)
_OTHERS = {
    rb"....ftyphei[cx]": "a HEIC picture, which cannot be read here: save it as JPEG",
    rb"II\*\x00|MM\x00\*": "a TIFF or raw picture, which cannot be read here: save it as JPEG or PNG",
    rb"ID3|\xff[\xf2-\xfb]|fLaC|OggS|RIFF....WAVE|....ftypM4[AB] |FORM....AIF": "audio only",
    rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!|BZh|\xfd7zXZ": "an archive",
    rb"%PDF": "a PDF",
    rb"#EXTM3U|ffconcat": "a playlist",
}
HEAD_BYTES = 1024
"""Number of a file's first bytes by which `why_not_video` decides."""

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
    name = unicodedata.normalize("NFC", path).encode("utf-8", "surrogateescape")
    suffix = f"-{hashlib.sha256(name).hexdigest()[:8]}"
    return safe[: MAX_ID - len(suffix)].rstrip(".") + suffix


def why_not_video(head: bytes) -> str:
    """Return what a file that begins with `head` is instead of a video, as the end of a sentence; "" if it may be one.

    A picture counts as a video, of one frame. A playlist does not, as it names other files.
    """
    if not head:
        return "is empty (0 bytes)."
    if is_picture(head):
        return ""
    text = not re.search(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]", head)
    if (not text or head.startswith((b"GIF8", b"YUV4"))) and _VIDEO.match(head):
        return ""
    kinds = (kind for pattern, kind in _OTHERS.items() if re.match(pattern, head, flags=re.DOTALL))
    kind = next(kinds, "text" if text else "")
    if not kind:
        return "is no video of a known kind."
    return f"is {kind}." if ":" in kind else f"is {kind}, not a video."


def is_picture(head: bytes) -> bool:
    """Return whether a file that begins with `head` is a picture: JPEG, PNG, WebP, AVIF or BMP."""
    return bool(_PICTURE.match(head))


def printable(path: Path | str) -> str:
    """Return a path or name as valid Unicode; bytes that are not UTF-8 are escaped."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def files_below(root: Path | str, extensions: Collection[str] | None = None) -> list[str]:
    """Return the paths of the videos (or files with given extensions) below a folder, sorted, with forward slashes.

    A video is a file with one of `EXTENSIONS`, or with another or none that begins like a video; a picture is none
    here. Hidden files and folders are skipped. Linked folders are followed, except into a folder that is being walked.

    Raises:
        InputError: if a folder cannot be read.
    """
    return [path for path in walk(Path(root), (), extensions)[0] if Path(root, path).is_file()]


def walk(
    root: Path, list_names: Iterable[str], extensions: Collection[str] | None = None
) -> tuple[list[str], list[str]]:
    """Return the paths of the videos and of the list files below `root`, as `files_below` does.

    `list_names` are lower-case names, or patterns such as `*.csv`.

    Raises:
        InputError: if a folder cannot be read.
    """
    is_list = re.compile("|".join(map(fnmatch.translate, list_names)) or r"(?!)")
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
            elif is_list.match(entry.name.lower()):
                lists.append(prefix + entry.name)
            elif os.path.splitext(entry.name)[1].lower() in (extensions or EXTENSIONS) or (
                extensions is None and _begins_like_video(entry)
            ):
                videos.append(prefix + entry.name)

    visit(str(root), "", ())
    return sorted(videos), sorted(lists)


def _begins_like_video(entry: os.DirEntry[str]) -> bool:
    try:
        if not entry.is_file() or entry.stat().st_size == 0:  # reading a pipe would wait
            return False
        with open(entry.path, "rb", buffering=0) as file:
            head = file.read(HEAD_BYTES)
            return not (why_not_video(head) or is_picture(head))
    except OSError:
        return False
