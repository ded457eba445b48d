"""How sure one can be of a figure: intervals from the resamples of the videos.

How they are made, and why the bootstrap's plain percentiles would not do, is told in `figures.summary`. A figure with
its interval is a dict; here is also how it is written for a reader.
"""

from functools import partial
from statistics import NormalDist
from typing import Any

import numpy as np
from scipy.special import expit, logit, stdtrit

from dfutils.metrics.resampling import FPR, NAMES, each_resample, figures, prepare

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

_KINDS = {"log_loss": "log", "brier": "log", "ece": "noise", "roc_auc": "logit", "average_precision": "logit"}
_KINDS |= dict.fromkeys(FPR, "order statistics")  # all other figures are rates


def estimates(
    labels: np.ndarray,
    scores: np.ndarray,
    threshold: float,
    groups: np.ndarray | None,
    resamples: int,
    seed: int,
    confidence: float,
) -> dict[str, dict[str, Any]]:
    """Return what `figures.summary` documents, for what `resampling.checked` returned (at least one video)."""
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
    for k, name in enumerate(NAMES):
        value, error, number, method = float(values[k]), errors[k], numbers[name], _KINDS.get(name, "wilson")
        if method == "logit" and not (0 < value < 1 and units["least"] > 1 and error > 1e-9):
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

    `gap` `(bins,)` and its resamples `gaps` hold each bin's part of the error, with its sign. The value cannot exceed
    the truth by more than the noise of all bins together (triangle inequality); above, the basic bootstrap.
    """
    least, most = _ends(confidence)
    noise = np.quantile(np.abs(gaps - gap).sum(axis=1), most)
    return max(value - noise, 0.0), 2 * value - np.quantile(np.abs(gaps).sum(axis=1), least)


def _ends(confidence: float) -> tuple[float, float]:
    return (1 - confidence) / 2, (1 + confidence) / 2
