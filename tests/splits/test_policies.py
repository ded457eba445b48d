"""Tests of the split policies."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfutils.core.errors import InputError
from dfutils.core.params import SplitSettings
from dfutils.splits import leakage, policies
from dfutils.splits.division import divide
from dfutils.splits.identities import content_keys, person_keys
from tests.support.tables import entangled, from_metadata, pairs, table


def assert_no_person_on_two_sides(split: pd.DataFrame) -> None:
    rows = split[split["split"] != ""]
    for column in ("identity", "donor"):
        assert "split" in rows
        named = pd.concat([rows.assign(who=person_keys(rows, name)) for name in ("identity", "donor")])
        named = named[named["who"] != ""]
        assert (named.groupby("who")["split"].nunique() <= 1).all(), column
    assert (rows.groupby(content_keys(rows))["split"].nunique() <= 1).all()


def shares(split: pd.DataFrame, **where: object) -> dict[str, float]:
    rows = split[split["split"] != ""]
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return rows["split"].value_counts(normalize=True).to_dict()


def test_identity_keeps_components_whole_if_possible() -> None:
    split = policies.assign(pairs(), "identity")
    assert_no_person_on_two_sides(split)
    assert split.attrs == {"policy": "identity", "groups": 50, "dropped": 0}
    for method in ("", "a", "b", "c"):
        assert shares(split, method=method) == pytest.approx({"train": 0.65, "val": 0.15, "test": 0.2}, abs=0.02)


def test_identity_drops_and_counts_fakes_whose_people_end_up_apart() -> None:
    videos = entangled()
    split = policies.assign(videos, "identity")
    assert_no_person_on_two_sides(split)
    dropped = split[split["split"] == ""]
    assert split.attrs["dropped"] == len(dropped) > 0
    assert set(dropped["label"]) == {1}
    side = {
        name: rows["split"].iloc[0] for name, rows in split[split["label"] == 0].groupby("identity") if name
    }  # every person has real videos, and none of those is dropped
    assert (dropped["identity"].map(side) != dropped["donor"].map(side)).all()
    for label in (0, 1):
        assert shares(split, label=label) == pytest.approx({"train": 0.65, "val": 0.15, "test": 0.2}, abs=0.06)


def test_identity_divides_a_component_that_contains_a_whole_method() -> None:
    """FaceForensics++ with DeepFakeDetection: the actors are one component, and each split must get some of them."""
    actors = entangled(persons=28, clips=2, strangers=0)
    videos = pd.concat([pairs(400), actors.assign(method=actors["method"].replace("swap", "actors"))])
    split = policies.assign(videos, "identity")
    assert_no_person_on_two_sides(split)
    assert set(split.loc[split["split"] == "", "method"]) == {"actors"}
    assert set(split.loc[split["method"] == "actors", "split"]) == {"train", "val", "test", ""}


def test_two_people_who_alone_were_swapped_by_a_method_stay_together() -> None:
    rows = [(f"x{k}", 1, "x", f"{k % 2:03d}", f"{(k + 1) % 2:03d}", f"{k % 2:03d}") for k in range(40)]
    split = policies.assign(pd.concat([pairs(), table(rows)]), "identity")
    assert split.attrs["dropped"] == 0


def test_source_keeps_fakes_with_their_video_and_drops_none() -> None:
    for videos in (entangled(), pairs(), from_metadata()):
        split = policies.assign(videos, "source")
        assert split.attrs["dropped"] == 0
        assert (split.groupby(content_keys(split))["split"].nunique() == 1).all()
        for label in (0, 1):
            assert shares(split, label=label) == pytest.approx({"train": 0.65, "val": 0.15, "test": 0.2}, abs=0.03)


def test_compressions_of_a_video_stay_together() -> None:
    rows = [(f"original__{c}__{k}", 0, "", f"{k}", "", "") for k in range(30) for c in ("c23", "c40", "raw")]
    rows += [(f"fake__{c}__{k}", 1, "a", f"{k}", "", f"original__{c}__{k}") for k in range(30) for c in ("c23", "c40")]
    split = policies.assign(table(rows), "source")
    assert (split.groupby("identity")["split"].nunique() == 1).all()


def test_fakes_of_an_unnamed_person_stay_with_their_source_under_identity() -> None:
    split = policies.assign(from_metadata(), "identity")
    assert_no_person_on_two_sides(split)
    assert split.attrs == {"policy": "identity", "groups": 200, "dropped": 0}


def test_random_is_stratified_and_leaks() -> None:
    split = policies.assign(entangled(), "random")
    assert shares(split, label=1) == pytest.approx({"train": 0.65, "val": 0.15, "test": 0.2}, abs=0.01)
    assert not leakage.shared_people(split).empty


def test_unknown_people_are_not_one_person() -> None:
    rows = [(f"v{k}", k % 2, "a" if k % 2 else "", "", "", "") for k in range(40)]
    split = policies.assign(table(rows), "identity")
    assert split.attrs["groups"] == 40
    assert shares(split) == pytest.approx({"train": 0.65, "val": 0.15, "test": 0.2}, abs=0.03)


def test_official_takes_validation_from_training_people() -> None:
    videos = entangled()
    tests = videos["video_id"].isin([f"r{p}_0" for p in range(20)] + [f"f{p}_{p - 1}_0" for p in range(1, 20)])
    videos = videos.assign(official_split=np.where(tests, "test", "train"))
    split = policies.assign(videos, "official", val_fraction=0.2)
    assert (split["split"] == "test").equals(tests)
    assert split.attrs["dropped"] == 0
    named = split[(split["split"] != "test") & (split["identity"] != "")]
    assert (named.groupby("identity")["split"].nunique() == 1).all()
    rest = split[split["split"] != "test"]
    for label in (0, 1):
        assert shares(rest, label=label)["val"] == pytest.approx(0.2, abs=0.05)


def test_official_keeps_lists_with_validation_and_drops_unlisted_videos() -> None:
    videos = pairs(12)
    listed = ["train", "val", "test"] * 4
    videos["official_split"] = [
        listed[int(name[-3:]) // 2 % 3] if "c" not in name else "" for name in videos["video_id"]
    ]
    split = policies.assign(videos, "official")
    assert list(split["split"]) == list(videos["official_split"])
    assert split.attrs["dropped"] == 12


def test_excluded_videos_are_in_no_split() -> None:
    videos = pairs().assign(status="ok", reason="")
    videos.loc[videos["video_id"].isin(["000", "a001"]), "status"] = "excluded"
    split = policies.assign(videos, "identity").set_index("video_id")["split"]
    assert split[["000", "a001"]].tolist() == ["", ""]
    assert (split.drop(["000", "a001"]) != "").all()


@pytest.mark.parametrize("policy", ["identity", "source", "random", "official"])
def test_excluding_a_video_moves_no_other(policy: str) -> None:
    for videos in (pairs(), entangled(), from_metadata()):
        videos = videos.assign(status="ok", official_split=np.where(np.arange(len(videos)) % 5, "train", "test"))
        before = policies.assign(videos, policy).set_index("video_id")["split"]
        for place in (0, len(videos) // 3, len(videos) - 1):
            fewer = videos.copy()
            fewer.loc[place, "status"] = "excluded"
            after = policies.assign(fewer, policy).set_index("video_id")["split"]
            assert after.iloc[place] == ""
            assert after.drop(after.index[place]).equals(before.drop(before.index[place]))
    assert policies.assign(fewer, policy).attrs["dropped"] == ((after == "") & (fewer["status"].values == "ok")).sum()


def test_official_takes_validation_from_each_dataset_whose_lists_have_none() -> None:
    whole = pairs(60).assign(dataset="ffpp", video_id=lambda t: "ffpp__" + t["video_id"])
    whole["official_split"] = [["train", "train", "val", "test"][int(name[-3:]) // 2 % 4] for name in whole["video_id"]]
    celeb = entangled(12).assign(dataset="celeb", video_id=lambda t: "celeb__" + t["video_id"])
    celeb["official_split"] = np.where(np.arange(len(celeb)) % 6, "train", "test")
    split = policies.assign(pd.concat([whole, celeb], ignore_index=True), "official")
    assert (split["split"] == split["official_split"])[split["dataset"] == "ffpp"].all()
    own = split[split["dataset"] == "celeb"]
    assert (own["split"] == "test").equals(own["official_split"] == "test")
    for label in (0, 1):
        assert shares(own[own["split"] != "test"], label=label)["val"] == pytest.approx(0.15, abs=0.08)
    unlisted = pd.concat([whole, celeb.assign(official_split="")], ignore_index=True)
    with pytest.raises(InputError, match="dataset celeb has no official test list"):
        policies.assign(unlisted, "official")


def test_of_another_dataset_its_official_list_is_scored_unless_all_videos_are_asked_for() -> None:
    listed = entangled().assign(dataset="celeb", status="ok")
    listed["official_split"] = np.where(np.arange(len(listed)) % 6, "train", "test")
    listed.loc[6, "status"] = "excluded"
    both = pd.concat([listed, pairs().assign(dataset="own", status="ok")], ignore_index=True)
    held = policies.hold_out(both)
    scored = held[held["split"] == "eval"]
    assert set(scored.loc[scored["dataset"] == "celeb", "official_split"]) == {"test"}
    assert held["split"].iloc[6] == ""
    assert (held.loc[held["dataset"] == "own", "split"] == "eval").all()
    assert [policies.scored_part(rows) for _, rows in scored.groupby("dataset")] == ["official list", "all videos"]
    everything = policies.hold_out(both, "all")
    assert (everything["split"] == "eval").sum() == len(both) - 1
    named = divide(both, SplitSettings(eval_videos="all"), 0, ["celeb"])
    assert (named["split"] == "eval").sum() == len(listed) - 1


def test_another_dataset_is_held_out_as_a_whole() -> None:
    other = entangled().assign(status="ok")
    other.loc[0, "status"] = "excluded"
    held_out = policies.hold_out(other)
    assert held_out["split"].tolist() == ["", *["eval"] * (len(other) - 1)]
    own = entangled().assign(video_id=lambda t: "a" + t["video_id"])
    both = pd.concat([policies.assign(own, "identity"), held_out])
    named = pd.concat([other.assign(dataset="other"), own])
    together = divide(named, SplitSettings(), 0, ["other"])
    assert together["video_id"].tolist() == both["video_id"].tolist()
    assert together["split"].tolist() == both["split"].tolist()
    shared = leakage.shared_people(both)
    assert set(shared.loc[shared["kind"] == "person", "other_split"]) == {"eval"}


def test_seed_changes_the_split_and_nothing_else_does() -> None:
    videos = entangled()
    one = policies.assign(videos, "identity", seed=1)
    assert one.equals(policies.assign(videos, "identity", seed=1))
    assert not one["split"].equals(policies.assign(videos, "identity", seed=2)["split"])
    assert list(one.columns) == [*videos.columns, "split"]
    assert "split" not in videos


def from_numbers(rows: list[tuple[int, int, int, int]]) -> pd.DataFrame:
    """Return a videos table from label, target, donor (0: unknown) and take; fakes name their source, if any."""
    videos: list[tuple] = []
    for k, (label, target, donor, take) in enumerate(rows):
        source = f"v{take % len(rows):03d}" if label and take % 3 == 0 and rows[take % len(rows)][0] == 0 else ""
        target_name = f"id{target}" if target else ""
        donor_name = f"id{donor}" if label and donor else ""
        videos.append((f"v{k:03d}", label, "ab"[take % 2] if label else "", target_name, donor_name, source))
    return table(videos)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 12), st.integers(0, 12), st.integers(0, 99)), max_size=80),
    st.sampled_from(["identity", "source", "random"]),
    st.integers(0, 3),
    st.randoms(use_true_random=False),
)
def test_groups_stay_whole_no_row_is_lost_and_order_does_not_matter(rows, policy: str, seed: int, random) -> None:
    videos = from_numbers(rows)
    try:
        split = policies.assign(videos, policy, seed=seed)
    except InputError as error:
        assert str(error).endswith(".")
        return
    assert list(split["video_id"]) == list(videos["video_id"])
    assert set(split["split"]) - {""} == set(policies.SPLITS)
    for name in policies.SPLITS:
        assert set(split.loc[split["split"] == name, "label"]) == {0, 1}
    dropped = split[split["split"] == ""]
    assert split.attrs["dropped"] == len(dropped)
    if policy == "identity":
        assert_no_person_on_two_sides(split)
        assert (dropped["donor"] != "").all()
    else:
        assert dropped.empty
    if policy == "source":
        assert (split.groupby(content_keys(split))["split"].nunique() == 1).all()
    order = list(range(len(videos)))
    random.shuffle(order)
    again = policies.assign(videos.iloc[order], policy, seed=seed)
    assert again["split"].tolist() == split["split"].iloc[order].tolist()


@pytest.mark.parametrize(
    ("videos", "options", "says"),
    [
        (pairs(), {"policy": "identiy"}, "did you mean 'identity'"),
        (pairs(), {"policy": "identity", "test_fraction": 0.9}, "leave some to training"),
        (pairs().iloc[:0], {"policy": "identity"}, "0 real videos"),
        (pairs()[lambda t: t["label"] == 0], {"policy": "random"}, "All 100 videos are real.*forge_fakes"),
        (pairs()[lambda t: t["label"] == 1], {"policy": "random"}, "All 300 videos are fake"),
        (pairs(2, "abc"), {"policy": "random"}, "2 real videos: three splits need at least three"),
        (pairs(4), {"policy": "identity"}, "without .* groups that stay whole.*split_policy: source"),
        (entangled(3, 3, 0), {"policy": "identity"}, "without fake videos"),
        (pairs(), {"policy": "official"}, "no official test list.*split_policy: identity"),
        (pairs().assign(official_split="test"), {"policy": "official"}, "official leaves train without real"),
        (pd.concat([pairs(), pairs()]), {"policy": "random"}, "occurs twice"),
        (pairs().assign(status="excluded"), {"policy": "random"}, "0 real videos"),
    ],
)
def test_impossible_splits_raise_one_sentence(videos: pd.DataFrame, options: dict, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        policies.assign(videos, **options)
    assert "\n" not in str(caught.value)
