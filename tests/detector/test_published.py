"""Detectors of other libraries score as they do at home, with the crops that they were trained on."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dfutils.core import detectors, foreign
from dfutils.core.errors import InputError
from dfutils.core.files import read_json, write_json
from dfutils.core.parameter_files import with_overrides
from dfutils.detector import published
from dfutils.detector.network import Detector, clip_tensor, logits
from dfutils.evaluation import saliency
from dfutils.evaluation.evaluate import keep_calibration
from dfutils.metrics.calibration import Scaling
from dfutils.serving import hub
from dfutils.serving.verdict import warnings_of

SIZE, FRAMES = 32, 3
COLOURS = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]}
SMALL = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "image_size": SIZE,
    "patch_size": 8,
}  # fmt: skip


@pytest.fixture
def transformers() -> Any:
    return pytest.importorskip("transformers", reason="the extra transformers is not installed")


@pytest.fixture
def clip() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (FRAMES, SIZE, SIZE, 3), dtype=np.uint8)


def normalised(clip: np.ndarray, colours: dict[str, list[float]] = COLOURS) -> torch.Tensor:
    pictures = torch.from_numpy(clip).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(colours[name])[:, None, None] for name in ("mean", "std"))
    return (pictures - mean) / std


def write_classifier(library: Any, folder: Path, labels: dict[int, str], kind: str = "ViT", **changed: Any) -> Any:
    """Write a tiny image classifier as transformers does, and return its model."""
    torch.manual_seed(0)
    config = getattr(library, f"{kind}Config")(
        **(SMALL if kind == "ViT" else {"image_size": SIZE}) | changed, id2label=labels
    )
    model = getattr(library, f"{kind}ForImageClassification")(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    model.save_pretrained(folder)
    pictures = {"size": {"height": SIZE, "width": SIZE}, "image_mean": COLOURS["mean"], "image_std": COLOURS["std"]}
    write_json(pictures, folder / foreign.PREPROCESSOR)
    return model


def write_gend(library: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, head: str) -> Any:
    """Write a tiny GenD with CLIP's encoder, whose configuration is known by its name, and return that encoder."""
    torch.manual_seed(0)
    tower = {"model_type": "clip_vision_model", **SMALL, "projection_dim": 16}
    monkeypatch.setitem(published.TOWERS, "openai/clip-tiny", {**tower, **COLOURS})
    model = library.CLIPVisionModel(library.CLIPVisionConfig(**SMALL, projection_dim=16)).eval()
    weights = {f"feature_extractor.vision_model.{name}": weight for name, weight in model.state_dict().items()}
    weights["feature_extractor.visual_projection.weight"] = torch.randn(16, 32)
    weights |= {"model.linear.weight": torch.randn(2, 32), "model.linear.bias": torch.randn(2)}
    folder.mkdir()
    save_file({name: weight.clone().contiguous() for name, weight in weights.items()}, folder / "model.safetensors")
    config = {"model_type": "GenD", "architectures": ["GenD"], "backbone": "openai/clip-tiny", "head": head}
    write_json(config, folder / "config.json")
    return model


@pytest.mark.parametrize(("labels", "fake"), [({0: "Fake", 1: "Real"}, 0), ({0: "Realism", 1: "Deepfake"}, 1)])
def test_an_image_classifier_scores_as_at_home(transformers, tmp_path, clip, labels, fake):
    model = write_classifier(transformers, tmp_path / "vit", labels)
    detector = Detector.load(tmp_path / "vit")
    with torch.inference_mode():
        wanted = model(pixel_values=normalised(clip)).logits.double()
    by_frame = (wanted[:, fake] - wanted[:, 1 - fake]).numpy()
    found, of_frames = logits(detector, clip_tensor(detector, clip))
    assert of_frames[0] == pytest.approx(by_frame, abs=1e-5)
    assert found[0] == pytest.approx(by_frame.mean(), abs=1e-5)
    assert detector.face_settings.face_size == SIZE
    detector.check_geometry({"face_size": SIZE, "face_margin": 0.7, "frames_per_video": 4, "align": True})
    assert hub.load(tmp_path / "vit").config["source"] == "vit (uncalibrated)"
    (warning,) = warnings_of(detector)
    assert "uncalibrated" in warning


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        ("ConvNext", {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2}),
        ("Swin", {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 2, "patch_size": 2}),
    ],
)
def test_kin_of_the_vision_transformer(transformers, tmp_path, clip, kind, changed):
    model = write_classifier(transformers, tmp_path / "kin", {0: "real", 1: "fake"}, kind, **changed)
    detector = Detector.load(tmp_path / "kin")
    with torch.inference_mode():
        wanted = model(pixel_values=normalised(clip)).logits.double().mean(0)
    assert logits(detector, clip_tensor(detector, clip))[0][0] == pytest.approx(float(wanted[1] - wanted[0]), abs=1e-5)


