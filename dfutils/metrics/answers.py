"""Three answers in place of two: *fake*, *real*, and *cannot tell* between two borders, which validation chooses."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from dfutils.metrics import resampling
from dfutils.metrics.calibration import candidates
from dfutils.metrics.intervals import entry, proportion

SHARE = 0.05
"""Share of the real validation videos above the upper border, and of the fakes below the lower one, at most."""

_DECIMALS = 4

Borders = tuple[float, float]
"""The lower and the upper border: below the lower a video is answered *real*, at or above the upper *fake*, between
them *cannot tell*. Where they are equal there is nothing between them: two answers."""


def choose_borders(labels: np.ndarray, scores: np.ndarray, threshold: float) -> Borders | None:
    """Return the borders of *cannot tell*, from the validation split; None where a class is missing.

    The upper border is the lowest of the candidates of `choose_threshold` with at most `SHARE` of the reals at or above
    it, the lower one the highest with at most `SHARE` of the fakes below it. Where they cross or meet, classes are told
    apart well enough without a third answer, and both are the threshold. Else they are moved apart, if necessary, so
    that the threshold lies between them: no video that it calls fake is answered *real*.

    Raises:
        InputError: if scores are NaN, or labels are not 0 and 1.
    """
    labels, (scores,), _ = resampling.check_inputs(labels, [scores], None)
    reals, fakes = np.bincount(labels, minlength=2)
    if not (reals and fakes):
        return None
    places, below = candidates(labels, scores)
    upper = places[reals - below[0] <= SHARE * reals + 1e-9][0]
    lower = places[below[1] <= SHARE * fakes + 1e-9][-1]
    return around((lower, upper), threshold)


def around(borders: Borders | None, threshold: float) -> Borders:
    """Return borders with a threshold between them: moved apart if necessary; both are it where there are none."""
    lower, upper = borders or (1.0, 0.0)
    if lower >= upper:
        return threshold, threshold
    return float(min(lower, threshold)), float(max(upper, threshold))


def decide(probability: float | None, borders: Borders) -> str | None:
    """Return the answer, `fake`, `real` or `cannot tell`; None if there is no probability."""
    if probability is None:
        return None
    lower, upper = borders
    return "fake" if probability >= upper else "real" if probability < lower else "cannot tell"


def kept_scores(reals: Iterable[float]) -> list[float]:
    """Return the scores of real validation videos as a detector's file holds them, for `rank`: sorted, rounded."""
    return sorted(round(float(score), _DECIMALS) for score in reals)


def rank(probability: float | None, reals: Sequence[float] | None) -> tuple[int, int] | None:
    """Return how many real validation videos score as high, to four decimals, and how many there are.

    None without a probability, or where the detector's file does not hold the scores of its real validation videos.
    """
    if probability is None or not reals:
        return None
    return sum(score >= round(probability, _DECIMALS) for score in reals), len(reals)


def rates(
    labels: np.ndarray, scores: np.ndarray, borders: Borders, groups: np.ndarray | None = None
) -> dict[str, dict[str, Any]]:
    """Return what the three answers are worth on videos, each a figure with its 95% interval (`intervals.entry`).

    `reals_called_fake` of the reals, `fakes_called_real` of the fakes, `answered` (*fake* or *real*) of all videos, and
    `right` of those answered; undefined where there are no such videos.

    Args:
        labels: `(n,)`, 0 real, 1 fake.
        scores: `(n,)`, probability of fake.
        borders: lower and upper.
        groups: the unit of the intervals, `(n,)`; None: the video.
    """
    labels, scores = np.asarray(labels, dtype=int), np.asarray(scores, dtype=float)
    real, fake = scores < borders[0], scores >= borders[1]

    def share(hits: np.ndarray, among: np.ndarray) -> dict[str, Any]:
        if not among.any():
            return entry(None, None, None, "none")
        unit = None if groups is None else np.unique(groups[among].astype(str), return_inverse=True)[1]
        if unit is not None and unit.max() + 1 == len(unit):  # each video is a group by itself
            unit = None
        value, low, high = proportion(hits[among], np.ones(among.sum()), unit)
        return entry(value, None, None, "none") if np.isnan(low) else entry(value, low, high, "wilson")

    return {
        "reals_called_fake": share(fake, labels == 0),
        "fakes_called_real": share(real, labels == 1),
        "answered": share(real | fake, np.ones(len(labels), dtype=bool)),
        "right": share(np.where(labels == 1, fake, real), real | fake),
    }
