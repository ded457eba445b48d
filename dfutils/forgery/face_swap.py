"""Face swaps and self-blends of increasing difficulty, from frames and their 68 landmarks.

A swap warps a donor's face onto the target's landmarks (thin-plate spline, Bookstein 1989) and blends the edge by one
of several methods. A self-blend needs no donor: a frame's slightly changed face is blended with the same frame, so that
only traces of blending remain (Shiohara & Yamasaki, CVPR 2022, section 3). Random parameters are drawn once per clip,
with a small flicker from frame to frame, as generators have; frames without landmarks (NaN) stay unchanged. Only the
region around the face is processed, so that the cost depends on the face's size, not on the frame's.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

METHODS = {
    "paste": "the donor's face cut out along the landmarks and pasted: hard edge, its own colours",
    "blend": "the donor's face with the target's colours (LAB statistics) under a feathered mask",
    "poisson": "the donor's face cloned seamlessly (Poisson): its gradients, the target's colours along the seam",
    "self_blend": "the target's own face, slightly disturbed and blended back over itself: no donor, only the blending",
}
"""Names of the methods and what they do, from the easiest to detect to the hardest."""

MIRROR = np.r_[
    16:-1:-1, 26:16:-1, 27:31, 35:30:-1, 45:41:-1, 47, 46, 39:35:-1, 41, 40, 54:47:-1, 59:54:-1, 64:59:-1, 67:64:-1
]
"""Index of the mirrored counterpart of each of the 68 landmarks."""

_BROWS = slice(17, 27)
_MARGIN = 0.3  # margin of the processed region around the face, in face sizes


@dataclass(frozen=True)
class _Plan:
    """Random parameters of a clip. Lengths are in face sizes (see `face_extent`)."""

    outline: np.ndarray  # (harmonics, 2): amplitude and phase of the outline's elastic deformation
    lift: float  # how far the mask reaches above the brows, in brow-to-chin heights
    grow: float  # factor on the mask's outline
    feather: float = 0.0  # sigma of the mask's soft edge
    detail: float = 1.0  # resolution of the warped face relative to the target: generators have a low one
    cast: tuple[float, ...] = (1.0, 1.0, 1.0)  # gain of red, green and blue
    colour: float = 0.0  # how far colour statistics are adapted to the target's, 0 to 1
    ratio: float = 1.0  # share of the source where the mask is 1
    first: int = 0  # the mask is the hull of the landmarks from this one on


def _draw_plan(method: str, rng: np.random.Generator) -> _Plan:
    def draw(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    wobble = 0.05 if method == "self_blend" else 0.015
    outline = np.stack([rng.normal(0, wobble, 4) / np.arange(1, 5), rng.uniform(0, 2 * np.pi, 4)], axis=1)
    if method == "paste":
        cast = tuple(np.exp(rng.choice([-1, 1], 3) * rng.uniform(0.06, 0.18, 3)).tolist())
        return _Plan(outline, lift=draw(0.15, 0.3), grow=draw(0.98, 1.06), detail=draw(0.3, 0.45), cast=cast)
    if method == "blend":
        feather, detail = draw(0.015, 0.035), draw(0.25, 0.35)
        return _Plan(outline, draw(0.1, 0.25), draw(0.92, 1.0), feather, detail, colour=draw(0.5, 0.85))
    if method == "poisson":
        return _Plan(outline, draw(0.1, 0.2), draw(0.92, 1.0), feather=0.01, detail=draw(0.25, 0.35), colour=1.0)
    # the whole face or, equally often, only the region from brows to mouth
    first = 0 if rng.random() < 0.5 else 17
    ratio = float(rng.choice([0.7, 0.85, 1.0, 1.0]))
    return _Plan(outline, draw(0.1, 0.3), draw(0.9, 1.08), draw(0.02, 0.05), ratio=ratio, first=first)


_FLICKER = 0.01  # standard deviation of the gain from frame to frame


def swap(
    target_frames: Iterable[np.ndarray],
    target_landmarks: np.ndarray,
    donor_frames: Sequence[np.ndarray],
    donor_landmarks: np.ndarray,
    method: str,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the target's frames with the donor's face, and the masks of the replaced pixels.

    Args:
        target_frames: `(T, H, W, 3)` uint8 RGB.
        target_landmarks: `(T, 68, 2)` in pixels of each frame; NaN where there is no face.
        donor_frames: uint8 RGB, of any number and of any sizes.
        donor_landmarks: `(number, 68, 2)` in pixels of each donor frame; frames with NaN are not used.
        method: one of `METHODS` that takes a donor.

    Returns:
        Frames `(T, H, W, 3)` uint8 and masks `(T, H, W)` float32, the share of the donor in each pixel, 0 to 1.

    Raises:
        ValueError: if the method is unknown or takes no donor, there is no donor face, or lengths differ.
    """
    return _stack(iter_swap(target_frames, target_landmarks, donor_frames, donor_landmarks, method, rng))


