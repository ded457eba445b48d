"""Tests of the index: each published layout as a tree of small videos, column by column, and difficult folders."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dfutils.core.errors import InputError
from dfutils.core.paths import video_id
from dfutils.data import indexing
from dfutils.data.indexing import (
    COLUMNS,
    check,
    check_splits,
    fingerprint,
    fingerprints,
    pool,
    probe_videos,
    scan,
)  # fmt: skip
from dfutils.data.layouts import LAYOUTS
from dfutils.faces import video

REAL, FAKE = 0, 1
Row = tuple[int, str, str, str, str, str]  # label, method, identity, donor, path of the source, official split


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the bytes of a video, four frames of 32 x 32."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    video.write(path, [np.full((32, 32, 3), 60 * k, np.uint8) for k in range(4)])
    return path.read_bytes()


@pytest.fixture
def tree(tmp_path: Path, clip: bytes):
    """Return a function that makes a folder of copies of the clip at the paths given, and of lists (path: text)."""

    def build(paths, lists: dict[str, str] | None = None, name: str = "root") -> Path:
        root = tmp_path / name
        for path in paths:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(clip)
        for path, text in (lists or {}).items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text, encoding="utf-8")
        return root

    return build


def kinds(table: pd.DataFrame) -> dict[str, int]:
    """Return the number of files by kind of warning, without `counts`: a test's tree never has the published counts."""
    return {warning["kind"]: warning["count"] for warning in table.attrs["warnings"] if warning["kind"] != "counts"}


def assert_rows(table: pd.DataFrame, dataset: str, expected: dict[str, Row]) -> None:
    """Assert that every column of every row is as expected, and that rows are sorted by path."""
    assert list(table.columns) == COLUMNS
    assert list(table["path"]) == sorted(expected)
    assert table["label"].dtype == np.int8
    for row in table.itertuples():
        label, method, identity, donor, source, split = expected[row.path]
        actual = (row.label, row.method, row.identity, row.donor, row.source_video, row.official_split)
        assert actual == (label, method, identity, donor, video_id(source) if source else "", split), row.path
        assert (row.video_id, row.dataset, row.codec) == (video_id(row.path), dataset, "")
    assert table[["width", "height", "fps", "n_frames", "duration_s", "bitrate"]].isna().all(axis=None)


CELEB: dict[str, Row] = {
    "Celeb-real/id0_0000.mp4": (REAL, "", "id0", "", "", "train"),
    "Celeb-real/id1_0003.mp4": (REAL, "", "id1", "", "", "test"),
    "YouTube-real/00000.mp4": (REAL, "", "", "", "", "test"),
    "YouTube-real/00017.mp4": (REAL, "", "", "", "", "train"),
    "Celeb-synthesis/id0_id1_0000.mp4": (FAKE, "Celeb-synthesis", "id0", "id1", "Celeb-real/id0_0000.mp4", "train"),
    "Celeb-synthesis/id1_id0_0003.mp4": (FAKE, "Celeb-synthesis", "id1", "id0", "Celeb-real/id1_0003.mp4", "test"),
    # its source is not there, and is named all the same
    "Celeb-synthesis/id16_id1_0012.mp4": (FAKE, "Celeb-synthesis", "id16", "id1", "Celeb-real/id16_0012.mp4", "train"),
}
CELEB_LIST = "1 YouTube-real/00000.mp4\n1 Celeb-real/id1_0003.mp4\n0 Celeb-synthesis/id1_id0_0003.mp4\n"


@pytest.mark.parametrize("layout", ["celeb_df_v1", "celeb_df_v2"])
def test_celeb_df(tree, layout: str) -> None:
    table = scan(layout, tree(CELEB, {"List_of_testing_videos.txt": CELEB_LIST}))
    assert_rows(table, layout, CELEB)
    assert kinds(table) == {}


