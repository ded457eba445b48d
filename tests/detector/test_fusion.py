"""Several views, one score: standardised, averaged, saved and loaded, and trained from parameters alone."""

import numpy as np
import pandas as pd
import pytest
import torch

from dfutils.core.errors import InputError
from dfutils.core.files import read_json, write_json
from dfutils.detector import fusion, network
from dfutils.detector.network import Detector
from dfutils.evaluation import saliency, scoring
from dfutils.faces import views
from dfutils.faces.strips import view_strip, write_strip
from tests.support.detectors import untrained

TWO = {"face": {"weight": 1.0, "mean": 1.0, "std": 2.0}, "native": {"weight": 1.0, "mean": -1.0, "std": 1.0}}


def fused_detector() -> Detector:
    detector = untrained(backbone="resnet18", hidden_size=8).eval()
    detector.others = {"native": untrained(backbone="resnet18", hidden_size=8, seed=1).eval()}
    detector.others["native"].view = "native"
    detector.config |= {"fusion": TWO, "face_size": 64, "frames_per_video": 3}
    return detector


def crops(side: int, seed: int = 0, count: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def test_logits_are_standardised_and_averaged_over_the_views_that_there_are():
    found = fusion.fuse(TWO, {"face": np.array([3.0, 3.0]), "native": np.array([0.0, np.nan])})
    assert found.tolist() == [1.0, 1.0]
    assert fusion.fuse(TWO, {"face": np.array([5.0])}).tolist() == [2.0]
    assert fusion.fuse({}, {"face": np.array([5.0])}).tolist() == [5.0]
    silent = {**TWO, "native": {**TWO["native"], "weight": 0.0}}
    assert fusion.fuse(silent, {"face": np.array(5.0), "native": np.array(90.0)}) == 2.0
    alone = {"face": {**TWO["face"], "weight": 0.0}, "native": TWO["native"]}
    assert fusion.fuse(alone, {"face": np.array(5.0), "native": np.array(np.nan)}) == 2.0  # nothing else is possible
    assert fusion.fuse(alone, {"face": np.array(5.0), "native": np.array(1.0)}) == 2.0


def test_validation_gives_a_view_that_is_worse_than_a_coin_no_weight():
    labels = np.array([0, 0, 1, 1, 1])
    good, bad = np.array([-1.0, 0.0, 1.0, 2.0, np.nan]), np.array([2.0, 1.0, 0.0, -1.0, 0.0])
    found = fusion.fit_fusion(labels, {"face": good, "native": bad, "motion": np.full(5, np.nan)})
    assert [found[view]["weight"] for view in found] == [1.0, 0.0, 0.0]
    assert found["face"]["mean"] == 0.5
    assert found["face"]["std"] == pytest.approx(np.std([-1, 0, 1, 2]))
    assert found["motion"] == {"weight": 0.0, "mean": 0.0, "std": 1.0}
    assert fusion.fit_fusion(labels, {"face": bad})["face"]["weight"] == 1.0


def test_the_view_that_spoke_most_is_on_the_side_of_the_verdict():
    assert fusion.spoke_most({"face": 0.2, "native": 0.9}, 0.6) == "native"
    assert fusion.spoke_most({"face": 0.2, "native": 0.9}, 0.4) == "face"
    assert fusion.spoke_most({}, 0.6) == "face"


def test_a_native_crop_is_judged_by_the_mean_of_its_windows():
    native = crops(200)
    clip, frames = fusion.view_logits(fused_detector(), {"face": crops(64), "native": native})["native"]
    part = fused_detector().others["native"]
    each = [
        network.logits(part, network.clip_tensor(part, native[:, y : y + 160, x : x + 160]))
        for x, y in views.window_corners(200)
    ]
    np.testing.assert_allclose(clip, np.mean([logit[0] for logit, _ in each]), atol=1e-5)
    np.testing.assert_allclose(frames, np.mean([logits[0] for _, logits in each], axis=0), atol=1e-5)
    mask = torch.tensor([[True, True, False]])
    tall = network.clip_tensor(part, views.windows(native))
    short = network.logits(part, tall[:, :2])
    np.testing.assert_allclose(network.logits(part, tall, mask)[0], short[0], atol=1e-5)


def test_a_detector_of_several_views_is_one_folder_and_one_digest(tmp_path):
    detector = fused_detector()
    detector.save(tmp_path / "detector")
    loaded = Detector.load(tmp_path / "detector")
    assert list(loaded.networks) == ["face", "native"]
    assert loaded.face_settings.views == "face,native"
    assert loaded.digest() == detector.digest() != untrained(backbone="resnet18", hidden_size=8).digest()
    given = {"face": crops(64), "native": crops(200)}
    for view, (clip, _) in fusion.view_logits(loaded, given).items():
        assert clip == pytest.approx(fusion.view_logits(detector, given)[view][0], abs=1e-6)
    config = read_json(tmp_path / "detector" / "config.json")
    assert config["format"] == 2
    write_json({**config, "fusion": {**TWO, "motion": TWO["native"]}}, tmp_path / "detector" / "config.json")
    with pytest.raises(InputError, match="network motion"):
        Detector.load(tmp_path / "detector")


def test_two_networks_may_look_at_the_same_view_each_of_its_own_architecture(tmp_path):
    detector = fused_detector()
    detector.others["recent"] = recent = untrained(backbone="resnet18", temporal="mean").eval()
    architecture = recent.architecture
    detector.config["fusion"] = {**TWO, "recent": {**TWO["face"], "view": "face", "architecture": architecture}}
    detector.save(tmp_path / "detector")
    loaded = Detector.load(tmp_path / "detector")
    assert loaded.face_settings.views == "face,native"
    faces = {"face": crops(64)}
    found = fusion.view_logits(loaded, faces)
    assert list(found) == ["face", "recent"]
    assert found["recent"][0] == pytest.approx(network.logits(recent, network.clip_tensor(recent, faces["face"]))[0][0])


def test_a_detector_of_one_view_is_written_as_before(tmp_path):
    detector = untrained(backbone="resnet18", hidden_size=8)
    detector.save(tmp_path / "detector")
    config = read_json(tmp_path / "detector" / "config.json")
    assert config["format"] == 1
    assert "fusion" not in config
    assert Detector.load(tmp_path / "detector").networks.keys() == {"face"}


def test_scoring_fuses_the_views_of_each_video_and_takes_those_that_it_has(tmp_path):
    detector = fused_detector()
    for name in ("a", "b"):
        write_strip(crops(64, seed=ord(name)), tmp_path / f"{name}.png")
    write_strip(crops(200), tmp_path / view_strip("a.png", "native"))
    table = pd.DataFrame({"video_id": ["a", "b"], "label": [0, 1], "views": ["face,native", "face"]})
    videos, frames = scoring.score(detector, table, tmp_path, progress=False)
    assert videos["logit_native"].notna().tolist() == [True, False]
    by_view = {"face": videos["logit_face"].to_numpy(), "native": videos["logit_native"].to_numpy()}
    np.testing.assert_allclose(videos["logit"], fusion.fuse(TWO, by_view))
    assert len(frames) == 6
    np.testing.assert_allclose(frames.groupby("video_id")["logit"].mean(), videos["logit"], atol=1e-5)
    one = fusion.view_logits(detector, {"face": crops(64, seed=ord("a")), "native": crops(200)})
    assert videos["logit_native"][0] == pytest.approx(one["native"][0], abs=1e-5)


def test_a_view_that_no_video_has_and_a_network_that_fails_on_one_video_stop_nothing(tmp_path):
    detector = fused_detector()
    for name in ("a", "b"):
        write_strip(crops(64, seed=ord(name)), tmp_path / f"{name}.png")
    table = pd.DataFrame({"video_id": ["a", "b"], "label": [0, 1], "views": "face"})
    for frames in (None, 1):
        videos, by_frame = scoring.score(detector, table, tmp_path, frames=frames, progress=False)
        assert videos["logit_native"].isna().all() and len(by_frame) == 2 * (frames or 3)
        np.testing.assert_allclose(videos["logit"], (videos["logit_face"] - 1) / 2)
    with torch.no_grad():
        detector.linear.bias.fill_(np.nan)
    videos, _ = scoring.score(detector, table, tmp_path, progress=False)
    assert videos["video_id"].tolist() == ["a", "b"] and videos["logit"].isna().all()


def test_gradcam_of_windows_has_their_form():
    part = fused_detector().others["native"]
    maps = saliency.gradcam(part, views.windows(crops(200)))
    assert maps.shape == (3, 800, 160)
    assert maps.max() == pytest.approx(1)
