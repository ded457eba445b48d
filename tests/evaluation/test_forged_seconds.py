"""Forged seconds of the test videos, from frame scores to the average precision."""

import numpy as np
import pandas as pd
import pytest

from dfutils.evaluation.forged_seconds import measure

TABLE = pd.DataFrame(
    {
        "video_id": ["fake", "unknown", "real", "lost"],
        "label": [1, 1, 0, 1],
        "segments": ["2-4", "", "", "0-1"],
        "probability_fake": [0.9, 0.9, 0.2, np.nan],
    }
)


def frame_tables(scores: dict[str, list[float]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return frame scores, and the frames table of one frame a second."""
    rows = [(name, 0, k, float(k), score) for name, values in scores.items() for k, score in enumerate(values)]
    table = pd.DataFrame(rows, columns=["video_id", "person", "position", "time_s", "probability_fake"])
    return table.drop(columns="time_s"), table.drop(columns="probability_fake")


def test_what_is_forged_is_found_and_alarms_in_real_videos_count():
    right, high = [0.1, 0.1, 0.8, 0.9, 0.8, 0.1], [0.1, 0.1, 0.1, 0.1, 0.1, 0.95]
    assert measure(TABLE, *frame_tables({"fake": right, "unknown": high, "real": [0.1] * 6}), 0.5) == {
        "ap_iou_50": 1.0,
        "videos": 2,
    }
    assert measure(TABLE, *frame_tables({"fake": right, "real": high}), 0.5)["ap_iou_50"] == pytest.approx(0.5)


def test_without_known_seconds_nothing_is_said():
    frames = frame_tables({"fake": [0.9], "real": [0.1]})
    assert measure(TABLE.drop(columns="segments"), *frames, 0.5) is None
    assert measure(TABLE.assign(segments=""), *frames, 0.5) is None
