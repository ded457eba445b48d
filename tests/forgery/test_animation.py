"""Tests of the animation of still faces."""

import numpy as np
import pytest

from dfutils.faces import detection
from dfutils.forgery import animation


@pytest.mark.parametrize("portrait", ["collins", "hopper"])
def test_landmarks_are_carried_through_the_motion(portrait):
    rng = np.random.default_rng(3)
    picture, points = animation.vary(portrait, 256, rng)
    frames, carried = animation.animate(picture, points, 20, 256, rng)
    assert frames.shape == (20, 256, 256, 3)
    assert carried.shape == (20, 68, 2)
    # dlib, given the face's box, finds the same landmarks
    for frame, expected in zip(frames[::5], carried[::5], strict=True):
        low, high = expected.min(axis=0), expected.max(axis=0)
        side = 0.9 * (high - low).max()
        box = (*((low + high) / 2 - (side / 2, 0.55 * side)), side, side)
        error = np.linalg.norm(detection.landmarks(frame, box) - expected, axis=1)
        assert np.median(error) < 0.04 * (high - low).max()
    assert np.abs(carried[0] - carried[-1]).max() > 0.5
