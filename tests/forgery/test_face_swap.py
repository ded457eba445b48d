"""Tests of the forgery methods on a drawn face with known landmarks: what they change and what stays unchanged."""

import cv2
import numpy as np
import pytest

from dfutils.forgery import face_swap

SWAPS = [method for method in face_swap.METHODS if method != "self_blend"]
SIZE = 160


def landmarks(centre: tuple[float, float] = (80, 80), size: float = 60, roll: float = 0) -> np.ndarray:
    """Return 68 landmarks of a plain symmetric face, in iBUG's order."""
    jaw = np.linspace(0, np.pi, 17)
    parts = [np.stack([-0.62 * np.cos(jaw), -0.15 + 0.75 * np.sin(jaw)], axis=1)]
    parts += [np.stack([side + np.linspace(-0.14, 0.14, 5), np.full(5, -0.38)], axis=1) for side in (-0.3, 0.3)]
    parts.append(np.stack([np.zeros(4), np.linspace(-0.2, 0.08, 4)], axis=1))
    parts.append(np.stack([np.linspace(-0.12, 0.12, 5), np.full(5, 0.14)], axis=1))
    eye = np.array([(-0.12, 0), (-0.05, -0.05), (0.05, -0.05), (0.12, 0), (0.05, 0.05), (-0.05, 0.05)])
    parts += [eye + np.array([side, -0.22]) for side in (-0.3, 0.3)]
    for wide, high, count in ((0.24, 0.09, 7), (0.16, 0.04, 5)):
        upper = np.linspace(np.pi, 0, count)
        lower = -np.linspace(0, np.pi, count)[1:-1]
        turn = np.concatenate([upper, lower])
        parts.append(np.stack([wide * np.cos(turn), 0.36 - high * np.sin(turn)], axis=1))
    points = np.concatenate(parts)
    turn = np.deg2rad(roll)
    return centre + size * points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])


def portrait(points: np.ndarray, colour: tuple[int, int, int], grain: int, size: int = SIZE) -> np.ndarray:
    """Draw a face with these landmarks on a grainy background."""
    image = np.random.default_rng(grain).integers(90, 130, (size, size, 3)).astype(np.uint8)
    cv2.fillPoly(image, [cv2.convexHull(points.astype(np.int32))], colour)
    for feature in (slice(36, 42), slice(42, 48), slice(48, 60)):
        cv2.fillPoly(image, [points[feature].astype(np.int32)], (30, 20, 20))
    return image


@pytest.fixture(scope="module")
def clips():
    target = np.stack([landmarks((78 + t, 80), 60, roll=2 * t) for t in range(4)])
    donor = np.stack([landmarks((70, 85 + t), 50) for t in range(3)])
    return (
        (np.stack([portrait(points, (210, 160, 140), 1) for points in target]), target),
        (np.stack([portrait(points, (120, 150, 200), 2) for points in donor]), donor),
    )


def forged(method, target, donor, seed=0):
    rng = np.random.default_rng(seed)
    if method == "self_blend":
        return face_swap.self_blend(*target, rng)
    return face_swap.swap(*target, *donor, method, rng)


def test_the_drawn_face_has_the_landmarks_order_of_ibug():
    points = landmarks()
    assert points.shape == (68, 2)
    mirrored = points * (-1, 1) + (160, 0)
    np.testing.assert_allclose(mirrored[face_swap.MIRROR], points, atol=1e-9)
    assert sorted(face_swap.MIRROR) == list(range(68))
    assert (face_swap.MIRROR[face_swap.MIRROR] == np.arange(68)).all()


def test_there_are_methods_of_several_kinds():
    assert len(face_swap.METHODS) >= 4
    assert all(face_swap.METHODS.values())


@pytest.mark.parametrize("method", face_swap.METHODS)
def test_only_what_the_mask_covers_changes(clips, method):
    target, donor = clips
    frames, masks = forged(method, target, donor)
    assert frames.shape == target[0].shape
    assert frames.dtype == np.uint8
    assert masks.shape == frames.shape[:3]
    assert masks.dtype == np.float32
    assert masks.min() >= 0
    assert 0.5 < masks.max() <= 1
    changed = (frames != target[0]).any(axis=3)
    assert not changed[masks == 0].any()
    assert changed[masks > 0.5].mean() > 0.3


