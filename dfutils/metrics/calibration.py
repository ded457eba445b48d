"""Decision threshold, slope and offset from validation scores, and the reliability diagram."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import minimize
from scipy.special import expit

from dfutils.core.errors import InputError
from dfutils.core.params import DEFAULTS
from dfutils.metrics import intervals, resampling
from dfutils.metrics.figures import CLASSES

CALIBRATION = ("slope", "offset", "prior_fake", "threshold", "borders")
"""What validation videos choose of a detector's config.json (notebook 04): it is kept as long as the weights are."""

WRITTEN = (*CALIBRATION, "validation_reals", "measured_on", "frames_error_rates", "whole")
"""All that is kept there as long as the weights are, with what verdicts say of a score."""


def chosen_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what validation videos have chosen of a detector's config.json; borders only if it has them."""
    return {name: config.get(name) for name in CALIBRATION if name != "borders" or config.get(name)}


def choose_threshold(
    labels: np.ndarray, scores: np.ndarray, rule: str | float, target_recall: float = DEFAULTS.target_recall
) -> float:
    """Return the probability of fake at and above which a video is predicted fake, from the validation split.

    Candidates lie midway between neighbouring scores, and beyond the lowest and the highest. Rules:

    * a number, also as text: that number;
    * `balanced`: the candidate of best balanced accuracy; of several, the nearest to 0.5, then the lowest;
    * `recall`: the highest candidate whose recall of fakes is at least `target_recall`; of these it has the fewest
      false positives.

    Raises:
        InputError: if the rule is unknown, the number is outside 0 to 1, scores are NaN, or a class that the rule needs
            is missing.
    """
    if rule not in ("balanced", "recall"):
        try:
            value = float(rule)
        except (TypeError, ValueError):
            value = np.nan
        if not 0 <= value <= 1:
            raise InputError(
                f"The threshold rule {rule!r} is not known: use balanced, recall, or a number from 0 to 1."
            )
        return value
    labels, (scores,), _ = resampling.check_inputs(labels, [scores], None)
    fakes, reals = int(labels.sum()), int((labels == 0).sum())
    if fakes == 0 or (reals == 0 and rule == "balanced"):
        missing = CLASSES[int(fakes == 0)]
        raise InputError(
            f"The threshold rule {rule!r} needs {missing} videos and the validation split has none: "
            "give it some, or set the threshold to a number."
        )
    places, (tn, fn) = candidates(labels, scores)
    tp = fakes - fn
    if rule == "recall":
        return float(places[np.flatnonzero(tp >= target_recall * fakes - 1e-9)[-1]])
    balance = tp * reals + tn * fakes  # integers, so that equal accuracies compare equal
    best = np.flatnonzero(balance == balance.max())
    return float(places[best[np.argmin(np.abs(places[best] - 0.5))]])