@pytest.mark.parametrize("head", ["LinearNorm", "linear"])
def test_gend_scores_as_at_home(transformers, tmp_path, clip, monkeypatch, head):
    model = write_gend(transformers, tmp_path / "gend", monkeypatch, head)
    detector = Detector.load(tmp_path / "gend")
    last = load_file(tmp_path / "gend" / "model.safetensors")
    with torch.inference_mode():
        features = model(pixel_values=normalised(clip)).pooler_output
        features = features / features.norm(dim=1, keepdim=True) if head == "LinearNorm" else features
        wanted = (features @ last["model.linear.weight"].T + last["model.linear.bias"]).double().mean(0)
    assert logits(detector, clip_tensor(detector, clip))[0][0] == pytest.approx(float(wanted[1] - wanted[0]), abs=1e-5)
    faces = detector.face_settings
    assert (faces.frames_per_video, faces.face_size, faces.face_margin, faces.align) == (32, 224, 0.15, True)
    assert detectors.implied(str(tmp_path / "gend")) == {
        "frames_per_video": 32, "face_size": 224, "face_margin": 0.15, "align": True
    }  # fmt: skip
    detector.check_geometry(faces.model_dump())
    with pytest.raises(InputError, match=r"face_margin 0\.15, not 0\.3"):
        detector.check_geometry({**faces.model_dump(), "face_margin": 0.3})


def test_gend_with_an_encoder_of_timm_needs_no_transformers(tmp_path, clip, monkeypatch):
    """Its pictures are smaller than those that the encoder's positions were made for."""
    import timm

    tower = {"model_type": "timm", "image_size": SIZE, "patch_size": 16, **COLOURS}
    monkeypatch.setitem(published.TOWERS, "vit_tiny_patch16_224", tower)
    monkeypatch.setitem(sys.modules, "transformers", None)
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, dynamic_img_size=True).eval()
    weights = {f"feature_extractor.backbone.{name}": weight for name, weight in model.state_dict().items()}
    weights |= {"model.linear.weight": torch.randn(2, 192), "model.linear.bias": torch.randn(2)}
    save_file(weights, tmp_path / "model.safetensors")
    config = {"model_type": "GenD", "backbone": "vit_tiny_patch16_224", "head": "LinearNorm"}
    write_json(config, tmp_path / "config.json")
    detector = Detector.load(tmp_path)
    keep_calibration(tmp_path, Scaling(), 0.5, by_frames=[{"frames": 1}])  # as where there are no validation videos
    assert Detector.load(tmp_path).config["uncalibrated"]
    assert Detector.load(tmp_path).config["frames_error_rates"] == [{"frames": 1}]
    with torch.inference_mode():
        features = torch.nn.functional.normalize(model(normalised(clip)), dim=1)
        wanted = (features @ weights["model.linear.weight"].T + weights["model.linear.bias"]).double().mean(0)
    assert logits(detector, clip_tensor(detector, clip))[0][0] == pytest.approx(float(wanted[1] - wanted[0]), abs=1e-5)