def test_celeb_df_pp(tree) -> None:
    swap, reenact, talk = (f"Celeb-synthesis/{name}" for name in ("FaceSwap", "FaceReenact", "TalkingFace"))
    expected: dict[str, Row] = {
        **{path: row for path, row in CELEB.items() if row[0] == REAL},
        f"{swap}/Celeb-DF-v2/id0_id1_0000.mp4": (FAKE, "Celeb-DF-v2", "id0", "id1", "Celeb-real/id0_0000.mp4", "train"),
        f"{swap}/SimSwap/id0_id1_0000.mp4": (FAKE, "SimSwap", "id0", "id1", "Celeb-real/id0_0000.mp4", "test"),
        f"{reenact}/DaGAN/id1_id0_0003.mp4": (FAKE, "DaGAN", "id1", "id0", "Celeb-real/id1_0003.mp4", "train"),
        f"{talk}/IP_LAP/id0_0000_test_7.mp4": (FAKE, "IP_LAP", "id0", "", "Celeb-real/id0_0000.mp4", "train"),
        f"{talk}/FLOAT/id1_0003.mp4": (FAKE, "FLOAT", "id1", "", "Celeb-real/id1_0003.mp4", "train"),
    }
    tests = f"1 YouTube-real/00000.mp4\n1 Celeb-real/id1_0003.mp4\n0 {swap}/SimSwap/id0_id1_0000.mp4\n"
    table = scan("celeb_df_pp", tree(expected, {"List_of_testing_videos.txt": tests}))
    assert_rows(table, "celeb_df_pp", expected)
    assert kinds(table) == {}


def test_kaggle_cropped_faces(tree) -> None:
    parts = ("Celeb_fake_face_only", "Celeb_real_face_only", "DFDC_FAKE_Face_only_data", "DFDC_REAL_Face_only_data")
    celeb_fake, celeb_real, dfdc_fake, dfdc_real = (f"{name}/{name}" for name in parts)
    ff = "FF_Face_only_data/FF_Face_only_data"
    expected: dict[str, Row] = {
        f"{celeb_fake}/id0_id1_0000.mp4": (FAKE, "Celeb-synthesis", "id0", "id1", f"{celeb_real}/id0_0000.mp4", ""),
        f"{celeb_real}/id0_0000.mp4": (REAL, "", "id0", "", "", ""),
        f"{celeb_real}/00170.mp4": (REAL, "", "", "", "", ""),
        f"{dfdc_fake}/aaeflzzhvy.mp4": (FAKE, "DFDC", "", "", "", ""),
        f"{dfdc_real}/aabqyygbaa.mp4": (REAL, "", "", "", "", ""),
        f"{ff}/872.mp4": (REAL, "", "872", "", "", ""),
        f"{ff}/626.mp4": (REAL, "", "626", "", "", ""),
        f"{ff}/626_562.mp4": (FAKE, "FaceForensics++", "626", "562", f"{ff}/626.mp4", ""),
    }
    labels = "".join(f"{Path(path).name},{'FAKE' if row[0] else 'REAL'}\n" for path, row in expected.items())
    table = scan("kaggle_cropped_faces", tree(expected, {"Gobal_metadata.csv": labels}))
    assert_rows(table, "kaggle_cropped_faces", expected)
    assert kinds(table) == {}


def test_kaggle_label_said_twice_differently_is_no_label(tree) -> None:
    folder = "FF_Face_only_data/FF_Face_only_data"
    paths = [f"{folder}/001.mp4", f"{folder}/002.mp4", f"{folder}/001_870.mp4"]
    root = tree(paths, {"Gobal_metadata.csv": "001.mp4,FAKE\n002.mp4,REAL\n001_870.mp4,FAKE\n"})
    table = scan("kaggle_cropped_faces", root)
    assert list(table["path"]) == sorted(paths[1:])
    assert kinds(table) == {"contradicting": 1}


