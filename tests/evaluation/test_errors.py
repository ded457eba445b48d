"""Errors by property: numbers in thirds, attributes by value, and the largest gap between values."""

import numpy as np
import pandas as pd
import pytest

from dfutils.evaluation import errors
from dfutils.reporting import tables


def judged(n: int = 120) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return predictions, frames and videos of which those in French are mistaken twice as often as the others."""
    number = np.arange(n)
    language = np.array(["en", "fr", "ja", ""])[number % 4]
    label = number // 4 % 2
    wrong = np.where(language == "fr", number // 8 % 5 < 2, number // 8 % 5 < 1)
    ids = [f"v{k}" for k in number]
    score = np.where(label ^ wrong, 0.9, 0.1)
    table = pd.DataFrame({"video_id": ids, "label": label, "method": "", "status": "ok", "probability_fake": score})
    looks = dict.fromkeys(["face_px", "sharpness", "brightness", "yaw", "pitch"], 1.0)
    frames = pd.DataFrame({"video_id": ids, **looks})
    facts = {"width": 64.0, "height": 64.0, "fps": 25.0, "bitrate": 1e5, "people": 1}
    names = {"attribute_language": language, "attribute_uploader": ids, "attribute_same": "x"}
    return table, frames, pd.DataFrame({"video_id": ids, **facts, **names})


def test_an_attribute_is_sliced_by_value_unless_it_has_one_or_too_many():
    table, frames, videos = judged()
    found = errors.properties(table, frames, videos)
    assert [name for name in found if name.startswith("attribute_")] == ["attribute_language"]
    sliced = errors.by_properties(table, found, 0.5)
    by_value = sliced[sliced["property"] == "attribute_language"].set_index("slice")
    assert list(by_value.index) == ["en", "fr", "ja", "unknown"]
    assert by_value["error_rate"].to_dict() == pytest.approx(
        {"en": 0.2, "fr": 0.4, "ja": 0.2, "unknown": 0.2}, abs=0.04
    )


def test_the_largest_gap_is_named_with_both_intervals():
    table, frames, videos = judged()
    sliced = errors.by_properties(table, errors.properties(table, frames, videos), 0.5)
    (row,) = errors.largest_gaps(sliced).to_dict("records")
    assert (row["attribute"], row["highest"]) == ("attribute_language", "fr")
    assert row["gap"] == pytest.approx(row["highest_rate"] - row["lowest_rate"])
    for end in ("lowest", "highest"):
        assert row[f"{end}_low"] < row[f"{end}_rate"] < row[f"{end}_high"]
    assert errors.largest_gaps(sliced[sliced["property"] != "attribute_language"]).empty
    shown = tables.gaps(sliced)
    assert shown.columns.tolist() == ["fewest mistakes", "most mistakes", "difference"]
    assert shown.loc["language", "most mistakes"].startswith("fr: 40%")
