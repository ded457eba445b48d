"""Tests of animated photographs: which are used, the clips, their splits, and resumption."""

import cv2
import numpy as np
import pandas as pd
import pytest

from dfutils.core.errors import InputError
from dfutils.core.files import file_digest
from dfutils.data import indexing
from dfutils.faces import video
from dfutils.forgery import animation, photographs
from dfutils.splits import policies

PEOPLE = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder of variants of the portraits, and of photographs that cannot be used."""
    root = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for number in range(PEOPLE):
        picture, _ = animation.vary("collins" if number % 2 else "hopper", 192, rng)
        path = root / ("a" if number < 10 else "b") / f"person {number:02}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), picture[..., ::-1])
    (root / "a/copy.png").write_bytes((root / "a/person 00.png").read_bytes())
    (root / "broken.jpg").write_bytes(b"no photograph")
    cv2.imwrite(str(root / "wall.png"), np.full((200, 200, 3), 127, np.uint8))
    two = cv2.imread(str(root / "a/person 01.png"))
    cv2.imwrite(str(root / "two.png"), np.concatenate([two, two[:, ::-1]], axis=1))
    cv2.imwrite(str(root / "small.png"), cv2.resize(two, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA))
    (root / "notes.txt").write_text("not a photograph")
    return root


def build(folder, out, **changes):
    # Clips of 128 pixels: at a size that is no multiple of 64, x264 does not always give the same bytes.
    return photographs.animate_photographs(folder, out, **{"frames": 4, "size": 129, "workers": 1, **changes})


@pytest.fixture(scope="module")
def built(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / "videos"
    return out, build(folder, out)


def test_every_photograph_is_accounted_for(built):
    table = built[1].set_index("path")
    assert table.loc["wall.png", "status"] == "no_face"
    assert table.loc["broken.jpg", "status"] == "unreadable"
    assert table.loc["two.png", "status"] == "several_faces"
    assert table.loc["small.png", "status"] in ("small_face", "no_face")
    assert table.loc["a/person 00.png", "status"] == "copy"  # a/copy.png comes first
    assert table["status"].value_counts()["ok"] == PEOPLE
    assert set(table.loc[table["status"] != "ok", "fakes"]) == {0}


def test_what_is_left_out_is_counted(folder, built, caplog):
    build(folder, built[0])
    [said] = caplog.messages
    assert f"5 of {PEOPLE + 5} photographs are left out" in said
    assert "1 unreadable" in said and "1 with several faces" in said and "1 copied" in said


def test_the_index_knows_people_methods_and_splits(built):
    out, summary = built
    table = indexing.scan("stills", out)
    assert not table.attrs["warnings"]
    assert (table["label"] == 0).sum() == PEOPLE
    fakes = table[table["label"] == 1]
    assert set(fakes.loc[fakes["official_split"] == "val", "method"]) == {photographs.HELD_OUT}
    assert photographs.HELD_OUT not in set(fakes.loc[fakes["official_split"] == "train", "method"])
    assert set(fakes.loc[fakes["official_split"] == "test", "method"]) == {"paste", "blend", "poisson", "self_blend"}
    sides = pd.concat([table[["identity", "official_split"]], fakes[["donor", "official_split"]].set_axis(
        ["identity", "official_split"], axis=1)])  # fmt: skip
    sides = sides[sides["identity"] != ""].drop_duplicates()
    assert sides["identity"].is_unique
    assert sides["official_split"].value_counts().to_dict() == {"train": 16, "val": 2, "test": 2}
    assigned = policies.assign(table, "official", seed=0)
    assert (assigned["split"] == table["official_split"]).all()
    assert summary["fakes"].sum() == len(fakes)


def test_clips_are_small_talking_faces(built):
    out, _ = built
    path = sorted((out / "real").glob("*.mp4"))[0]
    facts = video.probe(path)
    assert facts.codec == "h264"
    assert (facts.width, facts.height) == (128, 128)
    frames = [frame for _, _, frame in video.frames(path, 10)]
    assert len(frames) == 4
    assert np.abs(frames[0].astype(int) - frames[-1]).mean() > 0.5


def test_the_same_again_and_on_after_a_stop(built, folder, tmp_path):
    out, first = built
    expected = {path.relative_to(out).as_posix(): file_digest(path) for path in out.rglob("*.mp4")}
    stopped = tmp_path / "videos"
    build(folder, stopped)
    for path in [*sorted((stopped / "real").iterdir())[:3], *sorted((stopped / "fake/poisson").iterdir())[:1]]:
        path.unlink()
    untouched = sorted((stopped / "real").iterdir())[-1]
    before = untouched.stat().st_mtime_ns
    again = build(folder, stopped, workers=2)
    assert untouched.stat().st_mtime_ns == before
    assert {path.relative_to(stopped).as_posix(): file_digest(path) for path in stopped.rglob("*.mp4")} == expected
    pd.testing.assert_frame_equal(again, first)


def test_what_cannot_be_used_ends_in_a_sentence(built, folder, tmp_path):
    with pytest.raises(InputError, match=r"is no folder: it must hold the photographs"):
        build(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="There is no photograph below"):
        build(tmp_path / "empty", tmp_path / "out")
    (tmp_path / "few").mkdir()
    for path in list((folder / "a").iterdir())[:3]:
        (tmp_path / "few" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match=r"of 3 photographs below .* 20 are needed"):
        build(tmp_path / "few", tmp_path / "out")
    with pytest.raises(InputError, match="inside the folder of the photographs"):
        build(folder, folder / "clips")
    with pytest.raises(InputError, match="was made with other parameters"):
        build(folder, built[0], seed=1)


def test_a_broken_list_of_splits_is_refused(built, tmp_path):
    (tmp_path / "real").mkdir()
    clip = sorted((built[0] / "real").glob("*.mp4"))[0]
    (tmp_path / "real" / clip.name).write_bytes(clip.read_bytes())
    (tmp_path / "splits.csv").write_text(f"path,split\nreal/{clip.name},elsewhere\n")
    with pytest.raises(InputError, match=r"gives real/.* no split"):
        indexing.scan("stills", tmp_path)
