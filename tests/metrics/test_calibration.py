"""Tests of the threshold rules, the temperature and the reliability diagram."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from dfutils.core.errors import InputError
from dfutils.metrics import calibration
from dfutils.metrics import figures as metrics_figures
from tests.support.scores import simulated


def test_threshold_rules_on_known_scores():
    labels, scores = np.array([0, 0, 1, 0, 1, 1]), np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.8])
    assert calibration.choose_threshold(labels, scores, "0.5") == 0.5
    assert calibration.choose_threshold(labels, scores, 0.25) == 0.25
    # 0.25 and 0.5 are equally good (5 of 6): the nearer to 0.5
    assert calibration.choose_threshold(labels, scores, "balanced") == 0.5
    assert calibration.choose_threshold(labels, scores, "recall", 1.0) == pytest.approx(0.25)
    assert calibration.choose_threshold(labels, scores, "recall", 0.6) == 0.5
    assert calibration.choose_threshold(labels, np.ones(6), "recall") == 0.0
    for rule, labels in (("best", [0, 1]), ("1.5", [0, 1]), ("nan", [0, 1]), ("balanced", [1, 1]), ("recall", [0, 0])):
        with pytest.raises(InputError, match="threshold"):
            calibration.choose_threshold(np.array(labels), np.array([0.2, 0.4]), rule)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 8)), min_size=2, max_size=40), st.integers(1, 10))
@settings(max_examples=60, deadline=None)
def test_thresholds_are_optimal(rows, tenths):
    labels, scores = np.array([label for label, _ in rows]), np.array([score for _, score in rows]) / 8
    if len(np.unique(labels)) < 2:
        return

    def rates(threshold):
        predicted = scores >= threshold
        return predicted[labels == 1].mean(), (~predicted[labels == 0]).mean()

    everywhere = np.concatenate([scores, scores + 1e-6])
    best = calibration.choose_threshold(labels, scores, "balanced")
    assert sum(rates(best)) >= max(sum(rates(t)) for t in everywhere) - 1e-12
    least = calibration.choose_threshold(labels, scores, "recall", tenths / 10)
    assert rates(least)[0] >= tenths / 10 - 1e-9
    assert all(rates(t)[1] <= rates(least)[1] for t in everywhere if rates(t)[0] >= tenths / 10)


def divided(scores: np.ndarray, temperature: float) -> np.ndarray:
    """Return scores whose log-log_odds are divided by a temperature, as scoring divides logits."""
    return expit(logit(np.clip(scores, 1e-12, 1 - 1e-12)) / temperature)


def test_temperature_is_recovered():
    rng = np.random.default_rng(0)
    log_odds = rng.normal(size=20_000) * 2
    labels = (rng.random(20_000) < 1 / (1 + np.exp(-log_odds))).astype(int)
    for expected in (0.5, 1.0, 3.0):
        scores = 1 / (1 + np.exp(-log_odds * expected))
        assert calibration.fit_temperature(labels, scores) == pytest.approx(expected, rel=0.05)
        cooled = divided(scores, expected)
        assert cooled == pytest.approx(1 / (1 + np.exp(-log_odds)), abs=1e-6)
    assert divided(scores, 1.0) == pytest.approx(scores, abs=1e-9)


def test_temperature_stays_finite():
    assert calibration.fit_temperature(np.ones(5), np.linspace(0.1, 0.9, 5)) == 1.0
    assert calibration.fit_temperature([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]) == 1.0
    assert calibration.fit_temperature([1, 1, 0, 0], [0.1, 0.2, 0.8, 0.9]) == 20.0
    assert calibration.fit_temperature([0, 1], [0.0, 1.0]) == 1.0
    assert 0.05 <= calibration.fit_temperature([0, 1, 1, 0, 1], [0.49, 0.51, 0.52, 0.51, 0.5]) <= 20


def test_temperature_keeps_the_order_of_scores():
    rng = np.random.default_rng(1)
    log_odds = np.concatenate(
        [rng.normal(3, 0.3, 200), rng.normal(-3, 0.3, 200), [20.0]]
    )  # a low temperature fits best
    labels = (log_odds > 0).astype(int)
    labels[0] = 0
    scores = 1 / (1 + np.exp(-log_odds))
    temperature = calibration.fit_temperature(labels, scores)
    assert temperature < 1
    cooled = divided(scores, temperature)
    assert (np.argsort(cooled, kind="stable") == np.argsort(scores, kind="stable")).all()
    assert len(np.unique(cooled)) == len(np.unique(scores))


def test_reliability_bins_add_up_to_the_calibration_error():
    labels, scores = simulated(200)
    table = calibration.reliability(labels, scores)
    assert table["n"].sum() == 200
    error = (table["n"] * (table["mean_score"] - table["share_fake"]).abs()).sum() / 200
    assert error == pytest.approx(metrics_figures.summary(labels, scores, resamples=2)["ece"]["value"], abs=1e-12)
    assert (table["low"] <= table["share_fake"]).all() and (table["share_fake"] <= table["high"]).all()
