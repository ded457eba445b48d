"""A split scored once, and measured so that a reviewer can check it.

The threshold and the calibration come from the validation split, every number from the test split, and every number has
an interval. What cannot be scored costs its own video only, and is counted. `document` writes it all down.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dfutils.core.errors import InputError
from dfutils.core.files import digest, read_json, write_json
from dfutils.core.params import DEFAULTS
from dfutils.data.indexing import is_trained_on
from dfutils.evaluation import coverage, metrics_json
from dfutils.evaluation.method_figures import compressions
from dfutils.faces.strips import strip_names
from dfutils.metrics import answers, calibration, figures
from dfutils.metrics.answers import Borders
from dfutils.metrics.calibration import CALIBRATION, Scaling, chosen_of, with_slope
from dfutils.metrics.slices import by_slice, concat_corrected
from dfutils.splits import provenance
from dfutils.splits.identities import group_names, own_names

PREDICTION_COLUMNS = [
    "video_id", "dataset", "label", "method", "identity", "group", "split", "status", "probability_fake", "predicted",
]  # fmt: skip


def predictions(videos: pd.DataFrame, scores: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Return the predictions table: one row per video, with its group, and its score where the detector gave one.

    Args:
        videos: rows of the split table.
        scores: `video_id` and `probability_fake` of the videos that have a strip.
        threshold: probabilities at or above it are called fake.

    `probability_fake` is NaN and `predicted` is missing (nullable Int8) where the detector abstained. A video that has
    faces but no score, as its strip is missing or the network gave NaN, gets the status `unscored`.

    Raises:
        InputError: if two videos have the same id.
    """
    for rows in (videos, scores):
        if len(twice := rows["video_id"][rows["video_id"].duplicated()]):
            raise InputError(f"Two videos have the id {twice.iloc[0]}: rename one, and run notebook 01 again.")
    videos = videos.assign(group=group_names(videos))
    table = videos.merge(scores[["video_id", "probability_fake"]], on="video_id", how="left", validate="one_to_one")
    table["status"] = table["status"].where((table["status"] != "ok") | table["probability_fake"].notna(), "unscored")
    called = (table["probability_fake"] >= threshold).astype("Int8")
    table["predicted"] = called.where(table["probability_fake"].notna(), pd.NA)
    return table[[*PREDICTION_COLUMNS, *(["segments"] if "segments" in table else [])]]


def with_groups(table: pd.DataFrame, videos: pd.DataFrame) -> pd.DataFrame:
    """Return a predictions table with the column `group`, from the split table if an earlier version wrote it."""
    if "group" in table:
        return table
    groups = pd.Series(group_names(videos), index=videos["video_id"].to_numpy())
    return table.assign(group=table["video_id"].map(groups))[PREDICTION_COLUMNS]


