"""Decision threshold and temperature from validation scores, and the reliability diagram."""

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import expit, logit

from dfutils.core.errors import InputError
from dfutils.core.params import DEFAULTS
from dfutils.metrics import intervals, resampling
from dfutils.metrics.figures import CLASSES


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
    distinct, index = np.unique(scores, return_inverse=True)
    middles = distinct[:-1] + np.diff(distinct) / 2
    middles = np.where(middles > distinct[:-1], middles, distinct[1:])  # if no number lies between the two
    top = (distinct[-1] + 1) / 2 if distinct[-1] < 1 else np.nextafter(1.0, 2.0)
    candidates = np.concatenate([[0.0], middles, [max(top, np.nextafter(distinct[-1], 2.0))]])
    tn, fn = (
        np.concatenate([[0], np.cumsum(np.bincount(index[labels == c], minlength=len(distinct)))]) for c in (0, 1)
    )
    tp = fakes - fn
    if rule == "recall":
        return float(candidates[np.flatnonzero(tp >= target_recall * fakes - 1e-9)[-1]])
    balance = tp * reals + tn * fakes  # integers, so that equal accuracies compare equal
    best = np.flatnonzero(balance == balance.max())
    return float(candidates[best[np.argmin(np.abs(candidates[best] - 0.5))]])


def fit_temperature(labels: np.ndarray, scores: np.ndarray) -> float:
    """Return the temperature, 0.05 to 20, by which the log-odds must be divided for the least log loss.

    Temperature scaling as in Guo et al., On Calibration of Modern Neural Networks, ICML 2017. The loss is convex in the
    inverse temperature, so that the result is the zero of its slope. 1.0 where the scores do not determine it: a class
    is missing, or every video is on the correct side of 0.5 and the loss has no minimum. The temperature is never so
    low that log-odds of these scores exceed 30, beyond which probabilities near 1 become equal and lose their order.
    Labels and scores must be those of the validation split.

    Raises:
        InputError: as `summary`.
    """
    labels, (scores,), _ = resampling.check_inputs(labels, [scores], None)
    log_odds = _log_odds(scores)
    if len(np.unique(labels)) < 2 or ((2 * labels - 1) * log_odds >= 0).all():
        return 1.0

    def slope(inverse: float) -> float:
        return float(log_odds @ (expit(inverse * log_odds) - labels))

    least = 1 / 20
    most = max(min(1 / 0.05, 30 / np.abs(log_odds).max()), least) if log_odds.any() else 1 / 0.05
    if slope(least) >= 0:
        return 1 / least
    return float(1 / brentq(slope, least, most, xtol=1e-12)) if slope(most) > 0 else 1 / most


def reliability(labels: np.ndarray, scores: np.ndarray, *, confidence: float = 0.95) -> pd.DataFrame:
    """Return the reliability diagram, one row per bin of the calibration error that contains scores.

    Columns: `left`, `right` (edges of the bin), `n`, `mean_score`, `share_fake` with its Wilson interval `low`, `high`.

    Raises:
        InputError: as `figures.summary`.
    """
    labels, (scores,), _ = resampling.check_inputs(labels, [scores], None)
    bin_index = resampling.bin_indices(scores)
    rows = []
    for k in np.unique(bin_index):
        inside = bin_index == k
        n, fakes = int(inside.sum()), int(labels[inside].sum())
        low, high = intervals.wilson(fakes, n, confidence)
        rows.append([k / resampling.BINS, (k + 1) / resampling.BINS, n, scores[inside].mean(), fakes / n, low, high])
    columns = ["left", "right", "n", "mean_score", "share_fake", "low", "high"]
    return pd.DataFrame(rows, columns=columns, dtype=float).astype({"n": int})


def _log_odds(scores: np.ndarray) -> np.ndarray:
    """Return the log-odds of probabilities, clipped away from 0 and 1 so that they are finite."""
    return logit(np.clip(scores, 1e-12, 1 - 1e-12))
