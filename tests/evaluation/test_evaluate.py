"""From scores to metrics.json: what is counted, what is said in words, and what is refused."""

import json

import cv2
import numpy as np
import pandas as pd
import pytest

from dfutils.core.errors import InputError
from dfutils.core.files import digest
from dfutils.data.indexing import fingerprints
from dfutils.evaluation import errors, evaluate, metrics_json
from dfutils.metrics.calibration import Scaling
from dfutils.reporting import tables
from dfutils.splits.identities import group_names
from tests.support.evaluated import PREPROCESSED, Judge, evaluated, split_table


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


def test_the_document_is_json_and_names_every_caveat(monkeypatch):
    videos = split_table([0, 0, 0, 1, 1, 1, 1])
    scores, frames = scored(videos, [0.1, 0.2, 0.75, 0.3, 0.8, 0.9])
    monkeypatch.setattr(evaluate, "cautions", lambda _detector, _videos: [])
    written = evaluated(videos, scores, frames).document
    again = json.loads(json.dumps(written, allow_nan=False))
    assert again["schema"] == metrics_json.SCHEMA
    assert again["by_method"][0]["p"] is None
    text = " ".join(written["caveats"])
    for part in ("nothing about deepfakes in the wild", "Something leaked", "have no score", "split is small"):
        assert part in text
    monkeypatch.setattr(evaluate, "cautions", lambda _detector, _videos: ["Half of it was seen."])
    warned = evaluated(videos, scores, frames, note="No rule.").document
    assert warned["caveats"] == ["Half of it was seen.", "No rule.", *written["caveats"]]
    assert "let 1 of 3 fakes pass and called 1 of 3 real videos fake" in written["verdict"]


def test_scores_that_are_no_probabilities_are_marked(measured):
    _, found = measured
    assert not any("no probabilities" in caveat for caveat in metrics_json.caveats(PREPROCESSED, found))
    found["video"]["ece"] = {"value": 0.264, "low": 0.157, "high": 0.291}
    assert "by 0.26 on average (95%: 0.157 to 0.291)" in metrics_json.caveats(PREPROCESSED, found)[-1]


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
    caveats = metrics_json.caveats({**PREPROCESSED, "policy": "random"}, found)
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
    judge.config = {"training": {}, "slope": 2.0, "threshold": 0.6}
    record = {"slope": 2.0, "threshold": 0.6, "detector": metrics_json.fingerprint(judge)}
    earlier = {"temperature": 0.5, "threshold": 0.6}  # as earlier versions recorded it
    for known in (record, earlier):
        evaluate.check_judged(judge, known)
    for changes in ({"slope": 1.0}, {"threshold": 0.5}):
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
    judge.config = {"training": {"epochs": 3}, "slope": 2.0, "threshold": 0.6}
    chosen = {"temperature": {"value": 0.5}, "threshold": {"value": 0.6}}
    assert metrics_json.is_of({"fingerprints": {"detector": metrics_json.fingerprint(judge)}}, judge)
    before = digest({"training": {"epochs": 3}, "weights": judge.digest()})
    assert metrics_json.is_of({"fingerprints": {"detector": before}, **chosen}, judge)
    judge.config["slope"] = 1.0
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
    assert any("5 test videos have no score" in caveat for caveat in metrics_json.caveats(PREPROCESSED, found))


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
    reals = np.array([0.25, 0.123456])
    evaluate.keep_calibration(tmp_path, Scaling(np.float64(0.4), -0.25, 0.1, "a note"), 0.4, reals, ["b", "a"])
    assert json.loads((tmp_path / "config.json").read_text()) == {
        "format": 1, "slope": 0.4, "offset": -0.25, "prior_fake": 0.1, "threshold": 0.4, "labels": ["real", "fake"],
        "validation_reals": [0.1235, 0.25], "measured_on": ["a", "b"],
        "frames_error_rates": [],
    }  # fmt: skip


def test_borders_are_kept_with_the_calibration_and_go_with_it(tmp_path):
    (tmp_path / "config.json").write_text('{"format": 1, "slope": 1.0, "threshold": 0.5}')
    evaluate.keep_calibration(tmp_path, Scaling(), 0.4, borders=(np.float64(0.25), 0.75))
    assert json.loads((tmp_path / "config.json").read_text())["borders"] == [0.25, 0.75]
    evaluate.keep_calibration(tmp_path, Scaling(), 0.4)
    assert "borders" not in json.loads((tmp_path / "config.json").read_text())


