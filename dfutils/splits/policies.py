"""Division of a videos table into train, validation and test.

A score is meaningful only if the detector has not seen the people of the test videos in training. `assign` keeps groups
of videos together: by people (target, donor, and the real video that a fake was made from), by source video, by the
dataset's own list, or not at all. Groups are assigned greedily, the largest first, each to the split whose shares of
classes and methods it brings closest to the requested ones. `leakage.audit` checks the result.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from dfutils.core.errors import InputError, closest
from dfutils.core.params import DEFAULTS
from dfutils.splits.identities import components, content_keys, people

SPLITS = ("train", "val", "test")
"""Names of the splits, in the order of the sides that the functions below number."""

POLICIES = {
    "official": "the dataset's own test list; validation from the remaining training identities",
    "identity": "no person, target or donor, in two splits",
    "source": "fakes stay with the video they were made from",
    "random": "video by video, as is widely done: people and source videos leak between splits",
}
"""Names of the policies and what they do."""

# A component of at least _LEAST_PEOPLE people is divided into single people if it contains more than _LARGEST_SHARE of
# a class or method of at least _LEAST_VIDEOS videos.
_LEAST_PEOPLE, _LARGEST_SHARE, _LEAST_VIDEOS = 6, 0.8, 30


class _Units(NamedTuple):
    """The units (people, components of people, source videos or videos) that are assigned to sides, by row.

    `target` and `donor` `(n,)` number the units of a row's target and of its donor; `separable` `(n,)` says whether
    these may be on different sides, in which case the row is dropped.
    """

    target: np.ndarray
    donor: np.ndarray
    separable: np.ndarray

    def side_of_rows(self, side_of: np.ndarray, n_sides: int) -> np.ndarray:
        """Return the side of each row `(n,)` from those of the units; `n_sides` for a dropped row."""
        return np.where(side_of[self.target] == side_of[self.donor], side_of[self.target], n_sides)


def assign(
    videos: pd.DataFrame,
    policy: str,
    seed: int = 0,
    val_fraction: float = DEFAULTS.val_fraction,
    test_fraction: float = DEFAULTS.test_fraction,
) -> pd.DataFrame:
    """Return a copy of the videos table with `split`: `train`, `val`, `test`, or "" for videos in no split.

    An unknown person counts as a person of its own. In no split are videos whose status is `excluded` (the others are
    assigned as if those were there, so that excluding one video moves no other); under `official`, videos that the
    dataset's lists do not name; under `identity`, fakes whose target and donor are in different splits. The last
    happens only if one component of the graph of people contains more than four fifths of a class or method (in
    Celeb-DF everybody is swapped with everybody). The people of such a component are assigned one by one, in random
    order; minimising the number of dropped fakes instead would gather people who look alike in one split. If a
    dataset's official lists have no validation part, it is taken from that dataset's training videos by components of
    people, or by target person if one component is too large; then no fake is dropped.

    The result depends on ids and seed, not on the order of rows.

    Args:
        policy: one of `POLICIES`.
        seed: seed of the order in which units of equal size are assigned.
        val_fraction: share of the videos for validation; under `official`, of the listed training videos. The shares
            of each class and method are close to it.
        test_fraction: share of the videos for the test; ignored under `official`.

    Returns:
        The table, with `attrs` `policy`, `groups` (number of units that were assigned) and `dropped` (number of videos
        that the policy left out).

    Raises:
        InputError: if the policy is unknown, ids occur twice, there are too few videos or groups, or a split would lack
            one of the two classes; the message says what to do.
    """
    _check(videos, policy, val_fraction, test_fraction)
    rows = videos.sort_values("video_id").reset_index(drop=True)
    rng = np.random.default_rng(seed)
    if policy == "official":
        split, groups = _official(rows, val_fraction, rng)
    else:
        side, groups = _divide(rows, policy, [1 - val_fraction - test_fraction, val_fraction, test_fraction], rng)
        split = np.array([*SPLITS, ""], dtype=object)[side]
    used = ~excluded(rows)
    _check_classes(split[used], rows.loc[used, "label"].to_numpy(), policy, groups)
    split_of = dict(zip(rows.loc[used, "video_id"], split[used], strict=True))
    assigned = videos.assign(split=[split_of.get(name, "") for name in videos["video_id"]])
    assigned.attrs |= {"policy": policy, "groups": groups, "dropped": int((split[used] == "").sum())}
    return assigned


def hold_out(videos: pd.DataFrame, which: str = DEFAULTS.eval_videos) -> pd.DataFrame:
    """Return a copy of a videos table with `split` `eval`, for datasets that are scored and not trained on.

    `which` is `official`: of a dataset that has an official test list, only the videos on it are scored, as published
    figures are; or `all`. Videos that are excluded or not scored have the split "".
    """
    tests = videos["official_split"] == "test"
    whole = ~tests.groupby(videos["dataset"]).transform("any") | (which == "all")
    return videos.assign(split=np.where((tests | whole) & ~excluded(videos), "eval", ""))


def scored_part(videos: pd.DataFrame) -> str:
    """Return which videos of a dataset are scored, from their rows: `official list` if all of them are on its list of
    test videos, else `all videos`."""
    return "official list" if (videos["official_split"] == "test").all() else "all videos"


def excluded(videos: pd.DataFrame) -> pd.Series:
    """Return which videos a reviewer has excluded."""
    return videos["status"] == "excluded" if "status" in videos else pd.Series(False, index=videos.index)


def _check(videos: pd.DataFrame, policy: str, val_fraction: float, test_fraction: float) -> None:
    """Check the arguments of `assign`.

    Raises:
        InputError: if no policy can divide the videos.
    """
    if policy not in POLICIES:
        close = closest(policy, POLICIES, cutoff=0.4)
        hint = f"did you mean {close!r}?" if close else f"choose one of {', '.join(POLICIES)}."
        raise InputError(f"There is no split policy {policy!r}: {hint}")
    if not (0 < val_fraction < 1 and 0 < test_fraction < 1 and val_fraction + test_fraction < 1):
        raise InputError(
            f"val_fraction {val_fraction} and test_fraction {test_fraction} must be above 0 and leave some to training."
        )
    duplicates = videos["video_id"][videos["video_id"].duplicated()]
    if len(duplicates):
        raise InputError(
            f"The video id {duplicates.iloc[0]} occurs twice in the videos table: index the dataset again."
        )
    usable = videos[~excluded(videos)]
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
    """Check that every split has videos of both classes.

    Raises:
        InputError: if one lacks a class.
    """
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
    """Return the listed split of each row, and the number of groups.

    If the lists of a dataset have no validation part, it is taken from that dataset's training videos.
    """
    split = rows["official_split"].to_numpy(dtype=object, copy=True)
    listed = rows.groupby("dataset")["official_split"].agg(set)
    unlisted = sorted(listed.index[[not names - {""} for names in listed]])
    if unlisted or not np.any(split == "test"):
        which = f"The dataset {unlisted[0]}" if unlisted and len(listed) > 1 else "The dataset"
        raise InputError(
            f"{which} has no official test list, or it is missing: fetch the list, or set split_policy: identity."
        )
    without = rows["dataset"].isin(listed.index[["val" not in names for names in listed]]).to_numpy()
    groups, train = len(np.unique(split)), np.flatnonzero((split == "train") & without)
    if len(train):
        side, groups = _divide(rows.iloc[train], "official", [1 - val_fraction, val_fraction], rng)
        split[train[side == 1]] = "val"
    return split, groups


def _divide(rows: pd.DataFrame, policy: str, shares: list[float], rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Return the side of each row, 0 … len(shares) - 1 (len(shares) for a dropped row), and the number of units."""
    label, n_sides = rows["label"].to_numpy(), len(shares)
    strata = rows.groupby(["dataset", "label", "method"], sort=True).ngroup().to_numpy()
    for single_people in (False, True):  # people one by one only if a side lacks a class otherwise
        units = _units(rows, policy, strata, single_people)
        side_of = _assign_units(units, strata, np.array(shares), rng)
        _supply_missing_classes(side_of, units, label, n_sides)
        side = units.side_of_rows(side_of, n_sides)
        if np.all(_class_counts(side, label, n_sides)):
            break
    return side, len(np.unique(units.target))


