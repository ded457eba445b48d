"""One video to one verdict, by the very functions that the notebooks train and evaluate with.

Faces are found as they were found for training, turned into tensors by the same code and scored by the same code, so
that a score on the web page is the score in the report. Where no verdict can be had, none is made up: a video without
enough faces has a status and a reason, and no probability.
"""

import glob
import inspect
import os
import weakref
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dfutils.core.errors import InputError
from dfutils.core.paths import files_below
from dfutils.detector import network
from dfutils.detector.network import Detector
from dfutils.faces import extraction
from dfutils.faces.extraction import FaceClip, VideoFaces, extract
from dfutils.faces.video import VideoFacts
from dfutils.reporting.wording import certainty

OF_THE_SAMPLE = (
    "This detector was trained on forgeries that the suite made itself (the built-in sample): it knows nothing of real "
    "videos, and its answer says nothing about deepfakes in the wild."
)
OF_PHOTOGRAPHS = (
    "This detector was trained on photographs brought to life: it looks for faces that were blended into a video. "
    "Wholly synthetic faces, talking-face models and heavy compression are outside what it was trained for; its answer "
    "is a reason to look further, not proof."
)
OF_NOTHING_KNOWN = (
    "What this detector was trained on is not written in its file: its threshold and the size of its crops are the "
    "suite's defaults, not chosen for it."
)
OF_CROPPED_FACES = (
    "This detector was trained on videos that are cropped faces already, and takes a video's whole frame for the face: "
    "its answer on any other video says nothing."
)
LIMITS = (
    "A score is a reason to look further, never proof.",
    "The detector finds forgeries like those it was trained on; other methods, wholly synthetic people and heavy "
    "compression can pass it, and real videos can look fake to it.",
    "It looks at one person, the one who is seen longest and largest, in the first frames of the video, and hears "
    "nothing.",
)


@dataclass(frozen=True, eq=False)
class Verdict:
    """What a detector says of a video; T frames were scored, none if it abstains.

    Attributes:
        file: the name the video was given by.
        status: ok, few_faces, no_face or unreadable; in all but the first the detector abstains.
        reason: a sentence if the status is not ok.
        probability_fake: 0 to 1, None if the detector abstains; calibrated if `calibrated`.
        label: real or fake, by the threshold; None if the detector abstains.
        threshold: of the detector: fake from it on.
        sure: how sure it is, in words.
        frame_scores: probability of fake of each frame, `(T,)`.
        indices: which frame of the video each is, `(T,)`.
        times: seconds from its start, `(T,)`.
        boxes: x, y, w, h of the face in source pixels, `(T, 4)`.
        strip: the face crops that the detector saw, uint8 RGB `(T, S, S, 3)`; also where there were too few to score.
        people: how many people were seen.
        facts: what the container says; None if it cannot be read.
        model: name of the detector.
        version: 16 hexadecimal digits that name its weights.
        calibrated: whether its scores were calibrated on validation videos.
        warnings: sentences that go with the verdict wherever it is shown.
    """

    file: str
    status: str
    reason: str
    probability_fake: float | None
    label: str | None
    threshold: float
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
    warnings: tuple[str, ...]

    @property
    def confidence(self) -> float | None:
        """Probability of the class named, None if the detector abstains."""
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
            "prediction": self.label and self.label.upper(),
            "confidence": self.confidence,
            "probability_fake": self.probability_fake,
            "threshold": self.threshold,
            "calibrated": self.calibrated,
            "sure": self.sure,
            "frames": frames,
            "people": self.people,
            "video": {name: None if value != value else value for name, value in facts.items()},
            "model": {"name": self.model, "version": self.version},
            "warnings": list(self.warnings),
        }


def predict_video(path: str | Path, detector: Detector) -> Verdict:
    """Return a detector's verdict on a video.

    Its probability is the one that the notebooks write into `predictions.parquet` for it (to 1e-6). A video that cannot
    be read or has too few faces gives a verdict without a probability, and no error.
    """
    return judge(extraction.find_faces(Path(path), face_settings(detector)), detector, Path(path).name)


def face_settings(detector: Detector) -> dict[str, Any]:
    """Return how faces are found for a detector: as for its training, by the names of `batch.settings`."""
    found = {"faces": "one"}
    found |= {name: argument.default for name, argument in inspect.signature(extract).parameters.items()}
    del found["path"]
    known = {**detector.config, **detector.config.get("preprocessing", {})}
    return {name: known.get(name, value) for name, value in found.items()}


