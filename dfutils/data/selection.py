"""Choice within datasets: methods of forgery, compressions, and the sources of real videos."""

from collections.abc import Sequence

import pandas as pd

from dfutils.core.errors import InputError
from dfutils.core.params import Indexed, SelectionSettings, split_list

_COLUMNS = {"methods": "method", "compressions": "compression", "sources": "part"}
"""Column of the videos table that each parameter names values of."""


def choose(datasets: Sequence[Indexed], selection: SelectionSettings) -> list[Indexed]:
    """Return the datasets with the videos that a selection names, and the ids of all others as `left_out`.

    Fakes of other methods and videos of other compressions are left out, then real videos of other sources with the
    fakes made from them. A dataset that has none of the named values is not restricted by them. Names are compared
    without regard to case.

    Raises:
        InputError: if a named value is in none of the datasets, or a dataset would have no real or no fake video left.
    """
    chosen = list(datasets)
    for parameter, column in _COLUMNS.items():
        wanted = {name.lower() for name in split_list(getattr(selection, parameter))}
        if not wanted:
            continue
        values = [_values(dataset.videos, column) for dataset in datasets]
        known = {value.lower(): value for found in values for value in found}
        if absent := sorted(wanted - set(known)):
            have = ", ".join(sorted(known.values())) or "none are known"
            raise InputError(f"{parameter}: no dataset has {', '.join(absent)}; what they have: {have}.")
        chosen = [
            dataset._replace(videos=_restricted(dataset, parameter, wanted))
            if wanted & {value.lower() for value in found}
            else dataset
            for dataset, found in zip(chosen, values, strict=True)
        ]
    return [
        now._replace(left_out=frozenset(before.videos["video_id"]) - frozenset(now.videos["video_id"]))
        for before, now in zip(datasets, chosen, strict=True)
    ]


def _values(videos: pd.DataFrame, column: str) -> list[str]:
    """Return the values that may be named: methods are of fakes, parts of real videos; none in an earlier index."""
    rows = videos[videos["label"] == (1 if column == "method" else 0)]
    return [value for value in rows[column].unique() if value] if column in videos else []


def _restricted(dataset: Indexed, parameter: str, wanted: set[str]) -> pd.DataFrame:
    videos, column = dataset.videos, _COLUMNS[parameter]
    named, real = videos[column].str.lower().isin(wanted), videos["label"] == 0
    if column == "method":
        kept = real | named
    elif column == "compression":
        kept = named
    else:
        others = videos["video_id"][real & ~named]
        kept = (real & named) | (~real & ~videos["source_video"].isin(others))
    if videos["label"][kept].nunique() < videos["label"].nunique():
        raise InputError(f"{parameter} leaves {dataset.name} without real or without fake videos: name more of them.")
    return videos[kept].reset_index(drop=True)
