"""Features of faces from a network that has never seen a fake: a measure of how much a split gives away by itself."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from dfutils.core.params import NetworkSettings
from dfutils.detector.hardware import memory_kept
from dfutils.detector.network import Detector
from dfutils.faces.strips import load_strip

_CLIPS = 16  # at a time


@memory_kept()
def frozen_features(
    strips: Mapping[str, Path], face_size: int, most: int = 400, frames: int = 3, seed: int = 0
) -> pd.DataFrame:
    """Return features of videos from EfficientNet-Lite0 with its ImageNet weights, one row per video, by `video_id`.

    A row is the mean over `frames` evenly spread crops of the strip. The weights come with the suite; nothing is
    trained.

    Args:
        strips: path of each video's strip, by video id.
        face_size: side of a crop in pixels.
        most: videos at most; of more, as many are drawn at random.
        frames: crops of a strip.
        seed: of that draw.

    Raises:
        InputError: if a strip is missing or broken.
    """
    network = Detector(NetworkSettings(backbone="tf_efficientnet_lite0", pretrained="packaged")).eval()
    names = sorted(strips)
    if not names:
        return pd.DataFrame(index=pd.Index([], name="video_id"))
    if len(names) > most:
        names = sorted(np.random.default_rng(seed).choice(names, most, replace=False).tolist())
    rows = []
    with torch.inference_mode():
        for start in range(0, len(names), _CLIPS):
            crops = [load_strip(strips[name], face_size) for name in names[start : start + _CLIPS]]
            few = [clip[np.linspace(0, len(clip) - 1, frames).round().astype(int)] for clip in crops]
            clips = torch.from_numpy(np.stack(few)).permute(0, 1, 4, 2, 3)
            rows.append(network.features(network.normalise(clips)).mean(1).numpy())
    return pd.DataFrame(np.concatenate(rows), index=pd.Index(names, name="video_id"))
