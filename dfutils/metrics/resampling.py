"""All figures of a set of scores, computed at once for the scores and for their bootstrap resamples.

A resample is a row of integer weights, one per video. With the videos sorted by score, every figure of NAMES follows
from cumulative sums of the weights, so that the same code computes the figures themselves (all weights 1) and those of
thousands of resamples, ties included.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from dfutils.core.errors import InputError

NAMES = (
    "accuracy", "balanced_accuracy", "precision_real", "recall_real", "f1_real", "precision_fake", "recall_fake",
    "f1_fake", "roc_auc", "average_precision", "eer", "tpr_at_fpr_1", "tpr_at_fpr_5", "log_loss", "brier", "ece",
)  # fmt: skip
"""Names of the figures, in the order of the columns that `figures` returns."""

FPR = {"tpr_at_fpr_1": 0.01, "tpr_at_fpr_5": 0.05}
"""Largest false positive rate of each figure of this kind."""

BINS = 10
"""Number of equal-width bins of the expected calibration error (Naeini et al., AAAI 2015)."""


@dataclass(frozen=True)
class SortedScores:
    """Scores in descending order, and the quantities that every resample needs.

    Attributes:
        order: `(n,)`, indices that sort the videos.
        labels: `(n,)`, sorted.
        starts: `(k,)`, index of the first video of each of the k distinct scores.
        positives: number of distinct scores at or above the threshold.
        losses: `(n, 2 * (2 + BINS))`, each video's log loss, its squared error, and its score minus label in the column
            of its bin; in the first half of the columns for real videos, in the second for fakes.
        prior_fake: share of the fakes in the means of the losses; None: as many as there are.
    """

    order: np.ndarray
    labels: np.ndarray
    starts: np.ndarray
    positives: int
    losses: np.ndarray
    prior_fake: float | None = None


def check_binary(values: np.ndarray, name: str) -> np.ndarray:
    """Return labels or predictions as integers `(n,)`.

    Raises:
        InputError: if a value is neither 0 nor 1; the message contains `name`.
    """
    values = np.asarray(values)
    if values.ndim != 1 or not np.isin(values, (0, 1)).all():
        raise InputError(f"The {name} must be a list of 0 (real) and 1 (fake).")
    return values.astype(int)


def check_inputs(
    labels: np.ndarray, scores: list[np.ndarray], groups: np.ndarray | None
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray | None]:
    """Return validated labels `(n,)`, arrays of scores `(n,)` and groups `(n,)`, sorted so that the result does not
    depend on the order of the rows.

    Groups are returned as numbers from 0, with a number of its own for each "" or missing one; None if no two videos
    share a group.

    Raises:
        InputError: if lengths differ, labels are not 0 or 1, or scores are NaN or outside 0 to 1.
    """
    labels = check_binary(labels, "labels")
    scores = [np.asarray(values, dtype=float) for values in scores]
    for values in scores:
        if values.shape != labels.shape:
            raise InputError(f"{len(labels)} labels but {values.size} scores: give one score per label.")
        if missing := int(np.isnan(values).sum()):
            raise InputError(f"{missing} of {len(values)} scores are NaN: find out why, or leave those videos out.")
        if outside := int(((values < 0) | (values > 1)).sum()):
            raise InputError(f"{outside} of {len(values)} scores are outside 0 to 1: give probabilities of fake.")
    keys = [*scores, labels]
    if groups is not None:
        groups = _group_numbers(labels, groups)
        keys.insert(0, groups)
    order = np.lexsort(keys)
    labels, scores = labels[order], [values[order] for values in scores]
    if groups is None:
        return labels, scores, None
    groups = groups[order]
    ungrouped = groups < 0
    groups[ungrouped] = groups.max(initial=-1) + 1 + np.arange(ungrouped.sum())
    return labels, scores, groups if len(np.unique(groups)) < len(groups) else None


def _group_numbers(labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return groups `(n,)` as numbers from 0 in the order of their names, -1 for "" or a missing one."""
    groups = np.asarray(groups)
    if groups.shape != labels.shape:
        raise InputError(f"{len(labels)} labels but {groups.size} groups: give one group per label.")
    names = np.where(pd.isna(groups), "", groups.astype(str))
    has_group = names != ""
    numbers = np.full(len(labels), -1)
    numbers[has_group] = np.unique(names[has_group], return_inverse=True)[1]
    return numbers


