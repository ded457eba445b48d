"""From validation scores to a threshold and a temperature, and how well scores read as probabilities."""

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import expit, logit

from dfutils.core.errors import InputError
from dfutils.metrics import intervals, resampling
from dfutils.metrics.figures import CLASSES


def choose_threshold(labels: np.ndarray, scores: np.ndarray, rule: str | float, target_recall: float = 0.9) -> float:
    """Return the probability of fake at and above which a video is called fake. Give it the validation split only.

    Candidates lie midway between neighbouring scores, and beyond both ends. Rules:

    * a number, also as text: itself;
    * `balanced`: best balanced accuracy; among equals the candidate nearest to 0.5, then the lower;
    * `recall`: the highest candidate whose recall of fakes is at least `target_recall`, which has the fewest false
      alarms of all that reach it.

    Raises:
        InputError: for another rule, a number outside 0 to 1, scores that are NaN, or a class that the rule needs and
            that is missing.
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
    labels, (scores,), _ = resampling.checked(labels, [scores], None)
    fakes, reals = int(labels.sum()), int((labels == 0).sum())
    if fakes == 0 or (reals == 0 and rule == "balanced"):
        missing = CLASSES[int(fakes == 0)]
        raise InputError(
            f"The threshold rule {rule!r} needs {missing} videos and the validation split has none: "
            "give it some, or set the threshold to a number."
        )
    distinct, place = np.unique(scores, return_inverse=True)
    middles = distinct[:-1] + np.diff(distinct) / 2
    middles = np.where(middles > distinct[:-1], middles, distinct[1:])  # neighbours with no number between them
    top = (distinct[-1] + 1) / 2 if distinct[-1] < 1 else np.nextafter(1.0, 2.0)
    candidates = np.concatenate([[0.0], middles, [max(top, np.nextafter(distinct[-1], 2.0))]])
    below = [np.concatenate([[0], np.cumsum(np.bincount(place[labels == c], minlength=len(distinct)))]) for c in (0, 1)]
    caught = fakes - below[1]
    if rule == "recall":
        return float(candidates[np.flatnonzero(caught >= target_recall * fakes - 1e-9)[-1]])
    balance = caught * reals + below[0] * fakes  # whole numbers, so that ties are ties
    best = np.flatnonzero(balance == balance.max())
    return float(candidates[best[np.argmin(np.abs(candidates[best] - 0.5))]])


def fit_temperature(labels: np.ndarray, scores: np.ndarray) -> float:
    """Return the temperature, 0.05 to 20, that gives the least log loss when it divides the log-odds.

    After Guo et al., On Calibration of Modern Neural Networks, ICML 2017. The loss is convex in the inverse
    temperature, so the result is the one zero of its slope. 1.0 where the scores cannot tell: a class is missing, or
    every video is on the right side of 0.5 and the loss would fall without end. Never so low that log-odds of these
    scores would exceed 30: beyond, probabilities near 1 become equal and their order is lost. Give it the validation
    split only.

    Raises:
        InputError: as `summary`.
    """
    labels, (scores,), _ = resampling.checked(labels, [scores], None)
    odds = _log_odds(scores)
    if len(np.unique(labels)) < 2 or ((2 * labels - 1) * odds >= 0).all():
        return 1.0

    def slope(inverse: float) -> float:
        return float(odds @ (expit(inverse * odds) - labels))

    least = 1 / 20
    most = max(min(1 / 0.05, 30 / np.abs(odds).max()), least) if odds.any() else 1 / 0.05
    if slope(least) >= 0:
        return 1 / least
    return float(1 / brentq(slope, least, most, xtol=1e-12)) if slope(most) > 0 else 1 / most


def reliability(labels: np.ndarray, scores: np.ndarray, *, confidence: float = 0.95) -> pd.DataFrame:
    """Return the reliability diagram, a row a bin of `ece` that holds scores.

    Columns: `left`, `right` (the bin), `n`, `mean_score`, `share_fake` with its Wilson interval `low`, `high`.
    """
    labels, (scores,), _ = resampling.checked(labels, [scores], None)
    place = resampling.bin_of(scores)
    rows = []
    for k in np.unique(place):
        inside = place == k
        n, fakes = int(inside.sum()), int(labels[inside].sum())
        low, high = intervals.wilson(fakes, n, confidence)
        rows.append([k / resampling.BINS, (k + 1) / resampling.BINS, n, scores[inside].mean(), fakes / n, low, high])
    columns = ["left", "right", "n", "mean_score", "share_fake", "low", "high"]
    return pd.DataFrame(rows, columns=columns, dtype=float).astype({"n": int})


def _log_odds(scores: np.ndarray) -> np.ndarray:
    """Return log-odds of probabilities that are kept off 0 and 1, so that they stay finite."""
    return logit(np.clip(scores, 1e-12, 1 - 1e-12))
