"""Faces in images, and in videos made of two photographs: one strip per person, cuts, small faces, bad videos."""

import math
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import matplotlib.cbook
import numpy as np
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st

from dfutils.core.errors import InputError
from dfutils.core.params import FaceSettings
from dfutils.faces import detection, extraction, video
from dfutils.faces.tracking import overlap

AREA = cv2.INTER_AREA


@pytest.fixture(scope="module")
def eileen() -> np.ndarray:
    """Eileen Collins; her face is some 105 pixels wide in 300."""
    return np.ascontiguousarray(skimage.data.astronaut()[:300, 60:420])


@pytest.fixture(scope="module")
def grace() -> np.ndarray:
    """Grace Hopper; her face is some 105 pixels wide in 300, too."""
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        image = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR_RGB)
    return cv2.resize(image, None, fx=0.66, fy=0.66, interpolation=AREA)[:300]


@pytest.fixture(scope="module")
def films(tmp_path_factory, eileen, grace) -> dict[str, Path]:
    """Short videos, by name."""
    folder = tmp_path_factory.mktemp("films")
    rng = np.random.default_rng(0)
    meadow = cv2.resize(rng.integers(60, 160, (12, 20, 3), np.uint8), (480, 300), interpolation=cv2.INTER_CUBIC)
    grace_face = grace[:, :338]

    def stage(*placed: tuple[np.ndarray, float, int, int]) -> np.ndarray:
        """Put pictures, scaled, on the meadow."""
        picture = meadow.copy()
        for image, scale, x, y in placed:
            scaled = cv2.resize(image, None, fx=scale, fy=scale, interpolation=AREA)
            scaled = scaled[: picture.shape[0] - y, : picture.shape[1] - x]
            picture[y : y + scaled.shape[0], x : x + scaled.shape[1]] = scaled
        return picture

    eileens = [stage((eileen, 1.0, k, 0)) for k in range(0, 120, 4)]
    graces = [stage((grace_face, 1.0, 10 + k, 0)) for k in range(0, 120, 4)]
    contents = {
        "pan": eileens,
        "empty": [meadow] * 12,
        "brief": [meadow] * 12 + eileens[:4] + [meadow] * 8,
        "cut": eileens[:12] + graces[:24],
        "edit": eileens[:12] + graces[:10] + eileens[12:26],
        "pair": [stage((eileen, 0.8, 0, 0), (grace_face, 1.0, 200 + k, 0)) for k in range(0, 40, 2)],
        "far": [stage((eileen, 0.5, 100 + 4 * k, 90)) for k in range(12)],
        "one": eileens[:1],
    }
    for name, images in contents.items():
        video.write(folder / f"{name}.mp4", images)
    return {name: folder / f"{name}.mp4" for name in contents}


@pytest.fixture(scope="module")
def strip(films) -> Callable[[str], extraction.FaceClip]:
    """Return a function that extracts a film's strip with the default settings, once per film."""
    return cache(lambda name: extract_one(films[name]))


def extract_one(path: Path, **settings: Any) -> extraction.FaceClip:
    """Return the only strip of a video."""
    (clip,) = extraction.extract(path, FaceSettings(**settings))
    return clip


def describe(clip: extraction.FaceClip) -> np.ndarray:
    return detection.embedding(clip.frames[0], clip.landmarks[0])


# One picture


def test_detect_finds_face_and_landmarks(eileen):
    (face,) = detection.detect(eileen)
    x, y, w, h = face.box
    assert w == pytest.approx(h, abs=2) and 80 < w < 140 and face.score > 0
    assert face.landmarks.shape == (68, 2)
    centre = face.landmarks.mean(axis=0)
    assert abs(centre - [x + w / 2, y + h / 2]).max() < 0.15 * w
    left_eye, right_eye, chin = face.landmarks[36:42].mean(0), face.landmarks[42:48].mean(0), face.landmarks[8]
    assert left_eye[0] < right_eye[0] and chin[1] > left_eye[1]


def test_detect_upsamples_and_keeps_coordinates(eileen):
    small = cv2.resize(eileen, None, fx=0.5, fy=0.5, interpolation=AREA)
    assert detection.detect(small) == []
    (face,) = detection.detect(small, upsample=1)
    (large,) = detection.detect(eileen)
    assert overlap([2 * value for value in face.box], large.box) > 0.6
    assert np.abs(2 * face.landmarks - large.landmarks).mean() < 6


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 200, 3), (64, 64, 3)])
def test_detect_in_nothing(shape):
    assert detection.detect(np.zeros(shape, np.uint8)) == []


