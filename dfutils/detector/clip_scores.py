"""The logits of a network's clips and of their frames, as tables."""

from typing import Any

import pandas as pd
import torch

from dfutils.detector.clips import Batches, ClipDataset, loader
from dfutils.detector.hardware import memory_kept
from dfutils.detector.network import Detector, logits


@memory_kept()
def clip_logits(
    network: Detector, dataset: ClipDataset, batch_size: int, place: torch.device, moving: Any = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the logits of clips by `video_id` and `person`, and those of their frames, by `position`, too.

    They are those of fake less those of real, in float32, each clip's alike whatever else is in its batch (to about
    1e-6). `moving` is a progress bar, which counts clips. The network is left on its device, in its mode.
    """
    was_training, home = network.training, next(network.parameters()).device
    batches = loader(dataset, Batches(len(dataset), batch_size, shuffle=False))
    clips, frames = [], []
    try:
        network.eval().to(place)
        for batch in batches:
            of_clips, of_frames = logits(network, batch.frames.to(place), batch.mask)
            for index, logit, row, positions in zip(
                batch.index.tolist(), of_clips, of_frames, batch.positions.tolist(), strict=True
            ):
                clip = (dataset.video_ids[index], dataset.persons[index])
                clips.append((*clip, logit))
                frames += [(*clip, position, value) for position, value in zip(positions, row, strict=True)]
            if moving is not None:
                moving.update(len(batch.index))
    finally:
        network.train(was_training).to(home)
    by_frame = pd.DataFrame(frames, columns=["video_id", "person", "position", "logit"])
    by_frame = by_frame[by_frame["position"] >= 0].reset_index(drop=True)
    return pd.DataFrame(clips, columns=["video_id", "person", "logit"]), by_frame
