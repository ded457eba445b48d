"""Windows over a whole video: who is seen when, with the face crops of each stretch of about five seconds.

A window is what a detector is trained on: evenly spaced faces of one person, over at most `WINDOW_S` seconds of a shot.
"""

from dataclasses import dataclass

from dfutils.faces.extraction import FaceClip
from dfutils.faces.video import VideoFacts

WINDOW_S = 5.0
"""Seconds of a window: those of the first `max_frames` frames of a video at 30 frames per second."""


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
        shots: start and end of each shot, in seconds.
        people: those who are judged; the person who is seen longest and largest is first.
        others: how many further people were seen, too small or too short to be judged.
        left_out: stretches without a window, in time order.
        cut: whether the file ends before its container says so.
        clip: the main person's largest clip; if nobody is judged, one that says why (`status`, `reason`).
    """

    facts: VideoFacts | None
    shots: tuple[tuple[float, float], ...]
    people: tuple[PersonSeen, ...]
    others: int
    left_out: tuple[LeftOut, ...]
    cut: bool
    clip: FaceClip


def joined(spans: list[tuple[float, float]], gap: float = 0.05) -> tuple[tuple[float, float], ...]:
    """Return stretches (start, end) in order, those that touch or are at most `gap` seconds apart as one."""
    found: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1] + gap:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return tuple(found)
