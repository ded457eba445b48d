"""Opens untrusted videos in processes of their own, which may crash or hang without harming the service.

A file can be crafted to crash a video decoder or to keep it busy forever. Therefore a service never opens a video
itself: a few processes of a `pebble.ProcessPool` do, with limits on memory and time, and may not write files. Nothing
that they load imports torch or pandas, so that they start quickly and stay small. A file that takes over the decoder is
not kept out: pebble unpickles what comes back, and the process belongs to the same user. Where strangers send files,
run the service in a container.
"""

import asyncio
import contextlib
import multiprocessing
import os
import sys
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pebble import ProcessPool

if TYPE_CHECKING:
    from dfutils.core.params import FaceSettings
    from dfutils.faces.windows import VideoScan

MEMORY = 3 * 2**30
"""Bytes of address space that a decoder may use; an 8K frame needs a quarter of it."""

JOBS = 200
"""Videos after which a decoder is replaced, so that its memory cannot grow without limit."""


class DecoderError(RuntimeError):
    """A decoder crashed on a video or had to be killed; the text is a sentence for the sender of the video."""


class DecoderPool:
    """Decoder processes; `scan` uses the next free one. A pool belongs to one running event loop."""

    def __init__(self, count: int, *, seconds: float = 60, memory: int = MEMORY) -> None:
        """Prepare a pool.

        Args:
            count: decoders.
            seconds: time limit for a video.
            memory: bytes of address space that each decoder may use.
        """
        self.count, self.seconds, self.memory = count, seconds, memory
        self.places = asyncio.Semaphore(count)
        self._pool = self._new()

    def _new(self) -> ProcessPool:
        # Spawned, as a copy of a process with threads and PyTorch would neither be safe nor small.
        context = multiprocessing.get_context("spawn")
        shares = self._shares = context.RawArray("d", self.count)  # without a lock, which a killed decoder would keep
        self._slots = list(range(self.count))
        return ProcessPool(
            self.count, max_tasks=JOBS, initializer=prepare, initargs=[self.memory, shares], context=context
        )

    async def start(self) -> None:
        """Start all decoders, so that the first video does not wait for one."""
        with contextlib.suppress(Exception):  # it is tried again when a video needs one
            await asyncio.wrap_future(self._pool.schedule(os.getpid))

    async def scan(
        self,
        path: Path,
        settings: "FaceSettings",
        max_duration: float = float("inf"),
        on_start: Callable[[], None] = lambda: None,
        on_progress: Callable[[float], None] = lambda done: None,
    ) -> "VideoScan":
        """Return `whole_video.scan` of a video, computed by a decoder; if cancelled, the decoder is killed.

        It is searched for half of the time limit; what was not looked at until then is said in the scan.

        Args:
            path: a video.
            settings: how faces are found.
            max_duration: seconds; a longer video is not decoded.
            on_start: called when a decoder is free.
            on_progress: called twice a second with the share that is done, 0 to 1.

        Raises:
            DecoderError: if the decoder crashed or took too long.
        """
        async with self.places:
            on_start()
            if not self._pool.active:  # pebble gives a pool up if a process is killed that does nothing
                self._pool = self._new()
            seconds, shares, slots = self.seconds, self._shares, self._slots
            slot = slots.pop() if slots else 0
            shares[slot] = 0.0
            call = self._pool.schedule(_scan, [path, settings, seconds / 2, max_duration, slot], timeout=seconds)
            try:
                found = asyncio.wrap_future(call)
                while not (await asyncio.wait({found}, timeout=0.5))[0]:
                    on_progress(shares[slot])
                return found.result()
            except TimeoutError:
                text = f"The video was not decoded within {seconds:g} s: send a smaller or shorter one."
                raise DecoderError(text) from None
            except BrokenProcessPool:
                raise DecoderError("A decoder could not be started: come back later.") from None
            except Exception:
                raise DecoderError("The video broke the decoder, and cannot be judged: it is damaged.") from None
            finally:
                call.cancel()  # kills the decoder if it is still busy
                slots.append(slot)

    async def close(self) -> None:
        """Kill all decoders."""
        self._pool.stop()
        await asyncio.to_thread(self._pool.join)


_shares: Any = None  # of a decoder: where it says what share of a video is done


def prepare(memory: int, shares: Any = None) -> None:
    """Make this process a decoder: load what it needs, and limit memory (bytes), written files and core dumps.

    `shares` is an array that is shared with the service: how much of each video in work is done, 0 to 1.
    """
    global _shares
    _shares = shares
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # decoders compete for the same cores
    import cv2
    import numpy as np

    from dfutils.faces.detection import detect, embedding, landmarks

    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    cv2.setNumThreads(1)
    with contextlib.suppress(ImportError):  # Windows has no such limits; that on time holds there, too
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        if sys.platform != "darwin":  # macOS cannot limit the address space
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    blank = np.zeros((128, 128, 3), np.uint8)
    detect(blank)
    embedding(blank, landmarks(blank, (16.0, 16.0, 96.0, 96.0)))  # loads dlib's models


def _scan(path: Path, settings: "FaceSettings", budget: float, max_duration: float, slot: int) -> "VideoScan":
    from dfutils.faces.whole_video import Plan, scan

    def show(done: float) -> None:
        _shares[slot] = done

    return scan(path, settings, Plan(budget), max_duration, show)
