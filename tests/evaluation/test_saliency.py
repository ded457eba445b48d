"""Explanations: the right frame, the right corner, and nothing of the kind from random weights."""

import numpy as np
import pandas as pd
import pytest
import torch

from dfutils.core.errors import InputError
from dfutils.core.params import FaceSettings, NetworkSettings
from dfutils.detector.network import Detector, clip_tensor, logits
from dfutils.evaluation import saliency
from tests.support.detectors import untrained


@pytest.fixture(scope="module")
def detector() -> Detector:
    return untrained(backbone="resnet18", hidden_size=8, seed=1).eval()


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)


class Corner(Detector):
    """A detector that looks at the red of the upper left quarter and at nothing else."""

    def __init__(self) -> None:
        super().__init__(NetworkSettings(backbone="resnet18", temporal="mean", pretrained="none"))
        stage = torch.nn.Conv2d(3, 2, 8, stride=8, bias=False)
        with torch.no_grad():
            stage.weight.zero_()
            stage.weight[0, 0] = 1 / 64
        self.backbone = torch.nn.Sequential(torch.nn.Sequential(stage, torch.nn.ReLU()), Quarter())
        self.linear = torch.nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.linear.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0]]))


class Quarter(torch.nn.Module):
    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return maps[:, :, :4, :4].mean(dim=(2, 3))


def red(where: list[tuple[int, int, int]]) -> np.ndarray:
    """Black crops of 64 pixels with a red block in (frame, row, column) of eight by eight blocks."""
    clip = np.zeros((3, 64, 64, 3), dtype=np.uint8)
    for frame, row, column in where:
        clip[frame, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8, 0] = 255
    return clip


def test_gradcam_points_at_what_the_score_rests_on():
    maps = saliency.gradcam(Corner().eval(), red([(1, 1, 2)]))
    assert maps.shape == (3, 64, 64)
    assert maps.dtype == np.float32
    assert maps.max() == 1
    assert np.unravel_index(maps.argmax(), maps.shape)[0] == 1
    middle = maps[1, 8:16, 16:24].mean()
    assert middle > 5 * maps[1, 40:, 40:].mean()


def test_gradcam_is_the_same_twice_and_leaves_the_detector_as_it_was(detector, clip):
    before = logits(detector, clip_tensor(detector, clip))[0]
    assert np.array_equal(saliency.gradcam(detector, clip), saliency.gradcam(detector, clip))
    assert np.array_equal(logits(detector, clip_tensor(detector, clip))[0], before)
    assert not detector.backbone.layer3._forward_hooks


@pytest.mark.parametrize(
    ("backbone", "cells"),
    [
        ("vit_b_16", 14),
        ("timm:vit_tiny_patch16_224", 14),
        ("timm:deit_tiny_distilled_patch16_224", 14),
        ("swin_t", 4),
        ("timm:swin_tiny_patch4_window7_224", 7),
        ("timm:convnext_atto", 7),
    ],
)
def test_maps_of_transformers_are_of_the_last_layer_and_lie_where_the_picture_has_them(backbone, cells, monkeypatch):
    """The features of a patch are changed most by the patch itself, so the layer is read row by row as it should be."""
    network, seen = untrained(backbone=backbone, temporal="mean").eval(), []
    found = saliency._last_map
    monkeypatch.setattr(saliency, "_last_map", lambda *given: seen.append(found(*given)) or seen[-1])
    plain, spot = np.full((1, 64, 64, 3), 128, dtype=np.uint8), np.full((1, 64, 64, 3), 128, dtype=np.uint8)
    spot[0, 4:12, 36:44] = np.random.default_rng(0).integers(0, 256, (8, 8, 3))
    assert all(saliency.gradcam(network, crops).shape == (1, 64, 64) for crops in (plain, spot))
    (features, gradient), (others, _) = seen
    assert features.shape[2:] == gradient.shape[2:] == (cells, cells) and features.shape[1] > cells
    row, column = np.unravel_index(int((features - others).abs().sum(dim=(0, 1)).argmax()), (cells, cells))
    assert abs((row + 0.5) / cells - 8 / 64) <= 1 / cells and abs((column + 0.5) / cells - 40 / 64) <= 1 / cells
    assert gradient.any()


def test_networks_whose_tokens_have_another_order_are_refused(clip):
    with pytest.raises(InputError, match="Grad-CAM can show nothing of timm:hiera_tiny_224"):
        saliency.gradcam(untrained(backbone="timm:hiera_tiny_224", temporal="mean").eval(), clip[:1])


