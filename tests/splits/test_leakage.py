"""Tests of the search for leakage between splits."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from dfutils.splits import leakage, policies
from dfutils.splits.shortcuts import fact_name
from tests.support.tables import kaggle, pairs, table


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
    shared = leakage.shared_people(videos.sample(frac=1, random_state=0))
    assert shared.drop(columns=["video_id", "other_video_id"]).values.tolist() == [
        ["person", "Celeb-DF: id0", "train", "test", 1, 1],
        ["person", "Celeb-DF: id2", "train", "val", 1, 2],
        ["person", "Celeb-DF: id3", "train", "val", 1, 2],
        ["source video", "r0", "train", "test", 1, 1],
        ["source video", "r9", "train", "val", 1, 2],
    ]
    assert shared.loc[4, ["video_id", "other_video_id"]].tolist() == ["f3", "f1"]


def related() -> pd.DataFrame:
    """Return a split table in which three methods are left out: one related to two of training, one to nothing."""
    big, small, odd = (1280, 720, 30.0, "h264"), (512, 512, 25.0, "h264"), (640, 480, 24.0, "vp9")
    unknown = (np.nan, np.nan, np.nan, "")
    rows = [  # split, label, method, kind, repository, format
        ("train", 0, "", "real", "o/r", big),
        ("train", 1, "known", "talk", "o/r", small),
        ("val", 1, "second", "talk", "o/s", big),
        ("train", 1, "", "swap", "", unknown),
        ("test", 1, "known", "talk", "o/r", small),
        ("test", 1, "near", "talk", "o/t", (512, 512, 25.001, "h264")),
        ("test", 1, "near", "talk", "o/s", odd),
        ("test", 1, "nameless", "swap", "", unknown),
        ("test", 1, "apart", "synth", "", big),
        ("test", 1, "", "talk", "o/r", small),
        ("eval", 1, "elsewhere", "talk", "o/r", small),
        ("", 1, "unused", "talk", "o/r", small),
    ]
    frame = pd.DataFrame(rows, columns=["split", "label", "method", "attribute_kind", "attribute_repository", "format"])
    facts = pd.DataFrame(frame.pop("format").tolist(), columns=["width", "height", "fps", "codec"])
    names = table([(f"v{k}", label, "", "", "", "") for k, label in enumerate(frame["label"])])
    facts = facts.assign(n_frames=np.nan, duration_s=np.nan, bitrate=np.nan)
    return pd.concat([names.drop(columns=["label", "method"]), frame, facts], axis=1)


def test_methods_left_out_are_listed_with_what_they_share_with_fakes_of_training() -> None:
    videos = related()
    expected = [
        ["apart", 1, "", 0, ""],  # real videos of training have its format, too
        ["nameless", 1, "kind", 1, ""],
        ["near", 2, "kind", 2, "known, second"],
        ["near", 2, "repository", 1, "second"],
        ["near", 2, "format", 1, "known"],
    ]
    assert leakage.related_methods(videos).values.tolist() == expected
    assert leakage.related_methods(videos.sample(frac=1, random_state=0)).values.tolist() == expected
    facts = ["width", "height", "fps", "codec"]
    bare = leakage.related_methods(videos.drop(columns=[*facts, "attribute_kind", "attribute_repository"]))
    assert bare.values.tolist() == [[name, n, "", 0, ""] for name, n in (("apart", 1), ("nameless", 1), ("near", 2))]
    assert leakage.related_methods(videos[videos["split"] != "test"]).empty
    assert leakage.related_methods(videos[videos["split"] == "test"]).empty, "nothing is trained"
    found = leakage.audit(videos)
    assert found.to_dict()["methods_left_out"] == {
        "apart": [],
        "nameless": ["kind"],
        "near": ["kind", "repository", "format"],
    }
    assert not any("near" in alarm for alarm in found.alarms), "related methods are no leak"


def strip(seed: int, crops: int = 6, side: int = 48) -> np.ndarray:
    """Return a strip of soft grey blobs, RGB."""
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
    shared = leakage.shared_content(videos, paths)
    assert shared[["split", "other_split", "video_id", "other_video_id"]].values.tolist() == [
        ["train", "test", "v01", "v30"],
        ["train", "test", "v02", "v31"],
    ]
    assert shared["distance"].iloc[0] == 0
    assert shared.attrs["pairs"] == 2


def test_without_strips_there_is_no_shared_content() -> None:
    shared = leakage.shared_content(pairs(6).assign(split="train"), {})
    assert shared.empty
    assert shared.attrs["pairs"] == 0


def vectors(videos: pd.DataFrame, persons: int) -> dict[str, np.ndarray]:
    """Return embeddings of this many people, in turn within each class: distant between people, close within one; the
    last fake is like nobody."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(persons, 128)) * 0.07
    embeddings = {}
    for label, rows in videos.sort_values("video_id").groupby("label"):
        for k, name in enumerate(rows["video_id"]):
            embeddings[name] = centres[k % persons] + rng.normal(size=128) * 0.015
        if label == 1:
            embeddings[name] = -2 * centres[0]
    return embeddings


