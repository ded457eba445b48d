"""Tests of the threshold rules, the calibration and the reliability diagram."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

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


def drawn(n: int, share: float = 0.5, stretch: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return labels, `share` of them fake, and logits that are right for equal shares but for `stretch`."""
    labels = (np.arange(n) < round(share * n)).astype(int)
    return labels, stretch * (1.8 * np.random.default_rng(seed).normal(size=n) + 1.8**2 * (labels - 0.5))


def test_slope_and_offset_are_recovered():
    for stretch in (0.5, 1.0, 3.0):
        labels, logits = drawn(20_000, 0.7, stretch)
        found = calibration.fit_calibration(labels, logits + 2.0 * stretch)
        assert found.slope == pytest.approx(1 / stretch, rel=0.05)
        assert found.offset == pytest.approx(-2.0, abs=0.1)
        assert (found.prior_fake, found.note) == (0.5, "")
        expected = expit(logits / stretch)
        assert found.probability(logits + 2.0 * stretch) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.9])
@pytest.mark.parametrize("stretch", [1.0, 2.0])
def test_another_share_of_fakes_in_validation_does_not_move_the_scores(share, stretch):
    found = calibration.fit_calibration(*drawn(2_000, share, stretch))
    labels, logits = drawn(20_000, share, stretch, seed=1)
    scores = found.probability(logits)
    for prior in (0.5, share):
        scaling = calibration.fit_calibration(*drawn(2_000, share, stretch), prior)
        figures = metrics_figures.summary(labels, scaling.probability(logits), prior_fake=prior, resamples=2)
        assert figures["ece"]["value"] < 0.03
    assert np.abs(scores - expit(logits / stretch)).mean() < 0.03


def test_calibration_stays_finite():
    fit = calibration.fit_calibration
    one_class = fit(np.ones(5, int), np.linspace(-1, 1, 5))
    assert (one_class.slope, one_class.offset, one_class.prior_fake) == (1.0, 0.0, None)
    assert "validation has no real videos" in one_class.note
    assert "no scored videos" in fit(np.zeros(0, int), np.zeros(0)).note
    assert "score alike" in fit([0, 1, 1], [2.0, 2.0, 2.0]).note
    inverted = fit([1, 1, 0, 0], [-2.0, -1.0, 1.0, 2.0])
    assert inverted.slope == pytest.approx(1 / 20) and "nearly equal" in inverted.note
    endless = fit([0, 1], [-np.inf, np.inf])
    assert 0 < endless.slope <= 1 and np.isfinite(endless.offset)
    assert endless.probability([-np.inf, np.inf]).tolist() == [0, 1]
    assert np.isnan(endless.probability([np.nan]))
    for labels, logits, prior, message in (
        ([0, 1], [0.0, np.nan], 0.5, "1 of 2 logits are NaN"),
        ([0, 1], [0.0], 0.5, "2 labels but 1 logits"),
        ([0, 2], [0.0, 1.0], 0.5, "labels must be"),
        ([0, 1], [0.0, 1.0], 1.0, "not a share"),
    ):
        with pytest.raises(InputError, match=message):
            fit(labels, logits, prior)


def test_nearly_separable_validation_does_not_sharpen_the_scores():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 170)
    logits = rng.normal(size=340) * 0.5 + 4.0 * (labels - 0.5)
    found = calibration.fit_calibration(labels, logits)
    assert (found.slope, found.offset) == (1.0, 0.0)
    assert "not calibrated: only 0 of 340" in found.note


def test_validation_that_lacks_a_method_of_the_test_does_not_sharpen_the_scores():
    labels, logits = drawn(2_000, stretch=0.5)
    assert calibration.fit_calibration(labels, logits).slope == pytest.approx(2, rel=0.2)
    found = calibration.fit_calibration(labels, logits, missing_methods=["blend", "paste"])
    assert found.slope == 1.0
    assert "no fakes by blend, paste, which the test has" in found.note
    blunted = calibration.fit_calibration(*drawn(2_000, stretch=2.0), missing_methods=["blend"])
    assert blunted.slope == pytest.approx(0.5, rel=0.2) and blunted.note == ""


def test_calibration_keeps_the_order_of_scores():
    rng = np.random.default_rng(1)
    logits = np.concatenate([rng.normal(3, 0.3, 200), rng.normal(-3, 0.3, 200), [20.0]])  # a steep slope fits best
    labels = (logits > 0).astype(int)
    labels[[*range(12)]] = 0
    labels[[*range(200, 212)]] = 1
    scores = calibration.fit_calibration(labels, logits).probability(logits)
    assert (np.argsort(scores, kind="stable") == np.argsort(logits, kind="stable")).all()
    assert len(np.unique(scores)) == len(np.unique(logits))


def test_reliability_under_a_stated_share_of_fakes_adds_up_to_the_error_under_it():
    labels, logits = drawn(1_000, 0.9)
    scores, groups = expit(logits), np.arange(1_000) // 4
    table = calibration.reliability(labels, scores, prior_fake=0.3, groups=groups)
    found = metrics_figures.summary(labels, scores, prior_fake=0.3, resamples=2)["ece"]["value"]
    assert (table["weight"] * (table["mean_score"] - table["share_fake"]).abs()).sum() == pytest.approx(
        found, abs=1e-12
    )
    assert table["weight"].sum() == pytest.approx(1)
    assert (table["low"] <= table["share_fake"]).all() and (table["share_fake"] <= table["high"]).all()
    assert calibration.reliability(np.ones(3, int), scores[:3], prior_fake=0.5).empty


def test_reliability_bins_add_up_to_the_calibration_error():
    labels, scores = simulated(200)
    table = calibration.reliability(labels, scores)
    assert table["n"].sum() == 200
    error = (table["n"] * (table["mean_score"] - table["share_fake"]).abs()).sum() / 200
    assert error == pytest.approx(metrics_figures.summary(labels, scores, resamples=2)["ece"]["value"], abs=1e-12)
    assert (table["low"] <= table["share_fake"]).all() and (table["share_fake"] <= table["high"]).all()
