"""Safe unpacking of archives.

Archives are not trusted: only regular files below the target folder are written, never more bytes than the archive
declares, and the target folder is created atomically.

One check of names serves zip and tar, and files are written here. `tarfile`'s data filter and `zipfile`'s (and so the
Kaggle client's) `extractall` do not replace it: both rewrite absolute names and pass backslashes, control characters
and names with a drive, the filter passes links within the folder, and neither limits sizes or gives digests.
"""

import contextlib
import errno
import hashlib
import lzma
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Generator
from pathlib import Path, PurePosixPath
from typing import IO

from tqdm import tqdm

from dfutils.core.errors import InputError
from dfutils.core.files import atomic
from dfutils.core.progress import bar
from dfutils.data.manifest import FolderState, check_unchanged, is_empty, manifest_path, verify, write_manifest

MAX_FILES = 1_000_000
"""Largest number of entries of an archive; the largest known dataset (DFDC) has 120,000."""
MAX_RATIO = 200
"""Largest ratio of unpacked to packed size, above 1 GiB; videos hardly compress, zip bombs do by a factor of 1,000."""
RESERVE = 64 << 20
"""Number of bytes that must stay free on the disk."""

_CHUNK = 1 << 20
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, struct.error, ValueError)

_PART = r"(\.\d{2,3}|\.z(ip|\d\d)|\.part\d+\.\w+|[._-]?a[a-z])"  # how the names of a split archive's parts end

Entry = tuple[PurePosixPath, int, IO[bytes]]  # name below the target, declared bytes, content


class BrokenArchiveError(InputError):
    """An archive that is damaged, truncated, or no archive; downloading it again may help."""


def unpack(archive: Path, into: Path, *, source: str = "") -> FolderState:
    """Unpack a zip or tar (plain, gz, bz2, xz) archive into the folder `into` and write its manifest beside it.

    Files are written to a temporary folder beside `into` that is renamed at the end, so that a failed or killed call
    leaves no incomplete folder under the final name. An earlier result that is whole or lacks files is replaced; any
    other folder is left unchanged.

    Args:
        archive: path of the archive; its format is detected from its first bytes, not from its name.
        into: target folder.
        source: origin of the files, for the manifest; by default the archive's name.

    Returns:
        The state of the folder, `whole`.

    Raises:
        BrokenArchiveError: if the archive is damaged, truncated, declares a wrong size, or is no archive.
        InputError: if the archive is missing or encrypted, contains other entries than regular files below the target,
            or too many or too large ones; if the disk is full; or if `into` contains files that were not unpacked.
    """
    archive, into = Path(archive), Path(into).resolve()
    try:
        with archive.open("rb") as file:
            is_zip = file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
        packed = archive.stat().st_size
    except OSError as error:
        raise InputError(f"The archive {archive} cannot be opened: {error.strerror or error}.") from None
    check_unchanged(verify(into))
    if not is_empty(into) and not manifest_path(into).exists():
        raise InputError(f"{into} holds files that were not unpacked here: move it away or give another root.")
    limit = max(1 << 30, MAX_RATIO * packed)
    try:
        total = _check_zip(archive, limit) if is_zip else None
        check_room(into, total or packed, f"Unpacking {archive.name}")
        with atomic(into) as temporary:
            temporary.mkdir()
            entries = _zip_entries(archive) if is_zip else _tar_entries(archive)
            progress_bar = bar(total=total, desc="unpack", unit="B")
            try:
                files = _write(entries, temporary, archive.name, limit, progress_bar)
            except OSError as error:  # here, because the message of `atomic` for a full disk does not apply
                raise _explained(error, archive, into) from None
            # Before the folder is renamed, so that it never lacks a manifest; alone it means `partial: 0 of N`.
            write_manifest(into, files, source or f"archive {archive.name}")
    except InputError:
        raise
    except (OSError, NotImplementedError, *_DAMAGE) as error:
        raise _explained(error, archive, into) from None
    return verify(into)


def check_room(folder: Path, need: int, what: str) -> None:
    """Check that the disk of `folder`, which need not exist yet, has `need` bytes and a reserve free.

    Raises:
        InputError: if it has not; the message begins with `what`.
    """
    existing = Path(folder).absolute()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if need + RESERVE > free:
        raise InputError(
            f"{what} needs {format_size(need)} and the disk of {existing} has {format_size(free)} free: "
            "make room or set root to a folder on another disk."
        )


def format_size(size: int) -> str:
    """Return a number of bytes as text, such as `1.70GB`."""
    return tqdm.format_sizeof(size, "B")


