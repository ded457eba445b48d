"""Videos and datasets for tests."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import skimage.data

from dfutils.core import params
from dfutils.core.files import file_digest
from dfutils.core.params import PreprocessSettings
from dfutils.data import indexing
from dfutils.faces import video
from dfutils.forgery import sample


def settings(**changes: Any) -> PreprocessSettings:
    """Small strips of short videos, made by one process."""
    return PreprocessSettings(**{"max_frames": 20, "frames_per_video": 4, "face_size": 64, "workers": 1, **changes})


SETTINGS = settings()


def face_clip(path: Path, frames: int = 12) -> None:
    """A portrait that drifts by a pixel a frame."""
    picture = skimage.data.astronaut()[:300, 80:380]
    video.write(path, (np.roll(picture, k, axis=1) for k in range(frames)))


def indexed(root: Path, out: Path) -> params.Indexed:
    table = indexing.probe_videos(indexing.scan("folder", root), root, progress=False).assign(dataset="own")
    return params.Indexed("own", root, out / "own", table)


def encode(path: Path, images: list[np.ndarray], codec: str, pix_fmt: str, pts: list[int] | None = None) -> Path:
    """Write frames with any codec and pixel format; `pts` in milliseconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = Fraction(1, 1000)
        for i, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = (pts[i] if pts else 40 * i), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def digests(root: Path) -> dict[str, str]:
    """Return the digest of each file below a folder, by relative path."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): file_digest(path) for path in files}


def build_tiny_sample(out: Path, **changes) -> None:
    """Build the built-in sample of four variants and six frames."""
    sample.build_sample(out, **{"variants": 4, "frames": 6, "size": 256, "workers": 1, **changes})


def reencode(source: Path, path: Path, frames: int, size: int = 480, **options: str) -> bytes:
    """Re-encode the first frames of a video as H.264, squares of `size` pixels, and return the file's bytes."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.pix_fmt = "yuv420p"
        stream.width = stream.height = size
        for _, _, frame in video.frames(source, frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(size, size)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path.read_bytes()
