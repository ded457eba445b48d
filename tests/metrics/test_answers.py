"""The borders of *cannot tell*, and what the three answers are worth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfutils.core.errors import InputError
from dfutils.metrics import answers


def test_borders_on_known_scores():
    """Of 20 reals one may lie above, of 20 fakes one below."""
    reals, fakes = np.arange(20) / 100, np.arange(20) / 100 + 0.1  # 0 to .19, .1 to .29
    labels, scores = np.repeat([0, 1], 20), np.concatenate([reals, fakes])
    lower, upper = answers.choose_borders(labels, scores, 0.15)
    assert (lower, upper) == pytest.approx((0.105, 0.185))
    assert (reals >= upper).mean() == (fakes < lower).mean() == 0.05
    assert [answers.decide(score, (lower, upper)) for score in (0.1, lower, 0.15, upper, 1.0)] == [
        "real", "cannot tell", "cannot tell", "fake", "fake",
    ]  # fmt: skip
    assert answers.decide(None, (lower, upper)) is None


def test_with_fewer_than_twenty_of_a_class_none_of_them_may_be_answered_wrongly():
    labels, scores = np.array([0, 0, 0, 1, 1, 1]), np.array([0.1, 0.2, 0.6, 0.4, 0.8, 0.9])
    assert answers.choose_borders(labels, scores, 0.5) == pytest.approx((0.3, 0.7))


def test_borders_that_cross_or_meet_are_both_the_threshold():
    labels = np.array([0, 0, 1, 1])
    assert answers.choose_borders(labels, np.array([0.1, 0.2, 0.8, 0.9]), 0.45) == (0.45, 0.45)
    assert answers.choose_borders(labels, np.array([0.1, 0.2, 0.8, 0.9]), 0.95) == (0.95, 0.95)
    assert [answers.decide(score, (0.45, 0.45)) for score in (0.44, 0.45)] == ["real", "fake"]


def test_equal_scores_stay_together():
    labels = np.repeat([0, 1], 20)
    scores = np.concatenate([np.full(10, 0.2), np.full(10, 0.6), np.full(10, 0.6), np.full(10, 0.9)])
    assert answers.choose_borders(labels, scores, 0.6) == pytest.approx((0.4, 0.75))
    assert answers.choose_borders(labels, np.full(40, 0.5), 0.5) == pytest.approx((0.0, 0.75))  # never real, never fake
    assert answers.choose_borders(labels, np.full(40, 1.0), 0.5)[1] > 1


@pytest.mark.parametrize("label", [0, 1])
def test_without_a_class_there_are_no_borders(label):
    assert answers.choose_borders(np.full(4, label), np.array([0.1, 0.2, 0.8, 0.9]), 0.5) is None
    with pytest.raises(InputError, match="NaN"):
        answers.choose_borders(np.array([0, 1]), np.array([0.1, np.nan]), 0.5)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 8)), min_size=2, max_size=60), st.integers(0, 8))
@settings(max_examples=60, deadline=None)
def test_borders_keep_their_shares_and_never_contradict_the_threshold(rows, eighths):
    labels, scores = np.array([label for label, _ in rows]), np.array([score for _, score in rows]) / 8
    if len(np.unique(labels)) < 2:
        return
    threshold = eighths / 8
    lower, upper = answers.choose_borders(labels, scores, threshold)
    assert lower <= threshold <= upper
    if lower < upper:
        found = answers.rates(labels, scores, (lower, upper))
        assert max(found[name]["value"] for name in ("reals_called_fake", "fakes_called_real")) <= answers.SHARE
    for score in scores:
        assert {"fake": score >= threshold, "real": score < threshold}.get(answers.decide(score, (lower, upper)), True)


def test_what_answers_are_worth_on_known_scores():
    labels, scores = np.array([0, 0, 0, 0, 1, 1, 1, 1]), np.array([0.1, 0.2, 0.5, 0.9, 0.1, 0.5, 0.8, 0.9])
    found = answers.rates(labels, scores, (0.3, 0.7))
    assert {name: figure["value"] for name, figure in found.items()} == {
        "reals_called_fake": 0.25, "fakes_called_real": 0.25, "answered": 0.75, "right": pytest.approx(4 / 6),
    }  # fmt: skip
    assert all(figure["low"] < figure["value"] < figure["high"] for figure in found.values())
    by_person = answers.rates(np.tile(labels, 3), np.tile(scores, 3), (0.3, 0.7), np.tile(list("abcdefgh"), 3))
    alone = answers.rates(np.tile(labels, 3), np.tile(scores, 3), (0.3, 0.7))
    for name, figure in by_person.items():  # three videos of a person are no more people
        assert figure["value"] == pytest.approx(found[name]["value"])
        assert figure["high"] - figure["low"] > alone[name]["high"] - alone[name]["low"]


def test_what_cannot_be_measured_is_undefined():
    found = answers.rates(np.ones(2, int), np.array([0.5, 0.5]), (0.3, 0.7))
    assert (found["reals_called_fake"]["value"], found["right"]["value"], found["answered"]["value"]) == (None, None, 0)
    one_person = answers.rates(np.array([0, 1]), np.array([0.1, 0.9]), (0.3, 0.7), np.array(["a", "a"]))
    assert one_person["answered"] == {"value": 1.0, "low": None, "high": None, "method": "none"}


def test_a_score_is_ranked_among_those_of_real_videos_to_four_decimals():
    assert answers.rank(0.69999, [0.1, 0.2, 0.6999, 0.7, 0.9]) == (2, 5)
    assert answers.rank(0.3, [0.1, 0.2]) == (0, 2)
    assert answers.rank(None, [0.1]) is answers.rank(0.3, []) is answers.rank(0.3, None) is None


def test_without_borders_there_are_two_answers_and_with_them_the_threshold_lies_between():
    assert answers.around(None, 0.4) == answers.around((0.3, 0.3), 0.4) == (0.4, 0.4)
    assert answers.around([0.2, 0.6], 0.4) == (0.2, 0.6)
    assert answers.around([0.2, 0.6], 0.7) == (0.2, 0.7)
