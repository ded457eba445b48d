"""What the suite knows of the datasets on this machine: where each lies, and its index.

Notebook 01 obtains a dataset and indexes it once; every later stage and experiment finds it here by its name.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from dfutils.core.errors import InputError
from dfutils.core.files import read_json, read_table, write_json, write_table
from dfutils.core.params import ROOT, Indexed, Place
from dfutils.data import indexing

DATA = ROOT / "data"
"""Where everything that is made of datasets lies; paths in tables of an experiment are relative to it."""


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
    return Indexed(place.name, known(place).root, place.folder, read_table(place.folder / "videos.parquet"))


def roots(names: Iterable[str]) -> dict[str, Path]:
    """Return the folder that the paths of each indexed dataset begin in, by its name."""
    return {name: known(Place(name, "", DATA / name / "videos", DATA / name)).root for name in names}


def _relative(root: Path) -> str:
    """Return a root as it is written down: below the project relative to it, so that the project can be moved."""
    return root.relative_to(ROOT).as_posix() if root.is_relative_to(ROOT) else os.fspath(root)
