"""Reading and writing of videos: container facts, the first frames, and H.264 encoding.

Frames are as a player shows them: deinterlaced, with square pixels, rotated and mirrored as the display matrix says,
and in the colours of the matrix and range that the stream states. All frames are RGB with 8 bits per channel. A file
that cannot be used raises `VideoError`, whose message becomes the reason in the videos table. A file that is damaged
half-way gives the frames before the damage.

PyAV reads every video. OpenCV's capture hides interlacing, pixel aspect and mirrors, does not decode AV1, and where a
conversion fails returns an earlier picture, which may be one of another file. Both contain the same version of FFmpeg:
the frames of files that OpenCV reads correctly are equal to the byte, in about the same time. One thread decodes a
video. Frames that are not requested are decoded but not converted to RGB, because the conversion takes up to half as
long as decoding. Pictures, which are videos of one frame, are read by `dfutils.faces.pictures`.
"""

import math
import os
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Protocol

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from dfutils.core.errors import InputError
from dfutils.core.files import atomic
from dfutils.core.params import DEFAULTS
from dfutils.faces import pictures
from dfutils.faces.pyav_reader import View, decoded, timed_frames
from dfutils.faces.video_facts import MAX_PIXELS, VideoError, VideoFacts, check_size

# Names of codecs in the videos table, where they are not FFmpeg's: four-character codes, as in earlier versions.
_CODEC_NAMES = {
    "av1": "AV01",
    "dvvideo": "dvsd",
    "mjpeg": "MJPG",
    "mpeg1video": "mpg1",
    "mpeg2video": "mpg2",
    "mpeg4": "FMP4",
    "vp8": "VP80",
    "vp9": "VP90",
}


def probe(path: Path | str) -> VideoFacts:
    """Return the container facts of a video, after decoding its first frame as a check.

    A picture is a video of one frame, and a folder of pictures a video, too: see `pictures.facts`.

    Raises:
        VideoError: if the file is missing, empty, not a video or without a readable frame, or if its frames have more
            than `MAX_PIXELS` pixels.
    """
    if pictures.is_pictures(path):
        return pictures.facts(path)
    with opened(path) as (container, stream):
        first = next(decoded(container, stream), None)
        if first is None:
            raise VideoError(_no_frame_message(path))
        width, height = view_of(path, stream, first).size
        fps = _number(stream.guessed_rate)
        length = (container.duration or 0) / av.time_base or (stream.duration or 0) * (stream.time_base or 0)
        n_frames = int(_number(stream.frames or math.floor(length * fps + 0.5)))
        duration = n_frames / fps if n_frames and fps else math.nan
        bitrate = 1000 * _number(container.bit_rate // 1000) or 8 * Path(path).stat().st_size / duration
        codec = stream.codec_context.codec.canonical_name
        return VideoFacts(width, height, fps or math.nan, n_frames, duration, _CODEC_NAMES.get(codec, codec), bitrate)


def frames(
    path: Path | str, max_frames: int = DEFAULTS.max_frames, wanted: Container[int] | None = None
) -> Iterator[tuple[int, float, np.ndarray]]:
    """Yield `(index, time_s, frame)` of the first `max_frames` frames, in order; a frame is RGB uint8 `(H, W, 3)`.

    Only indices in `wanted` are converted and yielded (all if None). Membership is tested as each frame is decoded, so
    the caller may change `wanted` during the iteration. Times are the container's and increase; a frame without one is
    1 / fps later than the frame before. All frames have the size of the first. A video that is damaged half-way gives
    the frames before the damage.

    Raises:
        VideoError: as `probe` does.
    """
    if max_frames < 1:
        return
    if pictures.is_pictures(path):
        yield from pictures.frames(path, max_frames, wanted)
        return
    with opened(path) as (container, stream):
        read, view = 0, None
        try:
            for index, (time_s, picture) in enumerate(islice(timed_frames(container, stream), max_frames)):
                view = view or view_of(path, stream, picture)
                if wanted is None or index in wanted:
                    yield index, time_s, view.rgb(picture)
                read = index + 1
        except av.FFmpegError:  # a picture that cannot be deinterlaced or converted: the video ends before it
            pass
        if not read:
            raise VideoError(_no_frame_message(path))


class Source(Protocol):
    """Frames that faces can be searched in; they may be asked for several times."""

    @property
    def n_frames(self) -> int:
        """How many there are, as far as that is known; 0 if it is not."""

    def frames(self, max_frames: int, wanted: Container[int]) -> Iterator[tuple[int, float, np.ndarray]]:
        """Yield `(index, time_s, frame)` as the function `frames` does."""


@dataclass(frozen=True)
class VideoFile:
    """The frames of a file, from the first on."""

    path: Path | str

    @property
    def n_frames(self) -> int:
        """How many the container states."""
        return probe(self.path).n_frames

    def frames(self, max_frames: int, wanted: Container[int]) -> Iterator[tuple[int, float, np.ndarray]]:
        """Yield those of the first `max_frames` whose index is in `wanted`."""
        return frames(self.path, max_frames, wanted)


def first_frame(path: Path | str) -> np.ndarray:
    """Return the first frame of a video, RGB uint8 `(H, W, 3)`.

    Raises:
        VideoError: as `probe` does.
    """
    for _, _, frame in frames(path, max_frames=1):
        return frame
    raise VideoError(_no_frame_message(path))


_REPEATABLE = {"x264-params": "mbtree=0"}
"""x264's macroblock tree reads memory beyond a frame that is no multiple of 64, and decides by what lies there."""


def write(path: Path | str, frames: Iterable[np.ndarray], fps: float = 25.0, crf: int = 18) -> None:
    """Write RGB uint8 frames `(H, W, 3)` to an MP4 as H.264 (yuv420p); on an exception no file is written.

    Equal frames give equal bytes on one machine: one thread, and neither times nor encoder names in the file. An odd
    width or height is made even by repeating the last column or row, because yuv420p requires it. `crf` is x264's
    constant rate factor, 0 (best quality) to 51.

    Raises:
        InputError: if there is no frame, a frame is not such an image or has another size than the first, or the file
            cannot be written.
    """
    path = Path(path)
    with atomic(path) as temporary:
        stream, shape = None, None
        try:
            with av.open(
                str(temporary), "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"}
            ) as container:
                for image in frames:
                    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                        raise InputError(f"{path.name}: frames must be RGB images of 8 bits, height x width x 3.")
                    if stream is None:
                        shape = image.shape
                        rate = Fraction(fps).limit_denominator(1001)
                        stream = container.add_stream("libx264", rate=rate)
                        stream.width, stream.height = shape[1] + shape[1] % 2, shape[0] + shape[0] % 2
                        stream.pix_fmt = "yuv420p"
                        stream.thread_count = 1
                        stream.options = {"crf": str(crf), "threads": "1", "flags": "+bitexact"}
                        if stream.width % 64 or stream.height % 64:
                            stream.options |= _REPEATABLE
                    if image.shape != shape:
                        raise InputError(f"{path.name}: all frames of a video must have one size.")
                    even = np.pad(image, ((0, shape[0] % 2), (0, shape[1] % 2), (0, 0)), mode="edge")
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
                if stream is None:
                    raise InputError(f"{path.name}: there is no frame to write.")
                container.mux(stream.encode())
        except (av.FFmpegError, OSError) as error:
            raise InputError(f"{path} cannot be written: {error.strerror or error}.") from None


