"""Tests of fakes made of the user's own videos."""

import shutil

import numpy as np
import pytest

from dfutils.core.errors import InputError
from dfutils.data import indexing
from dfutils.faces import detection, video
from dfutils.forgery import own_videos
from dfutils.forgery.dataset import load_masks
from tests.support.videos import digests


@pytest.fixture(scope="module")
def own(tiny_sample, tmp_path_factory):
    """Return a folder of three videos with faces, one without, and a file that is no video, with difficult names."""
    root = tmp_path_factory.mktemp("own")
    names = ["b/Zoë spricht.mp4", "b__c.mp4", "a.mov"]
    for name, clip in zip(names, sorted((tiny_sample / "real").iterdir()), strict=False):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(clip, root / name)
    noise = np.random.default_rng(0).integers(0, 255, (6, 120, 160, 3), np.uint8)
    video.write(root / "noise.mp4", noise)
    (root / "text.mp4").write_text("no video")
    (root / ".hidden.mp4").write_text("no video either")
    return root


def forge_folder(root, out, **changes):
    return own_videos.forge_folder(root, out, **{"workers": 1, **changes})


@pytest.fixture(scope="module")
def forged(own, tmp_path_factory):
    out = tmp_path_factory.mktemp("forged") / "videos"
    before = digests(own)
    summary = forge_folder(own, out)
    assert digests(own) == before
    return out, summary


def test_videos_swap_faces_in_pairs(forged):
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


def test_interrupted_forging_is_resumed(own, forged, tmp_path):
    out, summary = forged
    copy = tmp_path / "videos"
    shutil.copytree(out, copy)
    lost = sorted(copy.glob("fake/*/*.mp4"))[::3]
    for path in lost:
        path.unlink()
    again = forge_folder(own, copy)
    assert again.equals(summary)
    assert digests(copy) == digests(out)


def test_only_the_given_methods_and_frames_are_used(own, tmp_path):
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


def test_invalid_arguments_raise_one_sentence(own, tmp_path):
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