def test_kaggle_without_celeb_fakes_says_so(tree) -> None:
    folders = ("Celeb_real_face_only", "DFDC_FAKE_Face_only_data", "DFDC_REAL_Face_only_data", "FF_Face_only_data")
    names = ("id0_0000", "aaaaaaaaaa", "bbbbbbbbbb", "000")
    root = tree(f"{folder}/{folder}/{name}.mp4" for folder, name in zip(folders, names, strict=True))
    counts = check("kaggle_cropped_faces", scan("kaggle_cropped_faces", root)).set_index("part")
    assert list(counts.index[counts["differs"]]) == ["Celeb_fake_face_only", "all videos"]
    assert counts.loc["Celeb_fake_face_only", "found"] == 0


def ffpp() -> tuple[dict[str, Row], dict[str, str]]:
    """All methods at two compressions, the actors, and the lists."""
    expected: dict[str, Row] = {}
    for level in ("c23", "raw"):
        real = f"original_sequences/youtube/{level}/videos"
        for name, split in (("000", "train"), ("003", "train"), ("720", "val"), ("953", "test"), ("974", "test")):
            expected[f"{real}/{name}.mp4"] = (REAL, "", name, "", "", split)
        for method in ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter"):
            folder = f"manipulated_sequences/{method}/{level}/videos"
            expected[f"{folder}/000_003.mp4"] = (FAKE, method, "000", "003", f"{real}/000.mp4", "train")
            expected[f"{folder}/974_953.mp4"] = (FAKE, method, "974", "953", f"{real}/974.mp4", "test")
            expected[f"{folder}/672_720.mp4"] = (FAKE, method, "672", "720", f"{real}/672.mp4", "val")
        actor = f"original_sequences/actors/{level}/videos/01__exit_phone_room.mp4"
        expected[actor] = (REAL, "", "01", "", "", "")
        swap = f"manipulated_sequences/DeepFakeDetection/{level}/videos/01_02__exit_phone_room__YVGY8LOK.mp4"
        expected[swap] = (FAKE, "DeepFakeDetection", "01", "02", actor, "")
    pairs = {"train": [["000", "003"]], "val": [["720", "672"]], "test": [["953", "974"]]}
    return expected, {f"splits/{name}.json": json.dumps(sequences) for name, sequences in pairs.items()}


def test_ffpp(tree) -> None:
    expected, lists = ffpp()
    masks = ["manipulated_sequences/Deepfakes/masks/videos/000_003.mp4"]
    table = scan("ffpp", tree([*expected, *masks], lists))
    assert_rows(table, "ffpp", expected)
    assert kinds(table) == {"absent": 4}  # 672 itself, and the other direction of three pairs


def test_ffpp_with_a_test_list_only(tree) -> None:
    expected, lists = ffpp()
    root = tree([path for path in expected if "youtube" in path], {"splits/test.json": lists["splits/test.json"]})
    split = scan("ffpp", root).set_index("path")["official_split"]
    assert split["original_sequences/youtube/c23/videos/720.mp4"] == "train"
    assert split["original_sequences/youtube/c23/videos/953.mp4"] == "test"


def test_dfdc(tree) -> None:
    one, two = "dfdc_train_part_0", "dfdc_train_part_1"
    expected: dict[str, Row] = {
        f"{one}/aaaaaaaaaa.mp4": (REAL, "", "", "", "", "train"),
        f"{one}/bbbbbbbbbb.mp4": (FAKE, "DFDC", "", "", f"{one}/aaaaaaaaaa.mp4", "train"),
        f"{two}/cccccccccc.mp4": (FAKE, "DFDC", "", "", f"{two}/dddddddddd.mp4", "train"),  # whose source is absent
        "test/eeeeeeeeee.mp4": (FAKE, "DFDC", "", "", "", "test"),
        "test/ffffffffff.mp4": (REAL, "", "", "", "", "test"),
    }
    metadata = [
        {
            "aaaaaaaaaa.mp4": {"label": "REAL", "split": "train"},  # without `original`
            "bbbbbbbbbb.mp4": {"label": "FAKE", "split": "train", "original": "aaaaaaaaaa.mp4"},
            "gggggggggg.mp4": {"label": "FAKE", "split": "train", "original": "aaaaaaaaaa.mp4"},
        },
        {"cccccccccc.mp4": {"label": "FAKE", "split": "train", "original": "dddddddddd.mp4"}},
    ]
    lists = {f"dfdc_train_part_{k}/metadata.json": json.dumps(entries) for k, entries in enumerate(metadata)}
    lists["test/labels.csv"] = "filename,label\neeeeeeeeee.mp4,1\nffffffffff.mp4,0\n"
    root = tree([*expected, f"{two}/hhhhhhhhhh.mp4"], lists)
    table = scan("dfdc", root)
    assert_rows(table, "dfdc", expected)
    assert kinds(table) == {"absent": 1, "unlabelled": 1, "no source": 1}
    only_part = scan("dfdc", root / one)  # one part by itself is a dataset too
    assert dict(zip(only_part["video_id"], only_part["source_video"], strict=True)) == {
        "aaaaaaaaaa": "",
        "bbbbbbbbbb": "aaaaaaaaaa",
    }


