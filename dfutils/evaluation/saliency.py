"""Where the evidence lies: in which parts of a face, and in which frames.

Grad-CAM (Selvaraju et al., ICCV 2017) marks the regions of each crop that raise the score; it is made with hooks of
torch, as the package `grad-cam` needs the OpenCV with windows, which replaces the headless one that the suite uses.
A map can look convincing and say nothing of the network: Adebayo et al. (NeurIPS 2018) compare it with the map of
random weights, and so does this module. Leaving out one frame after another tells which of them carried the verdict.
Where it is known what was forged, as in the built-in sample, the share of a map that falls there can be counted.
"""

import copy
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from scipy.special import stdtrit
from scipy.stats import spearmanr
from torch import nn
from torchvision.models import VisionTransformer

from dfutils.core.errors import InputError
from dfutils.core.params import DEFAULTS, FaceSettings, NetworkSettings
from dfutils.detector.network import Detector, clip_tensor
from dfutils.faces import detection, views
from dfutils.faces.extraction import FaceClip
from dfutils.forgery.dataset import load_masks
from dfutils.metrics.figures import LEAST_GROUPS

LEAST_CELLS = 4
"""Cells that a map must have to a side: below, it cannot tell a mouth from an eye."""


def gradcam(detector: Detector, frames: np.ndarray) -> np.ndarray:
    """Return the regions of each frame that raise the score: float32 `(T, S, S)`, 0 to 1, 1 the strongest of the clip.

    The gradient is that of the clip's logit of fake less that of real, through the LSTM. The layer is the last one of
    the backbone whose map has `LEAST_CELLS` cells to a side or more (layer4 of a ResNeXt for crops of 112 pixels,
    layer3 for 64) and which the score depends on everywhere: in a vision transformer that reads its class token alone,
    the last block but one. All zero where nothing raises the score.

    The detector is in evaluation mode; `frames` are crops in time order, uint8 RGB `(T, S, S, 3)`, or the windows of
    native ones, `(T, 5 * S, S, 3)`, as is then the result.

    Raises:
        InputError: if the backbone has no such layer, or what its last layers return is no map of the picture.
    """
    clip, kept = clip_tensor(detector, frames), []
    hooks = [
        layer.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
        for layer in _trunk(detector.backbone, sum(weight.numel() for weight in detector.backbone.parameters()))
    ]
    try:
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):  # cuDNN's LSTM has no gradient here
            logits = detector(detector.normalise(clip).requires_grad_())
            features, gradient = _last_map(detector, kept, logits[0, 1] - logits[0, 0])
    finally:
        for hook in hooks:
            hook.remove()
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    coarse = (weights * features).sum(dim=1).relu().detach().float().cpu().numpy()
    side = frames.shape[2]
    maps = np.stack([cv2.resize(part, (side, side), interpolation=cv2.INTER_LINEAR) for part in coarse])
    maps = np.concatenate(np.split(maps, len(maps) // len(frames)), axis=1)  # windows below each other, as in `frames`
    return maps / maps.max() if maps.max() > 0 else maps


def gradcam_of_view(detector: Detector, clip: FaceClip, name: str) -> np.ndarray:
    """Return `gradcam` of one network, laid over the face crops of a clip: float32 `(T, S, S)`, 0 to 1.

    Raises:
        InputError: as `gradcam`.
    """
    network = detector.networks[name]
    if network.view == "face":
        return gradcam(network, clip.frames)
    crops = clip.views[network.view]
    maps = gradcam(network, views.as_judged(network.view, crops))
    side = views.crop_side(clip.boxes)
    covered = float(side)  # source pixels that a map is wide
    if network.view == "native":
        parts, maps = maps, np.zeros(crops.shape[:3], np.float32)
        for k, (x, y) in enumerate(views.window_corners(crops.shape[1])):
            place = np.s_[:, y : y + views.WINDOW, x : x + views.WINDOW]
            maps[place] = np.maximum(maps[place], parts[:, k * views.WINDOW : (k + 1) * views.WINDOW])
    else:
        covered = views.MOTION * max(side / views.LARGEST, 1.0)
    size, margin = clip.frames.shape[1], detector.face_settings.face_margin
    laid = []
    for part, box in zip(maps, clip.boxes, strict=True):
        scale = max(box[2:]) * (1 + 2 * margin) / size * part.shape[0] / covered
        shift = (part.shape[0] - 1) / 2 - scale * (size - 1) / 2
        matrix = np.array([[scale, 0, shift], [0, scale, shift]])
        laid.append(cv2.warpAffine(part, matrix, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP))
    return np.stack(laid)


def _trunk(module: nn.Module, weights: int) -> Iterator[nn.Module]:
    """Yield the layers that pass a picture on from one to the next: children, and children of sequences and of what
    holds nearly all of the `weights`."""
    for child in module.children():
        inner = sum(weight.numel() for weight in child.parameters())
        if isinstance(child, nn.Sequential | nn.ModuleList) or inner > 0.9 * weights:
            yield from _trunk(child, weights)
        yield child


def _last_map(detector: Detector, kept: Sequence[Any], score: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the last map, `(T, C, H, W)`, of what the layers returned, in order, and the gradient of the score there.

    Raises:
        InputError: as `gradcam`.
    """
    name, found = detector.architecture["backbone"], []
    for output in reversed(kept):
        tensor = output[0] if isinstance(output, tuple) and output else output
        if not isinstance(tensor, torch.Tensor) or tensor.ndim < 3 or (tensor.ndim == 3 and tensor.shape[1] == 1):
            continue  # features of a whole picture
        as_map = _as_map(detector.backbone, tensor)
        if as_map is None:
            raise InputError(f"Grad-CAM can show nothing of {name}: its last layers return no map of the picture.")
        if as_map(tensor).shape[2] < LEAST_CELLS:
            continue
        (gradient,) = torch.autograd.grad(score, tensor, retain_graph=True, allow_unused=True)
        if gradient is not None:
            found.append((as_map(tensor), as_map(gradient)))
            if found[-1][1].any():
                return found[-1]
    if found:  # the score depends on nothing
        return found[0]
    raise InputError(
        f"{name} has no map of {LEAST_CELLS} cells to a side for crops of this size, so Grad-CAM can show nothing."
    )


def _grid(backbone: nn.Module) -> tuple[int, int]:
    """Return rows and columns of a vision transformer's patches, in whose order its tokens are; (0, 0) if unknown."""
    if isinstance(backbone, VisionTransformer):
        return (backbone.image_size // backbone.patch_size,) * 2
    return getattr(getattr(backbone, "patch_embed", backbone), "grid_size", None) or (0, 0)


def _as_map(backbone: nn.Module, output: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """Return what turns a layer's output, and its gradient, into maps `(T, C, H, W)`; None if it is none.

    Crops are square: where the two last dimensions are equal, channels come first; where the two before the last are,
    as in a Swin transformer, they come last. Tokens of a vision transformer are those of its patches, row by row, after
    at most `num_prefix_tokens` others.
    """
    if output.ndim == 4 and output.shape[2] == output.shape[3]:
        return lambda tensor: tensor
    if output.ndim == 4 and output.shape[1] == output.shape[2]:
        return lambda tensor: tensor.permute(0, 3, 1, 2)
    rows, columns = _grid(backbone)
    before = output.shape[1] - rows * columns
    most = getattr(backbone, "num_prefix_tokens", 1)
    if output.ndim == 3 and rows and before in (0, most):
        return lambda tensor: tensor[:, before:].transpose(1, 2).unflatten(2, (rows, columns))
    return None


def randomised(detector: Detector, seed: int = 0) -> Detector:
    """Return a detector of the same architecture with random weights, for the sanity check."""
    other = Detector(NetworkSettings(pretrained="none", seed=seed).model_copy(update=detector.architecture))
    other.config = copy.deepcopy(detector.config)
    return other.to(next(detector.parameters()).device).eval()


def likeness(maps: np.ndarray, others: np.ndarray) -> float:
    """Return Spearman's rank correlation of two clips' maps, -1 to 1; NaN where one of them is flat."""
    if np.ptp(maps) == 0 or np.ptp(others) == 0:
        return float("nan")
    return float(spearmanr(maps.ravel(), others.ravel()).statistic)


def leave_one_out(detector: Detector, frames: np.ndarray) -> np.ndarray:
    """Return what each frame adds to the clip's logit of fake less that of real, float `(T,)`; NaN for a single frame.

    It is the logit of the whole clip less that of the clip without the frame; a positive value means that the frame
    raises the score. Frames with the same content share the credit: leaving out one of them changes little.
    """
    if len(frames) < 2:
        return np.full(len(frames), np.nan)
    with torch.inference_mode():
        features = detector.features(detector.normalise(clip_tensor(detector, frames)))
        everything = list(range(len(frames)))
        kept = [everything, *([k for k in everything if k != left] for left in everything)]
        logits = [detector.linear(detector.states(features[:, chosen]).mean(1))[0] for chosen in kept]
        values = np.array([float(pair[1] - pair[0]) for pair in logits])
    return values[0] - values[1:]


def forged_masks(rows: pd.DataFrame, video: pd.Series, root: Path, settings: FaceSettings) -> np.ndarray | None:
    """Return what was forged in the crops of a fake that the suite made: float32 `(T, S, S)`, 0 to 1.

    Args:
        rows: the clip's rows of the frames table, in order.
        video: its row of the videos table, with `path`, `width`, `height`.
        root: the folder that `path` begins in.
        settings: what it was preprocessed with.

    None where no masks are known: another dataset, a real video, or crops that were turned (`align`).
    """
    if settings.align or not str(video["path"]).startswith("fake/"):
        return None
    try:
        masks = load_masks(root, video["path"])
    except InputError:
        return None
    crops, size = [], (int(video["width"]), int(video["height"]))
    for row in rows.itertuples():
        whole = cv2.resize(masks[min(row.frame, len(masks) - 1)], size, interpolation=cv2.INTER_LINEAR)
        box = (row.x, row.y, row.w, row.h)
        part, _ = detection.crop(whole, box, np.zeros((68, 2)), settings.face_size, settings.face_margin, False)
        crops.append(part.astype(np.float32) / 255)
    return np.stack(crops)


def inside(maps: np.ndarray, masks: np.ndarray) -> float:
    """Return the share of a clip's map, 0 to 1, that lies in the mask; NaN where the map is empty."""
    total = float(maps.sum())
    return float((maps * masks).sum()) / total if total > 0 else float("nan")


def inside_against_chance(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> pd.DataFrame:
    """Return for each clip how much of its map lies in its mask, and what chance would put there.

    Columns: `inside`; `area`, the share of the crops that the mask covers (a map that is the same everywhere); and
    `others`, the mean share of the other clips' maps that would lie in it (a map that knows where faces are, not what
    was forged in this one). Clips with an empty map or fewer frames than another are compared as far as both go.
    """
    rows = []
    for k, (mine, mask) in enumerate(zip(maps, masks, strict=True)):
        strange = []
        for j, other in enumerate(maps):
            count = min(len(other), len(mask))
            if j != k and count:
                strange.append(inside(other[:count], mask[:count]))
        known = [value for value in strange if np.isfinite(value)]
        rows.append([inside(mine, mask), float(mask.mean()), float(np.mean(known)) if known else float("nan")])
    return pd.DataFrame(rows, columns=["inside", "area", "others"])


def spread_out(fakes: pd.DataFrame, count: int) -> list[str]:
    """Return the ids of `count` fakes, drawn across methods and people: as even over methods, then over groups, as can
    be; among equals by chance, which depends on the ids alone.

    `fakes` are rows of the predictions table.
    """
    chance = [hashlib.sha256(name.encode()).hexdigest() for name in fakes["video_id"]]
    left = sorted(zip(chance, fakes["video_id"], fakes["method"], fakes["group"], strict=True))
    used: Counter[tuple[str, str]] = Counter()
    chosen: list[str] = []
    while left and len(chosen) < count:
        row = min(left, key=lambda row: (used["method", row[2]], used["group", row[3]]))
        left.remove(row)
        used.update([("method", row[2]), ("group", row[3])])
        chosen.append(row[1])
    return chosen


def chance_summary(table: pd.DataFrame, resamples: int = DEFAULTS.resamples, seed: int = 0) -> pd.DataFrame:
    """Return mean and 95% interval of `inside` and of its lead over `area` and `others`, a row each.

    The interval is Student's, with the standard error of a bootstrap over the column `group` of the clips (without it,
    over clips) and its small-sample factor; NaN with fewer than five groups.
    """
    known = table.dropna(subset=["inside"])
    shown = {
        "inside the forged part": known["inside"],
        "more than its area": known["inside"] - known["area"],
        "more than other clips' maps": (known["inside"] - known["others"]).dropna(),
    }
    group = known["group"] if "group" in known else pd.Series(np.arange(len(known)), index=known.index)
    rng, rows = np.random.default_rng(seed), {}
    for name, values in shown.items():
        mean = values.mean() if len(values) else np.nan
        by_group = values.groupby(group.loc[values.index]).agg(["sum", "size"]).to_numpy(dtype=float)
        count, limits = len(by_group), (np.nan, np.nan)
        if count >= LEAST_GROUPS:
            sums = by_group[rng.integers(0, count, (resamples, count))].sum(axis=1)
            error = (sums[:, 0] / sums[:, 1]).std() * np.sqrt(count / (count - 1))
            limits = tuple(mean + stdtrit(count - 1, 0.975) * error * np.array([-1, 1]))
        rows[name] = [len(values), mean, *limits]
    return pd.DataFrame.from_dict(rows, orient="index", columns=["clips", "mean", "low", "high"])
