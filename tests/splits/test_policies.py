"""Splits that tear nothing apart, and audits that find what was torn all the same."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfutils.core.errors import InputError
from dfutils.splits import leakage as audits
from dfutils.splits import policies
from dfutils.splits.identities import content_keys, people, person_keys
from dfutils.splits.shortcuts import in_words, shortcuts

COLUMNS = ["video_id", "label", "method", "identity", "donor", "source_video"]


def table(rows: list[tuple], dataset: str = "test") -> pd.DataFrame:
    """A videos table with the columns that splits look at."""
    made = pd.DataFrame(rows, columns=COLUMNS).astype({"label": np.int8})
    return made.assign(path=made["video_id"] + ".mp4", dataset=dataset, official_split="")


def pairs(count: int = 100, methods: str = "abc") -> pd.DataFrame:
    """As FaceForensics++: people in pairs, each swapped with the other by every method."""
    rows: list[tuple] = [(f"{k:03d}", 0, "", f"{k:03d}", "", "") for k in range(count)]
    for method in methods:
        rows += [(f"{method}{k:03d}", 1, method, f"{k:03d}", f"{k ^ 1:03d}", f"{k:03d}") for k in range(count)]
    return table(rows)


def entangled(persons: int = 20, clips: int = 5, strangers: int = 40) -> pd.DataFrame:
    """As Celeb-DF: everybody is swapped with everybody; and real videos of nobody known."""
    reals: list[tuple] = [(f"r{p}_{k}", 0, "", f"id{p}", "", "") for p in range(persons) for k in range(clips)]
    reals += [(f"y{k}", 0, "", "", "", "") for k in range(strangers)]
    fakes = [
        (f"f{p}_{d}_{k}", 1, "swap", f"id{p}", f"id{d}", f"r{p}_{k}")
        for p in range(persons)
        for d in range(persons)
        for k in range(clips)
        if p != d
    ]
    return table(reals + fakes)


def from_metadata(sources: int = 200) -> pd.DataFrame:
    """As DFDC: nobody is named, but fakes name their source."""
    rows: list[tuple] = []
    for k in range(sources):
        rows.append((f"r{k}", 0, "", "", "", ""))
        rows += [(f"f{k}_{n}", 1, "DFDC", "", "", f"r{k}") for n in range(k % 7)]
    return table(rows)


def assert_no_person_on_two_sides(split: pd.DataFrame) -> None:
    placed = split[split["split"] != ""]
    for column in ("identity", "donor"):
        assert "split" in placed
        shown = pd.concat([placed.assign(who=person_keys(placed, name)) for name in ("identity", "donor")])
        shown = shown[shown["who"] != ""]
        assert (shown.groupby("who")["split"].nunique() <= 1).all(), column
    assert (placed.groupby(content_keys(placed))["split"].nunique() <= 1).all()


def shares(split: pd.DataFrame, **where: object) -> dict[str, float]:
    placed = split[split["split"] != ""]
    for column, value in where.items():
        placed = placed[placed[column] == value]
    return placed["split"].value_counts(normalize=True).to_dict()


def test_identity_uses_components_as_they_are_where_it_can() -> None:
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
        who: rows["split"].iloc[0] for who, rows in split[split["label"] == 0].groupby("identity") if who
    }  # every person has real videos, and none of those is dropped
    assert (dropped["identity"].map(side) != dropped["donor"].map(side)).all()
    for label in (0, 1):
        assert shares(split, label=label) == pytest.approx({"train": 0.65, "val": 0.15, "test": 0.2}, abs=0.06)


def test_identity_deals_out_a_method_that_one_component_holds() -> None:
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


def test_source_keeps_fakes_with_their_video_and_leaves_nobody_out() -> None:
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
    assert not audits.shared_people(split).empty


def test_unknown_people_are_not_one_person() -> None:
    rows = [(f"v{k}", k % 2, "a" if k % 2 else "", "", "", "") for k in range(40)]
    split = policies.assign(table(rows), "identity")
    assert split.attrs["groups"] == 40
    assert shares(split) == pytest.approx({"train": 0.65, "val": 0.15, "test": 0.2}, abs=0.03)


def test_people_of_celeb_df_are_known_across_datasets() -> None:
    videos = pd.concat([table([("a", 0, "", "id3", "", "")], "v1"), table([("b", 0, "", "id3", "", "")], "v2")])
    assert people(videos)[0].tolist() == [0, 0]
    own = pd.concat([table([("a", 0, "", "ann", "", "")], "v1"), table([("b", 0, "", "ann", "", "")], "v2")])
    assert len(set(people(own)[0])) == 2


def test_official_takes_validation_from_training_people() -> None:
    videos = entangled()
    tests = videos["video_id"].isin([f"r{p}_0" for p in range(20)] + [f"f{p}_{p - 1}_0" for p in range(1, 20)])
    videos = videos.assign(official_split=np.where(tests, "test", "train"))
    split = policies.assign(videos, "official", val_fraction=0.2)
    assert (split["split"] == "test").equals(tests)
    assert split.attrs["dropped"] == 0
    known = split[(split["split"] != "test") & (split["identity"] != "")]
    assert (known.groupby("identity")["split"].nunique() == 1).all()
    rest = split[split["split"] != "test"]
    for label in (0, 1):
        assert shares(rest, label=label)["val"] == pytest.approx(0.2, abs=0.05)


def test_official_takes_lists_with_validation_as_they_are_and_drops_what_they_do_not_name() -> None:
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


def test_another_dataset_is_held_out_as_a_whole() -> None:
    other = entangled().assign(status="ok")
    other.loc[0, "status"] = "excluded"
    held = policies.hold_out(other)
    assert held["split"].tolist() == ["", *["eval"] * (len(other) - 1)]
    own = entangled().assign(video_id=lambda t: "a" + t["video_id"])
    both = pd.concat([policies.assign(own, "identity"), held])
    named = pd.concat([other.assign(dataset="other"), own])
    together = policies.assign(named, "identity", held_out=["other"])
    assert together["video_id"].tolist() == both["video_id"].tolist()
    assert together["split"].tolist() == both["split"].tolist()
    shared = audits.shared_people(both)
    assert set(shared.loc[shared["kind"] == "person", "other_split"]) == {"eval"}


def test_seed_changes_the_split_and_nothing_else_does() -> None:
    videos = entangled()
    one = policies.assign(videos, "identity", seed=1)
    assert one.equals(policies.assign(videos, "identity", seed=1))
    assert not one["split"].equals(policies.assign(videos, "identity", seed=2)["split"])
    assert list(one.columns) == [*videos.columns, "split"]
    assert "split" not in videos


def drawn(rows: list[tuple[int, int, int, int]]) -> pd.DataFrame:
    """A table from drawn numbers: label, target, donor (0: unknown), take; fakes name their source if there is one."""
    made: list[tuple] = []
    for k, (label, target, donor, take) in enumerate(rows):
        source = f"v{take % len(rows):03d}" if label and take % 3 == 0 and rows[take % len(rows)][0] == 0 else ""
        who = f"id{target}" if target else ""
        giver = f"id{donor}" if label and donor else ""
        made.append((f"v{k:03d}", label, "ab"[take % 2] if label else "", who, giver, source))
    return table(made)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 12), st.integers(0, 12), st.integers(0, 99)), max_size=80),
    st.sampled_from(["identity", "source", "random"]),
    st.integers(0, 3),
    st.randoms(use_true_random=False),
)
def test_no_group_is_torn_no_row_is_lost_and_order_does_not_matter(rows, policy: str, seed: int, random) -> None:
    videos = drawn(rows)
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
    places = list(range(len(videos)))
    random.shuffle(places)
    again = policies.assign(videos.iloc[places], policy, seed=seed)
    assert again["split"].tolist() == split["split"].iloc[places].tolist()


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
def test_splits_that_cannot_be_made_say_why(videos: pd.DataFrame, options: dict, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        policies.assign(videos, **options)
    assert "\n" not in str(caught.value)


def test_shared_people_and_sources_are_listed_with_the_pairs() -> None:
    videos = table(
        [
            ("r0", 0, "", "id0", "", ""),
            ("r1", 0, "", "id1", "", ""),
            ("r2", 0, "", "", "", ""),
            ("f0", 1, "a", "id0", "id1", "r0"),
            ("f1", 1, "a", "id2", "id3", "r9"),
            ("f2", 1, "b", "id2", "id3", "r9"),
            ("f3", 1, "b", "id2", "id3", "r9"),
            ("f4", 1, "b", "id0", "", "r0"),
        ]
    ).assign(split=["train", "test", "val", "test", "val", "val", "train", ""])
    found = audits.shared_people(videos.sample(frac=1, random_state=0))
    assert found.drop(columns=["video_id", "other_video_id"]).values.tolist() == [
        ["person", "Celeb-DF: id0", "train", "test", 1, 1],
        ["person", "Celeb-DF: id2", "train", "val", 1, 2],
        ["person", "Celeb-DF: id3", "train", "val", 1, 2],
        ["source video", "r0", "train", "test", 1, 1],
        ["source video", "r9", "train", "val", 1, 2],
    ]
    assert found.loc[4, ["video_id", "other_video_id"]].tolist() == ["f3", "f1"]


def strip(seed: int, crops: int = 6, side: int = 48) -> np.ndarray:
    """A strip of soft, colourless blobs, RGB."""
    rng = np.random.default_rng(seed)
    blobs = [cv2.resize(rng.random((9, 9)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)]
    blobs += [np.clip(blobs[0] + rng.normal(0, 0.05, (side, side)), 0, 1) for _ in range(crops - 1)]
    grey = (np.clip(np.concatenate(blobs, axis=1), 0, 1) * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def test_content_that_is_nearly_the_same_is_found_across_splits_only(tmp_path: Path) -> None:
    names = [f"v{k:02d}" for k in range(40)]
    images = {name: strip(k) for k, name in enumerate(names)}
    images["v30"] = images["v01"].copy()
    worse = cv2.imencode(".jpg", images["v02"], [cv2.IMWRITE_JPEG_QUALITY, 30])[1]
    images["v31"] = np.clip(cv2.imdecode(worse, cv2.IMREAD_COLOR) * 0.8 + 20, 0, 255).astype(np.uint8)
    images["v04"] = images["v03"].copy()  # in one split: no leak
    paths = {name: tmp_path / f"{name} ü.png" for name in names}
    for name, image in images.items():
        paths[name].write_bytes(cv2.imencode(".png", image)[1].tobytes())
    paths["v10"].write_bytes(b"")
    paths["v11"] = tmp_path / "missing.png"
    videos = table([(name, k % 2, "a" if k % 2 else "", "", "", "") for k, name in enumerate(names)])
    videos["split"] = ["train"] * 30 + ["test"] * 10
    found = audits.shared_content(videos, paths)
    assert found[["split", "other_split", "video_id", "other_video_id"]].values.tolist() == [
        ["train", "test", "v01", "v30"],
        ["train", "test", "v02", "v31"],
    ]
    assert found["distance"].iloc[0] == 0
    assert found.attrs["pairs"] == 2


def test_without_strips_there_is_no_shared_content() -> None:
    found = audits.shared_content(pairs(6).assign(split="train"), {})
    assert found.empty
    assert found.attrs["pairs"] == 0


def vectors(videos: pd.DataFrame, persons: int) -> dict[str, np.ndarray]:
    """Embeddings of so many people, in turn within each class: far apart between people, near within; and the last fake
    is like nobody."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(persons, 128)) * 0.07
    made = {}
    for label, rows in videos.sort_values("video_id").groupby("label"):
        for k, name in enumerate(rows["video_id"]):
            made[name] = centres[k % persons] + rng.normal(size=128) * 0.015
        if label == 1:
            made[name] = -2 * centres[0]
    return made