def test_grad_cam_saving_and_calibration_are_those_of_any_detector(transformers, tmp_path, clip):
    write_classifier(transformers, tmp_path / "vit", {0: "real", 1: "fake"}, image_size=SIZE, patch_size=4)
    detector = Detector.load(tmp_path / "vit")
    maps = saliency.gradcam(detector, clip)
    assert maps.shape == clip.shape[:3] and saliency.randomised(detector).backbone.width == 32
    detector.save(tmp_path / "own")
    again = Detector.load(tmp_path / "own")
    assert logits(again, clip_tensor(again, clip))[0] == pytest.approx(logits(detector, clip_tensor(detector, clip))[0])
    assert detector.config["uncalibrated"]
    keep_calibration(tmp_path / "vit", Scaling(0.5, 0.1, 0.5), 0.3, [0.2], ["d"])
    chosen = Detector.load(tmp_path / "vit")
    assert chosen.scaling == Scaling(0.5, 0.1, 0.5) and chosen.config["threshold"] == 0.3
    assert not chosen.config["uncalibrated"] and hub.load(tmp_path / "vit").config["source"] == "vit"


def test_labels_that_say_nothing_are_refused_until_the_parameter_says(transformers, tmp_path, clip, monkeypatch):
    monkeypatch.setattr("dfutils.core.params.ROOT", tmp_path)
    write_classifier(transformers, tmp_path / "vit", {0: "LABEL_0", 1: "LABEL_1"})
    with pytest.raises(InputError, match=r"LABEL_0 and LABEL_1.*`label_one: fake` or `label_one: real`"):
        Detector.load(tmp_path / "vit")
    from dfutils.core.experiments import claim

    found = {}
    for meaning in ("fake", "real"):
        given = {"detector": "vit", "label_one": meaning, "experiment": meaning, "frames_per_video": 5}
        params = with_overrides(given, {})
        assert params.face_size == SIZE and params.split_policy == "identity"
        detector = Detector.load(claim(params, "preprocess", "evaluate").run_folder / "detector")
        assert detector.face_settings.frames_per_video == 5
        found[meaning] = float(logits(detector, clip_tensor(detector, clip))[0][0])
    assert found["fake"] == pytest.approx(-found["real"]) and "label_one" not in read_json(
        tmp_path / "vit" / "config.json"
    )


VIT = {"model_type": "vit", "architectures": ["ViTForImageClassification"], "id2label": {"0": "real", "1": "fake"}}
GEND = {"model_type": "GenD", "backbone": "openai/clip-vit-large-patch14", "head": "LinearNorm"}


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({**VIT, "auto_map": {"AutoModel": "x.Y"}}, "code that comes with the weights (auto_map), which is not run"),
        ({**VIT, "id2label": {"0": "good", "1": "bad"}}, "calls its classes good and bad.*set what 1 means"),
        ({**VIT, "id2label": {"0": "real", "1": "fake", "2": "x"}}, "tells 3 classes apart (real, fake, x), not two"),
        (VIT, "preprocessor_config.json is missing: it says how pictures are scaled and normalised"),
        ({**VIT, "architectures": ["BertModel"]}, "another library's model (BertModel), and no detector"),
        ({**GEND, "backbone": "openai/other"}, "the image encoder openai/other, which is none of openai/clip"),
        ({**GEND, "head": "mlp"}, "the head mlp, which is neither linear nor LinearNorm"),
        (GEND, "lack model.linear.weight: they are of another detector than its config.json"),
    ],
)
def test_what_cannot_be_read_ends_in_a_sentence(tmp_path, config, sentence):
    write_json(config, tmp_path / "config.json")
    save_file({"other": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=re.escape(sentence).replace(r"\.\*", ".*")):
        Detector.load(tmp_path)


def test_weights_of_another_architecture(transformers, tmp_path):
    write_classifier(transformers, tmp_path / "vit", {0: "real", 1: "fake"})
    config = json.loads((tmp_path / "vit" / "config.json").read_text())
    write_json({**config, "num_hidden_layers": 3}, tmp_path / "vit" / "config.json")
    with pytest.raises(InputError, match="is of another architecture"):
        Detector.load(tmp_path / "vit")


def test_without_the_extra_one_sentence_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    write_json(VIT, tmp_path / "config.json")
    pictures = {"size": 32, "image_mean": COLOURS["mean"], "image_std": COLOURS["std"]}
    write_json(pictures, tmp_path / foreign.PREPROCESSOR)
    save_file({"other": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r'pip install "dfutils\[transformers\]"'):
        Detector.load(tmp_path)
