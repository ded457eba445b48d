"""What else a scoring run sees: each frame judged by itself, and the features that clips are known by.

While a detector scores videos, hooks on its layers keep two things that cost nothing more: the score that each frame
would get alone, without its neighbours in time (the frame-only baseline), and the mean of a clip's features, in which
clips that look alike to the network lie close together. A mistake whose nearest training clips bear the other label, or
lie as near as a copy would, is not a hard case but a question to the dataset.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import torch

from dfutils.detector.network import Detector
from dfutils.splits.identities import group_names

NEIGHBOURS = 5
"""Training clips that are asked about a mistake."""


class FeatureRecorder:
    """What was seen of every frame, in the order of the frame table that `scoring.score` returns."""

    def __init__(self) -> None:
        self._features: list[np.ndarray] = []
        self._alone: list[np.ndarray] = []

    def add(self, features: torch.Tensor, alone: torch.Tensor) -> None:
        """Keep what a batch gave: features `(N, F)` and logits of fake less real `(N,)`."""
        self._features.append(features.half().cpu().numpy())
        self._alone.append(alone.double().cpu().numpy())

    def alone(self, frames: pd.DataFrame) -> pd.DataFrame:
        """Return `video_id` and `logit`, one row per video: the mean over frames that were each scored alone.

        With several people in a video, that of the most suspicious, as in `scoring.score`.
        """
        keys = [frames["video_id"], frames["person"]]
        by_clip = pd.Series(np.concatenate(self._alone), index=frames.index).groupby(keys, sort=False).mean()
        return by_clip.groupby(level=0, sort=False).max().rename("logit").rename_axis("video_id").reset_index()

    def vectors(self, frames: pd.DataFrame) -> tuple[list[str], np.ndarray]:
        """Return video ids, and the mean features of each video's first person, float32 `(N, F)` of length 1."""
        first = (frames["person"] == 0).to_numpy()
        place, names = pd.factorize(frames["video_id"][first])
        features = np.concatenate(self._features)[first].astype(np.float32)
        sums = np.zeros((len(names), features.shape[1]), dtype=np.float32)
        np.add.at(sums, place, features)
        return list(names), sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)


@contextmanager
def recording(detector: Detector) -> Iterator[FeatureRecorder]:
    """Keep features and frame-only scores of everything that the detector scores within the block."""
    heard = FeatureRecorder()

    def keep(_module: Any, _inputs: Any, features: torch.Tensor) -> None:
        logits = detector.linear(detector.dropout(detector.states(features.unsqueeze(1))[:, 0]))
        heard.add(features, logits[:, 1] - logits[:, 0])

    hook = detector.backbone.register_forward_hook(keep)
    try:
        yield heard
    finally:
        hook.remove()


def nearest(
    asked: Sequence[str],
    known: tuple[Sequence[str], np.ndarray],
    train: tuple[Sequence[str], np.ndarray],
    videos: pd.DataFrame,
    count: int = NEIGHBOURS,
) -> pd.DataFrame:
    """Return the training clips nearest to each video, one row per neighbour, the nearest first.

    Args:
        asked: ids of the videos to look at.
        known: their ids and vectors, as `FeatureRecorder.vectors` gives them.
        train: ids and vectors of the training clips.
        videos: by `video_id`, with `label`, `method` and `identity`.
        count: neighbours of each.

    Columns: `video_id`, `rank` from 1, `neighbour`, `distance` (1 minus the cosine, 0 for a copy), and `label`,
    `method`, `identity` of the neighbour.
    """
    columns = ["video_id", "rank", "neighbour", "distance", "label", "method", "identity"]
    place = {name: k for k, name in enumerate(known[0])}
    names, rows = np.array(train[0], dtype=object), []
    for name in asked:
        if name not in place or not len(names):
            continue
        distance = 1 - train[1] @ known[1][place[name]]
        for rank, k in enumerate(np.lexsort((names, distance))[:count], start=1):
            facts = videos.loc[names[k], ["label", "method", "identity"]]
            rows.append([name, rank, names[k], max(float(distance[k]), 0.0), *facts])
    return pd.DataFrame(rows, columns=columns)


def usual_distance(train: tuple[Sequence[str], np.ndarray], videos: pd.DataFrame) -> float:
    """Return the distance that only one in a hundred training clips falls below to the nearest clip of somebody else.

    A test video that is nearer than that to a training clip is as near as clips of two people hardly ever are. Somebody
    else is another person or, where no person is known, another source (`identities.group_names`), so that a fake and
    its own source are not two. NaN with fewer than ten clips or one group.
    """
    names = group_names(videos.loc[list(train[0])].assign(video_id=list(train[0])))
    least = []
    for start in range(0, len(names), 512):
        apart = 1 - train[1][start : start + 512] @ train[1].T
        apart[names[start : start + 512, None] == names] = np.inf
        least.append(apart.min(axis=1))
    known = np.concatenate(least) if least else np.empty(0)
    known = known[np.isfinite(known)]
    return float(np.quantile(known, 0.01)) if len(known) >= 10 else float("nan")


def diagnose(mistakes: pd.DataFrame, neighbours: pd.DataFrame, near: float) -> pd.DataFrame:
    """Return the mistakes with what their nearest training clips suggest they are.

    Adds `nearest` (training clip), `distance`, `agreeing` (share of the neighbours that have the mistake's own label),
    and `suspect`: `leakage` where the nearest clip is closer than `near`; else `label` where no neighbour has its label
    and the detector was sure (`margin` of half and more): the neighbours and the detector contradict the label; else
    `hard case`; "" where it was not compared. A suspicion is a reason to look, not a finding.
    """
    truth = mistakes.set_index("video_id")["kind"].eq("miss").astype(int)
    first = neighbours[neighbours["rank"] == 1].set_index("video_id")
    agree = neighbours["label"].astype(int) == neighbours["video_id"].map(truth)
    share = agree.groupby(neighbours["video_id"]).mean()
    found = mistakes.assign(
        nearest=mistakes["video_id"].map(first["neighbour"]),
        distance=mistakes["video_id"].map(first["distance"]).astype(float),
        agreeing=mistakes["video_id"].map(share).astype(float),
    )
    kinds = np.where((found["agreeing"] == 0) & (found["margin"] >= 0.5), "label", "hard case")
    kinds = np.where(found["distance"] < near, "leakage", kinds)
    return found.assign(suspect=np.where(found["distance"].isna(), "", kinds))
