"""What a scoring run sees besides the scores, and what the nearest training clips say of a mistake."""

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from dfutils.detector.network import Detector
from dfutils.evaluation import neighbours
from dfutils.evaluation.scoring import score
from tests.support.detectors import untrained


@pytest.fixture(scope="module")
def detector() -> Detector:
    return untrained(backbone="resnet18", hidden_size=8, seed=1).eval()


@pytest.fixture
def strips(tmp_path):
    rng = np.random.default_rng(0)
    for name, frames in (("a", 3), ("b", 2), ("c", 3)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), rng.integers(0, 256, (32, 32 * frames, 3), dtype=np.uint8))
    return tmp_path


def test_frames_alone_and_features_are_those_of_the_videos(detector, strips):
    detector.config["face_size"] = 32
    table = pd.DataFrame({"video_id": ["a", "b", "c"]})
    with neighbours.recording(detector) as heard:
        _, frames = score(detector, table, strips, batch_size=2, progress=False)
    assert not detector.backbone._forward_hooks
    names, vectors = heard.vectors(frames)
    assert names == ["a", "b", "c"]
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-3)
    clip = (
        cv2.cvtColor(cv2.imread(str(strips / "b.png")), cv2.COLOR_BGR2RGB).reshape(32, 2, 32, 3).transpose(1, 0, 2, 3)
    )
    pixels = detector.normalise(torch.from_numpy(clip.copy()).permute(0, 3, 1, 2).unsqueeze(0))
    with torch.inference_mode():
        alone = [detector(pixels[:, [k]])[0] for k in range(2)]
        features = detector.features(pixels)[0].mean(0).numpy()
    expected = np.mean([float(pair[1] - pair[0]) for pair in alone])
    assert heard.alone(frames).set_index("video_id").loc["b", "logit"] == pytest.approx(expected, abs=1e-5)
    assert vectors[1] @ features / np.linalg.norm(features) == pytest.approx(1, abs=1e-4)


def plane(*angles: float) -> np.ndarray:
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_a_copy_a_contradiction_and_a_hard_case_are_told_apart():
    videos = pd.DataFrame(
        {"label": [0, 0, 1, 1, 1], "method": "", "identity": list("abcde")}, index=["t0", "t1", "t2", "t3", "t4"]
    ).rename_axis("video_id")
    train = (list(videos.index), plane(0.0, 0.2, 1.2, 1.4, 1.5))
    known = (["copy", "odd", "hard"], plane(0.0001, 1.3, 0.7))
    near = neighbours.nearest(known[0] + ["unknown"], known, train, videos, count=2)
    assert near.groupby("video_id")["neighbour"].first().to_dict() == {"copy": "t0", "odd": "t2", "hard": "t1"}
    mistakes = pd.DataFrame(
        {
            "kind": ["miss", "false alarm", "miss", "miss"],
            "video_id": ["copy", "odd", "hard", "unknown"],
            "margin": [0.9, 0.9, 0.2, 0.9],
        }
    )
    found = neighbours.diagnose(mistakes, near, near=1e-4)
    assert found["suspect"].tolist() == ["leakage", "label", "hard case", ""]
    assert found.loc[0, "nearest"] == "t0"


def test_how_near_other_people_come():
    videos = pd.DataFrame({"identity": [f"p{k // 2}" for k in range(20)]}, index=[f"t{k}" for k in range(20)])
    angles = np.arange(20) * 0.1
    angles[1::2] = angles[::2]  # the same person twice at the same place
    usual = neighbours.usual_distance((list(videos.index), plane(*angles)), videos)
    assert usual == pytest.approx(1 - np.cos(0.2), rel=0.01)
    assert np.isnan(neighbours.usual_distance((["t0"], plane(0.0)), videos))


def test_a_fake_and_its_source_are_not_two_people():
    ids = [f"t{k}" for k in range(20)]
    sources = ["" if k % 2 == 0 else f"t{k - 1}" for k in range(20)]
    videos = pd.DataFrame({"identity": "", "dataset": "d", "source_video": sources}, index=ids)
    angles = np.arange(20) * 0.1
    angles[1::2] = angles[::2]  # a fake lies where its source does
    usual = neighbours.usual_distance((ids, plane(*angles)), videos)
    assert usual == pytest.approx(1 - np.cos(0.2), rel=0.01)
