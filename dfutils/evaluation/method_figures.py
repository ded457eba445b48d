"""How well the fakes of each method are told from real videos, as papers print it: one column per method.

A method's fakes are ranked among the real videos of the same compression, since compression alone moves the scores.
"""

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


def by_method(
    counted: Counted, videos: pd.DataFrame, *, resamples: int = DEFAULTS.resamples, seed: int = 0
) -> list[dict[str, Any]]:
    """Return one row per method and compression: `method`, `compression` ("" where unknown), numbers of `real` and
    `fake` videos, and each of `FIGURES` with its interval, as `figures.summary` gives it.

    Average precision depends on the share of fakes, which `real` and `fake` give. Methods are in alphabetical order;
    the list is empty if the test has no fakes of a named method.

    Args:
        counted: the videos that count, with their scores.
        videos: the split table.
        resamples: bootstrap resamples behind an interval.
        seed: of the bootstrap.
    """
    compression = compressions(videos.set_index("video_id").reindex(counted.table["video_id"])).to_numpy()
    method = counted.table["method"].fillna("").to_numpy()
    rows = []
    for name in sorted(set(method[counted.labels == 1]) - {""}):
        for quality in sorted(set(compression[method == name])):
            fakes = (counted.labels == 1) & (method == name)
            chosen = (fakes | (counted.labels == 0)) & (compression == quality)
            labels = counted.labels[chosen]
            measured = figures.summary(
                labels, counted.scores[chosen], groups=counted.groups[chosen], resamples=resamples, seed=seed
            )
            sizes = dict(zip(("real", "fake"), np.bincount(labels, minlength=2).tolist(), strict=True))
            rows.append({"method": name, "compression": quality, **sizes, **{key: measured[key] for key in FIGURES}})
    return rows
