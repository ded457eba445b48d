"""A pool of decoder processes for a service: each handles one video at a time and is replaced when it fails."""

import asyncio
import json
import os
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from dfutils.core.params import FaceSettings
from dfutils.faces.extraction import VideoFaces
from dfutils.serving.decoder_process import unpack

MEMORY = 3 * 2**30
"""Bytes of address space that a decoder may use; an 8K frame needs a quarter of it."""

JOBS = 200
"""Videos after which a decoder is replaced, so that its memory cannot grow without limit."""

_MAX_ANSWER_BYTES = 2**28
_START_SECONDS = 120


class DecoderError(RuntimeError):
    """A decoder crashed on a video or had to be killed; the text is a sentence for the sender of the video."""


class DecoderPool:
    """Decoder processes; `find_faces` uses the next free one. A pool belongs to one running event loop."""

    def __init__(self, count: int, *, seconds: float = 60, memory: int = MEMORY) -> None:
        """Prepare a pool.

        Args:
            count: decoders.
            seconds: time limit for a video.
            memory: bytes of address space that each decoder may use.
        """
        self.count, self.seconds, self.memory = count, seconds, memory
        self._free: asyncio.Queue[_Decoder | None] = asyncio.Queue()  # None: one that is still to be started
        self._all: set[_Decoder] = set()
        self._replacing: set[asyncio.Task] = set()
        self._closed = False
        for _ in range(count):
            self._free.put_nowait(None)

    async def start(self) -> None:
        """Start all decoders, so that the first video does not wait for one."""
        started = await asyncio.gather(*(self._new() for _ in range(self.count)), return_exceptions=True)
        for decoder in started:
            if isinstance(decoder, _Decoder):  # one that failed to start is tried again when a video needs it
                self._free.get_nowait()
                self._free.put_nowait(decoder)

    async def find_faces(
        self,
        path: Path,
        settings: FaceSettings,
        max_duration: float = float("inf"),
        on_start: Callable[[], None] = lambda: None,
    ) -> VideoFaces:
        """Return `extraction.find_faces` of a video, computed by a decoder.

        Args:
            path: a video.
            settings: how faces are found.
            max_duration: seconds; a longer video is not decoded.
            on_start: called when a decoder is free.

        Raises:
            DecoderError: if the decoder crashed or took too long.
        """
        seconds = self.seconds
        decoder, reusable = await self._free.get(), None
        try:
            on_start()
            if decoder is None or decoder.died:
                decoder = await self._new()
            request = {
                "path": str(path),
                "settings": settings.model_dump(),
                "max_duration": max_duration,
                "seconds": seconds,
            }
            try:
                faces = unpack(await asyncio.wait_for(decoder.ask(request), seconds))
            except TimeoutError:
                raise DecoderError(
                    f"The video was not decoded within {seconds:g} s: send a smaller or shorter one."
                ) from None
            except (ValueError, EOFError, OSError):
                raise DecoderError("The video broke the decoder, and cannot be judged: it is damaged.") from None
            if decoder.jobs < JOBS:
                reusable = decoder
            return faces
        finally:
            if reusable is None and decoder is not None:
                self._all.discard(decoder)
                decoder.kill()
            if reusable is None:
                self._replacing.add(task := asyncio.create_task(self._replace(decoder)))
                task.add_done_callback(self._replacing.discard)
            else:
                self._free.put_nowait(reusable)

    async def _replace(self, killed: "_Decoder | None") -> None:
        """Start a new decoder in advance; if that fails, the next video tries again."""
        replacement = None
        try:
            if killed is not None:
                await killed.wait()
            with suppress(DecoderError, OSError):
                replacement = await self._new()
        finally:
            self._free.put_nowait(replacement)

    async def _new(self) -> "_Decoder":
        if self._closed:
            raise DecoderError("The service is closing.")
        decoder = await _Decoder.start(self.memory)
        self._all = {other for other in self._all if not other.died} | {decoder}
        return decoder

    async def close(self) -> None:
        """Kill all decoders."""
        self._closed = True
        for task in list(self._replacing):
            task.cancel()
        await asyncio.gather(*self._replacing, return_exceptions=True)
        for decoder in list(self._all):
            decoder.kill()
            await decoder.wait()
        self._all.clear()


class _Decoder:
    """A decoder process and the pipes to it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process, self.jobs, self.ready = process, 0, False

    @classmethod
    async def start(cls, memory: int) -> "_Decoder":
        # A decoder gets just the variables that it needs: those of the service may hold secrets. One thread of BLAS for
        # each decoder, as several would compete for the same cores.
        passed_on = ("PATH", "PYTHONPATH", "PYTHONHOME", "HOME", "SYSTEMROOT", "TMPDIR", "TEMP", "LD_LIBRARY_PATH")
        environment = {name: os.environ[name] for name in passed_on if name in os.environ}
        environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "dfutils.serving.decoder_process",
            str(memory),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment,
        )
        decoder = cls(process)
        try:
            await asyncio.wait_for(decoder._answer(), _START_SECONDS)
            decoder.ready = True
        except (TimeoutError, EOFError, OSError, ValueError):
            raise DecoderError("A decoder could not be started: come back later.") from None
        finally:
            if not decoder.ready:
                decoder.kill()
                await decoder.wait()
        return decoder

    @property
    def died(self) -> bool:
        return self._process.returncode is not None

    async def ask(self, request: dict[str, Any]) -> bytes:
        self.jobs += 1
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        await self._process.stdin.drain()
        return await self._answer()

    async def _answer(self) -> bytes:
        (length,) = struct.unpack("<Q", await self._process.stdout.readexactly(8))
        if length > _MAX_ANSWER_BYTES:
            raise ValueError(f"an answer of {length} bytes")
        return await self._process.stdout.readexactly(length)

    def kill(self) -> None:
        if not self.died:
            self._process.kill()

    async def wait(self) -> None:
        """Wait until the killed process has ended and its pipes are closed."""
        with suppress(OSError, ValueError):
            await self._process.communicate()