def candidates(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where a threshold may lie, ascending `(k,)`, and how many reals and fakes score below each, `(2, k)`.

    Places are midway between neighbouring scores, and beyond the lowest and the highest; there is at least one score.
    """
    distinct, index = np.unique(scores, return_inverse=True)
    middles = distinct[:-1] + np.diff(distinct) / 2
    middles = np.where(middles > distinct[:-1], middles, distinct[1:])  # if no number lies between the two
    top = (distinct[-1] + 1) / 2 if distinct[-1] < 1 else np.nextafter(1.0, 2.0)
    places = np.concatenate([[0.0], middles, [max(top, np.nextafter(distinct[-1], 2.0))]])
    counts = [np.cumsum(np.bincount(index[labels == c], minlength=len(distinct))) for c in (0, 1)]
    return places, np.pad(counts, ((0, 0), (1, 0)))


@dataclass(frozen=True)
class Scaling:
    """From a logit to a probability of fake: the sigmoid of `slope * logit + offset` (Platt, 1999).

    Attributes:
        slope: above 0; below 1 where the logits are too extreme.
        offset: added log-odds.
        prior_fake: share of fakes that the probabilities are for; where fakes are rarer, they are too high. None if the
            scores were not calibrated, or by an earlier version, which did not state it.
        note: why the scores were not scaled, or not made more extreme; "" if there is nothing to say.
    """

    slope: float = 1.0
    offset: float = 0.0
    prior_fake: float | None = None
    note: str = ""

    def probability(self, logit: npt.ArrayLike) -> np.ndarray:
        """Return the probability of fake of logits of fake less real, of the same shape; NaN stays NaN."""
        return expit(self.slope * np.asarray(logit, dtype=float) + self.offset)


LEAST_WRONG = 10
"""Validation videos that must lie on the wrong side of the best threshold for a calibration that sharpens scores."""


def fit_calibration(
    labels: np.ndarray,
    logits: np.ndarray,
    prior_fake: float = DEFAULTS.prior_fake,
    *,
    missing_methods: Sequence[str] = (),
) -> Scaling:
    """Return the slope (above 0) and the offset of the least log loss, from the validation split.

    Classes are weighted so that fakes have the share `prior_fake`: a temperature alone cannot undo the class weights of
    training, nor another share of fakes (Platt, Probabilistic Outputs for Support Vector Machines, 1999, with his
    targets that are slightly inside 0 and 1; Guo et al., On Calibration of Modern Neural Networks, ICML 2017, for the
    temperature, which is the inverse of the slope).

    A slope above 1 makes the scores more extreme. It is refused where validation cannot justify it. With fewer than
    `LEAST_WRONG` videos on the wrong side of the best threshold, classes are nearly separable or videos few: slope and
    offset would rest on those few, and the scores stay as they are. Where forgery methods of the test are missing, only
    the offset is fitted. The slope is never so large that log-odds
    exceed 30, beyond which probabilities near 1 become equal and lose their order.

    Args:
        labels: `(n,)`, 0 real, 1 fake.
        logits: `(n,)`, fake less real; infinite ones count as the largest that a probability can have.
        prior_fake: share of fakes that the probabilities are for, between 0 and 1.
        missing_methods: forgery methods of the test that validation lacks.

    Raises:
        InputError: if logits are NaN, lengths differ, labels are not 0 or 1, or the share is not between 0 and 1.
    """
    labels = resampling.check_binary(labels, "labels")
    logits = np.asarray(logits, dtype=float)
    if logits.shape != labels.shape:
        raise InputError(f"{len(labels)} labels but {logits.size} logits: give one logit per label.")
    if missing := int(np.isnan(logits).sum()):
        raise InputError(f"{missing} of {len(logits)} logits are NaN: find out why, or leave those videos out.")
    if not 0 < prior_fake < 1:
        raise InputError(f"prior_fake = {prior_fake} is not a share between 0 and 1.")
    most = np.abs(logits[np.isfinite(logits)]).max(initial=_MOST)
    logits = np.clip(logits, -most, most)
    if len(np.unique(labels)) < 2:
        absent = CLASSES[int(not labels.any())] if len(labels) else "scored"
        return Scaling(note=f"Scores are not calibrated: validation has no {absent} videos.")
    if np.ptp(logits) == 0:
        return Scaling(note="Scores are not calibrated: all validation videos score alike.")
    steepest = max(1.0, min(20.0, 30 / np.abs(logits).max()))
    slope, offset = _least_log_loss(labels, logits, prior_fake, (1 / 20, steepest))
    wrong, note = _wrong_side(labels, logits), ""
    lacking = f"validation has no fakes by {', '.join(missing_methods)}, which the test has" if missing_methods else ""
    if slope > 1 and wrong < LEAST_WRONG:
        few = f"only {wrong} of {len(labels)} validation videos lie on the wrong side of the best threshold"
        return Scaling(note=f"Scores are not calibrated: {few}{lacking and f', and {lacking}'}.")
    if slope > 1 and lacking:
        slope, offset = _least_log_loss(labels, logits, prior_fake, (1.0, 1.0))
        note = f"Calibration did not make the scores more extreme: {lacking}."
    elif logits[labels == 1].mean() <= logits[labels == 0].mean():
        note = "Calibration made the scores nearly equal: in validation fakes do not score higher than reals."
    return Scaling(slope, offset, prior_fake, note)


_MOST = 37.0  # in double precision, logits beyond have a probability of 0 or 1


def _least_log_loss(
    labels: np.ndarray, logits: np.ndarray, prior_fake: float, slopes: tuple[float, float]
) -> tuple[float, float]:
    """Return slope, within `slopes`, and offset of the least weighted log loss, which is convex in both."""
    fakes = int(labels.sum())
    reals = len(labels) - fakes
    targets = np.where(labels == 1, (fakes + 1) / (fakes + 2), 1 / (reals + 2))
    weights = np.where(labels == 1, prior_fake / fakes, (1 - prior_fake) / reals)
    scale = max(float(logits.std()), 1e-12)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        odds = parameters[0] * logits / scale + parameters[1]
        gradient = weights * (expit(odds) - targets)
        value = weights @ (np.logaddexp(0, odds) - targets * odds)
        return float(value), np.array([gradient @ logits / scale, gradient.sum()])

    bounds = [(slopes[0] * scale, slopes[1] * scale), (None, None)]
    start = np.clip([scale, 0.0], [bounds[0][0], -np.inf], [bounds[0][1], np.inf])
    found = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B", options={"ftol": 1e-14, "gtol": 1e-9})
    return float(np.clip(found.x[0] / scale, *slopes)), float(found.x[1])


def _wrong_side(labels: np.ndarray, logits: np.ndarray) -> int:
    """Return how many videos the threshold with the fewest errors leaves on its wrong side."""
    distinct, index = np.unique(logits, return_inverse=True)
    missed, passed = (np.bincount(index[labels == c], minlength=len(distinct)).cumsum() for c in (1, 0))
    errors = missed + (len(labels) - labels.sum() - passed)  # the threshold lies above each distinct logit
    return int(min(errors.min(), len(labels) - labels.sum()))


def reliability(
    labels: np.ndarray,
    scores: np.ndarray,
    *,
    prior_fake: float | None = None,
    groups: np.ndarray | None = None,
) -> pd.DataFrame:
    """Return the reliability diagram, one row per bin of the calibration error that contains scores.

    Columns: `left`, `right` (edges of the bin), `n`, `weight` (the bin's share of all videos), `mean_score`,
    `share_fake` with its interval `low`, `high` (`intervals.proportion`; NaN where a bin has several videos of one
    group). With `prior_fake`, weights, means and shares are those of so large a share of fakes; empty if a class is
    missing.

    Raises:
        InputError: as `figures.summary`.
    """
    labels, (scores,), groups = resampling.check_inputs(labels, [scores], groups)
    columns = ["left", "right", "n", "weight", "mean_score", "share_fake", "low", "high"]
    counts = np.bincount(labels, minlength=2)
    weights = np.ones(len(labels))
    if prior_fake is not None:
        if not counts.all():
            return pd.DataFrame(columns=columns, dtype=float).astype({"n": int})
        weights = len(labels) * (np.array([1 - prior_fake, prior_fake]) / counts)[labels]
    bin_index = resampling.bin_indices(scores)
    rows = []
    for k in np.unique(bin_index):
        inside = bin_index == k
        weight = weights[inside]
        of_bin = None if groups is None else np.unique(groups[inside], return_inverse=True)[1]
        share, low, high = intervals.proportion(labels[inside], weight, of_bin)
        mean = weight @ scores[inside] / weight.sum()
        edges = k / resampling.BINS, (k + 1) / resampling.BINS
        rows.append([*edges, int(inside.sum()), weight.sum() / len(labels), mean, share, low, high])
    return pd.DataFrame(rows, columns=columns, dtype=float).astype({"n": int})


def with_slope(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return a calibration with the slope that the temperature of an earlier version stands for, its inverse."""
    if found.get("temperature") is None:
        return dict(found)
    return {"slope": 1 / found["temperature"], **{name: found[name] for name in found if name != "temperature"}}
