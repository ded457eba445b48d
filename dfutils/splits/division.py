"""Division of an experiment's videos by its parameters: a policy, methods left out of training, datasets held out.

A detector that was trained on a method of forgery says little about the next one. Under the policy `method`, the fakes
by some methods, or the videos of some sources, therefore stand in the test alone.
"""

from collections.abc import Collection

import numpy as np
import pandas as pd

from dfutils.core.errors import InputError
from dfutils.core.params import SplitSettings, split_list
from dfutils.splits import policies
from dfutils.splits.identities import people
from dfutils.splits.policies import assign, excluded, hold_out

POLICIES = {
    **policies.POLICIES,
    "method": "the methods and sources named stand in the test alone; no person in two splits",
    "test": "no training: all videos, or those on the dataset's own test list, are for the test",
}
"""Names of all policies and what they do."""

EACH = "each"
"""Value of `test_methods` for one run per method: see `each_method`."""


def each_method(videos: pd.DataFrame) -> list[str]:
    """Return the methods of forgery of a videos table, by name, so that a run can leave each of them out.

    Raises:
        InputError: if the fakes name no method, or just one.
    """
    names = {name.lower(): name for name in videos["method"][videos["label"] == 1] if name}  # as `divide` compares them
    if len(names) < 2:
        have = f"only one method ({', '.join(names.values())})" if names else "no methods"
        raise InputError(f"test_methods: {EACH} needs fakes of two methods or more, and the videos name {have}.")
    return sorted(names.values())


def divide(videos: pd.DataFrame, settings: SplitSettings, seed: int, held_out: Collection[str] = ()) -> pd.DataFrame:
    """Return a copy of the videos table with `split`, as `policies.assign` gives it, and its `attrs`.

    Under `split_policy: method`, the videos that `test_methods` (methods of forgery) and `test_sources` (datasets, or
    parts of them in column `part`, with the fakes made from their videos) name are put aside. All others are divided as
    under `identity`; those put aside are in the test unless they show a person or a source of training or validation.

    Args:
        videos: videos table.
        settings: policy, fractions, and what is left out.
        seed: seed of the order in which units of equal size are assigned.
        held_out: names of datasets that are only scored, as by `policies.hold_out`; their rows are the last.

    Raises:
        InputError: as `policies.assign`; if a name is of no method or source, if nothing of a class is left to
            training, or if no video put aside can be in the test.
    """
    if held_out:
        other = videos["dataset"].isin(list(held_out))
        own = divide(videos[~other], settings, seed)
        return pd.concat([own, hold_out(videos[other], settings.eval_videos)])
    if settings.split_policy == "test":
        judged = hold_out(videos, settings.eval_videos).replace({"split": {"eval": "test"}})
        judged.attrs |= {"policy": "test", "groups": len(judged), "dropped": int((judged["split"] == "").sum())}
        return judged
    fractions = settings.val_fraction, settings.test_fraction
    if settings.split_policy != "method":
        return assign(videos, settings.split_policy, seed, *fractions)
    aside = _named(videos, settings.test_methods, settings.test_sources)
    return _assign_aside(videos, aside, assign(videos[~aside], "identity", seed, *fractions))


def _named(videos: pd.DataFrame, test_methods: str, test_sources: str) -> np.ndarray:
    """Return which videos are by one of the methods, of one of the sources, or made from a video of a source: `(n,)`.

    Raises:
        InputError: if a name is of no method or source, or all fakes or all real videos are named.
    """
    real = (videos["label"] == 0).to_numpy()
    parts = videos["part"] if "part" in videos else pd.Series("", index=videos.index)
    named = np.zeros(len(videos), dtype=bool)
    for parameter, text, columns in (
        ("test_methods", test_methods, [videos["method"].where(~real, "")]),
        ("test_sources", test_sources, [videos["dataset"], parts.where(real, "")]),
    ):
        for name in split_list(text):
            hits = np.any([column.str.lower() == name.lower() for column in columns], axis=0)
            if not hits.any():
                known = ", ".join(sorted({value for column in columns for value in column} - {""}))
                if (parameter, name) == ("test_methods", EACH):
                    raise InputError(f"test_methods: {EACH} is for `dfutils run` alone; name methods here: {known}.")
                raise InputError(f"{parameter}: the videos have no {name!r}; what they have: {known}.")
            named |= hits
    named |= ~real & videos["source_video"].isin(videos["video_id"][named & real]).to_numpy()
    for kind, rows in (("fakes", ~real), ("real videos", real)):
        if named[rows].all():
            raise InputError(f"test_methods and test_sources leave no {kind} to training: name fewer.")
    return named


def _assign_aside(videos: pd.DataFrame, aside: np.ndarray, others: pd.DataFrame) -> pd.DataFrame:
    """Return the videos with the splits of `others`; those aside are in the test, or in none where training or
    validation has one of their people or their source.

    Raises:
        InputError: if none of them can be in the test.
    """
    split = np.full(len(videos), "", dtype=object)
    split[~aside] = others["split"]
    target, donor = people(videos)
    learnt = np.isin(split, ["train", "val"])
    known, usable = np.concatenate([target[learnt], donor[learnt]]), aside & ~excluded(videos).to_numpy()
    free = usable & ~np.isin(target, known) & ~np.isin(donor, known)
    if not free.any():
        raise InputError(
            "All videos that test_methods and test_sources name show people or sources of the training videos: raise "
            "test_fraction, or name more methods."
        )
    split[free] = "test"
    assigned = videos.assign(split=split)
    dropped = others.attrs["dropped"] + int((usable & ~free).sum())
    assigned.attrs |= {"policy": "method", "groups": others.attrs["groups"], "dropped": dropped}
    return assigned
