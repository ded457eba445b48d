"""Clips and their augmentation, undisturbed but for what a test names."""

from pathlib import Path
from typing import Any

import pandas as pd

from dfutils.core.params import AugmentationSettings, FaceSettings, TrainingSettings
from dfutils.detector.clips import ClipDataset


def strengths(**named: float) -> AugmentationSettings:
    """Return an augmentation that does what is named and nothing else."""
    return AugmentationSettings(**{"flip": 0.0, "rotation": 0.0, "color_jitter": 0.0, **named})


def clip_dataset(
    table: pd.DataFrame,
    strips: Path,
    faces: FaceSettings,
    kind: type[ClipDataset] = ClipDataset,
    *,
    train: bool = False,
    seed: int = 0,
    train_frames: int = 0,
    frames_table: pd.DataFrame | None = None,
    **augmentation: Any,
) -> ClipDataset:
    """Return clips for training or for evaluation; the strengths that are named go to both."""
    training = TrainingSettings(seed=seed, train_frames=train_frames) if train else None
    options = {"augmentation": strengths(**augmentation), "frames_table": frames_table}
    return kind(table, strips, faces, training=training, **options)
