"""How good a set of scores is, and how sure one can be of that.

A detector's figures come from a few hundred videos at most, so every one of them stands beside an interval. All are
functions of labels (0 real, 1 fake) and scores (probability of fake): pure numbers, no files, no network. A figure that
is not defined, because a class is missing or nothing was called fake, is None. Figures and resamples are reckoned in
`bootstrap`, the intervals in `intervals`; the parts of a test are compared in `slices`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import expit, logit

from dfutils import bootstrap, intervals
from dfutils.errors import InputError

CLASSES = ("real", "fake")
"""Names of the labels 0 and 1."""


# --- the table that follows from a confusion matrix ---


def confusion(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return counts `(2, 2)`: rows are true real and fake, columns called real and fake."""
    labels, predicted = bootstrap.binary(labels, "labels"), bootstrap.binary(predicted, "predictions")
    if len(labels) != len(predicted):
        raise InputError(f"{len(labels)} labels but {len(predicted)} predictions: give one prediction a label.")
    return np.bincount(2 * labels + predicted, minlength=4).reshape(2, 2)


def report(labels: np.ndarray, predicted: np.ndarray) -> pd.DataFrame:
    """Return the classification report of `rates_from_confusion` for labels and predictions of 0 and 1."""
    return rates_from_confusion(confusion(labels, predicted))


def rates_from_confusion(matrix: np.ndarray) -> pd.DataFrame:
    """Return precision, recall, f1 and support by class, as scikit-learn's `classification_report` lays them out.

    Rows `real`, `fake`, `accuracy` (in the column `f1`), `macro avg`, `weighted avg`. What is undefined (precision of a
    class that was never called, recall of one that is absent) is NaN, and so is a macro average over it.

    Raises:
        InputError: if `matrix` is not 2 x 2 with counts.
    """
    matrix = np.asarray(matrix)
    if matrix.shape != (2, 2) or (matrix < 0).any() or (matrix != np.round(matrix)).any():
        raise InputError("A confusion matrix here is 2 x 2 with counts: rows true real and fake, columns called so.")
    right, support, called = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = np.stack([right / called, right / support, 2 * right / (called + support)], axis=1)
        accuracy = right.sum() / matrix.sum()
        present = support > 0
        weighted = support[present] @ rates[present] / matrix.sum() if present.any() else np.full(3, np.nan)
    rows = [*rates, [np.nan, np.nan, accuracy], rates.mean(axis=0), weighted]
    table = pd.DataFrame(
        np.array(rows),
        columns=["precision", "recall", "f1"],
        index=[*CLASSES, "accuracy", "macro avg", "weighted avg"],
    )
    return table.assign(support=[*support, *[matrix.sum()] * 3])


# --- all figures of a set of scores, with intervals ---


def summary(
    labels: np.ndarray,
    scores: np.ndarray,
    threshold: float = 0.5,
    *,
    groups: np.ndarray | None = None,
    resamples: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, dict[str, Any]]:
    """Return every figure of `bootstrap.NAMES` as `{"value", "low", "high", "method"}`; undefined is None, never NaN.

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
      2003); where they are 0 or 1, Wilson's with the harmonic mean of the two classes' numbers.
    * TPR at a FPR: the threshold's position is drawn from the spacings of uniform order statistics (the Bayesian
      bootstrap of a quantile, Rubin, 1981), then the recall there from its Jeffreys posterior. With few reals this
      is wide, as it should be.
    * log loss, Brier: an interval on the logarithm.
    * ECE: chance makes the figure itself too large, the more so the fewer videos. The interval is for what endless
      videos would show: down by what resampling noise alone can add (to 0, where that is all), up by the basic
      bootstrap.

    `tests/benchmarks/metrics.py` measures how often each kind holds the truth.

    Args:
        labels: `(n,)`, 0 real, 1 fake.
        scores: `(n,)`, probability of fake, 0 to 1.
        threshold: the one in use; take it from the validation split.
        groups: `(n,)`, what belongs together: the person of a video, the video of a frame; "" belongs to nothing.
        resamples: how many the bootstrap draws.
        seed: of the draws. The result does not depend on the order of the rows.
        confidence: of the intervals.

    Raises:
        InputError: if scores are NaN (with their number) or outside 0 to 1, or labels are not 0 and 1.
    """
    labels, (scores,), groups = bootstrap.checked(labels, [scores], groups)
    if len(labels) == 0:
        return {name: intervals.entry(None, None, None, "none") for name in bootstrap.NAMES}
    return intervals.estimates(labels, scores, threshold, groups, resamples, seed, confidence)


