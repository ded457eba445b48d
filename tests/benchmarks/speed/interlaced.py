"""Reading all frames of interlaced 1080p H.264 in multiples of decoding alone, and the memory it takes.

    python -m tests.benchmarks.speed.interlaced [seconds]

The video is of a smooth moving picture, which is cheap to decode, so that what comes on top weighs most. Times are the
CPU's; the smallest of three runs counts.
"""

import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from dfutils.faces import video


def make(path: Path, seconds: int) -> None:
    """Write an interlaced video of 25 frames a second, 1920x1080."""
    y, x = np.mgrid[:1080, :1920].astype(np.float32)
    picture = np.stack([60 + y / 18, 90 + x / 32, 70 + 30 * np.sin(x / 40) * np.cos(y / 50)], axis=-1).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        stream.options = {"preset": "veryfast", "flags": "+ilme+ildct", "x264-params": "tff=1"}
        for k in range(25 * seconds):
            frame = np.roll(picture, 14 * k, axis=1)
            frame[1::2] = np.roll(picture, 14 * k + 7, axis=1)[1::2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        container.mux(stream.encode())


def decode(path: Path) -> None:
    """Decode every frame in one thread, and nothing else."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_count = 1
        for _ in container.decode(video=0):
            pass


def read(path: Path) -> None:
    for _ in video.frames(path, 1_000_000):
        pass


def cpu_s(job: Callable[[Path], None], path: Path) -> float:
    times = []
    for _ in range(3):
        started = time.process_time()
        job(path)
        times.append(time.process_time() - started)
    return min(times)


def main() -> None:
    """Print the ratio and the memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "interlaced.mp4"
        seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
        maker = multiprocessing.get_context("spawn").Process(target=make, args=(path, seconds))  # memory of its own
        maker.start()
        maker.join()
        alone, everything = cpu_s(decode, path), cpu_s(read, path)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(
            f"decoding {alone:.2f} s, all frames {everything:.2f} s: {everything / alone:.2f} times; {peak} MiB at most"
        )


if __name__ == "__main__":
    main()
