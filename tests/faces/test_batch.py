"""Preprocessing of datasets: each file has its row, nothing is computed twice, and an interrupted run resumes."""

import shutil
from pathlib import Path

import cv2
import matplotlib.cbook
import numpy as np
import pandas as pd
import pytest
import skimage.data

from dfutils.core.errors import InputError
from dfutils.core.params import FaceSettings
from dfutils.data import catalog, indexing
from dfutils.faces import batch, review, video
from dfutils.faces import strips as faces_strips
from tests.support.detectors import untrained
from tests.support.videos import SETTINGS, face_clip, indexed, settings


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a folder of videos, most of which cannot be used."""
    root = tmp_path_factory.mktemp("own")
    for name in ("real", "fake/blend"):
        (root / name).mkdir(parents=True)
    face_clip(root / "real" / "a face.mp4")
    face_clip(root / "real" / "Gesicht ü.mp4")
    face_clip(root / "fake" / "blend" / "a face.mp4")
    face_clip(root / "real" / "one_frame.mp4", frames=1)
    rng = np.random.default_rng(0)
    video.write(root / "real" / "no_face.mp4", rng.integers(0, 255, (12, 96, 96, 3), dtype=np.uint8))
    (root / "real" / "zero.mp4").write_bytes(b"")
    (root / "real" / "text.mp4").write_text("not a video")
    whole = (root / "real" / "a face.mp4").read_bytes()
    (root / "real" / "cut.mp4").write_bytes(whole[: len(whole) // 8])
    return root


@pytest.fixture(scope="module")
def preprocessed(folder, tmp_path_factory):
    dataset = indexed(folder, tmp_path_factory.mktemp("data"))
    return dataset, batch.preprocess(dataset, settings(workers=2), progress=False)


def test_every_video_has_its_row_with_status_and_reason(preprocessed):
    _, result = preprocessed
    status = result.videos.set_index("path")["status"].to_dict()
    assert status == {
        "fake/blend/a face.mp4": "ok",
        "real/Gesicht ü.mp4": "ok",
        "real/a face.mp4": "ok",
        "real/cut.mp4": status["real/cut.mp4"],
        "real/no_face.mp4": "no_face",
        "real/one_frame.mp4": "few_faces",
        "real/text.mp4": "unreadable",
        "real/zero.mp4": "unreadable",
    }
    assert status["real/cut.mp4"] in ("unreadable", "few_faces")
    lost = result.videos[result.videos["status"] != "ok"]
    assert (lost["reason"].str.len() > 10).all()
    assert (lost["strip"] == "").all()


def test_strips_hold_the_crops_that_the_frames_table_describes(preprocessed):
    dataset, result = preprocessed
    for row in result.videos[result.videos["status"] == "ok"].itertuples():
        strip = faces_strips.load_strip(dataset.folder.parent / row.strip, 64)
        frames = result.frames[result.frames["video_id"] == row.video_id]
        assert strip.shape == (4, 64, 64, 3)
        assert frames["position"].tolist() == [0, 1, 2, 3]
        assert frames["frame"].is_monotonic_increasing
        assert frames["brightness"].iloc[0] == pytest.approx(strip[0].mean(), rel=0.1)
        assert all(len(points) == 136 for points in frames["landmarks"])


def test_a_second_run_does_nothing_and_an_interrupted_one_goes_on_to_the_same_bytes(folder, preprocessed, monkeypatch):
    dataset, result = preprocessed
    strips = dataset.folder / "faces" / batch.signature(SETTINGS.face_settings.model_dump())
    tables = [(strips / name).read_bytes() for name in ("videos.parquet", "frames.parquet")]
    written = {path: path.stat().st_mtime_ns for path in strips.glob("*.png")}

    def refuse(_function, jobs, **_options):
        assert jobs == [], "a finished video was taken up again"
        return iter(())

    monkeypatch.setattr(batch, "call_each", refuse)
    batch.preprocess(dataset, SETTINGS, progress=False)
    assert {path: path.stat().st_mtime_ns for path in strips.glob("*.png")} == written
    monkeypatch.undo()
    # as a run leaves it that was killed after one strip was written and before its row was
    lost = result.videos.loc[result.videos["status"] == "ok", "video_id"].iloc[0]
    (strips / "rows" / f"{lost}.json").unlink()
    (strips / "videos.parquet").unlink()
    batch.preprocess(dataset, SETTINGS, progress=False)
    assert [(strips / name).read_bytes() for name in ("videos.parquet", "frames.parquet")] == tables


def test_a_video_that_changed_is_done_again(folder, tmp_path):
    root = tmp_path / "own"
    (root / "real").mkdir(parents=True)
    shutil.copy(folder / "real" / "no_face.mp4", root / "real" / "a.mp4")
    first = batch.preprocess(indexed(root, tmp_path), SETTINGS, progress=False)
    face_clip(root / "real" / "a.mp4")
    second = batch.preprocess(indexed(root, tmp_path), SETTINGS, progress=False)
    assert [result.videos["status"].iloc[0] for result in (first, second)] == ["no_face", "ok"]


def test_settings_that_change_a_strip_have_their_own_folder():
    plain = SETTINGS.face_settings.model_dump()
    assert batch.signature(plain) != batch.signature({**plain, "face_margin": 0.4})
    assert batch.signature(plain) == batch.signature(dict(reversed(plain.items())))
    assert settings(workers=2, video_timeout_s=9).face_settings == SETTINGS.face_settings


def test_strips_of_earlier_versions_are_found_again():
    assert batch.signature(FaceSettings().model_dump()) == "d721eb021c"
    sample = FaceSettings(face_size=64, face_margin=0.2)
    assert batch.signature(sample.model_dump()) == "61532a4161"


def test_review_shows_frames_of_a_lost_video_and_nothing_of_an_unreadable_one(preprocessed):
    dataset, result = preprocessed
    video_id = result.videos.set_index("path").loc["real/no_face.mp4", "video_id"]
    pictures, boxes = review.review_frames(
        dataset.root / "real/no_face.mp4", result.folder, video_id, SETTINGS.max_frames
    )
    assert len(pictures) == len(boxes) >= 3
    assert pictures[0].shape == (96, 96, 3)


def test_everyone_has_a_strip_and_a_video_is_as_fake_as_its_worst(tmp_path):
    root = tmp_path / "videos"
    (root / "real").mkdir(parents=True)
    one = skimage.data.astronaut()[:300, 80:380]
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        other = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR_RGB)
    other = cv2.resize(other, None, fx=0.66, fy=0.66, interpolation=cv2.INTER_AREA)[:300, :338]
    pair = np.concatenate([one, other], axis=1)
    video.write(root / "real" / "pair.mp4", (np.roll(pair, k, axis=1) for k in range(12)))
    face_clip(root / "real" / "a.mp4")
    dataset = indexed(root, tmp_path)
    result = batch.preprocess(dataset, settings(faces="all"), progress=False)
    assert result.videos.set_index("path")["strips"].to_dict() == {"real/a.mp4": 1, "real/pair.mp4": 2}
    assert result.frames.groupby(["video_id", "person"]).size().to_dict() == {
        ("real__a", 0): 4,
        ("real__pair", 0): 4,
        ("real__pair", 1): 4,
    }
    main, further = faces_strips.strip_names(result.videos.set_index("path").loc["real/pair.mp4", "strip"], 2)
    assert (tmp_path / main).name == "real__pair.png" and (tmp_path / further).name == "real__pair~1.png"
    again = batch.preprocess(dataset, settings(faces="all"), progress=False)
    assert again.videos.equals(result.videos)
    from dfutils.detector import clips
    from dfutils.evaluation import scoring

    clip = clips.ClipDataset(result.videos, tmp_path, SETTINGS)
    assert list(zip(clip.video_ids, clip.persons, strict=True)) == [
        ("real__a", 0),
        ("real__pair", 0),
        ("real__pair", 1),
    ]
    detector = untrained(backbone="resnet18", hidden_size=8)
    detector.config.update(face_size=64, frames_per_video=4)
    scores, frames = scoring.score(detector, result.videos, tmp_path, device="cpu", progress=False)
    assert scores["video_id"].tolist() == ["real__a", "real__pair"]
    of_pair = frames[frames["video_id"] == "real__pair"].groupby("person")["logit"].mean()
    assert scores["logit"].iloc[1] == pytest.approx(of_pair.max(), abs=1e-5)


def test_cropped_datasets_keep_their_frames(folder, tmp_path):
    cropped = settings(faces="cropped", workers=2)
    result = batch.preprocess(indexed(folder, tmp_path), cropped, progress=False)
    assert result.videos.set_index("path").loc["real/no_face.mp4", "status"] == "ok"


def test_an_empty_table_and_a_file_in_the_way_are_sentences(folder, tmp_path):
    dataset = indexed(folder, tmp_path)
    with pytest.raises(InputError, match="no videos"):
        batch.preprocess(dataset._replace(videos=dataset.videos[:0]), SETTINGS, progress=False)
    (tmp_path / "own").write_text("x")
    with pytest.raises(InputError, match="a file is in the way"):
        batch.preprocess(dataset, SETTINGS, progress=False)


@pytest.mark.parametrize("content", [b"", b"no png", None])
def test_a_missing_or_broken_strip_is_a_sentence(tmp_path, content):
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="missing or broken"):
        faces_strips.load_strip(path, 64)


def test_pooled_frames_carry_pooled_ids(preprocessed):
    _, result = preprocessed
    both = {"a": result, "b": result}
    videos = indexing.pool({name: one.videos for name, one in both.items()})
    pooled_videos, frames, strips = catalog.pool_faces(both)
    pd.testing.assert_frame_equal(pooled_videos, videos)
    assert set(strips) == set(videos.loc[videos["status"] == "ok", "video_id"])
    assert set(frames["video_id"]) <= set(videos["video_id"])
    assert len(frames) == 2 * len(result.frames)
    pd.testing.assert_frame_equal(catalog.pool_faces({"a": result}).frames, result.frames)