def test_people_are_told_apart_by_face_whatever_their_names() -> None:
    videos = policies.assign(pairs(30), "identity")
    shared = leakage.shared_faces(videos, vectors(videos, 2))
    assert shared.attrs["people"] == 2
    assert shared.groupby("person").size().tolist() == [3, 3]  # each of the two on every pair of sides
    assert shared["distance"].between(0, leakage.SAME_FACE).all()
    counted = shared[shared["other_split"] == "test"].drop_duplicates("person")["other_videos"].sum()
    assert counted in {(videos["split"] == "test").sum() - k for k in (0, 1)}  # all but the one that is like nobody
    reals = videos[videos["label"] == 0]
    alone = leakage.shared_faces(reals, vectors(reals, len(reals)))
    assert alone.empty
    assert alone.attrs["people"] == len(reals)


def test_embeddings_recognise_a_face(faces_dir: Path, tmp_path: Path) -> None:
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
    shared = leakage.shared_faces(videos, leakage.embed(videos, strips, pd.DataFrame(rows)))
    assert shared.attrs["people"] == 2  # v0 and v2; the fake v3 is v0's face, the fake v1 is nobody's
    assert shared[["video_id", "other_video_id"]].values.tolist() == [["v0", "v3"]]


def test_frames_without_landmarks_are_not_embedded_and_stop_nothing(faces_dir: Path, tmp_path: Path) -> None:
    from dfutils.faces import detection

    image = cv2.cvtColor(cv2.imread(str(faces_dir / "portraits" / "00001.jpg")), cv2.COLOR_BGR2RGB)
    points = list(np.ravel(detection.detect(image)[0].landmarks))
    strips = {name: tmp_path / "strip.png" for name in ("seen", "unseen")}
    cv2.imwrite(str(tmp_path / "strip.png"), cv2.cvtColor(np.concatenate([image, image], axis=1), cv2.COLOR_RGB2BGR))
    found = {"seen": [[], points], "unseen": [[], []]}
    rows = [{"video_id": name, "person": 0, "landmarks": row} for name in found for row in found[name]]
    videos = table([(name, 0, "", "", "", "") for name in found]).assign(split=["train", "test"])
    assert list(leakage.embed(videos, strips, pd.DataFrame(rows))) == ["seen"]


def test_audit_returns_plain_values() -> None:
    videos = policies.assign(kaggle(celeb_fakes=0), "random")
    audit = leakage.audit(videos, embeddings=vectors(videos.head(60), 2))
    plain = json.loads(json.dumps(audit.to_dict(), allow_nan=False))
    assert plain["people_shared"] > 50
    assert plain["source_videos_shared"] == 0
    assert plain["content_pairs"] is None
    assert (plain["people_by_face"], plain["people_by_face_shared"]) == (2, 2)
    assert plain["shortcut_alarm"] is True
    assert plain["methods_left_out"] == {}
    assert plain["shortcut_auc"]["low"] < plain["shortcut_auc"]["value"] < plain["shortcut_auc"]["high"]
    assert len(audit.alarms) == 3
    assert all(sentence.endswith(".") for sentence in audit.alarms)
    assert f"facts such as {fact_name(audit.shortcuts.informative[0])}" in audit.alarms[-1]
    again = leakage.audit(videos.sample(frac=1, random_state=1), embeddings=vectors(videos.head(60), 2))
    assert again.to_dict() == audit.to_dict()


def test_a_clean_split_raises_no_alarm() -> None:
    videos = policies.assign(kaggle(celeb_fakes=150), "identity")
    audit = leakage.audit(videos, strips={})
    assert audit.alarms == ()
    assert audit.to_dict()["content_pairs"] == 0
