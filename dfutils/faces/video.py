"""Reading and writing of video files: container facts, the first frames, and H.264 encoding.

OpenCV decodes with one thread per video. Frames that are not requested are decoded but not converted to RGB, because
the conversion takes up to half as long as decoding. All frames are RGB, upright, with 8 bits per channel. A file that
cannot be used raises `VideoError`, whose message becomes the reason in the videos table. A file that is damaged
half-way gives the frames before the damage.
"""

import math
import os
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

# Settings of OpenCV's FFmpeg, read when a video is opened: no messages on standard error, and a playlist or script that
# is disguised as a video may open local files only.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "protocol_whitelist;file")

import cv2
import numpy as np

from dfutils.core.errors import InputError
from dfutils.core.files import atomic
from dfutils.core.params import DEFAULTS

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

MAX_PIXELS = 8192 * 4320  # a frame of 8K video; larger frames could exhaust the memory of a worker


class VideoError(InputError):
    """A video that cannot be used; the message is the reason, a sentence for the videos table."""


@dataclass(frozen=True)
class VideoFacts:
    """The metadata of a video stream as its container states it; 0, NaN or "" where it states nothing.

    `width` and `height` are in pixels as displayed, after rotation; `bitrate` is that of the whole file, in bits per
    second.
    """

    width: int
    height: int
    fps: float
    n_frames: int
    duration_s: float
    codec: str
    bitrate: float


def probe(path: Path | str) -> VideoFacts:
    """Return the container facts of a video, after decoding its first frame as a check.

    Raises:
        VideoError: if the file is missing, empty, not a video or without a readable frame, or if its frames have more
            than `MAX_PIXELS` pixels.
    """
    capture = _open(path)
    try:
        fps = _number(capture, cv2.CAP_PROP_FPS)
        n_frames = int(_number(capture, cv2.CAP_PROP_FRAME_COUNT))
        duration = n_frames / fps if n_frames and fps else math.nan
        bitrate = 1000 * _number(capture, cv2.CAP_PROP_BITRATE)
        if not bitrate:
            bitrate = 8 * Path(path).stat().st_size / duration
        if not capture.grab():
            raise VideoError(_no_frame_message(path))
        return VideoFacts(
            width=int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
            height=int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
            fps=fps or math.nan,
            n_frames=n_frames,
            duration_s=duration,
            codec=_fourcc(int(capture.get(cv2.CAP_PROP_FOURCC))),
            bitrate=bitrate,
        )
    finally:
        capture.release()


def frames(
    path: Path | str, max_frames: int = DEFAULTS.max_frames, wanted: Container[int] | None = None
) -> Iterator[tuple[int, float, np.ndarray]]:
    """Yield `(index, time_s, frame)` of the first `max_frames` frames, in order; a frame is RGB uint8 `(H, W, 3)`.

    Only indices in `wanted` are converted and yielded (all if None). Membership is tested as each frame is decoded, so
    the caller may change `wanted` during the iteration. Times are the container's, or index / fps where it has none. A
    video that is damaged half-way gives the frames before the damage.

    Raises:
        VideoError: as `probe` does.
    """
    capture = _open(path)
    try:
        fps = _number(capture, cv2.CAP_PROP_FPS) or 25.0
        for index in range(max_frames):
            if not capture.grab():
                if index == 0:
                    raise VideoError(_no_frame_message(path))
                return
            if wanted is not None and index not in wanted:
                continue
            milliseconds = capture.get(cv2.CAP_PROP_POS_MSEC)
            time_s = milliseconds / 1000 if milliseconds > 0 else index / fps
            readable, frame = capture.retrieve()
            if not readable or frame is None or frame.size == 0:
                return
            yield index, time_s, _rgb(frame)
    except cv2.error as error:
        raise VideoError(f"{Path(path).name} cannot be decoded ({error.err or 'OpenCV error'}).") from None
    finally:
        capture.release()


def first_frame(path: Path | str) -> np.ndarray:
    """Return the first frame of a video, RGB uint8 `(H, W, 3)`.

    Raises:
        VideoError: as `probe` does.
    """
    for _, _, frame in frames(path, max_frames=1):
        return frame
    raise VideoError(_no_frame_message(path))


