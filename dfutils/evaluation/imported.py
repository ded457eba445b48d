"""Scores of a detector that ran elsewhere, judged like those of one's own.

In an experiment, imported scores stand where a detector does: its folder holds the scores instead of weights, beside
the same config.json with the calibration, so that notebooks 04 and 05 and `dfutils compare` treat both alike.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from dfutils.core import experiments, stages
from dfutils.core.errors import InputError
from dfutils.core.files import atomic, file_digest, make_folder, read_json, read_table, write_json, write_table
from dfutils.core.params import FaceSettings, Params
from dfutils.data.indexing import fingerprints
from dfutils.evaluation import score_files
from dfutils.evaluation.score_files import ScoreFile, as_logits
from dfutils.splits.leakage import audit

FRAMES = ["video_id", "person", "position", "logit"]
"""Columns of the scores of single frames."""


class ImportedScores:
    """What stands for a detector whose scores were imported: `config` as of a detector, and the scores."""

    def __init__(self, folder: Path) -> None:
        """Read the scores that `import_scores` wrote into a detector's folder."""
        self.folder, self.config = Path(folder), read_json(folder / "config.json")
        self.clips = read_table(self.folder / "scores.parquet")
        self.frames = read_table(self.folder / "frame_scores.parquet")

    @property
    def name(self) -> str:
        """The file and its column."""
        return " ".join(filter(None, (self.config["imported"]["file"], self.config["imported"]["column"])))

    def digest(self) -> str:
        """Return 16 hexadecimal digits that name the scores."""
        return file_digest(self.folder / "scores.parquet")[:16]

    def check_geometry(self, _settings: Any) -> None:
        """Do nothing: which faces the scores are of is not known."""


def is_imported(folder: Path) -> bool:
    """Return whether a detector's folder holds imported scores."""
    return (folder / "config.json").is_file() and "imported" in read_json(folder / "config.json")


@dataclass(frozen=True)
class Import:
    """What was imported: the parameters of each detector's experiment, and what to tell the user."""

    experiments: list[Params]
    said: list[str]


def import_scores(params: Params, file: ScoreFile, *, own: bool = False) -> Import:
    """Make an experiment of each detector in a file of scores, ready for notebook 04.

    The experiments are named after that of `params` and the file, or the columns where there are several; with `own`,
    where the file brings its videos along, after the experiment of `params` alone.

    Raises:
        InputError: if notebook 02 has not run for the parameters, an experiment of such a name holds a detector, or as
            `score_files.match` and `score_files.own_videos`.
    """
    name, several = base_name(params, file, own=own), len(file.scores.columns) > 1
    named = {column: f"{name}-{_safe(column)}" if several else name for column in file.scores}
    of_column = {column: params.model_copy(update={"experiment": named[column]}) for column in named}
    for experiment in of_column.values():
        _check_free(experiment)
    if own:
        videos, said = score_files.own_videos(file, params.experiment), []
        ids = file.own_ids
    else:
        for experiment in of_column.values():
            experiments.take_over(experiment, "download", "preprocess")
            stages.record(experiment, "preprocess")
        videos = read_table(experiment.run_folder / "videos.parquet")
        ids, said = score_files.match(file, videos)
        if "position" in file.rows:
            _check_positions(file, ids, read_table(experiment.run_folder / "frames.parquet"))
    tested = ids.isin(videos.loc[videos["split"] == "test", "video_id"])
    known = [column for column in named if file.scores.loc[tested, column].notna().any()]
    if not known:
        raise InputError(f"{file.name} has no score of a test video: there is nothing to judge.")
    if len(known) < len(named):
        said.append(f"Left out, as they score no test video: {', '.join(c for c in named if c not in known)}.")
    for column in known:
        if own:
            _write_splits(of_column[column], videos)
        said += _write_scores(of_column[column], file, column, ids)
    return Import([of_column[column] for column in known], said)


def base_name(params: Params, file: ScoreFile, *, own: bool) -> str:
    """Return the name that the experiments of a file of scores have in common."""
    return params.experiment if own else f"{params.experiment}-{_safe(Path(file.name).stem)}"


