"""The same detector, the same test videos, disturbed: how fast does it fail, and does it say so?

Every disturbed video goes the whole way, from frames to faces to a score, with the threshold and the calibration that
validation chose undisturbed. What is made is kept by disturbance and level, video by video: a stopped run goes on where
it was, and a new level costs only itself.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from dfutils import metrics
from dfutils.core.files import atomic, digest, make_folder, plain_rows, read_json, read_table, write_json, write_table
from dfutils.core.params import DEFAULTS, FaceSettings
from dfutils.core.progress import bar
from dfutils.detector.network import Detector
from dfutils.evaluation import coverage, perturbations
from dfutils.evaluation.experiment import Experiment
from dfutils.evaluation.metrics_json import fingerprint
from dfutils.evaluation.scoring import score
from dfutils.faces import video

_VERSION = {"one": 1, "cropped": 1, "all": 2}  # part of the folder's name: raise it when disturbed videos change
FIGURES = ("roc_auc", "balanced_accuracy", "recall_fake", "recall_real")


def choose_videos(predictions: pd.DataFrame, most: int) -> pd.DataFrame:
    """Return at most `most` scored test videos, both classes in equal numbers as far as there are enough.

    The choice depends on the ids alone, so that more videos include the fewer.
    """
    rows = predictions[(predictions["split"] == "test") & predictions["probability_fake"].notna()]
    chance = rows["video_id"].map(lambda name: hashlib.sha256(name.encode()).hexdigest())
    turn = chance.groupby(rows["label"]).rank()
    order = rows.assign(turn=turn).sort_values(["turn", "label"])
    return order.head(most).drop(columns="turn").sort_values("video_id").reset_index(drop=True)


def score_disturbed(
    videos: pd.DataFrame,
    roots: dict[str, Path],
    detector: Detector,
    wanted: list[tuple[str, int]],
    folder: Path,
    settings: FaceSettings,
    *,
    seed: int = 0,
    batch_size: int = DEFAULTS.batch_size,
    workers: int = 0,
) -> pd.DataFrame:
    """Disturb, find faces and score; return one row per video, disturbance and level.

    Args:
        videos: rows of the videos table.
        roots: by dataset, the folder that `path` begins in.
        detector: as loaded.
        wanted: disturbances and levels, as `perturbations.chosen` gives them.
        folder: where what is made is kept.
        settings: how faces are found, those of the detector's training.
        seed: of noise and blocks.
        batch_size: clips at a time.
        workers: processes; 0 is one per core.

    Columns: `video_id`, `perturbation`, `level`, `status`, `probability_fake` (NaN where no face was left).
    """
    made = {"version": _VERSION[settings.faces], "seed": seed, **settings.model_dump()}
    place = make_folder(folder / digest(made)[:10])
    jobs = []
    for name, level in wanted:
        part = make_folder(place / f"{name}_{level}")
        jobs += [
            (roots[row.dataset] / row.path, part, row.video_id, name, level, settings, seed)
            for row in videos.itertuples()
            if not (part / f"{row.video_id}.json").exists()
        ]
    count = min(workers or os.cpu_count() or 1, max(len(jobs), 1))
    done = Parallel(n_jobs=count, return_as="generator_unordered", batch_size=1)(
        delayed(perturbations.make_strip)(*job) for job in jobs
    )
    for _ in bar(done, total=len(jobs), desc="disturbed", unit="video") if jobs else done:
        pass
    mark = fingerprint(detector)[:10]
    tables = []
    for name, level in wanted:
        scored = _score(place / f"{name}_{level}", videos["video_id"], detector, mark, batch_size)
        tables.append(scored.assign(perturbation=name, level=level))
    columns = ["video_id", "perturbation", "level", "status", "probability_fake"]
    return pd.concat(tables, ignore_index=True)[columns]


def _score(part: Path, video_ids: pd.Series, detector: Detector, mark: str, batch_size: int) -> pd.DataFrame:
    """Return status and score of the videos of one disturbance and level; kept under the detector's mark."""
    kept = part / f"scores-{mark}.parquet"
    if kept.exists():
        known = read_table(kept)
        if set(video_ids) <= set(known["video_id"]):
            return known[known["video_id"].isin(set(video_ids))].reset_index(drop=True)
    found = [read_json(part / f"{name}.json") for name in video_ids]
    status, strips = [row["status"] for row in found], [row.get("strips", 1) for row in found]
    table = pd.DataFrame({"video_id": list(video_ids), "status": status})
    views = [row.get("views", "face") for row in found]
    good = table.assign(strip=table["video_id"] + ".png", strips=strips, views=views)[table["status"] == "ok"]
    table["probability_fake"] = float("nan")
    if len(good):
        scores, _ = score(detector, good, part, batch_size=batch_size)
        table["probability_fake"] = table["video_id"].map(scores.set_index("video_id")["probability_fake"])
    write_table(table, kept)
    return table


