"""How sure one can be of a figure: resamples of the videos, and intervals from them.

A resample is a row of whole-number weights on the videos. Sorted by score, every figure of `metrics.NAMES` follows from
cumulative sums of these weights, so one piece of code gives the figure itself (all weights 1) and thousands of its
resamples at once, ties included. How the intervals are made of them is told in `metrics.summary`.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from statistics import NormalDist
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from scipy.special import expit, logit, stdtrit

from dfutils.errors import InputError

BINS = 10
"""Bins of equal width of the expected calibration error (Naeini et al., AAAI 2015)."""

METHODS = {
    "wilson": "Wilson score interval; the number of videos in it is the one that the bootstrap's variance amounts to",
    "logit": "interval on the log-odds with the bootstrap's standard error",
    "log": "interval on the logarithm with the bootstrap's standard error",
    "order statistics": "simulated position of the threshold among the reals, and recall of the fakes above it",
    "noise": "down by what resampling noise alone can add, up by the basic bootstrap",
    "percentile": "percentile bootstrap over the same resamples of both",
    "none": "no interval: undefined, or too few videos",
}
"""What stands behind an interval, by its `method`."""

INTERVALS = {
    "accuracy": "wilson",
    "balanced_accuracy": "wilson",
    "precision_real": "wilson",
    "recall_real": "wilson",
    "f1_real": "wilson",
    "precision_fake": "wilson",
    "recall_fake": "wilson",
    "f1_fake": "wilson",
    "roc_auc": "logit",
    "average_precision": "logit",
    "eer": "wilson",
    "tpr_at_fpr_1": "order statistics",
    "tpr_at_fpr_5": "order statistics",
    "log_loss": "log",
    "brier": "log",
    "ece": "noise",
}
FPR = {"tpr_at_fpr_1": 0.01, "tpr_at_fpr_5": 0.05}  # largest share of reals called fake
NAMES = tuple(INTERVALS)
"""The figures of `metrics.summary`, in order."""


def estimates(
    labels: np.ndarray,
    scores: np.ndarray,
    threshold: float,
    groups: np.ndarray | None,
    resamples: int,
    seed: int,
    confidence: float,
) -> dict[str, dict[str, Any]]:
    """Return what `metrics.summary` documents, for what `checked` returned (at least one video)."""
    sample = prepare(labels, scores, threshold)
    values, gap = (rows[0] for rows in figures(sample, np.ones((1, len(labels)))))
    parts = each_resample(partial(figures, sample), labels, groups, resamples, seed)
    draws, gaps = (np.concatenate(part) for part in zip(*parts, strict=True))
    units = independent_units(labels, groups, np.bincount(scores >= threshold, minlength=2))
    errors = [_standard_error(column, units) for column in draws.T]
    numbers = {
        name: _effective_number(name, value, error, units, None if groups is None else len(labels), confidence)
        for name, value, error in zip(NAMES, values, errors, strict=True)
    }
    reach = stdtrit(units["least"] - 1, (1 + confidence) / 2) * np.array([-1, 1])
    result = {}
    for k, (name, method) in enumerate(INTERVALS.items()):
        value, error, number = float(values[k]), errors[k], numbers[name]
        if method == "logit" and not (0 < value < 1 and units["least"] > 1):
            method = "wilson"
        if not np.isfinite(value):
            value, limits, method = None, (None, None), "none"
        elif method == "wilson":
            limits = wilson(value * number, number, confidence)
        elif method == "logit":
            limits = expit(logit(value) + reach * error / (value * (1 - value)))
        elif method == "order statistics":
            sizes = numbers["recall_real"], numbers["recall_fake"]
            drawn = _tpr_draws(labels, scores, FPR[name], sizes, resamples, np.random.default_rng([seed, k]))
            limits = np.quantile(drawn, _ends(confidence))
        elif units["least"] < 2:
            limits, method = (None, None), "none"
        elif method == "log":
            limits = value * np.exp(reach * error / max(value, 1e-300))
        else:
            limits = _ece_interval(value, gap, gaps, confidence)
        result[name] = entry(value, *limits, method)
    return result


def entry(value: float | None, low: float | None, high: float | None, method: str) -> dict[str, Any]:
    """Return a figure as plain numbers, with an interval that holds it."""
    if low is None or high is None:
        return {"value": value, "low": None, "high": None, "method": method}
    return {"value": value, "low": float(min(low, value)), "high": float(max(high, value)), "method": method}


def value_and_interval(figure: dict[str, Any], digits: int = 3) -> tuple[str, str]:
    """Return a figure and its interval as texts for the reader: `undefined`, and "", where there is none."""
    if figure["value"] is None:
        return "undefined", ""
    interval = "" if figure.get("low") is None else f"{figure['low']:.{digits}f} – {figure['high']:.{digits}f}"
    return f"{figure['value']:.{digits}f}", interval


def with_interval(figure: dict[str, Any], digits: int = 3) -> str:
    """Return a figure as one text, its interval in brackets."""
    value, interval = value_and_interval(figure, digits)
    return f"{value} ({interval})" if interval else value


def wilson(successes: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion (Wilson, 1927); (0, 1) for `n` = 0."""
    if n <= 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, extra = successes / n, z * z / n
    half = z * np.sqrt(max(share * (1 - share), 0.0) / n + extra / (4 * n))
    low, high = (share + extra / 2 - half) / (1 + extra), (share + extra / 2 + half) / (1 + extra)
    return max(float(low), 0.0), min(float(high), 1.0)