def test_folder(tree) -> None:
    expected: dict[str, Row] = {
        "real/a.mov": (REAL, "", "", "", "", ""),
        "real/of 2019/Zoë – Übung.MKV": (REAL, "", "", "", "", ""),
        "fake/b.webm": (FAKE, "", "", "", "", ""),
        "fake/swap/videos/c.mp4": (FAKE, "swap", "", "", "", ""),
    }
    root = tree([*expected, "else/d.mp4"], {"real/notes.txt": "no video"})
    table = scan("folder", root)
    assert_rows(table, "folder", expected)
    assert kinds(table) == {"unfitting": 1}
    assert all(name.isascii() and " " not in name for name in table["video_id"])


def test_folder_with_real_videos_only_is_indexed(tree) -> None:
    assert list(scan("folder", tree(["real/a.mp4"]))["label"]) == [REAL]


def test_sample(tree) -> None:
    expected: dict[str, Row] = {
        "real/collins_000.mp4": (REAL, "", "collins_000", "", "", ""),
        "real/hopper_001.mp4": (REAL, "", "hopper_001", "", "", ""),
        "fake/poisson/collins_000__hopper_001.mp4": (
            FAKE, "poisson", "collins_000", "hopper_001", "real/collins_000.mp4", "",
        ),
        "fake/self_blend/hopper_001.mp4": (FAKE, "self_blend", "hopper_001", "", "real/hopper_001.mp4", ""),
    }  # fmt: skip
    assert_rows(scan("sample", tree(expected)), "sample", expected)


def test_tolerated_differences_change_nothing_but_the_path(tree) -> None:
    rename = {
        path: "Celeb-DF-v2/"
        + path.replace("YouTube", "Youtube").replace(".mp4", ".MP4").replace("real/", "real/videos/")
        for path in CELEB
    }
    table = scan("celeb_df_v2", tree(rename.values(), {"Celeb-DF-v2/List_of_testing_videos.txt": CELEB_LIST}))
    rows = {row.path: row for row in table.itertuples()}
    for path, (label, method, identity, donor, source, split) in CELEB.items():
        row = rows[rename[path]]
        assert (row.label, row.method, row.identity, row.donor) == (label, method, identity, donor)
        assert row.official_split == split
        if source in rename:
            assert row.source_video == video_id(rename[source])


def test_byte_order_mark_and_first_line_of_the_list_are_read(tree) -> None:
    table = scan("celeb_df_v1", tree(CELEB, {"List_of_testing_videos.txt": "\ufeff" + CELEB_LIST}))
    assert set(table.loc[table["official_split"] == "test", "path"]) == {line[2:] for line in CELEB_LIST.splitlines()}


def test_a_list_in_utf_16_is_read(tree) -> None:
    root = tree(CELEB)
    (root / "List_of_testing_videos.txt").write_text(CELEB_LIST, encoding="utf-16")
    assert_rows(scan("celeb_df_v1", root), "celeb_df_v1", CELEB)


