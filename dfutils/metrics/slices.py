"""Where the errors are: the scored videos cut into slices, with a correction for looking at many.

Look at enough slices and one of them is bad by chance. Each slice is therefore compared with the other videos of the
same class, exactly, and the p-values are corrected for their number.
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
    """Return how often the detector errs in each slice of the scored videos, a row a value of `column`.

    A number with more than `bins` values is cut into quarters (`bins` quantiles). Missing values make the slice
    `unknown`, the last; in `method`, the slice of "" is `real`, the first.

    Args:
        table: predictions table, with `column` merged into it; rows without a score are left out.
        column: what to slice by.
        threshold: scores at or above it are called fake.
        bins: slices of a number.
        confidence: of the Wilson intervals.

    Returns:
        Columns `slice`, `n`, `real`, `fake` (videos), `errors`, `error_rate`, `low`, `high`, `recall_real`,
        `recall_fake` (NaN without such videos), `p` (chance of errors as uneven as these if the slice were like the
        other videos of the same class: Fisher's exact test, stratified by class; NaN where there is nothing to compare
        with) and `p_holm`, corrected for all slices of this table. Correct over several tables with `holm`.

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
    found = []
    for name in order:
        inside = names == name
        n, errors = int(inside.sum()), int(wrong[inside].sum())
        low, high = wilson(errors, n, confidence)
        recalls = [
            1 - wrong[inside & (labels == c)].mean() if (inside & (labels == c)).any() else np.nan for c in (0, 1)
        ]
        classes = [int((labels[inside] == c).sum()) for c in (0, 1)]
        found.append([name, n, *classes, errors, errors / n, low, high, *recalls, _exact_p(labels, wrong, inside)])
    columns = ["slice", "n", "real", "fake", "errors", "error_rate", "low", "high", "recall_real", "recall_fake", "p"]
    result = pd.DataFrame(found, columns=columns)
    return result.assign(p_holm=holm(result["p"].to_numpy(dtype=float)))


def holm(p: np.ndarray) -> np.ndarray:
    """Return p-values corrected for looking at all of them (Holm, 1979); NaN stays NaN and does not count."""
    p = np.asarray(p, dtype=float)
    result = np.full(p.shape, np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    result[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return result


def _slices(values: pd.Series, bins: int) -> tuple[np.ndarray, list[str]]:
    """Return the name of each row's slice, and the names in order."""
    missing = values.isna().to_numpy() | (values.astype(str) == "").to_numpy()
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        numbers = values.to_numpy(dtype=float, na_value=np.nan)
        if len(np.unique(numbers[~missing])) > bins:
            edges = np.unique(np.quantile(numbers[~missing], np.linspace(0, 1, bins + 1)))
            place = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, len(edges) - 2)
            texts = [f"{low:.3g} to {high:.3g}" for low, high in pairwise(edges)]
            names = np.array(texts, dtype=object)[place]
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
    """Return the two-sided p of Fisher's exact test, stratified by class, on the number of errors inside."""
    chances, least, compared = np.ones(1), 0, False
    for c in (0, 1):
        total, errors, size = ((labels == c).sum(), (wrong & (labels == c)).sum(), (inside & (labels == c)).sum())
        low, high = max(0, size + errors - total), min(size, errors)
        chances = np.convolve(chances, hypergeom.pmf(np.arange(low, high + 1), total, errors, size) if total else [1.0])
        least += low
        compared |= 0 < size < total
    observed = chances[int((wrong & inside).sum()) - least]
    return float(min(chances[chances <= observed * (1 + 1e-7)].sum(), 1.0)) if compared else np.nan


def corrected_together(parts: list[pd.DataFrame]) -> pd.DataFrame:
    joined = pd.concat(parts, ignore_index=True)
    columns = ["property", *(name for name in joined if name != "property")]
    return joined.assign(p_holm=holm(joined["p"].to_numpy(dtype=float)))[columns]
