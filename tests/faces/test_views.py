"""The views of a face: crops at the video's own resolution and differences of successive frames, with known answers."""

import cv2
import numpy as np
import pytest
import skimage.data

from dfutils.core.errors import InputError
from dfutils.core.params import FaceSettings
from dfutils.faces import batch, video, views
from dfutils.faces.extraction import extract
from dfutils.faces.strips import load_strip, view_strip
from tests.support.videos import indexed, settings

ALL = "face,native,motion"


def picture(side: int = 400, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def test_a_native_crop_holds_the_very_pixels_around_the_box_and_repeats_the_border():
    rgb = picture()
    assert np.array_equal(views.native_crop(rgb, (100, 100, 100, 100), 160), rgb[70:230, 70:230])
    at_the_corner = views.native_crop(rgb, (-50, -50, 100, 100), 160)
    assert np.array_equal(at_the_corner[80:, 80:], rgb[:80, :80])
    assert np.array_equal(at_the_corner[:80, 80:], np.repeat(rgb[:1, :80], 80, axis=0))
    assert views.native_crop(picture(800), (100, 100, 500, 500), 800).shape == (384, 384, 3)


def test_a_clip_has_one_side_which_follows_the_larger_side_of_its_boxes():
    assert views.crop_side(np.array([[0, 0, 100, 90], [5, 5, 110, 120], [0, 0, 104, 104]], float)) == round(104 * 1.6)


def test_motion_is_the_difference_of_successive_frames_in_green_and_grey_where_nothing_is():
    frames = [np.full((400, 400, 3), 50, np.uint8) for _ in range(4)]
    frames[1][..., 1] += 3  # then down again, so that the second difference is negative, and then a jump
    frames[3][..., 1] += 100
    frames[2][..., 0] = 255  # other colours do not count
    found = views.motion_crop(frames, (100, 100, 110, 110), 176)
    assert found.shape == (224, 224, 3)
    assert found[112, 112].tolist() == [128 + 4 * 3, 128 - 4 * 3, 255]
    assert found[23, 112].tolist() == [128, 128, 128]
    assert found[24, 112].tolist() == found[199, 112].tolist() == [140, 116, 255]
    assert found[200, 112].tolist() == [128, 128, 128]
    assert (views.motion_crop(frames, (50, 50, 200, 200), 320) == [140, 116, 255]).all()


def test_windows_are_the_centre_and_four_corners_of_the_inner_part():
    assert views.window_corners(300) == [(70, 70), (36, 36), (104, 36), (36, 104), (104, 104)]
    assert views.window_corners(160) == [(0, 0)] * 5
    crops = np.stack([picture(300, seed) for seed in (0, 1)])
    found = views.windows(crops)
    assert found.shape == (2, 800, 160, 3)
    assert np.array_equal(found[1, 160:320], crops[1, 36:196, 36:196])
    drawn = views.random_window(crops, np.random.default_rng(0))
    again = views.random_window(crops, np.random.default_rng(0))
    assert drawn.shape == (2, 160, 160, 3)
    assert np.array_equal(drawn, again)
    assert views.random_window(crops[:, :160, :160], np.random.default_rng(1)).shape == (2, 160, 160, 3)


def test_the_frames_that_are_needed_are_the_chosen_ones_and_for_motion_those_around_them():
    assert views.needed([3, 10], ["face", "native"]) == {3, 10}
    assert views.needed([3, 10], ["face", "motion"]) == {3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}
    assert views.needed([1], ["motion"]) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    ("frames", "box", "wanted"),
    [
        ({k: picture(300, k) for k in range(8)}, 120, {"native", "motion"}),
        ({k: picture(300, 0) for k in range(8)}, 120, {"native"}),  # the same picture again and again
        ({k: picture(300, k // 4) for k in range(8)}, 120, {"native"}),
        ({0: picture(300, 0)}, 120, {"native"}),  # a still picture
        ({k: picture(300, k) for k in range(8)}, 99, set()),
    ],
)
def test_a_view_that_is_not_possible_is_not_there(frames, box, wanted):
    indices = sorted(frames)[:1]
    found = views.cut(frames, indices, np.array([[90, 90, box, box]], float), ALL.split(","))
    assert set(found) == wanted


def test_at_the_end_of_a_video_motion_takes_the_last_frames_there_are():
    frames = {k: picture(300, k) for k in range(4)}
    found = views.cut(frames, [3], np.array([[90, 90, 120, 120]], float), ["face", "motion"])
    box = (90, 90, 120, 120)
    assert np.array_equal(found["motion"][0], views.motion_crop([frames[k] for k in range(4)], box, 192))


@pytest.fixture
def clip_of_a_face(tmp_path):
    path = tmp_path / "videos" / "real" / "a.mp4"
    path.parent.mkdir(parents=True)
    face = cv2.resize(skimage.data.astronaut()[:300, 80:380], (480, 480), interpolation=cv2.INTER_CUBIC)
    video.write(path, (np.roll(face, k, axis=1) for k in range(12)))
    return path


def test_extraction_cuts_the_views_of_the_frames_that_were_chosen(clip_of_a_face):
    how = settings(face_size=64).face_settings
    (plain,) = extract(clip_of_a_face, how)
    (clip,) = extract(clip_of_a_face, how.model_copy(update={"views": ALL}))
    assert plain.views == {}
    assert np.array_equal(plain.frames, clip.frames)
    side = min(views.crop_side(clip.boxes), views.LARGEST)
    assert set(clip.views) == {"native", "motion"}
    assert clip.views["native"].shape == (4, side, side, 3)
    assert clip.views["motion"].shape == (4, 224, 224, 3)
    whole = dict(enumerate(rgb for _, _, rgb in video.frames(clip_of_a_face, 20)))
    box = tuple(clip.boxes[1])
    expected = views.native_crop(whole[int(clip.indices[1])], box, views.crop_side(clip.boxes))
    assert np.array_equal(clip.views["native"][1], expected)


def test_strips_of_views_lie_beside_the_others_and_need_no_new_search(clip_of_a_face, tmp_path, monkeypatch):
    dataset = indexed(clip_of_a_face.parents[1], tmp_path / "data")
    before = batch.preprocess(dataset, settings(), progress=False)
    assert "views" not in before.videos
    strip = before.folder / f"{before.videos['video_id'][0]}.png"
    made = strip.stat().st_mtime_ns
    monkeypatch.setattr(batch, "extract", lambda *_: pytest.fail("the faces were searched for again"))
    after = batch.preprocess(dataset, settings(views=ALL), progress=False)
    assert after.folder == before.folder
    assert after.videos["views"].tolist() == [ALL]
    assert strip.stat().st_mtime_ns == made
    assert load_strip(view_strip(str(strip), "motion"), 224).shape == (4, 224, 224, 3)
    native = load_strip(view_strip(str(strip), "native"), None)
    monkeypatch.undo()
    fresh = batch.preprocess(dataset._replace(folder=tmp_path / "other"), settings(views=ALL), progress=False)
    again = fresh.folder / view_strip(strip.name, "native")
    assert np.array_equal(load_strip(again, None), native)
    again.unlink()
    batch.preprocess(dataset._replace(folder=tmp_path / "other"), settings(views=ALL), progress=False)
    assert again.is_file()


def test_views_that_do_not_exist_and_cropped_faces_are_refused():
    with pytest.raises(InputError, match="views"):
        FaceSettings(views="face,depth")
    with pytest.raises(InputError, match="cropped faces have no native resolution"):
        FaceSettings(views="face,native", faces="cropped")