def test_people_are_told_apart_by_face_whatever_their_names() -> None:
    videos = policies.assign(pairs(30), "identity")
    found = audits.shared_faces(videos, vectors(videos, 2))
    assert found.attrs["people"] == 2
    assert found.groupby("person").size().tolist() == [3, 3]  # each of the two on every pair of sides
    assert found["distance"].between(0, audits.SAME_FACE).all()
    counted = found[found["other_split"] == "test"].drop_duplicates("person")["other_videos"].sum()
    assert counted in {(videos["split"] == "test").sum() - k for k in (0, 1)}  # all but the one that is like nobody
    reals = videos[videos["label"] == 0]
    alone = audits.shared_faces(reals, vectors(reals, len(reals)))
    assert alone.empty
    assert alone.attrs["people"] == len(reals)


def test_embed_knows_a_face_again(faces_dir: Path, tmp_path: Path) -> None:
    from dfutils.faces import detection

    strips, rows = {}, []
    for k, name in enumerate(["00001", "00002", "00003", "00001"]):
        image = cv2.cvtColor(cv2.imread(str(faces_dir / "portraits" / f"{name}.jpg")), cv2.COLOR_BGR2RGB)
        points = detection.detect(image)[0].landmarks
        strips[f"v{k}"] = tmp_path / f"v{k}.png"
        cv2.imwrite(str(strips[f"v{k}"]), cv2.cvtColor(np.concatenate([image, image], axis=1), cv2.COLOR_RGB2BGR))
        rows += [{"video_id": f"v{k}", "person": 0, "landmarks": list(np.ravel(points))}] * 2
    videos = table([(f"v{k}", k % 2, "a" if k % 2 else "", "", "", "") for k in range(4)])
    videos["split"] = ["train", "train", "test", "test"]
    found = audits.shared_faces(videos, audits.embed(videos, strips, pd.DataFrame(rows), progress=False))
    assert found.attrs["people"] == 2  # v0 and v2; the fake v3 is v0's face, the fake v1 is nobody's
    assert found[["video_id", "other_video_id"]].values.tolist() == [["v0", "v3"]]


