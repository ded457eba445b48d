"""The detector: a convolutional network sees each face, an LSTM reads them in the order of time.

Frames → backbone → global average pool → LSTM (batch first, with biases) → its outputs averaged over time → dropout →
linear → logits of real and fake. Because the last layer is linear, a clip's logits are the mean of its frames' logits,
which is what reports show frame by frame. A detector is kept as a folder with its weights (safetensors) and a JSON of
all that is needed to use it on a new video. A detector of several views (`dfutils.faces.views`) is one such network a
view, whose logits are added (`dfutils.detector.fusion`). Weights of the widely copied ResNeXt-50 + LSTM code can be
read, too.
"""

import copy
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from dfutils.core.errors import InputError
from dfutils.core.files import atomic, write_json
from dfutils.core.params import DEFAULTS, FaceSettings, NetworkSettings
from dfutils.detector import published
from dfutils.detector.backbones import (
    IMAGENET,
    fill,
    first_line,
    input_size,
    load_backbone,
    normalisation,
    read_weights,
)
from dfutils.detector.legacy_weights import translate
from dfutils.faces.views import VIEWS
from dfutils.metrics.calibration import Scaling, with_slope

FORMAT = 2
"""Of a detector's folder; raised when an older `load` could no longer read it. Detectors of one view have format 1."""

LABELS = ["real", "fake"]

_ARCHITECTURE = ("backbone", "hidden_size", "lstm_layers", "bidirectional", "dropout", "temporal")
"""Parameters that config.json keeps as the architecture."""

_GEOMETRY = ("frames_per_video", "face_size", "face_margin", "align")
"""Parameters of face strips that a detector accepts with one value only, the one it was trained on."""

_CONFIG: dict[str, Any] = {
    "normalisation": IMAGENET,
    "input_size": None,  # side of the pictures that the backbone takes; None: crops as they are
    **{name: getattr(DEFAULTS, name) for name in _GEOMETRY},
    "threshold": 0.5,
    "slope": 1.0,
    "offset": 0.0,
    "prior_fake": None,
    "training": {},
}
"""What a detector's config.json holds besides its architecture, until `save` is given other values."""


