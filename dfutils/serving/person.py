"""The people of a video with the scores of their windows."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dfutils.faces.extraction import FaceClip
from dfutils.faces.windows import joined


@dataclass(frozen=True, eq=False)
class JudgedWindow:
    """The score of a window: `probability` of fake, and that of each frame of its clip, `frame_scores` `(T,)`.

    `start_s` and `end_s` are in seconds from the start of the video. Of a detector of several views, `views` holds what
    the probability would be by each alone; views that were not possible are not there.
    """

    start_s: float
    end_s: float
    probability: float
    frame_scores: np.ndarray
    clip: FaceClip = field(repr=False)
    views: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Person:
    """The scores of one person in a video.

    Attributes:
        windows: in time order, at least one.
        worst: the most suspicious stretch; one of `windows`, or one that lies across two of them and was judged again.
        may_be: positions in `Verdict.persons` of those who may be the same person.
    """

    windows: tuple[JudgedWindow, ...]
    worst: JudgedWindow
    may_be: tuple[int, ...] = ()

    @property
    def probability(self) -> float:
        """Probability of fake of the most suspicious stretch."""
        return self.worst.probability

    @property
    def seen(self) -> tuple[tuple[float, float], ...]:
        """Start and end, in seconds, of the stretches in which this person was judged."""
        return joined([(window.start_s, window.end_s) for window in self.windows])

    @property
    def face_px(self) -> float:
        """Median side of the face in source pixels."""
        return float(np.median(np.concatenate([window.clip.face_px for window in self.windows])))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, without pixels and scores of frames."""
        return {
            "probability_fake": self.probability,
            "start_s": round(self.worst.start_s, 3),
            "end_s": round(self.worst.end_s, 3),
            "seen": [[round(second, 3) for second in span] for span in self.seen],
            "face_px": round(self.face_px, 1),
            "may_be": list(self.may_be),
            "windows": [
                {
                    "start_s": round(window.start_s, 3),
                    "end_s": round(window.end_s, 3),
                    "probability_fake": window.probability,
                }
                for window in self.windows
            ],
        }
