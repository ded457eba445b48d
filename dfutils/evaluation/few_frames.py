"""What fewer frames cost: the error rates of a detector on validation videos of which it sees only a few frames."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from dfutils.core.params import DEFAULTS
from dfutils.evaluation.evaluate import choose_threshold
from dfutils.metrics.calibration import fit_calibration
from dfutils.metrics.intervals import proportion

COUNTS = (1, 3)
"""Numbers of frames that are measured beside all frames of a clip."""

_FOLDS = 5


def error_rates(
    labels: np.ndarray,
    groups: np.ndarray,
    logits: Mapping[int, np.ndarray],
    rule: str,
    target_recall: float = DEFAULTS.target_recall,
    prior_fake: float = DEFAULTS.prior_fake,
) -> list[dict[str, Any]]:
    """Return how often a detector errs that sees only so many frames of a video, one entry per number of frames.

    Each fifth of the videos is judged with the calibration and the threshold that the others choose by all their
    frames, so that no video has a part in the threshold that it is judged by.

    Args:
        labels: `(n,)`, 0 real, 1 fake.
        groups: `(n,)`, names of people or sources; videos of one group are in one fifth.
        logits: `(n,)` of fake less real, by number of frames. The largest number is that of a whole clip.
        rule: for the threshold, as `calibration.choose_threshold` takes it.
        target_recall, prior_fake: as in notebook 04.

    Returns:
        `frames`; `reals` and `fakes`, how many there are; `false_alarms` and `misses`, the shares of these that are
        called fake and real, each as `{"value", "low", "high"}` with a 95% interval over groups. Empty with fewer than
        two groups of a class.
    """
    known = pd.factorize(groups)[0]
    folds = min(_FOLDS, *(len(set(known[labels == label])) for label in (0, 1)))
    if folds < 2:
        return []
    whole = logits[max(logits)]
    called = {count: np.zeros(len(labels), dtype=bool) for count in logits}
    for rest, part in StratifiedGroupKFold(folds).split(known, labels, known):
        if len(set(labels[rest])) < 2:
            return []
        scaling = fit_calibration(labels[rest], whole[rest], prior_fake)
        val = pd.DataFrame({"label": labels[rest], "probability_fake": scaling.probability(whole[rest])})
        threshold = choose_threshold(val, rule, target_recall)[0]
        for count, values in logits.items():
            called[count][part] = scaling.probability(values[part]) >= threshold
    return [
        {
            "frames": count,
            "reals": int((labels == 0).sum()),
            "fakes": int((labels == 1).sum()),
            "false_alarms": _share(called[count][labels == 0], known[labels == 0]),
            "misses": _share(~called[count][labels == 1], known[labels == 1]),
        }
        for count in sorted(logits)
    ]


def _share(hits: np.ndarray, groups: np.ndarray) -> dict[str, float | None]:
    found = proportion(hits.astype(float), np.ones(len(hits)), pd.factorize(groups)[0])
    return {name: None if np.isnan(x) else float(x) for name, x in zip(("value", "low", "high"), found, strict=True)}
