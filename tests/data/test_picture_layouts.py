"""Tests of the layouts of pictures: images, and frames that others have cut out of videos."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dfutils.core.errors import InputError
from dfutils.core.params import PreprocessSettings
from dfutils.data.indexing import probe_videos, scan
from dfutils.faces.batch import preprocess
from dfutils.splits import audit
from tests.support.trees import indexed, plant


def rows(table: pd.DataFrame, *columns: str) -> dict[str, tuple[Any, ...]]:
    return {row["path"]: tuple(row[name] for name in columns) for row in table.to_dict("records")}


def texts(table: pd.DataFrame) -> str:
    return " ".join(warning["text"] for warning in table.attrs["warnings"])


def test_images_in_folders_with_and_without_splits(tmp_path):
    kaggle = "real_vs_fake/real-vs-fake"
    lists = {"train.csv": ",original_path,id,label,label_str,path\n0,x,1,1,real,train/real/1.jpg\n"}
    root = plant(tmp_path, [f"{kaggle}/train/real/1.jpg", f"{kaggle}/valid/fake/2.JPG", f"{kaggle}/test/fake/3.png"])
    table = scan("images", plant(root, ["real/4.webp", "fake/gan/5.jpg", "fake/6.avif", "other/7.jpg"], lists))
    assert rows(table, "label", "method", "official_split") == {
        f"{kaggle}/train/real/1.jpg": (0, "", "train"),
        f"{kaggle}/valid/fake/2.JPG": (1, "", "val"),
        f"{kaggle}/test/fake/3.png": (1, "", "test"),
        "real/4.webp": (0, "", ""),
        "fake/gan/5.jpg": (1, "gan", ""),
        "fake/6.avif": (1, "", ""),
    }
    assert "label 1 means real" in texts(table) and "a detector of blended faces cannot see them" in texts(table)
    assert "fit no pattern of the dataset: 1, e.g. other/7.jpg" in texts(table)


METADATA = "videoname,original_width,original_height,label,original\n"


def test_deepfake_faces_join_a_fake_to_its_source_and_lose_nothing(tmp_path):
    lines = "a.mp4,185,185,REAL,\nb.mp4,185,186,FAKE,a.mp4\nc.mp4,155,155,FAKE,gone.mp4\nd.mp4,1,1,UNSURE,\n"
    names = [f"faces_224/{name}.jpg" for name in "abcde"]
    table = scan("deepfake_faces", plant(tmp_path, names, {"metadata.csv": METADATA + lines}))
    assert rows(table, "label", "method", "source_video") == {
        "faces_224/a.jpg": (0, "", ""),
        "faces_224/b.jpg": (1, "DFDC", "faces_224__a.jpg"),
        "faces_224/c.jpg": (1, "DFDC", "faces_224__gone.jpg"),  # fakes of one source stay together without it, too
    }
    assert "no list gives their label: 2, e.g. faces_224/d.jpg, faces_224/e.jpg" in texts(table)
    assert "real video the lists name, which is not there: 1, e.g. faces_224/c.jpg" in texts(table)
    with pytest.raises(InputError, match=r"metadata\.csv has no columns videoname, label and original; fetch it again"):
        scan("deepfake_faces", plant(tmp_path, names, {"metadata.csv": "name,label\na.mp4,REAL\n"}))


def test_frames_of_published_datasets_and_of_own_ones(tmp_path):
    folders = {
        "FaceForensics++/original_sequences/youtube/c23/frames/000": (0, "", "000", "", ""),
        "FaceForensics++/manipulated_sequences/Deepfakes/c23/frames/000_003": (1, "Deepfakes", "000", "003", ""),
        "Celeb-DF-v2/Celeb-synthesis/frames/id0_id1_0000": (1, "Celeb-synthesis", "id0", "id1", ""),
        "UADFV/fake/frames/0000_fake": (1, "FakeApp", "", "", ""),
        "mine/train/Real videos/frames/a": (0, "", "", "", "train"),
        "mine/test/forged/by me/b": (1, "forged", "", "", "test"),
    }
    unknown = ["mine/camera/frames/c", "mine/real and fake/frames/d"]
    others = ["FaceForensics++/manipulated_sequences/Deepfakes/c23/masks/000_003"]
    table = scan(
        "frames", plant(tmp_path, [f"{path}/{k:03}.png" for path in (*folders, *unknown, *others) for k in (0, 9)])
    )
    assert rows(table, "label", "method", "identity", "donor", "official_split") == folders
    real, fake, *_ = (table.set_index("path").loc[path] for path in folders)
    assert fake["source_video"] == real["video_id"]
    assert "fit no pattern of the dataset: 3" in texts(table)
    assert "name others in a CSV with the columns path and label, and set `layout: listed`" in texts(table)


def test_a_table_of_ones_own_names_videos_pictures_and_folders_of_frames(tmp_path):
    paths = ["a.mp4", "b.jpg", "c/1.png", "c/2.png", "d/1.png", "unlisted.jpg"]
    lists = {"mine.csv": "path,label\na.mp4,real\nb.jpg,fake\nc/,real\nd\\1.png,fake\n"}
    table = scan("listed", plant(tmp_path, paths, lists))
    assert rows(table, "label") == {"a.mp4": (0,), "b.jpg": (1,), "c": (0,), "d/1.png": (1,)}


def test_what_a_table_names_stands_before_its_thumbnail_and_its_frames(tmp_path):
    paths = ["a.mp4", "a.jpg", "a/1.png", "B.MOV", "b/1.png"]
    lists = {"mine.csv": "path,label\na.mp4,real\nb/,fake\n"}
    assert rows(scan("listed", plant(tmp_path, paths, lists)), "label") == {"a.mp4": (0,), "b": (1,)}


def test_wilddeepfake_knows_a_sequence_by_archive_and_number(tmp_path):
    paths = [f"deepfake/{kind}_{split}/{tar}/{kind}/{sequence}/{frame}.png"
             for kind in ("real", "fake") for split, tar in (("train", 1), ("train", 2), ("test", 1))
             for sequence in (0, 1) for frame in (10, 9)]  # fmt: skip
    table = scan("wilddeepfake", plant(tmp_path, paths))
    assert len(table) == 12 and table["video_id"].is_unique
    assert (table["label"] == table["path"].str.contains("/fake_").astype(int)).all()
    assert (table["official_split"] == table["path"].str.extract("_(train|test)/")[0]).all()
    assert table.groupby("identity").size().tolist() == [2] * 6  # the sequences of an archive stay together
    assert "numbered anew in every archive" in texts(table)


def benchmark(folder: str, label_words: tuple[str, str], test_in_train: bool = True) -> dict[str, Any]:
    """Return a list as DeepfakeBench has it of Celeb-DF, with paths of another machine."""
    real, fake = label_words

    def video(part: str, name: str) -> dict[str, Any]:
        frames = [f"{folder}\\{part}\\frames\\{name}\\{k:03}.png" for k in (20, 0, 10)]
        return {name: {"label": word[part], "frames": frames}}

    word = {"Celeb-real": real, "Celeb-synthesis": fake}
    reals, fakes = video("Celeb-real", "id0_0000"), video("Celeb-synthesis", "id0_id1_0000")
    train_fakes = fakes | video("Celeb-synthesis", "id0_id2_0000") if test_in_train else video(
        "Celeb-synthesis", "id0_id2_0000"
    )  # fmt: skip
    return {"Celeb-DF-v2": {
        real: {"train": reals, "val": {}, "test": {}}, fake: {"train": train_fakes, "val": {}, "test": fakes}
    }}  # fmt: skip


FRAMES = [f"Celeb-DF-v2/{path}/{k:03}.png" for k in (0, 10, 20)
          for path in ("Celeb-real/frames/id0_0000", "Celeb-synthesis/frames/id0_id1_0000",
                       "Celeb-synthesis/frames/id0_id2_0000", "Celeb-synthesis/masks/id0_id2_0000")]  # fmt: skip


@pytest.mark.parametrize("folder", ["D:\\data\\rgb\\Celeb-DF-v2", ".\\Celeb-DF-v2", "\\mnt\\a\\datasets\\Celeb-DF-v2"])
def test_deepfakebench_lists_of_another_machine_and_that_they_leak(tmp_path, folder):
    content = json.dumps(benchmark(folder, ("CelebDFv2_real", "CelebDFv2_fake")))
    table = scan(
        "deepfakebench", plant(tmp_path, FRAMES, {"dataset_json/Celeb-DF-v2.json": content, "other.json": "["})
    )
    assert rows(table, "label", "method", "identity", "donor", "official_split", "also_in_split") == {
        "Celeb-DF-v2/Celeb-real/frames/id0_0000": (0, "", "id0", "", "train", ""),
        "Celeb-DF-v2/Celeb-synthesis/frames/id0_id1_0000": (1, "CelebDFv2_fake", "id0", "id1", "test", "train"),
        "Celeb-DF-v2/Celeb-synthesis/frames/id0_id2_0000": (1, "CelebDFv2_fake", "id0", "id2", "train", ""),
    }
    assert "lists leak: they name test videos in train, too (here they are in the test alone): 1" in texts(table)
    [alarm] = [text for text in audit(table.assign(split=table["official_split"])).alarms if "lists of" in text]
    assert alarm.startswith("The lists of deepfakebench leak: 1 of its test videos are named in train, too, e.g. Celeb")


def test_deepfakebench_faceforensics_is_one_level_deeper(tmp_path):
    path = "FaceForensics++/{}/c23/frames/{}"
    folders = {"FF-real": path.format("original_sequences/youtube", "071"),
               "FF-F2F": path.format("manipulated_sequences/Face2Face", "071_054")}  # fmt: skip
    videos = {word: {"c23": {Path(folder).name: {"label": word, "frames": [f"/x/{folder}/000.png"]}}, "c40": {}}
              for word, folder in folders.items()}  # fmt: skip
    content = {"FaceForensics++": {word: {"val": level} for word, level in videos.items()}}
    lists = {"dataset_json/FaceForensics++.json": json.dumps(content)}
    table = scan("deepfakebench", plant(tmp_path, [f"{folder}/0.png" for folder in folders.values()], lists))
    assert rows(table, "label", "method", "official_split", "identity") == {
        folders["FF-real"]: (0, "", "val", "071"), folders["FF-F2F"]: (1, "FF-F2F", "val", "071"),
    }  # fmt: skip
    assert "also_in_split" not in table


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (json.dumps(benchmark("x", ("CelebDFv2_real", "CelebDFv2_fake")))[:300], "is not JSON"),
        (json.dumps(benchmark("x", ("CelebDFv2_real", "morphed"))), "class 'morphed': rename it"),
        (json.dumps({"A": {"a_real": {"holdout": {}}}}), "not one of DeepfakeBench's lists (see a_real, holdout)"),
        ("[]", "is not one of DeepfakeBench's lists; fetch it again"),
    ],
)
def test_a_broken_list_of_deepfakebench_is_said(tmp_path, content, says):
    with pytest.raises(InputError) as caught:
        scan("deepfakebench", plant(tmp_path, FRAMES, {"dataset_json/a.json": content}))
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_one_video_under_two_labels_is_said(tmp_path):
    one = json.dumps(benchmark("Celeb-DF-v2", ("a_real", "a_fake")))
    other = json.dumps(benchmark("Celeb-DF-v2", ("b_real", "b_real")))
    with pytest.raises(InputError, match="as b_real, another list as a_fake: correct one of them"):
        scan("deepfakebench", plant(tmp_path, FRAMES, {"dataset_json/a.json": one, "dataset_json/b.json": other}))


def test_from_index_to_strips_with_one_frame_a_video(tmp_path):
    """Images are cropped faces; what cannot be decoded is a row like the others."""
    names = [f"{label}/{k}.jpg" for label in ("real", "fake") for k in range(3)]
    dataset = indexed(tmp_path / "videos", "images", names)
    rng = np.random.default_rng(0)
    for name in names[:-1]:
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / "videos" / name)
    (tmp_path / "videos" / names[-1]).write_bytes(b"\xff\xd8\xff, and nothing more")
    probed = probe_videos(dataset.videos, dataset.root, progress=False)
    assert probed["n_frames"].dropna().tolist() == [1] * 5
    assert probed["status"].value_counts().to_dict() == {"": 5, "unreadable": 1}
    settings = PreprocessSettings(frames_per_video=1, faces="cropped", face_size=64, workers=1)
    made = preprocess(dataset._replace(videos=probed, folder=tmp_path / "made"), settings, progress=False)
    assert made.videos["status"].value_counts().to_dict() == {"ok": 5, "unreadable": 1}
    assert (
        made.videos.set_index("path")
        .loc["fake/2.jpg", "reason"]
        .startswith("2.jpg is a picture that cannot be decoded")
    )
