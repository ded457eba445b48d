"""Layouts of copies and of less common datasets: each a tree of empty files, column by column, up to the split."""

import json
from pathlib import Path

import pandas as pd
import pytest

from dfutils.core.errors import InputError
from dfutils.core.params import SplitSettings
from dfutils.core.paths import video_id
from dfutils.data.indexing import pool, scan
from dfutils.evaluation.evaluate import predictions
from dfutils.splits.division import divide
from dfutils.splits.identities import content_keys
from tests.support.trees import plant

REAL, FAKE = 0, 1
COLUMNS = ["label", "method", "identity", "donor", "source_video", "official_split"]
Row = tuple[int, str, str, str, str, str]


def scanned(root: Path, layout: str, paths, lists: dict[str, str] | None = None) -> pd.DataFrame:
    return scan(layout, plant(root, paths, lists))


def rows(table: pd.DataFrame) -> dict[str, Row]:
    return dict(zip(table["path"], table[COLUMNS].itertuples(index=False, name=None), strict=True))


def notes(table: pd.DataFrame) -> str:
    return " ".join(warning["text"] for warning in table.attrs["warnings"] if warning["kind"] == "note")


def assert_divided(table: pd.DataFrame, copies: int = 30) -> None:
    """Assert that the dataset, with many people of its kind, is divided without a person or source on two sides."""
    many = []
    for k in range(copies):
        renamed = {c: table[c].where(table[c] == "", f"{k}-" + table[c]) for c in ("identity", "donor", "source_video")}
        many.append(table.assign(video_id=f"{k}-" + table["video_id"], **renamed))
    split = divide(pd.concat(many, ignore_index=True), SplitSettings(), 0)
    used = split[split["split"] != ""]
    assert set(used["split"]) == {"train", "val", "test"}
    shown = [used.assign(who=content_keys(used)), *(used.assign(who=used[c]) for c in ("identity", "donor"))]
    named = pd.concat(shown)
    assert named[named["who"] != ""].groupby("who")["split"].nunique().max() == 1


def assert_read(table: pd.DataFrame, expected: dict[str, Row], note: str) -> None:
    """Assert that a table has these rows, that its user is told what the note says, and that it can be divided."""
    assert rows(table) == expected
    assert note in notes(table)
    assert_divided(table)


def test_ff_c23(tmp_path):
    top = "FaceForensics++_C23"
    expected: dict[str, Row] = {
        f"{top}/original/000.mp4": (REAL, "", "000", "", "", "train"),
        f"{top}/original/003.mp4": (REAL, "", "003", "", "", "train"),
        f"{top}/Deepfakes/000_003.mp4": (FAKE, "Deepfakes", "000", "003", video_id(f"{top}/original/000.mp4"), "train"),
        f"{top}/FaceShifter/003_000.mp4": (
            FAKE, "FaceShifter", "003", "000", video_id(f"{top}/original/003.mp4"), "train",
        ),
    }  # fmt: skip
    others = [f"{top}/DeepFakeDetection/01_02__exit_phone_room__YVGY8LOK.mp4"]
    lists = {f"{top}/train.json": '[["000", "003"]]', f"{top}/csv/FF++_Metadata.csv": "File Path,Label\n"}
    table = scanned(tmp_path, "ff_c23", [*expected, *others], lists)
    assert_read(table, expected, "DeepFakeDetection are left out")
    assert set(table["compression"]) == {"c23"}


def test_dfd(tmp_path):
    real, fake = "DFD_original sequences", "DFD_manipulated_sequences/DFD_manipulated_sequences"
    source = video_id(f"{real}/01__exit_phone_room.mp4")
    expected: dict[str, Row] = {
        f"{real}/01__exit_phone_room.mp4": (REAL, "", "01", "", "", ""),
        f"{fake}/01_02__exit_phone_room__YVGY8LOK.mp4": (FAKE, "DeepFakeDetection", "01", "02", source, ""),
    }
    table = scanned(tmp_path, "dfd", expected)
    assert_read(table, expected, "no official list")


