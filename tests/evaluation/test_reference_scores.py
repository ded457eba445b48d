"""What a detector is held against, on the same videos."""

import numpy as np
import pandas as pd
import pytest

from dfutils.evaluation import reference_scores
from dfutils.reporting import tables


def table(n: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    label = np.arange(n) % 3 % 2
    return pd.DataFrame(
        {
            "video_id": [f"v{k:03d}" for k in range(n)],
            "label": label,
            "dataset": "d",
            "identity": [f"p{k // 2}" for k in range(n)],
            "split": np.repeat(["train", "val", "test"], [n // 2, n // 4, n // 4]),
            "status": "ok",
            "width": 640,
            "height": 480,
            "fps": 25.0,
            "n_frames": 100,
            "duration_s": 4.0,
            "bitrate": np.where(label, 2e5, 3e5) + rng.normal(size=n) * 5e4,
            "codec": "avc1",
            "probability_fake": np.clip(0.5 + 0.4 * (label - 0.5) + rng.normal(size=n) * 0.3, 0, 1),
        }
    )


@pytest.fixture(scope="module")
def measured():
    videos = table()
    others = {
        "majority class": reference_scores.majority(videos),
        "container facts": reference_scores.container(videos, None),
        "single frames": videos.set_index("video_id")["probability_fake"] * 0.5,
        "absent": None,
    }
    return reference_scores.baselines(videos, others, 0.5, resamples=200)


def test_naming_the_larger_class_is_guessing(measured):
    found = measured["majority class"]
    assert found["roc_auc"]["value"] == 0.5
    assert found["balanced_accuracy"]["value"] == 0.5
    assert (found["recall_real"]["value"], found["recall_fake"]["value"]) == (1.0, 0.0)
    assert all(found[name]["low"] is None for name in reference_scores.FIGURES)  # true of any videos


def test_container_facts_learn_what_gives_the_label_away(measured):
    assert measured["container facts"]["roc_auc"]["value"] > 0.75
    gain = measured["container facts"]["gain"]
    assert gain["low"] <= gain["value"] <= gain["high"]


def test_the_same_order_of_scores_gains_nothing_whatever_their_scale(measured):
    found = measured["single frames"]
    assert found["gain"]["value"] == 0
    assert found["roc_auc"] == measured["detector"]["roc_auc"]
    assert found["threshold"] < 0.5


def test_what_is_not_there_is_not_in_the_table(measured):
    shown = tables.reference_scores(measured)
    assert list(shown.index) == ["detector", "majority class", "container facts", "single frames"]
    assert shown.loc["detector", "detector's gain in ROC AUC"] == ""
    assert "(" in shown.loc["container facts", "ROC AUC"]


def test_too_few_training_videos_teach_nothing():
    assert reference_scores.container(table(32), None) is None
