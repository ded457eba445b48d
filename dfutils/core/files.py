"""Atomic writing and reading of files, tables and JSON, and digests of values and files.

Every result of a stage is written to a temporary file that is then renamed, so that a killed process never leaves an
incomplete file under the final name. Digests record what a result was computed from.
"""

import codecs
import errno
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfutils.core.errors import InputError

if TYPE_CHECKING:  # decoders and `predict` write no tables and start faster without pandas
    import pandas as pd


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` (same suffix) that replaces `path` when the block ends without an exception.

    The block may create a file or a folder there. On any exception, KeyboardInterrupt included, the temporary is
    removed and `path` stays unchanged.

    Raises:
        InputError: if the parent cannot be a folder, a folder stands where a file should go (or the reverse), or the
            disk is full.
    """
    path = Path(path)
    make_folder(path.parent)
    temporary = path.with_name(f".{path.stem[:80]}.{os.getpid()}.part{path.suffix}")  # matched by `remove_leftovers`
    _remove(temporary)
    try:
        yield temporary
        if path.is_dir():
            if not temporary.is_dir():
                raise InputError(f"{path} is a folder where a file should be; move it away and run again.")
            shutil.rmtree(path)
        elif path.exists() and temporary.is_dir():
            raise InputError(f"{path} is a file where a folder should be; move it away and run again.")
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(
                f"{path} cannot be written: the disk is full; make room and run again, finished results are kept."
            ) from None
        raise
    finally:
        _remove(temporary)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporaries that killed processes left in a folder; no process may be writing there."""
    for path in Path(folder).glob(".*.part*"):
        _remove(path)


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file `path`, in which the holder is named; the system releases it if this process is killed.

    Raises:
        InputError: if another process holds it (`what` says what that is doing), or the file cannot be written.
    """
    from filelock import FileLock, Timeout  # decoders start faster without it

    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        with suppress(OSError):  # Windows does not let others read it
            what += f" ({path.read_text(encoding='utf-8') or 'just begun'})"
        raise InputError(f"Another run is {what}: wait until it has ended, then run again.") from None
    except OSError as error:
        raise InputError(f"{path.parent} cannot be written to: {error.strerror or error}.") from None
    try:
        with suppress(OSError):
            began = f"{datetime.now():%Y-%m-%d %H:%M}"
            path.write_text(f"process {os.getpid()} on {socket.gethostname()}, since {began}", encoding="utf-8")
        yield
    finally:
        lock.release()


def make_folder(path: Path) -> Path:
    """Create the folder and its parents if they do not exist, and return it.

    Raises:
        InputError: if a file is in the way, or the folder cannot be created.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{path} cannot be a folder: a file is in the way; move it away and run again.") from None
    except OSError as error:
        raise InputError(f"The folder {path} cannot be created: {error.strerror or error}.") from None
    return Path(path)


@contextmanager
def writing(what: str, advice: str) -> Iterator[None]:
    """Say in a sentence why something cannot be written: `what`, the system's reason, and what to do."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{what} ({error.strerror or error}): {advice}") from None


def write_table(table: "pd.DataFrame", path: Path) -> None:
    """Write a table as Parquet, atomically. Equal tables give equal bytes."""
    with atomic(path) as temporary:
        table.to_parquet(temporary, index=False)


def read_table(path: Path) -> "pd.DataFrame":
    """Return the table in a Parquet file that a stage wrote.

    Raises:
        InputError: if the file is missing or is not Parquet.
    """
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except FileNotFoundError:
        raise InputError(f"{path} is missing: run the stage that writes it first (README, The notebooks).") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a table ({error}); delete it and run its stage again.") from None


def write_json(value: Any, path: Path) -> None:
    """Write a value as indented JSON with sorted keys, atomically.

    Raises:
        ValueError: if the value contains NaN; an undefined number must be None.
    """
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    with atomic(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def plain_rows(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """Return the rows of a table as dicts of plain values for JSON; missing values are None."""
    return json.loads(table.to_json(orient="records", double_precision=15))


def read_json(path: Path) -> Any:
    """Return the value in a JSON file.

    Raises:
        InputError: if the file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} is missing: run the stage that writes it first (README, The notebooks).") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}); delete it and run its stage again.") from None


def decode(content: bytes) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 as PowerShell and spreadsheet programs write it.

    Raises:
        UnicodeDecodeError: if it is in another encoding.
    """
    return content.decode("utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")


def digest(value: Any) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of a plain value (numbers, texts, lists, dicts).

    Equal values have equal digests on every machine; the order of a dict's keys does not matter.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