def test_fakeavceleb(tmp_path):
    who = "African/men/id00076"
    expected: dict[str, Row] = {
        f"FakeAVCeleb/RealVideo-RealAudio/{who}/00109.mp4": (REAL, "", "id00076", "", "", ""),
        f"FakeAVCeleb/RealVideo-FakeAudio/{who}/00109_fake.mp4": (REAL, "", "id00076", "", "", ""),
        f"FakeAVCeleb/FakeVideo-RealAudio/{who}/00109_1.mp4": (FAKE, "faceswap", "id00076", "id00166", "", ""),
        f"FakeAVCeleb/FakeVideo-FakeAudio/{who}/00109_2.mp4": (FAKE, "wav2lip", "id00076", "", "", ""),
    }
    head = "source,target1,target2,method,category,type,race,gender,path,Unnamed: 9\n"
    methods = {"00109": "real", "00109_fake": "rtvc", "00109_1": "faceswap", "00109_2": "wav2lip"}
    lines = [
        f"id00076,{'id00166' if Path(path).stem == '00109_1' else '-'},-,{methods[Path(path).stem]},A,"
        f"{path.split('/')[1]},African,men,{Path(path).name},{path.rpartition('/')[0]}\n"
        for path in expected
    ]
    table = scanned(tmp_path, "fakeavceleb", expected, {"FakeAVCeleb/meta_data.csv": head + "".join(lines)})
    assert_read(table, expected, "RealVideo-FakeAudio shows real faces")
    assert set(table["attribute_race"]) == {"African"} and set(table["attribute_sex"]) == {"men"}
    (tmp_path / "FakeAVCeleb" / "meta_data.csv").write_text(head + "id00076,-,-\n")
    with pytest.raises(InputError, match=r"Line 2 .* has 3 columns, not 10"):
        scan("fakeavceleb", tmp_path)


def test_dfdc_preview(tmp_path):
    expected: dict[str, Row] = {
        "original_videos/643384/643384_A_000.mp4": (REAL, "", "643384", "", "", "train"),
        "method_A/643384_1224068_A_000.mp4": (FAKE, "method_A", "643384", "1224068", "", "train"),
        "method_B/1224068_643384_B_000.mp4": (FAKE, "method_B", "1224068", "643384", "", "test"),
    }
    listed = {
        path: {"label": "fake" if row[0] else "real", "target_id": row[2], "swapped_id": row[3] or None, "set": row[5]}
        for path, row in expected.items()
    }
    table = scanned(tmp_path, "dfdc_preview", expected, {"dataset.json": json.dumps(listed)})
    assert_read(table, expected, "names both people")
    (tmp_path / "dataset.json").write_text(json.dumps(listed)[:40])
    with pytest.raises(InputError, match="is not JSON"):
        scan("dfdc_preview", tmp_path)


def test_deeperforensics(tmp_path):
    real = "original_sequences/youtube/c23/videos/000.mp4"
    fakes = [f"manipulated_videos/{variant}/000_M101.mp4" for variant in ("end_to_end", "end_to_end_level_1")]
    expected: dict[str, Row] = {
        real: (REAL, "", "000", "", "", "train"),
        **{path: (FAKE, path.split("/")[1], "000", "m101", video_id(real), "train") for path in fakes},
    }
    table = scanned(tmp_path, "deeperforensics", expected, {"lists/splits/train.txt": "000_M101.mp4\n"})
    assert_read(table, expected, "they stay in one split")


def test_deepfake_eval_2024(tmp_path):
    head = "Filename,Video Ground Truth,Finetuning Set,Language\n"
    lines = "a.mp4,Real,Train,en\nb.mp4,Fake,Test,\nc.mp4,Unknown,Test,fr\n"
    lists = {"video-metadata-publish-with-links.csv": head + lines}
    table = scanned(tmp_path, "deepfake_eval_2024", [f"video-data/{name}.mp4" for name in "abc"], lists)
    expected: dict[str, Row] = {
        "video-data/a.mp4": (REAL, "", "", "", "", "train"),
        "video-data/b.mp4": (FAKE, "in the wild", "", "", "", "test"),
    }
    assert_read(table, expected, "look at the coverage")
    assert table["attribute_language"].tolist() == ["en", ""]
    assert any(warning["kind"] == "unlabelled" for warning in table.attrs["warnings"])


def test_uadfv(tmp_path):
    expected: dict[str, Row] = {
        "real/0000.mp4": (REAL, "", "", "", "", ""),
        "fake/0000_fake.mp4": (FAKE, "FakeApp", "", "", "real__0000", ""),
    }
    table = scanned(tmp_path, "uadfv", expected)
    assert_read(table, expected, "as plain folders they would leak")


def test_attributes_of_one_dataset_are_empty_in_another(tmp_path):
    who = "RealVideo-RealAudio/African/men/id00076/00109.mp4"
    people = scanned(tmp_path / "a", "fakeavceleb", [who, who.replace("RealVideo-Real", "FakeVideo-Real")])
    pooled = pool({"a": people, "b": scanned(tmp_path / "b", "uadfv", ["real/0000.mp4", "fake/0000_fake.mp4"])})
    assert pooled["attribute_race"].tolist() == ["African", "African", "", ""]