def kaggle(celeb_fakes: int, seed: int = 0) -> pd.DataFrame:
    """Facts as of the Kaggle crops: all are 112 x 112 at 30 a second, but clips of one origin are alike in bitrate and
    length, whether real or fake."""
    rng = np.random.default_rng(seed)
    origins = {  # real, fake, and the logarithm of the bitrate
        "celeb": (150, celeb_fakes, 11.6),
        "dfdc": (50, 55, 12.6),
        "ff": (100, 100, 12.9),
    }
    parts = []
    for origin, (reals, fakes, rate) in origins.items():
        count = reals + fakes
        label = np.repeat([0, 1], [reals, fakes])
        people_of = {"celeb": 59, "dfdc": 0, "ff": 100}[origin]
        who = [f"{origin}{k % people_of}" if people_of else "" for k in range(count)]
        part = table([(f"{origin}{k}", label[k], origin * label[k], who[k], "", "") for k in range(count)])
        frames = np.where(rng.random(count) < 0.8, 148, rng.integers(60, 148, count))
        part = part.assign(width=112.0, height=112.0, fps=30.0, n_frames=frames.astype(float), codec="mp4v")
        parts.append(part.assign(duration_s=frames / 30, bitrate=np.exp(rng.normal(rate, 0.25, count))))
    return pd.concat(parts, ignore_index=True)