def paired_difference(
    labels: np.ndarray,
    scores_a: np.ndarray,
    scores_b: np.ndarray,
    metric: str,
    *,
    thresholds: tuple[float, float] = (0.5, 0.5),
    groups: np.ndarray | None = None,
    resamples: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """Return how much larger `metric` is for A than for B on the same videos: `value`, `low`, `high`, `method`.

    Both are scored on the same resamples, so that what makes a video hard for both cancels out; the interval is the
    percentiles of the difference. Where A and B differ but no resample sees it in the metric (both perfect, say), the
    interval is as wide as no change in so many videos allows (Wilson). Arguments are those of `summary`.

    Raises:
        InputError: as `summary`, and for a metric that is not in `bootstrap.NAMES`.
    """
    if metric not in bootstrap.NAMES:
        raise InputError(f"{metric!r} is not a metric: choose one of {', '.join(bootstrap.NAMES)}.")
    labels, (scores_a, scores_b), groups = bootstrap.checked(labels, [scores_a, scores_b], groups)
    if len(labels) == 0:
        return intervals.entry(None, None, None, "none")
    pair = [
        bootstrap.prepare(labels, scores, threshold)
        for scores, threshold in zip((scores_a, scores_b), thresholds, strict=True)
    ]
    column = bootstrap.NAMES.index(metric)

    def difference(weights: np.ndarray) -> np.ndarray:
        if metric == "roc_auc":
            return bootstrap.roc_auc(pair[0], weights) - bootstrap.roc_auc(pair[1], weights)
        a, b = (bootstrap.figures(sample, weights)[0][:, column] for sample in pair)
        return a - b

    value = float(difference(np.ones((1, len(labels))))[0])
    draws = np.concatenate(list(bootstrap.each_resample(difference, labels, groups, resamples, seed)))
    draws = draws[np.isfinite(draws)]
    if not np.isfinite(value) or len(draws) == 0:
        return intervals.entry(None, None, None, "none")
    same = np.array_equal(scores_a, scores_b) and thresholds[0] == thresholds[1]
    if np.ptp(draws) > 1e-12 or same:
        return intervals.entry(value, *np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2]), "percentile")
    units = intervals.independent_units(labels, groups, np.zeros(2))
    margin = intervals.wilson(0, units["harmonic"] or units["accuracy"], confidence)[1]
    return intervals.entry(value, value - margin, value + margin, "wilson")


def bands(
    labels: np.ndarray,
    scores: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    resamples: int = 500,
    seed: int = 0,
    confidence: float = 0.95,
    points: int = 201,
) -> pd.DataFrame:
    """Return pointwise bootstrap bands of the ROC and the precision-recall curve, to be drawn behind them.

    Columns: `x` from 0 to 1; `tpr_low`, `tpr_high` where the false positive rate is `x`; `precision_low`,
    `precision_high` where the recall of fakes is `x`. No rows where a class is missing.
    """
    labels, (scores,), groups = bootstrap.checked(labels, [scores], groups)
    x = np.linspace(0, 1, points)
    columns = ["tpr_low", "tpr_high", "precision_low", "precision_high"]
    if len(np.unique(labels)) < 2:
        return pd.DataFrame(columns=["x", *columns], dtype=float)
    sample = bootstrap.prepare(labels, scores, 0.5)
    rates, precisions = [], []
    for weights in bootstrap.draw_weights(labels, groups, resamples, seed):
        for true, false in zip(*bootstrap.cumulative(sample, weights), strict=True):
            if true[-1] and false[-1]:
                rates.append(np.interp(x, false / false[-1], true / true[-1]))
                first = np.maximum(np.searchsorted(true / true[-1], x - 1e-12), np.argmax(true > 0))
                precisions.append(true[first] / (true[first] + false[first]))
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]
    limits = np.concatenate([np.quantile(curves, ends, axis=0) for curves in (rates, precisions)])
    return pd.DataFrame(dict(zip(["x", *columns], [x, *limits], strict=True)))


# --- thresholds and calibration, from the validation split ---


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
    labels, (scores,), _ = bootstrap.checked(labels, [scores], None)
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
    labels, (scores,), _ = bootstrap.checked(labels, [scores], None)
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


