"""Tests of self-blended fakes: what they change, what stays unchanged, and that they depend on the seed only."""

import numpy as np
import pytest

from dfutils.faces import detection
from dfutils.forgery import animation, face_swap, self_blending


@pytest.fixture(scope="module")
def clips():
    rng = np.random.default_rng(0)
    clips = []
    for portrait in ("collins", "hopper"):
        frames, points = animation.animate(*animation.vary(portrait, 256, rng), 3, 256, rng)
        box = detection.detect(frames[0])[0].box
        crops = [
            detection.crop(frame, box, marks, 128, 0.3, False) for frame, marks in zip(frames, points, strict=True)
        ]
        clips.append((np.stack([picture for picture, _ in crops]), np.stack([marks for _, marks in crops])))
    return clips


def test_only_the_face_is_replaced_and_the_mask_says_where(clips):
    frames, points = clips[0]
    inside = 0
    for seed in range(40):
        forged, masks = self_blending.blend(frames, points, np.random.default_rng(seed), clips[1] if seed % 2 else None)
        assert forged.shape == frames.shape
        assert forged.dtype == np.uint8
        assert masks.shape == frames.shape[:3]
        assert masks.min() >= 0
        assert masks.max() <= 1
        assert masks.max() > 0.2
        assert not np.array_equal(forged, frames)
        untouched = np.abs(forged.astype(int) - frames)[masks == 0]
        inside += untouched.max(initial=0) == 0  # otherwise the surroundings were changed
    assert 20 < inside < 40


def test_a_seed_gives_the_same_fake(clips):
    one, two, other = (self_blending.blend(*clips[0], np.random.default_rng(seed))[0] for seed in (3, 3, 4))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_parts_differ_in_what_they_cover(clips):
    frames, points = clips[0]
    covered = {
        round(float(self_blending.blend(frames, points, np.random.default_rng(seed))[1].mean()), 2)
        for seed in range(30)
    }
    assert min(covered) < 0.1
    assert max(covered) > 0.2


def test_a_swap_shows_the_donor(clips):
    """Where the donor's face lies it is more like the donor's than the target's own self-blend is."""
    (frames, points), donor = clips
    nearer = 0
    for seed in range(10):
        forged, masks = self_blending.blend(frames, points, np.random.default_rng(seed), donor)
        own, _ = self_blending.blend(frames, points, np.random.default_rng(seed))
        bent = face_swap.warp_donor(donor[0][0], donor[1][0], points[0], (128, 128, 3), 1.0, False)
        where = masks[0] > 0.4
        if where.sum() > 200:
            like = [np.corrcoef(picture[0][where].ravel(), bent[where].ravel())[0, 1] for picture in (forged, own)]
            nearer += like[0] > like[1]
    assert nearer >= 5
