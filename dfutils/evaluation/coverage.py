"""What a video without a face counts as, and how many videos have a score."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from dfutils.core.errors import InputError
from dfutils.core.params import DEFAULTS
from dfutils.metrics.figures import CLASSES
from dfutils.splits.identities import group_names


@dataclass(frozen=True)
class Counted:
    """The videos of a predictions table that count under a policy.

    `labels`, `scores`, `predicted` and `groups` are arrays `(n,)`: labels 0 and 1, probability of fake, 0 or 1, and the
    column `group`, the unit of intervals. `table` holds their rows. `coverage` is the share of all videos that have a
    score of the detector's own.
    """

    labels: np.ndarray
    scores: np.ndarray
    predicted: np.ndarray
    groups: np.ndarray
    table: pd.DataFrame
    coverage: float | None


def coverage(predictions: pd.DataFrame) -> dict[str, float | int | None]:
    """Return `videos`, `scored`, their ratio `share`, and the ratio among the `real` and the `fake` videos.

    Excluded videos are not counted. A ratio without videos is None. A class that is scored less often than the other
    makes every figure on scored videos doubtful.
    """
    rows = predictions[predictions["status"] != "excluded"]
    scored = rows["probability_fake"].notna().to_numpy()
    label = rows["label"].to_numpy()

    def share(part: np.ndarray) -> float | None:
        return float(scored[part].mean()) if part.any() else None

    everything = np.ones(len(rows), dtype=bool)
    shares = {"share": share(everything), "real": share(label == 0), "fake": share(label == 1)}
    return {"videos": len(rows), "scored": int(scored.sum()), **shares}


def grouped(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return a predictions table with the column `group`; in one of an earlier version, the people are the groups.

    Raises:
        InputError: if that has no such column and not all people are known.
    """
    if "group" in predictions:
        return predictions
    if (predictions["identity"] == "").any():
        raise InputError(
            "This predictions table is of an earlier version and does not say which videos belong together (column "
            "group): run notebook 04 again."
        )
    return predictions.assign(group=group_names(predictions))


def with_policy(predictions: pd.DataFrame, no_face: str = DEFAULTS.no_face, threshold: float = 0.5) -> Counted:
    """Return the videos that count where those without a usable face are left out, called real, or called fake.

    `no_face` is `abstain`, `real` or `fake`. A video that is called by policy gets probability 0 or 1, which its log
    loss and calibration show. The policy is for videos without (enough) faces; unreadable and excluded ones never
    count.

    Raises:
        InputError: for another policy, a video with status ok that has no score, or as `grouped`.
    """
    predictions = grouped(predictions)
    if no_face not in ("abstain", *CLASSES):
        raise InputError(f"The policy no_face {no_face!r} is not known: use abstain, real or fake.")
    scored = predictions["probability_fake"].notna() & (predictions["status"] != "excluded")
    lost = int(((predictions["status"] == "ok") & ~scored).sum())
    if lost:
        raise InputError(f"{lost} of {len(predictions)} videos have faces but no score (NaN): score them again.")
    faceless = predictions["status"].isin(["no_face", "few_faces"]) & ~scored
    table = predictions[scored | (faceless & (no_face != "abstain"))]
    scores = table["probability_fake"].astype(float).fillna(float(no_face == "fake")).to_numpy()
    return Counted(
        labels=table["label"].to_numpy(dtype=int),
        scores=scores,
        predicted=(scores >= threshold).astype(int),
        groups=table["group"].to_numpy(dtype=object),
        table=table,
        coverage=coverage(predictions)["share"],
    )
