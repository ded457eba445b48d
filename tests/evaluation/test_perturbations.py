"""Disturbances: each does what its source says, more with each level, and never by chance."""

import cv2
import numpy as np
import pytest

from dfutils.core.errors import InputError
from dfutils.evaluation import perturbations
from dfutils.faces import video


@pytest.fixture(scope="module")
def frame() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    return cv2.resize(noise, (320, 260), interpolation=cv2.INTER_CUBIC)


def far(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(float) - other).mean())


@pytest.mark.parametrize("name", [name for name in perturbations.LEVELS if name != "h264"])
def test_every_level_disturbs_more_than_the_one_before_and_always_alike(frame, name):
    before = frame.copy()
    made = [perturbations.disturb(frame, name, level, np.random.default_rng(3)) for level in range(1, 6)]
    apart = [far(frame, picture) for picture in made]
    assert apart == sorted(apart)
    assert apart[0] > 0
    assert all(picture.shape == frame.shape and picture.dtype == np.uint8 for picture in made)
    assert np.array_equal(frame, before)
    assert np.array_equal(made[2], perturbations.disturb(frame, name, 3, np.random.default_rng(3)))
    assert np.array_equal(perturbations.disturb(frame, name, 0, np.random.default_rng(3)), frame)


def test_the_last_level_of_saturation_is_grey(frame):
    grey = perturbations.disturb(frame, "saturation", 5, np.random.default_rng(0))
    assert np.ptp(grey.astype(int), axis=2).max() <= 2


def test_blocks_are_as_many_as_the_picture_is_large():
    black = np.zeros((256, 300, 3), dtype=np.uint8)
    small = perturbations.disturb(black, "blocks", 1, np.random.default_rng(0))
    large = perturbations.disturb(np.zeros((600, 600, 3), dtype=np.uint8), "blocks", 1, np.random.default_rng(0))
    assert 12 * 64 <= (small[..., 0] == 128).sum() <= 16 * 64
    assert 26 * 64 <= (large[..., 0] == 128).sum() <= 32 * 64


def test_noise_has_the_variance_it_says():
    grey = np.full((400, 400, 3), 128, dtype=np.uint8)
    noisy = cv2.cvtColor(perturbations.disturb(grey, "noise", 3, np.random.default_rng(0)), cv2.COLOR_RGB2YCrCb)
    assert (noisy[..., 0] / 255).var() == pytest.approx(0.005, rel=0.1)


def test_h264_is_encoded_anew_and_the_rest_without_loss(tmp_path, frame):
    clip = [np.roll(frame, shift, axis=1) for shift in range(6)]
    source = tmp_path / "a.mp4"
    video.write(source, clip, crf=10)
    for name, level in (("h264", 1), ("h264", 5), ("contrast", 3)):
        perturbations.write(source, tmp_path / f"{name}{level}.mp4", name, level, 5, seed=0)
    assert (tmp_path / "h2645.mp4").stat().st_size < (tmp_path / "h2641.mp4").stat().st_size < source.stat().st_size
    original = next(video.frames(source))[2]
    found = [picture for _, _, picture in video.frames(tmp_path / "contrast3.mp4")]
    assert len(found) == 5
    assert far(found[0], perturbations.disturb(original, "contrast", 3, np.random.default_rng(0))) < 2


def test_what_is_chosen_is_in_order_and_what_is_not_there_is_refused():
    assert perturbations.chosen("blur, noise", "4,2") == [("noise", 2), ("noise", 4), ("blur", 2), ("blur", 4)]
    assert len(perturbations.chosen("all", "1,2,3,4,5")) == 40
    for names, levels in (("blurr", "1"), ("", "1"), ("blur", "6"), ("blur", "")):
        with pytest.raises(InputError, match="is not possible"):
            perturbations.chosen(names, levels)