def test_without_a_list_the_official_split_is_unknown(tree) -> None:
    table = scan("celeb_df_v1", tree(CELEB))
    assert set(table["official_split"]) == {""}
    assert kinds(table) == {"no list": 0}


def test_list_that_disagrees_with_the_folder_leaves_the_video_out(tree) -> None:
    table = scan("celeb_df_v1", tree(CELEB, {"List_of_testing_videos.txt": "0 Celeb-real/id0_0000.mp4\n"}))
    assert "Celeb-real/id0_0000.mp4" not in set(table["path"])
    assert kinds(table) == {"contradicting": 1}


def test_list_naming_absent_files_and_names_fitting_no_pattern_are_reported(tree) -> None:
    odd = ["Celeb-real/interview.mp4", "Celeb-synthesis/id0_0001.mp4", "Other/id0_0000.mp4"]
    more = CELEB_LIST + "0 Celeb-synthesis/id9_id8_0000.mp4\n"
    table = scan("celeb_df_v2", tree([*CELEB, *odd], {"List_of_testing_videos.txt": more}))
    assert_rows(table, "celeb_df_v2", CELEB)
    assert kinds(table) == {"unfitting": 3, "absent": 1}
    texts = " ".join(warning["text"] for warning in table.attrs["warnings"])
    assert "Celeb-real/interview.mp4" in texts
    assert "Celeb-synthesis/id9_id8_0000.mp4" in texts


def test_files_no_list_names_are_reported(tree) -> None:
    expected, lists = ffpp()
    extra = "original_sequences/youtube/c23/videos/555.mp4"
    table = scan("ffpp", tree([*expected, extra], lists))
    assert table.set_index("path").loc[extra, "official_split"] == ""
    assert kinds(table)["unlisted"] == 1


def test_counts_are_held_against_the_published_ones(tree) -> None:
    table = scan("celeb_df_v1", tree(CELEB, {"List_of_testing_videos.txt": CELEB_LIST}))
    assert check("celeb_df_v1", table).to_dict("list") == {
        "part": ["Celeb-real", "YouTube-real", "Celeb-synthesis", "test list"],
        "expected": [158.0, 250.0, 795.0, 100.0],
        "found": [2, 2, 3, 3],
        "differs": [True] * 4,
    }
    text = next(warning["text"] for warning in table.attrs["warnings"] if warning["kind"] == "counts")
    assert "Celeb-real 2 of 158" in text
    assert check("folder", table).empty


def test_system_files_and_hidden_ones_are_not_videos(tree) -> None:
    table = scan("folder", tree(["real/a.mp4", "real/._a.mp4", "real/.cache/b.mp4", "__MACOSX/real/a.mp4"]))
    assert list(table["path"]) == ["real/a.mp4"]
    assert kinds(table) == {}


def test_a_video_without_a_known_ending_is_indexed_and_other_files_are_not(tree) -> None:
    root = tree(["real/a", "real/a.mp4", "fake/swap/b.f4v"], {"real/notes": "text", "real/a.jpg": "text"})
    table = scan("folder", root)
    assert list(table["path"]) == ["fake/swap/b.f4v", "real/a", "real/a.mp4"]
    assert table["video_id"].is_unique


def test_linked_folder_is_followed_once(tree, tmp_path: Path) -> None:
    root = tree(["real/a.mp4"])
    elsewhere = tree(["b.mp4"], name="elsewhere")
    try:
        (root / "fake").symlink_to(elsewhere, target_is_directory=True)
        (root / "real" / "loop").symlink_to(root, target_is_directory=True)
    except OSError:
        pytest.skip("this system makes no symbolic links")
    assert list(scan("folder", root)["path"]) == ["fake/b.mp4", "real/a.mp4"]


