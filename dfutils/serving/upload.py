"""Receives a file sent over HTTP, with limits on size, time and form.

Starlette's parser reads the form as the body arrives. What it lacks is here: limits on the size of a body and on the
time between its pieces, and a path for the decoders, in a private folder and under a fixed name. A file that does not
begin like a video is refused; its name and declared type are never trusted. `UploadFile` as a parameter of an endpoint
cannot be used, as FastAPI would read the whole body before any limit of the service applies.
"""

import asyncio
import os
import re
import shutil
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from dfutils.core.paths import HEAD_BYTES, why_not_video

ON_DISK = "The upload"
"""Name of every upload on disk; error messages about an upload begin with it."""

READ = "dfutils.read"
"""Key in a request's scope that is true once its whole body was read."""


class Refusal(Exception):  # noqa: N818 (an answer, not a fault)
    """A request that is refused: the HTTP status, and a sentence that says why."""

    def __init__(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(text)
        self.status, self.text, self.headers = status, text, headers


class Upload(NamedTuple):
    """A received file: its path, and the sender's name for it (for display only, to be escaped; never a path)."""

    path: Path
    name: str


@dataclass(frozen=True)
class Limits:
    """Limits on what a client may send and on what its request may cost."""

    upload_bytes: int = 200 * 2**20
    upload_seconds: float = 120
    """for a whole upload"""
    idle_seconds: float = 15
    """between two pieces of an upload"""
    duration_seconds: float = 600
    """length of a video"""
    decode_seconds: float = 45
    """for decoding a video and finding its faces, which takes half of it at most; see `DecoderPool.scan`"""
    decoders: int = max(1, min(os.cpu_count() or 1, 8))
    """videos decoded at the same time"""
    queue: int = 8
    """requests that may wait for a decoder"""
    unfollowed_seconds: float = 15
    """after which a video sent by the page is given up if nobody follows its progress"""


@asynccontextmanager
async def receive(request: Request, folder: Path, limits: Limits) -> AsyncIterator[Upload]:
    """Yield the one file of a multipart request; it is deleted when the block ends, whatever happens.

    Args:
        request: its body must not have been read.
        folder: a private folder, in which a temporary one is made.
        limits: on size and time.

    Raises:
        Refusal: if there is not exactly one file that begins like a video, or a limit is exceeded.
    """
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > limits.upload_bytes:
        raise _too_large(limits)
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise Refusal(400, "Send the video as multipart/form-data, in a field named file.")
    private = Path(tempfile.mkdtemp(dir=folder))
    form = FormData()
    try:
        form = await MultiPartParser(request.headers, _body(request, limits), max_files=1, max_fields=20).parse()
        file = next((value for value in form.values() if isinstance(value, UploadFile)), None)
        if file is None or not (file.size or file.filename):
            raise Refusal(400, "There is no file in the request, or it is cut: send the video in a field named file.")
        reason = why_not_video(await file.read(HEAD_BYTES))
        if reason:
            raise Refusal(400 if "empty" in reason else 415, f"{ON_DISK} {reason}")
        await asyncio.to_thread(_copy, file, private / ON_DISK)
        await form.close()
        yield Upload(private / ON_DISK, display_name(file.filename or ""))
    except MultiPartException as error:
        faults = (sentence for words, sentence in _FAULTS.items() if words in error.message)
        raise Refusal(400, next(faults, "The request is no well-formed multipart/form-data: send it again.")) from None
    finally:
        await form.close()
        shutil.rmtree(private, ignore_errors=True)


_FAULTS = {
    "Too many files": "There are several files in the request: send one video at a time.",
    "Too many fields": "The request has too many parts: send one video at a time.",
}  # by what Starlette's parser says


async def _body(request: Request, limits: Limits) -> AsyncGenerator[bytes, None]:
    """Yield the pieces of a body as they arrive."""
    received, pieces = 0, aiter(request.stream())
    clock = asyncio.get_running_loop().time
    end = clock() + limits.upload_seconds
    try:
        while True:
            async with asyncio.timeout(min(limits.idle_seconds, end - clock())):
                data = await anext(pieces, None)
            if data is None:
                break
            received += len(data)
            if received > limits.upload_bytes:
                raise _too_large(limits)
            yield data
        request.scope[READ] = True
    except TimeoutError:
        raise Refusal(408, "The upload was too slow, and was given up: send it again.") from None
    except ClientDisconnect:
        raise Refusal(400, "The sender left before the file was complete.") from None


def _too_large(limits: Limits) -> Refusal:
    limit = f"{limits.upload_bytes / 2**20:,.0f} MiB"
    return Refusal(413, f"The upload is too large: at most {limit} are taken; send a shorter video.")


def _copy(file: UploadFile, path: Path) -> None:
    file.file.seek(0)
    with path.open("xb") as out:
        shutil.copyfileobj(file.file, out, 2**20)


def display_name(name: str) -> str:
    """Return a file's name for display: without folders and unprintable characters, at most 80 characters."""
    last = re.split(r"[/\\]", name)[-1]
    return "".join(character if character.isprintable() else "�" for character in last)[:80] or "video"
