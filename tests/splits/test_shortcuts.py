"""Tests of how well facts alone predict the label."""

import numpy as np
import pandas as pd

from dfutils.splits.shortcuts import shortcuts
from tests.support.tables import kaggle


def test_celeb_fakes_left_out_raise_the_alarm() -> None:
    result = shortcuts(kaggle(celeb_fakes=0))
    assert result.alarm
    assert result.low > 0.6
    assert result.facts["fact"].iloc[0] == "bitrate"
    assert result.facts["importance"].idxmax() == 0
    assert result.facts.set_index("fact").loc["width", "auc"] == 0.5
    whole = shortcuts(kaggle(celeb_fakes=150))
    assert not whole.alarm
    assert whole.low < 0.6


def test_photometric_facts_come_from_the_frames_table() -> None:
    videos = kaggle(celeb_fakes=150)
    dark = dict(zip(videos["video_id"], 120 - 30 * videos["label"], strict=True))
    rng = np.random.default_rng(0)
    frames = pd.DataFrame({"video_id": np.repeat(videos["video_id"], 3), "person": 0})
    frames["brightness"] = frames["video_id"].map(dark) + rng.normal(0, 5, len(frames))
    frames["sharpness"] = rng.normal(100, 10, len(frames))
    result = shortcuts(videos, frames)
    assert result.alarm
    assert result.facts["fact"].iloc[0] == "brightness"
    assert result.facts["real"].iloc[0] > result.facts["fake"].iloc[0]


def test_a_few_videos_give_no_figure_and_no_alarm() -> None:
    result = shortcuts(kaggle(celeb_fakes=0).groupby(["method", "label"]).head(3))
    assert np.isnan(result.auc)
    assert not result.alarm
    assert "too few" in result.note
    assert result.facts.empty


def test_unread_containers_take_no_part() -> None:
    videos = kaggle(celeb_fakes=0)
    videos.loc[videos["label"] == 1, ["width", "bitrate"]] = np.nan
    assert "too few" in shortcuts(videos).note
