"""Decoders that stand ready for a service: asked in turn, and killed and replaced when one does not answer."""

import asyncio
import json
import os
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from dfutils.faces.extraction import VideoFaces
from dfutils.serving.decoder_process import unpack

MEMORY = 3 * 2**30
"""Bytes of address space that a decoder may take; an 8K frame needs a quarter of it."""

JOBS = 200
"""Videos after which a decoder is replaced, so that nothing grows for ever."""

_LARGEST = 2**28  # bytes of an answer
_START_SECONDS = 120


class DecoderError(RuntimeError):
    """A decoder died of a video, or had to be killed; its text is a sentence for whoever sent it."""


class DecoderPool:
    """Decoders that stand ready; `find_faces` asks the next free one. Belongs to one running event loop."""

    def __init__(self, count: int, *, seconds: float = 60, memory: int = MEMORY) -> None:
        """Prepare `count` decoders that may each take `seconds` for a video and `memory` bytes of address space."""
        self.count, self.seconds, self.memory = count, seconds, memory
        self._free: asyncio.Queue[_Process | None] = asyncio.Queue()
        self._all: set[_Process] = set()
        self._replacing: set[asyncio.Task] = set()
        self._closed = False
        for _ in range(count):
            self._free.put_nowait(None)

    async def start(self) -> None:
        """Start all decoders, so that the first video does not wait for one."""
        started = await asyncio.gather(*(self._new() for _ in range(self.count)), return_exceptions=True)
        for process in started:
            if isinstance(process, _Process):  # another is tried for the video that would need it
                self._free.get_nowait()
                self._free.put_nowait(process)

    async def find_faces(
        self,
        path: Path,
        settings: dict[str, Any],
        max_duration: float = float("inf"),
        began: Callable[[], None] = lambda: None,
    ) -> VideoFaces:
        """Return `find_faces` of a video as another process sees it; `began` is called when one is free for it.

        Raises:
            DecoderError: if the process died or took too long.
        """
        seconds = self.seconds
        process, kept = await self._free.get(), None
        try:
            began()
            if process is None or process.died:
                process = await self._new()
            request = {"path": str(path), "settings": settings, "max_duration": max_duration, "seconds": seconds}
            try:
                found = unpack(await asyncio.wait_for(process.ask(request), seconds))
            except TimeoutError:
                raise DecoderError(
                    f"The video was not decoded within {seconds:g} s: send a smaller or shorter one."
                ) from None
            except (ValueError, EOFError, OSError):
                raise DecoderError("The video broke the decoder, and cannot be judged: it is damaged.") from None
            if process.jobs < JOBS:
                kept = process
            return found
        finally:
            if kept is None and process is not None:
                self._all.discard(process)
                process.kill()
            if kept is None:
                self._replacing.add(task := asyncio.create_task(self._replace(process)))
                task.add_done_callback(self._replacing.discard)
            else:
                self._free.put_nowait(kept)

    async def _replace(self, killed: "_Process | None") -> None:
        """Start another decoder before somebody waits for it; if that fails, the next video tries again."""
        fresh = None
        try:
            if killed is not None:
                await killed.wait()
            with suppress(DecoderError, OSError):
                fresh = await self._new()
        finally:
            self._free.put_nowait(fresh)

    async def _new(self) -> "_Process":
        if self._closed:
            raise DecoderError("The service is closing.")
        process = await _Process.start(self.memory)
        self._all = {one for one in self._all if not one.died} | {process}
        return process

    async def close(self) -> None:
        """Kill all decoders."""
        self._closed = True
        for task in list(self._replacing):
            task.cancel()
        await asyncio.gather(*self._replacing, return_exceptions=True)
        for process in list(self._all):
            process.kill()
            await process.wait()
        self._all.clear()


class _Process:
    """One decoder, and the pipes to it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process, self.jobs, self.ready = process, 0, False

    @classmethod
    async def start(cls, memory: int) -> "_Process":
        # Two threads of BLAS in each decoder would only stand in each other's way. And the service's own variables,
        # which may hold secrets, are none of a decoder's business.
        kept = ("PATH", "PYTHONPATH", "PYTHONHOME", "HOME", "SYSTEMROOT", "TMPDIR", "TEMP", "LD_LIBRARY_PATH")
        environment = {name: os.environ[name] for name in kept if name in os.environ}
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
        started = cls(process)
        try:
            await asyncio.wait_for(started._answer(), _START_SECONDS)
            started.ready = True
        except (TimeoutError, EOFError, OSError, ValueError):
            raise DecoderError("A decoder could not be started: come back later.") from None
        finally:
            if not started.ready:
                started.kill()
                await started.wait()
        return started

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
        if length > _LARGEST:
            raise ValueError(f"an answer of {length} bytes")
        return await self._process.stdout.readexactly(length)

    def kill(self) -> None:
        if not self.died:
            self._process.kill()

    async def wait(self) -> None:
        """Wait until a killed process is gone, and its pipes are closed."""
        with suppress(OSError, ValueError):
            await self._process.communicate()
