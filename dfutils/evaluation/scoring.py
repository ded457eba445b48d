"""A table of videos in, their scores out: what a detector says of each strip and each of its frames."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from dfutils.core.params import DEFAULTS
from dfutils.core.progress import bar
from dfutils.detector.clip_scores import clip_logits
from dfutils.detector.clips import ClipDataset
from dfutils.detector.fusion import fuse
from dfutils.detector.network import Detector


def score(
    detector: Detector,
    table: pd.DataFrame,
    strips_folder: Path,
    *,
    batch_size: int = DEFAULTS.batch_size,
    frames: int | None = None,
    device: str = "auto",
    progress: bool = True,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score videos by their strips, in float32, each alike whatever else is in its batch (to about 1e-6).

    Args:
        detector: its `facts` say how large the crops are and how many of a clip it takes.
        table: videos that have strips, with `video_id` and, as in `ClipDataset`, `strip`, below `strips_folder`.
        strips_folder: the folder of the strips.
        batch_size: clips at a time.
        frames: take only so many frames of a clip, evenly spread; None: as many as the detector was trained on.
        device: `cpu`, `cuda`, or `auto`: CUDA where there is one.
        progress: show a bar.

    Returns:
        One row per video in the order of `table`: `video_id`, `probability_fake`, `logit`; and one row per frame:
        `video_id`, `person`, `position` (in its strip), `probability_fake`, `logit`. `logit` is that of fake less that
        of real, and `probability_fake` what the detector's calibration makes of it (`Detector.scaling`). With several
        people in a video, its score is that of the most suspicious one. With several networks, `logit` is the fused
        one, and `logit_<name>` that of each, NaN where its view is not possible.

    Raises:
        InputError: if a strip is missing, broken or of another size.
    """
    settings, fusion = detector.face_settings, detector.config.get("fusion", {})
    settings = settings.model_copy(update={"frames_per_video": frames or settings.frames_per_video})
    networks = detector.networks
    datasets = {name: ClipDataset(table, strips_folder, settings, view=networks[name].view) for name in networks}
    place = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    moving = bar(total=sum(map(len, datasets.values())), desc="score", unit="clip") if progress else None
    with nullcontext() if moving is None else moving:
        found = [clip_logits(networks[name], dataset, batch_size, place, moving) for name, dataset in datasets.items()]
    clips, by_frame = (_together(tables, list(networks), fusion) for tables in zip(*found, strict=True))
    best = clips["logit"].fillna(-np.inf).groupby(clips["video_id"], sort=False).idxmax()  # NaN has no highest
    videos = clips.loc[best].drop(columns="person").reset_index(drop=True)
    for scores in (videos, by_frame):
        scores["probability_fake"] = detector.scaling.probability(scores["logit"])
    return videos, by_frame


def _together(tables: Sequence[pd.DataFrame], names: list[str], fusion: dict[str, Any]) -> pd.DataFrame:
    """Return the networks' tables, that of the face first, as one: `logit` is the fused one, `logit_<name>` theirs."""
    if not fusion:
        return tables[0]
    keys = [name for name in tables[0] if name != "logit"]
    joined = tables[0][keys]
    for name, table in zip(names, tables, strict=True):
        joined = joined.merge(table.rename(columns={"logit": f"logit_{name}"}), on=keys, how="left")
    by_view = {name: joined[f"logit_{name}"].to_numpy(float) for name in names}
    return joined.assign(logit=fuse(fusion, by_view))
