"""How well a detector finds the forged seconds of videos where they are known."""

from typing import Any

import pandas as pd

from dfutils.metrics import segments


def measure(table: pd.DataFrame, scores: pd.DataFrame, frames: pd.DataFrame, threshold: float) -> dict[str, Any] | None:
    """Return the average precision at an intersection over union of .5 (`ap_iou_50`), and of how many `videos`.

    Stretches are runs of frames at or above the threshold; a strip shows the first frames of a video only, and what was
    forged after them counts as missed. Real videos have no forged seconds; fakes of which they are not known are left
    out.

    Args:
        table: predictions of a split; without a column `segments`, nothing is known.
        scores: frame scores (`video_id`, `person`, `position`, `probability_fake`).
        frames: frames table, with the times.
        threshold: of a fake frame.

    Returns:
        None if forged seconds are known of no video.
    """
    if "segments" not in table:
        return None
    known = table[table["probability_fake"].notna() & ((table["label"] == 0) | (table["segments"] != ""))]
    truth = {row.video_id: segments.parse(row.segments) for row in known.itertuples()}
    timed = scores.merge(frames[["video_id", "person", "position", "time_s"]], on=["video_id", "person", "position"])
    timed = timed[timed["video_id"].isin(truth)].sort_values(["video_id", "person", "time_s"])
    found: dict[str, list[segments.Found]] = {name: [] for name in truth}
    for (video_id, _), rows in timed.groupby(["video_id", "person"], sort=False):
        found[video_id] += segments.of_frames(rows["time_s"], rows["probability_fake"], threshold)
    value = segments.average_precision(truth, found)
    return None if value is None else {"ap_iou_50": value, "videos": len(truth)}