@dataclass(frozen=True)
class Sample:
    """Scores in descending order and what every resample needs of them.

    `order` sorts the videos; `labels` `(n,)` are sorted; `starts` `(k,)` begin the runs of equal scores; the first
    `called` runs are at or above the threshold; `losses` `(n, 2 + BINS)` holds each video's log loss, its squared
    error, and its score minus label in the column of its bin.
    """

    order: np.ndarray
    labels: np.ndarray
    starts: np.ndarray
    called: int
    losses: np.ndarray


def binary(values: np.ndarray, what: str) -> np.ndarray:
    """Return values that are all 0 or 1 as integers `(n,)`, or raise an InputError that names `what`."""
    values = np.asarray(values)
    if values.ndim != 1 or not np.isin(values, (0, 1)).all():
        raise InputError(f"The {what} must be a list of 0 (real) and 1 (fake).")
    return values.astype(int)


def checked(
    labels: np.ndarray, scores: list[np.ndarray], groups: np.ndarray | None
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray | None]:
    """Return valid inputs in an order that does not depend on the order they came in.

    Groups come back as numbers from 0, a number of its own for each ""; None if no two videos share one.

    Raises:
        InputError: for lengths that differ, labels other than 0 and 1, scores that are NaN or not from 0 to 1.
    """
    labels = binary(labels, "labels")
    scores = [np.asarray(values, dtype=float) for values in scores]
    for values in scores:
        if values.shape != labels.shape:
            raise InputError(f"{len(labels)} labels but {values.size} scores: give one score a label.")
        if missing := int(np.isnan(values).sum()):
            raise InputError(f"{missing} of {len(values)} scores are NaN: find out why, or leave those videos out.")
        if outside := int(((values < 0) | (values > 1)).sum()):
            raise InputError(f"{outside} of {len(values)} scores are outside 0 to 1: give probabilities of fake.")
    keys = [*scores, labels]
    if groups is not None:
        groups = np.asarray(groups)
        if groups.shape != labels.shape:
            raise InputError(f"{len(labels)} labels but {groups.size} groups: give one group a label.")
        names = groups.astype(str)
        known = names != ""
        groups = np.full(len(labels), -1)
        groups[known] = np.unique(names[known], return_inverse=True)[1]
        keys.insert(0, groups)
    order = np.lexsort(keys)
    labels, scores = labels[order], [values[order] for values in scores]
    if groups is None:
        return labels, scores, None
    groups = groups[order]
    alone = groups < 0
    groups[alone] = groups.max(initial=-1) + 1 + np.arange(alone.sum())
    return labels, scores, groups if len(np.unique(groups)) < len(groups) else None


def bin_of(scores: np.ndarray) -> np.ndarray:
    """Return the bin, 0 to BINS - 1, of each score; the last bin holds 1."""
    return np.minimum((scores * BINS).astype(int), BINS - 1)


def prepare(labels: np.ndarray, scores: np.ndarray, threshold: float) -> Sample:
    """Return what `figures` needs of labels and scores `(n,)`; weights go with their order."""
    order = np.argsort(-scores, kind="stable")
    labels, scores = labels[order].astype(float), scores[order]
    starts = np.flatnonzero(np.concatenate([[True], np.diff(scores) != 0]))
    tiny = np.finfo(float).eps
    sure = np.clip(scores, tiny, 1 - tiny)
    losses = np.zeros((len(scores), 2 + BINS))
    losses[:, 0] = -np.where(labels == 1, np.log(sure), np.log1p(-sure))
    losses[:, 1] = (scores - labels) ** 2
    losses[np.arange(len(scores)), 2 + bin_of(scores)] = scores - labels
    return Sample(order, labels, starts, int((scores[starts] >= threshold).sum()), losses)


