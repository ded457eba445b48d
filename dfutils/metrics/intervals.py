"""Confidence intervals of figures, from their values on bootstrap resamples of the videos.

`figures.summary` documents the methods and why plain bootstrap percentiles are not enough. A figure with its interval
is a dict with the keys `value`, `low`, `high` and `method`; `value_and_interval` formats it.
"""

from functools import partial
from statistics import NormalDist
from typing import Any

import numpy as np
from scipy.special import expit, logit, stdtrit

from dfutils.metrics.resampling import FPR, NAMES, figures, map_resamples, sort_scores

METHODS = {
    "wilson": "Wilson score interval; the number of videos in it is the one that the bootstrap's variance amounts to",
    "logit": "interval on the log-odds with the bootstrap's standard error",
    "log": "interval on the logarithm with the bootstrap's standard error",
    "order statistics": "simulated position of the threshold among the reals, and recall of the fakes above it",
    "noise": "down by what resampling noise alone can add, up by the basic bootstrap",
    "student": "Student's interval with the standard error of the difference on common resamples",
    "percentile": "percentile bootstrap over the same resamples of both (reports of earlier versions)",
    "none": "no interval: undefined, too few videos, or equal losses in all of them",
}
"""Description of each `method` of an interval."""

TAILS = (1 - 0.95) / 2, (1 + 0.95) / 2
"""The quantiles that bound an interval: all are of 95%."""
Z = NormalDist().inv_cdf(TAILS[1])

_KINDS = {"log_loss": "log", "brier": "log", "ece": "noise", "roc_auc": "logit", "average_precision": "logit"}
_KINDS |= dict.fromkeys(FPR, "order statistics")  # all other figures are rates, whose method is wilson


