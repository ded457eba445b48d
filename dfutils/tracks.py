"""Which faces in a video belong to one person.

A detector gives faces in single frames. Here they become *tracks* (one face that stays in about one place and keeps its
colours) and tracks become *people*. A cut, or a second head that appears where the first one was, changes the place or
the colours, and the track ends; whether two tracks show the same person is then asked of whoever can recognise faces.
Nothing here looks at pixels: it works on what was noted when a face was sighted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, eq=False)
class Sighting:
    """A face in one frame, with all that a strip needs of it.

    `box` is x, y, w, h in source pixels; `crop` uint8 RGB `(S, S, 3)`; `landmarks` `(68, 2)` in crop pixels; `pose`
    yaw, pitch, roll in degrees; `colours` a histogram of the crop and `scene` a tiny grey picture of the whole frame,
    both for telling cuts; `flaw` says why the face is not valid, "" if it is.
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
    scene: np.ndarray = field(repr=False)
    flaw: str = ""


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the intersection over union of two boxes x, y, w, h: 0 (apart) to 1 (equal)."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    common = max(width, 0.0) * max(height, 0.0)
    return common / (a[2] * a[3] + b[2] * b[3] - common)


def continues(before: Sighting, after: Sighting) -> bool:
    """Return whether two sightings are surely one face that moved a little: near, of like size and of like colours.

    On the twelve clips of real faces, the colour histograms of one person's crops half a second apart have at least .71
    in common, those of two people half that; where the whole frame changed as by a cut, more is asked for.
    """
    size = (before.box[2] * after.box[2]) ** 0.5
    dx = before.box[0] + before.box[2] / 2 - after.box[0] - after.box[2] / 2
    dy = before.box[1] + before.box[3] / 2 - after.box[1] - after.box[3] / 2
    near = np.hypot(dx, dy) < 0.8 * size and max(before.box[2], after.box[2]) < 1.7 * min(before.box[2], after.box[2])
    changed = np.abs(before.scene - after.scene).mean() > 20
    return bool(near and np.minimum(before.colours, after.colours).sum() > (0.78 if changed else 0.65))


def link(sightings: Sequence[Sighting], longest_gap: float) -> list[list[Sighting]]:
    """Return tracks: lists of sightings in time order, at most one a frame, each continuing the last.

    A track that was not seen for more than `longest_gap` frames is over.
    """
    tracks: list[list[Sighting]] = []
    for index in sorted({sighting.index for sighting in sightings}):
        new = [sighting for sighting in sightings if sighting.index == index]
        pairs = sorted(
            (-overlap(track[-1].box, sighting.box), t, s)
            for t, track in enumerate(tracks)
            for s, sighting in enumerate(new)
            if index - track[-1].index <= longest_gap and continues(track[-1], sighting)
        )
        taken_tracks, taken = set(), set()
        for _, t, s in pairs:
            if t not in taken_tracks and s not in taken:
                tracks[t].append(new[s])
                taken_tracks.add(t)
                taken.add(s)
        tracks += [[sighting] for s, sighting in enumerate(new) if s not in taken]
    return tracks


def weight(sightings: Sequence[Sighting], stride: float) -> float:
    """Return how long and large a person is seen: the largest face of each stretch of `stride` frames, added up."""
    largest: dict[int, float] = {}
    for sighting in sightings:
        stretch = int(sighting.index / stride)
        largest[stretch] = max(largest.get(stretch, 0.0), sighting.box[2])
    return sum(largest.values())


def people(
    tracks: Sequence[list[Sighting]],
    stride: float,
    distance: Callable[[list[Sighting], list[Sighting]], float],
    same_below: float = 0.5,
    most: int = 8,
) -> list[list[Sighting]]:
    """Join tracks of one person; return a list of sightings for each person, who is seen longest and largest first.

    Each track, the weightiest first, goes to the nearest person so far whose first track is at a `distance` below
    `same_below` and who is not in the same frame elsewhere. `distance` may be costly: it is asked only for the `most`
    weightiest tracks, and never if there is only one; further tracks stay people of their own. With dlib's description of
    faces its usual limit, 0.6, joins 3 of the 66 pairs of people in the shared clips; their nearest pair is 0.54 apart.
    """
    ordered = sorted(tracks, key=lambda track: (-weight(track, stride), track[0].index, track[0].box))
    groups: list[list[list[Sighting]]] = []
    for rank, track in enumerate(ordered):
        frames = {sighting.index for sighting in track}
        choices = [
            (distance(group[0], track), g)
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


def spread(indices: Sequence[int], count: int) -> list[int]:
    """Return positions of `count` of the ascending `indices` that lie as evenly as they can between first and last.

    All positions if there are not more than `count`.
    """
    if len(indices) <= count:
        return list(range(len(indices)))
    chosen: list[int] = []
    for k, target in enumerate(np.linspace(indices[0], indices[-1], count)):
        start = chosen[-1] + 1 if chosen else 0
        free = range(start, len(indices) - (count - k - 1))
        chosen.append(min(free, key=lambda position: abs(indices[position] - target)))
    return chosen
