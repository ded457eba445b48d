"""Receives a file sent over HTTP, with limits on size, time and form.

The body of a request is written to a private folder as it arrives, under a fixed name, and refused at the first error:
too large, too slow, no file, two files, or content that does not begin like a video. The file's name and declared type
are never trusted.
"""

import asyncio
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from dfutils.core.paths import HEAD_BYTES, why_not_video

ON_DISK = "The upload"
"""Name of every upload on disk; error messages about an upload begin with it."""

READ = "dfutils.read"
"""Key in a request's scope that is true once its whole body was read."""

_MAX_PARTS, _MAX_HEADER_BYTES = 20, 16_000


class Refusal(Exception):  # noqa: N818 (an answer, not a fault)
    """A request that is refused: the HTTP status, and a sentence that says why."""

    def __init__(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(text)
        self.status, self.text, self.headers = status, text, headers


class Upload(NamedTuple):
    """A received file: its path, and the sender's name for it (for display only, to be escaped; never a path)."""

    path: Path
    name: str


@asynccontextmanager
async def receive(
    request: Request, folder: Path, max_bytes: int, max_seconds: float, max_idle_seconds: float
) -> AsyncIterator[Upload]:
    """Yield the one file of a multipart request; it is deleted when the block ends, whatever happens.

    Args:
        request: its body must not have been read.
        folder: a private folder, in which a temporary one is made.
        max_bytes: limit on the size of the body.
        max_seconds: limit on the time of the whole upload.
        max_idle_seconds: limit on the time between two pieces of it.

    Raises:
        Refusal: if there is not exactly one file that begins like a video, or a limit is exceeded.
    """
    private = Path(tempfile.mkdtemp(dir=folder))
    try:
        yield await save(request, private, max_bytes, max_seconds, max_idle_seconds)
    finally:
        shutil.rmtree(private, ignore_errors=True)


async def save(request: Request, folder: Path, max_bytes: int, max_seconds: float, max_idle_seconds: float) -> Upload:
    """Write the one file of a multipart request into a folder and return it; arguments and errors as in `receive`."""
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > max_bytes:
        raise _too_large(max_bytes)
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 0 < len(boundary) <= 200:
        raise Refusal(400, "Send the video as multipart/form-data, in a field named file.")
    path = folder / ON_DISK
    with path.open("xb") as file:
        form = _FormReader(file)
        parser = MultipartParser(boundary, form.callbacks(), max_size=max_bytes)
        try:
            await _feed(request, parser, max_bytes, max_seconds, max_idle_seconds)
        except FormParserError:
            raise Refusal(400, "The request is not well-formed multipart/form-data: send it again.") from None
    if form.files == 0:
        raise Refusal(400, "There is no file in the request: send the video in a field named file.")
    if not form.ended:
        raise Refusal(400, "The request ends before its file does: send it again.")
    if form.files > 1:
        raise Refusal(400, "There are several files in the request: send one video at a time.")
    with path.open("rb") as file:
        reason = why_not_video(file.read(HEAD_BYTES))
    if reason:
        raise Refusal(400 if "empty" in reason else 415, f"{ON_DISK} {reason}")
    return Upload(path, display_name(form.name))


async def _feed(
    request: Request, parser: MultipartParser, max_bytes: int, max_seconds: float, max_idle_seconds: float
) -> None:
    """Feed the body to the parser as it arrives."""
    received, body = 0, request.stream().__aiter__()
    try:
        async with asyncio.timeout(max_seconds):
            while True:
                async with asyncio.timeout(max_idle_seconds):
                    data = await anext(body, None)
                if data is None:
                    request.scope[READ] = True
                    break
                received += len(data)
                if received > max_bytes:
                    raise _too_large(max_bytes)
                if data:
                    parser.write(data)
    except TimeoutError:
        raise Refusal(408, "The upload was too slow, and was given up: send it again.") from None
    except ClientDisconnect:
        raise Refusal(400, "The sender left before the file was complete.") from None


def _too_large(max_bytes: int) -> Refusal:
    limit = f"{max_bytes / 2**20:,.0f} MiB"
    return Refusal(413, f"The upload is too large: at most {limit} are taken; send a shorter video.")


class _FormReader:
    """The parser's callbacks: they write the first file to disk and only count everything else."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.files, self.name, self.ended = file, 0, "", False
        self._parts, self._size, self._field, self._value, self._is_file = 0, 0, b"", b"", False

    def callbacks(self) -> dict:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header,
            "on_part_data": self._data,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._parts, self._size, self._is_file = self._parts + 1, 0, False
        if self._parts > _MAX_PARTS:
            raise Refusal(400, "The request has too many parts: send one video at a time.")

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]
        self._count(end - start)

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._count(end - start)

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > _MAX_HEADER_BYTES:
            raise Refusal(400, "The request has a header that is too long.")

    def _header(self) -> None:
        if self._field.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            if b"filename" in options:
                self._is_file, self.files = True, self.files + 1
                if self.files == 1:
                    self.name = options[b"filename"].decode("utf-8", "replace")
        self._field = self._value = b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file and self.files == 1:
            self.file.write(data[start:end])

    def _end(self) -> None:
        self.ended = True


def display_name(name: str) -> str:
    """Return a file's name for display: without folders and unprintable characters, at most 80 characters."""
    last = re.split(r"[/\\]", name)[-1]
    return "".join(character if character.isprintable() else "�" for character in last)[:80] or "video"