def drawn_weights(labels: np.ndarray, scores: np.ndarray, groups: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Return how often each video is in each resample that `figures.summary` draws, `(resamples, n)`.

    The arguments are those of `summary`, and the columns are in their order.
    """
    in_order, _, grouped = check_inputs(labels, [scores], groups)
    order = np.lexsort([_group_numbers(labels, groups), scores, labels])
    weights = np.empty((resamples, len(labels)))
    weights[:, order] = np.concatenate(list(bootstrap_weights(in_order, grouped, resamples, seed)))
    return weights


def bin_indices(scores: np.ndarray) -> np.ndarray:
    """Return the bin, 0 to BINS - 1, of each score; a score of 1 is in the last bin."""
    return np.minimum((scores * BINS).astype(int), BINS - 1)


def sort_scores(
    labels: np.ndarray, scores: np.ndarray, threshold: float, prior_fake: float | None = None
) -> SortedScores:
    """Return labels and scores `(n,)` prepared for `figures`, whose weights have the order of `labels`."""
    order = np.argsort(-scores, kind="stable")
    labels, scores = labels[order].astype(float), scores[order]
    starts = np.flatnonzero(np.concatenate([[True], np.diff(scores) != 0]))
    eps = np.finfo(float).eps
    clipped = np.clip(scores, eps, 1 - eps)
    losses = np.zeros((len(scores), 2, 2 + BINS))
    row, column = np.arange(len(scores)), labels.astype(int)
    losses[row, column, 0] = -np.where(labels == 1, np.log(clipped), np.log1p(-clipped))
    losses[row, column, 1] = (scores - labels) ** 2
    losses[row, column, 2 + bin_indices(scores)] = scores - labels
    losses = losses.reshape(len(scores), -1)
    return SortedScores(order, labels, starts, int((scores[starts] >= threshold).sum()), losses, prior_fake)


def cumulative_weights(scores: SortedScores, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of the fakes and of the reals with the 0, 1, … k highest distinct scores.

    These are the true and the false positives at every threshold, each `(resamples, k + 1)`. The columns of `weights`
    are sorted as `scores.order` says.
    """
    sums = []
    for in_class in (scores.labels, 1 - scores.labels):
        sums.append(np.zeros((len(weights), len(scores.starts) + 1)))
        np.cumsum(np.add.reduceat(weights * in_class, scores.starts, axis=1), axis=1, out=sums[-1][:, 1:])
    return sums[0], sums[1]


def figures(scores: SortedScores, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return every figure of NAMES `(resamples, 16)` and the signed term of each bin in the calibration error.

    `weights` `(resamples, n)` holds how often each video is in each resample. Undefined figures are NaN.
    """
    weights = weights[:, scores.order]
    tp, fp = cumulative_weights(scores, weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        losses = _mean_losses(weights @ scores.losses, tp[:, -1:], fp[:, -1:], scores.prior_fake)
        columns = [
            *_rates(tp, fp, scores.positives),
            *_curve_figures(tp, fp),
            losses[:, 0],
            losses[:, 1],
            np.abs(losses[:, 2:]).sum(axis=1),
        ]
    return np.stack(columns, axis=1), losses[:, 2:]


def _mean_losses(sums: np.ndarray, fakes: np.ndarray, reals: np.ndarray, prior_fake: float | None) -> np.ndarray:
    """Return the mean losses `(resamples, 2 + BINS)` from their sums, reals first, and the classes' weights."""
    of_reals, of_fakes = np.split(sums, 2, axis=1)
    if prior_fake is None:
        return (of_reals + of_fakes) / (reals + fakes)
    return (1 - prior_fake) * of_reals / reals + prior_fake * of_fakes / fakes


def _rates(true_positives: np.ndarray, false_positives: np.ndarray, column: int) -> list[np.ndarray]:
    """Return the figures at one threshold, accuracy to F1 of the fakes, each `(resamples,)`.

    `true_positives` and `false_positives` are those of `cumulative_weights`; `column` is the threshold's.
    """
    fakes, reals = true_positives[:, -1], false_positives[:, -1]
    tp, fp = true_positives[:, column], false_positives[:, column]
    fn, tn = fakes - tp, reals - fp
    return [
        (tp + tn) / (fakes + reals),
        (tp / fakes + tn / reals) / 2,
        tn / (tn + fn),
        tn / reals,
        2 * tn / (2 * tn + fn + fp),
        tp / (tp + fp),
        tp / fakes,
        2 * tp / (2 * tp + fp + fn),
    ]


def _curve_figures(tp: np.ndarray, fp: np.ndarray) -> list[np.ndarray]:
    """Return ROC AUC, average precision, EER and TPR at each of `FPR` from the output of `cumulative_weights`."""
    row = np.arange(len(tp))
    fakes, reals = tp[:, -1], fp[:, -1]
    defined = np.where(fakes * reals > 0, 1.0, np.nan)
    predicted = np.maximum(tp[:, 1:] + fp[:, 1:], 1)
    average_precision = (np.diff(tp, axis=1) * tp[:, 1:] / predicted).sum(axis=1) / fakes * defined
    # FPR minus FNR, times both class sizes: integers that rise from below to above zero
    difference = fp * fakes[:, None] + tp * reals[:, None] - (fakes * reals)[:, None]
    after = np.argmax(difference >= 0, axis=1)
    step = -difference[row, after - 1] / (difference[row, after] - difference[row, after - 1])
    eer = (fp[row, after - 1] + step * (fp[row, after] - fp[row, after - 1])) / reals * defined
    tpr = []
    for limit in FPR.values():
        column = (fp <= (limit * reals + 1e-9)[:, None]).sum(axis=1) - 1
        tpr.append(tp[row, column] / fakes * defined)
    return [_area(tp, fp), average_precision, eer, *tpr]


def _area(tp: np.ndarray, fp: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve `(resamples,)` from the output of `cumulative_weights`."""
    return (np.diff(fp, axis=1) * (tp[:, 1:] + tp[:, :-1])).sum(axis=1) / (2 * tp[:, -1] * fp[:, -1])


def roc_auc(scores: SortedScores, weights: np.ndarray) -> np.ndarray:
    """Return the ROC AUC alone `(resamples,)`, equal to the column of `figures`."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return _area(*cumulative_weights(scores, weights[:, scores.order]))


def map_resamples(
    function: Callable[[np.ndarray], Any], labels: np.ndarray, groups: np.ndarray | None, resamples: int, seed: int
) -> Iterable[Any]:
    """Return an iterable of `function(weights)` for each block of `bootstrap_weights`, in order.

    Large inputs are computed in several threads.
    """
    blocks = bootstrap_weights(labels, groups, resamples, seed)
    if len(labels) * resamples < 4_000_000:
        return map(function, blocks)
    threads = min(os.cpu_count() or 1, 4)  # numpy releases the GIL; blocks are small, so memory stays small
    return Parallel(n_jobs=threads, prefer="threads", return_as="generator")(delayed(function)(w) for w in blocks)


def bootstrap_weights(labels: np.ndarray, groups: np.ndarray | None, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield blocks of weights `(some resamples, n)` of the stratified bootstrap over videos, or over groups of videos.

    The strata are real videos and fake videos; with groups, those of reals only, of fakes only, and of both. Strata of
    fewer than five groups are pooled.
    """
    rng = np.random.default_rng(seed)
    unit = np.arange(len(labels)) if groups is None else groups
    content = np.zeros(unit.max() + 1, dtype=int)
    for c in (0, 1):
        content[np.unique(unit[labels == c])] += c + 1  # 1 real only, 2 fake only, 3 both
    strata = [np.flatnonzero(content == c) for c in np.unique(content)]
    if groups is not None:  # a stratum of one group would be in every resample, and so have no variance
        small = [stratum for stratum in strata if len(stratum) < 5]
        strata = [stratum for stratum in strata if len(stratum) >= 5] + ([np.concatenate(small)] if small else [])
    block = max(1, 400_000 // len(labels))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        weights = np.zeros((rows, len(content)))
        for stratum in strata:
            size = len(stratum)
            drawn = rng.integers(0, size, (rows, size)) + size * np.arange(rows)[:, None]
            weights[:, stratum] = np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size)
        yield weights if groups is None else weights[:, unit]
