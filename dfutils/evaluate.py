"""A split scored once, and written down so that a reviewer can check it.

The threshold comes from the validation split, every number from the test split, and every number has an interval.
`metrics.json` is the machine's copy of report 04; its schema:

| key | what |
| --- | --- |
| `schema` | 1; raised when a key changes its meaning |
| `experiment`, `verdict`, `caveats` | the name, the result in one sentence, and what limits it |
| `threshold` | `value`, `rule`, and the number of `validation_videos` that chose it |
| `no_face` | what a video without a face counts as |
| `test.counts` | `real` and `fake` videos that count, and `coverage`: how many of all have a score |
| `test.confusion` | 2 x 2 counts of videos, rows true real and fake, columns called real and fake |
| `test.video`, `test.frame` | name → `value`, `low`, `high` (95%), `method` of the interval; `null` where undefined |
| `by_method` | a row a forgery method, and one for the real videos, as `slices.by_slice` gives them |
| `baselines` | always answering with the larger class; a classifier on container facts alone (AUC) |
| `eval` | for each dataset of `eval_datasets`, what `test` is for the test split |
| `audit` | what splits share, and which facts give labels away, as `audit.Audit.to_dict` says |
| `fingerprints` | 16 hexadecimal digits each for data and splits, and for the detector |
| `made_by` | versions and commit |
"""

import hashlib
import json
from typing import Any

import numpy as np
import pandas as pd

from dfutils import metrics
from dfutils.errors import InputError
from dfutils.files import digest
from dfutils.params import Params
from dfutils.records import provenance
from dfutils.slices import by_slice, holm

SCHEMA = 1
FEW = 30
"""Videos of a class under which a figure is hardly more than an anecdote."""

PREDICTION_COLUMNS = [
    "video_id", "dataset", "label", "method", "identity", "split", "status", "probability_fake", "predicted",
]  # fmt: skip


