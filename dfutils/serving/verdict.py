"""Judges one video, by the functions that the notebooks train and evaluate with.

Faces are found with the settings of training, and the same code turns them into tensors and scores them, so that a
score on the web page equals the score in the report. For a video without enough faces the detector abstains: the
verdict has a status and a reason, and no probability.
"""

import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from dfutils.core.paths import printable
from dfutils.detector.network import Detector
from dfutils.faces import extraction, pictures, views
from dfutils.faces.extraction import FaceClip, VideoFaces
from dfutils.faces.video_facts import VideoError, VideoFacts
from dfutils.faces.whole_video import Plan, VideoSearch
from dfutils.faces.windows import LeftOut, VideoScan, of_first_frames
from dfutils.metrics import answers
from dfutils.metrics.answers import Borders
from dfutils.reporting.wording import fewer_frames, finding
from dfutils.serving.judging import Judging
from dfutils.serving.person import JudgedWindow, Person

OF_THE_SAMPLE = (
    "This detector was trained on forgeries that the suite made itself (the built-in sample): it knows nothing of real "
    "videos, was never measured on any, and its answer says nothing about deepfakes in the wild."
)
OF_PHOTOGRAPHS = (
    "This detector was trained on photographs brought to life: it looks for faces that were blended into a video. "
    "Wholly synthetic faces, talking-face models and heavy compression are outside what it was trained for, and it was "
    "never measured on deepfakes that others have made; its answer is a reason to look further, not proof."
)
OF_NOTHING_KNOWN = (
    "What this detector was trained and measured on is not written in its file: its threshold and the size of its "
    "crops are the suite's defaults, not chosen for it."
)
OF_ANOTHER_LIBRARY = (
    "This detector is of another library and uncalibrated: its score is no probability, no video chose its threshold, "
    "and what it was trained on is not known; notebook 04 calibrates it on validation videos."
)
OF_A_DATASET = (
    "This detector was measured on test videos of {datasets} and on no others: how it does on other methods of "
    "forgery, cameras and platforms is not known; its answer is a reason to look further, not proof."
)
OF_CROPPED_FACES = (
    "This detector was trained on videos that are cropped faces already, and takes a video's whole frame for the face: "
    "its answer on any other video says nothing."
)
LARGEST_OF_MANY = (
    "The score is the highest of {count} windows; the borders and the real validation videos are of one window each, "
    "so that more real videos look as suspicious than is said."
)
LIMITS = (
    "A score is a reason to look further, never proof.",
    "The detector finds forgeries like those it was trained on; other methods, wholly synthetic people and heavy "
    "compression can pass it, and real videos can look fake to it.",
    "It looks at faces alone, those that are large enough, in about two frames per second, and hears nothing.",
)


