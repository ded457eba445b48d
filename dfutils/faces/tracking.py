"""Grouping of the faces detected in a video's frames into people.

A detector gives faces in single frames. They are linked to *tracks* (one face whose position and colours change little)
and tracks are joined to *people*. A cut, or a second head that appears where the first one was, changes the position or
the colours and ends the track; whether two tracks show the same person is then decided by face recognition. This module
reads no pixels: it uses the properties of each `Sighting`.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

SAME, MAYBE = 0.5, 0.6
"""Distance of two face embeddings below which two faces are one person's, and may be (dlib's usual limit); `people`."""


@dataclass(frozen=True, eq=False)
class Sighting:
    """A face in one frame, with everything that a strip and its rows of the frames table need.

    `box` is x, y, w, h in source pixels; `crop` uint8 RGB `(S, S, 3)`; `landmarks` `(68, 2)` in crop pixels; `pose`
    yaw, pitch, roll in degrees. For detecting cuts: `colours`, a histogram of the crop that sums to 1; `pattern`, the
    grey crop at 32 x 32 pixels with mean 0 and norm 1; `scene`, the grey frame at 16 x 16 pixels. `flaw` is the reason
    why the face is not valid, "" if it is.
    """

    index: int
    time_s: float
    box: tuple[float, float, float, float]
    score: float
    crop: np.ndarray = field(repr=False)
    landmarks: np.ndarray = field(repr=False)
    sharpness: float
    brightness: float
    pose: tuple[float, float, float]
    colours: np.ndarray = field(repr=False)
    pattern: np.ndarray = field(repr=False)
    scene: np.ndarray = field(repr=False)
    flaw: str = ""


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the intersection over union of two boxes x, y, w, h: 0 (disjoint) to 1 (equal)."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    common = max(width, 0.0) * max(height, 0.0)
    return common / (a[2] * a[3] + b[2] * b[3] - common)


def near(before: Sighting, after: Sighting) -> bool:
    """Return whether two faces are close to each other in position and similar in size."""
    size = (before.box[2] * after.box[2]) ** 0.5
    dx = before.box[0] + before.box[2] / 2 - after.box[0] - after.box[2] / 2
    dy = before.box[1] + before.box[3] / 2 - after.box[1] - after.box[3] / 2
    small, large = sorted((before.box[2], after.box[2]))
    return bool(np.hypot(dx, dy) < 0.8 * size and large < 1.7 * small)


def likeness(before: Sighting, after: Sighting) -> int:
    """Return 0 if two faces that are near each other look like two people, 1 if that is open, 2 if they are surely one.

    Measured on the twelve clips of real faces: of two frames half a second apart, the colours (CIE Lab) have 0.64 and
    mostly 0.83 or more in common; of all 136,020 pairs of frames from two clips, less than 0.63, but for two actors
    before one grey wall, who reach 0.79 and whose patterns correlate by 0.66. Each of the three signs below, which an
    unmoved camera, an unchanged light or a still head give, is beyond them.
    """
    common = np.minimum(before.colours, after.colours).sum()
    if common < 0.58:
        return 0
    still = np.abs(before.scene - after.scene).mean() < 11
    return 2 if still or common > 0.81 or np.vdot(before.pattern, after.pattern) > 0.68 else 1


def link(
    sightings: Sequence[Sighting], longest_gap: float, recognised: Callable[[Sighting, Sighting], bool]
) -> list[list[Sighting]]:
    """Return tracks: lists of sightings in time order, at most one per frame.

    A face continues a track if it is `near` the track's last sighting and its `likeness` to one of the last three is 2.
    If the likeness is 1, `recognised` decides, which may be expensive. A track ends after more than `longest_gap`
    frames without a sighting.
    """
    tracks: list[list[Sighting]] = []
    for index in sorted({sighting.index for sighting in sightings}):
        new = [sighting for sighting in sightings if sighting.index == index]
        pairs = sorted(
            (-overlap(track[-1].box, sighting.box), t, s)
            for t, track in enumerate(tracks)
            for s, sighting in enumerate(new)
            if index - track[-1].index <= longest_gap and near(track[-1], sighting)
        )
        track_of: dict[int, int] = {}  # position of a new sighting -> position of the track that it continues
        for _, t, s in pairs:
            if t in track_of.values() or s in track_of:
                continue
            best = max(likeness(before, new[s]) for before in tracks[t][-3:])
            if best == 2 or (best == 1 and recognised(tracks[t][-1], new[s])):
                track_of[s] = t
        for s, sighting in enumerate(new):
            if s in track_of:
                tracks[track_of[s]].append(sighting)
            else:
                tracks.append([sighting])
    return tracks


def weight(sightings: Sequence[Sighting], stride: float) -> float:
    """Return the weight of a person: the sum, over intervals of `stride` frames, of the width of the largest face."""
    largest: dict[int, float] = {}
    for sighting in sightings:
        interval = int(sighting.index / stride)
        largest[interval] = max(largest.get(interval, 0.0), sighting.box[2])
    return sum(largest.values())


def people(
    tracks: Sequence[list[Sighting]],
    stride: float,
    distance: Callable[[Sighting, Sighting], float],
    same_below: float = SAME,
    most: int = 8,
) -> list[list[Sighting]]:
    """Return the sightings of each person, in time order; the person of the largest `weight` first.

    The tracks are assigned in order of their weight, the largest first. Each goes to the nearest person whose best face
    (the one of the highest score) has a `distance` below `same_below` from the track's best face and who has no
    sighting in the same frame; otherwise it begins a new person. `distance` may be expensive: it is computed for the
    `most` heaviest tracks only, and never if there is only one; each further track is a person of its own. With dlib's
    embedding, its usual limit of 0.6 would join 3 of the 66 pairs of people in twelve clips of real faces, of which the
    nearest are 0.54 apart.
    """
    ordered = sorted(tracks, key=lambda track: (-weight(track, stride), track[0].index, track[0].box))
    groups: list[list[list[Sighting]]] = []
    for rank, track in enumerate(ordered):
        frames = {sighting.index for sighting in track}
        choices = [
            (distance(_best(group[0]), _best(track)), g)
            for g, group in enumerate(groups[:most] if rank < most else [])
            if not any(sighting.index in frames for other in group for sighting in other)
        ]
        nearest, g = min(choices, default=(np.inf, -1))
        if nearest < same_below:
            groups[g].append(track)
        else:
            groups.append([track])
    joined = [sorted((s for track in group for s in track), key=lambda s: s.index) for group in groups]
    return sorted(joined, key=lambda person: (-weight(person, stride), person[0].index, person[0].box))


def _best(track: Sequence[Sighting]) -> Sighting:
    """Return the sighting of the highest score, the earliest of equal ones."""
    return max(track, key=lambda sighting: (sighting.score, -sighting.index))


def spread(indices: Sequence[int], count: int) -> list[int]:
    """Return positions of `count` of the ascending `indices` that make the smallest gap between them a maximum.

    First and last position are included (if `count` is 1, it is the middle one). If there are at most `count` indices,
    all positions are returned.
    """
    if len(indices) <= count:
        return list(range(len(indices)))
    if count == 1:
        return [len(indices) // 2]
    low, high = 1, (indices[-1] - indices[0]) // (count - 1)  # bisection: the smallest gap lies in this range
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(_apart(indices, middle)) >= count else (low, middle - 1)
    return [*_apart(indices, low)[: count - 1], len(indices) - 1]


def between(indices: Sequence[int], taken: Collection[int], count: int) -> list[int]:
    """Return `count` of the `indices`, sorted; each was chosen as the farthest from `taken` and those chosen before."""
    gaps = {index: min((abs(index - other) for other in taken), default=0) for index in indices}
    chosen: list[int] = []
    while gaps and len(chosen) < count:
        farthest = max(gaps, key=lambda index: (gaps[index], -index))
        chosen.append(farthest)
        gaps = {index: min(gap, abs(index - farthest)) for index, gap in gaps.items() if index != farthest}
    return sorted(chosen)


def _apart(indices: Sequence[int], gap: int) -> list[int]:
    """Return positions from the first on whose indices are at least `gap` apart."""
    chosen = [0]
    for position, index in enumerate(indices):
        if index - indices[chosen[-1]] >= gap:
            chosen.append(position)
    return chosen