def degradation(
    clean: pd.DataFrame,
    disturbed: pd.DataFrame,
    threshold: float,
    *,
    resamples: int = DEFAULTS.resamples,
    seed: int = 0,
) -> pd.DataFrame:
    """Return a row for the undisturbed videos (level 0) and one a disturbance and level.

    `clean` holds the rows of the predictions table of the videos that were disturbed, `disturbed` is what
    `score_disturbed` returned, and `threshold` that of the undisturbed validation videos.

    Columns: `perturbation` (in words), `level`, `scored` (videos), `lost` (share without a score), `roc_auc` with `low`
    and `high`, `balanced_accuracy`, `recall_fake`, `recall_real`, and `change` of the AUC with `change_low` and
    `change_high`: paired, on the videos that still have a score. Undefined is NaN.
    """
    drawn = {"resamples": resamples, "seed": seed}
    rows = [_row("undisturbed", 0, clean, clean, threshold, drawn)]
    for (name, level), part in disturbed.groupby(["perturbation", "level"], sort=False):
        now = clean.drop(columns="probability_fake").merge(part[["video_id", "probability_fake"]], on="video_id")
        rows.append(_row(perturbations.WORDS[name], level, clean, now, threshold, drawn))
    return pd.DataFrame(rows)


def document(measured: pd.DataFrame, detector: Detector) -> dict[str, Any]:
    """Return robustness.json: the rows of `measure`, undefined figures as None, and the fingerprint of the detector.

    The fingerprint is that of metrics.json, so that figures of two detectors are never mixed.
    """
    return {"schema": 1, "detector": fingerprint(detector), "figures": plain_rows(measured)}


def _row(
    name: str, level: int, clean: pd.DataFrame, now: pd.DataFrame, threshold: float, drawn: dict[str, int]
) -> dict[str, Any]:
    lost = now["probability_fake"].isna()
    status = now["status"].where(~lost, "no_face")
    counted = coverage.with_policy(now.assign(status=status), threshold=threshold)
    figures = metrics.summary(counted.labels, counted.scores, threshold, groups=counted.groups, **drawn)
    row: dict[str, Any] = {"perturbation": name, "level": level, "scored": int((~lost).sum()), "lost": lost.mean()}
    auc = figures["roc_auc"]
    row |= {"roc_auc": auc["value"], "low": auc["low"], "high": auc["high"]}
    row |= {figure: figures[figure]["value"] for figure in FIGURES[1:]}
    before = clean.set_index("video_id")["probability_fake"].reindex(counted.table["video_id"]).to_numpy(dtype=float)
    change = metrics.paired_difference(
        counted.labels, counted.scores, before, "roc_auc", groups=counted.groups, **drawn
    )
    row |= {"change": change["value"], "change_low": change["low"], "change_high": change["high"]}
    return {key: float("nan") if value is None else value for key, value in row.items()}


class RobustnessTest:
    """Test videos that had a score, disturbed and judged again."""

    def __init__(self, experiment: Experiment, names: str, levels: str, most: int, seed: int = 0) -> None:
        """Choose at most `most` videos (see `choose_videos`), and disturbances and levels (see `perturbations.chosen`).

        `seed` is that of noise and blocks, and of the bootstrap.

        Raises:
            InputError: for a disturbance or level that there is not, or an experiment that was not evaluated or whose
                detector or splits have changed since.
        """
        experiment.check_evaluated()
        self.experiment, self.seed = experiment, seed
        self.threshold: float = experiment.record("evaluate")["threshold"]
        self.wanted = perturbations.chosen(names, levels)
        self.videos = choose_videos(experiment.predictions, most)

    def preview(self, most: int = 7) -> list[np.ndarray]:
        """Return the first frame of the first video, undisturbed and in the first `most` ways disturbed, RGB uint8."""
        path = self.experiment.path(self.videos["video_id"].iloc[0])
        disturbed = [perturbations.preview(path, name, level, self.seed) for name, level in self.wanted[:most]]
        return [video.first_frame(path), *disturbed]

    def run(self, batch_size: int = DEFAULTS.batch_size, workers: int = 0) -> pd.DataFrame:
        """Disturb the videos, find faces and score again; see `score_disturbed`."""
        experiment = self.experiment
        return score_disturbed(
            experiment.videos.loc[self.videos["video_id"]],
            experiment.roots,
            experiment.detector,
            self.wanted,
            experiment.params.run_folder / "robustness",
            experiment.face_settings,
            seed=self.seed,
            batch_size=batch_size,
            workers=workers,
        )

    def measure(self, disturbed: pd.DataFrame, resamples: int = DEFAULTS.resamples) -> pd.DataFrame:
        """Return the figures of every disturbance and level, beside the undisturbed ones; see `degradation`."""
        return degradation(self.videos, disturbed, self.threshold, resamples=resamples, seed=self.seed)

    def write(self, measured: pd.DataFrame) -> None:
        """Write robustness.csv and robustness.json into the experiment's report."""
        folder = self.experiment.params.report_folder
        with atomic(folder / "robustness.csv") as temporary:
            measured.to_csv(temporary, index=False)
        write_json(document(measured, self.experiment.detector), folder / "robustness.json")