def apply_temperature(scores: np.ndarray, temperature: float) -> np.ndarray:
    """Return probabilities of fake with their log-odds divided by `temperature`; the order of scores stays."""
    return expit(_log_odds(np.asarray(scores, dtype=float)) / temperature)


def reliability(labels: np.ndarray, scores: np.ndarray, *, confidence: float = 0.95) -> pd.DataFrame:
    """Return the reliability diagram, a row a bin of `ece` that holds scores.

    Columns: `left`, `right` (the bin), `n`, `mean_score`, `share_fake` with its Wilson interval `low`, `high`.
    """
    labels, (scores,), _ = bootstrap.checked(labels, [scores], None)
    place = bootstrap.bin_of(scores)
    rows = []
    for k in np.unique(place):
        inside = place == k
        n, fakes = int(inside.sum()), int(labels[inside].sum())
        low, high = intervals.wilson(fakes, n, confidence)
        rows.append([k / bootstrap.BINS, (k + 1) / bootstrap.BINS, n, scores[inside].mean(), fakes / n, low, high])
    columns = ["left", "right", "n", "mean_score", "share_fake", "low", "high"]
    return pd.DataFrame(rows, columns=columns, dtype=float).astype({"n": int})


# --- the predictions table: which videos count, and where the errors are ---


@dataclass(frozen=True)
class Counted:
    """The videos of a predictions table that count under a policy.

    `labels`, `scores`, `predicted` and `groups` are arrays `(n,)`: labels 0 and 1, probability of fake, 0 or 1, and the
    person (`<dataset>: <identity>`, "" if unknown). `table` holds their rows. `coverage` is the share of all videos
    that have a score of the detector's own.
    """

    labels: np.ndarray
    scores: np.ndarray
    predicted: np.ndarray
    groups: np.ndarray
    table: pd.DataFrame
    coverage: float | None


def coverage(predictions: pd.DataFrame) -> dict[str, float | int | None]:
    """Return `videos`, `scored`, their ratio `share`, and the ratio among the `real` and the `fake` videos.

    Excluded videos are not counted. A ratio without videos is None. A class that is scored less often than the other
    makes every figure on scored videos doubtful.
    """
    rows = predictions[predictions["status"] != "excluded"]
    scored = rows["probability_fake"].notna().to_numpy()
    label = rows["label"].to_numpy()

    def share(part: np.ndarray) -> float | None:
        return float(scored[part].mean()) if part.any() else None

    everything = np.ones(len(rows), dtype=bool)
    shares = {"share": share(everything), "real": share(label == 0), "fake": share(label == 1)}
    return {"videos": len(rows), "scored": int(scored.sum()), **shares}


def with_policy(predictions: pd.DataFrame, no_face: str = "abstain", threshold: float = 0.5) -> Counted:
    """Return the videos that count where those without a usable face are left out, called real, or called fake.

    `no_face` is `abstain`, `real` or `fake`. A video that is called by policy gets probability 0 or 1, which its log
    loss and calibration show. The policy is for videos without (enough) faces; unreadable and excluded ones never
    count.

    Raises:
        InputError: for another policy, or a video with status ok that has no score.
    """
    if no_face not in ("abstain", *CLASSES):
        raise InputError(f"The policy no_face {no_face!r} is not known: use abstain, real or fake.")
    scored = predictions["probability_fake"].notna() & (predictions["status"] != "excluded")
    lost = int(((predictions["status"] == "ok") & ~scored).sum())
    if lost:
        raise InputError(f"{lost} of {len(predictions)} videos have faces but no score (NaN): score them again.")
    faceless = predictions["status"].isin(["no_face", "few_faces"]) & ~scored
    table = predictions[scored | (faceless & (no_face != "abstain"))]
    scores = table["probability_fake"].astype(float).fillna(float(no_face == "fake")).to_numpy()
    known = table["identity"] != ""
    return Counted(
        labels=table["label"].to_numpy(dtype=int),
        scores=scores,
        predicted=(scores >= threshold).astype(int),
        groups=(table["dataset"] + ": " + table["identity"]).where(known, "").to_numpy(dtype=object),
        table=table,
        coverage=coverage(predictions)["share"],
    )


def _log_odds(scores: np.ndarray) -> np.ndarray:
    """Return log-odds of probabilities that are kept off 0 and 1, so that they stay finite."""
    return logit(np.clip(scores, 1e-12, 1 - 1e-12))