def test_name_that_is_not_unicode_is_reported_not_stored(tree) -> None:
    root = tree(["real/a.mp4"])
    try:
        Path(os.fsdecode(os.fsencode(root) + b"/real/\xff.mp4")).touch()
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    table = scan("folder", root)
    assert list(table["path"]) == ["real/a.mp4"]
    assert kinds(table) == {"not Unicode": 1}
    assert "not valid Unicode: rename them: 1, e.g. real/\\udcff.mp4" in table.attrs["warnings"][0]["text"]
    table.to_parquet(root / "table.parquet")  # with its warnings


@pytest.mark.parametrize(
    ("layout", "paths", "lists", "says"),
    [
        ("celeb_df_v3", ["Celeb-real/id0_0000.mp4"], {}, r"did you mean 'celeb_df_v"),
        ("celeb_df_v2", [], {"notes.txt": "."}, r"no video below .* Celeb-synthesis/id0_id1_0000.mp4"),
        ("celeb_df_v2", ["real/a.mp4"], {}, r"None of the 1 videos .* set `layout: folder`"),
        (
            "dfdc",
            ["x/a.mp4"],
            {},
            "None of the 1 videos .* has a label: .* metadata.json or labels.csv .* folder of x/a.mp4",
        ),
        ("celeb_df_v2", ["Celeb-real/id0_0000.mp4", "Celeb-real/videos/id0_0000.mp4"], {}, "the same video"),
        ("celeb_df_v2", ["Celeb-real/id0_0000.mp4"], {"List_of_testing_videos.txt": "1 a.mp4\n1;b.mp4\n"}, "Line 2"),
        ("celeb_df_v2", ["Celeb-real/id0_0000.mp4"], {"List_of_testing_videos.txt": "1 a.mp4\n0 a.mp4\n"}, "twice"),
        ("ffpp", ["original_sequences/youtube/c23/videos/000.mp4"], {"splits/test.json": '[["000", '}, "not JSON"),
        ("ffpp", ["original_sequences/youtube/c23/videos/000.mp4"], {"splits/test.json": '{"000": 1}'}, "pairs"),
        (
            "ffpp",
            ["original_sequences/youtube/c23/videos/000.mp4"],
            {"splits/test.json": '[["000", "003"]]', "splits/train.json": '[["000", "004"]]'},
            "000 twice",
        ),
        ("dfdc", ["a.mp4"], {"metadata.json": "[]"}, "not DFDC's metadata"),
        ("dfdc", ["test/a.mp4"], {"test/labels.csv": "filename,label\na.mp4,FAKE\n"}, "Line 2 of test/labels.csv"),
    ],
)
def test_users_mistakes_end_in_one_sentence(tree, layout: str, paths, lists, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        scan(layout, tree(paths, lists))
    assert "\n" not in str(caught.value)


def test_root_missing_or_a_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is missing"):
        scan("folder", tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        scan("folder", tmp_path / "file")


def test_names_that_would_share_an_id_all_get_a_suffix(tree) -> None:
    table = scan("folder", tree(["real/a/b.mp4", "real/a__b.mp4", "real/A__B.mov", "real/c.mp4"]))
    ids = dict(zip(table["path"], table["video_id"], strict=True))
    assert ids["real/c.mp4"] == "real__c"
    assert len({name.lower() for name in ids.values()}) == 4
    assert ids["real/a/b.mp4"].startswith("real__a__b-")
    assert ids["real/a__b.mp4"].startswith("real__a__b-")


def test_names_that_differ_in_the_spelling_of_accents_only_are_refused(tree) -> None:
    root = tree(["real/\u00fc.mp4", "real/u\u0308.mp4"])
    if len(os.listdir(root / "real")) == 1:
        pytest.skip("this file system takes both spellings for one name")
    with pytest.raises(InputError, match="share the id"):
        scan("folder", root)


def test_probe_videos(tree, clip: bytes) -> None:
    root = tree(["real/a.mp4", "real/b c.mp4"])
    (root / "real/empty.mp4").touch()
    (root / "real/text.mp4").write_text("not a video")
    (root / "real/broken.mp4").write_bytes(clip[:200])
    table = probe_videos(scan("folder", root), root, progress=False).set_index("path")
    good = table.loc[["real/a.mp4", "real/b c.mp4"]]
    assert good[["width", "height", "n_frames", "fps", "status", "reason"]].drop_duplicates().values.tolist() == [
        [32.0, 32.0, 4.0, 25.0, "", ""]
    ]
    assert (good["bitrate"] > 0).all()
    bad = table.drop(good.index)
    assert set(bad["status"]) == {"unreadable"}
    assert bad["reason"].str.len().gt(10).all()
    assert bad["width"].isna().all()


def test_the_fingerprint_of_splits_contains_the_splits() -> None:
    table = pd.DataFrame({"video_id": ["a", "b"], "label": [0, 1], "split": ["train", "test"]})
    made = fingerprints(table)
    check_splits(table, made)
    check_splits(table[::-1], made)
    anew = table.assign(split=["test", "train"])
    assert fingerprints(anew)["fingerprint"] == made["fingerprint"]
    assert fingerprints(anew)["splits"] != made["splits"]
    for others in (anew, table[1:], table.assign(label=1), table.assign(split="")):
        with pytest.raises(InputError, match="is not what notebook 02 wrote"):
            check_splits(others, made)
    check_splits(anew, {"fingerprint": made["fingerprint"]})  # a record of an earlier version


def test_fingerprint_depends_on_data_not_on_order(tree) -> None:
    root = tree(["real/a.mp4", "fake/b.mp4"])
    table = scan("folder", root)
    digest = fingerprint(table, root)
    assert digest == fingerprint(table.iloc[::-1], root)
    assert fingerprint(table.assign(label=1 - table["label"]), root) != digest
    (root / "real/a.mp4").write_bytes(b"other")
    assert fingerprint(table, root) != digest
    assert fingerprint(table) == fingerprint(table)


def test_pooled_ids_cannot_collide(tree) -> None:
    root = tree(CELEB, {"List_of_testing_videos.txt": CELEB_LIST})
    table = scan("celeb_df_v1", root)
    one = pool({"v1": table})
    assert list(one["video_id"]) == list(table["video_id"])
    assert set(one["dataset"]) == {"v1"}
    both = pool({"v1": table, "v2": scan("celeb_df_v2", root)})
    assert both["video_id"].is_unique
    assert len(both) == 2 * len(table)
    fakes = both[(both["label"] == FAKE) & (both["identity"] != "id16")]
    assert set(fakes["source_video"]) <= set(both["video_id"])
    assert set(both.loc[both["label"] == REAL, "source_video"]) == {""}
    assert {warning["text"][:4] for warning in both.attrs["warnings"]} == {"v1: ", "v2: "}
    with pytest.raises(InputError, match="at least one"):
        pool({})


def test_every_layout_says_on_what_terms_one_gets_it() -> None:
    for layout in LAYOUTS.values():
        assert layout.title
        assert layout.licence.endswith(".")
        assert layout.obtain.endswith(".")


def test_what_training_depends_on_has_the_same_fingerprint_with_other_datasets_beside_it():
    alone = pd.DataFrame(
        {"video_id": ["a", "b", "c"], "label": [0, 1, 1], "dataset": "own", "split": ["train", "val", "test"]}
    )
    other = pd.DataFrame({"video_id": ["x", "y"], "label": [0, 1], "dataset": "other", "split": ["eval", ""]})
    pooled = pd.concat([table.assign(video_id=table["dataset"] + "__" + table["video_id"]) for table in (alone, other)])
    before, now = fingerprints(alone), fingerprints(pooled)
    assert before["own_splits"] == now["own_splits"] == before["splits"] != now["splits"]
    for training in (before, {"split_fingerprint": before["fingerprint"], "splits": before["splits"]}):
        assert indexing.is_trained_on(training, alone)
    assert indexing.is_trained_on(before, pooled)
    moved = pooled.replace({"split": {"val": "train"}})
    assert not indexing.is_trained_on(before, moved)
