"""Scores of the windows of a video, and from them the most suspicious stretch of each person.

Windows are laid without a look at their content, so that a forged stretch may lie across two of them, half in each. As
every frame has a score, the run of as many frames as a window has with the highest sum is judged again.
"""

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import groupby
from typing import NamedTuple, Self

import numpy as np

from dfutils.detector.fusion import fuse, standardise, view_logits
from dfutils.detector.network import Detector
from dfutils.faces.extraction import FaceClip
from dfutils.faces.windows import PersonSeen, VideoScan, Window, span_of
from dfutils.serving.person import JudgedWindow, Person

_BACKLOG = 4  # windows that wait for their score before the search waits, too


def score(clip: FaceClip, detector: Detector) -> tuple[float, np.ndarray, dict[str, float]]:
    """Return the probability of fake of a clip, and of each of its frames `(T,)`, as `scoring.score` computes them.

    Of a detector of several views also what the probability would be by each that is possible alone.
    """
    found = view_logits(detector, {"face": clip.frames, **clip.views})
    fusion, probability = detector.config.get("fusion", {}), detector.scaling.probability
    clip_logit, frame_logits = (fuse(fusion, {view: both[k] for view, both in found.items()}) for k in (0, 1))
    alone = {view: standardise(fusion, view, found[view][0]) for view in fusion if view in found}
    return float(probability(clip_logit)), probability(frame_logits), {v: float(probability(alone[v])) for v in alone}


def judged(window: Window, detector: Detector) -> JudgedWindow:
    """Return a window with its score."""
    probability, frame_scores, by_view = score(window.clip, detector)
    return JudgedWindow(window.start_s, window.end_s, probability, frame_scores, window.clip, by_view)


class Judging:
    """The scores of the windows of one video by a `detector`, computed in a thread while the video is searched."""

    def __init__(self, detector: Detector) -> None:
        """Begin without a window."""
        self.detector = detector
        self._scores: dict[int, Future[JudgedWindow]] = {}  # by identity: a window's clip has no other name
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="torch")

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(self, *_: object) -> None:
        """Drop what was not computed yet."""
        self._pool.shutdown(cancel_futures=True)

    def take(self, windows: Iterable[Window]) -> None:
        """Have windows scored; wait if many are waiting already."""
        for window in windows:
            self._scores[id(window)] = self._pool.submit(judged, window, self.detector)
        for waiting in list(self._scores.values())[:-_BACKLOG]:
            waiting.result()

    def people(self, scan: VideoScan, threshold: float) -> list[Person]:
        """Return the people of a scan; windows that were not taken, of those with too few faces for one, are scored."""
        self.take(window for seen in scan.people for window in seen.windows if id(window) not in self._scores)
        return [self._person(seen, scan.shots, threshold) for seen in scan.people]

    def _person(self, seen: PersonSeen, shots: tuple[tuple[float, float], ...], threshold: float) -> Person:
        windows = sorted((self._scores[id(window)].result() for window in seen.windows), key=lambda one: one.start_s)
        again = _worst_run(windows, shots, self.detector)
        worst = max([*windows, *again], key=lambda window: window.probability)
        start_s, end_s = _extent(worst, windows, shots, threshold)
        worst = replace(worst, start_s=start_s, end_s=end_s)
        return Person(tuple(windows), worst, seen.may_be)


class _Frame(NamedTuple):
    """A frame of a person in a shot: when, how suspicious (logit of its score), and where its crop is."""

    time_s: float
    logit: float
    shot: int
    window: JudgedWindow
    position: int


def _frames(windows: Iterable[JudgedWindow], shots: tuple[tuple[float, float], ...]) -> list[list[_Frame]]:
    """Return the frames of a person in each shot, each frame once, in order of time."""
    begins = [start for start, _ in shots]
    found: dict[float, _Frame] = {}  # by time: after a seek, indices of frames are estimated
    for window in windows:
        for position, time_s in enumerate(window.clip.times):
            logit = _logit(float(window.frame_scores[position]))
            shot = int(np.searchsorted(begins, time_s, side="right"))
            found.setdefault(float(time_s), _Frame(float(time_s), logit, shot, window, position))
    ordered = sorted(found.values(), key=lambda frame: frame.time_s)
    return [list(frames) for _, frames in groupby(ordered, key=lambda frame: frame.shot)]


