"""Tests of forged seconds and of the average precision of found stretches, with answers computed by hand."""

import numpy as np
import pytest

from dfutils.core.errors import InputError
from dfutils.metrics.segments import average_precision, of_frames, parse


def test_forged_seconds_are_read_in_order():
    assert parse("7-8; 1.5-3.0") == [(1.5, 3.0), (7.0, 8.0)]
    assert parse("") == parse(";") == []


@pytest.mark.parametrize("text", ["3-1", "2-2", "1.5", "a-b", "1-2,3-4", "-1-2"])
def test_what_is_no_stretch_is_said(text):
    with pytest.raises(InputError, match=r"are no forged seconds: write them as 1\.5-3\.0;7-8"):
        parse(text)


def test_runs_of_frames_reach_half_way_to_their_neighbours():
    times, scores = [0.0, 1.0, 2.0, 3.0, 4.0, 6.0], [0.9, 0.1, 0.5, 0.7, 0.2, 0.8]
    assert of_frames(times, scores, 0.5) == [(0.0, 0.5, 0.9), (1.5, 3.5, pytest.approx(0.6)), (5.0, 7.0, 0.8)]
    assert of_frames([], [], 0.5) == of_frames([1.0], [0.4], 0.5) == []


def test_average_precision_by_hand():
    truth = {"a": [(0.0, 2.0), (5.0, 6.0)], "b": [(1.0, 3.0)], "real": []}
    perfect = {"a": [(0.0, 2.0, 0.9), (5.0, 6.0, 0.6)], "b": [(1.0, 3.0, 0.7)]}
    assert average_precision(truth, perfect) == 1
    # By falling score: right, wrong (a real video), right (IoU 1.5 / 2), wrong (found already): precision 1, 1/2, 2/3.
    found = {
        "a": [(0.0, 2.0, 0.9), (0.5, 2.0, 0.6)],
        "real": [(0.0, 1.0, 0.8)],
        "b": [(1.5, 3.0, 0.7)],
    }
    assert average_precision(truth, found) == pytest.approx((1 + 2 / 3) / 3)
    assert average_precision(truth, found, least_iou=0.8) == pytest.approx(1 / 3)
    assert average_precision({"real": []}, found) is None
    assert average_precision(truth, {}) == 0


def test_interpolated_precision_is_the_largest_at_a_higher_recall():
    truth = {"a": [(0.0, 1.0), (2.0, 3.0)]}
    found = {"a": [(8.0, 9.0, 0.9), (0.0, 1.0, 0.8), (2.0, 3.0, 0.7)]}  # precision 0, 1/2, 2/3
    assert average_precision(truth, found) == pytest.approx(2 / 3)


def test_a_later_start_never_helps():
    rng = np.random.default_rng(0)
    starts = np.sort(rng.uniform(0, 100, 20)) + 10 * np.arange(20)
    truth = {"a": [(s, s + 4) for s in starts]}
    values = [average_precision(truth, {"a": [(s + late, s + late + 4, 0.5) for s in starts]}) for late in (0, 1, 2)]
    assert values == [1, 1, 0]
