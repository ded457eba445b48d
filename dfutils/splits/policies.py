"""Who may be in which split.

A score means something only if the detector has not met the test videos' people before. `assign` divides a videos table
into train, validation and test so that no group of videos that belong together is torn: by people (target, donor, and
the real video a fake was made from), by source video, by the dataset's own list, or not at all, as the seed projects
did. Groups are dealt out largest first, each to the split that it brings closest to its share of every class and
method. `audit` (written in `dfutils.splits.leakage`) looks for what leaked all the same.
"""

import difflib
from collections.abc import Collection

import numpy as np
import pandas as pd

from dfutils.core.errors import InputError
from dfutils.splits.identities import components, content_keys, people
from dfutils.splits.leakage import Audit, audit, embed

__all__ = ["POLICIES", "SPLITS", "Audit", "assign", "audit", "embed", "hold_out"]

SPLITS = ("train", "val", "test")
POLICIES = {
    "official": "the dataset's own test list; validation from the remaining training identities",
    "identity": "no person, target or donor, in two splits",
    "source": "fakes stay with the video they were made from",
    "random": "video by video, as the seed projects did: people and source videos leak between splits",
}

# A component of at least so many people is taken apart if it holds more than this share of a class or method that has
# at least so many videos.
_PEOPLE, _SHARE, _MANY = 6, 0.8, 30


def assign(
    videos: pd.DataFrame,
    policy: str,
    seed: int = 0,
    val_fraction: float = 0.15,
    test_fraction: float = 0.2,
    held_out: Collection[str] = (),
) -> pd.DataFrame:
    """Return a copy of the videos table with `split`: `train`, `val`, `test`, or "" for videos that are in none.

    Policies are those of `POLICIES`. An unknown person counts as a person of its own. In no split are videos whose
    status is `excluded`; under `official`, videos that the dataset's lists do not name; under `identity`, fakes whose
    two people ended up apart. That happens only where people are so entangled that one component of the graph of people
    holds over four fifths of a class or method (Celeb-DF: everybody is swapped with everybody): its people are then
    dealt out one by one, and at random rather than so as to save fakes, which would gather people who look alike on
    one side. Where the official lists have no validation part, it is taken from the training videos by components of
    people, or, where one component holds too many, by target person; then no fake is dropped.

    The result depends on ids and seed, not on the order of rows. `val_fraction` and `test_fraction` are of the videos
    (under `official`, `val_fraction` of the listed training videos), and each class and method comes close to them.
    The datasets named in `held_out` are in no split of these, but scored as a whole: see `hold_out`; they come last.
    `attrs` holds `policy`, `groups` (how many were dealt out) and `dropped` (how many videos the policy left out).

    Raises:
        InputError: if the policy is unknown, ids occur twice, there are too few videos or groups, or a split would lack
            one of the two classes; the text says what to do.
    """
    if held_out:
        other = videos["dataset"].isin(list(held_out))
        own = assign(videos[~other], policy, seed, val_fraction, test_fraction)
        return pd.concat([own, hold_out(videos[other])])
    _check(videos, policy, val_fraction, test_fraction)
    usable = videos["status"] != "excluded" if "status" in videos else pd.Series(True, index=videos.index)
    rows = videos[usable.to_numpy()].sort_values("video_id").reset_index(drop=True)
    rng = np.random.default_rng(seed)
    if policy == "official":
        split, groups = _official(rows, val_fraction, rng)
    else:
        side, groups = _divide(rows, policy, [1 - val_fraction - test_fraction, val_fraction, test_fraction], rng)
        split = np.array([*SPLITS, ""], dtype=object)[side]
    _check_classes(split, rows["label"].to_numpy(), policy, groups)
    found = dict(zip(rows["video_id"], split, strict=True))
    assigned = videos.assign(split=[found.get(name, "") for name in videos["video_id"]])
    assigned.attrs |= {"policy": policy, "groups": groups, "dropped": int((split == "").sum())}
    return assigned


def hold_out(videos: pd.DataFrame) -> pd.DataFrame:
    """Return a copy of a videos table with `split` `eval` throughout ("" where excluded): another dataset, to be scored
    as a whole."""
    excluded = videos["status"] == "excluded" if "status" in videos else False
    return videos.assign(split=np.where(excluded, "", "eval"))


