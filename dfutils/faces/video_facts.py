"""What is known of a video before its frames are read, and what is said of one that cannot be used."""

from dataclasses import dataclass
from pathlib import Path

from dfutils.core.errors import InputError

MAX_PIXELS = 8192 * 4320  # a frame of 8K video; larger frames could exhaust the memory of a worker


class VideoError(InputError):
    """A video that cannot be used; the message is the reason, a sentence for the videos table."""


@dataclass(frozen=True)
class VideoFacts:
    """The metadata of a video stream as its container states it; 0, NaN or "" where it states nothing.

    `width` and `height` are in pixels as displayed: square pixels, after rotation; `bitrate` is that of the whole file,
    in bits per second.
    """

    width: int
    height: int
    fps: float
    n_frames: int
    duration_s: float
    codec: str
    bitrate: float


def check_size(path: Path | str, width: int, height: int) -> None:
    """Make sure that frames of this size can be decoded.

    Raises:
        VideoError: if they have more than `MAX_PIXELS` pixels.
    """
    if width * height > MAX_PIXELS:
        name = Path(path).name
        raise VideoError(f"{name} has frames of {width}x{height} pixels; at most 8192x4320 are decoded.")
