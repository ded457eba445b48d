"""Figures of a set of scores with confidence intervals, paired differences, and the confusion matrix.

All functions take labels (0 real, 1 fake) and scores (probability of fake). A figure that is undefined, because a class
is missing or no video was predicted fake, is None. `resampling` computes figures and resamples, `intervals` the
intervals; `slices` compares parts of a test set.
"""

from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from dfutils.core.errors import InputError
from dfutils.core.params import DEFAULTS
from dfutils.metrics import intervals, resampling

CLASSES = ("real", "fake")
"""Names of the labels 0 and 1."""

LEAST_GROUPS = 5
"""Groups of the smaller class below which a paired difference has no interval."""


def confusion(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return counts `(2, 2)`: rows are true real and fake, columns predicted real and fake.

    Raises:
        InputError: if values are not 0 or 1, or lengths differ.
    """
    labels, predicted = resampling.check_binary(labels, "labels"), resampling.check_binary(predicted, "predictions")
    if len(labels) != len(predicted):
        raise InputError(f"{len(labels)} labels but {len(predicted)} predictions: give one prediction per label.")
    return np.bincount(2 * labels + predicted, minlength=4).reshape(2, 2)


def rates_from_confusion(matrix: np.ndarray) -> pd.DataFrame:
    """Return precision, recall, f1 and support by class, laid out as scikit-learn's `classification_report`.

    Rows: `real`, `fake`, `accuracy` (in the column `f1`), `macro avg`, `weighted avg`. Undefined values (precision of a
    class that was never predicted, recall of one that is absent) are NaN, and so are averages over them: scikit-learn's
    own report leaves them out, which flatters a detector that never says fake.

    Raises:
        InputError: if `matrix` is not 2 x 2 with counts.
    """
    matrix = np.asarray(matrix)
    if matrix.shape != (2, 2) or (matrix < 0).any() or (matrix != np.round(matrix)).any():
        raise InputError(
            "A confusion matrix is 2 x 2 with counts: rows are true real and fake, columns predicted real and fake."
        )
    correct, support, predicted, total = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0), matrix.sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = np.stack([correct / predicted, correct / support, 2 * correct / (predicted + support)], axis=1)
        weighted = np.where(support > 0, support * rates.T, 0).sum(axis=1) / total
        rows = [*rates, [np.nan, np.nan, correct.sum() / total], rates.mean(axis=0), weighted]
    table = pd.DataFrame(
        rows, columns=["precision", "recall", "f1"], index=[*CLASSES, "accuracy", "macro avg", "weighted avg"]
    )
    return table.assign(support=[*support, *[total] * 3])


def summary(
    labels: np.ndarray,
    scores: np.ndarray,
    threshold: float = 0.5,
    *,
    groups: np.ndarray | None = None,
    prior_fake: float | None = None,
    resamples: int = DEFAULTS.resamples,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Return every figure of `resampling.NAMES` as `{"value", "low", "high", "method"}`; undefined is None, never NaN.

    Scores at or above `threshold` are called fake. `eer` is interpolated linearly on the ROC curve; `tpr_at_fpr_1` is
    the largest recall of fakes at a threshold that calls at most 1% of the reals fake (under 100 reals: none of them);
    `ece` has ten bins of equal width. `average_precision` is of the fakes. Probabilities are kept 2.2e-16 away from 0
    and 1 in `log_loss`, as scikit-learn does.

    Intervals: the bootstrap draws videos with replacement within each class or, where `groups` are given, whole groups
    (cluster bootstrap; groups with reals only, fakes only, and both are strata, those of under five groups are pooled).
    Its plain percentiles cover badly where a figure is near 1 or comes from a few videos: a perfect score on 10 videos
    gives [1, 1]. So its standard error is put to use, by kind of figure (`method`, in words in `intervals.METHODS`):

    * rates and EER: Wilson's interval with the effective number of videos `v (1 - v) / variance` (Korn and Graubard,
      Survey Methodology 24, 1998; Dean and Pagano, JSSAM 3, 2015). Recall without groups is Wilson's plain interval.
      Where the bootstrap sees no variance, as for a perfect score, the number of independent videos or groups.
    * ROC AUC, average precision: an interval on the log-odds (Pepe, The Statistical Evaluation of Medical Tests,
      2003), with Student's quantile at two degrees of freedom fewer than there are videos; with groups, error and
      quantile are those of log loss and Brier below. Where they are 0 or 1, Wilson's with the harmonic mean of the two
      classes' numbers.
    * TPR at a FPR: the threshold's position is drawn from the spacings of uniform order statistics (the Bayesian
      bootstrap of a quantile, Rubin, 1981), then the recall there from its Jeffreys posterior. With few reals this
      is wide, as it should be.
    * log loss, Brier: an interval on the logarithm, with n - 2 (with groups n - 3) in the standard error and Student's
      quantile at n - 1 degrees of freedom, n the videos or groups of the smaller class: few large terms make small
      samples look surer than they are, and the simulation asks for so much.
    * ECE: chance makes the figure itself too large, the more so the fewer videos. The interval is for what endless
      videos would show: down by what resampling noise alone can add (to 0, where that is all), up by the basic
      bootstrap. These three have no interval where no resample differs.

    `tests/benchmarks/quality/coverage.py` measures how often they hold the truth.

    Args:
        labels: `(n,)`, 0 real, 1 fake.
        scores: `(n,)`, probability of fake, 0 to 1.
        threshold: the one in use; take it from the validation split.
        groups: `(n,)`, what belongs together, as the videos of a person and their frames; "" belongs to nothing.
        prior_fake: share of fakes that log loss, Brier score and ECE are computed for, by weighting the classes; None:
            as many as there are.
        resamples: how many the bootstrap draws.
        seed: of the draws. The result does not depend on the order of the rows.

    Raises:
        InputError: if scores are NaN (with their number) or outside 0 to 1, or labels are not 0 and 1.
    """
    labels, (scores,), groups = resampling.check_inputs(labels, [scores], groups)
    if len(labels) == 0:
        return {name: intervals.entry(None, None, None, "none") for name in resampling.NAMES}
    return intervals.estimate(labels, scores, threshold, groups, prior_fake, resamples, seed)


def observed_eer(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """Return the equal error rate as some benchmarks compute it: of all thresholds at a score, the least of the larger
    error rate of the two classes. `eer` of `summary` is interpolated between them, and never larger."""
    labels, (scores,), _ = resampling.check_inputs(labels, [scores], None)
    fakes = int(labels.sum())
    if fakes in (0, len(labels)):
        return None
    distinct, index = np.unique(scores, return_inverse=True)
    below = [np.bincount(index[labels == c], minlength=len(distinct)).cumsum() for c in (0, 1)]
    before = [np.concatenate([[0], counts[:-1]]) for counts in below]
    alarms, misses = 1 - before[0] / (len(labels) - fakes), before[1] / fakes
    return float(np.maximum(alarms, misses).min())


def paired_difference(
    labels: np.ndarray,
    scores_a: np.ndarray,
    scores_b: np.ndarray,
    metric: str,
    *,
    thresholds: tuple[float, float] = (0.5, 0.5),
    groups: np.ndarray | None = None,
    resamples: int = DEFAULTS.resamples,
    seed: int = 0,
) -> dict[str, Any]:
    """Return how much larger `metric` is for A than for B on the same videos: `value`, `low`, `high`, `method`.

    Both are scored on the same resamples, so that what makes a video hard for both cancels out. The interval is the
    difference plus and minus its bootstrap standard error, corrected for small samples, times Student's quantile; G is
    the number of groups (without groups, videos) of the smaller class, and G - 1 the degrees of freedom. With fewer
    than `LEAST_GROUPS` groups there is no interval: so few people cannot tell which of two detectors is better. Where A
    and B differ but no resample sees it in the metric (both perfect, say), the interval is as wide as no change in so
    many groups allows (Wilson). Arguments are those of `summary`.

    Raises:
        InputError: as `summary`, and for a metric that is not in `resampling.NAMES`.
    """
    if metric not in resampling.NAMES:
        raise InputError(f"{metric!r} is not a metric: choose one of {', '.join(resampling.NAMES)}.")
    labels, (scores_a, scores_b), groups = resampling.check_inputs(labels, [scores_a, scores_b], groups)
    if len(labels) == 0:
        return intervals.entry(None, None, None, "none")
    pair = [
        resampling.sort_scores(labels, scores, threshold)
        for scores, threshold in zip((scores_a, scores_b), thresholds, strict=True)
    ]
    column = resampling.NAMES.index(metric)

    def difference(weights: np.ndarray) -> np.ndarray:
        if metric == "roc_auc":
            return resampling.roc_auc(pair[0], weights) - resampling.roc_auc(pair[1], weights)
        a, b = (resampling.figures(sorted_scores, weights)[0][:, column] for sorted_scores in pair)
        return a - b

    value = float(difference(np.ones((1, len(labels))))[0])
    draws = np.concatenate(list(resampling.map_resamples(difference, labels, groups, resamples, seed)))
    draws = draws[np.isfinite(draws)]
    if not np.isfinite(value) or len(draws) == 0:
        return intervals.entry(None, None, None, "none")
    if np.array_equal(scores_a, scores_b) and thresholds[0] == thresholds[1]:
        return intervals.entry(value, value, value, "student")
    units = intervals.independent_units(labels, groups, np.zeros(2))
    if units["least"] < LEAST_GROUPS:
        return intervals.entry(value, None, None, "none")
    if np.ptp(draws) > 1e-12:
        margin = intervals.standard_error(draws, units) * stdtrit(units["least"] - 1, intervals.TAILS[1])
        return intervals.entry(value, value - margin, value + margin, "student")
    margin = intervals.wilson(0, units["harmonic"] or units["accuracy"])[1]
    return intervals.entry(value, value - margin, value + margin, "wilson")


def bands(
    labels: np.ndarray,
    scores: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    resamples: int = 500,
    seed: int = 0,
) -> pd.DataFrame:
    """Return pointwise bootstrap bands of 95% of the ROC and the precision-recall curve.

    Columns: `x` from 0 to 1; `tpr_low`, `tpr_high` where the false positive rate is `x`; `precision_low`,
    `precision_high` where the recall of fakes is `x`. The table is empty if a class is missing.

    Raises:
        InputError: as `summary`.
    """
    labels, (scores,), groups = resampling.check_inputs(labels, [scores], groups)
    x = np.linspace(0, 1, 201)
    columns = ["tpr_low", "tpr_high", "precision_low", "precision_high"]
    if len(np.unique(labels)) < 2:
        return pd.DataFrame(columns=["x", *columns], dtype=float)
    sorted_scores = resampling.sort_scores(labels, scores, 0.5)
    rates, precisions = [], []
    for weights in resampling.bootstrap_weights(labels, groups, resamples, seed):
        for tp, fp in zip(*resampling.cumulative_weights(sorted_scores, weights), strict=True):
            if tp[-1] and fp[-1]:
                rates.append(np.interp(x, fp / fp[-1], tp / tp[-1]))
                first = np.maximum(np.searchsorted(tp / tp[-1], x - 1e-12), np.argmax(tp > 0))
                precisions.append(tp[first] / (tp[first] + fp[first]))
    limits = np.concatenate([np.quantile(curves, intervals.TAILS, axis=0) for curves in (rates, precisions)])
    return pd.DataFrame(dict(zip(["x", *columns], [x, *limits], strict=True)))
