"""Tables of scores that other detectors gave: read as they are, and matched with the videos of a dataset.

What a high score means is told, never guessed; what is no number, names a video twice or contradicts a label ends in
one sentence.
"""

import fnmatch
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dfutils.core.errors import InputError, closest
from dfutils.core.paths import video_id
from dfutils.data.lists import SPLITS, read_labels, read_texts

_DECIMAL_COMMA = r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?"
_EXAMPLES = 3


@dataclass(frozen=True)
class ScoreFile:
    """A table of scores, one row per video or per frame.

    Attributes:
        name: of the file.
        rows: what the file says beside the scores, as texts in lower-case columns: `video_id` or `path` and, where it
            has them, `label` (0 real, 1 fake), `method`, `identity`, `split`, `frame`, and of frames the whole numbers
            `person` and `position`.
        scores: float64, one column per detector: the higher, the more likely fake; NaN where there is none. From 0 to 1
            they are probabilities of fake, else log-odds.
    """

    name: str
    rows: pd.DataFrame
    scores: pd.DataFrame

    @property
    def by_frame(self) -> bool:
        """Whether rows are of single frames."""
        return "frame" in self.rows or "position" in self.rows

    @property
    def own_ids(self) -> pd.Series:
        """The id of each row's video without a dataset: that of the file, or made of the path."""
        return self.rows["video_id"] if "video_id" in self.rows else self.rows["path"].map(video_id)


def read(path: Path, higher: str, columns: Sequence[str] = ("score",), label_one: str = "") -> ScoreFile:
    """Return the scores in a CSV or Parquet file; delimiter and encoding (UTF-8 or UTF-16) are found out.

    Args:
        path: with a column `video_id` or `path`, and scores.
        higher: what a higher score means, `fake` or `real`; scores of the latter are turned round.
        columns: names of the columns of scores, or patterns such as `prob_*`; each is a detector.
        label_one: what 1 means in a column `label` of numbers, `real` or `fake`.

    Raises:
        InputError: if that is not said, a column is missing or no column of numbers, a label is unknown, one video has
            two labels, or people or positions of frames are not numbered.
    """
    path = Path(path)
    if higher not in ("fake", "real"):
        raise InputError("What does a higher score mean? Say it with --higher fake or --higher real.")
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    table = read_texts(path.parent, path.name)
    if not {"video_id", "path"} & set(table):
        raise InputError(f"{path.name} has no column video_id and no column path, but {', '.join(table)[:200]}.")
    chosen = _chosen(table, path.name, columns)
    scores = pd.DataFrame({name: _numbers(table[name], path.name) for name in chosen})
    if higher == "real":
        scores = scores.apply(lambda column: 1 - column if column.dropna().between(0, 1).all() else -column)
    rows = table.drop(columns=chosen)
    if "label" in rows:
        rows["label"] = read_labels(rows["label"], path.name, label_one)
        of_video = rows.groupby("video_id" if "video_id" in rows else "path")["label"].nunique()
        if (of_video > 1).any():
            raise InputError(f"{path.name} has {of_video.idxmax()} both as real and as fake: correct the list.")
    if "split" in rows:
        unknown = sorted(set(rows["split"].str.lower()) - {"", *SPLITS})
        if unknown:
            raise InputError(f"{path.name} has the split {unknown[0]!r}: use train, val and test.")
        rows["split"] = rows["split"].str.lower().map(SPLITS).fillna("")
    file = ScoreFile(path.name, rows, scores)
    for name in ("person", "position") if file.by_frame else ():
        if name in rows:
            rows[name] = _counted(rows[name], path.name)
    return file