def _check(videos: pd.DataFrame, policy: str, val_fraction: float, test_fraction: float) -> None:
    """Refuse what no policy can divide."""
    if policy not in POLICIES:
        close = difflib.get_close_matches(policy, POLICIES, n=1, cutoff=0.4)
        hint = f"did you mean {close[0]!r}?" if close else f"choose one of {', '.join(POLICIES)}."
        raise InputError(f"There is no split policy {policy!r}: {hint}")
    if not (0 < val_fraction < 1 and 0 < test_fraction < 1 and val_fraction + test_fraction < 1):
        raise InputError(
            f"val_fraction {val_fraction} and test_fraction {test_fraction} must be above 0 and leave some to training."
        )
    twice = videos["video_id"][videos["video_id"].duplicated()]
    if len(twice):
        raise InputError(f"The video id {twice.iloc[0]} occurs twice in the videos table: index the dataset again.")
    usable = videos[videos["status"] != "excluded"] if "status" in videos else videos
    for label, name, other in ((0, "real", "fake"), (1, "fake", "real")):
        count = int((usable["label"] == label).sum())
        if count == 0 and len(usable):
            raise InputError(
                f"All {len(usable)} videos are {other}: splits need both classes, so add {name} videos"
                + (" or set forge_fakes: true (layout folder)." if label else ".")
            )
        if count < len(SPLITS):
            raise InputError(
                f"There are {count} {name} videos: three splits need at least three of each class; add more."
            )


def _check_classes(split: np.ndarray, label: np.ndarray, policy: str, groups: int) -> None:
    """Refuse splits of which one lacks a class."""
    advice = {
        "official": "fetch the whole dataset, or set split_policy: identity",
        "identity": "add videos of other people, change the fractions, or set split_policy: source",
        "source": "add videos, or change the fractions",
        "random": "add videos, or change the fractions",
    }
    for name in SPLITS:
        for value, kind in enumerate(("real", "fake")):
            if not np.any((split == name) & (label == value)):
                raise InputError(
                    f"Policy {policy} leaves {name} without {kind} videos ({len(label)} videos in {groups} groups that "
                    f"stay whole): {advice[policy]}."
                )


