"""`metrics.json`, the machine's copy of report 04, and the words that sum it up.

The schema:

| key | what |
| --- | --- |
| `schema` | 3; raised when a key changes its meaning (see `SCHEMA`) |
| `experiment`, `trained_on`, `tested_on` | the name, and the datasets of its training and its test videos |
| `verdict`, `caveats` | the result in words, and what limits it |
| `conditions` | what every figure depends on, as `conditions` gives it |
| `threshold` | `value`, `rule`, and the number of `validation_videos` that chose it; `note` if it could not |
| `borders` | of *cannot tell*: `lower`, `upper`, and what the answers are worth on `validation`, as `test.answers` |
| `calibration` | `slope`, `offset`, `note`, and `before` and `after` the test videos' `ece`, `log_loss` and `brier` |
| `prior_fake` | share of fakes that log loss, Brier score, ECE and calibrated scores are for |
| `methods` | forgery methods of the test: `unseen` by training and validation, and those only validation saw |
| `no_face` | what a video without a face counts as |
| `test.videos` | `count` and `fingerprint` of the judged videos, equal where two runs judge the same ones |
| `test.counts` | `real` and `fake` videos that count, and `coverage`: how many of all have a score |
| `test.confusion` | 2 x 2 counts of videos, rows true real and fake, columns called real and fake |
| `test.video`, `test.frame` | name → `value`, `low`, `high` (95%), `method` of the interval; `null` where undefined |
| `test.answers` | what the three answers are worth, as `answers.rates` gives it; each as in `test.video` |
| `test.methods` | one row per method and compression: `real`, `fake`, and figures that need no threshold |
| `by_method` | one row per forgery method, and one for the real videos, as `slices.by_slice` gives them |
| `by_part` | the same by dataset, method and quality, corrected over all of them together |
| `baselines` | name → `threshold`, figures, and the detector's paired `gain` over it (`reference_scores.baselines`) |
| `eval` | for each dataset of `eval_datasets`, what `test` is for the test split; `videos.which` of them are scored |
| `audit` | what splits share, and which facts give labels away, as `leakage.Audit.to_dict` says |
| `fingerprints` | 16 hexadecimal digits each for data and splits, and for the detector with its calibration |
| `made_by` | versions and commit |
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dfutils import metrics
from dfutils.core.files import digest
from dfutils.metrics.calibration import Scaling, chosen_of, with_slope

SCHEMA = 3
"""In 1, `baselines` had no figures of the test split. In 2, log loss, Brier score and ECE were for no stated share of
fakes, and `temperature` stood for `calibration`."""
FEW = 30
"""Videos of a class under which a figure is hardly more than an anecdote."""
MISCALIBRATED = 0.1
"""Calibration error from which a score is not to be read as a probability."""


def fingerprint(detector: Any) -> str:
    """Return 16 hexadecimal digits that name a detector: its weights, how it was trained, and its calibration."""
    facts = {"training": detector.config["training"], "weights": detector.digest()}
    facts |= {"fusion": detector.config["fusion"]} if "fusion" in detector.config else {}
    return digest({**facts, "calibration": chosen_of(detector.config)})


def is_of(figures: Mapping[str, Any], detector: Any) -> bool:
    """Return whether a metrics.json is of a detector as it is now: its weights, its training and its calibration.

    In those of earlier versions the fingerprint is of weights and training alone, and the calibration stands beside it.
    """
    written = figures["fingerprints"].get("detector")
    if written == fingerprint(detector):
        return True
    earlier = digest({"training": detector.config["training"], "weights": detector.digest()})
    beside = with_slope({name: (figures.get(name) or {}).get("value") for name in ("temperature", "threshold")})
    return written == earlier and all(detector.config.get(name) == value for name, value in beside.items())


_LOSSES = ("ece", "log_loss", "brier")


def calibration(
    labels: np.ndarray, before: np.ndarray, after: np.ndarray, scaling: Scaling, prior_fake: float
) -> dict[str, Any]:
    """Return slope, offset and note of a calibration, and what the losses of the test videos were before and after it.

    `ece`, `log_loss` and `brier` are those of a share `prior_fake` of fakes; None where a class is missing.
    """

    def losses(scores: np.ndarray) -> dict[str, float | None]:
        figures = metrics.summary(labels, scores, prior_fake=prior_fake, resamples=2)
        return {name: figures[name]["value"] for name in _LOSSES}

    found = {"slope": scaling.slope, "offset": scaling.offset, "note": scaling.note}
    return {**found, "before": losses(before), "after": losses(after)}


def worse_calibration(found: dict[str, Any] | None) -> str:
    """Return a sentence if calibration has made a loss of the test videos larger, else "".

    `found` is the entry `calibration` of metrics.json, or `temperature` of an earlier version.
    """
    if not found:
        return ""
    worse = []
    for name, words in zip(_LOSSES, ("calibration error", "log loss", "Brier score"), strict=True):
        before, after = (found.get(when, {}).get(name) for when in ("before", "after"))
        if before is not None and after is not None and after > before + 1e-9:
            worse.append(f"{words} {before:.4f} before, {after:.4f} after")
    if not worse:
        return ""
    return f"On the test videos calibration made scores worse as probabilities ({'; '.join(worse)})."


def conditions(settings: Mapping[str, Any] | None, compressions: Sequence[str]) -> dict[str, Any]:
    """Return what figures depend on beside the detector: how faces were cut, and how the test videos are compressed.

    `settings` are those of the faces, None if they are not known; a compression is "" where it is not known.
    """
    names = ("frames_per_video", "face_size", "face_margin")
    known = {name: (settings or {}).get(name) for name in names}
    return {**known, "compression": sorted(set(compressions) - {""})}


def in_words(found: Mapping[str, Any]) -> str:
    """Return what `conditions` found as one line for the reader."""
    crops = "frames and crops not known"
    if found["frames_per_video"]:
        crops = (
            f"at most {found['frames_per_video']} frames each, crops of {found['face_size']} pixels with a margin of "
            f"{found['face_margin']:g}"
        )
    compression = ", ".join(found["compression"]) or "as in the files"
    return f"Figures are per video unless they say per frame: {crops}; compression {compression}."


def seen_methods(videos: pd.DataFrame) -> dict[str, list[str]]:
    """Return the forgery methods of the test by who else saw them: `unseen`, and `validation_only`.

    A method of validation took part in choosing the epoch, the calibration and the threshold, so it is not unseen.
    """
    fakes = videos[(videos["label"] == 1) & (videos["status"] == "ok")]
    by_split = {name: set(part["method"]) for name, part in fakes.groupby("split")}
    train, val, test = (by_split.get(name, set()) for name in ("train", "val", "test"))
    return {"unseen": sorted(test - train - val), "validation_only": sorted((test & val) - train)}


def unequal_coverage(measured: dict[str, Any]) -> str:
    """Return a sentence if one class of a split is scored less often than the other, else "". `measured` as `measure`.

    Classes are judged unequal from a tenth of a percent on: what is lost may be what is hard.
    """
    coverage = measured["counts"].get("coverage") or {}
    real, fake = coverage.get("real"), coverage.get("fake")
    if real is None or fake is None or abs(real - fake) < 0.001:
        return ""
    fewer, more = sorted((("real", real), ("fake", fake)), key=lambda pair: pair[1])
    return (
        f"Coverage differs by class: {fewer[1]:.1%} of the {fewer[0]} and {more[1]:.1%} of the {more[0]} test videos "
        f"have a score. The {fewer[0]} videos without one may be the hard ones, which no figure shows."
    )


_BESIDE = {
    "container facts": "Container facts, without any face,",
    "single frames": "Single frames, each judged alone and averaged,",
}


def verdict(measured: dict[str, Any], baselines: dict[str, Any] | None = None) -> str:
    """Return the result in words, with intervals and counts, and what it is worth beside the baselines."""
    video, counts = measured["video"], measured["counts"]
    (_, alarms), (misses, _) = measured["confusion"]
    tested = f"On {counts['real']} real and {counts['fake']} fake test videos"
    if video["roc_auc"]["value"] is None:
        return f"{tested} one class is missing, so nothing can be said of how well the two are told apart."
    auc, balanced = video["roc_auc"], video["balanced_accuracy"]
    chance = ""
    if auc["high"] is not None and auc["high"] < 0.5:
        chance = " The detector is inverted: it scores real videos above fakes, as if the labels were swapped."
    elif auc["low"] is not None and auc["low"] <= 0.5:
        chance = " That is not distinguishable from guessing."
    return (
        f"{tested} the detector's ROC AUC is {auc['value']:.3f} (95%: {_span(auc)}) and its balanced accuracy "
        f"{balanced['value']:.3f} (95%: {_span(balanced)}). It let {misses} of {counts['fake']} fakes pass and called "
        f"{alarms} of {counts['real']} real videos fake.{chance}{_beside(baselines or {})}"
    )


def _beside(baselines: dict[str, Any]) -> str:
    """Return in words how the detector stands to what sees no face, and to its own frames."""
    said = ""
    for name, what in _BESIDE.items():
        gain, auc = baselines.get(name, {}).get("gain"), baselines.get(name, {}).get("roc_auc")
        if not gain or gain["value"] is None:
            continue
        if gain["low"] is None:
            said += (
                f" {what} reach {auc['value']:.3f}; too few people were tested to say whether the detector is better."
            )
            continue
        better = "is better" if gain["low"] > 0 else "is worse" if gain["high"] < 0 else "cannot be told from that"
        by = f"{gain['value']:+.3f}, 95%: {gain['low']:+.3f} to {gain['high']:+.3f}"
        said += f" {what} reach {auc['value']:.3f}; the detector {better} ({by})."
    return said


def _span(figure: dict[str, Any]) -> str:
    return "unknown" if figure["low"] is None else f"{figure['low']:.3f} to {figure['high']:.3f}"


def caveats(
    preprocessed: dict[str, Any],
    measured: dict[str, Any],
    calibration: dict[str, Any] | None = None,
    methods: dict[str, list[str]] | None = None,
) -> list[str]:
    """Return what a reader must know before using the figures, the gravest first."""
    said = []
    if "sample" in preprocessed["layouts"]:
        said.append(
            "These fakes were made by this suite, out of few people: the scores say that the pipeline works, and "
            "nothing about deepfakes in the wild."
        )
    if preprocessed["policy"] == "random":
        said.append("The splits were drawn video by video: people leak from training into the test, and flatter it.")
    said += preprocessed["audit"]["alarms"]
    coverage = measured["counts"]["coverage"]
    if coverage["scored"] < coverage["videos"]:
        said.append(f"{coverage['videos'] - coverage['scored']} test videos have no score, mostly for want of a face.")
    if unequal := unequal_coverage(measured):
        said.append(unequal)
    if min(measured["counts"]["real"], measured["counts"]["fake"]) < FEW:
        said.append("The test split is small: read the intervals, not the values.")
    if methods and methods["validation_only"]:
        said.append(
            f"Fakes by {', '.join(methods['validation_only'])} were not trained on, but validation chose the epoch, "
            "the calibration and the threshold by them: they are not unseen."
        )
    said += filter(None, [(calibration or {}).get("note"), worse_calibration(calibration)])
    error = measured["video"]["ece"]
    if error["low"] is not None and error["low"] > MISCALIBRATED:
        said.append(
            f"Scores are no probabilities here: they miss the share of fakes by {error['value']:.2f} on average (95%: "
            f"{_span(error)}). Compare a score with the threshold only."
        )
    return said