def _units(rows: pd.DataFrame, policy: str, strata: np.ndarray, single_people: bool) -> _Units:
    """Return the units of each row's target and donor.

    Under `identity` and `official` units are components of people; too large ones, or all if `single_people`, are
    divided into single people.
    """
    inseparable = np.zeros(len(rows), dtype=bool)
    if policy in {"random", "source"}:
        unit = np.arange(len(rows)) if policy == "random" else pd.factorize(content_keys(rows))[0]
        return _Units(unit, unit, inseparable)
    target, donor = people(rows)
    component = components(int(max(target.max(), donor.max())) + 1, (target, donor))
    n_people = len(component)  # units below it are people, units from it on are components
    many = np.bincount(component) >= _LEAST_PEOPLE
    divided = (_too_large(component[target], strata, rows["label"]) & many) | single_people
    unit = np.where(divided[component], np.arange(n_people), n_people + component)
    if policy == "official":  # no fake is dropped: its target alone decides
        return _Units(unit[target], unit[target], inseparable)
    return _Units(unit[target], unit[donor], divided[component[target]])


def _too_large(component: np.ndarray, strata: np.ndarray, label: pd.Series) -> np.ndarray:
    """Return for each component whether it contains more than `_LARGEST_SHARE` of all videos, a class, or a stratum."""
    large = np.zeros(int(component.max()) + 1, dtype=bool)
    for partition in (np.zeros(len(strata), dtype=int), label.to_numpy(), strata):
        for part in np.unique(partition):
            counts = np.bincount(component[partition == part], minlength=len(large))
            large |= (counts > _LARGEST_SHARE * counts.sum()) & (counts.sum() >= _LEAST_VIDEOS)
    return large


