"""Tests of atomic files and of digests."""

import json

import pandas as pd
import pytest

from dfutils.core import files
from dfutils.core.errors import InputError


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), files.atomic(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path):
    leftovers = []
    for name in ("a.json", "b"):
        with pytest.raises(KeyboardInterrupt), files.atomic(tmp_path / name) as temporary:
            leftovers.append(temporary)
            raise KeyboardInterrupt
    leftovers[0].write_text("half")
    leftovers[1].mkdir()
    (tmp_path / "a.part.json").write_text("{}")
    files.remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.part.json"]


def test_a_folder_replaces_a_folder(tmp_path):
    path = tmp_path / "model"
    for text in ("one", "two"):
        with files.atomic(path) as temporary:
            temporary.mkdir()
            (temporary / f"{text}.txt").write_text(text)
    assert [item.name for item in path.iterdir()] == ["two.txt"]


def test_the_suffix_is_kept_for_writers_that_look_at_it(tmp_path):
    with files.atomic(tmp_path / "clip.mp4") as temporary:
        assert temporary.suffix == ".mp4"
        temporary.write_bytes(b"x")
    assert (tmp_path / "clip.mp4").exists()


def test_what_is_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be a folder"):
        files.make_folder(tmp_path / "file")
    with pytest.raises(InputError, match="cannot be a folder"):
        files.make_folder(tmp_path / "file" / "below")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(InputError, match="is a folder where a file should be"):
        files.write_json({}, tmp_path / "folder.json")
    with pytest.raises(InputError, match="is a file where a folder should be"), files.atomic(tmp_path / "file") as new:
        new.mkdir()
    assert (tmp_path / "file").read_text() == "x"


def test_tables_come_back_as_written_and_equal_tables_give_equal_bytes(tmp_path):
    table = pd.DataFrame({"video_id": ["a", "ü"], "label": [0, 1], "score": [0.5, None]})
    for name in ("one", "two"):
        files.write_table(table, tmp_path / f"{name}.parquet")
    pd.testing.assert_frame_equal(files.read_table(tmp_path / "one.parquet"), table, check_dtype=False)
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()


@pytest.mark.parametrize("read", [files.read_table, files.read_json])
def test_a_missing_or_broken_file_is_a_sentence(tmp_path, read):
    with pytest.raises(InputError, match="is missing"):
        read(tmp_path / "absent")
    (tmp_path / "broken").write_bytes(b"\x00{not it")
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "broken")


def test_json_has_sorted_keys_and_refuses_nan(tmp_path):
    files.write_json({"b": 1, "a": None}, tmp_path / "x.json")
    assert list(json.loads((tmp_path / "x.json").read_text())) == ["a", "b"]
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json({"a": float("nan")}, tmp_path / "y.json")
    assert not (tmp_path / "y.json").exists()


def test_digests_name_values_not_their_order():
    assert files.digest({"a": 1, "b": [1, 2]}) == files.digest({"b": [1, 2], "a": 1})
    assert files.digest({"a": 1}) != files.digest({"a": 2})
    assert len(files.digest("é")) == 16


def test_a_files_digest_is_its_sha256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert files.file_digest(tmp_path / "abc").startswith("ba7816bf8f01cfea")
