"""Archives into folders, safely.

An archive comes from elsewhere and is not trusted: only plain files below the target are written, never more bytes
than the archive declares, and the folder appears under its name when everything is in it, or not at all.
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
from dfutils.data.manifest import State, holds_something, manifest_path, refuse_changed, verify, write_manifest

MAX_FILES = 1_000_000
"""An archive with more entries is refused; the largest known dataset (DFDC) has 120,000."""
MAX_RATIO = 200
"""An archive that grows more than so (and above 1 GiB) is refused: videos hardly compress, bombs do, a thousandfold."""
RESERVE = 64 << 20
"""Bytes that stay free on the disk."""

_CHUNK = 1 << 20
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, struct.error, ValueError)

Entry = tuple[PurePosixPath, int, IO[bytes]]  # name below the target, declared bytes, content


class BrokenArchiveError(InputError):
    """The archive is damaged, cut off, or no archive at all: fetching it again may help, trying it again does not."""


def unpack(archive: Path, into: Path, *, source: str = "", progress: bool = True) -> State:
    """Unpack a zip or tar (plain, gz, bz2, xz) archive into the folder `into` and write its manifest beside it.

    Works in a temporary folder beside `into` that is renamed at the end: a failed or killed unpack leaves nothing that
    could be taken for whole. An earlier unpack that is whole or lacks files is replaced; anything else is left alone.

    Args:
        archive: the file; its kind is told by its first bytes, not by its name.
        into: the folder that shall hold the archive's files.
        source: what the manifest says about where the files came from; by default the archive's name.
        progress: show a bar.

    Returns:
        The state of the folder, `whole`.

    Raises:
        BrokenArchiveError: if the archive is damaged, cut off, lies about a size, or is no archive.
        InputError: if it is missing, encrypted, holds anything but plain files below the target, too many or too large
            ones, if the disk is full, or if `into` holds files that this function did not put there.
    """
    archive, into = Path(archive), Path(into).resolve()
    try:
        with archive.open("rb") as file:
            is_zip = file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
        packed = archive.stat().st_size
    except OSError as error:
        raise InputError(f"The archive {archive} cannot be opened: {error.strerror or error}.") from None
    _refuse_to_overwrite(into)
    limit = max(1 << 30, MAX_RATIO * packed)
    try:
        total = _check_zip(archive, limit) if is_zip else None
        check_room(into, total or packed, f"Unpacking {archive.name}")
        with atomic(into) as temporary:
            temporary.mkdir()
            entries = _zip_entries(archive) if is_zip else _tar_entries(archive)
            shown = bar(total=total, desc="unpack", unit="B") if progress else tqdm(disable=True)
            try:
                files = _write(entries, temporary, archive.name, limit, shown)
            except OSError as error:  # before `atomic` says of a full disk what is true of its other uses
                raise _os_sentence(error, archive, into) from None
            # Before the folder gets its name, so that it never lies there without; alone it means `partial: 0 of N`.
            write_manifest(into, files, source or f"archive {archive.name}")
    except InputError:
        raise
    except NotImplementedError as error:
        raise InputError(
            f"{archive.name} is packed in a way that Python cannot read ({error}): "
            "unpack it with another program and give the folder as root."
        ) from None
    except OSError as error:
        raise _os_sentence(error, archive, into) from None
    except _DAMAGE as error:
        raise _broken(archive, error) from None
    return verify(into)


def check_room(folder: Path, need: int, what: str) -> None:
    """Do nothing if the disk of `folder` (which need not exist yet) has room for `need` bytes and a reserve.

    Raises:
        InputError: if it has not; `what` begins the sentence.
    """
    place = Path(folder).absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if need + RESERVE > free:
        raise InputError(
            f"{what} needs {readable(need)} and the disk of {place} has {readable(free)} free: "
            "make room or set root to a folder on another disk."
        )


def readable(size: int) -> str:
    """Return a number of bytes as people read it: `1.70GB`."""
    return tqdm.format_sizeof(size, "B")


def _write(
    entries: Generator[Entry, None, None], folder: Path, label: str, limit: int, shown: tqdm
) -> dict[str, tuple[int, str, int]]:
    """Write the entries below `folder`; return for each name its size, SHA-256 and time of change in ns."""
    made: dict[str, tuple[int, str, int]] = {}
    total = 0
    shown.unit_scale = True
    with contextlib.closing(entries), contextlib.closing(shown):
        for name, size, stream in entries:
            total += size
            if len(made) >= MAX_FILES:
                raise InputError(_too_many(label))
            if total > limit:
                raise InputError(_too_large(label, limit))
            check_room(folder, size, f"Unpacking {name}")
            target = folder.joinpath(*name.parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            sha256, written = hashlib.sha256(), 0
            # "x", not "w": a name that comes twice is an error (on some disks also one that differs in case only).
            with stream, target.open("xb") as out:
                while chunk := stream.read(_CHUNK):
                    written += len(chunk)
                    if written > size:
                        break
                    sha256.update(chunk)
                    out.write(chunk)
                    shown.update(len(chunk))
            if written != size:
                raise BrokenArchiveError(
                    f"{name} in {label} is not the {size:,} bytes long that the archive declares: download it again."
                )
            made[name.as_posix()] = (size, sha256.hexdigest(), target.stat().st_mtime_ns)
    if not made:
        raise InputError(f"{label} holds no files: check that it is the right archive.")
    return made


def _check_zip(archive: Path, limit: int) -> int:
    """Check what a zip declares before anything is written, and return the bytes that it declares."""
    with zipfile.ZipFile(archive) as opened:
        members = opened.infolist()
    if len(members) > MAX_FILES:
        raise InputError(_too_many(archive.name))
    for member in members:
        _safe(member.orig_filename, archive.name, member.is_dir())
        # Zips made on Unix keep the file's kind in the upper half; others leave it 0.
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
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            if not member.is_dir():
                # The stream ends at the declared size and then compares the checksum.
                yield _safe(member.filename, archive.name), member.file_size, opened.open(member)


class _Header(tarfile.TarInfo):
    """A header of a tar: one that is damaged or missing is an error, where `tarfile` takes it for the archive's end."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> "_Header":
        header = super().frombuf(buf, encoding, errors)
        # Long names and such are read into memory whole, so they must be small; a negative size never ends.
        if header.size < 0 or (header.type in (b"x", b"g", b"X", b"L", b"K") and header.size > _CHUNK):
            raise tarfile.ReadError("a header with an impossible size")
        return header

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> "_Header":
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # a block of zeros, the end that every whole tar has
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None