def _write(
    entries: Generator[Entry, None, None], folder: Path, label: str, limit: int, progress_bar: tqdm
) -> dict[str, tuple[int, str, int]]:
    """Write the entries below `folder`; return each file's size, SHA-256 and time of modification in ns, by name."""
    files: dict[str, tuple[int, str, int]] = {}
    total = 0
    progress_bar.unit_scale = True
    with contextlib.closing(entries), contextlib.closing(progress_bar):
        for name, size, stream in entries:
            total += size
            if len(files) >= MAX_FILES:
                raise InputError(_too_many(label))
            if total > limit:
                raise InputError(_too_large(label, limit))
            check_room(folder, size, f"Unpacking {name}")
            target = folder.joinpath(*name.parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            sha256, written = hashlib.sha256(), 0
            # "x", not "w": a duplicate name is an error (on some disks also one that differs in case only).
            with stream, target.open("xb") as out:
                while chunk := stream.read(_CHUNK):
                    written += len(chunk)
                    if written > size:
                        break
                    sha256.update(chunk)
                    out.write(chunk)
                    progress_bar.update(len(chunk))
            if written != size:
                raise BrokenArchiveError(
                    f"{name} in {label} is not the {size:,} bytes long that the archive declares: download it again."
                )
            files[name.as_posix()] = (size, sha256.hexdigest(), target.stat().st_mtime_ns)
    if not files:
        raise InputError(f"{label} holds no files: check that it is the right archive.")
    return files


def _check_zip(archive: Path, limit: int) -> int:
    """Check the entries that a zip declares before anything is written, and return their total size in bytes."""
    with zipfile.ZipFile(archive) as opened:
        members = opened.infolist()
    if len(members) > MAX_FILES:
        raise InputError(_too_many(archive.name))
    for member in members:
        _safe(member.orig_filename, archive.name)
        # Zips made on Unix have the file's type in the upper half; in others it is 0.
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise InputError(_not_plain(member.filename, archive.name))
        if member.flag_bits & 1:
            raise InputError(
                f"{archive.name} is encrypted: unpack it with the password from its owners and give the folder as root."
            )
    if (total := sum(member.file_size for member in members)) > limit:
        raise InputError(_too_large(archive.name, limit))
    return total


def _zip_entries(archive: Path) -> Generator[Entry, None, None]:
    """Yield the files of a zip."""
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            if name := _safe(member.filename, archive.name):
                # The stream ends at the declared size and then compares the checksum.
                yield name, member.file_size, opened.open(member)


class _Header(tarfile.TarInfo):
    """A header of a tar; an impossible size raises."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> "_Header":
        header = super().frombuf(buf, encoding, errors)
        # Extended headers are read into memory whole, so they must be small; a negative size would never end.
        if header.size < 0 or (header.type in (b"x", b"g", b"X", b"L", b"K") and header.size > _CHUNK):
            raise tarfile.ReadError("a header with an impossible size")
        return header


def _tar_entries(archive: Path) -> Generator[Entry, None, None]:
    """Yield the files of a tar. `_write` writes them, not `tarfile`, so that links and owners have no effect."""
    try:
        opened = tarfile.open(archive, "r:*", tarinfo=_Header)  # noqa: SIM115 (closed below)
    except (tarfile.ReadError, tarfile.CompressionError):
        raise _broken(
            archive,
            "is neither a zip nor a tar archive, or its beginning is damaged: download it again, or unpack it with "
            "another program and give the folder as root.",
        ) from None
    with opened:
        for member in opened:
            name = _safe(f"{member.name}/" if member.isdir() else member.name, archive.name)
            if name is None:
                continue
            if not member.isreg() or member.issparse() or member.size < 0:
                raise InputError(_not_plain(member.name, archive.name))
            yield name, member.size, opened.extractfile(member)
        # `tarfile` takes a damaged or missing header for the end. A block of zeros is the end of every complete tar.
        opened.fileobj.seek(opened.offset)
        if opened.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it ends within")
        opened.fileobj.read(16 << 20)  # the padding after the end; gzip compares its checksum there


def _safe(name: str, label: str) -> PurePosixPath | None:
    """Return an entry's name as a path below the target, None for a folder. Backslashes of Windows separate folders.

    Raises:
        InputError: if it does not name a file below the target.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if (
        path.is_absolute()
        or ".." in path.parts
        or re.match(r"[A-Za-z]:", name)
        or re.search(r"[\x00-\x1f\ud800-\udfff]", name)  # control characters; bytes that are not text
        or not (path.parts or name.endswith("/"))
    ):
        raise InputError(
            f"{label} holds the entry {name!r}, which does not name a file below the folder: "
            "it is refused, get the archive from its owners."
        )
    return None if name.endswith(("/", "\\")) else path


def _not_plain(name: str, label: str) -> str:
    return f"{label} holds {name!r}, which is a link, a device or another special file: it is refused."


def _too_many(label: str) -> str:
    return f"{label} holds more than {MAX_FILES:,} files, which no dataset does: it is refused."


def _too_large(label: str, limit: int) -> str:
    return f"{label} would unpack to more than {format_size(limit)}, far beyond its own size: it is refused."


def _explained(error: Exception, archive: Path, into: Path) -> InputError:
    """Return the user's error for an exception of unpacking."""
    if isinstance(error, NotImplementedError):
        return InputError(
            f"{archive.name} is packed in a way that Python cannot read ({error}): "
            "unpack it with another program and give the folder as root."
        )
    if isinstance(error, FileExistsError):
        return InputError(f"{archive.name} holds {Path(error.filename).name} twice: get the archive from its owners.")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InputError(
            f"The disk of {into.parent} became full while {archive.name} was unpacked: no file of it remains, "
            "make room and run again."
        )
    if isinstance(error, OSError) and error.errno is not None:  # decompressors report invalid data without a number
        return InputError(f"{archive.name} cannot be unpacked into {into}: {error.strerror}.")
    return _broken(
        archive,
        "is damaged, declares false sizes, or was downloaded only in part "
        f"({str(error) or type(error).__name__}): download it again.",
    )


def _broken(archive: Path, text: str) -> InputError:
    """Return the user's error for an archive that cannot be read: that it is a part of one, or a text."""
    stem = re.sub(f"{_PART}$", "", archive.name)
    parts = sorted(p.name for p in archive.parent.iterdir() if re.fullmatch(re.escape(stem) + _PART, p.name))
    if len(parts) < 2 or archive.name not in parts:
        return BrokenArchiveError(f"{archive} {text}")
    some = parts if len(parts) <= 4 else [*parts[:2], "…", parts[-1]]
    join = f"`zip -s 0 {stem}.zip --out whole.zip`" if f"{stem}.z01" in parts else f"`cat {' '.join(some)} > whole`"
    return InputError(
        f"{archive} is one of {len(parts)} parts of a split archive ({', '.join(some)}): join them, as with {join}, "
        "and give the whole."
    )