def jpeg(frame: np.ndarray, quality: int) -> np.ndarray:
    """Return an RGB uint8 frame after encoding as JPEG of a quality of 1 to 100 and decoding."""
    coded = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.cvtColor(cv2.imdecode(coded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def compress(frames: np.ndarray, crf: int) -> np.ndarray:
    """Return RGB uint8 frames `(T, H, W, 3)` after encoding as H.264 and decoding, all in memory.

    Width and height must be even. `crf` is x264's constant rate factor, 0 (best quality) to 51.
    """
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
    encoder.time_base, encoder.thread_count = Fraction(1, 25), 1
    encoder.options = {"crf": str(crf), "preset": "veryfast", "threads": "1", "bf": "0", **_REPEATABLE}
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    packets = [p for image in frames for p in encoder.encode(av.VideoFrame.from_ndarray(image, format="rgb24"))]
    decoded = [frame for packet in [*packets, *encoder.encode(), None] for frame in decoder.decode(packet)]
    return np.stack([frame.to_ndarray(format="rgb24") for frame in decoded])


@contextmanager
def opened(path: Path | str) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video and its best stream.

    Raises:
        VideoError: if the file cannot be opened or its frames are too large.
    """
    path = Path(path)
    if path.is_dir():
        raise VideoError(f"{path.name} is a folder, not a video.")
    if not path.is_file():
        raise VideoError(f"{path.name} does not exist.")
    if path.stat().st_size == 0:
        raise VideoError(f"{path.name} is empty (0 bytes).")
    try:
        # An absolute path, because FFmpeg would take a relative name such as "a:b.mp4" for a URL. A playlist or script
        # that is disguised as a video may open local files only.
        container = av.open(os.path.abspath(path), options={"protocol_whitelist": "file"}, metadata_errors="ignore")
    except (av.FFmpegError, OSError):
        raise VideoError(_diagnosis(path)) from None
    with container:
        stream = container.streams.best("video")
        if stream is None:
            others = ", ".join(sorted({other.type for other in container.streams}))
            raise VideoError(f"{path.name} has no video stream, only {others or 'no other'}.")
        if stream.codec_context is None:  # a codec that FFmpeg does not know
            raise VideoError(_no_frame_message(path))
        check_size(path, stream.codec_context.width, stream.codec_context.height)
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # for frames that grow in the middle
        yield container, stream


def view_of(path: Path | str, stream: VideoStream, first: av.VideoFrame) -> View:
    view = View(stream, first)
    check_size(path, *view.size)
    return view


def _diagnosis(path: Path) -> str:
    """Return a sentence that says why a file could not be opened, as far as its first bytes tell."""
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] == b"ftyp":
        return f"{path.name} is an MP4 without an index: it was cut short or is damaged."
    return f"{path.name} is not a video that FFmpeg can open."


def _no_frame_message(path: Path | str) -> str:
    return f"{Path(path).name} has no frame that can be decoded."


def _number(value: float | Fraction | None) -> float:
    """Return a stated value as a number; 0 if it is absent or out of range, as FFmpeg reports unknown lengths."""
    return float(value) if value and 0 < value < 1e12 else 0.0
