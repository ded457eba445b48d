"""Error rates by slice of the scored videos, with tests over people corrected for multiple comparisons.

Among many slices one is bad by chance, and the videos of one person are good or bad together. Each slice is therefore
compared with the other videos of the same class by a test whose unit is the group (person, source or video), and the
p-values are corrected for the number of slices.

`p` compares a slice with the other videos of the same class. Where each video is a group by itself, it is that of
Fisher's exact test, stratified by class. Else it is that of a sign-flip test: each group's part in the excess of errors
inside the slice is as likely to have the other sign (the score version of the wild cluster bootstrap under the null
hypothesis, Kline and Santos, Journal of Econometric Methods 1, 2012). A slice of few groups cannot be significant by
it. NaN if there is nothing to compare with, or if the slice or the rest has fewer than two groups.
"""

from itertools import pairwise

import numpy as np
import pandas as pd
from scipy.stats import hypergeom

from dfutils.core.errors import InputError
from dfutils.metrics.intervals import proportion

_FLIPS = 5_000
"""Draws of the sign-flip test."""


def by_slice(table: pd.DataFrame, column: str, threshold: float, *, bins: int = 4) -> pd.DataFrame:
    """Return the detector's error rates by slice of the scored videos, one row per value of `column`.

    A numeric column with more than `bins` distinct values is divided at its quantiles (`pandas.qcut`). Missing values
    form the slice `unknown`, the last; in the column `method`, the slice of "" is `real`, the first.

    Args:
        table: predictions table, with `column` merged into it; rows without a score are left out. Without a column
            `group`, each video is a group by itself.
        column: name of the column to slice by.
        threshold: scores at or above it are predicted fake.
        bins: largest number of slices of a numeric column.

    Returns:
        Columns `slice`, `n`, `real`, `fake` (numbers of videos), `groups`, `errors`, `expected` (errors at the rates
        that the classes have outside the slice; NaN if there is nothing to compare with), `error_rate` with its
        interval `low`, `high` (`intervals.proportion`, NaN for several videos of one group), `recall_real`,
        `recall_fake` (NaN without such videos), `p` and `p_holm`, the p-value corrected for all slices of this table.
        `concat_corrected` corrects over several tables.

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
    unit = _units(rows)
    grouped = len(np.unique(unit)) < len(unit)
    rows_of_slices = []
    for name in order:
        inside = names == name
        n, errors = int(inside.sum()), int(wrong[inside].sum())
        of_slice = np.unique(unit[inside], return_inverse=True)[1]
        rate, low, high = proportion(wrong[inside], np.ones(n), of_slice if grouped else None)
        recalls = [
            1 - wrong[inside & (labels == c)].mean() if (inside & (labels == c)).any() else np.nan for c in (0, 1)
        ]
        classes = [int((labels[inside] == c).sum()) for c in (0, 1)]
        counts = [n, *classes, int(of_slice.max()) + 1, errors, _expected(labels, wrong, inside)]
        rows_of_slices.append([name, *counts, rate, low, high, *recalls])
    columns = ["slice", "n", "real", "fake", "groups", "errors", "expected"]
    columns += ["error_rate", "low", "high", "recall_real", "recall_fake"]
    if grouped:
        p = _sign_flip_p(labels, wrong, [names == name for name in order], unit)
    else:
        p = np.array([_exact_p(labels, wrong, names == name) for name in order], dtype=float)
    return pd.DataFrame(rows_of_slices, columns=columns).assign(p=p, p_holm=holm(p))


def _units(rows: pd.DataFrame) -> np.ndarray:
    """Return the number of each row's group `(n,)`, a number of its own where it has none."""
    unit = np.arange(len(rows))
    if "group" in rows:
        named = rows["group"].fillna("").to_numpy(dtype=object)
        unit = np.unique(np.where(named == "", "video " + unit.astype(str).astype(object), named), return_inverse=True)[
            1
        ]
    return unit


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
    """Return the name of each row's slice `(n,)`, and the distinct names in order.

    The edges of bins are quantiles. Equal values are always in one bin, so that many ties make fewer bins.
    """
    values = values.reset_index(drop=True).mask(lambda column: column.astype(str) == "")
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        values = values.astype(float)
        if values.nunique() > bins:
            places, edges = pd.qcut(values, bins, labels=False, retbins=True, duplicates="drop")
            texts = [f"{low:.3g} to {high:.3g}" for low, high in pairwise(edges)]
            names = places.map(lambda place: texts[int(place)], na_action="ignore")
        else:
            names = values.map("{:g}".format, na_action="ignore")
    else:
        names = values = values.astype(str).where(values.notna())
    order = names[values.dropna().sort_values().index].unique().tolist()
    missing = names.isna()
    return names.astype(object).where(~missing, "unknown").to_numpy(), order + ["unknown"] * int(missing.any())


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


def _expected(labels: np.ndarray, wrong: np.ndarray, inside: np.ndarray) -> float:
    """Return how many errors the slice would have at the rates outside it; NaN if no class is on both sides.

    A class that is inside alone counts with the errors that it has, so that it makes no difference.
    """
    expected, compared = 0.0, False
    for c in (0, 1):
        within, rest = inside & (labels == c), ~inside & (labels == c)
        if within.any():
            expected += within.sum() * wrong[rest].mean() if rest.any() else wrong[within].sum()
            compared |= rest.any()
    return float(expected) if compared else np.nan


def _sign_flip_p(labels: np.ndarray, wrong: np.ndarray, slices: list[np.ndarray], unit: np.ndarray) -> np.ndarray:
    """Return for each slice, a mask `(n,)`, the two-sided p-value of the sign-flip test on its excess of errors.

    A group's part in the excess is the sum over its videos of (inside less its share) times (wrong less its rate), both
    of the video's class. NaN as the module says.
    """
    parts = np.zeros((len(slices), unit.max(initial=-1) + 1))
    defined = np.zeros(len(slices), dtype=bool)
    for row, inside in enumerate(slices):
        excess, compared = np.zeros(len(labels)), np.zeros(len(labels), dtype=bool)
        for c in (0, 1):
            of_class = labels == c
            if of_class.any() and 0 < inside[of_class].mean() < 1:
                compared |= of_class
                centred = wrong[of_class] - wrong[of_class].mean(), inside[of_class] - inside[of_class].mean()
                excess[of_class] = centred[0] * centred[1]
        sides = unit[compared & inside], unit[compared & ~inside]
        defined[row] = min(len(np.unique(side)) for side in sides) >= 2
        parts[row] = np.bincount(unit, weights=excess, minlength=parts.shape[1])
    rng, reached = np.random.default_rng(0), np.ones(len(slices))
    observed = np.abs(parts.sum(axis=1)) * (1 - 1e-9)
    count = (parts != 0).sum(axis=1)
    widened = parts * np.sqrt(count / np.maximum(count - 1, 1))[:, None]  # as the rates themselves are estimated
    for _ in range(_FLIPS // 500):
        signs = 2.0 * rng.integers(0, 2, (parts.shape[1], 500), dtype=np.int8) - 1
        reached += (np.abs(widened @ signs) >= observed[:, None]).sum(axis=1)
    return np.where(defined, reached / (1 + _FLIPS), np.nan)


def concat_corrected(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Return tables of `by_slice`, each with a column `property`, as one, with `p_holm` corrected over all of them."""
    joined = pd.concat(tables, ignore_index=True)
    columns = ["property", *(name for name in joined if name != "property")]
    return joined.assign(p_holm=holm(joined["p"].to_numpy(dtype=float)))[columns]