def test_the_unit_is_the_person_else_the_source_else_the_video():
    videos = split_table([0, 1, 1, 0, 1, 0]).assign(
        status="ok",
        identity=["a", "a", "", "", "", ""],
        donor=["", "b", "", "", "", ""],
        source_video=["", "", "v0", "", "v3", ""],
    )
    clips, frames = scored(videos, [0.1, 0.2, 0.75, 0.3, 0.8, 0.9])
    table = evaluate.predictions(videos, clips, 0.5)
    assert table["group"].tolist() == ["d: a", "d: a", "d: a", "d source v3", "d source v3", "d source v5"]
    found = evaluate.measure(table, frames, 0.5, resamples=100)
    assert found["frame"]["recall_fake"] == found["video"]["recall_fake"]  # two equal frames a video are no more videos


def test_fakes_of_one_source_do_not_narrow_an_interval_as_independent_ones_do():
    """40 real videos of unnamed people and six fakes of each, all found or all missed."""
    source = np.repeat(np.arange(40), 7)
    labels = np.tile([0, 1, 1, 1, 1, 1, 1], 40)
    names = np.array([f"v{7 * k}" for k in source])
    videos = split_table(labels.tolist()).assign(status="ok", identity="", donor="")
    clips, frames = scored(videos, np.where((labels == 1) & (source % 4 > 0), 0.9, 0.1).tolist())
    width = []
    for known in (np.where(labels == 1, names, ""), ""):
        table = evaluate.predictions(videos.assign(source_video=known), clips, 0.5)
        found = evaluate.measure(table, frames, 0.5, resamples=200)["video"]["recall_fake"]
        width.append(found["high"] - found["low"])
    assert width[0] > 2 * width[1]


def test_a_predictions_table_of_an_earlier_version_gets_its_groups_from_the_split_table():
    videos = split_table([0, 1, 0, 1]).assign(identity="", source_video=["", "v0", "", "v2"])
    table = evaluate.predictions(videos, scored(videos, [0.1, 0.9, 0.2])[0], 0.5)
    earlier = table.drop(columns="group")
    evaluate.check_predictions(earlier, videos)
    pd.testing.assert_frame_equal(evaluate.with_groups(earlier, videos), table)
    assert evaluate.with_groups(table, videos.head(0)) is table


def test_a_table_of_an_earlier_version_is_measured_by_its_people(measured):
    table, found = measured
    _, frames = scored(split_table([0, 0, 0, 1, 1, 1, 1]), [0.1, 0.2, 0.75, 0.3, 0.8, 0.9])
    earlier = table.drop(columns="group")
    assert evaluate.measure(earlier, frames, 0.5, resamples=100) == found
    with pytest.raises(InputError, match="run notebook 04 again"):
        evaluate.measure(earlier.assign(identity=""), frames, 0.5)


def test_datasets_with_the_same_ids_are_two():
    videos = pd.concat([split_table([0, 1]), split_table([0, 1]).assign(dataset="e")], ignore_index=True)
    names = group_names(videos.assign(identity="", source_video=["", "v0", "", "v0"]))
    assert names.tolist() == ["d source v0", "d source v0", "e source v0", "e source v0"]
    with pytest.raises(InputError, match="Two videos have the id v0"):
        evaluate.predictions(videos, videos[["video_id"]].assign(probability_fake=0.5), 0.5)


def test_losses_do_not_depend_on_how_many_fakes_the_test_has():
    videos = split_table([0] * 2 + [1] * 18)
    clips, frames = scored(videos, [0.3, 0.3] + [0.6] * 17)
    table = evaluate.predictions(videos, clips, 0.5)
    found = evaluate.measure(table, frames, 0.5, resamples=50)["video"]
    assert found["brier"]["value"] == pytest.approx((0.3**2 + 0.4**2) / 2)
    other = evaluate.measure(table, frames, 0.5, prior_fake=0.1, resamples=50)["video"]
    assert other["brier"]["value"] == pytest.approx(0.9 * 0.3**2 + 0.1 * 0.4**2)


