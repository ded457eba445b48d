"""Notebook 04 as one object: from logits to metrics.json and the detector's calibration."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from dfutils.core.files import read_json, write_json
from dfutils.core.params import Params
from dfutils.evaluation import metrics_json
from dfutils.evaluation.evaluation import Evaluation, Scores, calibrate
from dfutils.evaluation.method_figures import KNOWN, LEFT_OUT
from dfutils.reporting import overview
from dfutils.reporting.evaluation_report import EvaluationReport
from dfutils.splits import provenance
from tests.support.evaluated import PREPROCESSED, Judge


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setattr("dfutils.core.params.ROOT", tmp_path)


def scored(stretch: float, test_method: str = "swap", n: int = 240) -> Scores:
    """Return scores of videos of people with four each, half of the videos for validation, 3 of 4 of them fake."""
    rng = np.random.default_rng(0)
    label = (np.arange(n) % 4 > 0).astype(int)
    split = np.where(np.arange(n) < n // 2, "val", "test")
    method = np.where(label == 0, "", np.where(split == "test", test_method, "swap"))
    videos = pd.DataFrame({
        "video_id": [f"v{k}" for k in range(n)], "path": "x.mp4", "dataset": "d", "label": label, "method": method,
        "identity": [f"p{k // 4}" for k in range(n)], "donor": "", "source_video": "", "split": split, "status": "ok",
        "bitrate": 1e5, "width": 64, "height": 64, "fps": 25.0, "n_frames": 100, "duration_s": 4.0, "codec": "avc1",
    })  # fmt: skip
    logit = stretch * (1.8 * rng.normal(size=n) + 1.8**2 * (label - 0.5))
    clips = pd.DataFrame({"video_id": videos["video_id"], "logit": logit})
    frames = clips.assign(person=0, position=0)
    return Scores(videos, clips, frames, clips.set_index("video_id")["logit"], 0)


def evaluated(scores: Scores, **parameters: object) -> Evaluation:
    params = Params(experiment="mine", **parameters)
    judge = Judge()
    judge.config = {**Judge.config}
    experiment = SimpleNamespace(
        params=params, videos=scores.videos, frames=None, detector=judge, record=lambda _stage: PREPROCESSED
    )
    return Evaluation(experiment, scores, calibrate(scores, prior_fake=params.prior_fake), resamples=100)


@pytest.mark.parametrize("prior", [0.5, 0.75])
def test_calibration_is_stated_in_metrics_json_and_makes_stretched_scores_better(prior):
    evaluation = evaluated(scored(2.0), prior_fake=prior)
    written = json.loads(json.dumps(evaluation.document, allow_nan=False))
    assert written["prior_fake"] == prior
    found = written["calibration"]
    assert found["slope"] == pytest.approx(0.5, abs=0.15)
    assert found["after"]["log_loss"] < found["before"]["log_loss"]
    assert written["test"]["video"]["log_loss"]["value"] == pytest.approx(found["after"]["log_loss"])
    assert not any("made scores worse" in caveat for caveat in written["caveats"])
    assert "video_id" in evaluation.predictions and evaluation.predictions["group"].nunique() == 60
    borders, scores = written["borders"], evaluation.predictions[evaluation.predictions["split"] == "val"]
    of_reals = scores.loc[scores["label"] == 0, "probability_fake"]
    assert borders["validation"]["reals_called_fake"]["value"] == (of_reals >= borders["upper"]).mean() <= 0.05
    worth, counted = written["test"]["answers"], evaluation.counted
    assert worth["fakes_called_real"]["value"] == (counted.scores[counted.labels == 1] < borders["lower"]).mean()
    assert worth["answered"]["low"] < worth["answered"]["value"] < worth["answered"]["high"]
    assert (
        f"{worth['right']['value']:.3f}" in EvaluationReport(evaluation).answers()["test"]["right, of those answered"]
    )
    title = EvaluationReport(evaluation).reliability().get_suptitle().replace("\n", " ")
    assert f"where {prior:.0%} are fake" in title


def test_a_test_method_that_validation_lacks_stops_sharpening_and_is_a_caveat():
    evaluation = evaluated(scored(0.5, test_method="blend"))
    assert evaluation.calibration.scaling.slope == 1.0
    assert any("no fakes by blend, which the test has" in caveat for caveat in evaluation.document["caveats"])
    assert evaluation.document["methods"] == {"unseen": ["blend"], "validation_only": []}
    assert evaluated(scored(0.5, n=1600)).calibration.scaling.slope == pytest.approx(2, abs=0.7)


def test_what_is_written_scores_new_videos_as_it_scored_these(tmp_path, monkeypatch):
    evaluation = evaluated(scored(2.0))
    folder = tmp_path / "runs" / "mine" / "detector"
    folder.mkdir(parents=True)
    write_json({"format": 1}, folder / "config.json")
    monkeypatch.setattr("dfutils.core.params.ROOT", tmp_path)
    report = evaluation.write()
    kept, scaling = read_json(folder / "config.json"), evaluation.calibration.scaling
    assert (kept["slope"], kept["offset"], kept["prior_fake"]) == (scaling.slope, scaling.offset, 0.5)
    assert kept["borders"] == list(evaluation.borders) and kept["borders"][0] < kept["threshold"] < kept["borders"][1]
    table = pd.read_parquet(report / "predictions.parquet")
    odds = kept["slope"] * evaluation.scores.clips["logit"] + kept["offset"]
    assert table["probability_fake"].to_numpy() == pytest.approx((1 / (1 + np.exp(-odds))).to_numpy())


def test_each_method_is_ranked_among_the_real_videos_of_its_own_compression(tmp_path):
    scores = scored(1.0, n=960)
    number = np.arange(len(scores.videos))
    scores.videos["compression"] = np.where(number // 4 % 2, "c23", "c40")
    scores.videos["method"] = np.where(scores.videos["label"] == 0, "", np.where(number % 4 == 1, "swap", "reenact"))
    evaluation = evaluated(scores)
    rows = evaluation.measured["methods"]
    assert [(row["method"], row["compression"]) for row in rows] == [
        (method, quality) for method in ("reenact", "swap") for quality in ("c23", "c40")
    ]
    table = evaluation.test.merge(scores.videos[["video_id", "compression"]], on="video_id")
    for row in rows:
        alike = table[(table["compression"] == row["compression"]) & table["method"].isin(["", row["method"]])]
        reals, fakes = (alike.loc[alike["label"] == label, "probability_fake"].to_numpy() for label in (0, 1))
        assert (row["real"], row["fake"]) == (len(reals), len(fakes))
        right = (fakes[:, None] > reals).mean()
        assert row["roc_auc"]["value"] == pytest.approx(right)
        assert row["roc_auc"]["low"] < right < row["roc_auc"]["high"]
        assert row["tpr_at_fpr_5"]["value"] >= row["tpr_at_fpr_1"]["value"]
    shown = EvaluationReport(evaluation).by_method()
    assert (tmp_path / "reports" / "mine" / "tables" / "by_method.tex").is_file()
    assert list(shown.columns) == [("mine", "all"), *(("mine", f"{r['method']} {r['compression']}") for r in rows)]
    assert shown.loc["real videos", ("mine", "swap c23")] == "60"
    assert json.loads(json.dumps(evaluation.document, allow_nan=False))["test"]["methods"] == rows


def test_the_only_method_has_the_figures_of_all():
    measured = evaluated(scored(1.0, n=240)).measured
    (row,) = measured["methods"]
    assert row["roc_auc"] is measured["video"]["roc_auc"] and row["eer"]["low"] is not None


def test_methods_left_out_of_training_stand_apart_from_those_it_had():
    scores = scored(1.0, n=480)
    number, videos = np.arange(480), scores.videos
    fakes = videos["label"] == 1
    videos.loc[fakes & (videos["split"] == "test") & (number % 4 == 1), "method"] = "lips"
    train = videos[videos["split"] == "val"].assign(split="train", video_id=lambda rows: "t" + rows["video_id"])
    scores = replace(scores, videos=pd.concat([videos, train], ignore_index=True))
    rows = {row["method"]: row for row in evaluated(scores).measured["methods"]}
    assert list(rows) == [KNOWN, LEFT_OUT, "lips", "swap"]
    assert rows[LEFT_OUT]["roc_auc"] == rows["lips"]["roc_auc"]
    assert (rows[KNOWN]["fake"], rows[LEFT_OUT]["fake"]) == (120, 60)


def test_a_detector_that_is_only_judged_keeps_its_own_calibration_and_threshold(tmp_path, monkeypatch):
    monkeypatch.setattr("dfutils.core.params.ROOT", tmp_path)
    own = {
        "slope": 0.5,
        "offset": 0.1,
        "prior_fake": 0.5,
        "threshold": 0.3,
        "validation_reals": [0.2],
        "measured_on": ["e"],
    }
    scores = scored(2.0)
    scores = replace(scores, videos=scores.videos.assign(split="test"), config=own)
    chosen = calibrate(scores, "balanced")
    assert (chosen.scaling.slope, chosen.scaling.offset, chosen.threshold, chosen.videos) == (0.5, 0.1, 0.3, 0)
    assert "its own" in chosen.note
    assert calibrate(scores, "0.7").threshold == 0.7 and calibrate(scores, "0.7").scaling.slope == 0.5
    judge = Judge()
    judge.config = {"training": {"parameters": {"dataset": "e"}, "seen": provenance.seen(scores.videos[:9])}}
    p = Params(experiment="mine", detector="shipped")
    write_json({**own, **judge.config}, p.run_folder / "detector" / "config.json")
    judged = SimpleNamespace(
        params=p, videos=scores.videos, frames=None, detector=judge, record=lambda _stage: PREPROCESSED
    )
    evaluation = Evaluation(judged, scores, chosen, resamples=100)
    written = evaluation.document
    assert (written["trained_on"], written["tested_on"], written["methods"]) == (["e"], ["d"], None)
    assert written["caveats"][0].startswith("Of the 240 test videos the detector had seen 9 in training")
    assert any("There are no validation videos" in caveat for caveat in written["caveats"])
    evaluation.write()
    kept = read_json(p.run_folder / "detector" / "config.json")
    assert {name: kept[name] for name in ("slope", "threshold", "validation_reals")} == {
        "slope": 0.5, "threshold": 0.3, "validation_reals": [0.2]
    }  # fmt: skip
    assert kept["measured_on"] == ["d", "e"]


def test_forged_seconds_are_judged_where_a_view_is_missing():
    scores = scored(1.0)
    frames = pd.concat([scores.frames.assign(position=k, logit=9.0, logit_native=np.nan) for k in range(3)])
    judged = replace(
        scores, frames=frames, videos=scores.videos.assign(segments=np.where(scores.videos["label"], "0-3", ""))
    )
    evaluation = evaluated(judged)
    evaluation.experiment.frames = frames[["video_id", "person", "position"]].assign(time_s=frames["position"] + 0.5)
    assert 0.7 < evaluation.forged_seconds["ap_iou_50"] < 0.8  # three of four stretches that are called fake are


def test_what_every_figure_depends_on_stands_beside_it(tmp_path):
    faces = {"frames_per_video": 10, "face_size": 112, "face_margin": 0.3, "align": False}
    found = metrics_json.conditions(faces, ["c40", "", "c23"])
    assert found == {"frames_per_video": 10, "face_size": 112, "face_margin": 0.3, "compression": ["c23", "c40"]}
    words = metrics_json.in_words(found)
    for part in ("per video", "at most 10 frames", "112 pixels with a margin of 0.3", "compression c23, c40"):
        assert part in words
    evaluation = evaluated(scored(1.0))
    evaluation.experiment.record = lambda _stage: {**PREPROCESSED, "settings": faces}
    assert "at most 10 frames each" in EvaluationReport(evaluation).verdict().data
    assert evaluation.document["conditions"]["compression"] == []
    (evaluation.experiment.params.run_folder / "detector").mkdir(parents=True)
    write_json({"format": 1}, evaluation.experiment.params.run_folder / "detector" / "config.json")
    evaluation.write()
    page = overview.write_overview(tmp_path / "reports").read_text(encoding="utf-8")
    assert "at most 10 frames each" in page and "compression as in the files" in page