def _chosen(table: pd.DataFrame, name: str, columns: Sequence[str]) -> list[str]:
    """Return the columns that names and patterns choose, in the order of the file."""
    chosen = []
    for pattern in columns:
        found = [column for column in table if fnmatch.fnmatch(column, pattern.lower())]
        if not found:
            close = closest(pattern.lower(), table)
            hint = f"did you mean {close!r}?" if close else f"it has {', '.join(table)[:200]}."
            raise InputError(f"{name} has no column {pattern}: name the columns of scores with --column; {hint}")
        chosen += [column for column in found if column not in chosen]
    return chosen


def _numbers(column: pd.Series, name: str) -> pd.Series:
    """Return a column of texts as numbers, NaN for empty ones; a comma may stand for the decimal point."""
    texts = column.where(~column.str.fullmatch(_DECIMAL_COMMA), column.str.replace(",", ".", regex=False))
    values = pd.to_numeric(texts, errors="coerce")
    wrong = values.isna() & ~column.str.lower().isin(["", "nan", "none", "null", "na"])
    if wrong.any():
        text = column[wrong].iloc[0]
        raise InputError(f"{name} has {text[:40]!r} in the column {column.name}, {wrong.sum()} in all: give numbers.")
    return values.where(np.isfinite(values)).astype(float)


def _counted(column: pd.Series, name: str) -> pd.Series:
    """Return a column of texts as whole numbers from 0."""
    values = pd.to_numeric(column, errors="coerce")
    wrong = ~(values.ge(0) & values.mod(1).eq(0))
    if wrong.any():
        raise InputError(f"{name} has {column[wrong].iloc[0]!r} in the column {column.name}: give numbers 0, 1, 2, ….")
    return values.astype(int)


def match(file: ScoreFile, videos: pd.DataFrame) -> tuple[pd.Series, list[str]]:
    """Return the id of each row's video in a videos table, "" where there is none, and what to tell the user.

    A path is matched by as many of its last folders as both have in common, so that absolute paths of another machine
    and other extensions do no harm. Where several paths end like one video, it is the one with most in common.

    Raises:
        InputError: if no row is matched, a path could be of several videos, the labels of the file are others than the
            table's, or a video has several rows that are not of frames.
    """
    ids, said = (file.rows["video_id"], []) if "video_id" in file.rows else _by_path(file, videos)
    known = ids.where(ids.isin(videos["video_id"]), "")
    if not (known != "").any():
        written = file.rows["video_id" if "video_id" in file.rows else "path"].iloc[0] if len(file.rows) else "nothing"
        raise InputError(
            f"{file.name} names none of the {len(videos)} videos of the dataset, but {written}; they are called "
            f"{videos['video_id'].iloc[0]} (video_id) or {videos['path'].iloc[0]} (path)."
        )
    if "label" in file.rows:
        labels = videos.set_index("video_id")["label"].reindex(known[known != ""])
        wrong = labels.to_numpy() != file.rows.loc[known != "", "label"].to_numpy()
        if wrong.any():
            example, word = labels.index[wrong][0], ("real", "fake")[int(labels[wrong].iloc[0])]
            raise InputError(
                f"{file.name} has other labels than the dataset for {wrong.sum()} rows, such as {example}, which is "
                f"{word} there: correct the list, or what 1 means (label_one)."
            )
    _check_rows(file, known[known != ""])
    strangers = ids[known == ""].unique()
    if len(strangers):
        said.append(f"{len(strangers)} names in {file.name} are no videos of the dataset: {_some(strangers)}.")
    judged = videos["split"].isin(["val", "test", "eval"])
    absent = videos.loc[judged & ~videos["video_id"].isin(known), "video_id"]
    if len(absent):
        said.append(f"{len(absent)} of {judged.sum()} videos that are judged are not in {file.name}: {_some(absent)}.")
    return known, said


def _check_rows(file: ScoreFile, ids: pd.Series) -> None:
    """Make sure that each video has one row, unless rows are of frames."""
    if not file.by_frame and ids.duplicated().any():
        raise InputError(
            f"{file.name} has several rows for {ids[ids.duplicated()].iloc[0]}: give one, or, if they are of single "
            "frames, a column frame; their scores are then averaged."
        )


