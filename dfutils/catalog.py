"""What the suite knows of the datasets on this machine: where each lies, and its index.

Notebook 01 obtains a dataset and indexes it once; every later stage and experiment finds it here by its name.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from dfutils import datasets
from dfutils.download import provide
from dfutils.errors import InputError
from dfutils.files import read_json, read_table, write_json, write_table
from dfutils.params import ROOT, Params, Place

DATA = ROOT / "data"
"""Where everything that is made of datasets lies; paths in tables of an experiment are relative to it."""


class Indexed(NamedTuple):
    """A dataset that notebook 01 has indexed: its videos table, and the folder that the table's paths begin in."""

    name: str
    root: Path
    folder: Path
    videos: pd.DataFrame


def obtain(place: Place, params: Params) -> Place:
    """See to it that the videos of a dataset are there, and return where and in which layout they lie.

    The built-in sample is made, and so are talking clips of photographs; one's own real videos without a `fake/` folder
    get forged fakes, both encoded anew into `data/`, where `forge_fakes` is set; anything else is fetched, unpacked or
    found by `download.provide`.

    Raises:
        InputError: if the videos cannot be had, with what to do.
    """
    if place.layout == "sample" and not place.root.is_relative_to(place.folder):
        return place
    clips = {
        "frames": params.sample_frames,
        "size": params.sample_size,
        "seed": params.sample_seed,
        "workers": params.workers,
    }
    if place.layout == "stills":
        from dfutils import photographs

        out = place.folder / "videos"
        photographs.build(place.root, out, **clips)
        return place._replace(root=out)
    if place.layout == "sample":
        from dfutils import sample

        sample.build(place.root, variants=params.sample_variants, **clips)
        return place
    sources = (params.kaggle_dataset, params.kaggle_competition, params.archive)
    if any(sources) and len(params.places) > 1:
        raise InputError(
            "kaggle_dataset, kaggle_competition and archive fetch one dataset: index each by itself first."
        )
    if any(sources) or place.layout != "folder":
        provide(
            place.root,
            kaggle_dataset=params.kaggle_dataset,
            kaggle_competition=params.kaggle_competition,
            archive=str(ROOT / params.archive) if params.archive else "",
        )
    if place.layout == "folder" and params.forge_fakes:
        return _forged(place, params)
    return place


def _forged(place: Place, params: Params) -> Place:
    """Make fakes out of the real videos of a folder, and return where they and the re-encoded real ones lie."""
    from dfutils import forged

    real = place.root / "real"
    if (place.root / "fake").exists():
        raise InputError(f"{place.root} has fakes of its own in fake/: set forge_fakes to false, or move them away.")
    if not real.is_dir():
        raise InputError(f"{place.root} has no folder real/: put the real videos there, or correct `root`.")
    out = place.folder / "videos"
    forged.forge_folder(real, out, seed=params.sample_seed, max_frames=params.max_frames, workers=params.workers)
    return place._replace(root=out, layout="sample")


def known(place: Place) -> Place:
    """Return where a dataset lies that was indexed before, under whatever parameters; else the place itself."""
    about = place.folder / "dataset.json"
    if not about.exists():
        return place
    found = read_json(about)
    return place._replace(layout=found["layout"], root=ROOT / found["root"])


def index(place: Place) -> pd.DataFrame:
    """Scan a dataset, open each video for its container facts, write both down, and return the videos table.

    `attrs["warnings"]` is that of `datasets.scan`. Where nothing has changed since, the facts are not read again.
    """
    scanned = datasets.scan(place.layout, place.root).assign(dataset=place.name)
    fingerprint = datasets.fingerprint(scanned, place.root)
    about = {"layout": place.layout, "root": _relative(place.root), "fingerprint": fingerprint}
    about_path, table_path = place.folder / "dataset.json", place.folder / "videos.parquet"
    if about_path.exists() and table_path.exists() and read_json(about_path) == about:
        table = read_table(table_path)
    else:
        table = datasets.open_facts(scanned, place.root)
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
