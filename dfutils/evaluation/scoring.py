"""A table of videos in, their scores out: what a detector says of each strip and each of its frames."""

from pathlib import Path

import pandas as pd
import torch

from dfutils.core.params import DEFAULTS
from dfutils.core.progress import bar
from dfutils.detector.clips import Batches, ClipDataset, loader
from dfutils.detector.network import Detector, logits


def score(
    detector: Detector,
    table: pd.DataFrame,
    strips_folder: Path,
    *,
    batch_size: int = DEFAULTS.batch_size,
    device: str = "auto",
    progress: bool = True,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score videos by their strips, in float32, each alike whatever else is in its batch (to about 1e-6).

    Args:
        detector: its `facts` say how large the crops are and how many of a clip it takes.
        table: videos that have strips, with `video_id` and, as in `ClipDataset`, `strip`, below `strips_folder`.
        strips_folder: the folder of the strips.
        batch_size: clips at a time.
        device: `cpu`, `cuda`, or `auto`: CUDA where there is one.
        progress: show a bar.

    Returns:
        One row per video in the order of `table`: `video_id`, `probability_fake`, `logit`; and one row per frame:
        `video_id`, `person`, `position` (in its strip), `probability_fake`, `logit`. `logit` is that of fake less that
        of real, and `probability_fake` what the detector's calibration makes of it (`Detector.scaling`). With several
        people in a video, its score is that of the most suspicious one.

    Raises:
        InputError: if a strip is missing, broken or of another size.
    """
    dataset = ClipDataset(table, strips_folder, detector.face_settings)
    place = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    was_training, home = detector.training, next(detector.parameters()).device
    batches = loader(dataset, Batches(len(dataset), batch_size, shuffle=False))
    clips, frames = [], []
    moving = bar(total=len(dataset), desc="score", unit="clip") if progress else None
    try:
        detector.eval().to(place)
        for batch in batches:
            clip_logits, frame_logits = logits(detector, batch.frames.to(place), batch.mask)
            for index, logit, row, positions in zip(
                batch.index.tolist(), clip_logits, frame_logits, batch.positions.tolist(), strict=True
            ):
                clip = (dataset.video_ids[index], dataset.persons[index])
                clips.append((*clip, logit))
                frames += [(*clip, position, value) for position, value in zip(positions, row, strict=True)]
            if moving is not None:
                moving.update(len(batch.index))
    finally:
        if moving is not None:
            moving.close()
        detector.train(was_training).to(home)
    videos = pd.DataFrame(clips, columns=["video_id", "person", "logit"])
    videos = videos.groupby("video_id", sort=False, as_index=False)["logit"].max()
    by_frame = pd.DataFrame(frames, columns=["video_id", "person", "position", "logit"])
    by_frame = by_frame[by_frame["position"] >= 0].reset_index(drop=True)
    for scores in (videos, by_frame):
        scores["probability_fake"] = detector.scaling.probability(scores["logit"])
    return videos, by_frame