def test_embedding_knows_people(eileen, grace):
    embeddings = {}
    for name, image in (("eileen", eileen), ("grace", grace), ("smaller", cv2.resize(eileen, None, fx=0.8, fy=0.8))):
        face = detection.detect(image)[0]
        embeddings[name] = detection.embedding(*detection.crop(image, face.box, face.landmarks, 112, 0.3, False))
    assert embeddings["eileen"].shape == (128,)
    assert np.linalg.norm(embeddings["eileen"] - embeddings["smaller"]) < 0.4
    assert np.linalg.norm(embeddings["eileen"] - embeddings["grace"]) > 0.6


def test_crop_cuts_what_it_says():
    image = np.random.default_rng(0).integers(0, 255, (100, 120, 3), np.uint8)
    picture, points = detection.crop(image, (40, 30, 20, 20), np.full((68, 2), 50.0), 40, 0.5, False)
    assert np.array_equal(picture, image[20:60, 30:70])
    assert np.allclose(points, [20, 30])


def test_crop_repeats_the_border():
    image = np.random.default_rng(0).integers(0, 255, (50, 60, 3), np.uint8)
    picture, _ = detection.crop(image, (-10, -10, 20, 20), np.zeros((68, 2)), 40, 0.5, False)
    assert np.array_equal(picture[20:, 20:], image[:20, :20])
    assert (picture[:20, :20] == image[0, 0]).all()
    far, _ = detection.crop(image, (500, 500, 20, 20), np.zeros((68, 2)), 16, 0.5, False)
    assert (far == image[-1, -1]).all()


@given(st.floats(-20, 100), st.floats(-20, 100), st.floats(4, 150), st.floats(0, 1), st.integers(8, 60), st.booleans())
def test_crop_has_its_size_and_moves_landmarks_rigidly(x, y, side, margin, face_size, align):
    image = np.zeros((90, 110, 3), np.uint8)
    points = np.array([(x + side * (k % 9) / 8, y + side * (k % 7) / 6) for k in range(68)])
    picture, moved = detection.crop(image, (x, y, side, side), points, face_size, margin, align)
    assert picture.shape == (face_size, face_size, 3) and picture.dtype == np.uint8 and moved.shape == (68, 2)
    before = np.linalg.norm(points - points.mean(0), axis=1)
    after = np.linalg.norm(moved - moved.mean(0), axis=1)
    scale = face_size / max(round(side * (1 + 2 * margin)), 2)
    assert np.allclose(after, scale * before, atol=1e-6)


@pytest.mark.parametrize("align", [False, True])
def test_landmarks_stay_on_what_they_mark(eileen, align):
    (face,) = detection.detect(eileen)
    turn = cv2.getRotationMatrix2D((180, 130), 15, 1.0)
    leaning = cv2.warpAffine(eileen, turn, eileen.shape[1::-1])
    points = face.landmarks @ turn[:, :2].T + turn[:, 2]
    marked = np.zeros_like(leaning)
    for x, y in points[[36, 45, 8]].round().astype(int):
        marked[y - 2 : y + 3, x - 2 : x + 3] = 255
    picture, moved = detection.crop(marked, face.box, points, 112, 0.3, align)
    for x, y in moved[[36, 45, 8]].round().astype(int):
        assert picture[y, x].min() > 100
    eyes = moved[42:48].mean(0) - moved[36:42].mean(0)
    lean = np.degrees(np.arctan2(eyes[1], eyes[0]))
    assert abs(lean) < 0.1 if align else lean < -10


def test_head_pose_of_turned_landmarks(eileen):
    points = detection.detect(eileen)[0].landmarks
    yaw, pitch, roll = detection.head_pose(points)
    assert abs(yaw) < 30 and abs(pitch) < 30 and abs(roll) < 15
    radians = np.radians(25)
    turn = np.array([[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]])
    assert detection.head_pose(points @ turn.T) == pytest.approx((yaw, pitch, roll + 25), abs=12)
    assert detection.head_pose(3 * points + 50) == pytest.approx((yaw, pitch, roll))


def test_head_pose_knows_right_from_left_and_up_from_down():
    points = np.zeros((68, 2))
    points[[36, 45, 48, 54, 8]] = [(-45, -34), (45, -34), (-30, 30), (30, 30), (0, 66)]
    assert detection.head_pose(points) == pytest.approx((0, 0, 0), abs=12)
    right, up = points.copy(), points.copy()
    right[30], up[30] = (15, 0), (0, -15)
    assert detection.head_pose(right)[0] > 15 and detection.head_pose(up)[1] > 10
    mirrored = right * [-1, 1]
    mirrored[[36, 45, 48, 54]] = mirrored[[45, 36, 54, 48]]
    assert detection.head_pose(mirrored)[0] == pytest.approx(-detection.head_pose(right)[0])
    assert np.isnan(detection.head_pose(np.full((68, 2), np.nan))).all()