def predictions(videos: pd.DataFrame, scores: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Return the predictions table: a row a video, with its score where the detector gave one.

    Args:
        videos: rows of the split table.
        scores: `video_id` and `probability_fake` of the videos that have a strip.
        threshold: probabilities at or above it are called fake.

    `probability_fake` is NaN and `predicted` is missing (nullable Int8) where the detector abstained.
    """
    table = videos.merge(scores[["video_id", "probability_fake"]], on="video_id", how="left", validate="one_to_one")
    called = (table["probability_fake"] >= threshold).astype("Int8")
    table["predicted"] = called.where(table["probability_fake"].notna(), pd.NA)
    return table[PREDICTION_COLUMNS]


def measure(
    table: pd.DataFrame,
    frames: pd.DataFrame,
    threshold: float,
    *,
    no_face: str = "abstain",
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the figures of one split as in metrics.json: `counts`, `confusion`, `video`, `frame`.

    Args:
        table: predictions of the split.
        frames: frame scores (`video_id`, `probability_fake`); those of other splits are left out.
        threshold: from the validation split.
        no_face: what a video without a face counts as: `abstain` (left out), `real` or `fake`.
        resamples: bootstrap resamples behind an interval.
        seed: of the bootstrap.
    """
    counted = metrics.with_policy(table, no_face, threshold)
    by_frame = frames.merge(table[["video_id", "label"]], on="video_id")
    drawn = {"resamples": resamples, "seed": seed}
    return {
        "counts": {
            "real": int((counted.labels == 0).sum()),
            "fake": int((counted.labels == 1).sum()),
            "coverage": metrics.coverage(table),
        },
        "confusion": metrics.confusion(counted.labels, counted.predicted).tolist(),
        "video": metrics.summary(counted.labels, counted.scores, threshold, groups=counted.groups, **drawn),
        "frame": metrics.summary(
            by_frame["label"].to_numpy(),
            by_frame["probability_fake"].to_numpy(),
            threshold,
            groups=by_frame["video_id"].to_numpy(dtype=object),
            **drawn,
        ),
    }


def shown(summary: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Return a summary as a table for the reader: value and 95% interval, or `undefined`."""
    rows = {}
    for name, figure in summary.items():
        known = figure["value"] is not None
        interval = f"{figure['low']:.3f} – {figure['high']:.3f}" if known and figure["low"] is not None else ""
        rows[name] = {"value": f"{figure['value']:.3f}" if known else "undefined", "95% interval": interval}
    return pd.DataFrame.from_dict(rows, orient="index")


def compared(summaries: dict[str, dict[str, dict[str, Any]]]) -> pd.DataFrame:
    """Return a few figures of several summaries side by side, with intervals, a row each."""
    names = ["roc_auc", "eer", "balanced_accuracy", "recall_fake", "recall_real"]
    tables = {name: shown(summary).loc[names].agg("  ".join, axis=1) for name, summary in summaries.items()}
    return pd.DataFrame(tables).T


def check_trained_on(detector: Any, split_fingerprint: str) -> None:
    """Make sure that the detector was trained on the splits it is about to be judged on.

    Raises:
        InputError: if the splits were made anew since.
    """
    if detector.facts["training"].get("split_fingerprint") != split_fingerprint:
        raise InputError(
            "The videos or their labels have changed since this detector was trained: run notebook 03 again, "
            "or its test videos may be among those it was trained on."
        )


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


def by_properties(table: pd.DataFrame, properties: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Return `slices.by_slice` for each property of the videos, in thirds, corrected over all of them together.

    `properties` is a table of numbers by `video_id`; the column `property` says which one a row is of.
    """
    merged = table.merge(properties, left_on="video_id", right_index=True, how="left")
    parts = [by_slice(merged, name, threshold, bins=3).assign(property=name) for name in properties]
    joined = pd.concat(parts, ignore_index=True)
    columns = ["property", *(name for name in joined if name != "property")]
    return joined.assign(p_holm=holm(joined["p"].to_numpy(dtype=float)))[columns]


def document(
    params: Params,
    preprocessed: dict[str, Any],
    detector: Any,
    measured: dict[str, Any],
    by_method: pd.DataFrame,
    threshold: float,
    validation_videos: int,
) -> dict[str, Any]:
    """Return metrics.json: the figures, the sentence that sums them up, and what made them."""
    larger = int(measured["counts"]["fake"] >= measured["counts"]["real"])
    counts = (measured["counts"]["real"], measured["counts"]["fake"])
    caveats = _caveats(preprocessed, measured)
    return {
        "schema": SCHEMA,
        "experiment": params.experiment,
        "verdict": verdict(measured),
        "caveats": caveats,
        "threshold": {"value": threshold, "rule": params.threshold, "validation_videos": validation_videos},
        "no_face": params.no_face,
        "test": measured,
        "by_method": json.loads(by_method.to_json(orient="records", double_precision=15)),
        "baselines": {
            "majority class": {
                "answer": metrics.CLASSES[larger],
                "accuracy": counts[larger] / sum(counts) if sum(counts) else None,
                "balanced_accuracy": 0.5 if min(counts) else None,
            },
            "container facts": preprocessed["audit"]["shortcut_auc"],
        },
        "audit": preprocessed["audit"],
        "fingerprints": {
            "data and splits": preprocessed["fingerprint"],
            "detector": digest({"training": detector.facts["training"], "weights": model_digest(detector)}),
        },
        "made_by": provenance(),
    }


def model_digest(detector: Any) -> str:
    """Return 16 hexadecimal digits that name a detector's weights."""
    state = detector.state_dict()
    found = hashlib.sha256()
    for name in sorted(state):
        found.update(name.encode() + state[name].cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def verdict(measured: dict[str, Any]) -> str:
    """Return the result in words, with intervals and counts."""
    video, counts = measured["video"], measured["counts"]
    (_, alarms), (misses, _) = measured["confusion"]
    tested = f"On {counts['real']} real and {counts['fake']} fake test videos"
    if video["roc_auc"]["value"] is None:
        return f"{tested} one class is missing, so nothing can be said of how well the two are told apart."
    auc, balanced = video["roc_auc"], video["balanced_accuracy"]
    chance = " That is not distinguishable from guessing." if auc["low"] is not None and auc["low"] <= 0.5 else ""
    return (
        f"{tested} the detector's ROC AUC is {auc['value']:.3f} (95%: {_span(auc)}) and its balanced accuracy "
        f"{balanced['value']:.1%} (95%: {_span(balanced)}). It let {misses} of {counts['fake']} fakes pass and called "
        f"{alarms} of {counts['real']} real videos fake.{chance}"
    )


def _span(figure: dict[str, Any]) -> str:
    return "unknown" if figure["low"] is None else f"{figure['low']:.3f} to {figure['high']:.3f}"


def _caveats(preprocessed: dict[str, Any], measured: dict[str, Any]) -> list[str]:
    """Return what a reader must know before using the figures, the gravest first."""
    caveats = []
    if "sample" in preprocessed["layouts"]:
        caveats.append(
            "These fakes were made by this suite, out of few people: the scores say that the pipeline works, and "
            "nothing about deepfakes in the wild."
        )
    if preprocessed["policy"] == "random":
        caveats.append("The splits were drawn video by video: people leak from training into the test, and flatter it.")
    caveats += preprocessed["audit"]["alarms"]
    coverage = measured["counts"]["coverage"]
    if coverage["scored"] < coverage["videos"]:
        caveats.append(
            f"{coverage['videos'] - coverage['scored']} test videos have no score, mostly for want of a face."
        )
    if min(measured["counts"]["real"], measured["counts"]["fake"]) < FEW:
        caveats.append("The test split is small: read the intervals, not the values.")
    return caveats