def test_a_calibration_that_makes_scores_worse_is_said():
    labels, before = np.array([0, 0, 1, 1]), np.array([0.2, 0.6, 0.4, 0.8])
    after = Scaling(3.0).probability(np.log(before / (1 - before)))
    found = metrics_json.calibration(labels, before, after, Scaling(3.0, note="A note."), 0.5)
    assert found["slope"] == 3.0 and found["after"]["log_loss"] > found["before"]["log_loss"]
    said = metrics_json.worse_calibration(found)
    assert "made scores worse as probabilities" in said and "log loss" in said
    assert metrics_json.worse_calibration({"before": {"ece": 0.3}, "after": {"ece": 0.3}}) == ""
    assert metrics_json.worse_calibration(None) == metrics_json.worse_calibration({"before": {}, "after": {}}) == ""
    earlier = {"before": {"ece": 0.046, "log_loss": 0.183}, "after": {"ece": 0.069, "log_loss": 0.269}, "value": 0.43}
    assert "0.0460 before, 0.0690 after; log loss 0.1830 before" in metrics_json.worse_calibration(earlier)


def test_calibrations_note_and_harm_are_among_the_caveats(measured):
    _, found = measured
    harm = {"note": "A note.", "before": {"ece": 0.1}, "after": {"ece": 0.2}}
    caveats = metrics_json.caveats(PREPROCESSED, found, harm)
    assert "A note." in caveats
    assert any("made scores worse" in caveat for caveat in caveats)


def test_a_method_of_validation_is_not_unseen():
    methods = [("train", "a"), ("val", "b"), ("test", "a"), ("test", "b"), ("test", "c")]
    videos = pd.DataFrame(methods, columns=["split", "method"]).assign(label=1, status="ok")
    assert metrics_json.seen_methods(videos) == {"unseen": ["c"], "validation_only": ["b"]}


def test_a_method_that_only_validation_saw_is_among_the_caveats(measured):
    _, found = measured
    caveats = metrics_json.caveats(PREPROCESSED, found, None, {"unseen": [], "validation_only": ["b"]})
    assert any("Fakes by b were not trained on" in caveat and "not unseen" in caveat for caveat in caveats)


def test_unequal_coverage_is_said_by_class(measured):
    _, found = measured
    said = metrics_json.unequal_coverage(found)
    assert said.startswith("Coverage differs by class: 75.0% of the fake and 100.0% of the real test videos")
    assert said in metrics_json.caveats(PREPROCESSED, found)
    equal = {"counts": {"coverage": {"real": 0.9, "fake": 0.9}}}
    assert metrics_json.unequal_coverage(equal) == metrics_json.unequal_coverage({"counts": {}}) == ""


def test_an_inverted_detector_is_called_inverted():
    videos = split_table([0] * 20 + [1] * 21).assign(identity="")
    clips, frames = scored(videos, [0.9] * 20 + [0.1] * 20)
    found = evaluate.measure(evaluate.predictions(videos, clips, 0.5), frames, 0.5, resamples=100)
    assert found["video"]["roc_auc"]["value"] == 0
    said = metrics_json.verdict(found)
    assert "The detector is inverted" in said
    assert "guessing" not in said


def test_too_few_people_do_not_say_which_is_better(measured):
    _, found = measured
    beside = {"single frames": {"roc_auc": {"value": 0.9}, "gain": {"value": 0.1, "low": None, "high": None}}}
    said = metrics_json.verdict(found, beside)
    assert "too few people were tested to say whether the detector is better" in said


def test_parts_are_told_by_path_or_bitrate():
    videos = split_table([0, 0, 0, 1, 1, 1, 1]).assign(bitrate=[1e5, 2e5, 3e5, 4e5, 5e5, 6e5, 7e5])
    clips, _ = scored(videos, [0.1, 0.2, 0.75, 0.3, 0.8, 0.9])
    table = evaluate.predictions(videos, clips, 0.5)
    assert evaluate.by_parts(table, videos, 0.5)["property"].unique().tolist() == ["method", "bitrate in kbit/s"]
    named = videos.assign(path=["a/c23/x.mp4"] * 4 + ["a/c40/x.mp4"] * 3)
    found = evaluate.by_parts(table, named, 0.5)
    assert found.loc[found["property"] == "quality", "slice"].tolist() == ["c23", "c40"]