def test_random_weights_give_another_map(detector, clip):
    other = saliency.randomised(detector, seed=5)
    assert saliency.likeness(*(saliency.gradcam(detector, clip),) * 2) == pytest.approx(1)
    assert abs(saliency.likeness(saliency.gradcam(detector, clip), saliency.gradcam(other, clip))) < 0.9
    assert np.isnan(saliency.likeness(np.zeros((1, 2, 2)), np.ones((1, 2, 2))))


def test_leaving_out_a_frame_shows_which_one_counted():
    parts = saliency.leave_one_out(Corner().eval(), red([(1, 1, 2), (1, 2, 2), (2, 1, 1)]))
    assert parts.argmax() == 1
    assert parts[0] < 0 < parts[1]
    assert np.isnan(saliency.leave_one_out(Corner().eval(), red([])[:1])).all()


def test_the_share_inside_a_mask_against_chance():
    masks = np.zeros((2, 4, 4), dtype=np.float32)
    masks[:, :2, :2] = 1
    hit, miss, empty = masks.copy(), 1 - masks, 0 * masks
    table = saliency.inside_against_chance([hit, miss, empty], [masks] * 3)
    assert table["inside"].tolist()[:2] == [1.0, 0.0]
    assert np.isnan(table["inside"][2])
    assert table["area"].tolist() == [0.25] * 3
    assert table["others"].tolist() == [0.0, 1.0, 0.5]
    assert saliency.chance_summary(table).loc["inside the forged part", "clips"] == 2


def test_masks_follow_the_crop(tmp_path):
    (tmp_path / "masks" / "swap").mkdir(parents=True)
    masks = np.zeros((5, 64, 64), dtype=np.uint8)
    masks[3, 16:32, 32:48] = 255  # pixels 64 to 128 and 128 to 192 of 256
    np.savez_compressed(tmp_path / "masks" / "swap" / "a.npz", masks=masks)
    video = pd.Series({"path": "fake/swap/a.mp4", "width": 256.0, "height": 256.0})
    rows = pd.DataFrame({"frame": [0, 3], "x": 128.0, "y": 64.0, "w": 64.0, "h": 64.0})
    settings = FaceSettings(face_size=32, face_margin=0.5)
    found = saliency.forged_masks(rows, video, tmp_path, settings)
    assert found.shape == (2, 32, 32)
    assert found[0].max() == 0
    assert found[1, 10:22, 10:22].min() > 0.9  # the crop is twice the box, the box its middle
    assert found[1].mean() == pytest.approx(0.25, abs=0.02)
    for other in (settings.model_copy(update={"align": True}), settings):
        path = "real/a.mp4" if other is settings else "fake/swap/a.mp4"
        assert saliency.forged_masks(rows, video.replace("fake/swap/a.mp4", path), tmp_path, other) is None


def test_explained_fakes_are_drawn_across_methods_and_people():
    rows = [(f"{method}{person}{k}", method, person) for method in "abcd" for person in "pqrstu" for k in range(3)]
    fakes = pd.DataFrame(rows, columns=["video_id", "method", "group"])
    chosen = fakes.set_index("video_id").loc[saliency.spread_out(fakes, 12)]
    assert chosen["method"].value_counts().tolist() == [3] * 4
    assert chosen["group"].value_counts().tolist() == [2] * 6
    assert saliency.spread_out(fakes, 4) == saliency.spread_out(fakes, 12)[:4]
    assert saliency.spread_out(fakes.sample(frac=1, random_state=0), 12) == saliency.spread_out(fakes, 12)
    assert len(saliency.spread_out(fakes, 100)) == 72
    assert saliency.spread_out(fakes.head(0), 4) == []


def test_clips_of_one_person_do_not_make_the_share_inside_sure():
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(8), 6)
    inside = np.clip(0.5 + 0.2 * rng.normal(size=8)[person] + 0.02 * rng.normal(size=48), 0, 1)
    table = pd.DataFrame({"inside": inside, "area": 0.3, "others": 0.3})
    alone = saliency.chance_summary(table).loc["more than its area"]
    together = saliency.chance_summary(table.assign(group=person)).loc["more than its area"]
    assert together["mean"] == alone["mean"]
    assert together["high"] - together["low"] > 2 * (alone["high"] - alone["low"])
    assert np.isnan(saliency.chance_summary(table.assign(group=person % 4)).loc["more than its area", "low"])
