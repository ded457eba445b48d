"""Tests of error rates by slice against exact tests."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import fisher_exact

from dfutils.core.errors import InputError
from dfutils.metrics import intervals, slices
from dfutils.reporting import tables


def sliced(**columns) -> pd.DataFrame:
    labels = np.repeat([0, 1], [40, 60])
    scores = np.where(labels == 1, 0.9, 0.1)
    scores[[0, 1]] = 0.8  # two false alarms
    scores[85:] = 0.2  # the last fifteen fakes are missed
    return pd.DataFrame({"label": labels, "probability_fake": scores, **columns})


def test_slices_by_method_are_compared_with_the_other_fakes():
    table = sliced(method=np.repeat(["", "easy", "hard"], [40, 40, 20]))
    rates = slices.by_slice(table, "method", 0.5).set_index("slice")
    assert list(rates.index) == ["real", "easy", "hard"] and rates["n"].tolist() == [40, 40, 20]
    assert rates.loc["hard", "errors"] == 15 and rates.loc["hard", "recall_fake"] == 0.25
    assert rates.loc["hard", ["low", "high"]].tolist() == list(intervals.wilson(15, 20))
    assert np.isnan(rates.loc["hard", "recall_real"]) and rates.loc["real", "recall_real"] == 0.95
    expected = fisher_exact([[15, 5], [0, 40]]).pvalue
    assert rates.loc["hard", "p"] == pytest.approx(expected) and rates.loc["easy", "p"] == pytest.approx(expected)
    assert np.isnan(rates.loc["real", "p"]) and rates.loc["hard", "p_holm"] == pytest.approx(2 * expected)


def test_slices_for_the_reader_are_in_percent_below_their_property():
    table = slices.by_slice(sliced(method=np.repeat(["", "easy", "hard"], [40, 40, 20])), "method", 0.5)
    texts = tables.slices(table)
    assert texts.loc["hard"].tolist() == ["15 of 20", "75%", "53% – 89%", "–", "25%", "< .001"]
    assert texts.loc["real", ["reals kept", "fakes caught", "corrected p"]].tolist() == ["95%", "–", "–"]
    named = tables.slices(table.assign(property=["method", "method", "face_px"]))
    assert list(named.index) == [("method", "real"), ("method", "easy"), ("face size in pixels", "hard")]


def test_slices_of_numbers_are_quarters_and_missing_values_a_slice():
    size = np.linspace(20, 119, 100)
    size[:3] = np.nan
    rates = slices.by_slice(sliced(face_px=size, people=np.repeat([1, 2], 50)), "face_px", 0.5)
    assert list(rates["slice"][-1:]) == ["unknown"] and rates["n"].tolist() == [25, 24, 24, 24, 3]
    assert rates["errors"].sum() == 17 and rates["slice"][0] == "23 to 47"
    assert slices.by_slice(sliced(people=np.repeat([1, 2], 50)), "people", 0.5)["slice"].tolist() == ["1", "2"]
    assert slices.by_slice(sliced(x=np.ones(100)), "x", 0.5)["p"].isna().all()
    tied = slices.by_slice(sliced(people=np.repeat([1, 2, 3, 4, 5], [60, 10, 10, 10, 10])), "people", 0.5)
    assert tied["slice"].tolist() == ["1 to 3", "3 to 5"] and tied["n"].tolist() == [80, 20]
    with pytest.raises(InputError, match="no column 'age'"):
        slices.by_slice(sliced(), "age", 0.5)


def test_slices_leave_out_videos_without_a_score():
    table = sliced(codec=np.repeat(["h264", "mpeg4"], 50))
    table.loc[:9, "probability_fake"] = np.nan
    assert slices.by_slice(table, "codec", 0.5)["n"].sum() == 90
    assert slices.by_slice(table.head(0), "codec", 0.5).empty


def test_holm_on_a_worked_example():
    assert slices.holm([0.01, 0.04, np.nan, 0.03]) == pytest.approx([0.03, 0.06, np.nan, 0.06], nan_ok=True)
    assert slices.holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert len(slices.holm([])) == 0


def of_people(seed: int, people: int = 30, videos: int = 10) -> pd.DataFrame:
    """Return a predictions table of people some of whom are hard; the column `third` has nothing to do with it."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), videos)
    labels = np.tile(np.arange(videos) % 2, people)
    wrong = rng.random(len(person)) < rng.beta(0.5, 3, people)[person]
    names = {"group": [f"p{k}" for k in person], "third": np.array(["a", "b", "c"])[person * 3 // people]}
    return pd.DataFrame({"label": labels, "probability_fake": np.where(wrong, 1 - labels, labels), **names})


def test_slices_unrelated_to_errors_are_seldom_reported_where_people_have_several_videos():
    found = [slices.by_slice(of_people(seed), "third", 0.5) for seed in range(150)]
    reported = np.mean([(table["p_holm"] < 0.05).any() for table in found])
    assert reported <= 0.1  # 2,000 tests of this kind: tests/benchmarks/quality/slices.py
    alone = [slices.by_slice(of_people(seed).drop(columns="group"), "third", 0.5) for seed in range(150)]
    assert np.mean([(table["p_holm"] < 0.05).any() for table in alone]) > 0.2


def test_a_slice_that_is_hard_in_every_person_is_found():
    table = of_people(0)
    table["property"] = np.tile(np.repeat(["easy", "hard"], 5), 30)
    table["probability_fake"] = table["probability_fake"].where(table["property"] == "easy", 0.5)
    found = slices.by_slice(table, "property", 0.5).set_index("slice")
    assert found.loc["hard", "p_holm"] < 0.001
    assert found.loc["hard", "errors"] > found.loc["hard", "expected"]
    assert found.loc["easy", "errors"] < found.loc["easy", "expected"]
    assert found["groups"].tolist() == [30, 30]


def test_a_slice_of_one_person_has_no_interval_and_no_p():
    table = of_people(1)
    table["property"] = np.where(table["group"] == "p3", "one", "rest")
    found = slices.by_slice(table, "property", 0.5).set_index("slice")
    assert found.loc["one", ["low", "high", "p", "p_holm"]].isna().all()
    assert np.isfinite(found.loc["rest", ["low", "high"]].astype(float)).all()
    assert "nan" not in tables.slices(found.reset_index()).to_html().lower()


def test_a_video_a_group_is_the_same_as_no_groups():
    table = sliced(codec=np.repeat(["h264", "mpeg4"], 50))
    plain = slices.by_slice(table, "codec", 0.5)
    pd.testing.assert_frame_equal(slices.by_slice(table.assign(group=np.arange(100)), "codec", 0.5), plain)
    for missing in ("", None):
        pd.testing.assert_frame_equal(slices.by_slice(table.assign(group=missing), "codec", 0.5), plain)


def test_intervals_of_slices_are_wider_where_people_are_hard():
    table = of_people(2)
    plain = slices.by_slice(table.drop(columns="group"), "third", 0.5)
    grouped = slices.by_slice(table, "third", 0.5)
    assert (grouped["error_rate"] == plain["error_rate"]).all()
    assert (grouped["high"] - grouped["low"] > 1.2 * (plain["high"] - plain["low"])).all()