@dataclass(frozen=True, eq=False)
class Verdict:
    """A detector's verdict on a video: that on its most suspicious person, with the T faces of the worst stretch.

    Attributes:
        file: name of the video.
        status: ok, no_face or unreadable; the detector abstains unless it is ok. With fewer faces than it was trained
            on, a warning says what that costs.
        reason: a sentence if the status is not ok.
        probability_fake: 0 to 1, None if the detector abstains; calibrated if `calibrated`.
        label: real or fake, by the threshold; None if the detector abstains.
        threshold: the video is called fake at or above it.
        decision: fake, real or cannot tell, by the borders; None if the detector abstains.
        borders: below the lower one the answer is real, at or above the upper one fake, between them cannot tell; both
            are the threshold where the detector's file holds none.
        rank: how many of the real validation videos score as high, of how many; None if that is not known.
        sure: what was found, and how many real validation videos look as suspicious, in words.
        frame_scores: probability of fake of each frame, `(T,)`; `(0,)` if the detector abstains.
        indices: index of each frame in the video, `(T,)`.
        times: seconds from the start of the video, `(T,)`.
        boxes: x, y, w, h of the face in source pixels, `(T, 4)`.
        strip: the face crops, uint8 RGB `(T, S, S, 3)`.
        people: how many people were seen.
        facts: facts stated by the container; None if it cannot be read.
        model: name of the detector.
        version: 16 hexadecimal digits that identify its weights.
        calibrated: whether its scores were calibrated on validation videos.
        prior_fake: share of fakes among all videos that the probability is for; None if it is not stated.
        warnings: sentences to show with the verdict.
        persons: everyone who was judged, the one who is seen longest and largest first; () if the detector abstains.
        person: position of the most suspicious one; None if the detector abstains.
        shots: start and end of each shot, in seconds; () if only the first frames were looked at.
        left_out: the stretches that were not judged, and why.
        stopped: whether the search of the video was interrupted.
    """

    file: str
    status: str
    reason: str
    probability_fake: float | None
    label: str | None
    threshold: float
    decision: str | None
    borders: Borders
    rank: tuple[int, int] | None
    sure: str
    frame_scores: np.ndarray
    indices: np.ndarray
    times: np.ndarray
    boxes: np.ndarray = field(repr=False)
    strip: np.ndarray = field(repr=False)
    people: int
    facts: VideoFacts | None
    model: str
    version: str
    calibrated: bool
    prior_fake: float | None
    warnings: tuple[str, ...]
    persons: tuple[Person, ...]
    person: int | None
    shots: tuple[tuple[float, float], ...]
    left_out: tuple[LeftOut, ...]
    stopped: bool

    @property
    def n_windows(self) -> int:
        """Number of windows that were judged."""
        return sum(len(person.windows) for person in self.persons)

    @property
    def worst(self) -> JudgedWindow | None:
        """The most suspicious stretch of the most suspicious person, which the verdict is about."""
        return None if self.person is None else self.persons[self.person].worst

    @property
    def confidence(self) -> float | None:
        """Probability of `label`, None if the detector abstains."""
        if self.probability_fake is None:
            return None
        return self.probability_fake if self.label == "fake" else 1 - self.probability_fake

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as plain values for JSON, without pixels; undefined numbers are None."""
        frames = [
            {
                "frame": int(self.indices[k]),
                "time_s": round(float(self.times[k]), 3),
                "box": [round(float(side), 1) for side in self.boxes[k]],
                "probability_fake": float(self.frame_scores[k]) if k < len(self.frame_scores) else None,
            }
            for k in range(len(self.indices))
        ]
        facts = asdict(self.facts) if self.facts else {}
        return {
            "file": self.file,
            "status": self.status,
            "reason": self.reason,
            "decision": self.decision,
            "prediction": self.label and self.label.upper(),
            "confidence": self.confidence,
            "probability_fake": self.probability_fake,
            "threshold": self.threshold,
            "borders": list(self.borders),
            "rank": self.rank and dict(zip(("as_high", "of"), self.rank, strict=True)),
            "calibrated": self.calibrated,
            "prior_fake": self.prior_fake,
            "sure": self.sure,
            "frames": frames,
            "people": self.people,
            "start_s": self.worst and round(self.worst.start_s, 3),
            "end_s": self.worst and round(self.worst.end_s, 3),
            "views": self.worst.views if self.worst else {},
            "windows": self.n_windows,
            "persons": [person.to_dict() for person in self.persons],
            "person": self.person,
            "shots": [[round(second, 3) for second in shot] for shot in self.shots],
            "left_out": [asdict(stretch) for stretch in self.left_out],
            "video": {name: None if value != value else value for name, value in facts.items()},
            "model": {"name": self.model, "version": self.version},
            "warnings": list(self.warnings),
        }


def predict_video(
    path: str | Path,
    detector: Detector,
    first: int | None = None,
    plan: Plan | None = None,
    on_progress: Callable[[float], None] = lambda done: None,
) -> Verdict:
    """Return a detector's verdict on a video: on everyone in it, from its beginning to its end.

    An interrupt (Ctrl-C) ends the search: the verdict is on what was found until then, and `stopped` is set.

    Args:
        path: a video. One that cannot be read or has too few faces gives a verdict without a probability, not an error.
        detector: judges it.
        first: look at so many frames only, and at the person who is seen longest and largest in them; with
            `detector.face_settings.max_frames` the probability is that of the notebooks' `predictions.parquet` (to
            1e-6).
        plan: how much of the video is looked at, if `first` is None.
        on_progress: called with the share that is done, 0 to 1.
    """
    path, settings = Path(path), detector.face_settings
    file = printable(path.name)
    if first is not None:
        return judge(extraction.find_faces(path, settings.model_copy(update={"max_frames": first})), detector, file)
    if pictures.is_pictures(path):
        return judge(extraction.find_faces(path, settings), detector, file)
    try:
        search = VideoSearch(path, settings, plan)
    except VideoError:  # said by a verdict
        return judge(extraction.find_faces(path, settings), detector, file)
    stopped = False
    with Judging(detector) as judging:
        try:
            for step in search.steps():
                judging.take(step.windows)
                on_progress(step.done)
        except KeyboardInterrupt:
            stopped = True
        scan = search.result()
        if stopped and not scan.people:
            raise KeyboardInterrupt
        return replace(_verdict(scan, judging, file), stopped=stopped)


def judge(faces: VideoFaces, detector: Detector, file: str) -> Verdict:
    """Return a detector's verdict on the faces of a video; `file` is the name that the verdict states.

    Each person has one window. There are several with `faces: all` alone, as in the notebooks.
    """
    return judge_scan(of_first_frames(faces), detector, file)


def judge_scan(scan: VideoScan, detector: Detector, file: str) -> Verdict:
    """Return a detector's verdict on a video that was searched; `file` is the name that the verdict states."""
    with Judging(detector) as judging:
        for person in scan.people:
            judging.take(person.windows)
        return _verdict(scan, judging, file)