def write(path: Path | str, frames: Iterable[np.ndarray], fps: float = 25.0, crf: int = 18) -> None:
    """Write RGB uint8 frames `(H, W, 3)` to an MP4 as H.264 (yuv420p); on an exception no file is written.

    Equal frames give equal bytes on one machine: one thread, and neither times nor encoder names in the file. An odd
    width or height is made even by repeating the last column or row, because yuv420p requires it. `crf` is x264's
    constant rate factor, 0 (best quality) to 51.

    Raises:
        InputError: if there is no frame, a frame is not such an image or has another size than the first, or the file
            cannot be written.
    """
    import av  # imported here because reading videos does not need it

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
                    if image.shape != shape:
                        raise InputError(f"{path.name}: all frames of a video must have one size.")
                    even = np.pad(image, ((0, shape[0] % 2), (0, shape[1] % 2), (0, 0)), mode="edge")
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
                if stream is None:
                    raise InputError(f"{path.name}: there is no frame to write.")
                container.mux(stream.encode())
        except (av.FFmpegError, OSError) as error:
            raise InputError(f"{path} cannot be written: {error.strerror or error}.") from None


def compress(frames: np.ndarray, crf: int) -> np.ndarray:
    """Return RGB uint8 frames `(T, H, W, 3)` after encoding as H.264 and decoding, all in memory.

    Width and height must be even. `crf` is x264's constant rate factor, 0 (best quality) to 51.
    """
    import av

    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
    encoder.time_base, encoder.thread_count = Fraction(1, 25), 1
    encoder.options = {"crf": str(crf), "preset": "veryfast", "threads": "1", "bf": "0"}
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    packets = [p for image in frames for p in encoder.encode(av.VideoFrame.from_ndarray(image, format="rgb24"))]
    decoded = [frame for packet in [*packets, *encoder.encode(), None] for frame in decoder.decode(packet)]
    return np.stack([frame.to_ndarray(format="rgb24") for frame in decoded])


def _open(path: Path | str) -> cv2.VideoCapture:
    """Return an open capture of a video.

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
    # An absolute path, because FFmpeg would take a relative name such as "a:b.mp4" for a URL.
    capture = cv2.VideoCapture(os.path.abspath(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    if not capture.isOpened():
        capture.release()
        raise VideoError(_diagnosis(path))
    width, height = (int(capture.get(prop)) for prop in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    if width * height > MAX_PIXELS:
        capture.release()
        raise VideoError(f"{path.name} has frames of {width}x{height} pixels; at most 8192x4320 are decoded.")
    return capture


def _diagnosis(path: Path) -> str:
    """Return a sentence that says why OpenCV could not open a file, as far as PyAV or its first bytes tell."""
    import av  # imported here because only this function needs it when reading

    try:
        with av.open(str(path.absolute())) as container:
            if not container.streams.video:
                return (
                    f"{path.name} has no video stream, only {', '.join(sorted({s.type for s in container.streams}))}."
                )
    except (av.FFmpegError, OSError):
        pass
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] == b"ftyp":
        return f"{path.name} is an MP4 without an index: it was cut short or is damaged."
    return f"{path.name} is not a video that OpenCV can open."


def _no_frame_message(path: Path | str) -> str:
    return f"{Path(path).name} has no frame that can be decoded."


def _number(capture: cv2.VideoCapture, prop: int) -> float:
    """Return a property as a number; 0 if it is absent or out of range, as FFmpeg reports unknown lengths."""
    value = capture.get(prop)
    return float(value) if math.isfinite(value) and 0 < value < 1e12 else 0.0


def _fourcc(code: int) -> str:
    """Return the name of a codec from its four-character code; "" if it is not printable."""
    text = "".join(chr(code >> shift & 255) for shift in (0, 8, 16, 24))
    return text.strip() if text.isprintable() and text.isascii() else ""


def _rgb(frame: np.ndarray) -> np.ndarray:
    """Return a grey or BGR frame of OpenCV as RGB; a BGR frame is converted in place."""
    if frame.ndim == 2 or frame.shape[2] == 1:
        return cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB)
    return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB, dst=frame)