def _open_tar(archive: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(archive, "r:*", tarinfo=_Header)
    except (tarfile.ReadError, tarfile.CompressionError):
        raise BrokenArchiveError(
            f"{archive} is neither a zip nor a tar archive, or its beginning is damaged: download it again, "
            "or unpack it with another program and give the folder as root."
        ) from None


def _tar_entries(archive: Path) -> Generator[Entry, None, None]:
    with _open_tar(archive) as opened:
        # `tarfile` extracts nothing: files are written by `_write`, so that links and owners cannot come into it.
        for member in opened:
            name = _safe(member.name, archive.name, member.isdir())
            if member.isdir():
                continue
            if not member.isreg() or member.issparse() or member.size < 0:
                raise InputError(_not_plain(member.name, archive.name))
            yield name, member.size, opened.extractfile(member)
        opened.fileobj.read(16 << 20)  # the padding after the end; gzip compares its checksum there


def _safe(name: str, label: str, folder: bool = False) -> PurePosixPath:
    """Return an entry's name as a path below the target, or refuse it."""
    path = PurePosixPath(name)
    if (
        path.is_absolute()
        or ".." in path.parts
        or "\\" in name
        or re.match(r"[A-Za-z]:", name)
        or re.search(r"[\x00-\x1f\ud800-\udfff]", name)  # control characters; bytes that are no text
        or not (path.parts or folder)
    ):
        raise InputError(
            f"{label} holds the entry {name!r}, which does not name a file below the folder: "
            "it is refused, get the archive from its owners."
        )
    return path


def _refuse_to_overwrite(folder: Path) -> None:
    refuse_changed(verify(folder))
    if holds_something(folder) and not manifest_path(folder).exists():
        raise InputError(f"{folder} holds files that were not unpacked here: move it away or give another root.")


def _not_plain(name: str, label: str) -> str:
    return f"{label} holds {name!r}, which is a link, a device or another special file: it is refused."


def _too_many(label: str) -> str:
    return f"{label} holds more than {MAX_FILES:,} files, which no dataset does: it is refused."


def _too_large(label: str, limit: int) -> str:
    return f"{label} would unpack to more than {readable(limit)}, far beyond its own size: it is refused."


def _broken(archive: Path, error: Exception) -> BrokenArchiveError:
    return BrokenArchiveError(
        f"{archive} is damaged, declares false sizes, or was downloaded only in part "
        f"({str(error) or type(error).__name__}): download it again."
    )


def _os_sentence(error: OSError, archive: Path, into: Path) -> InputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InputError(
            f"The disk of {into.parent} became full while {archive.name} was unpacked: nothing was kept, "
            "make room and run again."
        )
    if error.errno is None:  # the decompressors report bad data so
        return _broken(archive, error)
    if isinstance(error, FileExistsError):
        return InputError(f"{archive.name} holds {Path(error.filename).name} twice: get the archive from its owners.")
    return InputError(f"{archive.name} cannot be unpacked into {into}: {error.strerror}.")