def estimate(
    labels: np.ndarray,
    scores: np.ndarray,
    threshold: float,
    groups: np.ndarray | None,
    prior_fake: float | None,
    resamples: int,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Return the result of `figures.summary` for the inputs, of at least one video, that `check_inputs` returned."""
    sample = sort_scores(labels, scores, threshold, prior_fake)
    values, gap = (rows[0] for rows in figures(sample, np.ones((1, len(labels)))))
    blocks = map_resamples(partial(figures, sample), labels, groups, resamples, seed)
    draws, gaps = (np.concatenate(arrays) for arrays in zip(*blocks, strict=True))
    units = independent_units(labels, groups, np.bincount(scores >= threshold, minlength=2))
    errors = [standard_error(column, units) for column in draws.T]
    numbers = {
        name: _effective_number(name, value, error, units, None if groups is None else len(labels))
        for name, value, error in zip(NAMES, values, errors, strict=True)
    }
    least, used = units["least"], 2 if groups is None else 3
    both = stdtrit(max(units["accuracy"] - 2, 1), TAILS[1]) * np.array([-1, 1])
    smaller = stdtrit(least - 1, TAILS[1]) * np.array([-1, 1]) * np.sqrt((least - 1) / max(least - used, 0.5))
    result = {}
    for k, name in enumerate(NAMES):
        value, error, number, method = float(values[k]), errors[k], numbers[name], _KINDS.get(name, "wilson")
        if method == "logit" and not (0 < value < 1 and least > 1 and error > 1e-9):
            method = "wilson"
        if not np.isfinite(value):
            value, limits, method = None, (None, None), "none"
        elif method == "wilson":
            limits = wilson(value * number, number)
        elif method == "logit":
            margin = smaller * error if groups is not None else both * error * np.sqrt((least - 1) / least)
            limits = expit(logit(value) + margin / (value * (1 - value)))
        elif method == "order statistics":
            sizes = numbers["recall_real"], numbers["recall_fake"]
            recalls = _draw_tpr(labels, scores, FPR[name], sizes, resamples, np.random.default_rng([seed, k]))
            limits = np.quantile(recalls, TAILS)
        elif least < 2 or not error > 1e-9:  # losses that are all equal do not say how large another may be
            limits, method = (None, None), "none"
        elif method == "log":
            limits = value * np.exp(smaller * error / max(value, 1e-300))
        else:
            defined = gaps[np.isfinite(gaps).all(axis=1)]
            limits = _ece_interval(value, gap, defined) if len(defined) else (None, None)
        result[name] = entry(value, *limits, method)
    return result


def entry(value: float | None, low: float | None, high: float | None, method: str) -> dict[str, Any]:
    """Return a figure as a dict of plain numbers; the interval is widened, if necessary, to contain the value."""
    if low is None or high is None:
        return {"value": value, "low": None, "high": None, "method": method}
    return {"value": value, "low": float(min(low, value)), "high": float(max(high, value)), "method": method}


def value_and_interval(figure: dict[str, Any], digits: int = 3) -> tuple[str, str]:
    """Return a figure and its interval as texts; an undefined figure is `undefined`, a missing interval ""."""
    if figure["value"] is None:
        return "undefined", ""
    interval = "" if figure.get("low") is None else f"{figure['low']:.{digits}f} – {figure['high']:.{digits}f}"
    return f"{figure['value']:.{digits}f}", interval


def with_interval(figure: dict[str, Any], digits: int = 3) -> str:
    """Return a figure as one text, with its interval in brackets."""
    value, interval = value_and_interval(figure, digits)
    return f"{value} ({interval})" if interval else value


def wilson(successes: float, n: float) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion (Wilson, 1927); (0, 1) for `n` = 0."""
    if n <= 0:
        return 0.0, 1.0
    share, extra = successes / n, Z * Z / n
    half = Z * np.sqrt(max(share * (1 - share), 0.0) / n + extra / (4 * n))
    low, high = (share + extra / 2 - half) / (1 + extra), (share + extra / 2 + half) / (1 + extra)
    return max(float(low), 0.0), min(float(high), 1.0)


def proportion(hits: np.ndarray, weights: np.ndarray, groups: np.ndarray | None = None) -> tuple[float, float, float]:
    """Return the weighted share of hits and its 95% interval: Wilson's with the effective number of videos.

    That number is the one that would make a plain proportion as uncertain as the linearised standard error between
    groups, at most Kish's `(sum w)² / sum w²`, lowered as Student's quantile exceeds the normal one (Korn and Graubard,
    1998). Where all hit or none, it is Kish's number of groups. Equal weights without groups give the plain interval.

    `hits` are 0 or 1, `weights` above 0, and `groups` numbers from 0, each `(n,)` with n > 0. Without groups each video
    is by itself. The interval is NaN where several videos are all of one group.
    """
    total = weights.sum()
    share = float(weights @ hits / total)
    if groups is None:
        return share, *wilson(share * total**2 / (weights @ weights), total**2 / (weights @ weights))
    by_group = np.bincount(groups, weights=weights)
    spread = np.bincount(groups, weights=weights * (hits - share))
    count = int((by_group > 0).sum())
    if count < 2:
        return share, np.nan, np.nan
    number = total**2 / (by_group @ by_group)
    if 0 < share < 1:
        variance = count / (count - 1) * (spread @ spread) / total**2
        number = min(share * (1 - share) / max(variance, 1e-300), total**2 / (weights @ weights))
        number *= (Z / stdtrit(count - 1, TAILS[1])) ** 2
    return share, *wilson(share * number, number)


def independent_units(labels: np.ndarray, groups: np.ndarray | None, predicted: np.ndarray) -> dict[str, float]:
    """Return for each figure its number of independent videos or groups, used where resamples show no variance.

    `predicted` holds the numbers of videos predicted real and fake. `harmonic` is the harmonic mean of both classes'
    numbers, for figures of the ranking; `least` is the number of the smaller class that is present.
    """
    unit = np.arange(len(labels)) if groups is None else groups
    real, fake = (len(np.unique(unit[labels == c])) for c in (0, 1))
    total = len(np.unique(unit))
    predicted_real, predicted_fake = predicted * total / len(labels)
    harmonic = 2 * real * fake / (real + fake)
    return {
        "accuracy": total,
        "balanced_accuracy": 2 * harmonic,
        "precision_real": predicted_real,
        "recall_real": real,
        "f1_real": real,
        "precision_fake": predicted_fake,
        "recall_fake": fake,
        "f1_fake": fake,
        "harmonic": harmonic,
        "least": min(size for size in (real, fake) if size),
    }


def standard_error(draws: np.ndarray, units: dict[str, float]) -> float:
    """Return the bootstrap's standard error, corrected for small samples; NaN if a class has a single unit."""
    draws = draws[np.isfinite(draws)]
    if len(draws) == 0 or units["least"] < 2:
        return np.nan
    return float(draws.std() * np.sqrt(units["least"] / (units["least"] - 1)))


def _effective_number(name: str, value: float, error: float, units: dict[str, float], grouped: int | None) -> float:
    """Return the number of independent videos that would make a plain proportion as uncertain as this figure.

    `grouped` is the number of videos if they share groups, else None. Recall without groups is a plain proportion. The
    number is reduced by the ratio of the normal to Student's quantile, because the error itself is estimated (Korn and
    Graubard, 1998).
    """
    independent = units.get(name, units["harmonic"])
    if grouped is None and name.startswith("recall"):
        return independent
    if not error > 1e-9 or not 1e-12 < value < 1 - 1e-12:
        return independent
    reduction = (Z / stdtrit(units["least"] - 1, TAILS[1])) ** 2
    return min(value * (1 - value) / error**2, grouped or units["accuracy"]) * reduction


def _draw_tpr(
    labels: np.ndarray,
    scores: np.ndarray,
    share: float,
    sizes: tuple[float, float],
    resamples: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return draws of the recall of fakes `(resamples,)` at the unknown threshold whose false positive rate is `share`.

    The number of reals above that threshold is the number of uniform variates below `share`; its position between two
    reals has the ratio of the distances from `share` to the uniform variates around it. `sizes` holds the effective
    numbers of reals and of fakes.
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


def _ece_interval(value: float, gap: np.ndarray, gaps: np.ndarray) -> tuple[float, float]:
    """Return the limits of the calibration error that infinitely many videos would have.

    `gap` `(bins,)` and `gaps` `(resamples, bins)` hold the signed term of each bin. The value cannot exceed the true
    error by more than the noise of all bins together (triangle inequality), which gives the lower limit; the upper
    limit is that of the basic bootstrap.
    """
    lower, upper = TAILS
    noise = np.quantile(np.abs(gaps - gap).sum(axis=1), upper)
    return max(value - noise, 0.0), 2 * value - np.quantile(np.abs(gaps).sum(axis=1), lower)