class Detector(nn.Module):
    """Backbone and LSTM; `config` holds everything in config.json but the architecture.

    `view` is what it is shown. `others` holds further networks by name, trained apart: they are no part of the module.
    """

    def __init__(self, settings: NetworkSettings) -> None:
        """Build a detector whose initial weights are a function of `seed` and `pretrained`.

        Args:
            settings: of the network. Here `temporal` may also be `lstm_by_frame`, an LSTM that sees each frame by
                itself (see `from_published`).

        Raises:
            InputError: if the backbone or its weights cannot be had, or `temporal` is another word.
        """
        super().__init__()
        if settings.temporal not in ("lstm", "mean", "lstm_by_frame"):
            raise InputError(f"temporal = {settings.temporal!r} is not possible: choose lstm or mean.")
        self.architecture = {name: getattr(settings, name) for name in _ARCHITECTURE}
        self.config = copy.deepcopy(_CONFIG)
        self.view, self.others = "face", dict[str, Detector]()
        self.frozen_backbone = False  # set by training for its first epochs
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            built = published.build(settings.backbone)
            network, width = built or load_backbone(settings.backbone, settings.first_weights)
            self.config["normalisation"] = normalisation(settings.backbone, settings.first_weights)
            self.config["input_size"] = input_size(settings.backbone)
            self.backbone = network.to(memory_format=torch.channels_last)
            if settings.temporal != "mean":
                self.lstm = nn.LSTM(
                    width,
                    settings.hidden_size,
                    num_layers=settings.lstm_layers,
                    batch_first=True,
                    bidirectional=settings.bidirectional,
                )
                width = settings.hidden_size * (2 if settings.bidirectional else 1)
            self.dropout = nn.Dropout(settings.dropout)
            self.linear = nn.Linear(width, len(LABELS))

    @property
    def networks(self) -> "dict[str, Detector]":
        """All networks by name; this one is `face`."""
        return {"face": self, **self.others}

    @property
    def face_settings(self) -> FaceSettings:
        """How faces are found for this detector: as for its training. What its file does not say is the default.

        Raises:
            InputError: if its file holds a value that is not possible.
        """
        known = {**self.config, **self.config.get("preprocessing", {})}
        known = {name: known[name] for name in FaceSettings.model_fields if name in known}
        shown = {part.view for part in self.networks.values()}
        return FaceSettings(**known | {"views": ",".join(view for view in VIEWS if view in shown)})

    @property
    def scaling(self) -> Scaling:
        """What turns this detector's logits into probabilities, everywhere."""
        return Scaling(**{name: self.config[name] for name in ("slope", "offset", "prior_fake")})

    def normalise(self, frames: torch.Tensor) -> torch.Tensor:
        """Return uint8 RGB `(…, 3, H, W)` as the float32 that `forward` takes."""
        scale = self.config["normalisation"]
        mean, std = (torch.tensor(scale[name], device=frames.device).view(3, 1, 1) for name in ("mean", "std"))
        return (frames.float() - 255 * mean) / (255 * std)

    def denormalise(self, frames: torch.Tensor) -> torch.Tensor:
        """Return what `normalise` was given, uint8 `(…, 3, H, W)`, so that it can be looked at."""
        scale = self.config["normalisation"]
        mean, std = (torch.tensor(scale[name], device=frames.device).view(3, 1, 1) for name in ("mean", "std"))
        return (255 * (frames * std + mean)).round().clamp(0, 255).to(torch.uint8)

    def features(self, frames: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Return the pooled features of each frame, `(B, T, F)`, from normalised `(B, T, 3, H, W)`.

        Frames are scaled to the `input_size` of `config`, if the backbone has one.
        Frames outside `mask` (bool `(B, T)`) are not computed, so that padding never enters batch normalisation; their
        features are 0.
        """
        images = frames.flatten(0, 1) if mask is None else frames[mask]
        side = self.config["input_size"]
        if side and images.shape[-1] != side:
            images = nn.functional.interpolate(images, (side, side), mode="bilinear", antialias=True)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen_backbone):
            found = self.backbone(images.contiguous(memory_format=torch.channels_last))
        if mask is None:
            return found.unflatten(0, frames.shape[:2])
        padded = found.new_zeros((*mask.shape, found.shape[-1]))
        padded[mask] = found
        return padded

    def states(self, features: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Return what the last layer sees of each frame, `(B, T, S)`: the LSTM's outputs, in time order."""
        temporal = self.architecture["temporal"]
        if temporal == "mean":
            return features
        if temporal == "lstm_by_frame":
            alone = features.flatten(0, 1).unsqueeze(1)
            return self.lstm(alone)[0].view(*features.shape[:2], -1)
        if mask is None:
            return self.lstm(features)[0]
        packed = pack_padded_sequence(features, mask.sum(1).cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=mask.shape[1])[0]

    def clip_and_frame_logits(
        self, frames: torch.Tensor, mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return `forward` and `frame_logits` of one pass."""
        count = frames.shape[-2] // frames.shape[-1]
        if count > 1:
            windows = frames.unflatten(-2, (count, -1)).movedim(-3, 0).flatten(0, 1)
            both = self.clip_and_frame_logits(windows, None if mask is None else mask.repeat(count, 1))
            return tuple(found.unflatten(0, (count, -1)).mean(0) for found in both)
        states = self.states(self.features(frames, mask), mask)
        clip = states.mean(1) if mask is None else (states * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
        return self.linear(self.dropout(clip)), self.linear(self.dropout(states))

    def forward(self, frames: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Return logits `(B, 2)` of real and fake.

        Args:
            frames: normalised float `(B, T, 3, H, W)`, in time order.
            mask: bool `(B, T)`, true where there is a frame; a clip's frames come first, and it has at least one.

        Frames that are several times as high as wide hold windows, one below the other; logits are the mean of theirs.
        """
        return self.clip_and_frame_logits(frames, mask)[0]

    def frame_logits(self, frames: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Return logits `(B, T, 2)` of each frame in its clip; in evaluation their mean over a clip is `forward`."""
        return self.clip_and_frame_logits(frames, mask)[1]

    def check_size(self, face_size: int) -> None:
        """Try the backbone on one picture.

        Raises:
            InputError: if it cannot take pictures of this size.
        """
        was_training, device = self.training, next(self.parameters()).device
        try:
            with torch.inference_mode():
                self.eval().features(torch.zeros(1, 1, 3, face_size, face_size, device=device))
        except (RuntimeError, AssertionError, ValueError) as error:
            raise InputError(
                f"{self.architecture['backbone']} cannot take crops of {face_size} pixels ({first_line(error)}); "
                "choose another face_size or backbone."
            ) from None
        finally:
            self.train(was_training)

    def check_geometry(self, settings: Mapping[str, Any]) -> None:
        """Make sure that strips were made as those were that this detector was trained on.

        Args:
            settings: of the preprocessing; of those that `config` has, too, each is compared.

        Raises:
            InputError: naming each that differs, such as the frames of a video.
        """
        differing = [
            f"{name} {self.config[name]!r}, not {settings[name]!r}"
            for name in _GEOMETRY
            if name in settings and self.config[name] != settings[name] and name not in self.config.get("free", ())
        ]
        if differing:
            raise InputError(
                f"This detector was trained on other faces ({'; '.join(differing)}): preprocess with its values, or "
                "train again."
            )

    def digest(self) -> str:
        """Return 16 hexadecimal digits that name the weights, equal on every device."""
        return weights_digest(self.weights())

    def weights(self) -> dict[str, torch.Tensor]:
        """Return the weights of all networks; the names of another network's begin with its own and a dot."""
        named = dict(self.state_dict())
        for name, part in self.others.items():
            named |= {f"{name}.{key}": weight for key, weight in part.state_dict().items()}
        return named

    def save(self, folder: str | Path, **facts: Any) -> None:
        """Write the detector as a folder, whole or not at all: `model.safetensors` and `config.json`.

        Args:
            folder: replaced if it exists.
            **facts: plain values, remembered in `self.config`: `face_size`, `face_margin`, `align`, `frames_per_video`,
                `threshold`, `slope`, `offset`, `prior_fake` (see `Scaling`), `training` (how it was made), and whatever
                else using it needs.
        """
        self.config.update(_plain(facts))
        self.config["weights"] = self.digest()
        version = FORMAT if self.others else 1
        config = {"format": version, "architecture": self.architecture, "labels": LABELS, **self.config}
        with atomic(Path(folder)) as temporary:
            temporary.mkdir()
            weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.weights().items()}
            save_file(weights, temporary / "model.safetensors", metadata={"format": "pt"})
            write_json(config, temporary / "config.json")

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Return the detector of a folder that `save` wrote, or of another library (`published`), in evaluation mode.

        Raises:
            InputError: if a file is missing or cut, the weights are of another architecture or not those that
                config.json (with the calibration) was written for, the labels are in another order, or a newer version
                of the suite wrote it.
        """
        folder = Path(folder)
        if published.is_foreign(folder):
            return published.load(folder, cls)
        config = _read_config(folder)
        random = NetworkSettings(pretrained="none")
        detector = cls(random.model_copy(update=config["architecture"]))
        detector.config["normalisation"] = config.get("normalisation", IMAGENET)
        given = read_weights(folder / "model.safetensors")
        for name, facts in config.get("fusion", {}).items():
            if name == "face":
                continue
            own = {key: given.pop(key) for key in list(given) if key.startswith(f"{name}.")}
            detector.others[name] = part = cls(random.model_copy(update=(config | facts)["architecture"])).eval()
            part.view, part.config["normalisation"] = facts.get("view", name), detector.config["normalisation"]
            fill(part, {key[len(name) + 1 :]: own[key] for key in own}, f"The network {name} in {folder}")
        fill(detector, given, f"The detector in {folder}")
        known = {key: config[key] for key in config if key not in ("format", "architecture", "labels")}
        detector.config.update(with_slope(known))
        if detector.config.get("weights") not in (None, detector.digest()):  # earlier versions did not record it
            raise InputError(
                f"The weights in {folder} are not those that its config.json was written and calibrated for: run "
                "notebooks 03 and 04 again, or fetch the detector again."
            )
        return detector.eval()

    @classmethod
    def from_published(cls, path: str | Path, recurrence: str = "served") -> Self:
        """Return a detector with weights of the widely copied ResNeXt-50 + LSTM code, in evaluation mode.

        That code runs ResNeXt-50's layers as `model.0 … model.7`, an LSTM of 2048 units without biases, the mean over
        time, and `linear1`, whose class 0 is fake and 1 real; here the logits come in the suite's order. Its LSTM was
        built without `batch_first`, so that in training it ran over the clips of a batch. Calibration, threshold and
        crop geometry are not in such files: `config` keeps the suite's defaults.

        Args:
            path: a state dict (`.pt`, `.pth` or `.safetensors`). Pickled code is never run.
            recurrence: `served`, over the frames of a clip, as the services do that use such weights; or `trained`,
                each frame by itself, which is what the original computes for a batch of one clip.

        Raises:
            InputError: if the file cannot be read, holds code, or is of another architecture.
        """
        if recurrence not in ("served", "trained"):
            raise InputError(f"recurrence = {recurrence!r} is not possible: choose served or trained.")
        weights, hidden_size = translate(read_weights(path))
        temporal = "lstm" if recurrence == "served" else "lstm_by_frame"
        # What that code has always built: facts of its files, whatever the defaults are.
        known = {"backbone": "resnext50_32x4d", "lstm_layers": 1, "bidirectional": False, "dropout": 0.4}
        built = {**known, "hidden_size": hidden_size, "temporal": temporal}
        detector = cls(NetworkSettings(pretrained="none").model_copy(update=built))
        fill(detector, weights, f"{path} (as published weights of ResNeXt-50 + LSTM)")
        return detector.eval()


def weights_digest(weights: Mapping[str, torch.Tensor]) -> str:
    """Return 16 hexadecimal digits that name weights, as `Detector.digest` does once they are loaded."""
    found = hashlib.sha256()
    for name, weight in sorted(weights.items()):
        exact = weight.float() if weight.is_floating_point() else weight
        found.update(name.encode() + exact.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def clip_tensor(detector: Detector, frames: np.ndarray) -> torch.Tensor:
    """Return the crops of one clip, uint8 RGB `(T, S, S, 3)`, as `score` takes them: `(1, T, 3, S, S)`."""
    device = next(detector.parameters()).device
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).unsqueeze(0).to(device)


def logits(detector: Detector, frames: torch.Tensor, mask: torch.Tensor | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the logits of fake less those of real, in float32 arithmetic: float64 `(B,)` of clips, `(B, T)` of frames.

    Args:
        detector: in evaluation mode.
        frames: uint8 RGB `(B, T, 3, S, S)` on the detector's device.
        mask: as in `Detector.forward`.
    """
    exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    with torch.inference_mode(), torch.autocast(frames.device.type, enabled=False), exact:
        mask = None if mask is None else mask.to(frames.device)
        logits = detector.clip_and_frame_logits(detector.normalise(frames), mask)
    clip, frame = (found.double().cpu().numpy() for found in logits)
    return clip[..., 1] - clip[..., 0], frame[..., 1] - frame[..., 0]


def _read_config(folder: Path) -> dict[str, Any]:
    """Return a detector's config.json after checking that this version can use it."""
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} is no detector: it has no config.json; notebook 03 makes one, with its weights.")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        version, labels, found = int(config["format"]), config["labels"], set(config["architecture"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise InputError(
            f"{folder / 'config.json'} is cut short or broken; train or fetch the detector again."
        ) from None
    if version > FORMAT:
        raise InputError(
            f"{folder} was written by a newer dfutils (format {version}; this one reads {FORMAT}): update it."
        )
    if labels != LABELS:
        raise InputError(
            f"{folder} has the labels {labels} where the suite has {LABELS}: its answers would be reversed."
        )
    if found != set(_ARCHITECTURE):
        wrong = ", ".join(sorted(found ^ set(_ARCHITECTURE)))
        raise InputError(f"{folder / 'config.json'} does not describe a known architecture (see {wrong}).")
    return config


def _plain(value: Any) -> Any:
    """Turn numpy's numbers into Python's and undefined ones into None, as JSON wants them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value