def _verdict(scan: VideoScan, judging: Judging, file: str) -> Verdict:
    """Return the verdict on the most suspicious person of a scan, whose windows are in `judging`.

    For a whole video threshold, borders and real videos are those of the largest of many scores, if the detector's file
    holds them (`whole_videos`).
    """
    detector, config = judging.detector, judging.detector.config
    chosen = (scan.shots and config.get("whole")) or config
    threshold = float(chosen["threshold"])
    persons = judging.people(scan, threshold)
    person = max(range(len(persons)), key=lambda k: persons[k].probability, default=None)
    worst = None if person is None else persons[person].worst
    clip, probability = (worst.clip, worst.probability) if worst else (scan.main, None)
    frame_scores = worst.frame_scores if worst else np.empty(0)
    fake = None if probability is None else probability >= threshold
    borders, reals = answers.around(chosen.get("borders"), threshold), chosen.get("validation_reals")
    usual, warnings = detector.face_settings.frames_per_video, _warnings_of_scan(scan)
    count = sum(len(seen.windows) for seen in scan.people)
    if count > 1 and chosen is config:
        warnings.append(LARGEST_OF_MANY.format(count=count))
    if worst and len(clip.frames) < usual:
        warnings.append(fewer_frames(len(clip.frames), usual, config.get("frames_error_rates", [])))
    return Verdict(
        file=file,
        status="ok" if worst else clip.status,
        reason="" if worst else clip.reason,
        probability_fake=probability,
        label=None if fake is None else ("real", "fake")[fake],
        threshold=threshold,
        decision=answers.decide(probability, borders),
        borders=borders,
        rank=answers.rank(probability, reals),
        sure=finding(probability, threshold, frame_scores, reals, borders),
        frame_scores=frame_scores,
        indices=clip.indices,
        times=clip.times,
        boxes=clip.boxes,
        strip=clip.frames,
        people=scan.main.people,
        facts=scan.facts,
        model=name_of(detector),
        version=version_of(detector),
        calibrated=is_calibrated(detector),
        prior_fake=detector.scaling.prior_fake,
        warnings=(*warnings_of(detector), *warnings, *_missing_views(detector, clip)),
        persons=tuple(persons),
        person=person,
        shots=scan.shots,
        left_out=scan.left_out,
        stopped=False,
    )


