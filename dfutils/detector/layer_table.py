"""The stages of a detector's network as a table: layer, kind, shape of the output, and number of parameters.

torchinfo (last release in 2023) has one row per module, hundreds for these backbones, and shapes of a whole batch.
"""

import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dfutils.detector.network import Detector


def table(detector: Detector, face_size: int, frames_per_video: int) -> pd.DataFrame:
    """Return one row per stage of the network, in the order of the forward pass.

    The stages of the backbone are its child modules that have weights; a child with more than 0.9 of the weights is
    replaced by its own children. Columns: `layer` (name of the module), `what` (kind of module), `output` (shape for
    one clip, the frames first) and `parameters` (number of weights).

    Raises:
        InputError: if crops of this size are too small for the backbone.
    """
    detector.check_size(face_size)
    rows, device = [], next(detector.parameters()).device
    hooks = [stage.register_forward_hook(_row_hook(rows, name, stage)) for name, stage in _stages(detector)]
    was_training = detector.training
    try:
        with torch.inference_mode():
            detector.eval()(torch.zeros(1, frames_per_video, 3, face_size, face_size, device=device))
    finally:
        detector.train(was_training)
        for hook in hooks:
            hook.remove()
    # The layers after the backbone are called twice, for the clip and for each of its frames.
    return pd.DataFrame(rows, columns=["layer", "what", "output", "parameters"]).drop_duplicates("layer")


class Cost(NamedTuple):
    """What scoring one clip takes: multiply-adds of the matrix products, and clips a second where it was measured."""

    multiply_adds: int
    clips_per_s: float


def cost(detector: Detector, face_size: int, frames_per_video: int, passes: int = 3) -> Cost:
    """Return what a clip takes in evaluation on the detector's device; the speed is the median of `passes` passes, one
    clip each, after a first one that is not counted."""
    was_training, device = detector.training, next(detector.parameters()).device
    frames = torch.zeros(1, frames_per_video, 3, face_size, face_size, device=device)
    seconds = []
    try:
        detector.eval()
        with torch.enable_grad(), FlopCounterMode(display=False) as counter:  # without gradients it fails in CaiT
            features = detector.features(frames)
        # PyTorch does not count inside an LSTM: each weight of a matrix is used once a frame.
        rest = [weight for part in detector.children() if part is not detector.backbone for weight in part.parameters()]
        matrices = sum(weight.numel() for weight in rest if weight.ndim > 1)
        for _ in range(passes):
            started = time.perf_counter()
            with torch.inference_mode():
                detector(frames).cpu()  # waits for a GPU
            seconds.append(time.perf_counter() - started)
    finally:
        detector.train(was_training)
    return Cost(counter.get_total_flops() // 2 + matrices * features.shape[1], 1 / float(np.median(seconds)))


def _stages(detector: Detector) -> list[tuple[str, nn.Module]]:
    """Return names and modules of the stages."""
    stages = [("backbone", detector.backbone)]
    while len(stages) == 1 or max(_count(module) for _, module in stages) > 0.9 * _count(detector.backbone):
        position = max(range(len(stages)), key=lambda k: _count(stages[k][1]))
        name, largest = stages[position]
        children = [(f"{name}.{child}", module) for child, module in largest.named_children()]
        if not children or not (isinstance(largest, nn.Sequential) or largest is detector.backbone):
            break
        stages[position : position + 1] = [(child, module) for child, module in children if _count(module)]
    layers = [(name, getattr(detector, name)) for name in ("lstm", "dropout", "linear") if hasattr(detector, name)]
    return stages + layers


def _count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def _row_hook(rows: list[tuple[str, str, str, int]], name: str, module: nn.Module) -> Callable[..., None]:
    """Return a forward hook that appends the module's row of the table to `rows`."""

    def hook(_: nn.Module, __: tuple[torch.Tensor, ...], output: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
        tensor = output[0] if isinstance(output, tuple) else output
        # The backbone's first dimension is the clip's frames; the LSTM's is the batch of one clip.
        shape = " × ".join(map(str, tensor.shape[1:] if isinstance(module, nn.LSTM) else tensor.shape))
        rows.append((name, _kind(module), shape, _count(module)))

    return hook


def _kind(module: nn.Module) -> str:
    """Return the kind of a module in words; for a sequence, the kinds of its children and their number."""
    if isinstance(module, nn.Sequential):
        kinds = Counter(type(child).__name__ for child in module)
        return ", ".join(f"{count} × {kind}" if count > 1 else kind for kind, count in kinds.items())
    if isinstance(module, nn.Conv2d):
        return f"convolution {module.kernel_size[0]} × {module.kernel_size[1]}, stride {module.stride[0]}"
    if isinstance(module, nn.Linear):
        return "linear: real, fake" if module.out_features == 2 else "linear"
    if isinstance(module, nn.LSTM):
        return (
            f"LSTM, {module.num_layers} layer{'s' * (module.num_layers > 1)}{', bidirectional' * module.bidirectional}"
        )
    return f"{type(module).__name__}({module.p})" if isinstance(module, nn.Dropout) else type(module).__name__
