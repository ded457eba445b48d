"""What the suite knows of the datasets on this machine: where each lies, and its index.

Notebook 01 obtains a dataset and indexes it once; every later stage and experiment finds it here by its name.
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
"""Where everything that is made of datasets lies; paths in tables of an experiment are relative to it."""


class PooledFaces(NamedTuple):
    """The preprocessed videos of several datasets: videos table, frames table, and each video's strip by its id."""

    videos: pd.DataFrame
    frames: pd.DataFrame
    strips: dict[str, Path]


def known(place: Place) -> Place:
    """Return where a dataset lies that was indexed before, under whatever parameters; else the place itself."""
    about = place.folder / "dataset.json"
    if not about.exists():
        return place
    found = read_json(about)
    return place._replace(layout=found["layout"], root=ROOT / found["root"])


def index(place: Place) -> pd.DataFrame:
    """Scan a dataset, open each video for its container facts, write both down, and return the videos table.

    `attrs["warnings"]` is that of `indexing.scan`. Where nothing has changed since, the facts are not read again.
    """
    scanned = indexing.scan(place.layout, place.root).assign(dataset=place.name)
    fingerprint = indexing.fingerprint(scanned, place.root)
    about = {"layout": place.layout, "root": _relative(place.root), "fingerprint": fingerprint}
    about_path, table_path = place.folder / "dataset.json", place.folder / "videos.parquet"
    if about_path.exists() and table_path.exists() and read_json(about_path) == about:
        table = read_table(table_path)
    else:
        table = indexing.open_facts(scanned, place.root)
        write_table(table, table_path)
        write_json(about, about_path)
    table.attrs["warnings"] = scanned.attrs["warnings"]
    return table


def load(place: Place) -> Indexed:
    """Return a dataset that was indexed before.

    Raises:
        InputError: if notebook 01 has not been run for it.
    """
    if not (place.folder / "dataset.json").exists():
        raise InputError(f"The dataset {place.name!r} is not indexed yet: run notebook 01 with dataset: {place.name}.")
    indexed = known(place)
    videos = read_table(place.folder / "videos.parquet")
    return Indexed(place.name, indexed.root, place.folder, videos, indexed.layout)


def pool_faces(made: Mapping[str, Preprocessed]) -> PooledFaces:
    """Join what preprocessing made of several datasets, given by name, with the ids that `indexing.pool` gives."""
    videos = indexing.pool({name: result.videos for name, result in made.items()})
    prefix = {name: f"{name}__" if len(made) > 1 else "" for name in made}
    frames = [result.frames.assign(video_id=prefix[name] + result.frames["video_id"]) for name, result in made.items()]
    strips = {row.video_id: DATA / row.strip for row in videos.itertuples() if row.strip}
    return PooledFaces(videos, pd.concat(frames, ignore_index=True), strips)


def roots(names: Iterable[str]) -> dict[str, Path]:
    """Return the folder that the paths of each indexed dataset begin in, by its name."""
    return {name: known(Place(name, "", DATA / name / "videos", DATA / name)).root for name in names}


def _relative(root: Path) -> str:
    """Return a root as it is written down: below the project relative to it, so that the project can be moved."""
    return root.relative_to(ROOT).as_posix() if root.is_relative_to(ROOT) else os.fspath(root)
