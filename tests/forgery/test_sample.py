"""Tests of the built-in sample: complete, reproducible, resumable, and known to the index."""

import cv2
import numpy as np
import pytest

from dfutils.core.errors import InputError
from dfutils.data import indexing
from dfutils.faces import detection, video
from dfutils.forgery import animation, face_swap
from dfutils.forgery.dataset import load_masks
from tests.support.videos import build_tiny_sample, digests


@pytest.fixture(scope="module")
def table(tiny_sample):
    return indexing.probe_videos(indexing.scan("sample", tiny_sample), tiny_sample, progress=False)


def test_each_variant_gives_a_real_clip_and_three_fakes(table):
    assert table.attrs.get("warnings", []) == []
    assert table["label"].value_counts().to_dict() == {0: 4, 1: 12}
    assert set(table.loc[table["label"] == 1, "method"]) == set(face_swap.METHODS)
    assert table.groupby("identity")["video_id"].count().eq(4).all()
    assert set(table.loc[table["label"] == 1, "source_video"]) == set(table.loc[table["label"] == 0, "video_id"])


def test_variants_swap_faces_in_pairs_only(table):
    swaps = table[table["donor"] != ""]
    partners = swaps.groupby("identity")["donor"].unique()
    assert all(len(donors) == 1 for donors in partners)
    for identity, (donor,) in partners.items():
        assert partners[donor][0] == identity
        numbers = sorted(int(name.rpartition("_")[2]) for name in (identity, donor))
        assert numbers[0] % 2 == 0
        assert numbers[1] == numbers[0] + 1


def test_no_container_fact_separates_fakes(table):
    assert (table["width"] == 256).all()
    assert (table["height"] == 256).all()
    assert (table["n_frames"] == 6).all()
    assert (table["fps"] == 25).all()
    assert table["codec"].nunique() == 1


def test_dlib_finds_the_faces(tiny_sample, table):
    detected = [
        bool(detection.detect(frame)) for path in table["path"] for _, _, frame in video.frames(tiny_sample / path)
    ]
    assert len(detected) == 16 * 6
    assert np.mean(detected) >= 0.95


def test_masks_show_where_a_fake_differs_from_its_source(tiny_sample, table):
    real = dict(zip(table["video_id"], table["path"], strict=True))
    for row in table[table["label"] == 1].itertuples():
        masks = load_masks(tiny_sample, row.path)
        assert masks.shape == (6, 64, 64)
        assert masks.dtype == np.uint8
        pairs = zip(
            video.frames(tiny_sample / row.path), video.frames(tiny_sample / real[row.source_video]), masks, strict=True
        )
        for (_, _, fake), (_, _, source), mask in pairs:
            change = np.abs(fake.astype(float) - source).mean(axis=2)
            change = cv2.resize(change, (64, 64), interpolation=cv2.INTER_AREA)
            assert change[mask > 128].mean() > 1.5 * change[mask == 0].mean()


def test_missing_masks_are_named(tiny_sample):
    with pytest.raises(InputError, match=r"masks .*nobody\.npz are missing"):
        load_masks(tiny_sample, "fake/paste/nobody.mp4")


def test_equal_arguments_give_equal_bytes_whatever_the_workers(tiny_sample, tmp_path):
    build_tiny_sample(tmp_path / "again", workers=2)
    assert digests(tmp_path / "again") == digests(tiny_sample)


def test_another_seed_gives_other_clips(tiny_sample, tmp_path):
    build_tiny_sample(tmp_path / "other", seed=1, frames=2)
    names = {path.name for path in (tmp_path / "other/real").iterdir()}
    assert names == {path.name for path in (tiny_sample / "real").iterdir()}
    for name in names:
        ours, theirs = (next(video.frames(root / "real" / name))[2] for root in (tiny_sample, tmp_path / "other"))
        assert np.abs(ours.astype(float) - theirs).mean() > 5


def test_an_interrupted_build_is_resumed_with_the_same_result(tiny_sample, tmp_path, monkeypatch):
    out, write, calls = tmp_path / "videos", video.write, []

    def interrupted(path, *arguments, **named):
        calls.append(path)
        if len(calls) == 6:
            raise KeyboardInterrupt
        write(path, *arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(video, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build_tiny_sample(out)
    finished = digests(out)
    assert len([name for name in finished if name.endswith(".mp4")]) == 5
    (out / "masks/poisson").mkdir(parents=True, exist_ok=True)
    build_tiny_sample(out)
    assert digests(out) == digests(tiny_sample)
    assert finished.items() <= digests(out).items()


def test_a_finished_sample_is_not_made_again(tiny_sample, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in tiny_sample.rglob("*")}
    monkeypatch.setattr(animation, "vary", None)
    build_tiny_sample(tiny_sample)
    assert {path: path.stat().st_mtime_ns for path in tiny_sample.rglob("*")} == before


@pytest.mark.parametrize("change", [{"seed": 5}, {"frames": 7}, {"variants": 6}, {"size": 258}])
def test_other_parameters_need_another_folder(tiny_sample, change):
    before = digests(tiny_sample)
    with pytest.raises(InputError, match="delete that folder, or choose another dataset name"):
        build_tiny_sample(tiny_sample, **change)
    assert digests(tiny_sample) == before


@pytest.mark.parametrize("change", [{"variants": 5}, {"variants": 2}, {"frames": 0}, {"size": 64}, {"size": 201}])
def test_invalid_arguments_are_refused(tmp_path, change):
    with pytest.raises(InputError, match=r"sample|Sample"):
        build_tiny_sample(tmp_path / "videos", **change)
    assert not (tmp_path / "videos").exists()


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "holiday.mp4").write_bytes(b"mine")
    with pytest.raises(InputError, match="not made here"):
        build_tiny_sample(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.mp4"]


def test_a_file_in_the_folders_place_is_refused(tmp_path):
    (tmp_path / "videos").write_text("a file")
    with pytest.raises(InputError, match="a file is in the way"):
        build_tiny_sample(tmp_path / "videos")