def judge(found: VideoFaces, detector: Detector, file: str) -> Verdict:
    """Return a detector's verdict on what was found in a video; `file` is what the verdict calls it."""
    clip, facts, probability, frames = found.clip, detector.config, None, np.empty(0)
    for person in found.clips:  # with `faces: all`, the most suspicious one counts, as in the notebooks
        if person.status == "ok":
            its_probability, its_frames = score(person, detector)
            if probability is None or its_probability > probability:
                clip, probability, frames = person, its_probability, its_frames
    fake = None if probability is None else bool(probability >= facts["threshold"])
    return Verdict(
        file=file,
        status=clip.status,
        reason=clip.reason,
        probability_fake=probability,
        label=None if fake is None else ("real", "fake")[fake],
        threshold=float(facts["threshold"]),
        sure=certainty(probability, facts["threshold"], frames),
        frame_scores=frames,
        indices=clip.indices,
        times=clip.times,
        boxes=clip.boxes,
        strip=clip.frames,
        people=clip.people,
        facts=found.facts,
        model=name_of(detector),
        version=version_of(detector),
        calibrated=is_calibrated(detector),
        warnings=(*warnings_of(detector), *_warnings_of_file(found)),
    )


def score(clip: FaceClip, detector: Detector) -> tuple[float, np.ndarray]:
    """Return the probability of fake of a clip, and of each of its frames, as `scoring.score` does for its strip."""
    clip_logit, frame_logits = network.logits(detector, network.clip_tensor(detector, clip.frames))
    temperature = detector.config["temperature"]
    return float(network.probability(clip_logit, temperature)[0]), network.probability(frame_logits[0], temperature)


def name_of(detector: Detector) -> str:
    """Return a detector's name: of the experiment that trained it, or where it was fetched from."""
    facts = detector.config
    return str(facts["training"].get("experiment") or facts.get("source") or detector.architecture["backbone"])


def is_calibrated(detector: Detector) -> bool:
    """Whether a temperature was fitted for a detector."""
    return bool(detector.config.get("calibration")) or detector.config["temperature"] != 1.0


def warnings_of(detector: Detector) -> list[str]:
    """Return what must be said with every verdict of a detector."""
    training = detector.config["training"]
    if not training:
        return [OF_NOTHING_KNOWN]
    layouts = training.get("layouts", [])
    said = [OF_THE_SAMPLE] * ("sample" in layouts) + [OF_PHOTOGRAPHS] * ("stills" in layouts)
    return said + [OF_CROPPED_FACES] * (face_settings(detector)["faces"] == "cropped")


def _warnings_of_file(found: VideoFaces) -> list[str]:
    said = []
    if found.cut:
        said.append("The file is cut short: only its beginning was judged.")
    if found.clip.people > 1 and found.clip.status == "ok":
        which = (
            "the score is that of the most suspicious"
            if len(found.clips) > 1
            else ("only the one seen longest and largest was judged")
        )
        said.append(f"{found.clip.people} people were seen; {which}.")
    return said


_versions: "weakref.WeakKeyDictionary[Detector, tuple[int, str]]" = weakref.WeakKeyDictionary()


def version_of(detector: Detector) -> str:
    """Return 16 hexadecimal digits that name a detector's weights; reckoned again only when they change."""
    changes = sum(weight._version for weight in detector.state_dict().values())
    known = _versions.get(detector)
    if known is None or known[0] != changes:
        known = _versions[detector] = (changes, detector.digest())
    return known[1]


def find(words: list[str]) -> list[Path]:
    """Return the videos that files, folders (searched through) and patterns such as `clips/*.mp4` name, in order.

    Raises:
        InputError: if one of them names no video.
    """
    found: dict[Path, None] = {}
    for word in words:
        path = Path(word)
        if path.is_dir():
            videos = sorted(path / name for name in files_below(path))
        elif path.exists():
            videos = [path]
        else:
            videos = [Path(entry) for entry in sorted(glob.glob(word, recursive=True)) if os.path.isfile(entry)]
        if not videos:
            raise InputError(f"{word} is no video, no folder with videos and no pattern that fits any.")
        found |= dict.fromkeys(videos)
    return list(found)
