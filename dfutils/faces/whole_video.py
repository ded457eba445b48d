"""Search of a whole video for its people, window by window, within a budget of computing time.

A video is read from its beginning to its end if time allows. Where it does not, the rest is seen from its keyframes:
every shot of more than `SHORT_S` seconds gets a window before any gets a second one, then the largest gaps are filled.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np

from dfutils.core.params import FaceSettings
from dfutils.faces import footage, pictures, video
from dfutils.faces.extraction import FaceClip, face_clip, find_faces, is_cut_short, unreadable
from dfutils.faces.footage import Footage, Reader
from dfutils.faces.search import MOST, FaceSearch, whole_frame
from dfutils.faces.tracking import Sighting
from dfutils.faces.video_facts import VideoError
from dfutils.faces.views import SUCCESSIVE
from dfutils.faces.windows import WINDOW_S, Gallery, LeftOut, VideoScan, Window, joined, of_first_frames

SHORT_S = 3.0
"""Shots of more seconds get a window before any gets a second one."""

Item = TypeVar("Item")

_TRIAL_S = 1.5
"""Seconds of computing before it is estimated whether time allows to read the whole video."""


def default_budget(duration_s: float) -> float:
    """Return seconds of computing for a video: 20, or a twelfth of its length if that is more."""
    return max(20.0, duration_s / 12) if math.isfinite(duration_s) else 20.0


@dataclass(frozen=True)
class Plan:
    """How much of a video is looked at.

    Attributes:
        budget: seconds of computing; None for `default_budget`, or for no limit if `every` is given.
        every: look at a window every so many seconds; None to look at everything.
    """

    budget: float | None = None
    every: float | None = None


@dataclass(frozen=True)
class Step:
    """A step of a search: the share of it that is done, 0 to 1, and the windows that it has found."""

    done: float
    windows: tuple[Window, ...]


class VideoSearch:
    """The search of one video; `steps` makes it, `result` tells what was found so far."""

    def __init__(self, path: Path, settings: FaceSettings, plan: Plan | None = None) -> None:
        """Prepare the search of a video.

        Raises:
            VideoError: if it cannot be read.
        """
        self.path, self.settings, self.facts = path, settings, video.probe(path)
        plan = plan or Plan()
        self.every = plan.every
        unlimited = math.inf if plan.every else default_budget(self.facts.duration_s)
        self.budget = unlimited if plan.budget is None else plan.budget
        self.stopped = "the search was stopped"
        self._gallery = Gallery(settings)
        self._looked: list[tuple[float, float]] = []
        self._begins: set[float] = {0.0}
        self._end_s, self._read_s = 0.0, 0.0
        self._reader: Reader | None = None
        self._trial: tuple[float, float] | None = None

    def steps(self) -> Iterator[Step]:
        """Search the video, and yield a step after each stretch; time spent by who asks for steps counts, too."""
        self._began = time.monotonic()
        with footage.reader(self.path, SUCCESSIVE if "motion" in self.settings.views else 1) as reader:
            self._reader = reader
            if self.every and self.every > WINDOW_S and math.isfinite(self.facts.duration_s):
                count = max(math.ceil(self._duration / self.every), 1)
                starts = (k * self.every for k in range(count))
                yield from self._visits(reader, ((start, start + WINDOW_S) for start in starts), count)
                self.stopped = f"one window every {self.every:g} s is looked at"
                return
            whole = True
            for stretch in _ahead(reader.stretches(WINDOW_S)):
                self._read_s = stretch.span[1]
                yield self._search(stretch)
                if self._too_slow():
                    whole = False
                    break
            yield Step(1.0 if whole else self._share, tuple(self._gallery.end_shot()))
            self._read_s = math.inf if whole else self._read_s
            if not whole:
                self.stopped = f"the {self.budget:g} s of computing were used up"
                yield from self._sparsely(reader)

    @property
    def _duration(self) -> float:
        return self.facts.duration_s if math.isfinite(self.facts.duration_s) else self._end_s

    @property
    def _share(self) -> float:
        return min((time.monotonic() - self._began) / max(self.budget, 0.1), 1.0) if math.isfinite(self.budget) else 0.0

    def _is_late(self) -> bool:
        return time.monotonic() - self._began > self.budget

    def _too_slow(self) -> bool:
        """Return whether the whole video cannot be read within the budget, as it seems now.

        The first stretch tells nothing: models are loaded while it is searched.
        """
        now = time.monotonic()
        self._trial = self._trial or (now, self._end_s)
        since, from_s = self._trial
        spent, left = now - self._began, max(self._duration - self._end_s, 0.0)
        if spent > self.budget:
            return True
        if not math.isfinite(self.budget) or now - since < _TRIAL_S or self._end_s <= from_s:
            return False
        return spent + left * (now - since) / (self._end_s - from_s) > 1.1 * self.budget

    def _sparsely(self, reader: Reader) -> Iterator[Step]:
        """Visit the rest of the video: each longer shot once, then the largest gaps, until time is used up."""
        frames = reader.keyframes(self._end_s, self._is_late)
        times = [frame[0] for frame in frames if frame[0] > self._end_s]
        cuts = [after[0] for before, after in pairwise(frames) if footage.differ(before[1], after[1])]
        begins = [cut for cut in cuts if cut > self._end_s]
        self._begins |= set(begins)
        bounds = [self._end_s, *begins, max(self._duration, self._end_s)]
        first = []
        for start, end in pairwise(bounds):
            if end - start > SHORT_S:
                inside = [time_s for time_s in times if start <= time_s < end] or [start]
                best = min(inside, key=lambda time_s: abs(time_s + WINDOW_S / 2 - (start + end) / 2))
                first.append((best, min(best + WINDOW_S, end)))
        yield from self._visits(reader, _farthest_first(first, self._looked))
        rest = []
        for start, end in _gaps(self._looked, self._duration):
            count = math.ceil((end - start) / WINDOW_S - 0.1)
            size = (end - start) / max(count, 1)
            rest += [(start + k * size, start + (k + 1) * size) for k in range(count)]
        yield from self._visits(reader, _farthest_first(rest, self._looked))

    def _visits(self, reader: Reader, spans: Iterable[tuple[float, float]], count: float = math.inf) -> Iterator[Step]:
        """Search these stretches, one after another, until time is used up; `count` if all of them are the search."""

        def visits() -> Iterator[tuple[int, float, Footage | None]]:
            for number, span in enumerate(spans, 1):
                yield from ((number, span[0], stretch) for stretch in reader.stretches(WINDOW_S, *span))
                yield number, span[0], None

        if self._is_late():
            return
        for number, start, stretch in _ahead(visits()):
            done = max(self._share, number / count)
            if stretch is not None:
                yield self._search(stretch, done, sought=stretch.span[0] - start < 0.5)
                continue
            yield Step(done, tuple(self._gallery.end_shot()))
            if self._is_late():
                return

    def _search(self, stretch: Footage, done: float = 0.0, sought: bool = False) -> Step:
        """Search a stretch; `sought` if reading began with it, so that nothing is known of a cut."""
        begin, end = stretch.span
        windows = []
        if stretch.begins:
            windows += self._gallery.end_shot()
            self._begins |= set() if sought else {begin}
        self._looked.append((begin, end))
        self._end_s = max(self._end_s, end)
        count = self.settings.frames_per_video
        if not stretch.begins:  # the end of a shot: as many faces as in the same time before
            count = max(1, round(count * (end - begin) / WINDOW_S))
        settings = self.settings.model_copy(update={"frames_per_video": count, "max_frames": stretch.n_frames})
        people = self._people(stretch, settings)
        done = done or self._end_s / max(self._duration, self._end_s)
        windows += self._gallery.add(people, stretch)
        return Step(min(done, 1.0), tuple(windows))

    def _people(self, stretch: Footage, settings: FaceSettings) -> list[list[Sighting]]:
        """Return the sightings of each person in a stretch."""
        search = FaceSearch(stretch, settings)
        if settings.faces == "cropped":
            search.fixed_round(stretch.n_frames, lambda *frame: whole_frame(*frame, settings))
            return [search.sightings]
        search.quick_round(self._gallery.hints())
        if not search.sightings and stretch.begins:
            search.double_size_round(1)
        for frames_per_face in (2, 5):
            people = search.people(lenient=True)
            missing = [settings.frames_per_video - sum(not face.flaw for face in person) for person in people]
            few = [p for p, count in zip(people, missing, strict=True) if count > 0 and len(p) > 1][:MOST]
            before = len(search.searched)
            if few or len(search.sightings) == 1:
                search.next_round(few or people, frames_per_face * max(missing))
            if len(search.searched) == before:
                break
        return search.people()

    def result(self) -> VideoScan:
        """Return what was found so far."""
        people = self._gallery.people()
        count = len(people) + self._gallery.others()
        end = max(self._duration, self._end_s)
        bounds = [*sorted(begin for begin in self._begins if begin < end), end]
        return VideoScan(
            self.facts,
            tuple(pairwise(bounds)),
            people,
            self._left_out([window for person in people for window in person.windows], end),
            is_cut_short(self.path),
            self._main(people[0].windows[0].clip if people else None, count),
        )

    def _main(self, clip: FaceClip | None, people: int) -> FaceClip:
        """Return the clip of the main person, with the number of people; the reason is in it if there is nobody."""
        if clip is not None:
            return replace(clip, people=people)
        n_read = self._reader.n_read if self._reader else 0
        reason = f"no valid face was found in the {n_read} frames read."
        return face_clip([], self.settings.face_size, people, n_read, "no_face", reason, [])

    def _left_out(self, windows: list[Window], end: float) -> tuple[LeftOut, ...]:
        last_s = self._reader.last_s if self._reader else 0.0
        left = []
        for gap in _gaps(self._looked, end, 0.5):
            empty = "the picture has one colour" if gap[1] <= last_s + 1 else "no picture can be decoded there"
            left.append(LeftOut(*gap, empty if gap[1] <= self._read_s else self.stopped))
        for start, stop in joined(self._looked, 0.2):
            inside = [
                (max(w.start_s, start), min(w.end_s, stop)) for w in windows if w.start_s < stop and w.end_s > start
            ]
            moved = [(a - start, b - start) for a, b in inside]
            left += [LeftOut(start + a, start + b, "no face was found") for a, b in _gaps(moved, stop - start, 0.5)]
        return tuple(sorted(left, key=lambda stretch: stretch.start_s))


def scan(
    path: Path,
    settings: FaceSettings,
    plan: Plan | None = None,
    max_duration: float = math.inf,
    on_progress: Callable[[float], None] = lambda done: None,
) -> VideoScan:
    """Return what is found in a video; one that cannot be read, or is longer than `max_duration`, is `unreadable`.

    `on_progress` is called with the share that is done, 0 to 1.
    """
    if pictures.is_pictures(path):
        return of_first_frames(find_faces(path, settings, max_duration))
    try:
        search = VideoSearch(path, settings, plan)
        if search.facts.duration_s > max_duration:
            text = f"{path.name} is {search.facts.duration_s:,.0f} s long; at most {max_duration:,.0f} s are taken."
            raise VideoError(text)
        for step in search.steps():
            on_progress(step.done)
        return search.result()
    except VideoError as error:
        return VideoScan(None, (), (), (), False, unreadable(str(error), settings.face_size))


def _ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Yield the items of an iterator, each of which is made in a thread while the one before is used."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, items, None)
        while (item := waiting.result()) is not None:
            waiting = pool.submit(next, items, None)
            yield item


def _gaps(spans: list[tuple[float, float]], end: float, least: float = 1.0) -> list[tuple[float, float]]:
    """Return the stretches from 0 to `end`, of at least so many seconds, that no span covers."""
    covered = joined(spans, 0.2)
    edges = [0.0, *(edge for span in covered for edge in span), end]
    return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= least]


def _farthest_first(
    spans: list[tuple[float, float]], looked: list[tuple[float, float]]
) -> Iterator[tuple[float, float]]:
    """Yield spans in an order in which each is the farthest from those before it and from what was looked at."""
    middles, distances = np.array([sum(span) / 2 for span in spans]), np.full(len(spans), np.inf)
    for start, end in looked:
        np.minimum(distances, np.abs(middles - (start + end) / 2), out=distances)
    for _ in spans:
        best = int(np.argmax(distances))
        yield spans[best]
        np.minimum(distances, np.abs(middles - middles[best]), out=distances)
        distances[best] = -1.0
