"""Windows over a whole video: who is seen when, with the face crops of each stretch of about five seconds.

A window is what a detector is trained on: evenly spaced faces of one person, over at most `WINDOW_S` seconds of a shot.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from av import VideoFrame

from dfutils.core.params import FaceSettings, split_list
from dfutils.faces import tracking, views
from dfutils.faces.detection import embedding
from dfutils.faces.extraction import FaceClip, VideoFaces, face_clip
from dfutils.faces.footage import Footage
from dfutils.faces.pyav_reader import View
from dfutils.faces.search import MOST, valid_sightings
from dfutils.faces.tracking import Sighting
from dfutils.faces.video_facts import VideoFacts

WINDOW_S = 5.0
"""Seconds of a window: those of the first `max_frames` frames of a video at 30 frames per second."""

SHORTEST_S = 0.8
"""Seconds of the shortest window: frames of a moment are nearly the same picture, and their score is that of one."""


@dataclass(frozen=True, eq=False)
class Window:
    """The faces of one person in a stretch of one shot; `start_s` and `end_s` are seconds from the start."""

    start_s: float
    end_s: float
    clip: FaceClip


@dataclass(frozen=True, eq=False)
class PersonSeen:
    """The windows of one person, in time order.

    `may_be` holds the positions, in the list of people, of those who may be the same person: the distance of their face
    embeddings decides neither for nor against it.
    """

    windows: tuple[Window, ...]
    may_be: tuple[int, ...] = ()


@dataclass(frozen=True)
class LeftOut:
    """A stretch of a video that was not judged, in seconds, and why, as part of a sentence."""

    start_s: float
    end_s: float
    reason: str


@dataclass(frozen=True, eq=False)
class VideoScan:
    """What was found in a video.

    Attributes:
        facts: container facts; None if the video cannot be read.
        shots: start and end of each shot, in seconds; () if only the first frames were looked at.
        people: those who are judged; the person who is seen longest and largest is first.
        left_out: stretches without a window, in time order.
        cut: whether the file ends before its container says so.
        main: the clip of the main person, which says how many `people` were seen; if nobody is judged, it says why.
    """

    facts: VideoFacts | None
    shots: tuple[tuple[float, float], ...]
    people: tuple[PersonSeen, ...]
    left_out: tuple[LeftOut, ...]
    cut: bool
    main: FaceClip


def joined(spans: Sequence[tuple[float, float]], gap: float = 0.05) -> tuple[tuple[float, float], ...]:
    """Return stretches (start, end) in order, those that touch or are at most `gap` seconds apart as one."""
    found: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1] + gap:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return tuple(found)


def of_first_frames(faces: VideoFaces) -> VideoScan:
    """Return the scan of a video of which only the first frames were looked at: a window per person."""
    windows = [Window(float(c.times[0]), float(c.times[-1]), c) for c in faces.clips if len(c.frames)]
    return VideoScan(faces.facts, (), tuple(PersonSeen((w,)) for w in windows), (), faces.cut, faces.clip)


@dataclass(frozen=True, eq=False)
class Shown:
    """A face, its frame numbered as in the video, and the frames that its views are cut from, with their conversion."""

    sighting: Sighting
    view: View
    pictures: dict[int, VideoFrame]


def shown(sighting: Sighting, footage: Footage, views_of_it: Sequence[str]) -> Shown:
    """Return a face of a stretch with what its views need; nothing for the view `face`, which is its crop."""
    index = footage.pictures[sighting.index][0]
    kept: dict[int, VideoFrame] = {}
    if tuple(views_of_it) != views.VIEWS[:1]:
        near = footage.pictures[max(sighting.index - views.SUCCESSIVE + 1, 0) : sighting.index + views.SUCCESSIVE]
        kept = {number: picture for number, _, picture in near}
        after = views.needed([index], views_of_it) - {index - k for k in range(1, views.SUCCESSIVE)}
        kept = {number: kept[number] for number in after} if after <= set(kept) else kept
    return Shown(replace(sighting, index=index), footage.view, kept)


def window_of(faces: Sequence[Shown], settings: FaceSettings, within: tuple[float, float]) -> Window:
    """Return a window of these evenly spaced faces of one person in the shot `within` these seconds."""
    sightings = [face.sighting for face in faces]
    clip = face_clip(sightings, settings.face_size, 1, len(faces), "ok", "", [])
    if settings.views != "face":
        frames = {index: face.view.rgb(kept) for face in faces for index, kept in face.pictures.items()}
        clip = replace(clip, views=views.cut(frames, clip.indices.tolist(), clip.boxes, split_list(settings.views)))
    start_s, end_s = span_of(clip.times)
    return Window(max(start_s, within[0]), min(end_s, within[1]), clip)


def span_of(times: np.ndarray) -> tuple[float, float]:
    """Return start and end of evenly spaced frames, half a distance before the first and after the last, in seconds."""
    half = float(times[-1] - times[0]) / max(2 * (len(times) - 1), 1)
    return float(times[0]) - half, float(times[-1]) + half


@dataclass(eq=False)
class _Known:
    """A person while the video is searched: windows, embeddings, faces of the current shot, and those not in a window.

    `last` are the last faces in the current shot, by which the person is followed; `few` are the most faces in a shot
    that had too few of them for a window.
    """

    embeddings: list[np.ndarray] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    faces: list[Shown] = field(default_factory=list)
    waiting: int = 0
    last: list[Sighting] = field(default_factory=list)
    few: list[Shown] = field(default_factory=list)
    few_within: tuple[float, float] = (0.0, 0.0)
    weight: float = 0.0
    count: int = 0


class Gallery:
    """The people of a video, as they are seen shot by shot.

    Within a shot people are followed by position and colours, across shots by face recognition.
    """

    def __init__(self, settings: FaceSettings) -> None:
        """Begin with nobody; `settings` are the detector's."""
        self.settings = settings
        self._known: list[_Known] = []
        self._shot: tuple[float, float] | None = None

    def hints(self) -> list[Sighting]:
        """Return the last face of each person who is in the current shot, the largest ones."""
        last = [person.last[-1] for person in self._known if person.last]
        return sorted(last, key=lambda sighting: -sighting.box[2])[:MOST]

    def add(self, people: Sequence[list[Sighting]], footage: Footage) -> list[Window]:
        """Add the people of a stretch of the current shot, as they were seen in it; return the windows full now."""
        taken: set[int] = set()
        windows = []
        self._shot = (self._shot or footage.span)[0], footage.span[1]
        for sightings in people:
            valid = valid_sightings(sightings)
            if not valid:
                continue
            k = self._followed(sightings, taken)
            k = self._recognised(valid, taken) if k is None else k
            taken.add(k)
            person = self._known[k]
            person.last = sightings[-3:]
            person.count += len(sightings)
            person.weight += sum(sighting.box[2] for sighting in valid)
            chosen = [valid[k] for k in tracking.spread([s.index for s in valid], self.settings.frames_per_video)]
            person.faces += [shown(sighting, footage, split_list(self.settings.views)) for sighting in chosen]
            person.waiting += len(chosen)
            windows += self._full(person)
        for k, person in enumerate(self._known):
            if k not in taken:
                person.last = []
        return windows

    def end_shot(self) -> list[Window]:
        """End the current shot; return its last windows, which may overlap those before."""
        count, windows = self.settings.frames_per_video, []
        for person in self._known:
            faces = person.faces[-count:]
            if person.waiting and len(faces) >= least_faces(count) and _seconds(faces) >= SHORTEST_S:
                windows.append(window_of(faces, self.settings, self._shot))
                person.windows.append(windows[-1])
            elif person.waiting and len(faces) > len(person.few):
                person.few, person.few_within = faces, self._shot
            person.faces, person.waiting, person.last = [], 0, []
        self._shot = None
        self._forget()
        return windows

    def _forget(self) -> None:
        """Let go of faces too few for a window that will not be judged, since they hold whole frames."""
        kept = 0 if any(person.windows for person in self._known) else MOST
        for person in sorted(self._known, key=lambda person: -len(person.few))[kept:]:
            person.few = []

    def _full(self, person: _Known) -> list[Window]:
        count, windows = self.settings.frames_per_video, []
        while person.waiting >= count and _seconds(person.faces) >= SHORTEST_S:
            end = len(person.faces) - person.waiting + count
            windows.append(window_of(person.faces[end - count : end], self.settings, self._shot))
            person.waiting -= count
        person.windows += windows
        person.faces = person.faces[-(count + person.waiting) :]
        return windows

    def _followed(self, sightings: list[Sighting], taken: set[int]) -> int | None:
        """Return who in the current shot continues with these sightings."""
        first = sightings[0]
        for k, person in enumerate(self._known):
            followed = person.last and k not in taken and tracking.near(person.last[-1], first)
            if followed and max(tracking.likeness(before, first) for before in person.last) == 2:
                return k
        return None

    def _recognised(self, valid: list[Sighting], taken: set[int]) -> int:
        """Return who has this face; the person is new if nobody has."""
        best = max(valid, key=lambda sighting: sighting.score)
        code = embedding(best.crop, best.landmarks)
        free = [k for k in range(len(self._known)) if k not in taken]
        near = min(free, key=lambda k: _distance(self._known[k].embeddings, [code]), default=None)
        if near is None or _distance(self._known[near].embeddings, [code]) >= tracking.SAME:
            self._known.append(_Known())
            near = len(self._known) - 1
        if len(self._known[near].embeddings) < MOST:
            self._known[near].embeddings.append(code)
        return near

    def people(self) -> tuple[PersonSeen, ...]:
        """Return those who have a window, at most `MOST`; the person who is seen longest and largest is first.

        If nobody has one, the windows are of those faces that there are.
        """
        if not any(person.windows for person in self._known):
            for person in self._known:
                person.windows += [window_of(person.few, self.settings, person.few_within)] if person.few else []
        chosen = self._ordered()
        return tuple(
            PersonSeen(tuple(person.windows), tuple(k for k, other in enumerate(chosen) if _may_be(person, other)))
            for person in chosen
        )

    def others(self) -> int:
        """Return how many further people were seen, in at least two frames."""
        judged = self._ordered()
        return sum(person.count > 1 and person not in judged for person in self._known)

    def _ordered(self) -> list[_Known]:
        return sorted((person for person in self._known if person.windows), key=lambda person: -person.weight)[:MOST]


def least_faces(count: int) -> int:
    """Return how many valid faces a window has at least, for a detector that was trained on `count`."""
    return (count + 1) // 2


def _seconds(faces: Sequence[Shown]) -> float:
    """Return how long evenly spaced faces last, each until the next would come."""
    if len(faces) < 2:
        return 0.0
    return (faces[-1].sighting.time_s - faces[0].sighting.time_s) * len(faces) / (len(faces) - 1)


def _distance(some: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> float:
    return min((float(np.linalg.norm(one - other)) for one in some for other in others), default=np.inf)


def _may_be(one: _Known, other: _Known) -> bool:
    """Return whether two may be the same person: alike, and never seen at the same time."""
    if one is other or not _distance(one.embeddings, other.embeddings) < tracking.MAYBE:
        return False
    return not any(a.start_s < b.end_s and b.start_s < a.end_s for a in one.windows for b in other.windows)