def _assign_units(units: _Units, strata: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the side of each unit, such that the rows of each stratum have about the given shares of the sides."""
    target, donor, separable = units
    order = rng.permutation(int(max(target.max(), donor.max())) + 1)
    side_of = np.zeros(len(order), dtype=int)
    counts = np.zeros((len(shares), int(strata.max()) + 1))  # rows of each stratum that are on each side
    if separable.any():
        # A fake remains if both of its people are on one side, so that a side with a share p of the people keeps p² of
        # the fakes among them. People are therefore assigned by the square roots of the shares.
        roots = np.sqrt(shares) / np.sqrt(shares).sum()
        only_donors = separable & ~np.isin(donor, target)
        unit = np.concatenate([target[separable], donor[only_donors]])
        _assign_greedily(side_of, unit, np.concatenate([strata[separable], strata[only_donors]]), roots, order, counts)
        remains = separable & (side_of[target] == side_of[donor])
        np.add.at(counts, (side_of[target[remains]], strata[remains]), 1)
    _assign_greedily(side_of, target[~separable], strata[~separable], shares, order, counts)
    return side_of


def _assign_greedily(
    side_of: np.ndarray, unit: np.ndarray, strata: np.ndarray, shares: np.ndarray, order: np.ndarray, counts: np.ndarray
) -> None:
    """Set the sides of units in `side_of`, given the unit and the stratum of each row.

    The largest unit is first; `order` decides between equals. Each is assigned to the side that minimises the sum over
    strata of (count - goal)² / goal, where the goals are `shares` of all rows. `counts` `(sides, strata)` holds the
    numbers of rows that are on the sides already.
    """
    n_strata, sides = counts.shape[1], range(len(shares))
    goals = np.outer(shares, counts.sum(axis=0) + np.bincount(strata, minlength=n_strata))
    deficits, goals = (goals - counts).tolist(), np.maximum(goals, 1e-9).tolist()
    pairs, sizes_of_pairs = np.unique(unit * n_strata + strata, return_counts=True)
    contents: dict[int, list[tuple[int, int]]] = {}  # stratum and number of rows, by unit
    for pair, count in zip(pairs.tolist(), sizes_of_pairs.tolist(), strict=True):
        contents.setdefault(pair // n_strata, []).append((pair % n_strata, count))
    units, sizes = np.unique(unit, return_counts=True)
    for current in units[np.lexsort((order[units], -sizes))].tolist():
        costs = [
            sum(count * (count - 2 * deficits[side][k]) / goals[side][k] for k, count in contents[current])
            for side in sides
        ]
        best = costs.index(min(costs))
        side_of[current] = best
        for k, count in contents[current]:
            deficits[best][k] -= count


def _class_counts(side: np.ndarray, label: np.ndarray, n_sides: int) -> np.ndarray:
    """Return the numbers of real and of fake rows on each side `(n_sides, 2)`; dropped rows are not counted."""
    remains = side < n_sides
    return np.bincount(side[remains] * 2 + label[remains], minlength=2 * n_sides).reshape(n_sides, 2)


def _supply_missing_classes(side_of: np.ndarray, units: _Units, label: np.ndarray, n_sides: int) -> None:
    """Move single units, the smallest first, to sides that lack a class, unless another side would then lack one."""
    target, donor, _ = units
    sizes = np.bincount(target, minlength=len(side_of))
    for _ in range(4 * n_sides):
        before = _class_counts(units.side_of_rows(side_of, n_sides), label, n_sides)
        if not np.any(before == 0):
            return
        side, missing = np.argwhere(before == 0)[0]
        # Units that bring a row of that class with them: both of its people, or one if the other is on that side.
        by_target = (label == missing) & ((target == donor) | (side_of[donor] == side))
        by_donor = (label == missing) & (side_of[target] == side) & (target != donor)
        movable = np.unique(np.concatenate([target[by_target], donor[by_donor]]))
        movable = movable[side_of[movable] != side]
        for unit in movable[np.argsort(sizes[movable], kind="stable")][:200]:
            origin, side_of[unit] = side_of[unit], side
            after = _class_counts(units.side_of_rows(side_of, n_sides), label, n_sides)
            if after[side, missing] and not np.any((after == 0) & (before > 0)):
                break
            side_of[unit] = origin
        else:
            return
