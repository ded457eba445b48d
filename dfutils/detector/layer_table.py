"""The network as a table: what each layer is, what it gives, and how many weights it learns."""

from collections import Counter
from collections.abc import Callable

import pandas as pd
import torch
from torch import nn

from dfutils.detector.network import Detector


def table(detector: Detector, face_size: int, frames_per_video: int) -> pd.DataFrame:
    """Return a row a stage of the network, in the order in which a clip goes through it.

    The backbone's stages are its direct parts that have weights, or those of its one large part. Columns: `layer` (its
    name in the code), `what`, `output` (shape for one clip: frames, then what a frame has become) and `parameters`.

    Raises:
        InputError: if the backbone cannot take crops of this size.
    """
    detector.check_size(face_size)
    rows, device = [], next(detector.parameters()).device
    hooks = [part.register_forward_hook(_row(rows, name, part)) for name, part in _parts(detector)]
    was_training = detector.training
    try:
        with torch.inference_mode():
            detector.eval()(torch.zeros(1, frames_per_video, 3, face_size, face_size, device=device))
    finally:
        detector.train(was_training)
        for hook in hooks:
            hook.remove()
    found = pd.DataFrame(rows, columns=["layer", "what", "output", "parameters"])
    return found.drop_duplicates("layer")  # the last layers are asked for the clip and for each of its frames


def _parts(detector: Detector) -> list[tuple[str, nn.Module]]:
    """Return names and modules of the stages."""
    inside = [("backbone", detector.backbone)]
    while len(inside) == 1 or max(map(_count, (part for _, part in inside))) > 0.9 * _count(detector.backbone):
        name, largest = max(inside, key=lambda item: _count(item[1]))
        children = [(f"{name}.{child}", part) for child, part in largest.named_children()]
        if not children or not (isinstance(largest, nn.Sequential) or largest is detector.backbone):
            break
        place = next(index for index, item in enumerate(inside) if item[0] == name)
        inside[place : place + 1] = [(child, part) for child, part in children if _count(part)]
    after = [(name, getattr(detector, name)) for name in ("lstm", "dropout", "linear") if hasattr(detector, name)]
    return inside + after


def _count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def _row(rows: list[tuple[str, str, str, int]], name: str, part: nn.Module) -> Callable[..., None]:
    def hook(_: nn.Module, __: tuple[torch.Tensor, ...], output: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
        given = output[0] if isinstance(output, tuple) else output
        # The backbone sees frames without their clip, the layers after it one clip.
        shape = " × ".join(map(str, given.shape[1:] if isinstance(part, nn.LSTM) else given.shape))
        rows.append((name, _what(part), shape, _count(part)))

    return hook


def _what(part: nn.Module) -> str:
    """Say what a module is: its kind, or how many of which kind it holds."""
    if isinstance(part, nn.Sequential):
        kinds = Counter(type(child).__name__ for child in part)
        return ", ".join(f"{count} × {kind}" if count > 1 else kind for kind, count in kinds.items())
    if isinstance(part, nn.Conv2d):
        return f"convolution {part.kernel_size[0]} × {part.kernel_size[1]}, stride {part.stride[0]}"
    if isinstance(part, nn.Linear):
        return "linear: real, fake" if part.out_features == 2 else "linear"
    if isinstance(part, nn.LSTM):
        return f"LSTM, {part.num_layers} layer{'s' * (part.num_layers > 1)}{', both ways' * part.bidirectional}"
    return f"{type(part).__name__}({part.p})" if isinstance(part, nn.Dropout) else type(part).__name__
