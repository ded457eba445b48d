"""Error rates by slice of the scored videos, with exact tests corrected for multiple comparisons.

Among many slices one is bad by chance. Each slice is therefore compared with the other videos of the same class by an
exact test, and the p-values are corrected for the number of slices.
"""

from itertools import pairwise

import numpy as np
import pandas as pd
from scipy.stats import hypergeom

from dfutils.core.errors import InputError
from dfutils.metrics.intervals import wilson


def by_slice(
    table: pd.DataFrame, column: str, threshold: float, *, bins: int = 4, confidence: float = 0.95
) -> pd.DataFrame:
    """Return the detector's error rates by slice of the scored videos, one row per value of `column`.

    A numeric column with more than `bins` distinct values is divided at its quantiles. Missing values form the slice
    `unknown`, the last; in the column `method`, the slice of "" is `real`, the first.

    Args:
        table: predictions table, with `column` merged into it; rows without a score are left out.
        column: name of the column to slice by.
        threshold: scores at or above it are predicted fake.
        bins: largest number of slices of a numeric column.
        confidence: confidence level of the Wilson intervals.

    Returns:
        Columns `slice`, `n`, `real`, `fake` (numbers of videos), `errors`, `error_rate` with its interval `low`,
        `high`, `recall_real`, `recall_fake` (NaN without such videos), `p` (p-value of Fisher's exact test, stratified
        by class, of the slice against the other videos of the same class; NaN if there are none) and `p_holm`, the
        p-value corrected for all slices of this table. `concat_corrected` corrects over several tables.

    Raises:
        InputError: if `column` is not in the table.
    """
    if column not in table:
        raise InputError(f"There is no column {column!r} to slice by: use one of {', '.join(table.columns)}.")
    rows = table[table["probability_fake"].notna()]
    labels = rows["label"].to_numpy(dtype=int)
    wrong = (rows["probability_fake"].to_numpy(dtype=float) >= threshold) != (labels == 1)
    names, order = _slices(rows[column], bins)
    if column == "method":
        names = np.where(names == "unknown", "real", names)
        order = [*(["real"] if "unknown" in order else []), *(name for name in order if name != "unknown")]
    rows_of_slices = []
    for name in order:
        inside = names == name
        n, errors = int(inside.sum()), int(wrong[inside].sum())
        low, high = wilson(errors, n, confidence)
        recalls = [
            1 - wrong[inside & (labels == c)].mean() if (inside & (labels == c)).any() else np.nan for c in (0, 1)
        ]
        classes = [int((labels[inside] == c).sum()) for c in (0, 1)]
        p = _exact_p(labels, wrong, inside)
        rows_of_slices.append([name, n, *classes, errors, errors / n, low, high, *recalls, p])
    columns = ["slice", "n", "real", "fake", "errors", "error_rate", "low", "high", "recall_real", "recall_fake", "p"]
    result = pd.DataFrame(rows_of_slices, columns=columns)
    return result.assign(p_holm=holm(result["p"].to_numpy(dtype=float)))


def holm(p: np.ndarray) -> np.ndarray:
    """Return p-values corrected for multiple comparisons (Holm, 1979); NaN stays NaN and is not counted."""
    p = np.asarray(p, dtype=float)
    result = np.full(p.shape, np.nan)
    finite = np.flatnonzero(np.isfinite(p))
    order = finite[np.argsort(p[finite], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    result[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return result


def _slices(values: pd.Series, bins: int) -> tuple[np.ndarray, list[str]]:
    """Return the name of each row's slice `(n,)`, and the distinct names in order."""
    missing = values.isna().to_numpy() | (values.astype(str) == "").to_numpy()
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        numbers = values.to_numpy(dtype=float, na_value=np.nan)
        if len(np.unique(numbers[~missing])) > bins:
            edges = np.unique(np.quantile(numbers[~missing], np.linspace(0, 1, bins + 1)))
            bin_index = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, len(edges) - 2)
            texts = [f"{low:.3g} to {high:.3g}" for low, high in pairwise(edges)]
            names = np.array(texts, dtype=object)[bin_index]
            order = [text for text in dict.fromkeys(texts) if (names[~missing] == text).any()]
        else:
            names = np.array([f"{number:g}" for number in numbers], dtype=object)
            order = [f"{number:g}" for number in np.unique(numbers[~missing])]
    else:
        names = values.astype(str).to_numpy(dtype=object)
        order = sorted(set(names[~missing]))
    names[missing] = "unknown"
    return names, [*order, *(["unknown"] if missing.any() else [])]


def _exact_p(labels: np.ndarray, wrong: np.ndarray, inside: np.ndarray) -> float:
    """Return the two-sided p-value of Fisher's exact test, stratified by class, on the number of errors inside.

    The distribution of that number is the convolution of the classes' hypergeometric distributions. NaN if every class
    lies wholly inside or outside.
    """
    probabilities, least, compared = np.ones(1), 0, False
    for c in (0, 1):
        total, errors, size = ((labels == c).sum(), (wrong & (labels == c)).sum(), (inside & (labels == c)).sum())
        low, high = max(0, size + errors - total), min(size, errors)
        pmf = hypergeom.pmf(np.arange(low, high + 1), total, errors, size) if total else [1.0]
        probabilities = np.convolve(probabilities, pmf)
        least += low
        compared |= 0 < size < total
    observed = probabilities[int((wrong & inside).sum()) - least]
    return float(min(probabilities[probabilities <= observed * (1 + 1e-7)].sum(), 1.0)) if compared else np.nan


def concat_corrected(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Return tables of `by_slice`, each with a column `property`, as one, with `p_holm` corrected over all of them."""
    joined = pd.concat(tables, ignore_index=True)
    columns = ["property", *(name for name in joined if name != "property")]
    return joined.assign(p_holm=holm(joined["p"].to_numpy(dtype=float)))[columns]
