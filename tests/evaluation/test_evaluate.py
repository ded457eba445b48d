"""From scores to metrics.json: what is counted, what is said in words, and what is refused."""

import json

import cv2
import numpy as np
import pandas as pd
import pytest

from dfutils.core import params
from dfutils.core.errors import InputError
from dfutils.core.files import digest
from dfutils.data.indexing import fingerprints
from dfutils.evaluation import errors, evaluate, metrics_json
from dfutils.reporting import tables
from tests.support.evaluated import PREPROCESSED, Judge, split_table


def scored(videos: pd.DataFrame, values: list[float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    clips = pd.DataFrame({"video_id": videos["video_id"][: len(values)], "probability_fake": values})
    return clips, pd.concat([clips, clips], ignore_index=True)


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
    found = errors.mistakes(table, 0.5)
    assert found["kind"].tolist() == ["false alarm", "miss"]
    assert found["video_id"].tolist() == ["v2", "v3"]
    assert found["margin"].tolist() == pytest.approx([0.5, 0.4])


def test_the_document_is_json_and_names_every_caveat(measured):
    _, found = measured
    mine = params.Params(experiment="mine")
    by_method = pd.DataFrame({"slice": ["real", "swap"], "errors": [1, 1], "p": [np.nan, 1.0]})
    threshold = {"value": 0.5, "rule": "balanced", "validation_videos": 10, "note": ""}
    written = metrics_json.document(mine, PREPROCESSED, Judge(), found, threshold=threshold, by_method=by_method)
    again = json.loads(json.dumps(written, allow_nan=False))
    assert again["schema"] == metrics_json.SCHEMA
    assert again["by_method"][0]["p"] is None
    text = " ".join(written["caveats"])
    for part in ("nothing about deepfakes in the wild", "Something leaked", "have no score", "split is small"):
        assert part in text
    warned = metrics_json.document(
        mine, PREPROCESSED, Judge(), found, threshold=threshold, by_method=by_method, cautions=["Half of it was seen."]
    )
    assert warned["caveats"] == ["Half of it was seen.", *written["caveats"]]
    assert "let 1 of 3 fakes pass and called 1 of 3 real videos fake" in written["verdict"]


def test_scores_that_are_no_probabilities_are_marked(measured):
    _, found = measured
    assert not any("no probabilities" in caveat for caveat in metrics_json._caveats(PREPROCESSED, found))
    found["video"]["ece"] = {"value": 0.264, "low": 0.157, "high": 0.291}
    assert "by 0.26 on average (95%: 0.157 to 0.291)" in metrics_json._caveats(PREPROCESSED, found)[-1]


def test_a_table_for_the_reader_has_heads_words_and_no_nan():
    numbered = pd.DataFrame({"kind": ["miss", "miss"], "recall_fake": [0.5, np.nan], "videos": [3, 4]}, index=[4, 2])
    found = tables.rounded(numbered)
    assert found.to_dict("split") == {
        "index": ["miss", "miss"],
        "columns": ["recall of fakes", "videos"],
        "data": [["0.500", 3], ["–", 4]],
    }
    assert tables.rounded(numbered.set_axis(["a", "b"]))["kind"].tolist() == ["miss", "miss"]


def test_random_splits_are_marked_as_leaking(measured):
    _, found = measured
    caveats = metrics_json._caveats({**PREPROCESSED, "policy": "random"}, found)
    assert any("people leak" in caveat for caveat in caveats)


def test_one_class_alone_is_said_in_words_and_null_in_numbers():
    videos = split_table([1, 1, 1])
    clips, frames = scored(videos, [0.4, 0.9])
    table = evaluate.predictions(videos, clips, 0.5)
    found = evaluate.measure(table, frames, 0.5, resamples=100)
    assert found["video"]["roc_auc"]["value"] is None
    assert "one class is missing" in metrics_json.verdict(found)
    assert tables.summary(found["video"]).loc["ROC AUC", "value"] == "undefined"


def test_a_detector_of_other_splits_is_refused():
    videos = split_table([0, 0, 1, 1]).assign(split=["train", "test", "train", "test"])
    named, judge = fingerprints(videos), Judge()
    judge.config = {"training": {"split_fingerprint": named["fingerprint"], "splits": named["splits"]}}
    evaluate.check_trained_on(judge, videos)
    assert evaluate.cautions(judge, videos) == []
    dealt_anew = videos.assign(split=["test", "train", "test", "train"])
    for others in (dealt_anew, videos[1:], videos.assign(label=1)):
        with pytest.raises(InputError, match="run notebook 03 again"):
            evaluate.check_trained_on(judge, others)
    judge.config = {"training": {"split_fingerprint": named["fingerprint"]}}  # of an earlier version
    evaluate.check_trained_on(judge, dealt_anew)
    assert "did not record its splits" in evaluate.cautions(judge, dealt_anew)[0]
    with pytest.raises(InputError, match="run notebook 03 again"):
        evaluate.check_trained_on(judge, videos[1:])


def test_a_detector_that_was_not_judged_as_it_is_now_is_refused():
    judge = Judge()
    judge.config = {"training": {}, "temperature": 0.5, "threshold": 0.6}
    record = {"temperature": 0.5, "threshold": 0.6, "detector": metrics_json.fingerprint(judge)}
    earlier = {"temperature": 0.5, "threshold": 0.6}  # as earlier versions recorded it
    for known in (record, earlier):
        evaluate.check_judged(judge, known)
    for changes in ({"temperature": 1.0}, {"threshold": 0.5}):
        other = Judge()
        other.config = {**judge.config, **changes}
        assert metrics_json.fingerprint(other) != metrics_json.fingerprint(judge)
        for known in (record, earlier):
            with pytest.raises(InputError, match="changed since notebook 04 scored it"):
                evaluate.check_judged(other, known)
    other.config = {**judge.config, "training": {"splits": "0" * 16}}
    with pytest.raises(InputError, match="changed since notebook 04 scored it"):
        evaluate.check_judged(other, record)


def test_figures_are_known_to_be_of_a_detector_also_in_files_of_earlier_versions():
    judge = Judge()
    judge.config = {"training": {"epochs": 3}, "temperature": 0.5, "threshold": 0.6}
    chosen = {"temperature": {"value": 0.5}, "threshold": {"value": 0.6}}
    assert metrics_json.is_of({"fingerprints": {"detector": metrics_json.fingerprint(judge)}}, judge)
    before = digest({"training": {"epochs": 3}, "weights": judge.digest()})
    assert metrics_json.is_of({"fingerprints": {"detector": before}, **chosen}, judge)
    judge.config["temperature"] = 1.0
    assert not metrics_json.is_of({"fingerprints": {"detector": before}, **chosen}, judge)


def test_a_missing_or_cut_strip_and_a_nan_cost_only_their_video(tmp_path):
    whole = b"\x89PNG\r\n\x1a\n" + b"x" * 40 + b"IEND\xaeB`\x82"
    for name, data in {"v0": whole, "v1": whole[:-12], "v3": whole, "v4": b""}.items():
        (tmp_path / f"{name}.png").write_bytes(data)
    videos = split_table([0, 0, 0, 1, 1, 1])
    videos["strip"] = videos["video_id"] + ".png"
    assert evaluate.with_strips(videos, tmp_path)["video_id"].tolist() == ["v0", "v3"]
    clips, frames = scored(videos[videos["video_id"].isin(["v0", "v3"])], [0.2, np.nan])
    table = evaluate.predictions(videos, clips, 0.5)
    assert table["status"].tolist() == ["ok", "unscored", "unscored", "unscored", "unscored", "no_face"]
    found = evaluate.measure(table, frames[frames["video_id"] == "v0"], 0.5, resamples=100)
    assert found["confusion"] == [[1, 0], [0, 0]]
    assert any("5 test videos have no score" in caveat for caveat in metrics_json._caveats(PREPROCESSED, found))


@pytest.mark.parametrize("labels", [[0, 0], [1, 1], []])
def test_validation_without_a_class_gives_a_threshold_that_says_so(labels):
    val = pd.DataFrame({"label": labels, "probability_fake": [0.3, 0.6][: len(labels)]})
    value, note = evaluate.choose_threshold(val, "balanced", 0.9)
    assert value == 0.5
    assert "could not be chosen" in note
    with pytest.raises(InputError, match="not known"):
        evaluate.choose_threshold(val, "best", 0.9)


def test_three_test_videos_are_measured_with_intervals_that_say_how_little_that_is():
    videos = split_table([0, 1, 1, 1])
    clips, frames = scored(videos, [0.1, 0.9, 0.8])
    found = evaluate.measure(evaluate.predictions(videos, clips, 0.5), frames, 0.5, resamples=100)
    auc = found["video"]["roc_auc"]
    assert auc["value"] == 1.0
    assert auc["low"] < 0.5
    assert "not distinguishable from guessing" in metrics_json.verdict(found)


def test_equal_scores_are_guessing():
    videos = split_table([0, 0, 1, 1, 1])
    clips, frames = scored(videos, [0.5] * 4)
    found = evaluate.measure(evaluate.predictions(videos, clips, 0.5), frames, 0.5, resamples=100)
    assert found["video"]["roc_auc"]["value"] == 0.5
    assert "not distinguishable from guessing" in metrics_json.verdict(found)


def test_predictions_of_another_dataset_are_refused(measured):
    table, _ = measured
    evaluate.check_predictions(table, split_table([0] * 7))
    with pytest.raises(InputError, match="no video of it"):
        evaluate.check_predictions(table.assign(video_id="w" + table["video_id"]), split_table([0] * 7))
    with pytest.raises(InputError, match="lacks the column split"):
        evaluate.check_predictions(table.drop(columns="split"), split_table([0] * 7))


def test_a_video_is_scored_only_if_every_persons_strip_is_there(tmp_path):
    png = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    for name in ("a.png", "a~1.png", "b.png", "b~1.png", "c.png"):
        (tmp_path / name).write_bytes(png)
    (tmp_path / "b~1.png").write_bytes(png[: len(png) // 2])
    table = pd.DataFrame({"video_id": list("abcd"), "status": "ok", "strip": [f"{name}.png" for name in "abcd"]})
    assert evaluate.with_strips(table.assign(strips=[2, 2, 2, 1]), tmp_path)["video_id"].tolist() == ["a"]
    assert evaluate.with_strips(table.assign(strips=1), tmp_path)["video_id"].tolist() == ["a", "b", "c"]
    for counts in (table, table.assign(strips=[2, np.nan, np.nan, 1])):  # none in tables of earlier versions
        assert evaluate.with_strips(counts, tmp_path)["video_id"].tolist() == ["a", "b", "c"]


def test_calibration_is_kept_in_the_detectors_config(tmp_path):
    (tmp_path / "config.json").write_text('{"format": 1, "temperature": 1.0, "labels": ["real", "fake"]}')
    evaluate.keep_calibration(tmp_path, np.float64(2.5), 0.4)
    assert json.loads((tmp_path / "config.json").read_text()) == {
        "format": 1, "temperature": 2.5, "threshold": 0.4, "labels": ["real", "fake"],
    }  # fmt: skip


def test_parts_are_told_by_path_or_bitrate():
    videos = split_table([0, 0, 0, 1, 1, 1, 1]).assign(bitrate=[1e5, 2e5, 3e5, 4e5, 5e5, 6e5, 7e5])
    clips, _ = scored(videos, [0.1, 0.2, 0.75, 0.3, 0.8, 0.9])
    table = evaluate.predictions(videos, clips, 0.5)
    assert evaluate.by_parts(table, videos, 0.5)["property"].unique().tolist() == ["method", "bitrate in kbit/s"]
    named = videos.assign(path=["a/c23/x.mp4"] * 4 + ["a/c40/x.mp4"] * 3)
    found = evaluate.by_parts(table, named, 0.5)
    assert found.loc[found["property"] == "quality", "slice"].tolist() == ["c23", "c40"]
