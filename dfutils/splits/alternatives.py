"""The splits that each policy would have made of the same videos, and what they leak."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pandas as pd

from dfutils.core.errors import InputError
from dfutils.core.params import DEFAULTS
from dfutils.splits.leakage import shared_content, shared_people
from dfutils.splits.policies import assign


def candidates(
    videos: pd.DataFrame,
    seed: int = 0,
    val_fraction: float = DEFAULTS.val_fraction,
    test_fraction: float = DEFAULTS.test_fraction,
    draws: int = 10,
) -> dict[tuple[str, int], pd.DataFrame]:
    """Return split tables by policy and number of the draw, the policy that leaks most first.

    Args:
        videos: videos table.
        seed: of the first draw; the next have the next seeds.
        val_fraction: as in `policies.assign`.
        test_fraction: likewise.
        draws: split tables of each policy. A policy that cannot divide these videos has none; `official` is tried where
            a video is on a test list.
    """
    names = ["random", "source", "identity", *["official"] * bool((videos["official_split"] == "test").any())]
    tables = {}
    for policy in names:
        for draw in range(draws):
            with suppress(InputError):
                tables[policy, draw] = assign(videos, policy, seed + draw, val_fraction, test_fraction)
    return tables


def leaks(tables: Mapping[tuple[str, int], pd.DataFrame], strips: Mapping[str, Path]) -> pd.DataFrame:
    """Return what the first draw of each policy shares between its splits, one row per policy.

    Columns: `people` and `sources` in more than one split, by name; `near-duplicates`, pairs of videos in different
    splits with nearly the same content (`leakage.shared_content`).
    """
    rows = {}
    for policy, table in {policy: table for (policy, draw), table in tables.items() if draw == 0}.items():
        shared = shared_people(table).drop_duplicates(["kind", "name"])["kind"].value_counts()
        pairs = shared_content(table, strips).attrs["pairs"]
        rows[policy] = [shared.get("person", 0), shared.get("source video", 0), pairs]
    columns = ["people on two sides", "sources on two sides", "near-duplicates on two sides"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("policy")
