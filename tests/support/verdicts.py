"""Verdicts made up, of people with given scores, so that pages can be tested without a video or a detector."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dfutils.faces.extraction import FaceClip
from dfutils.faces.video import VideoFacts
from dfutils.faces.windows import LeftOut
from dfutils.metrics import answers
from dfutils.reporting.wording import finding
from dfutils.serving.person import JudgedWindow, Person
from dfutils.serving.verdict import Verdict

BORDERS = (0.3, 0.7)
REALS = (0.01, 0.1, 0.2, 0.4, 0.8)


def window(start_s: float, score: float, size: int = 64, count: int = 4) -> JudgedWindow:
    """A window of five seconds (of none for a single face) whose frames all have its score."""
    shade = np.linspace(40, 200, size, dtype=np.uint8)
    crops = np.broadcast_to(shade[None, :, None, None], (count, size, size, 3)).copy()
    nothing = np.zeros(count)
    end_s = start_s + (5.0 if count > 1 else 0.0)
    clip = FaceClip(
        frames=crops,
        indices=np.arange(count),
        times=np.linspace(start_s, end_s, count),
        boxes=np.tile([10.0, 10.0, 90.0, 90.0], (count, 1)),
        scores=nothing,
        landmarks=np.zeros((count, 68, 2)),
        sharpness=nothing,
        brightness=nothing,
        face_px=np.full(count, 90.0),
        pose=np.zeros((count, 3)),
        people=1,
        n_read=count,
        status="ok",
        reason="",
    )
    return JudgedWindow(start_s, end_s, score, np.full(count, score), clip)


def made(
    file: str,
    people: Sequence[Sequence[JudgedWindow]] = (),
    *,
    duration_s: float = 20.0,
    left_out: Sequence[LeftOut] = (),
    shots: Sequence[tuple[float, float]] = (),
    reason: str = "No face was found.",
) -> Verdict:
    """The verdict on people by their windows; without people, that there is no face."""
    persons = tuple(Person(tuple(windows), max(windows, key=lambda w: w.probability)) for windows in people)
    person = max(range(len(persons)), key=lambda k: persons[k].probability, default=None)
    worst = None if person is None else persons[person].worst
    clip, score = (worst.clip, worst.probability) if worst else (window(0.0, 0.0, count=0).clip, None)
    frame_scores = worst.frame_scores if worst else np.empty(0)
    return Verdict(
        file=file,
        status="ok" if worst else "no_face",
        reason="" if worst else reason,
        probability_fake=score,
        label=None if score is None else ("real", "fake")[score >= 0.5],
        threshold=0.5,
        decision=answers.decide(score, BORDERS),
        borders=BORDERS,
        rank=answers.rank(score, REALS),
        sure=finding(score, 0.5, frame_scores, REALS, BORDERS),
        frame_scores=frame_scores,
        indices=clip.indices,
        times=clip.times,
        boxes=clip.boxes,
        strip=clip.frames,
        people=len(persons),
        facts=VideoFacts(640, 360, 25.0, round(25 * duration_s), duration_s, "h264", 1e6),
        model="made",
        version="0" * 16,
        calibrated=True,
        prior_fake=0.5,
        warnings=("Made for a test.",),
        persons=persons,
        person=person,
        shots=tuple(shots),
        left_out=tuple(left_out),
        stopped=False,
    )


def two_people(file: str = "two.mp4") -> Verdict:
    """Twenty seconds of two people, of whom the second looks fake from 5 s on; the last five were not judged."""
    return made(
        file,
        [[window(0, 0.1), window(5, 0.2), window(10, 0.4)], [window(5, 0.9)]],
        left_out=[LeftOut(15.0, 20.0, "the budget was spent")],
        shots=[(0.0, 10.0), (10.0, 20.0)],
    )


def maps(count: int, size: int = 64) -> np.ndarray:
    """Something like Grad-CAM of `count` faces."""
    return np.random.default_rng(0).random((count, size, size)).astype(np.float32)


def written(path: Path) -> str:
    """The text of a page."""
    return path.read_text(encoding="utf-8")
