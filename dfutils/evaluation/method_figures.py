"""How well the fakes of each method are told from real videos, as papers print it: one column per method.

A method's fakes are ranked among the real videos of the same compression, since compression alone moves the scores.
"""

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from dfutils.core.params import DEFAULTS
from dfutils.evaluation.coverage import Counted
from dfutils.metrics import figures

FIGURES = ("roc_auc", "average_precision", "eer", "tpr_at_fpr_1", "tpr_at_fpr_5")
"""Names of the figures that need no threshold."""


def compressions(videos: pd.DataFrame) -> pd.Series:
    """Return the compression of each video of a split table, "" where unknown; an earlier version's is in the path."""
    if "compression" in videos:
        return videos["compression"].fillna("")
    return videos["path"].str.extract(r"(?:^|/)(raw|c0|c23|c40)/", expand=False).fillna("")


KNOWN, LEFT_OUT = "methods of training", "methods left out"
"""Names of the rows of all methods that training had, and of all that it had not."""


def by_method(
    counted: Counted,
    videos: pd.DataFrame,
    whole: dict[str, dict[str, Any]],
    left_out: Collection[str] = (),
    *,
    resamples: int = DEFAULTS.resamples,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Return one row per method and compression: `method`, `compression` ("" where unknown), numbers of `real` and
    `fake` videos, and each of `FIGURES` with its interval, as `figures.summary` gives it.

    Average precision depends on the share of fakes, which `real` and `fake` give. Methods are in alphabetical order;
    the list is empty if the test has no fakes of a named method. Where the test has methods of training and others,
    each kind has a row of its own before them, `KNOWN` and `LEFT_OUT`, over all compressions: their mean would hide
    which of the two a figure is of.

    Args:
        counted: the videos that count, with their scores.
        videos: the split table.
        whole: `figures.summary` of all that count, which is that of a method whose fakes are the only ones.
        left_out: methods that neither training nor validation had.
        resamples: bootstrap resamples behind an interval.
        seed: of the bootstrap.
    """
    compression = compressions(videos.set_index("video_id").reindex(counted.table["video_id"])).to_numpy()
    method = counted.table["method"].fillna("").to_numpy()
    fake = counted.labels == 1

    def row(name: str, quality: str, fakes: np.ndarray) -> dict[str, Any]:
        chosen = fakes | (~fake & np.isin(compression, compression[fakes]))
        labels = counted.labels[chosen]
        given = {"groups": counted.groups[chosen], "resamples": resamples, "seed": seed}
        measured = whole if chosen.all() else figures.summary(labels, counted.scores[chosen], **given)
        sizes = dict(zip(("real", "fake"), np.bincount(labels, minlength=2).tolist(), strict=True))
        return {"method": name, "compression": quality, **sizes, **{key: measured[key] for key in FIGURES}}

    new = fake & np.isin(method, list(left_out))
    kinds = {KNOWN: fake & ~new, LEFT_OUT: new} if new.any() and (fake & ~new).any() else {}
    rows = [row(name, "", fakes) for name, fakes in kinds.items()]
    for name in sorted(set(method[fake]) - {""}):
        for quality in sorted(set(compression[fake & (method == name)])):
            rows.append(row(name, quality, fake & (method == name) & (compression == quality)))
    return rows
