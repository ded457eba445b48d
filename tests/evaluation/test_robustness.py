"""Disturbed videos go the whole way, are kept, and are compared with themselves."""

from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest

from dfutils.core.params import FaceSettings
from dfutils.evaluation import perturbations, robustness, scoring
from dfutils.faces import video
from dfutils.reporting import tables
from tests.support.detectors import untrained

SETTINGS = FaceSettings(face_size=32, frames_per_video=2, max_frames=4, faces="cropped", min_sharpness=0.0)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    rng = np.random.default_rng(0)
    for k in range(4):
        picture = cv2.resize(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8), (128, 128))
        video.write(root / f"v{k}.mp4", [np.roll(picture, shift, axis=1) for shift in range(4)], crf=10)
    (root / "v3.mp4").write_bytes(b"no video")
    table = pd.DataFrame({"video_id": [f"v{k}" for k in range(4)], "dataset": "d", "label": [0, 1, 0, 1]})
    return root, table.assign(path=table["video_id"] + ".mp4")


def test_a_run_is_kept_and_goes_on(videos, tmp_path, monkeypatch):
    root, table = videos
    detector = untrained(backbone="resnet18", hidden_size=8).eval()
    detector.config |= {"face_size": 32, "frames_per_video": 2}
    given = (table, {"d": root}, detector, [("noise", 1), ("blur", 5)], tmp_path, SETTINGS)
    first = robustness.score_disturbed(*given, workers=1)
    status = first.set_index(["perturbation", "video_id"])["status"]
    for name in ("noise", "blur"):
        assert status[name].tolist() == ["ok", "ok", "ok", "unreadable"]
    assert first["probability_fake"].notna().tolist() == [True, True, True, False] * 2
    assert first["probability_fake"].nunique() == 6

    def never(*_args):
        raise AssertionError("made again")

    monkeypatch.setattr(perturbations, "make_strip", never)
    monkeypatch.setattr(scoring, "score", never)
    pd.testing.assert_frame_equal(robustness.score_disturbed(*given, workers=1), first)
    assert not list(tmp_path.rglob("*.mp4"))


def test_with_all_faces_a_disturbed_video_scores_as_its_most_suspicious_person_as_an_undisturbed_one_does(
    videos, tmp_path, monkeypatch
):
    root, table = videos
    detector = untrained(backbone="resnet18", hidden_size=8).eval()
    detector.config |= {"face_size": 32, "frames_per_video": 2}
    crops = np.random.default_rng(1).integers(0, 256, (3, 2, 32, 32, 3), dtype=np.uint8)
    people = [SimpleNamespace(status="ok", frames=part, views={}) for part in crops]
    everybody = SETTINGS.model_copy(update={"faces": "all"})
    scores = {}
    for name, found in {"together": people, **{str(k): [person] for k, person in enumerate(people)}}.items():
        monkeypatch.setattr(perturbations.extraction, "extract", lambda *_args, found=found: found)
        given = (table.head(1), {"d": root}, detector, [("blur", 1)], tmp_path / name, everybody)
        scores[name] = robustness.score_disturbed(*given, workers=1)["probability_fake"][0]
    assert scores["together"] == pytest.approx(max(scores["0"], scores["1"], scores["2"]), abs=1e-6)
    assert len({round(score, 5) for score in scores.values()}) == 3


def clean(n: int = 40) -> pd.DataFrame:
    label = np.arange(n) % 2
    score = np.clip(0.5 + 0.5 * (label - 0.5) + np.random.default_rng(0).normal(size=n) * 0.2, 0, 1)
    table = pd.DataFrame({"video_id": [f"v{k}" for k in range(n)], "label": label, "probability_fake": score})
    return table.assign(dataset="d", identity="", group=table["video_id"], status="ok", split="test")


def test_what_is_lost_and_what_is_worse_are_told_apart():
    before = clean()
    worse = before["probability_fake"].to_numpy().copy()
    worse[:10] = np.nan
    worse[10:20] = 1 - worse[10:20]
    parts = [
        before[["video_id"]].assign(perturbation="blur", level=2, status="ok", probability_fake=worse),
        before[["video_id"]].assign(perturbation="noise", level=4, status="no_face", probability_fake=np.nan),
    ]
    table = robustness.degradation(before, pd.concat(parts), 0.5, resamples=100)
    assert table["perturbation"].tolist() == ["undisturbed", "blur", "noise"]
    assert table["lost"].tolist() == [0, 0.25, 1]
    assert table["scored"].tolist() == [40, 30, 0]
    assert table.loc[0, "change"] == 0
    assert table.loc[1, "change"] < 0
    assert table.loc[1, "change_low"] < table.loc[1, "change"] < table.loc[1, "change_high"]
    assert np.isnan(table.loc[2, "roc_auc"])
    texts = tables.robustness(table)
    assert texts.loc[("noise", 4)].tolist() == [0, "100%", *["undefined"] * 5]
    low, high = (f"{table.loc[1, name]:.3f}" for name in ("change_low", "change_high"))
    assert texts.loc[("blur", 2), "its change"] == f"{table.loc[1, 'change']:.3f} ({low} – {high})"


def test_both_classes_are_chosen_and_more_videos_include_the_fewer():
    few, more = (robustness.choose_videos(clean(), most) for most in (10, 20))
    assert few["label"].sum() == 5
    assert set(few["video_id"]) <= set(more["video_id"])
    one_class = clean().query("label == 1")
    assert len(robustness.choose_videos(one_class, 30)) == 20
