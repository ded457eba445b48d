"""The built-in sample and fakes of own videos: whole, repeatable, known to the index, nothing lost on the way."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from dfutils.core.errors import InputError
from dfutils.core.files import file_digest
from dfutils.data import indexing
from dfutils.faces import detection, video
from dfutils.forgery import animation, face_swap, own_videos, sample
from dfutils.forgery.dataset import load_masks

TINY = {"variants": 4, "frames": 6, "size": 256}


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): file_digest(path) for path in files}


def build(out: Path, **changes) -> None:
    sample.build_sample(out, **{**TINY, "workers": 1, "progress": False, **changes})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "videos"
    build(out)
    return out


@pytest.fixture(scope="module")
def table(made):
    return indexing.probe_videos(indexing.scan("sample", made), made, progress=False)


# The built-in sample


def test_each_variant_gives_a_real_clip_and_three_fakes(table):
    assert table.attrs.get("warnings", []) == []
    assert table["label"].value_counts().to_dict() == {0: 4, 1: 12}
    assert set(table.loc[table["label"] == 1, "method"]) == set(face_swap.METHODS)
    assert table.groupby("identity")["video_id"].count().eq(4).all()
    assert set(table.loc[table["label"] == 1, "source_video"]) == set(table.loc[table["label"] == 0, "video_id"])


def test_variants_lend_their_faces_to_one_other_only(table):
    swaps = table[table["donor"] != ""]
    partners = swaps.groupby("identity")["donor"].unique()
    assert all(len(donors) == 1 for donors in partners)
    for identity, (donor,) in partners.items():
        assert partners[donor][0] == identity
        numbers = sorted(int(name.rpartition("_")[2]) for name in (identity, donor))
        assert numbers[0] % 2 == 0
        assert numbers[1] == numbers[0] + 1


def test_no_container_fact_tells_fakes(table):
    assert (table["width"] == 256).all()
    assert (table["height"] == 256).all()
    assert (table["n_frames"] == 6).all()
    assert (table["fps"] == 25).all()
    assert table["codec"].nunique() == 1


def test_dlib_finds_the_faces(made, table):
    found = [bool(detection.detect(frame)) for path in table["path"] for _, _, frame in video.frames(made / path)]
    assert len(found) == 16 * 6
    assert np.mean(found) >= 0.95


def test_masks_show_where_a_fake_differs_from_its_source(made, table):
    real = dict(zip(table["video_id"], table["path"], strict=True))
    for row in table[table["label"] == 1].itertuples():
        masks = load_masks(made, row.path)
        assert masks.shape == (6, 64, 64)
        assert masks.dtype == np.uint8
        pairs = zip(video.frames(made / row.path), video.frames(made / real[row.source_video]), masks, strict=True)
        for (_, _, fake), (_, _, source), mask in pairs:
            change = np.abs(fake.astype(float) - source).mean(axis=2)
            change = cv2.resize(change, (64, 64), interpolation=cv2.INTER_AREA)
            assert change[mask > 128].mean() > 1.5 * change[mask == 0].mean()


def test_missing_masks_are_named(made):
    with pytest.raises(InputError, match=r"masks .*nobody\.npz are missing"):
        load_masks(made, "fake/paste/nobody.mp4")


def test_equal_arguments_give_equal_bytes_whatever_the_workers(made, tmp_path):
    build(tmp_path / "again", workers=2)
    assert digests(tmp_path / "again") == digests(made)


def test_another_seed_gives_other_clips(made, tmp_path):
    build(tmp_path / "other", seed=1, frames=2)
    names = {path.name for path in (tmp_path / "other/real").iterdir()}
    assert names == {path.name for path in (made / "real").iterdir()}
    for name in names:
        ours, theirs = (next(video.frames(root / "real" / name))[2] for root in (made, tmp_path / "other"))
        assert np.abs(ours.astype(float) - theirs).mean() > 5


def test_an_interrupted_build_goes_on_and_ends_the_same(made, tmp_path, monkeypatch):
    out, write, calls = tmp_path / "videos", video.write, []

    def interrupted(path, *arguments, **named):
        calls.append(path)
        if len(calls) == 6:
            raise KeyboardInterrupt
        write(path, *arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(video, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build(out)
    kept = digests(out)
    assert len([name for name in kept if name.endswith(".mp4")]) == 5
    (out / "masks/poisson").mkdir(parents=True, exist_ok=True)
    build(out)
    assert digests(out) == digests(made)
    assert kept.items() <= digests(out).items()


def test_a_finished_sample_is_not_made_again(made, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    monkeypatch.setattr(animation, "vary", None)
    build(made)
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == before


@pytest.mark.parametrize("change", [{"seed": 5}, {"frames": 7}, {"variants": 6}, {"size": 258}])
def test_other_parameters_need_another_folder(made, change):
    before = digests(made)
    with pytest.raises(InputError, match="delete that folder, or choose another dataset name"):
        build(made, **change)
    assert digests(made) == before


@pytest.mark.parametrize("change", [{"variants": 5}, {"variants": 2}, {"frames": 0}, {"size": 64}, {"size": 201}])
def test_arguments_without_sense_are_refused(tmp_path, change):
    with pytest.raises(InputError, match=r"sample|Sample"):
        build(tmp_path / "videos", **change)
    assert not (tmp_path / "videos").exists()


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "holiday.mp4").write_bytes(b"mine")
    with pytest.raises(InputError, match="not made here"):
        build(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.mp4"]


def test_a_file_in_the_folders_place_is_refused(tmp_path):
    (tmp_path / "videos").write_text("a file")
    with pytest.raises(InputError, match="a file is in the way"):
        build(tmp_path / "videos")


@pytest.mark.parametrize("portrait", ["collins", "hopper"])
def test_landmarks_are_carried_through_the_motion(portrait):
    rng = np.random.default_rng(3)
    picture, points = animation.vary(portrait, 256, rng)
    frames, carried = animation.animate(picture, points, 20, 256, rng)
    assert frames.shape == (20, 256, 256, 3)
    assert carried.shape == (20, 68, 2)
    # dlib, told where the face is, finds the same landmarks again
    for frame, expected in zip(frames[::5], carried[::5], strict=True):
        low, high = expected.min(axis=0), expected.max(axis=0)
        side = 0.9 * (high - low).max()
        box = (*((low + high) / 2 - (side / 2, 0.55 * side)), side, side)
        error = np.linalg.norm(detection.landmarks(frame, box) - expected, axis=1)
        assert np.median(error) < 0.04 * (high - low).max()
    assert np.abs(carried[0] - carried[-1]).max() > 0.5


# Own videos


@pytest.fixture(scope="module")
def own(made, tmp_path_factory):
    """Three videos with faces in names and folders of all kinds, one without a face, and one that is none."""
    root = tmp_path_factory.mktemp("own")
    names = ["b/Zoë spricht.mp4", "b__c.mp4", "a.mov"]
    for name, clip in zip(names, sorted((made / "real").iterdir()), strict=False):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(clip, root / name)
    noise = np.random.default_rng(0).integers(0, 255, (6, 120, 160, 3), np.uint8)
    video.write(root / "noise.mp4", noise)
    (root / "text.mp4").write_text("no video")
    (root / ".hidden.mp4").write_text("no video either")
    return root


def forge_folder(root, out, **changes):
    return own_videos.forge_folder(root, out, **{"workers": 1, "progress": False, **changes})


@pytest.fixture(scope="module")
def forged(own, tmp_path_factory):
    out = tmp_path_factory.mktemp("forged") / "videos"
    before = digests(own)
    summary = forge_folder(own, out)
    assert digests(own) == before
    return out, summary


def test_each_two_videos_lend_each_other_their_faces(forged):
    out, summary = forged
    assert list(summary["path"]) == ["a.mov", "b/Zoë spricht.mp4", "b__c.mp4", "noise.mp4", "text.mp4"]
    assert list(summary["status"]) == ["ok", "ok", "ok", "no_face", "unreadable"]
    assert list(summary["fakes"]) == [4, 4, 1, 0, 0]
    assert summary.loc[:2, "reason"].eq("").all()
    assert summary.loc[3:, "reason"].str.len().gt(10).all()
    table = indexing.scan("sample", out)
    assert table.attrs["warnings"] == []
    assert table["label"].value_counts().to_dict() == {0: 4, 1: 9}
    real = set(table.loc[table["label"] == 0, "video_id"])
    assert set(table.loc[table["label"] == 1, "source_video"]) <= real
    first, second, third = summary["id"][:3]
    swaps = table[table["donor"] != ""]
    assert set(zip(swaps["identity"], swaps["donor"], strict=True)) == {(first, second), (second, first)}
    assert set(table.loc[table["identity"] == third, "method"]) == {"", "self_blend"}


def test_fakes_differ_from_their_source_on_the_face(forged):
    out, _ = forged
    table = indexing.scan("sample", out)
    real = dict(zip(table["video_id"], table["path"], strict=True))
    for row in table[table["label"] == 1].itertuples():
        masks = load_masks(out, row.path)
        assert (masks.reshape(len(masks), -1).max(axis=1) > 100).mean() >= 0.9
        fake, source = (next(video.frames(out / path))[2] for path in (row.path, real[row.source_video]))
        assert fake.shape == source.shape
        assert detection.detect(fake)


def test_forging_goes_on_where_it_was_stopped(own, forged, tmp_path):
    out, summary = forged
    copy = tmp_path / "videos"
    shutil.copytree(out, copy)
    lost = sorted(copy.glob("fake/*/*.mp4"))[::3]
    for path in lost:
        path.unlink()
    again = forge_folder(own, copy)
    assert again.equals(summary)
    assert digests(copy) == digests(out)


def test_only_wanted_methods_and_frames_are_used(own, tmp_path):
    summary = forge_folder(own, tmp_path / "out", methods=["paste"], max_frames=3)
    assert list(summary["fakes"]) == [1, 1, 0, 0, 0]
    assert [path.name for path in (tmp_path / "out/fake").iterdir()] == ["paste"]
    assert all(len(list(video.frames(path))) == 3 for path in (tmp_path / "out").glob("*/**/*.mp4"))


def test_a_changed_folder_is_not_mixed_with_the_old(own, forged, tmp_path):
    root = tmp_path / "own"
    shutil.copytree(own, root)
    (root / "noise.mp4").unlink()
    with pytest.raises(InputError, match="from other videos: delete that folder"):
        forge_folder(root, forged[0])


def test_mistakes_are_named(own, tmp_path):
    with pytest.raises(InputError, match=r"inside the folder of the real videos"):
        forge_folder(own, own / "fakes")
    with pytest.raises(InputError, match=r"is no folder"):
        forge_folder(tmp_path / "missing", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"There is no video below"):
        forge_folder(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(InputError, match=r"methods among paste, .* not magic"):
        forge_folder(own, tmp_path / "out", methods=["paste", "magic"])
    assert not (tmp_path / "out").exists()
    (tmp_path / "faceless").mkdir()
    shutil.copy(own / "noise.mp4", tmp_path / "faceless")
    with pytest.raises(InputError, match=r"No face was found in any of the 1 videos"):
        forge_folder(tmp_path / "faceless", tmp_path / "out")


def test_real_people_are_forged_in_place(clips_dir, tmp_path):
    for name in ("d18.mp4", "d19.mp4"):
        shutil.copy(clips_dir / name, tmp_path)
    out = tmp_path.parent / f"{tmp_path.name}_out"
    summary = forge_folder(tmp_path, out, max_frames=6)
    assert list(summary["fakes"]) == [4, 4]
    for path in sorted(out.glob("fake/*/*.mp4")):
        source = out / "real" / f"{path.stem.partition('__')[0]}.mp4"
        masks = load_masks(out, path.relative_to(out).as_posix())
        pairs = zip(video.frames(path), video.frames(source), masks, strict=True)
        for (_, _, fake), (_, _, real), mask in list(pairs)[::5]:
            (face,) = detection.detect(real)
            x, y, w, h = face.box
            scale = 64 / real.shape[1]
            inside = np.zeros_like(mask, bool)
            inside[
                int(scale * (y - 0.3 * h)) : int(scale * (y + 1.3 * h)),
                int(scale * (x - 0.2 * w)) : int(scale * (x + 1.2 * w)),
            ] = True
            assert mask[inside].mean() > 40
            assert not mask[~inside].any()
            assert len(detection.detect(fake)) == 1
