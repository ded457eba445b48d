"""The indexed datasets on this machine: where each lies, and its videos table.

Notebook 01 obtains and indexes a dataset once; later stages and other experiments load it by its name.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from dfutils.core.errors import InputError
from dfutils.core.files import read_json, read_table, write_json, write_table
from dfutils.core.params import ROOT, Indexed, Place
from dfutils.data import indexing
from dfutils.faces.batch import Preprocessed

DATA = ROOT / "data"
"""Folder of the datasets and of everything computed from them; paths in an experiment's tables are relative to it."""


class PooledFaces(NamedTuple):
    """The preprocessed videos of several datasets: videos table, frames table, and path of each strip by video id."""

    videos: pd.DataFrame
    frames: pd.DataFrame
    strips: dict[str, Path]


def indexed_place(place: Place) -> Place:
    """Return the place with the layout and root that the dataset was indexed with; unchanged if it is not indexed."""
    path = place.folder / "dataset.json"
    if not path.exists():
        return place
    about = read_json(path)
    return place._replace(layout=about["layout"], root=ROOT / about["root"])


def index(place: Place, label_one: str = "") -> pd.DataFrame:
    """Return the videos table of a dataset with its container facts, and write it to the dataset's folder.

    If ids, labels and file sizes are those of an earlier call, its table is returned and no video is opened.
    `attrs["warnings"]` is that of `indexing.scan`, which takes `label_one`.

    Raises:
        InputError: as `indexing.scan`.
    """
    scanned = indexing.scan(place.layout, place.root, label_one).assign(dataset=place.name)
    fingerprint = indexing.fingerprint(scanned, place.root)
    about = {"layout": place.layout, "root": _relative(place.root), "fingerprint": fingerprint}
    about["columns"] = len(indexing.COLUMNS)  # an index of an earlier version is made again
    about_path, table_path = place.folder / "dataset.json", place.folder / "videos.parquet"
    if about_path.exists() and table_path.exists() and read_json(about_path) == about:
        table = read_table(table_path)
    else:
        table = indexing.probe_videos(scanned, place.root)
        write_table(table, table_path)
        write_json(about, about_path)
    table.attrs["warnings"] = scanned.attrs["warnings"]
    return table


def load(place: Place) -> Indexed:
    """Return an indexed dataset.

    Raises:
        InputError: if the dataset is not indexed.
    """
    if not (place.folder / "dataset.json").exists():
        raise InputError(f"The dataset {place.name!r} is not indexed yet: run notebook 01 with dataset: {place.name}.")
    place = indexed_place(place)
    return Indexed(place.name, place.root, place.folder, read_table(place.folder / "videos.parquet"), place.layout)


def pool_faces(results: Mapping[str, Preprocessed]) -> PooledFaces:
    """Return the results of preprocessing several datasets, given by name, as one, with the ids of `indexing.pool`."""
    videos = indexing.pool({name: result.videos for name, result in results.items()})
    prefix = {name: f"{name}__" if len(results) > 1 else "" for name in results}
    frames = [
        result.frames.assign(video_id=prefix[name] + result.frames["video_id"]) for name, result in results.items()
    ]
    strips = {row.video_id: DATA / row.strip for row in videos.itertuples() if row.strip}
    return PooledFaces(videos, pd.concat(frames, ignore_index=True), strips)


def roots(names: Iterable[str]) -> dict[str, Path]:
    """Return the root of each indexed dataset, to which the paths in its videos table are relative, by name."""
    return {name: indexed_place(Place(name, "", DATA / name / "videos", DATA / name)).root for name in names}


def _relative(root: Path) -> str:
    """Return a root as text, relative to the project if it lies below, so that the project can be moved."""
    return root.relative_to(ROOT).as_posix() if root.is_relative_to(ROOT) else os.fspath(root)
