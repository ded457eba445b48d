"""From scores to metrics.json: what is counted, what is said in words, and what is refused."""

import json

import numpy as np
import pandas as pd
import pytest

from dfutils import evaluate, params
from dfutils.errors import InputError

AUDIT = {"alarms": ["Something leaked."], "shortcut_auc": {"value": 0.5, "low": 0.4, "high": 0.6}}
PREPROCESSED = {"layouts": ["sample"], "policy": "identity", "fingerprint": "f" * 16, "audit": AUDIT}


def split_table(labels: list[int]) -> pd.DataFrame:
    """Rows of a split table; the last video has no face."""
    return pd.DataFrame(
        {
            "video_id": [f"v{k}" for k in range(len(labels))],
            "dataset": "d",
            "label": labels,
            "method": ["swap" if label else "" for label in labels],
            "identity": [f"p{k // 2}" for k in range(len(labels))],
            "split": "test",
            "status": ["ok"] * (len(labels) - 1) + ["no_face"],
            "path": "x",
        }
    )


def scored(videos: pd.DataFrame, values: list[float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    clips = pd.DataFrame({"video_id": videos["video_id"][: len(values)], "probability_fake": values})
    return clips, pd.concat([clips, clips], ignore_index=True)


class Judge:
    """As much of a detector as evaluation asks for."""

    facts = {"training": {"split_fingerprint": "f" * 16}}  # noqa: RUF012

    def state_dict(self):
        return {}


@pytest.fixture
def measured():
    videos = split_table([0, 0, 0, 1, 1, 1, 1])
    clips, frames = scored(videos, [0.1, 0.2, 0.75, 0.3, 0.8, 0.9])
    table = evaluate.predictions(videos, clips, 0.5)
    return table, evaluate.measure(table, frames, 0.5, resamples=100)


def test_predictions_hold_every_video_and_abstain_where_there_is_no_score(measured):
    table, _ = measured
    assert list(table) == evaluate.PREDICTION_COLUMNS
    assert table["predicted"].tolist()[:6] == [0, 0, 1, 0, 1, 1]
    assert table["predicted"].isna().tolist() == [False] * 6 + [True]
    assert np.isnan(table["probability_fake"].iloc[-1])


def test_the_confusion_matrix_and_coverage_are_those_of_the_counted_videos(measured):
    _, found = measured
    assert found["confusion"] == [[2, 1], [1, 2]]
    assert found["counts"]["real"] == 3
    assert found["counts"]["coverage"] == {"videos": 7, "scored": 6, "share": 6 / 7, "real": 1.0, "fake": 0.75}
    assert found["video"]["accuracy"]["value"] == pytest.approx(4 / 6)
    assert found["video"]["roc_auc"]["value"] == pytest.approx(8 / 9)


def test_a_policy_counts_faceless_videos():
    videos = split_table([0, 1, 1])
    clips, frames = scored(videos, [0.1, 0.9])
    table = evaluate.predictions(videos, clips, 0.5)
    assert evaluate.measure(table, frames, 0.5, resamples=100)["confusion"] == [[1, 0], [0, 1]]
    assert evaluate.measure(table, frames, 0.5, no_face="real", resamples=100)["confusion"] == [[1, 0], [1, 1]]
    assert evaluate.measure(table, frames, 0.5, no_face="fake", resamples=100)["confusion"] == [[1, 0], [0, 2]]


def test_mistakes_are_sorted_by_how_sure_they_were(measured):
    table, _ = measured
    found = evaluate.mistakes(table, 0.5)
    assert found["kind"].tolist() == ["false alarm", "miss"]
    assert found["video_id"].tolist() == ["v2", "v3"]
    assert found["margin"].tolist() == pytest.approx([0.5, 0.4])


def test_the_document_is_json_and_names_every_caveat(measured):
    _, found = measured
    mine = params.resolve({"experiment": "mine"})
    by_method = pd.DataFrame({"slice": ["real", "swap"], "errors": [1, 1], "p": [np.nan, 1.0]})
    document = evaluate.document(mine, PREPROCESSED, Judge(), found, by_method, 0.5, 10)
    again = json.loads(json.dumps(document, allow_nan=False))
    assert again["schema"] == 1
    assert again["by_method"][0]["p"] is None
    text = " ".join(document["caveats"])
    for part in ("nothing about deepfakes in the wild", "Something leaked", "have no score", "split is small"):
        assert part in text
    assert "let 1 of 3 fakes pass and called 1 of 3 real videos fake" in document["verdict"]


def test_random_splits_are_marked_as_leaking(measured):
    _, found = measured
    caveats = evaluate._caveats({**PREPROCESSED, "policy": "random"}, found)
    assert any("people leak" in caveat for caveat in caveats)


def test_one_class_alone_is_said_in_words_and_null_in_numbers():
    videos = split_table([1, 1, 1])
    clips, frames = scored(videos, [0.4, 0.9])
    table = evaluate.predictions(videos, clips, 0.5)
    found = evaluate.measure(table, frames, 0.5, resamples=100)
    assert found["video"]["roc_auc"]["value"] is None
    assert "one class is missing" in evaluate.verdict(found)
    assert evaluate.shown(found["video"]).loc["roc_auc", "value"] == "undefined"


def test_a_detector_of_other_splits_is_refused():
    evaluate.check_trained_on(Judge(), "f" * 16)
    with pytest.raises(InputError, match="run notebook 03 again"):
        evaluate.check_trained_on(Judge(), "0" * 16)
