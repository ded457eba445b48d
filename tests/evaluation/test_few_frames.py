"""Tests of the error rates of clips of fewer frames."""

import numpy as np
import pytest

from dfutils.evaluation.few_frames import error_rates
from dfutils.reporting.wording import fewer_frames


def videos(n: int = 400, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray, dict[int, np.ndarray]]:
    """Return labels, people with four videos each, and logits that are surer the more frames are seen."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 2
    groups = np.array([f"p{k // 4}" for k in range(n)])
    noise = rng.normal(size=(n, 10)) * 3
    signal = (labels - 0.5) * 4 * spread
    return labels, groups, {count: signal + noise[:, :count].mean(1) for count in (1, 3, 10)}


def test_more_frames_err_less_and_the_rates_are_those_of_the_scores():
    labels, groups, logits = videos()
    found = error_rates(labels, groups, logits, "0.5")
    assert [entry["frames"] for entry in found] == [1, 3, 10]
    assert all((entry["reals"], entry["fakes"]) == (200, 200) for entry in found)
    misses = [entry["misses"]["value"] for entry in found]
    assert misses[0] > misses[1] > misses[2]
    # The classes are balanced and symmetric, so that the threshold of every fold lies near a logit of 0.
    for entry, count in zip(found, (1, 3, 10), strict=True):
        assert entry["misses"]["value"] == pytest.approx((logits[count][labels == 1] < 0).mean(), abs=0.03)
        assert entry["false_alarms"]["value"] == pytest.approx((logits[count][labels == 0] >= 0).mean(), abs=0.03)
        assert entry["misses"]["low"] <= entry["misses"]["value"] <= entry["misses"]["high"]


def test_no_video_has_a_part_in_the_threshold_that_it_is_judged_by():
    rng = np.random.default_rng(1)
    rates = []
    for _ in range(40):  # of scores that say nothing, a threshold chosen on the same videos would err less than half
        logits = rng.normal(size=24)
        [entry] = error_rates(np.arange(24) % 2, np.arange(24).astype(str), {10: logits}, "balanced")
        rates.append((entry["misses"]["value"] + entry["false_alarms"]["value"]) / 2)
    assert np.mean(rates) > 0.47


def test_too_few_people_are_not_measured():
    labels, _, logits = videos(8)
    assert error_rates(labels, np.array(["a"] * 8), logits, "0.5") == []


def test_the_words_name_the_nearest_measured_number_of_frames():
    labels, groups, logits = videos()
    rates = error_rates(labels, groups, logits, "0.5")
    said = fewer_frames(5, 10, rates)
    alarms, misses = (f"{rates[1][kind]['value']:.0%}" for kind in ("false_alarms", "misses"))
    assert said.startswith("Only 5 faces were found, where the detector was trained on 10: its answer is less certain.")
    assert f"With 3 frames it called {alarms} of 200 real validation videos fake and {misses} of 200 fakes real" in said
    assert "With 1 frame it called" in fewer_frames(2, 10, rates)
    assert fewer_frames(1, 10, []) == (
        "Only one face was found, where the detector was trained on 10: its answer is less certain. Its errors with so "
        "few faces were not measured."
    )