def name_of(detector: Detector) -> str:
    """Return a detector's name: the experiment that trained it, else where it was loaded from, else its backbone."""
    config = detector.config
    return str(config["training"].get("experiment") or config.get("source") or detector.architecture["backbone"])


def is_calibrated(detector: Detector) -> bool:
    """Return whether a detector's scores were calibrated on validation videos, by this version or an earlier one."""
    scaling = detector.scaling
    return scaling.prior_fake is not None or bool(detector.config.get("calibration")) or scaling.slope != 1.0


def warnings_of(detector: Detector) -> list[str]:
    """Return the sentences to show with every verdict of a detector."""
    training = detector.config["training"]
    if detector.config.get("uncalibrated"):
        return [OF_ANOTHER_LIBRARY]
    if not training:
        return [OF_NOTHING_KNOWN]
    layouts = training.get("layouts", [])
    warnings = [OF_THE_SAMPLE] * ("sample" in layouts) + [OF_PHOTOGRAPHS] * ("stills" in layouts)
    if not warnings:
        measured = ", ".join(detector.config.get("measured_on", [])) or "the dataset that it was trained on"
        warnings = [OF_A_DATASET.format(datasets=measured)]
    return warnings + [OF_CROPPED_FACES] * (detector.face_settings.faces == "cropped")


def _warnings_of_scan(scan: VideoScan) -> list[str]:
    """Return the sentences to show with a verdict on this video."""
    warnings, clip, facts = [], scan.main, scan.facts
    if scan.cut:
        warnings.append("The file is cut short: only its beginning was judged.")
    if clip.people > len(scan.people) > 0:
        others = clip.people - len(scan.people)
        seen = f"{others} further people were seen, too small or too short to be judged."
        if len(scan.people) == 1:
            seen = f"{clip.people} people were seen; the larger or longer seen was judged."
        warnings.append(seen)
    if len(scan.people) > 1:
        warnings.append(f"{clip.people} people were seen; the score is that of the most suspicious.")
    if not scan.shots and facts and clip.status in ("no_face", "few_faces") and clip.n_read < facts.n_frames:
        read = facts.duration_s * clip.n_read / facts.n_frames
        if facts.duration_s - read >= 0.5:
            seen = "No face was" if clip.status == "no_face" else "Too few faces were"
            rest = f"the video goes on for {facts.duration_s - read:.0f} s more"
            warnings.append(f"{seen} seen in the first {read:.0f} s: {rest}, which are not looked at.")
    return warnings


def _missing_views(detector: Detector, clip: FaceClip) -> list[str]:
    """Return a sentence for the views of a detector that a judged clip does not have."""
    missing = sorted({part.view for part in detector.others.values()} - {"face", *clip.views})
    if clip.status != "ok" or not missing:
        return []
    least, names = views.LEAST_PX, " and ".join(missing)
    if np.median(clip.boxes[:, 2:].max(axis=1)) < least:
        return [
            f"The face is smaller than {least} pixels, too small for {names}: the detector looked at less than usual."
        ]
    return ["The picture does not move, or repeats its frames: the detector looked at less than usual (not at motion)."]


_versions: "weakref.WeakKeyDictionary[Detector, tuple[int, str]]" = weakref.WeakKeyDictionary()


def version_of(detector: Detector) -> str:
    """Return 16 hexadecimal digits that identify a detector's weights; computed again only when they change."""
    changes = sum(weight._version for weight in detector.weights().values())
    known = _versions.get(detector)
    if known is None or known[0] != changes:
        known = _versions[detector] = (changes, detector.digest())
    return known[1]