def _some(names: Sequence[str]) -> str:
    names = [str(name) for name in names]
    return ", ".join(names[:_EXAMPLES]) + (" …" if len(names) > _EXAMPLES else "")


def _endings(path: str) -> list[str]:
    """Return a path without its extension, and shorter and shorter ends of it, each in forward slashes."""
    parts = os.path.splitext(re.sub(r"[\\/]+", "/", path))[0].strip("/").split("/")
    return ["/".join(parts[k:]) for k in range(len(parts))]


def _by_path(file: ScoreFile, videos: pd.DataFrame) -> tuple[pd.Series, list[str]]:
    """Return the id of the video that each path ends like, the path itself where there is none, and what to tell the
    user: which path has other folders than its video."""
    of_ending: dict[str, list[str]] = {}
    for name, path in zip(videos["video_id"], videos["path"], strict=True):
        for ending in _endings(path):
            of_ending.setdefault(ending, []).append(name)
    common: dict[str, dict[str, str]] = {}  # what each path has in common with a video
    for path in file.rows["path"].unique():
        ending = next((ending for ending in _endings(path) if ending in of_ending), "")
        names = of_ending.get(ending, [path])
        if len(names) > 1:
            raise InputError(f"{file.name} has {path}, which could be {_some(names)}: give more of its folders.")
        common.setdefault(names[0], {})[path] = ending
    path_of, found, others = dict(zip(videos["video_id"], videos["path"], strict=True)), {}, []
    for name, endings in common.items():
        nearest, *further = sorted(endings, key=lambda path: -len(endings[path]))
        if further and len(endings[further[0]]) == len(endings[nearest]):
            raise InputError(
                f"{file.name} has several rows for {name}, {nearest} and {further[0]}: give more of their folders."
            )
        found |= {nearest: name, **{path: path for path in further}}
        if endings[nearest] and endings[nearest] not in (_endings(nearest)[0], _endings(path_of[name])[0]):
            others.append(f"{nearest} for {path_of[name]}")
    said = [f"{len(others)} paths are in other folders than the dataset's, and were taken: {_some(others)}."]
    return file.rows["path"].map(found), said if others else []


def own_videos(file: ScoreFile, dataset: str) -> pd.DataFrame:
    """Return the split table that a file of scores makes by itself: one row per video, all for the test unless a
    column `split` says otherwise.

    Raises:
        InputError: if it has no labels, or several rows of a video that are not of frames.
    """
    rows = file.rows
    if "label" not in rows:
        raise InputError(f"{file.name} has no column label: add one (real, fake), or name the parameters of a dataset.")
    rows = rows.assign(video_id=file.own_ids)
    _check_rows(file, rows["video_id"])
    rows = rows.drop_duplicates("video_id")

    facts = dict.fromkeys(("width", "height", "fps", "n_frames", "duration_s", "bitrate", "people"), np.nan)
    said = {name: rows.get(name, "") for name in ("method", "identity", "compression", "split")}
    unknown = dict.fromkeys(("donor", "source_video", "official_split", "part", "codec", "reason"), "")
    named = {"video_id": rows["video_id"], "path": rows.get("path", rows["video_id"]), "dataset": dataset}
    table = pd.DataFrame({**named, "label": rows["label"].astype(np.int8), "status": "ok", **said, **unknown, **facts})
    table.loc[table["label"] == 0, "method"] = ""
    return table.assign(split=table["split"].replace("", "test")).reset_index(drop=True)


def as_logits(scores: pd.Series) -> pd.Series:
    """Return scores as log-odds of fake: probabilities, from 0 to 1, are converted; others are taken to be log-odds."""
    if not scores.dropna().between(0, 1).all():
        return scores
    with np.errstate(divide="ignore"):
        return np.log(scores) - np.log1p(-scores)