def self_blend(
    frames: Iterable[np.ndarray], landmarks: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return frames whose face is blended with a changed copy of itself, and the masks; shapes as those of `swap`.

    The copy differs in colour, geometry and resolution; the mask is elastically deformed and feathered. Both are
    constant over the clip.
    """
    return _stack(iter_self_blend(frames, landmarks, rng))


def iter_swap(
    target_frames: Iterable[np.ndarray],
    target_landmarks: np.ndarray,
    donor_frames: Sequence[np.ndarray],
    donor_landmarks: np.ndarray,
    method: str,
    rng: np.random.Generator,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield frame and mask of each frame as `swap` returns them, without holding the video in memory."""
    if method not in METHODS or method == "self_blend":
        raise ValueError(f"{method!r} is no method that takes a donor")
    usable = np.flatnonzero(np.isfinite(donor_landmarks).all(axis=(1, 2)))
    if not len(usable):
        raise ValueError("the donor has no face")
    plan = _draw_plan(method, rng)
    chosen, mirrored = match_donor(target_landmarks, donor_landmarks[usable])
    chosen = usable[chosen]
    statistics = None
    for t, (frame, points) in enumerate(zip(target_frames, target_landmarks, strict=True)):
        gain = 1 + _FLICKER * rng.standard_normal(3)
        if not np.isfinite(points).all():
            statistics = None
            yield frame, np.zeros(frame.shape[:2], np.float32)
            continue
        rows, columns = face_region(points, frame.shape)
        patch = frame[rows, columns].astype(np.float32)
        local = points - (columns.start, rows.start)
        source = warp_donor(
            donor_frames[chosen[t]], donor_landmarks[chosen[t]], local, patch.shape, plan.detail, mirrored
        )
        mask = _mask(local, patch.shape, plan)
        inside = (mask > 0.5).astype(np.uint8)
        if plan.colour and inside.any():
            current = np.array([lab_statistics(source, inside), lab_statistics(patch, inside)])
            # a moving average: a blink must not change the colour of the face
            statistics = current if statistics is None else 0.8 * statistics + 0.2 * current
            source = transfer_colours(source, statistics, plan.colour)
        source = source * (gain * plan.cast).astype(np.float32)
        if method == "poisson":
            source = _poisson_clone(source, patch, inside)
        yield compose(frame, rows, columns, source, patch, mask)


def iter_self_blend(
    frames: Iterable[np.ndarray], landmarks: np.ndarray, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield frame and mask of each frame as `self_blend` returns them."""
    plan = _draw_plan("self_blend", rng)
    shift = (rng.choice([-1, 1], 3) * rng.uniform(3, 12, 3)).astype(np.float32)
    contrast, zoom = 1 + rng.uniform(-0.08, 0.08), 1 + rng.uniform(-0.04, 0.04)
    move, turn = rng.uniform(-0.025, 0.025, 2), np.deg2rad(rng.uniform(-2, 2))
    # the source is either blurred or sharpened
    sharpness = rng.uniform(-1.0, -0.5) if rng.random() < 0.7 else rng.uniform(0.6, 1.2)
    for frame, points in zip(frames, landmarks, strict=True):
        gain = 1 + _FLICKER * rng.standard_normal(3)
        jitter = 0.002 * rng.standard_normal(2)
        if not np.isfinite(points).all():
            yield frame, np.zeros(frame.shape[:2], np.float32)
            continue
        rows, columns = face_region(points, frame.shape)
        patch = frame[rows, columns].astype(np.float32)
        local = points - (columns.start, rows.start)
        size, centre = face_extent(local), local.mean(axis=0)
        matrix = zoom * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        offset = centre + size * (move + jitter) - matrix @ centre
        source = cv2.warpAffine(
            patch, np.column_stack([matrix, offset]), patch.shape[1::-1],
            flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101,
        )  # fmt: skip
        blurred = cv2.GaussianBlur(source, (0, 0), max(0.008 * size, 0.6) * (3 if sharpness < 0 else 1.5))
        source = source + np.float32(sharpness) * (source - blurred)
        mean = source.mean(axis=(0, 1))
        source = ((source - mean) * np.float32(contrast) + mean + shift) * gain.astype(np.float32)
        mask = plan.ratio * _mask(local, patch.shape, plan)
        yield compose(frame, rows, columns, source, patch, mask)


def _stack(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    frames, masks = zip(*pairs, strict=True)
    return np.stack(frames), np.stack(masks)


def compose(
    frame: np.ndarray, rows: slice, columns: slice, source: np.ndarray, patch: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the frame with the source blended into its patch at `rows` and `columns`, and the mask of the frame."""
    forged, frame_mask = frame.copy(), np.zeros(frame.shape[:2], np.float32)
    forged[rows, columns] = to_uint8(patch + mask[..., None] * (np.clip(source, 0, 255) - patch))
    frame_mask[rows, columns] = mask
    return forged, frame_mask


def face_extent(points: np.ndarray) -> float:
    """Return the size of a face in pixels: the square root of its hull's area, about the side of dlib's box."""
    return float(np.sqrt(max(cv2.contourArea(cv2.convexHull(points.astype(np.float32))), 1.0)))


def face_region(points: np.ndarray, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return rows and columns of the region of a frame around a face that is processed."""
    margin = _MARGIN * face_extent(points)
    low = np.clip(np.floor(points.min(axis=0) - margin), 0, (shape[1] - 2, shape[0] - 2)).astype(int)
    high = np.clip(np.ceil(points.max(axis=0) + margin), low + 2, (shape[1], shape[0])).astype(int)
    return slice(low[1], high[1]), slice(low[0], high[0])


def match_donor(target: np.ndarray, donor: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return the index of the donor frame for each target frame `(T,)`, and whether donor frames are to be mirrored.

    Args:
        target: landmarks `(T, 68, 2)`; NaN where there is no face.
        donor: landmarks `(number, 68, 2)`, finite.
    """
    mirrored = _faces_other_way(target, donor)
    return _closest_shapes(target, donor[:, MIRROR] * (-1, 1) if mirrored else donor), mirrored


def _closest_shapes(target: np.ndarray, donor: np.ndarray, inertia: float = 0.002) -> np.ndarray:
    """Return for each target frame the donor frame whose face has the most similar shape, `(T,)`.

    Shapes are compared without position, size and roll. Jumps between donor frames are penalised, and the path of least
    total cost is found by the Viterbi algorithm, so that the donor follows the target's mouth and head smoothly.
    """
    has_face = np.isfinite(target).all(axis=(1, 2))
    chosen = np.zeros(len(target), int)
    if not has_face.any():
        return chosen
    a, b = _normalise_shapes(target[has_face]), _normalise_shapes(donor)
    distance = ((a[:, None] - b[None]) ** 2).sum(axis=2)
    steps = np.abs(np.subtract.outer(np.arange(len(b)), np.arange(len(b))))
    jump = inertia * np.minimum(steps, 10)
    cost, predecessors = distance[0], []
    for row in distance[1:]:
        through = cost[:, None] + jump
        predecessors.append(through.argmin(axis=0))
        cost = through.min(axis=0) + row
    path = [int(cost.argmin())]
    for previous in reversed(predecessors):
        path.append(int(previous[path[-1]]))
    chosen[has_face] = path[::-1]
    return chosen


def _normalise_shapes(points: np.ndarray) -> np.ndarray:
    """Return landmarks `(T, 68, 2)` normalised for position, size and roll, `(T, 136)`."""
    shape = points - points.mean(axis=1, keepdims=True)
    z = shape[..., 0] + 1j * shape[..., 1]
    eyes = z[:, 42:48].mean(axis=1) - z[:, 36:42].mean(axis=1)
    z = z / np.linalg.norm(z, axis=1, keepdims=True) * (np.conj(eyes) / np.abs(eyes))[:, None]
    return np.concatenate([z.real, z.imag], axis=1)


def _faces_other_way(target: np.ndarray, donor: np.ndarray) -> bool:
    """Return whether the mirror image of the donor's face is clearly more similar to the target's."""
    has_face = np.isfinite(target).all(axis=(1, 2))
    if not has_face.any():
        return False
    goal = _normalise_shapes(target[has_face]).mean(axis=0)
    original, mirrored = (
        ((_normalise_shapes(points) - goal) ** 2).sum(axis=1).mean() for points in (donor, donor[:, MIRROR] * (-1, 1))
    )
    return bool(mirrored < 0.5 * original)


def warp_donor(
    donor: np.ndarray,
    donor_points: np.ndarray,
    points: np.ndarray,
    shape: tuple[int, ...],
    detail: float,
    mirrored: bool,
) -> np.ndarray:
    """Return the donor's image warped such that its landmarks lie on `points`, float32 of the given shape.

    `detail` is the resolution of the result relative to the target's, `mirrored` whether the donor is mirrored first.
    """
    rows, columns = face_region(donor_points, donor.shape)
    donor = donor[rows, columns]
    donor_points = donor_points - (columns.start, rows.start)
    if mirrored:
        donor, donor_points = donor[:, ::-1], (donor_points * (-1, 1) + (donor.shape[1] - 1, 0))[MIRROR]
    shrink = detail * face_extent(points) / face_extent(donor_points)
    if shrink < 0.9:  # average the pixels that coincide; otherwise they flicker
        height, width = (max(round(side * shrink), 2) for side in donor.shape[:2])
        donor_points = (donor_points + 0.5) * (width / donor.shape[1], height / donor.shape[0]) - 0.5
        donor = cv2.resize(donor, (width, height), interpolation=cv2.INTER_AREA)
    where = thin_plate_map(points, donor_points, shape[:2])
    return cv2.remap(
        donor, where[..., 0], where[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    ).astype(np.float32)  # fmt: skip


def thin_plate_map(
    points: np.ndarray, goals: np.ndarray, shape: tuple[int, int], stiffness: float = 1e-3
) -> np.ndarray:
    """Return the smooth map that sends `points` close to `goals`: x, y of every pixel, float32 `(height, width, 2)`.

    A thin-plate spline (Bookstein, PAMI 1989), regularised by `stiffness` because landmarks are noisy, computed on a
    grid of about 1/24 of the points' extent and interpolated between its nodes. SciPy's `RBFInterpolator` does not give
    the affine part by itself, which interpolation bends at the border; without a grid it takes 25 times as long.
    """
    centre, scale = points.mean(axis=0), float(np.ptp(points, axis=0).max()) / 2
    unit = (points - centre) / scale
    n = len(unit)
    system = np.zeros((n + 3, n + 3))
    system[:n, :n] = _kernel(unit, unit) + stiffness * np.eye(n)
    system[:n, n] = system[n, :n] = 1
    system[:n, n + 1 :], system[n + 1 :, :n] = unit, unit.T
    weights = np.linalg.solve(system, np.concatenate([goals, np.zeros((3, 2))]))
    height, width = shape
    down, across = (max(int(np.ceil(12 * side / scale)), 4) for side in shape)
    # the nodes are where cv2.resize assumes the centres of pixels
    ys, xs = (np.arange(down) + 0.5) * height / down - 0.5, (np.arange(across) + 0.5) * width / across - 0.5
    grid = (np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2) - centre) / scale
    bent = _kernel(grid.astype(np.float32), unit.astype(np.float32)) @ weights[:n].astype(np.float32)
    where = cv2.resize(bent.reshape(down, across, 2), (width, height), interpolation=cv2.INTER_CUBIC)
    offset, slope = weights[n], weights[n + 1 :] / scale
    x, y = (np.arange(side, dtype=np.float32)[:, None] for side in (width, height))
    where += (x * slope[0].astype(np.float32))[None] + (y * slope[1].astype(np.float32))[:, None]
    where += (offset - centre @ slope).astype(np.float32)
    return where


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return r² log r of all distances r between two sets of points, `(len(a), len(b))`."""
    squared = np.subtract.outer(a[:, 0], b[:, 0]) ** 2 + np.subtract.outer(a[:, 1], b[:, 1]) ** 2
    return squared * np.log(squared + 1e-12) / 2


def _mask(points: np.ndarray, shape: tuple[int, ...], plan: _Plan) -> np.ndarray:
    """Return the mask of a face, float32 `(height, width)`, 0 to 1, 0 along the patch's border."""
    points = points.astype(np.float64).copy()
    up = points[_BROWS].mean(axis=0) - points[8]
    points[_BROWS] += plan.lift * up
    size = face_extent(points)
    hull = cv2.convexHull(points[plan.first :].astype(np.float32))[:, 0].astype(np.float64)
    centre = hull.mean(axis=0)
    angle = np.arctan2(*(hull - centre).T[::-1])
    harmonics = np.arange(1, len(plan.outline) + 1)
    amplitude, phase = plan.outline.T
    factor = plan.grow + (amplitude * np.cos(np.outer(angle, harmonics) + phase)).sum(axis=1)
    hull = centre + (hull - centre) * factor[:, None]
    mask = np.zeros(shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(hull * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
    mask[[0, 1, -1, -2]] = 0
    mask[:, [0, 1, -1, -2]] = 0
    soft = mask.astype(np.float32) / 255
    # the weights of the blur may sum to slightly more than 1
    return np.minimum(cv2.GaussianBlur(soft, (0, 0), max(plan.feather * size, 0.5)), 1) if plan.feather else soft


def lab_statistics(picture: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return mean and standard deviation in LAB of the pixels of an image inside a mask, `(2, 3)`."""
    return np.stack(cv2.meanStdDev(_lab(picture), mask=inside))[..., 0]


def _lab(rgb: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(to_uint8(rgb), cv2.COLOR_RGB2LAB)


def transfer_colours(source: np.ndarray, statistics: np.ndarray, strength: float) -> np.ndarray:
    """Return the source with its mean and standard deviation in LAB adapted to the target's (Reinhard et al. 2001).

    `statistics` `(2, 2, 3)` are those of source and target; `strength` is 0 to 1.
    """
    (mean, deviation), (goal, goal_deviation) = statistics
    slope = np.clip(goal_deviation / np.maximum(deviation, 0.1), 0.7, 1.4)
    slope, shift = 1 + strength * (slope - 1), strength * (goal - slope * mean)
    lab = _lab(source) * slope.astype(np.float32) + shift.astype(np.float32)
    return cv2.cvtColor(to_uint8(lab), cv2.COLOR_LAB2RGB).astype(np.float32)


def to_uint8(picture: np.ndarray) -> np.ndarray:
    """Return an image of 0 to 255, rounded and clipped to uint8."""
    return (np.clip(picture, 0, 255) + 0.5).astype(np.uint8)


def _poisson_clone(source: np.ndarray, patch: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the source after Poisson cloning into the patch inside the mask (Perez et al. 2003).

    The change is a harmonic function, and so smooth that it is computed at a resolution of at most 128 pixels.
    """
    factor = min(1.0, 128 / max(patch.shape[:2]))
    small, small_patch = (to_uint8(cv2.resize(image, None, fx=factor, fy=factor)) for image in (source, patch))
    area = cv2.resize(255 * inside, small.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    area[[0, 1, -1, -2]] = 0
    area[:, [0, 1, -1, -2]] = 0
    x, y, width, height = cv2.boundingRect(area)
    if width < 3 or height < 3:
        return source
    centre = (x + width // 2, y + height // 2)  # where OpenCV places the centre of the mask's bounding box
    cloned = cv2.seamlessClone(small, small_patch, area, centre, cv2.NORMAL_CLONE)
    return source + cv2.resize(cloned.astype(np.float32) - small, patch.shape[1::-1])