# One video


def test_a_strip_follows_one_face(strip):
    clip = strip("pan")
    assert (clip.status, clip.reason, clip.people) == ("ok", "", 1) and 27 <= clip.n_read <= 30
    assert clip.frames.shape == (10, 112, 112, 3) and clip.frames.dtype == np.uint8
    assert clip.landmarks.shape == (10, 68, 2) and clip.boxes.shape == (10, 4) and clip.pose.shape == (10, 3)
    assert np.diff(clip.indices).min() >= 2 and np.diff(clip.indices).max() <= 4  # even
    assert np.allclose(clip.times, clip.indices / 25, atol=1e-6)
    middle = clip.boxes[:, 0] + clip.boxes[:, 2] / 2
    assert np.allclose(np.diff(middle), 4 * np.diff(clip.indices), atol=6)  # it moves 4 pixels a frame
    assert np.allclose(clip.face_px, clip.boxes[:, 2]) and clip.face_px.std() < 4
    inside = (clip.landmarks > 5) & (clip.landmarks < 107)
    assert inside.mean() > 0.98
    assert (clip.sharpness > 20).all() and (np.abs(clip.brightness - 120) < 60).all()


def test_the_same_twice(films, strip):
    one, other = strip("edit"), extract_one(films["edit"])
    for name in ("frames", "indices", "boxes", "landmarks", "scores", "pose"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name


def test_a_stranger_before_a_cut_is_left_out(strip):
    clip = strip("cut")
    assert clip.status == "ok" and clip.people == 2
    assert clip.indices.min() >= 12
    assert any(why == "another person" for _, _, why in clip.candidates)


def test_a_person_is_found_again_after_the_stranger(strip):
    clip = strip("edit")
    assert clip.status == "ok" and clip.people == 2
    assert not set(clip.indices) & set(range(12, 22))
    assert clip.indices.min() < 12 and clip.indices.max() >= 22


def test_everyone_gets_a_strip(films, strip):
    clips = extraction.extract(films["pair"], FaceSettings(faces="all"))
    assert [clip.status for clip in clips] == ["ok", "ok"] and {clip.people for clip in clips} == {2}
    assert clips[0].face_px.mean() > clips[1].face_px.mean()
    assert np.linalg.norm(describe(clips[0]) - describe(clips[1])) > 0.6
    one = strip("pair")
    assert (one.boxes[:, 0] > 180).all()  # the larger one, on the right
    assert [clip.status for clip in extraction.extract(films["empty"], FaceSettings(faces="all"))] == ["no_face"]


def test_a_small_face_far_away_is_found(strip):
    clip = strip("far")
    assert clip.status == "ok" and (clip.face_px < 70).all()


def test_a_video_without_a_face(strip):
    clip = strip("empty")
    assert clip.status == "no_face" and "12 frames" in clip.reason and clip.reason.endswith(".")
    assert clip.frames.shape == (0, 112, 112, 3) and clip.landmarks.shape == (0, 68, 2) and clip.people == 0


def test_too_few_faces_are_kept_and_counted(strip):
    clip = strip("brief")
    assert clip.status == "few_faces" and clip.reason.startswith("4 valid faces") and len(clip.frames) == 4
    assert list(clip.indices) == [12, 13, 14, 15]
    clip = strip("one")
    assert clip.status == "few_faces" and len(clip.frames) == 1 and clip.n_read == 1


@pytest.mark.parametrize(
    ("limit", "word"), [("min_face_score", "score"), ("min_face_px", "side"), ("min_sharpness", "sharp")]
)
def test_thresholds_reject_and_say_why(films, limit, word):
    clip = extract_one(films["one"], frames_per_video=1, max_frames=5)
    assert clip.status == "ok"
    known = {"min_face_score": clip.scores[0], "min_face_px": clip.face_px[0], "min_sharpness": clip.sharpness[0]}
    above = math.floor(known[limit]) + 1 if limit == "min_face_px" else known[limit] + 0.1
    clip = extract_one(films["one"], frames_per_video=1, max_frames=5, **{limit: above})
    assert clip.status == "no_face" and "rejected: " in clip.reason
    index, box, why = clip.candidates[0]
    assert index == 0 and len(box) == 4 and why.startswith(word)


def test_only_the_first_frames_are_read(films):
    clip = extract_one(films["edit"], max_frames=12)
    assert clip.n_read <= 12 and clip.indices.max() < 12 and clip.people == 1


@pytest.mark.parametrize("count", [1, 3, 30])
def test_as_many_faces_as_asked_for(films, count):
    clip = extract_one(films["pan"], frames_per_video=count, face_size=64, face_margin=0.0)
    assert clip.status == "ok" and clip.frames.shape == (count, 64, 64, 3)
    assert (np.diff(clip.indices) > 0).all()


def test_aligned_eyes_are_level(tmp_path, eileen):
    turn = cv2.getRotationMatrix2D((180, 130), 20, 1.0)
    leaning = cv2.warpAffine(eileen, turn, eileen.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    video.write(tmp_path / "a.mp4", [leaning] * 12)
    clip = extract_one(tmp_path / "a.mp4", align=True)
    eyes = clip.landmarks[:, 42:48].mean(1) - clip.landmarks[:, 36:42].mean(1)
    assert clip.status == "ok" and np.abs(eyes[:, 1]).max() < 0.1
    assert np.allclose(clip.pose[:, 2], -20, atol=8)  # as the head leans in the video


def test_a_video_that_breaks_off(films, tmp_path):
    data = films["pan"].read_bytes()
    (tmp_path / "a.mp4").write_bytes(data[: int(0.95 * len(data))])
    clip = extract_one(tmp_path / "a.mp4")
    assert clip.status == "ok" and 10 <= clip.n_read < 30 and len(clip.frames) == 10


def test_bad_videos_are_a_status(tmp_path):
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("no video")
    video.write(tmp_path / "dot.mp4", [np.zeros((1, 1, 3), np.uint8)])
    for faces in ("one", "cropped", "all"):
        for name in ("empty.mp4", "text.mp4", "absent.mp4"):
            clip = extract_one(tmp_path / name, faces=faces)
            assert clip.status == "unreadable" and name in clip.reason and len(clip.frames) == 0
    assert extract_one(tmp_path / "dot.mp4").status == "no_face"


@pytest.mark.parametrize(
    "wrong", [{"max_frames": 0}, {"frames_per_video": 0}, {"face_size": 1}, {"face_margin": -1.0}, {"max_frames": 5}]
)
def test_senseless_arguments_are_refused(films, wrong):
    for faces in ("one", "all"):
        with pytest.raises(InputError, match=next(iter(wrong))):
            extract_one(films["pan"], faces=faces, **wrong)


def test_videos_of_cropped_faces(films, strip, tmp_path):
    crops = np.repeat(strip("pan").frames, 2, axis=0)
    video.write(tmp_path / "a.mp4", crops)
    clip = extract_one(tmp_path / "a.mp4", faces="cropped", frames_per_video=5)
    assert clip.status == "ok" and clip.frames.shape == (5, 112, 112, 3) and clip.people == 1
    assert (clip.boxes == [0, 0, 112, 112]).all()
    assert np.abs(clip.frames[0].astype(int) - crops[clip.indices[0]]).mean() < 4
    assert np.isfinite(clip.landmarks).all() and (clip.scores > 0).all()
    assert np.abs(clip.landmarks[:, 36:48].mean(axis=(0, 1)) - [56, 45]).max() < 12
    unknown = extract_one(films["empty"], faces="cropped", min_sharpness=0.0)
    assert unknown.status == "ok" and np.isnan(unknown.landmarks).all() and np.isnan(unknown.scores).all()
    assert extract_one(films["one"], faces="cropped").status == "few_faces"


def test_no_torch_is_loaded():
    script = "import sys; from dfutils.faces import extraction; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])


# Real videos


def test_an_edited_real_video_keeps_to_the_singer(clips_dir):
    clip = extract_one(clips_dir / "short_hamilton_clip.mp4")
    assert clip.status == "ok" and len(clip.frames) == 10 and clip.indices.min() >= 82
    best, *others = [detection.embedding(clip.frames[k], clip.landmarks[k]) for k in np.argsort(-clip.scores)[:5]]
    assert np.median([np.linalg.norm(best - other) for other in others]) < 0.6


@pytest.mark.parametrize("name", ["d18", "d12"])
def test_real_videos_agree_with_full_size_detection(clips_dir, name):
    clip = extract_one(clips_dir / f"{name}.mp4")
    assert clip.status == "ok" and len(clip.frames) == 10 and clip.people == 1
    some = set(clip.indices[::4].tolist())
    for index, _, frame in video.frames(clips_dir / f"{name}.mp4", wanted=some):
        box = clip.boxes[list(clip.indices).index(index)]
        assert max(overlap(face.box, box) for face in detection.detect(frame)) > 0.55


def test_a_file_that_breaks_off_is_known(clips_dir, tmp_path):
    whole = (clips_dir / "d18.mp4").read_bytes()
    assert not extraction.is_cut_short(clips_dir / "d18.mp4")
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    assert extraction.is_cut_short(tmp_path / "cut.mp4")
    (tmp_path / "text.mp4").write_text("no video at all")
    assert not extraction.is_cut_short(tmp_path / "text.mp4")
