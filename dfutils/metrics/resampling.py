"""Every figure of a set of scores at once, and of thousands of its resamples.

A resample is a row of whole-number weights on the videos. Sorted by score, every figure of NAMES follows from
cumulative sums of these weights, so one piece of code gives the figure itself (all weights 1) and thousands of its
resamples, ties included.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from joblib import Parallel, delayed

from dfutils.core.errors import InputError

NAMES = (
    "accuracy", "balanced_accuracy", "precision_real", "recall_real", "f1_real", "precision_fake", "recall_fake",
    "f1_fake", "roc_auc", "average_precision", "eer", "tpr_at_fpr_1", "tpr_at_fpr_5", "log_loss", "brier", "ece",
)  # fmt: skip
"""The figures of `figures.summary`, in order."""

FPR = {"tpr_at_fpr_1": 0.01, "tpr_at_fpr_5": 0.05}  # largest share of reals called fake

BINS = 10
"""Bins of equal width of the expected calibration error (Naeini et al., AAAI 2015)."""


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
