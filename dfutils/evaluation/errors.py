"""Where a detector fails: its surest mistakes, and how often it errs by property of the video."""

import numpy as np
import pandas as pd

from dfutils.metrics.slices import by_slice, concat_corrected


def mistakes(table: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Return the scored videos on the wrong side of the threshold, the surest mistakes first.

    Columns `kind` (`miss` or `false alarm`), `video_id`, `dataset`, `method`, `identity`, `probability_fake`, and
    `margin`: how far the score lies on the wrong side, as a share of all the room there is on that side, 0 to 1.
    """
    scored = table[table["probability_fake"].notna()]
    wrong = scored[scored["predicted"] != scored["label"]]
    score, fake = wrong["probability_fake"], wrong["label"] == 1
    room = np.where(fake, threshold, 1 - threshold)
    margin = np.abs(score - threshold) / np.maximum(room, 1e-12)
    found = wrong.assign(kind=np.where(fake, "miss", "false alarm"), margin=margin.clip(upper=1.0))
    columns = ["kind", "video_id", "dataset", "method", "identity", "probability_fake", "margin"]
    return found.sort_values(["margin", "video_id"], ascending=[False, True])[columns].reset_index(drop=True)


MOST_VALUES = 12
"""Values of an attribute that are still compared with each other."""

LEAST_VIDEOS = 10
"""Videos of a value below which its error rate is not compared with that of others."""


def properties(table: pd.DataFrame, frames: pd.DataFrame, videos: pd.DataFrame) -> pd.DataFrame:
    """Return properties that may affect a video's score, one row per video of `table`, by `video_id`.

    Columns: means over the scored frames of `face_px`, `sharpness`, `brightness`, `turn` (of the head to either side)
    and `nod` (up or down) in degrees; `bits`, the bits per pixel that the file spends (its compression), and `people`,
    how many were seen. NaN where it is not known. Attributes that the dataset names (columns `attribute_…`) follow if
    they have 2 to `MOST_VALUES` values among these videos; "" where they are not known.

    `table` holds predictions, `frames` the frame scores joined with the frames table.
    """
    looks = frames.assign(turn=frames["yaw"].abs(), nod=frames["pitch"].abs()).groupby("video_id")
    found = looks[["face_px", "sharpness", "brightness", "turn", "nod"]].mean().reindex(table["video_id"])
    facts = videos.set_index("video_id", drop=False).reindex(table["video_id"])
    pixels = (facts["width"] * facts["height"] * facts["fps"]).astype(float)
    people = facts["people"].astype(float) if "people" in facts else np.nan
    found = found.assign(bits=(facts["bitrate"].astype(float) / pixels).round(4), people=people)
    named = facts.filter(regex="^attribute_").fillna("")
    counts = named[named != ""].nunique()
    return found.join(named.loc[:, counts.between(2, MOST_VALUES)])


def by_sureness(table: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Return how often the detector errs where it is sure and where not, as `slices.by_slice` lays it out.

    Sure is a score that lies beyond half of the room on its side of the threshold.
    """
    score = table["probability_fake"].astype(float)
    room = np.where(score >= threshold, 1 - threshold, threshold)
    sure = np.abs(score - threshold) >= 0.5 * room
    side = np.where(score >= threshold, "calls fake", "calls real")
    words = pd.Series(np.where(sure, "sure, ", "unsure, "), index=table.index) + side
    return by_slice(table.assign(sureness=words), "sureness", threshold)


def by_properties(table: pd.DataFrame, properties: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Return `slices.by_slice` for each property of the videos, in thirds, corrected over all of them together.

    `properties` is a table by `video_id`; texts are not divided into thirds, each value is a slice. The column
    `property` says which one a row is of.
    """
    merged = table.merge(properties, left_on="video_id", right_index=True, how="left")
    return concat_corrected([by_slice(merged, name, threshold, bins=3).assign(property=name) for name in properties])


def largest_gaps(sliced: pd.DataFrame) -> pd.DataFrame:
    """Return between which values of each attribute the error rates differ most, one row per attribute.

    Columns: `attribute`, `gap` (of the error rates), and of both values, `lowest` and `highest`, the rate with its
    interval: `lowest_rate`, `lowest_low`, `lowest_high`, and so on. Values of fewer than `LEAST_VIDEOS` videos, and
    unknown ones, are left out; an attribute with less than two others has no row.

    Args:
        sliced: what `by_properties` returned.
    """
    rows = []
    known = sliced[(sliced["n"] >= LEAST_VIDEOS) & (sliced["slice"] != "unknown")]
    for name, values in known[known["property"].str.startswith("attribute_")].groupby("property", sort=False):
        if len(values) < 2:
            continue
        ends = {
            "lowest": values.loc[values["error_rate"].idxmin()],
            "highest": values.loc[values["error_rate"].idxmax()],
        }
        row = {"attribute": name, "gap": ends["highest"]["error_rate"] - ends["lowest"]["error_rate"]}
        for end, value in ends.items():
            limits = {f"{end}_{limit}": value[limit] for limit in ("low", "high")}
            row |= {end: value["slice"], f"{end}_rate": value["error_rate"], **limits}
        rows.append(row)
    return pd.DataFrame(rows)
