"""Detectors of other libraries as detectors of this suite: image classifiers of transformers, and GenD.

Each becomes a backbone, the mean over frames, and the last layer, so that a clip's logits are the mean of its frames'.
Their networks are built by transformers or timm from a configuration, their weights read as safetensors: no code that
comes with a detector runs, and nothing else is downloaded.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from dfutils.core import foreign
from dfutils.core.errors import InputError
from dfutils.core.files import read_json
from dfutils.core.params import NetworkSettings
from dfutils.detector.backbones import IMAGENET, TRANSFORMERS, fill, first_line, read_weights
from dfutils.metrics.calibration import WRITTEN

_Detector = TypeVar("_Detector", bound=nn.Module)

_CLIP_COLOURS = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]}

TOWERS: dict[str, dict[str, Any]] = {
    "openai/clip-vit-large-patch14": {
        "model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
        "num_attention_heads": 16, "patch_size": 14, "image_size": 224, "projection_dim": 768, **_CLIP_COLOURS,
    },
    "openai/clip-vit-base-patch16": {
        "model_type": "clip_vision_model", "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
        "num_attention_heads": 12, "patch_size": 16, "image_size": 224, "projection_dim": 512, **_CLIP_COLOURS,
    },
    "facebook/dinov3-vitl16-pretrain-lvd1689m": {
        "model_type": "dinov3_vit", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
        "num_attention_heads": 16, "patch_size": 16, "image_size": 224, "num_register_tokens": 4, **IMAGENET,
    },
    "vit_pe_core_large_patch14_336": {
        "model_type": "timm", "image_size": 224, "patch_size": 14, "mean": [0.5] * 3, "std": [0.5] * 3,
    },
}  # fmt: skip
"""Image encoders of published GenD detectors, by the name in their config.json."""


def is_foreign(folder: Path) -> bool:
    """Return whether a folder holds a detector of another library.

    Raises:
        InputError: as `foreign.kind`.
    """
    try:
        config = read_json(Path(folder) / "config.json")
    except InputError:  # missing or broken, which is said of any detector
        return False
    return isinstance(config, dict) and bool(foreign.kind(folder, config))


def load(folder: Path, kind: type[_Detector]) -> _Detector:
    """Return the detector of another library in a folder, in evaluation mode.

    `kind` is the class of detectors. The `config` says `uncalibrated` until notebook 04 has chosen calibration and
    threshold.

    Raises:
        InputError: if transformers is not installed, it is none that can be read, its labels do not say which is fake,
            or the weights are missing, broken or of another architecture.
    """
    config, weights = read_json(folder / "config.json"), read_weights(folder / "model.safetensors")
    found = foreign.kind(folder, config)
    tower, head, weights = (_gend if found == foreign.GEND else _classifier)(folder, config, weights)
    name = TRANSFORMERS + json.dumps(tower, sort_keys=True)
    settings = {"backbone": name, "temporal": "mean", "dropout": 0.0}
    detector = kind(NetworkSettings(pretrained="none").model_copy(update=settings))
    detector.backbone.take(weights, f"The detector in {folder}")
    fill(detector.linear, {"weight": head[0].float(), "bias": head[1].float()}, f"The last layer of {folder}")
    known = foreign.faces(folder, config)
    detector.config["free"] = [name for name in ("frames_per_video", "face_margin", "align") if name not in known]
    detector.config |= known | {name: config[name] for name in WRITTEN if name in config}
    detector.config["uncalibrated"] = not config.get("validation_reals")  # [] without validation videos
    return detector.eval()


def _gend(
    folder: Path, config: Mapping[str, Any], weights: dict[str, torch.Tensor]
) -> tuple[dict[str, Any], list[torch.Tensor], dict[str, torch.Tensor]]:
    """Return the configuration of GenD's tower, weight and bias of its last layer, and the tower's weights."""
    name, head = config.get("backbone"), config.get("head", "linear")
    if name not in TOWERS:
        raise InputError(f"{folder} has the image encoder {name}, which is none of {', '.join(TOWERS)}.")
    if head not in ("linear", "LinearNorm"):
        raise InputError(f"{folder} has the head {head}, which is neither linear nor LinearNorm.")
    tower = {**TOWERS[name], "unit_length": head == "LinearNorm"}
    if "timm" in tower["model_type"]:
        tower["name"] = name
    inner = {key.removeprefix("feature_extractor."): value for key, value in weights.items()}
    inner = {key: value for key, value in inner.items() if not key.startswith(("model.linear.", "visual_projection."))}
    inner = {key.removeprefix("vision_model.").removeprefix("backbone."): value for key, value in inner.items()}
    return tower, [_named(weights, f"model.linear.{part}", folder) for part in ("weight", "bias")], inner


def _classifier(
    folder: Path, config: Mapping[str, Any], weights: dict[str, torch.Tensor]
) -> tuple[dict[str, Any], list[torch.Tensor], dict[str, torch.Tensor]]:
    """Return the same of an image classifier, its two classes in the order of the suite."""
    fake, given = foreign.fake_class(folder, config), foreign.pictures(folder)
    left_out = (
        "label_one",
        "faces",
        "id2label",
        "label2id",
        "dtype",
        "torch_dtype",
        "transformers_version",
        "auto_map",
    )
    tower = {name: value for name, value in config.items() if name not in left_out}
    tower |= {"mean": given["mean"], "std": given["std"], "image_size": given["size"]}
    name = Tower(tower).head
    head = [_named(weights, f"{name}.{part}", folder) for part in ("weight", "bias")]
    rest = {key: value for key, value in weights.items() if not key.startswith(f"{name}.")}
    return tower, [part[[1 - fake, fake]] for part in head], rest


def _named(weights: Mapping[str, torch.Tensor], name: str, folder: Path) -> torch.Tensor:
    if name not in weights:
        raise InputError(f"The weights in {folder} lack {name}: they are of another detector than its config.json.")
    return weights[name]


class Tower(nn.Module):
    """An image encoder: from normalised pictures `(N, 3, S, S)` to features `(N, F)`.

    `width` is F; `grid_size` are rows and columns of the patches, and `num_prefix_tokens` the tokens before them, for
    Grad-CAM; `head` is the name of the last layer that was taken off, "" if there was none.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Build an encoder with random weights.

        Args:
            config: as transformers has it, and besides `mean`, `std`, and `unit_length` for features of length 1.

        Raises:
            InputError: if transformers is not installed, or does not know the network.
        """
        super().__init__()
        self.unit_length, self.head = bool(config.get("unit_length")), ""
        own = ("mean", "std", "unit_length", "name")
        given = {name: value for name, value in config.items() if name not in own}
        side, patch = config.get("image_size"), config.get("patch_size")
        self.grid_size = (side // patch,) * 2 if isinstance(side, int) and isinstance(patch, int) else (0, 0)
        self.num_prefix_tokens = 1 + config.get("num_register_tokens", 0)
        if given["model_type"] == "timm":
            import timm

            self.model = timm.create_model(config["name"], num_classes=0, dynamic_img_size=True)
            self.num_prefix_tokens = self.model.num_prefix_tokens
            self.width = self.model.num_features
            return
        library = transformers()
        try:
            settings = library.AutoConfig.for_model(**given)
            kinds = given.get("architectures")
            maker = library.AutoModelForImageClassification if kinds else library.AutoModel
            self.model = maker.from_config(settings)
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"transformers cannot build {given['model_type']} ({first_line(error)}).") from None
        self.width = settings.hidden_size if not kinds else self._take_off_head()

    def _take_off_head(self) -> int:
        """Replace the last layer, which tells two classes apart, by none; return the number of its inputs."""
        name, layer = [item for item in self.model.named_modules() if isinstance(item[1], nn.Linear)][-1]
        if layer.out_features != 2:
            raise InputError(f"The network ends in {layer.out_features} classes, not two.")
        parent, _, attribute = name.rpartition(".")
        setattr(self.model.get_submodule(parent), attribute, nn.Identity())
        self.head = name
        return layer.in_features

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return features `(N, F)`."""
        found = self.model(pictures)
        if not isinstance(found, torch.Tensor):
            if self.head:
                found = found.logits
            else:
                clip = self.model.config.model_type.startswith("clip")
                found = found.pooler_output if clip else found.last_hidden_state[:, 0]
        return nn.functional.normalize(found, dim=1) if self.unit_length else found

    def take(self, weights: Mapping[str, torch.Tensor], what: str) -> None:
        """Load weights under the names of any version of transformers.

        Raises:
            InputError: if they are of another architecture; the message begins with `what`.
        """
        exact = {name: weight.float() if weight.is_floating_point() else weight for name, weight in weights.items()}
        if not hasattr(self.model, "config") or not hasattr(type(self.model), "from_pretrained"):
            fill(self.model, exact, what)
            return
        whole = type(self.model)
        try:
            loaded, info = whole.from_pretrained(
                None, config=self.model.config, state_dict=exact, output_loading_info=True
            )
        except (RuntimeError, ValueError) as error:
            raise InputError(f"{what} is of another architecture: {first_line(error)}.") from None
        missing = sorted(name for name in info["missing_keys"] if not self.head or not name.startswith(f"{self.head}."))
        if missing or info["unexpected_keys"]:
            wrong = [*missing, *sorted(info["unexpected_keys"])]
            raise InputError(f"{what} is of another architecture: see {', '.join(wrong[:3])}.")
        known = {name: weight for name, weight in loaded.state_dict().items() if name in self.model.state_dict()}
        fill(self.model, known, what)


def transformers() -> Any:
    """Return the library transformers, which says nothing but errors.

    Raises:
        InputError: if it is not installed.
    """
    try:
        import transformers as library
    except ImportError:
        raise InputError(
            'This detector needs the library transformers: install it with `pip install "dfutils[transformers]"`, in a '
            'checkout `pip install -e ".[transformers]"`.'
        ) from None
    logging.getLogger("transformers").setLevel(logging.ERROR)
    library.utils.logging.disable_progress_bar()
    return library


def build(name: str) -> tuple[Tower, int] | None:
    """Return the encoder whose configuration stands after `TRANSFORMERS` in a backbone's name, and its number of
    features; None for another name."""
    if not name.startswith(TRANSFORMERS):
        return None
    tower = Tower(json.loads(name.removeprefix(TRANSFORMERS)))
    return tower, tower.width