def with_strips(videos: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Return the videos with status ok whose strips, of all people, are there and whole, as far as their first and last
    bytes tell.

    What is missing gets no score and is reported as such; it does not stop the evaluation of all others.
    """

    def whole(strip: str) -> bool:
        path = Path(folder) / strip
        if not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(8)
            file.seek(-min(12, path.stat().st_size), 2)
            return head == b"\x89PNG\r\n\x1a\n" and b"IEND" in file.read()

    rows = videos[videos["status"] == "ok"]
    counts = rows["strips"].fillna(1) if "strips" in rows else [1] * len(rows)  # earlier versions did not count them
    kept = [all(map(whole, strip_names(strip, int(n)))) for strip, n in zip(rows["strip"], counts, strict=True)]
    return rows[np.array(kept, dtype=bool)]


def choose_threshold(val: pd.DataFrame, rule: str, target_recall: float) -> tuple[float, str]:
    """Return the threshold, from scored validation videos, and "" or why the rule could not be followed (then .5).

    Raises:
        InputError: for a rule that is not known.
    """
    calibration.choose_threshold([0, 1], [0.25, 0.75], rule, target_recall)  # a rule that does not exist is a mistake
    try:
        return calibration.choose_threshold(val["label"], val["probability_fake"], rule, target_recall), ""
    except InputError as error:
        return 0.5, f"The threshold is 0.5, as it could not be chosen: {error}"


def calibrated(
    config: Mapping[str, Any], scaling: Scaling, threshold: float, borders: Borders | None = None
) -> dict[str, Any]:
    """Return a detector's config with another calibration: the values named by `CALIBRATION`, borders if there are.

    What was chosen for whole videos (`serving.whole_videos`) is left out: it was chosen by the former calibration.
    """
    chosen = {name: getattr(scaling, name) for name in ("slope", "offset", "prior_fake")} | {"threshold": threshold}
    plain: dict[str, Any] = {name: None if value is None else float(value) for name, value in chosen.items()}
    plain |= {"borders": [float(border) for border in borders]} if borders else {}
    return {**{name: config[name] for name in config if name not in (*CALIBRATION, "whole")}, **plain}


def keep_calibration(
    folder: Path,
    scaling: Scaling,
    threshold: float,
    reals: Sequence[float] = (),
    measured_on: Sequence[str] = (),
    borders: Borders | None = None,
    by_frames: Sequence[dict[str, Any]] = (),
) -> None:
    """Write slope, offset, stated share of fakes, threshold and borders into a detector's config.json; weights stay.

    With them go what verdicts say of a score: the scores of the real validation videos, to four decimals, the names
    of the datasets whose test videos the detector was measured on, and its error rates with fewer frames
    (`few_frames.error_rates`).
    """
    config = with_slope(read_json(folder / "config.json"))
    said = {"validation_reals": answers.kept_scores(reals), "measured_on": sorted(measured_on)}
    said["frames_error_rates"] = list(by_frames)
    write_json({**calibrated(config, scaling, threshold, borders), **said}, folder / "config.json")


def measure(
    table: pd.DataFrame,
    frames: pd.DataFrame,
    threshold: float,
    *,
    no_face: str = DEFAULTS.no_face,
    prior_fake: float = DEFAULTS.prior_fake,
    resamples: int = DEFAULTS.resamples,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the figures of one split as in metrics.json: `videos`, `counts`, `confusion`, `video`, `frame`.

    Args:
        table: predictions of the split.
        frames: frame scores (`video_id`, `probability_fake`); those of other splits are left out.
        threshold: from the validation split.
        no_face: what a video without a face counts as: `abstain` (left out), `real` or `fake`.
        prior_fake: share of fakes that log loss, Brier score and ECE are for; undefined where a class is missing.
        resamples, seed: of the bootstrap behind the intervals.
    """
    table = coverage.grouped(table)
    counted = coverage.with_policy(table, no_face, threshold)
    by_frame = frames.merge(table[["video_id", "label", "group"]], on="video_id")
    drawn = {"prior_fake": prior_fake, "resamples": resamples, "seed": seed}
    return {
        "videos": tested(table),
        "counts": {
            "real": int((counted.labels == 0).sum()),
            "fake": int((counted.labels == 1).sum()),
            "coverage": coverage.coverage(table),
        },
        "confusion": figures.confusion(counted.labels, counted.predicted).tolist(),
        "video": figures.summary(counted.labels, counted.scores, threshold, groups=counted.groups, **drawn),
        "frame": figures.summary(
            by_frame["label"].to_numpy(),
            by_frame["probability_fake"].to_numpy(),
            threshold,
            groups=by_frame["group"].to_numpy(dtype=object),
            **drawn,
        ),
    }


def by_parts(table: pd.DataFrame, videos: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Return `slices.by_slice` by dataset (where there are several), method and quality, corrected over all together.

    Quality is what the path says (`raw`, `c23`, `c40` of FaceForensics++), else thirds of the bitrate in kbit/s. The
    column `property` says which part a row is of.
    """
    facts = videos.set_index("video_id").reindex(table["video_id"])
    named = compressions(facts).replace("", None).to_numpy()
    kbits = (facts["bitrate"] / 1000).round().to_numpy(dtype=float)
    quality = "quality" if pd.notna(named).any() else "bitrate in kbit/s"
    merged = table.assign(**{quality: named if quality == "quality" else kbits})
    names = [*(["dataset"] if table["dataset"].nunique() > 1 else []), "method", quality]
    return concat_corrected([by_slice(merged, name, threshold, bins=3).assign(property=name) for name in names])


def check_trained_on(detector: Any, videos: pd.DataFrame) -> None:
    """Make sure that the detector was trained on the splits it is about to be judged on.

    Detectors of earlier versions have recorded their videos and labels, not their splits; see `cautions`.

    Raises:
        InputError: if videos, labels or splits have changed since.
    """
    if not is_trained_on(detector.config["training"], videos):
        raise InputError(
            "The videos, their labels or their splits have changed since this detector was trained: run notebook 03 "
            "again, or its test videos may be among those it was trained on."
        )


def cautions(detector: Any, videos: pd.DataFrame) -> list[str]:
    """Return what must be said with every figure of a detector on the test videos of a split table: that they may be
    among the videos it was trained on, or among those that its first weights were trained on."""
    training = detector.config["training"]
    if not is_trained_on(training, videos):  # a detector that is only judged
        return provenance.cautions(provenance.everything_seen(training), videos)
    said = provenance.cautions(training.get("earlier"), videos)
    if "splits" not in training:
        said.append(
            "An earlier version trained this detector and did not record its splits: whether they are still these, so "
            "that no test video was in training, is not known. Run notebook 03 again to know it."
        )
    return said


def check_judged(detector: Any, record: dict[str, Any]) -> None:
    """Make sure that a detector and its calibration are those that notebook 04 has judged.

    `record` is that of notebook 04; an earlier version's holds the calibration alone.

    Raises:
        InputError: if they have changed since.
    """
    chosen = chosen_of(detector.config)
    recorded = with_slope(record)
    same = {name: recorded.get(name, value) for name, value in chosen.items()} == chosen
    if not same or record.get("detector", "") not in ("", metrics_json.fingerprint(detector)):
        raise InputError("The detector or its calibration has changed since notebook 04 scored it: run it again.")


def tested(table: pd.DataFrame) -> dict[str, Any]:
    """Return what names a set of judged videos, from their rows of the predictions table.

    `count`, and `fingerprint`: 16 hexadecimal digits of their ids and labels, the same in every experiment.
    """
    rows = table[table["status"] != "excluded"]
    names = own_names(rows, rows["video_id"])
    return {"count": len(rows), "fingerprint": digest(sorted(zip(names, rows["label"].tolist(), strict=True)))}


def check_predictions(table: pd.DataFrame, videos: pd.DataFrame) -> None:
    """Make sure that a predictions table is of the videos of this experiment.

    Raises:
        InputError: if it holds others, or is no predictions table.
    """
    lacking = [name for name in PREDICTION_COLUMNS if name not in table and name != "group"]  # see `with_groups`
    strangers = [] if lacking else sorted(set(table["video_id"]) - set(videos["video_id"]))
    if lacking or strangers:
        what = f"lacks the column {lacking[0]}" if lacking else f"holds {strangers[0]}, which is no video of it"
        raise InputError(f"predictions.parquet is not of this experiment (it {what}): run notebook 04 again.")