def _official(rows: pd.DataFrame, val_fraction: float, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Return the listed split of each row, with a part of train for validation where the lists have none, and how many
    groups of people that was taken from."""
    split = rows["official_split"].to_numpy(dtype=object, copy=True)
    if not np.any(split == "test"):
        raise InputError(
            "The dataset has no official test list, or it is missing: fetch the list, or set split_policy: identity."
        )
    groups, train = len(np.unique(split)), np.flatnonzero(split == "train")
    if len(train) and not np.any(split == "val"):
        side, groups = _divide(rows.iloc[train], "official", [1 - val_fraction, val_fraction], rng)
        split[train[side == 1]] = "val"
    return split, groups


def _divide(rows: pd.DataFrame, policy: str, shares: list[float], rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Return the side of each row, 0 … len(shares) - 1 (len(shares) for a dropped row), and the number of groups."""
    label, strata, sides = rows["label"].to_numpy(), _strata(rows), len(shares)
    for apart in (False, True):
        target, donor, loose = _units(rows, policy, strata, apart)
        order = rng.permutation(int(max(target.max(), donor.max())) + 1)
        side_of = np.zeros(len(order), dtype=int)
        held = np.zeros((sides, int(strata.max()) + 1))
        if loose.any():
            # A fake stays if both of its people are on one side, so a side that holds a share p of the people keeps p²
            # of the fakes among them: dealt by the roots of the shares, what stays has the shares that were asked for.
            roots = np.sqrt(shares) / np.sqrt(shares).sum()
            only_donors = loose & ~np.isin(donor, target)
            unit = np.concatenate([target[loose], donor[only_donors]])
            _deal(side_of, unit, np.concatenate([strata[loose], strata[only_donors]]), roots, order, held)
            stays = loose & (side_of[target] == side_of[donor])
            np.add.at(held, (side_of[target[stays]], strata[stays]), 1)
        _deal(side_of, target[~loose], strata[~loose], np.array(shares), order, held)
        _mend(side_of, target, donor, label, sides)
        side = np.where(side_of[target] == side_of[donor], side_of[target], sides)
        if np.all(_classes(side, label, sides)):
            break
    return side, len(np.unique(target))


def _strata(rows: pd.DataFrame) -> np.ndarray:
    """Return the number of each row's class and method."""
    return rows.groupby(["dataset", "label", "method"], sort=True).ngroup().to_numpy()


def _units(
    rows: pd.DataFrame, policy: str, strata: np.ndarray, apart: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the group of each row's target and of its donor, and whether the two may be torn apart.

    Under `identity` and `official` groups are components of people; those that hold too much are taken apart into
    people, all of them if `apart`.
    """
    whole = np.zeros(len(rows), dtype=bool)
    if policy in {"random", "source"}:
        unit = np.arange(len(rows)) if policy == "random" else pd.factorize(content_keys(rows))[0]
        return unit, unit, whole
    target, donor = people(rows)
    component = components(int(max(target.max(), donor.max())) + 1, (target, donor))
    first = len(component)  # people are numbered below it, components from it on
    many = np.bincount(component) >= _PEOPLE
    large = (_too_large(component[target], strata, rows["label"]) & many) | apart
    unit = np.where(large[component], np.arange(first), first + component)
    if policy == "official":  # no fake is dropped: it goes where its target goes
        return unit[target], unit[target], whole
    return unit[target], unit[donor], large[component[target]]


def _too_large(component: np.ndarray, strata: np.ndarray, label: pd.Series) -> np.ndarray:
    """Return for each component whether it holds over `_SHARE` of all videos, of a class, or of a class and method."""
    large = np.zeros(int(component.max()) + 1, dtype=bool)
    for kinds in (np.zeros(len(strata), dtype=int), label.to_numpy(), strata):
        for kind in np.unique(kinds):
            held = np.bincount(component[kinds == kind], minlength=len(large))
            large |= (held > _SHARE * held.sum()) & (held.sum() >= _MANY)
    return large


def _deal(
    side_of: np.ndarray, unit: np.ndarray, strata: np.ndarray, shares: np.ndarray, order: np.ndarray, held: np.ndarray
) -> None:
    """Deal the units of rows to sides, into `side_of`: largest first (`order` decides between equals), each where it
    brings the counts of its strata closest to `shares`, by the sum over strata of (count - wanted)² / wanted.

    `held` `(sides, strata)` is what the sides hold already.
    """
    kinds, sides = held.shape[1], range(len(shares))
    wanted_of = np.outer(shares, held.sum(axis=0) + np.bincount(strata, minlength=kinds))
    wanted, missing = np.maximum(wanted_of, 1e-9).tolist(), (wanted_of - held).tolist()
    pairs, counts = np.unique(unit * kinds + strata, return_counts=True)
    holds: dict[int, list[tuple[int, int]]] = {}
    for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
        holds.setdefault(pair // kinds, []).append((pair % kinds, count))
    units, sizes = np.unique(unit, return_counts=True)
    for chosen in units[np.lexsort((order[units], -sizes))].tolist():
        costs = [
            sum(count * (count - 2 * missing[s][kind]) / wanted[s][kind] for kind, count in holds[chosen])
            for s in sides
        ]
        best = costs.index(min(costs))
        side_of[chosen] = best
        for kind, count in holds[chosen]:
            missing[best][kind] -= count


def _classes(side: np.ndarray, label: np.ndarray, sides: int) -> np.ndarray:
    """Return the number of real and of fake rows on each side, `(sides, 2)`; dropped rows count nowhere."""
    kept = side < sides
    return np.bincount(side[kept] * 2 + label[kept], minlength=2 * sides).reshape(sides, 2)


def _mend(side_of: np.ndarray, target: np.ndarray, donor: np.ndarray, label: np.ndarray, sides: int) -> None:
    """Move single units, small ones first, to sides that lack a class, as long as no other side loses one by it."""

    def classes() -> np.ndarray:
        return _classes(np.where(side_of[target] == side_of[donor], side_of[target], sides), label, sides)

    sizes = np.bincount(target, minlength=len(side_of))
    for _ in range(4 * sides):
        before = classes()
        if not np.any(before == 0):
            return
        lacking, kind = np.argwhere(before == 0)[0]
        # Units that would bring a row of that class along: all of it, or its one half if the other is there already.
        here = (label == kind) & ((target == donor) | (side_of[donor] == lacking))
        there = (label == kind) & (side_of[target] == lacking) & (target != donor)
        able = np.unique(np.concatenate([target[here], donor[there]]))
        able = able[side_of[able] != lacking]
        for unit in able[np.argsort(sizes[able], kind="stable")][:200]:
            origin, side_of[unit] = side_of[unit], lacking
            after = classes()
            if after[lacking, kind] and not np.any((after == 0) & (before > 0)):
                break
            side_of[unit] = origin
        else:
            return