def _safe(text: str) -> str:
    """Return a text as a part of an experiment's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("_.-")[:60] or "scores"


def _check_free(params: Params) -> None:
    """Make sure that no detector is trained or judged under the experiment's name."""
    folder = params.run_folder / "detector"
    if folder.exists() and not is_imported(folder):
        raise InputError(f"The experiment {params.experiment} has a detector: choose another name with --experiment.")


def _check_positions(file: ScoreFile, ids: pd.Series, frames: pd.DataFrame) -> None:
    """Make sure that positions are those of frames in the strips of the dataset, each once."""
    keys, person = ["video_id", "person", "position"], file.rows.get("person", 0)
    rows = file.rows.assign(video_id=ids, person=person).loc[ids.isin(frames["video_id"]), keys]
    known = rows.merge(frames[keys].drop_duplicates(), on=keys, how="left", indicator=True)["_merge"] == "both"
    wrong = rows[~known.to_numpy() | rows.duplicated().to_numpy()]
    if len(wrong):
        name, person, position = wrong.iloc[0]
        raise InputError(
            f"{file.name} has the position {position} of person {person} in {name} twice, or its strip has no such "
            "frame: positions count the crops of a strip; call numbers of frames in the video `frame`."
        )


def _write_splits(params: Params, videos: pd.DataFrame) -> None:
    """Write what notebook 02 would leave of videos of which there are scores alone."""
    folder = make_folder(params.run_folder)
    frames = dict.fromkeys(("face_px", "sharpness", "brightness", "yaw", "pitch", "time_s"), float)
    frames = {"video_id": str, "person": int, "position": int, "frame": int, **frames}
    write_table(pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in frames.items()}), folder / "frames.parquet")
    write_table(videos, folder / "videos.parquet")
    facts = {**fingerprints(videos), "settings": FaceSettings.of(params).model_dump(), "policy": "as in the file"}
    found = audit(videos).to_dict()
    stages.finish(params, "preprocess", **facts, reviewed=[], audit=found, layouts=[])
    with atomic(folder / "params.yaml") as temporary:
        text = yaml.safe_dump({"experiment": params.experiment, "dataset": params.dataset, "layout": "folder"})
        temporary.write_text(text, encoding="utf-8")


def _write_scores(params: Params, file: ScoreFile, column: str, ids: pd.Series) -> list[str]:
    """Write the detector's folder and the record of its stage; return what to tell the user."""
    rows = file.rows.assign(video_id=ids, score=file.scores[column])[(ids != "") & file.scores[column].notna()]
    rows = rows.assign(person=rows["person"] if file.by_frame and "person" in rows else 0)
    odds = not file.scores[column].dropna().between(0, 1).all()  # of the whole column: few of its scores may look so
    clips = rows.groupby(["video_id", "person"], sort=False)["score"].mean().groupby("video_id", sort=False).max()
    clips = clips.rename("logit").reset_index()
    rows = rows.rename(columns={"score": "logit"})
    if not odds:
        rows["logit"], clips["logit"] = as_logits(rows["logit"]), as_logits(clips["logit"])
    frames = pd.DataFrame(columns=FRAMES).astype({"person": int, "position": int, "logit": float})
    if file.by_frame:
        order = rows["position"] if "position" in rows else pd.to_numeric(rows["frame"], errors="coerce")
        rows = rows.assign(order=order).sort_values(["video_id", "person", "order"])
        if "position" not in rows:
            rows["position"] = rows.groupby(["video_id", "person"]).cumcount()
        frames = rows[FRAMES]
    folder = params.run_folder / "detector"
    with atomic(folder) as temporary:
        temporary.mkdir()
        write_table(clips, temporary / "scores.parquet")
        write_table(frames, temporary / "frame_scores.parquet")
        origin = {"file": file.name, "column": column, "frames": file.by_frame, "positions": "position" in file.rows}
        neutral = {"slope": 1.0, "offset": 0.0, "prior_fake": None, "threshold": 0.5}
        write_json({"imported": origin, "training": {}, **neutral}, temporary / "config.json")
    stages.finish(params, "train", imported=origin)
    return [f"The scores in {column} are not from 0 to 1, and are taken to be log-odds of fake."] if odds else []