@pytest.mark.parametrize("method", face_swap.METHODS)
def test_the_mask_follows_the_face(clips, method):
    target, donor = clips
    _, masks = forged(method, target, donor)
    y, x = np.mgrid[:SIZE, :SIZE]
    for mask, points in zip(masks, target[1], strict=True):
        middle = np.array([(x * mask).sum(), (y * mask).sum()]) / mask.sum()
        assert np.linalg.norm(middle - points.mean(axis=0)) < 20
        assert mask[:8].max() == mask[-8:].max() == 0


@pytest.mark.parametrize("method", face_swap.METHODS)
def test_the_same_seed_gives_the_same_frames_and_another_seed_others(clips, method):
    target, donor = clips
    first, again, other = (forged(method, target, donor, seed)[0] for seed in (3, 3, 4))
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("method", face_swap.METHODS)
def test_inputs_stay_as_they_are(clips, method):
    copies = [[array.copy() for array in clip] for clip in clips]
    forged(method, *clips)
    for clip, copy in zip(clips, copies, strict=True):
        for array, original in zip(clip, copy, strict=True):
            np.testing.assert_array_equal(array, original)


def test_a_frame_without_landmarks_is_left_alone(clips):
    (frames, points), donor = clips
    points = points.copy()
    points[1] = np.nan
    for method in face_swap.METHODS:
        after, masks = forged(method, (frames, points), donor)
        assert (after[1] == frames[1]).all()
        assert not masks[1].any()
        assert masks[0].any()
        assert masks[2].any()


def test_a_clip_without_any_landmarks_is_left_alone(clips):
    (frames, points), donor = clips
    for method in face_swap.METHODS:
        after, masks = forged(method, (frames, np.full_like(points, np.nan)), donor)
        assert (after == frames).all()
        assert not masks.any()


def test_a_pasted_face_has_nearly_the_donors_colour_and_a_blended_one_nearly_the_targets(clips):
    target, donor = clips
    x, y = np.round(target[1][0].mean(axis=0)).astype(int)
    cheek = (slice(y + 5, y + 11), slice(x + 14, x + 20))

    def colour(frames):
        return frames[0][cheek].reshape(-1, 3).mean(axis=0)

    own, lent = colour(target[0]), np.array([120, 150, 200])
    for seed in range(5):
        pasted, blended = (colour(forged(method, target, donor, seed)[0]) for method in ("paste", "blend"))
        # a cast of 6 to 18 per cent in each colour, as another camera would give
        assert (np.abs(np.log(pasted / lent)) < 0.25).all() and np.abs(np.log(pasted / lent)).mean() > 0.04
        assert np.abs(pasted - lent).mean() < np.abs(pasted - own).mean()
        assert np.abs(blended - own).mean() < np.abs(blended - lent).mean()


def test_a_self_blend_is_harder_to_see_than_a_paste(clips):
    target, donor = clips
    difference = {
        method: np.mean(
            [np.abs(forged(method, target, donor, seed)[0].astype(float) - target[0]).mean() for seed in range(5)]
        )
        for method in ("paste", "self_blend")
    }
    assert 0 < difference["self_blend"] < 0.5 * difference["paste"]


def test_a_donors_own_face_comes_back_in_place_but_coarser(clips):
    (frames, points), _ = clips
    pictures = np.stack([cv2.GaussianBlur(frame, (0, 0), 4) for frame in frames])  # whose detail survives
    after, masks = face_swap.swap(pictures, points, pictures, points, "blend", np.random.default_rng(0))
    inside = masks > 0.99
    assert np.median(np.abs(after.astype(float) - pictures)[inside]) < 5
    after, masks = face_swap.swap(frames, points, frames, points, "blend", np.random.default_rng(0))

    def detail(picture):
        return np.abs(cv2.Laplacian(picture, cv2.CV_32F))[masks[0] > 0.99].mean()

    assert detail(after[0]) < 0.5 * detail(frames[0])


