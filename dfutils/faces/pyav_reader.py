"""Frames of a video stream as a player shows them, read by PyAV.

`timed_frames` decodes, deinterlaces and tells the times; `View` converts a frame to RGB with square pixels, upright.
"""

import math
from collections import deque
from collections.abc import Iterator

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.filter import Graph
from av.sidedata.sidedata import Type
from av.video.stream import VideoStream

MAX_ASPECT = 4  # a pixel longer than this many times its height, or the reverse, is damage and is taken for square
MAX_FAILURES = 4096  # packets in a row that cannot be decoded, after which the rest of a file is not tried

# Values of FFmpeg's AVFieldOrder, by the field that is shown first.
_PARITIES = {2: "tff", 5: "tff", 3: "bff", 4: "bff"}


def decoded(container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
    """Yield the frames of a stream as they are coded; a packet that cannot be decoded is skipped."""
    failures = 0
    try:
        for packet in container.demux(stream):
            try:
                pictures, failures = packet.decode(), 0
            except av.FFmpegError:
                pictures, failures = [], failures + 1
            yield from pictures
            if failures > MAX_FAILURES:
                return
    except av.FFmpegError:  # the container is damaged from here on
        return


def timed_frames(container: InputContainer, stream: VideoStream) -> Iterator[tuple[float, av.VideoFrame]]:
    """Yield the time in seconds and the picture of each frame; interlaced frames are deinterlaced, one for one.

    Times are those of the container, from the start of the stream. A frame without a time, or with one that is not
    later than the frame before, is `1 / fps` later than it.

    Raises:
        av.FFmpegError: if a frame cannot be deinterlaced.
    """
    # Decoders mark interlaced frames. Those of formats that do not code it leave it to the container.
    context = stream.codec_context
    fps = float(stream.guessed_rate or 0) or 25.0
    parity = _PARITIES.get(context.field_order, "") if context.codec.intra_only else ""
    start, times, last = stream.start_time or 0, deque[float](), -1 / fps
    graph, form = None, None
    for frame in decoded(container, stream):
        stamp = frame.dts if frame.pts is None else frame.pts
        # By way of milliseconds, which OpenCV gave to earlier versions: equal to the last bit.
        time_s = -math.inf if stamp is None else 1000 * ((stamp - start) * float(frame.time_base)) / 1000
        last = time_s if time_s > max(last, 0) else last + 1 / fps
        times.append(last)
        if graph is not None and form != (frame.width, frame.height, frame.format.name):
            yield from _filtered(graph, None, times)
            graph = None
        if graph is None and (frame.interlaced_frame or parity):
            form = frame.width, frame.height, frame.format.name
            graph = _deinterlacer(frame, "" if frame.interlaced_frame else parity)
        if graph is None:
            yield times.popleft(), frame
        else:
            yield from _filtered(graph, frame, times)
    if graph is not None:
        yield from _filtered(graph, None, times)


def _graph(frame: av.VideoFrame, *filters: tuple[str, str]) -> Graph:
    """Return a graph of filters, names with arguments, for frames of the size and format of `frame`."""
    graph = Graph()
    graph.threads = 1
    nodes = [graph.add_buffer(template=frame), *(graph.add(*arguments) for arguments in filters)]
    graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    return graph


def _deinterlacer(frame: av.VideoFrame, parity: str) -> Graph:
    """Return a graph that deinterlaces the marked frames, or all frames if `parity` names their first field."""
    marks = [("setfield", parity)] if parity else []
    return _graph(frame, *marks, ("bwdif", "mode=send_frame:deint=interlaced"))


def _filtered(graph: Graph, frame: av.VideoFrame | None, times: deque[float]) -> Iterator[tuple[float, av.VideoFrame]]:
    """Push a frame, or None at the end, and yield what the graph gives: a frame comes out after the next went in."""
    graph.push(frame)
    while True:
        try:
            picture = graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        yield times.popleft(), picture


class View:
    """The conversion of the frames of one video to what a player shows.

    All frames get the size of the first one, also if the coded size changes in the middle.

    Attributes:
        size: width and height in pixels as displayed.
    """

    def __init__(self, stream: VideoStream, first: av.VideoFrame) -> None:
        aspect = stream.sample_aspect_ratio or 1
        if not 1 / MAX_ASPECT <= aspect <= MAX_ASPECT:
            aspect = 1
        # The shorter side of a pixel is stretched, so that nothing is lost.
        self._width = round(first.width * max(aspect, 1))
        self._height = round(first.height / min(aspect, 1))
        self._transposed, self._flip = _orientation(first)
        self.size = (self._height, self._width) if self._transposed else (self._width, self._height)
        self._form: tuple[int, int, str] | None = None

    def rgb(self, frame: av.VideoFrame) -> np.ndarray:
        """Return a frame as RGB uint8 `(H, W, 3)`.

        Raises:
            av.FFmpegError: if it cannot be converted.
        """
        # A graph reuses the memory of frames; a reformatter allocates anew, which takes longer than the conversion.
        form = frame.width, frame.height, frame.format.name
        if form != self._form:
            scale = f"{self._width}:{self._height}:flags=bicubic"
            self._form, self._graph = form, _graph(frame, ("scale", scale), ("format", "rgb24"))
        self._graph.push(frame)
        image = self._graph.pull().to_ndarray()
        # A copy where the rows are padded, or where the pixels are the decoder's own because nothing had to be changed.
        image = image.copy() if frame.format.name == "rgb24" else np.ascontiguousarray(image)
        if self._transposed:
            image = cv2.transpose(image)
        return image if self._flip is None else cv2.flip(image, self._flip)


def _orientation(frame: av.VideoFrame) -> tuple[bool, int | None]:
    """Return whether the display matrix of a frame swaps x and y, and what `cv2.flip` has to flip after that.

    Of the eight orientations, it is the one that is nearest to the matrix.
    """
    side_data = frame.side_data.get(Type.DISPLAYMATRIX)
    if side_data is None or len(bytes(side_data)) < 36:
        return False, None
    a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(side_data), np.int32, 5))  # x' = ax + cy, y' = bx + dy
    transposed = abs(a) + abs(d) < abs(b) + abs(c)
    mirrored_x, mirrored_y = (c < 0, b < 0) if transposed else (a < 0, d < 0)
    return transposed, {(True, True): -1, (True, False): 1, (False, True): 0}.get((mirrored_x, mirrored_y))
