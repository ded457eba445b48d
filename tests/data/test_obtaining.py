"""Tests of `provide`: a dataset's folder is filled once, from Kaggle or from an archive on disk."""

from pathlib import Path

import pytest

from dfutils.core.errors import InputError
from dfutils.data.archive import BrokenArchiveError
from dfutils.data.manifest import verify
from dfutils.data.obtaining import provide
from tests.support.kaggle_server import VIDEOS, KaggleServer


def test_kaggle_data_is_fetched_once(kaggle: KaggleServer, tmp_path: Path) -> None:
    root = tmp_path / "data" / "videos"
    state = provide(root, kaggle_dataset="me/videos")
    assert state.whole and state.source == "kaggle dataset me/videos" and state.folder == root
    assert (root / "fake/b.mp4").read_bytes() == b"b" * 2000
    assert sorted(p.name for p in root.parent.iterdir()) == ["videos", "videos.manifest.json"]  # the archive is gone
    asked = len(kaggle.requests)
    assert provide(root, kaggle_dataset="me/videos") == state
    assert provide(root) == state
    assert len(kaggle.requests) == asked


def test_what_is_missing_is_fetched_again(kaggle: KaggleServer, tmp_path: Path) -> None:
    root = tmp_path / "videos"
    provide(root, kaggle_dataset="me/videos")
    (root / "real/a.mp4").unlink()
    with pytest.raises(InputError, match="partial: 1 of 2 files"):
        provide(root)
    assert provide(root, kaggle_dataset="me/videos").whole
    assert (root / "real/a.mp4").exists()


def test_what_was_changed_is_left_alone(kaggle: KaggleServer, tmp_path: Path) -> None:
    root = tmp_path / "videos"
    provide(root, kaggle_dataset="me/videos")
    (root / "real/a.mp4").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"changed since it was unpacked: real/a\.mp4; move it away"):
        provide(root, kaggle_dataset="me/videos")
    assert (root / "real/a.mp4").read_bytes() == b"mine"
    (tmp_path / "videos.manifest.json").unlink()
    assert provide(root, kaggle_dataset="me/videos").text == "not checked: 2 files, no manifest"


def test_one_dataset_is_not_taken_for_another(kaggle: KaggleServer, tmp_path: Path) -> None:
    provide(tmp_path / "videos", kaggle_dataset="me/videos")
    with pytest.raises(InputError, match="holds kaggle dataset me/videos, not kaggle dataset you/videos"):
        provide(tmp_path / "videos", kaggle_dataset="you/videos")


def test_a_broken_archive_from_kaggle_is_downloaded_again(kaggle: KaggleServer, tmp_path: Path) -> None:
    kaggle.files["videos"] = VIDEOS[:-30]
    with pytest.raises(BrokenArchiveError, match="download it again"):
        provide(tmp_path / "videos", kaggle_dataset="me/videos")
    assert verify(tmp_path / "videos").text == "missing"
    kaggle.files["videos"] = VIDEOS
    assert provide(tmp_path / "videos", kaggle_dataset="me/videos").whole


def test_an_archive_on_disk_comes_before_kaggle(kaggle: KaggleServer, tmp_path: Path) -> None:
    archive = tmp_path / "Celeb-DF.zip"
    archive.write_bytes(VIDEOS)
    state = provide(tmp_path / "videos", archive=str(archive), kaggle_dataset="me/videos")
    assert state.whole and state.source == "archive Celeb-DF.zip" and archive.exists()
    archive.unlink()  # not needed any more
    assert provide(tmp_path / "videos", archive=str(archive)).whole
    assert provide(tmp_path / "videos", kaggle_dataset="me/videos").whole
    assert kaggle.requests == []
    with pytest.raises(InputError, match=r"holds archive Celeb-DF\.zip, not archive other\.zip"):
        provide(tmp_path / "videos", archive="other.zip")


def test_a_competition_is_fetched(kaggle: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", "good-token")
    state = provide(tmp_path / "v", kaggle_competition="videos")
    assert state.whole and state.source == "kaggle competition videos"


def test_a_folder_filled_by_hand_is_used_as_it_is(kaggle: KaggleServer, tmp_path: Path) -> None:
    (tmp_path / "videos/real").mkdir(parents=True)
    (tmp_path / "videos/real/a.mp4").write_bytes(b"x")
    state = provide(tmp_path / "videos", kaggle_dataset="me/videos", archive="x.zip")
    assert state.text == "not checked: 1 files, no manifest"
    assert kaggle.requests == [] and [p.name for p in tmp_path.rglob("*.mp4")] == ["a.mp4"]


def test_a_missing_source_raises(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There are no files in .*videos: put the dataset there, or give its archive"):
        provide(tmp_path / "videos")
    with pytest.raises(InputError, match="not both"):
        provide(tmp_path / "videos", kaggle_dataset="a/b", kaggle_competition="c")
    with pytest.raises(InputError, match="is a folder: set root to it"):
        provide(tmp_path / "videos", archive=str(tmp_path))
    with pytest.raises(InputError, match=r"none\.zip cannot be opened: No such file"):
        provide(tmp_path / "videos", archive=str(tmp_path / "none.zip"))
    assert not list(tmp_path.iterdir())