def test_crops_of_any_size_can_be_donors(clips):
    target, (frames, points) = clips
    crops = [frames[0][20:150, 10:140], cv2.resize(frames[1], None, fx=3, fy=3)]
    moved = np.stack([points[0] - (10, 20), 3 * points[1]])
    for method in SWAPS:
        after, _ = face_swap.swap(*target, crops, moved, method, np.random.default_rng(0))
        assert after.shape == target[0].shape


def test_a_face_at_the_frames_edge_is_forged_as_far_as_it_is_seen():
    points = landmarks((SIZE - 5, 40), 60)
    frame = portrait(points, (210, 160, 140), 1)
    donor = landmarks()
    for method in face_swap.METHODS:
        after, masks = forged(
            method, (frame[None], points[None]), (portrait(donor, (120, 150, 200), 2)[None], donor[None])
        )
        assert (after != frame).any(axis=-1).sum() > 200
        assert masks.any()


def test_a_face_outside_the_frame_changes_nothing():
    points = landmarks((-300, 500), 60)
    frame = portrait(landmarks(), (210, 160, 140), 1)
    donor = landmarks()
    for method in face_swap.METHODS:
        after, masks = forged(
            method, (frame[None], points[None]), (portrait(donor, (120, 150, 200), 2)[None], donor[None])
        )
        assert (after == frame).all()
        assert not masks.any()


def test_a_donor_that_turns_the_other_way_is_mirrored():
    straight = landmarks()
    left = straight.copy()
    left[27:36, 0] -= 18  # the nose, far to one side
    left[:, 0] += 0.15 * np.abs(left[:, 0] - 80)
    right = (left * (-1, 1) + (SIZE, 0))[face_swap.MIRROR]
    frame, lent = portrait(right, (210, 160, 140), 1), portrait(left, (210, 160, 140), 2)
    cv2.circle(lent, tuple(np.round(left[2] + (14, 0)).astype(int)), 5, (0, 255, 0), -1)  # a mark on its right cheek
    frames, masks = face_swap.swap([frame], right[None], [lent], left[None], "paste", np.random.default_rng(0))
    green = (frames[0][..., 1].astype(int) - frames[0][..., 0]) > 100
    assert green.any()
    assert np.abs(np.flatnonzero(green.any(axis=0)).mean() - (right[14, 0] - 14)) < 6
    assert masks.any()


def test_mistakes_of_the_caller_are_named(clips):
    (frames, points), donor = clips
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="'self_blend' is no method"):
        face_swap.swap(frames, points, *donor, "self_blend", rng)
    with pytest.raises(ValueError, match="no face"):
        face_swap.swap(frames, points, donor[0], np.full_like(donor[1], np.nan), "paste", rng)
    with pytest.raises(ValueError, match=r"shorter|longer"):
        face_swap.swap(frames, points[:2], *donor, "paste", rng)


@pytest.mark.parametrize("shift", [(0, 0), (7, -3)])
def test_a_thin_plate_carries_points_to_their_goals(shift):
    points = landmarks()
    goals = 1.2 * points + shift + np.random.default_rng(0).normal(0, 1.5, points.shape)
    where = face_swap.thin_plate_map(points, goals, (SIZE, SIZE), stiffness=1e-6)
    assert where.shape == (SIZE, SIZE, 2)
    assert where.dtype == np.float32
    x, y = points.T.astype(np.float32)
    reached = cv2.remap(where, x, y, cv2.INTER_LINEAR).reshape(-1, 2)
    assert np.abs(reached - goals).mean() < 1.0


def test_a_thin_plate_keeps_an_affine_map():
    points = landmarks()
    matrix = np.array([[0.9, 0.2], [-0.1, 1.1]])
    where = face_swap.thin_plate_map(points, points @ matrix.T + (3, 4), (SIZE, SIZE))
    y, x = np.mgrid[20:140, 20:140]
    expected = np.stack([x, y], axis=-1) @ matrix.T + (3, 4)
    assert np.abs(where[20:140, 20:140] - expected).max() < 0.01