def _worst_run(
    windows: list[JudgedWindow], shots: tuple[tuple[float, float], ...], detector: Detector
) -> list[JudgedWindow]:
    """Return the most suspicious run of frames, judged as a window; none if it is a window already."""
    count = detector.config["frames_per_video"]
    best: tuple[float, list[_Frame]] = (-np.inf, [])
    for frames in _frames(windows, shots):
        sums = np.convolve([frame.logit for frame in frames], np.ones(count), "valid") if len(frames) >= count else []
        for start, total in enumerate(sums):
            best = max(best, (float(total), frames[start : start + count]), key=lambda item: item[0])
    run = best[1]
    if not run or any(_is_window(run, window) for window in windows):
        return []
    clip = _clip(run)
    start_s, end_s = span_of(clip.times)
    return [judged(Window(max(start_s, 0.0), end_s, clip), detector)]


def _is_window(run: list[_Frame], window: JudgedWindow) -> bool:
    return bool(window.clip.times[0] == run[0].time_s and window.clip.times[-1] == run[-1].time_s)


def _clip(run: list[_Frame]) -> FaceClip:
    """Return the clip of frames that come from several windows."""
    first = run[0].window.clip
    rows = ("frames", "indices", "times", "boxes", "scores", "landmarks", "sharpness", "brightness", "face_px", "pose")
    parts = {name: np.stack([getattr(frame.window.clip, name)[frame.position] for frame in run]) for name in rows}
    views = {}
    for view in set(first.views).intersection(*(frame.window.clip.views for frame in run)):
        crops = [frame.window.clip.views[view][frame.position] for frame in run]
        if len({crop.shape for crop in crops}) > 1:  # native crops of a face whose size changes from window to window
            side = min(len(crop) for crop in crops)
            crops = [crop[(len(crop) - side) // 2 :, (len(crop) - side) // 2 :][:side, :side] for crop in crops]
        views[view] = np.stack(crops)
    return FaceClip(**parts, people=first.people, n_read=len(run), status="ok", reason="", views=views)


def _extent(
    worst: JudgedWindow, windows: list[JudgedWindow], shots: tuple[tuple[float, float], ...], threshold: float
) -> tuple[float, float]:
    """Return start and end of the suspicious stretch around a window, in seconds.

    It is the run of frames, through the most suspicious ones of the window, in which the logits exceed a level by the
    largest sum: half-way between the window's and the lowest fifth of the person's, at most that of the threshold. A
    window that is not called fake is its own stretch.
    """
    if worst.probability < threshold:
        return worst.start_s, worst.end_s
    inside = worst.clip.times
    groups = _frames(windows, shots)
    low = float(np.quantile([frame.logit for group in groups for frame in group], 0.2))
    level = min((_logit(worst.probability) + low) / 2, _logit(threshold))
    frames = next(group for group in groups if group[0].time_s <= inside[0] <= group[-1].time_s)
    times = np.array([frame.time_s for frame in frames])
    excess = np.array([frame.logit for frame in frames]) - level
    smooth = np.convolve(excess, np.ones(3) / 3, "same")
    centre = int(np.argmax(np.where((times >= inside[0]) & (times <= inside[-1]), smooth, -np.inf)))
    start = centre - int(np.argmax(np.cumsum(excess[centre::-1])))
    end = centre + int(np.argmax(np.cumsum(excess[centre:])))
    half = float(np.median(np.diff(times))) / 2 if len(times) > 1 else 0.0
    return max(float(times[start]) - half, 0.0), float(times[end]) + half


def _logit(probability: float) -> float:
    probability = min(max(probability, 1e-6), 1 - 1e-6)
    return float(np.log(probability / (1 - probability)))
