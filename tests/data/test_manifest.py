"""Tests of manifests: a folder that was unpacked is whole, lacks files, was changed, or was filled by hand."""

import shutil
from pathlib import Path

import pytest

from dfutils.core.errors import InputError
from dfutils.data.archive import unpack
from dfutils.data.manifest import manifest_path, verify
from tests.support.archives import FILES, content, make


def test_a_folder_lacking_files_is_partial_and_is_completed(tmp_path: Path, into: Path) -> None:
    path = make(tmp_path / "a.zip")
    unpack(path, into)
    (into / "Celeb-real/id0_0000.mp4").unlink()
    state = verify(into)
    assert state.text == "partial: 2 of 3 files" and state.missing == ("Celeb-real/id0_0000.mp4",)
    assert unpack(path, into).whole and content(into) == FILES
    shutil.rmtree(into)
    assert verify(into).text == "partial: 0 of 3 files"


def test_changed_files_are_named_and_never_overwritten(tmp_path: Path, into: Path) -> None:
    path = make(tmp_path / "a.zip")
    unpack(path, into)
    (into / "Celeb-real/id0_0000.mp4").write_bytes(bytes(40_000))  # as long as it was
    (into / "own.mp4").write_bytes(b"mine")
    state = verify(into)
    assert state.text == "changed since it was unpacked: Celeb-real/id0_0000.mp4, own.mp4"
    assert state.changed == ("Celeb-real/id0_0000.mp4", "own.mp4")
    with pytest.raises(InputError, match=r"changed since it was unpacked: .*, own\.mp4; move it away"):
        unpack(path, into)
    assert (into / "own.mp4").read_bytes() == b"mine"


def test_a_touched_or_copied_file_is_not_a_changed_one(tmp_path: Path, into: Path) -> None:
    unpack(make(tmp_path / "a.zip"), into)
    (into / "List_of_testing_videos.txt").touch()
    (into / ".DS_Store").write_bytes(b"x")
    assert verify(into).whole


def test_a_folder_filled_by_hand_is_listed_and_left_alone(tmp_path: Path, into: Path) -> None:
    (into / "Celeb-real").mkdir(parents=True)
    (into / "Celeb-real/id0_0000.mp4").write_bytes(b"123")
    state = verify(into)
    assert (state.text, state.files, state.bytes) == ("not checked: 1 files, no manifest", 1, 3)
    with pytest.raises(InputError, match="not unpacked here"):
        unpack(make(tmp_path / "a.zip"), into)
    assert content(into) == {"Celeb-real/id0_0000.mp4": b"123"}
    # Links to folders on another disk are followed, also in a circle.
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/real").symlink_to(into, target_is_directory=True)
    (tmp_path / "linked/self").symlink_to(tmp_path / "linked", target_is_directory=True)
    assert verify(tmp_path / "linked").files == 1


def test_a_manifest_that_cannot_be_read_is_told(tmp_path: Path, into: Path) -> None:
    unpack(make(tmp_path / "a.zip"), into)
    for text in ("{", '{"files": 3, "source": ""}', "[]", '{"files": {"a": 1}, "source": ""}'):
        manifest_path(into).write_text(text)
        with pytest.raises(InputError, match="delete it"):
            verify(into)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="file where a folder should be"):
        verify(tmp_path / "file")