def test_celeb_fakes_left_out_raise_the_alarm() -> None:
    told = shortcuts(kaggle(celeb_fakes=0))
    assert told.alarm
    assert told.low > 0.6
    assert told.facts["fact"].iloc[0] == "bitrate"
    assert told.facts["importance"].idxmax() == 0
    assert told.facts.set_index("fact").loc["width", "auc"] == 0.5
    whole = shortcuts(kaggle(celeb_fakes=150))
    assert not whole.alarm
    assert whole.low < 0.6


def test_photometric_facts_come_from_the_frames_table() -> None:
    videos = kaggle(celeb_fakes=150)
    dark = dict(zip(videos["video_id"], 120 - 30 * videos["label"], strict=True))
    rng = np.random.default_rng(0)
    frames = pd.DataFrame({"video_id": np.repeat(videos["video_id"], 3), "person": 0})
    frames["brightness"] = frames["video_id"].map(dark) + rng.normal(0, 5, len(frames))
    frames["sharpness"] = rng.normal(100, 10, len(frames))
    told = shortcuts(videos, frames)
    assert told.alarm
    assert told.facts["fact"].iloc[0] == "brightness"
    assert told.facts["real"].iloc[0] > told.facts["fake"].iloc[0]


def test_a_few_videos_give_no_figure_and_no_alarm() -> None:
    told = shortcuts(kaggle(celeb_fakes=0).groupby(["method", "label"]).head(3))
    assert np.isnan(told.auc)
    assert not told.alarm
    assert "too few" in told.note
    assert told.facts.empty


def test_unread_containers_take_no_part() -> None:
    videos = kaggle(celeb_fakes=0)
    videos.loc[videos["label"] == 1, ["width", "bitrate"]] = np.nan
    assert "too few" in shortcuts(videos).note


def test_audit_says_what_it_found_in_plain_values() -> None:
    videos = policies.assign(kaggle(celeb_fakes=0), "random")
    found = audits.audit(videos, embeddings=vectors(videos.head(60), 2))
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["people_shared"] > 50
    assert plain["source_videos_shared"] == 0
    assert plain["content_pairs"] is None
    assert (plain["people_by_face"], plain["people_by_face_shared"]) == (2, 2)
    assert plain["shortcut_alarm"] is True
    assert plain["shortcut_auc"]["low"] < plain["shortcut_auc"]["value"] < plain["shortcut_auc"]["high"]
    assert len(found.alarms) == 3
    assert all(sentence.endswith(".") for sentence in found.alarms)
    assert f"facts such as {in_words(found.shortcuts.telling[0])}" in found.alarms[-1]
    again = audits.audit(videos.sample(frac=1, random_state=1), embeddings=vectors(videos.head(60), 2))
    assert again.to_dict() == found.to_dict()


def test_a_clean_split_raises_no_alarm() -> None:
    videos = policies.assign(kaggle(celeb_fakes=150), "identity")
    found = audits.audit(videos, strips={})
    assert found.alarms == ()
    assert found.to_dict()["content_pairs"] == 0