TABLE = "path,label,split,person,donor,source,method,platform\n"
LISTED: dict[str, Row] = {
    "a/one.mp4": (REAL, "", "anna", "", "", "train"),
    "a/two.mov": (FAKE, "swap", "anna", "ben", "a__one", "val"),
}
LINES = ["a/one.mp4,Real,train,anna,,,,tv", "a\\two.mov,FAKE,valid,anna,ben,a/one.mp4,swap,"]


def listed(folder: Path, text: str | bytes, label_one: str = "", name: str = "list.csv") -> pd.DataFrame:
    plant(folder, [*LISTED, "other.mp4"], {name: text})
    return scan("listed", folder, label_one)


@pytest.mark.parametrize("change", [str.encode, lambda t: t.encode("utf-8-sig"), lambda t: t.encode("utf-16"),
                                    lambda t: t.replace(",", ";").encode()])  # fmt: skip
def test_a_table_of_ones_own_in_any_encoding(tmp_path, change):
    table = listed(tmp_path, change(TABLE + "\n".join([*LINES, "gone.mp4,real,,,,,,"])))
    assert rows(table) == LISTED
    assert table["attribute_platform"].tolist() == ["tv", ""]
    warned = {warning["kind"]: warning["count"] for warning in table.attrs["warnings"]}
    assert warned == {"unlabelled": 1, "absent": 1}


def test_a_table_of_ones_own_as_parquet_with_numbers(tmp_path):
    pd.DataFrame({"path": list(LISTED), "label": [1, 0]}).to_parquet(tmp_path / "x.parquet")
    content = (tmp_path / "x.parquet").read_bytes()
    (tmp_path / "x.parquet").unlink()
    table = listed(tmp_path, content, "real", "list.parquet")
    assert table["label"].tolist() == [REAL, FAKE]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path,label\na/one.mp4,1\na/two.mov,0\n", "say what 1 means with `label_one: real` or `label_one: fake`"),
        ("path,label\na/one.mp4,real\na/two.mov,unsure\n", "has the labels unsure: use real and fake"),
        ("path,label\na/one.mp4,real\na/one.mp4,fake\n", "names a/one.mp4 twice with different splits or labels"),
        ("path,label\nC:\\x\\one.mp4,real\n", "paths must begin at root"),
        ("path,label\n/home/x/one.mp4,real\n", "paths must begin at root"),
        ("path,label,split\na/one.mp4,real,dev\n", "gives a/one.mp4 the split 'dev'"),
        ("file,label\na/one.mp4,real\n", "has no column path, but file, label"),
        (b"\x00\x01", "list.csv"),
    ],
)
def test_a_table_that_cannot_be_read_is_said(tmp_path, text, says):
    with pytest.raises(InputError, match=says):
        listed(tmp_path, text)


def test_two_tables_are_one_too_many(tmp_path):
    (tmp_path / "more.csv").write_text(TABLE)
    with pytest.raises(InputError, match=r"must hold one CSV or Parquet file .* 2 \(list.csv, more.csv\)"):
        listed(tmp_path, TABLE + "\n".join(LINES))


def test_forged_seconds_are_read_from_a_table_of_ones_own_and_kept(tmp_path):
    lists = {"mine.csv": "path,label,segments\na.mp4,fake,7-8; 1.50-3\nb.mp4,fake,\nc.mp4,real,\n"}
    table = scan("listed", plant(tmp_path, ["a.mp4", "b.mp4", "c.mp4"], lists))
    assert table["segments"].tolist() == ["1.5-3;7-8", "", ""]
    assert not [name for name in table if name.startswith("attribute_")]
    pooled = pool({"mine": table, "other": scan("folder", plant(tmp_path / "other", ["real/a.mp4"]))})
    assert pooled["segments"].tolist() == ["1.5-3;7-8", "", "", ""]
    videos = table.assign(split="test", status="ok")
    scores = pd.DataFrame({"video_id": videos["video_id"], "probability_fake": [0.9, 0.8, 0.1]})
    assert predictions(videos, scores, 0.5)["segments"].tolist() == ["1.5-3;7-8", "", ""]
    assert "segments" not in predictions(videos.drop(columns="segments"), scores, 0.5)
    for line, says in (("a.mp4,fake,8-7", "'8-7' are no forged seconds"), ("c.mp4,real,1-2", "and the label real")):
        with pytest.raises(InputError, match=says):
            scan("listed", plant(tmp_path, [], {"mine.csv": f"path,label,segments\n{line}\n"}))