def cumulative(sample: Sample, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the weight of the fakes and of the reals, each `(resamples, k + 1)`, in the first 0, 1, … k runs."""
    sums = []
    for of_class in (sample.labels, 1 - sample.labels):
        sums.append(np.zeros((len(weights), len(sample.starts) + 1)))
        np.cumsum(np.add.reduceat(weights * of_class, sample.starts, axis=1), axis=1, out=sums[-1][:, 1:])
    return sums[0], sums[1]


def figures(sample: Sample, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return every figure of NAMES, `(resamples, 16)`, and each bin's part of the calibration error, with its sign.

    `weights` `(resamples, n)` says how often each video is in each resample. NaN where a figure is undefined.
    """
    weights = weights[:, sample.order]
    true, false = cumulative(sample, weights)
    row = np.arange(len(weights))
    fakes, reals = true[:, -1], false[:, -1]
    n = fakes + reals
    tp, fp = true[:, sample.called], false[:, sample.called]
    fn, tn = fakes - tp, reals - fp
    with np.errstate(invalid="ignore", divide="ignore"):
        both = np.where(fakes * reals > 0, 1.0, np.nan)
        rise, run = np.diff(true, axis=1), np.diff(false, axis=1)
        auc = (run * (true[:, 1:] + true[:, :-1])).sum(axis=1) / (2 * fakes * reals)
        above = np.maximum(true[:, 1:] + false[:, 1:], 1)
        precision = (rise * true[:, 1:] / above).sum(axis=1) / fakes * both
        # false alarms minus misses, times both class sizes: whole numbers that rise from below to above zero
        excess = false * fakes[:, None] + true * reals[:, None] - (fakes * reals)[:, None]
        after = np.argmax(excess >= 0, axis=1)
        step = -excess[row, after - 1] / (excess[row, after] - excess[row, after - 1])
        eer = (false[row, after - 1] + step * (false[row, after] - false[row, after - 1])) / reals * both
        tpr = []
        for share in FPR.values():
            allowed = (false <= (share * reals + 1e-9)[:, None]).sum(axis=1) - 1
            tpr.append(true[row, allowed] / fakes * both)
        losses = weights @ sample.losses / n[:, None]
        columns = [
            (tp + tn) / n,
            (tp / fakes + tn / reals) / 2,
            tn / (tn + fn),
            tn / reals,
            2 * tn / (2 * tn + fn + fp),
            tp / (tp + fp),
            tp / fakes,
            2 * tp / (2 * tp + fp + fn),
            auc,
            precision,
            eer,
            *tpr,
            losses[:, 0],
            losses[:, 1],
            np.abs(losses[:, 2:]).sum(axis=1),
        ]
    return np.stack(columns, axis=1), losses[:, 2:]


def roc_auc(sample: Sample, weights: np.ndarray) -> np.ndarray:
    """Return the ROC AUC alone, `(resamples,)`, as `figures` gives it."""
    true, false = cumulative(sample, weights[:, sample.order])
    with np.errstate(invalid="ignore", divide="ignore"):
        area = (np.diff(false, axis=1) * (true[:, 1:] + true[:, :-1])).sum(axis=1)
        return area / (2 * true[:, -1] * false[:, -1])


def each_resample(
    work: Callable[[np.ndarray], Any], labels: np.ndarray, groups: np.ndarray | None, resamples: int, seed: int
) -> Iterable[Any]:
    """Return what `work` makes of the weights of `draw_weights`, in order; on several cores where it is much."""
    drawn = draw_weights(labels, groups, resamples, seed)
    if len(labels) * resamples < 4_000_000:
        return map(work, drawn)
    threads = min(os.cpu_count() or 1, 4)  # numpy works outside Python's lock; each part is small, so memory stays so
    return Parallel(n_jobs=threads, prefer="threads", return_as="generator")(delayed(work)(part) for part in drawn)


def draw_weights(labels: np.ndarray, groups: np.ndarray | None, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield weights `(some resamples, n)` of the stratified bootstrap over videos, or over groups of videos."""
    rng = np.random.default_rng(seed)
    unit = np.arange(len(labels)) if groups is None else groups
    content = np.zeros(unit.max() + 1, dtype=int)
    for c in (0, 1):
        content[np.unique(unit[labels == c])] += c + 1  # 1 real only, 2 fake only, 3 both
    strata = [np.flatnonzero(content == c) for c in np.unique(content)]
    if groups is not None:  # a stratum of one group would always be drawn whole, and so look certain
        small = [stratum for stratum in strata if len(stratum) < 5]
        strata = [stratum for stratum in strata if len(stratum) >= 5] + ([np.concatenate(small)] if small else [])
    chunk = max(1, 400_000 // len(labels))
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        weights = np.zeros((rows, len(content)))
        for stratum in strata:
            size = len(stratum)
            drawn = rng.integers(0, size, (rows, size)) + size * np.arange(rows)[:, None]
            weights[:, stratum] = np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size)
        yield weights if groups is None else weights[:, unit]


def independent_units(labels: np.ndarray, groups: np.ndarray | None, called: np.ndarray) -> dict[str, float]:
    """Return how many independent videos or groups a figure rests on where resamples show no variance.

    `called`: videos called real and fake. `harmonic` is the harmonic mean of both classes, for figures of their order;
    `least` the smaller class of those that are there.
    """
    unit = np.arange(len(labels)) if groups is None else groups
    real, fake = (len(np.unique(unit[labels == c])) for c in (0, 1))
    every = len(np.unique(unit))
    called_real, called_fake = called * every / len(labels)
    harmonic = 2 * real * fake / (real + fake)
    return {
        "accuracy": every,
        "balanced_accuracy": 2 * harmonic,
        "precision_real": called_real,
        "recall_real": real,
        "f1_real": real,
        "precision_fake": called_fake,
        "recall_fake": fake,
        "f1_fake": fake,
        "harmonic": harmonic,
        "least": min(size for size in (real, fake) if size),
    }


def _standard_error(draws: np.ndarray, units: dict[str, float]) -> float:
    """Return the bootstrap's standard error, freed of its bias at small numbers; NaN for a class of one."""
    draws = draws[np.isfinite(draws)]
    if len(draws) == 0 or units["least"] < 2:
        return np.nan
    return float(draws.std() * np.sqrt(units["least"] / (units["least"] - 1)))


def _effective_number(
    name: str, value: float, error: float, units: dict[str, float], grouped: int | None, confidence: float
) -> float:
    """Return the number of independent videos that would make a plain proportion as uncertain as this figure.

    `grouped`: all videos, where they share groups. Recall without groups is a plain proportion. The number is lowered
    by what Student's quantile exceeds the normal one, as the error itself is estimated (Korn and Graubard, 1998).
    """
    own = units.get(name, units["harmonic"])
    if grouped is None and name.startswith("recall"):
        return own
    if not error > 1e-9 or not 1e-12 < value < 1 - 1e-12:
        return own
    point = (1 + confidence) / 2
    lowered = (NormalDist().inv_cdf(point) / stdtrit(units["least"] - 1, point)) ** 2
    return min(value * (1 - value) / error**2, grouped or units["accuracy"]) * lowered


def _tpr_draws(
    labels: np.ndarray,
    scores: np.ndarray,
    share: float,
    sizes: tuple[float, float],
    resamples: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw the recall of fakes `(resamples,)` at the unknown threshold that calls `share` of all reals fake.

    That threshold stands above so many of the reals as uniform numbers fall below `share`, and between two of them in
    the ratio of its distances to the uniform numbers around it. `sizes`: effective numbers of reals and of fakes.
    """
    reals, fakes = np.sort(scores[labels == 0])[::-1], np.sort(scores[labels == 1])
    above = len(fakes) - np.searchsorted(fakes, reals, side="right")
    above = np.concatenate([[0], above, [len(fakes)]])
    n = max(round(sizes[0]), 1)
    below = rng.binomial(n, share, resamples)
    left, right = rng.random((2, resamples))
    before = share * np.where(below > 0, 1 - left ** (1 / np.maximum(below, 1)), 1.0)
    after = (1 - share) * np.where(below < n, 1 - right ** (1 / np.maximum(n - below, 1)), 1.0)
    position = (below + before / (before + after)) * (len(reals) + 1) / (n + 1)
    recall = np.interp(position, np.arange(len(above)), above) / len(fakes)
    return rng.beta(recall * sizes[1] + 0.5, (1 - recall) * sizes[1] + 0.5)


def _ece_interval(value: float, gap: np.ndarray, gaps: np.ndarray, confidence: float) -> tuple[float, float]:
    """Return limits of the error that endless videos would show.

    `gap` `(BINS,)` and its resamples `gaps` hold each bin's part of the error, with its sign. The value cannot exceed
    the truth by more than the noise of all bins together (triangle inequality); above, the basic bootstrap.
    """
    least, most = _ends(confidence)
    noise = np.quantile(np.abs(gaps - gap).sum(axis=1), most)
    return max(value - noise, 0.0), 2 * value - np.quantile(np.abs(gaps).sum(axis=1), least)


def _ends(confidence: float) -> tuple[float, float]:
    return (1 - confidence) / 2, (1 + confidence) / 2
