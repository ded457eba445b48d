"""What a detector must beat before its score means anything.

Three answers that need no temporal network, some not even a face, judged on the same test videos, with thresholds from
the same validation videos: the larger class always; a classifier of container facts and light alone (`shortcuts`),
fitted to the training videos; and the detector's own frames, each judged without its neighbours in time. Each is
compared with the detector on common resamples, so that what makes the test hard for both cancels out.
"""

from typing import Any

import numpy as np
import pandas as pd

from dfutils import metrics
from dfutils.core.errors import InputError
from dfutils.core.params import DEFAULTS
from dfutils.evaluation import coverage
from dfutils.metrics import calibration
from dfutils.splits import shortcuts

FIGURES = ("roc_auc", "balanced_accuracy", "recall_fake", "recall_real")
"""The figures of the table."""

DETECTOR = "detector"


def majority(videos: pd.DataFrame) -> pd.Series:
    """Return by `video_id` the score that always names the larger class of the training videos: 1 if fake, else 0."""
    train = videos[(videos["split"] == "train") & (videos["status"] == "ok")]
    larger = float((train["label"] == 1).sum() >= (train["label"] == 0).sum())
    return pd.Series(larger, index=videos["video_id"])


def container(videos: pd.DataFrame, frames: pd.DataFrame | None, seed: int = 0) -> pd.Series | None:
    """Return by `video_id` the score of trees that saw container facts, brightness and sharpness of the training split.

    None where the training videos are too few (under 20, or under 8 of a class).
    """
    return shortcuts.predict_from_facts(
        videos[videos["split"] == "train"], videos[videos["split"] != "train"], frames, seed
    )


def baselines(
    predictions: pd.DataFrame,
    others: dict[str, pd.Series | None],
    threshold: float,
    *,
    rule: str = "balanced",
    target_recall: float = DEFAULTS.target_recall,
    resamples: int = DEFAULTS.resamples,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Return the detector's and every baseline's figures on the test videos that the detector scored.

    Args:
        predictions: predictions table of validation and test videos.
        others: scores by `video_id` of each baseline; None is passed over.
        threshold: the detector's.
        rule: how each baseline's own threshold is chosen from validation; .5 where that is not possible.
        target_recall: for the rule `recall`.
        resamples, seed: of the bootstrap.

    Returns:
        For each a dict with `threshold`, the FIGURES with intervals, and `gain`: how much larger the detector's ROC AUC
        is, with its paired interval (absent for the detector itself).
    """
    scored = predictions[predictions["probability_fake"].notna()]
    test = coverage.with_policy(scored[scored["split"] == "test"])
    val = scored[scored["split"] == "val"]
    drawn = {"groups": test.groups, "resamples": resamples, "seed": seed}
    result = {}
    for name, by_video in {DETECTOR: scored.set_index("video_id")["probability_fake"], **others}.items():
        if by_video is None:
            continue
        scores = by_video.reindex(test.table["video_id"]).to_numpy(dtype=float)
        known = by_video.reindex(val["video_id"]).to_numpy(dtype=float)
        if np.isnan(scores).any() or np.isnan(known).any():
            continue  # not every video has the facts: the comparison would be of other videos
        chosen = threshold if name == DETECTOR else _threshold(val["label"], known, rule, target_recall)
        figures = metrics.summary(test.labels, scores, chosen, **drawn)
        result[name] = {"threshold": chosen, **{figure: figures[figure] for figure in FIGURES}}
        if len(np.unique(scores)) < 2:  # a constant answer: its figures are the same on any videos
            exact = {"low": None, "high": None, "method": "none"}
            result[name] |= {figure: {**figures[figure], **exact} for figure in FIGURES}
        if name != DETECTOR:
            result[name]["gain"] = metrics.paired_difference(test.labels, test.scores, scores, "roc_auc", **drawn)
    return result


def _threshold(labels: pd.Series, scores: np.ndarray, rule: str, target_recall: float) -> float:
    if len(np.unique(scores)) < 2:
        return 0.5  # a constant answer
    try:
        return calibration.choose_threshold(labels, scores, rule, target_recall)
    except InputError:
        return 0.5


def finding(measured: dict[str, dict[str, Any]]) -> str:
    """Return in words whether the detector is better than its strongest baseline."""
    rest = {
        name: found for name, found in measured.items() if name != DETECTOR and found["roc_auc"]["value"] is not None
    }
    if DETECTOR not in measured or measured[DETECTOR]["roc_auc"]["value"] is None or not rest:
        return "The detector cannot be compared: a class is missing, or there is no baseline"
    name = max(rest, key=lambda key: rest[key]["roc_auc"]["value"])
    gain = rest[name]["gain"]
    if gain["low"] is None:
        return f"The strongest baseline is {name}; too few videos say whether the detector beats it"
    if gain["low"] > 0:
        return f"The detector beats the strongest baseline, {name}, by {gain['value']:.3f} in AUC"
    if gain["high"] < 0:
        return f"The detector is worse than {name}, by {-gain['value']:.3f} in AUC"
    return f"These videos do not show that the detector beats {name} ({gain['value']:+.3f} in AUC)"
