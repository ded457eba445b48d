"""Animation of still photographs of faces, and random variants of two portraits.

Two public-domain portraits are part of installed packages: Eileen Collins (NASA, in scikit-image) and Grace Hopper (US
Navy, in matplotlib). `vary` makes many faces of them (shape, mirroring, colour, light, position, focus), and `animate`
makes any still face with its landmarks talk, blink, nod and turn while the camera drifts. Landmarks are not detected in
the moving frames but displaced by the same fields as the pixels.
"""

from functools import cache

import cv2
import numpy as np

from dfutils.faces import detection
from dfutils.forgery import face_swap

FPS = 25.0
"""Frame rate of the clips."""

_CANVAS = 1.2  # side of a still, in sides of a clip: room for the camera to move
_N_MOTIONS = 13


def vary(portrait: str, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a random variant of a portrait: a square uint8 RGB image of side 1.2 `size`, and its landmarks `(68, 2)`.

    Landmarks are detected on the photograph and displaced with it. A variant in which dlib detects no face is drawn
    again.

    Raises:
        RuntimeError: if no face is detected in 20 draws.
    """
    photograph, points, width = _load_portrait(portrait)
    for _ in range(20):
        picture, moved = _draw_variant(photograph, points, width, size, rng)
        edge = (len(picture) - size) // 2
        if detection.detect(np.ascontiguousarray(picture[edge:-edge, edge:-edge])):
            return picture, moved
    raise RuntimeError(f"no face is found in variants of {portrait} at {size} pixels")


@cache
def _load_portrait(name: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Return a photograph, uint8 RGB, its landmarks, and the width of the face's box in pixels."""
    if name == "collins":
        from skimage.data import astronaut

        photograph = astronaut()
    else:
        from matplotlib.cbook import get_sample_data

        with get_sample_data("grace_hopper.jpg") as file:
            photograph = cv2.cvtColor(cv2.imdecode(np.frombuffer(file.read(), np.uint8), 1), cv2.COLOR_BGR2RGB)
    face = detection.detect(photograph)[0]
    return photograph, np.asarray(face.landmarks, np.float64), float(face.box[2])


def _draw_variant(
    photograph: np.ndarray, points: np.ndarray, width: float, size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the photograph warped to another face, moved and relit, and its landmarks."""
    side = round(_CANVAS * size)
    scale = max(rng.uniform(0.37, 0.44) * size, min(95, 0.65 * size)) / width  # dlib's detector needs 80 pixels
    if scale < 1:
        small = cv2.resize(photograph, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        points = points * (np.array(small.shape[1::-1]) / photograph.shape[1::-1])
        photograph, scale = small, 1.0
    angle, mirrored = np.deg2rad(rng.uniform(-6, 6)), rng.random() < 0.5
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if mirrored:
        turn = turn @ np.diag([-1, 1])
    middle = side * (0.5 + np.array([rng.uniform(-0.06, 0.06), rng.uniform(-0.06, 0.02)]))
    # points around the face fix the background while the face changes its shape
    circle = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    around = points.mean(axis=0) + 1.6 * np.ptp(points, axis=0).max() * np.stack(
        [np.cos(circle), np.sin(circle)], axis=1
    )
    goals = (np.concatenate([_reshape_face(points, rng), around]) - points.mean(axis=0)) @ turn.T + middle
    source = face_swap.thin_plate_map(goals, np.concatenate([points, around]), (side, side), stiffness=1e-4)
    picture = cv2.remap(photograph, source, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    moved = goals[:68][face_swap.MIRROR] if mirrored else goals[:68]
    return _relight(picture, rng), moved


def _reshape_face(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the landmarks of another face: features moved and scaled at random, symmetrically left and right."""
    unit = np.ptp(points[:, 0])
    shaped = points.copy()
    centre = points.mean(axis=0)
    shaped = centre + (shaped - centre) * (1 + rng.normal(0, 0.05, 2))
    jaw = shaped[:17, 0] - centre[0]
    low = np.clip((shaped[:17, 1] - centre[1]) / unit, 0, 1)
    shaped[:17, 0] += rng.normal(0, 0.15) * low * jaw
    for left, right in ((slice(17, 22), slice(22, 27)), (slice(36, 42), slice(42, 48))):
        factor, (apart, down) = 1 + rng.normal(0, 0.08, 2), unit * rng.normal(0, 0.015, 2)
        for feature, side in ((left, -1), (right, 1)):
            middle = shaped[feature].mean(axis=0)
            shaped[feature] = middle + (shaped[feature] - middle) * factor + (side * apart, down)
    for feature in (slice(27, 36), slice(48, 68)):
        middle = shaped[feature].mean(axis=0)
        shaped[feature] = (
            middle + (shaped[feature] - middle) * (1 + rng.normal(0, 0.08, 2)) + (0, unit * rng.normal(0, 0.015))
        )
    return shaped


def _relight(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return an image with random changes of light, colours and focus."""
    image = (picture.astype(np.float32) / 255) ** np.float32(np.exp(rng.normal(0, 0.18)))
    grey = image.mean(axis=2, keepdims=True)
    image = grey + np.float32(rng.uniform(0.65, 1.25)) * (image - grey)
    y, x = np.mgrid[-1 : 1 : picture.shape[0] * 1j, -1 : 1 : picture.shape[1] * 1j].astype(np.float32)
    slope = rng.normal(0, 0.15, 2).astype(np.float32)
    gain = np.exp(slope[0] * x + slope[1] * y)[..., None] * np.exp(rng.uniform(-0.1, 0.1, 3)).astype(np.float32)
    image = (image - 0.45) * np.float32(rng.uniform(0.8, 1.15)) + 0.45
    blur = rng.uniform(0, 0.7)
    if blur > 0.3:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    image = np.clip(image * gain, 0, 1)
    mean = float(image.mean())
    image *= np.float32(np.clip(mean, 0.3, 0.6) / mean)  # neither overexposed nor underexposed
    return (255 * np.clip(image, 0, 1) + 0.5).astype(np.uint8)


def animate(
    picture: np.ndarray, points: np.ndarray, frames: int, size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return a clip in which a still face talks, blinks and moves.

    Motions are smooth displacement fields that are computed once; a frame is resampled once with a weighted sum of
    them.

    Args:
        picture: uint8 RGB, about a fifth larger than `size`, so that the camera can move.
        points: its landmarks `(68, 2)`.
        frames: number T of frames of the clip, at 25 frames per second.
        size: side of the clip's frames in pixels.

    Returns:
        Frames `(T, size, size, 3)` uint8 RGB and their landmarks `(T, 68, 2)` in pixels.
    """
    corner = (np.array(picture.shape[1::-1]) - size) / 2
    grid = np.stack(np.meshgrid(*(np.arange(size) + start for start in corner)), axis=-1).astype(np.float32)
    fields = _motion_fields(grid.reshape(-1, 2), points).reshape(_N_MOTIONS, -1).astype(np.float32)
    weights = _motion_weights(frames, points, size, rng)
    light = 1 + 0.02 * _smooth_curve(frames, rng)
    clip = np.empty((frames, size, size, 3), np.uint8)
    for t in range(frames):
        source = grid - (weights[t].astype(np.float32) @ fields).reshape(grid.shape)
        frame = cv2.remap(picture, source, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
        clip[t] = cv2.convertScaleAbs(frame, alpha=float(light[t]))
    # the position x of a point of the still in a frame solves x - motion(x) = point; by damped iteration
    positions = np.repeat(points[None], frames, axis=0)
    for _ in range(40):
        fields_at = _motion_fields(positions.reshape(-1, 2), points).reshape(-1, *positions.shape)
        motion = np.einsum("tk,ktpd->tpd", weights, fields_at)
        positions = positions + 0.4 * (points + motion - positions)
    return clip, positions - corner


def _motion_fields(at: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the displacement at the positions `at` `(N, 2)` by each motion of weight 1, `(13, N, 2)` in pixels."""
    x, y = at[:, 0], at[:, 1]
    unit = np.sqrt(cv2.contourArea(cv2.convexHull(points.astype(np.float32))))
    zero, one = np.zeros_like(x), np.ones_like(x)

    def bump(centre: np.ndarray, wide: float, high: float) -> np.ndarray:
        return np.exp(-0.5 * (((x - centre[0]) / wide) ** 2 + ((y - centre[1]) / high) ** 2))

    def step(distance: np.ndarray) -> np.ndarray:
        return 0.5 + 0.5 * np.tanh(distance / 2)

    centre, nose, chin, mouth = points.mean(axis=0), points[30], points[8], points[48:68].mean(axis=0)
    gape = np.ptp(points[48:55, 0])
    head = step(8 * (1.25 - np.hypot(x - centre[0], y - centre[1] + 0.2 * unit) / unit))
    neck = chin + np.array([0, 0.4 * unit])
    jaw = step((y - points[60:68, 1].mean()) / (0.03 * unit)) * step((chin[1] + 0.3 * unit - y) / (0.08 * unit))
    lips = bump(mouth, 0.6 * gape, 0.3 * gape)
    lids = zero
    for eye in (points[36:42], points[42:48]):
        wide = np.ptp(eye[:, 0])
        lids = lids + (eye[4:6, 1].mean() - y) * bump(eye.mean(axis=0), 0.5 * wide, 0.3 * wide)
    brows = sum(bump(brow.mean(axis=0), 0.3 * unit, 0.12 * unit) for brow in (points[17:22], points[22:27]))
    across = (x - mouth[0]) / gape
    moves = (
        (one, zero), (zero, one),                                   # camera: right, down
        (x - centre[0], y - centre[1]),                             # camera: nearer
        (centre[1] - y, x - centre[0]),                             # camera: roll
        (unit * head, zero), (zero, unit * head),                   # head: right, down
        (head * (neck[1] - y), head * (x - neck[0])),               # head: roll about the neck
        (unit * bump(nose, 0.4 * unit, 0.6 * unit), zero),          # head: turn, the centre moves more than the edge
        (zero, unit * bump(nose, 0.6 * unit, 0.4 * unit)),          # head: nod
        (zero, unit * jaw * bump(chin, 0.4 * unit, 9 * unit)),      # jaw: open
        (gape * across * lips, -0.5 * gape * across**2 * lips),     # mouth: wide, its corners up
        (zero, lids),                                               # eyes: shut
        (zero, -unit * brows),                                      # brows: up
    )  # fmt: skip
    return np.stack([np.stack(move, axis=-1) for move in moves])


def _motion_weights(frames: int, points: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return the weight of each motion in each frame, `(T, 13)`."""
    amplitudes = size * np.array([0.012, 0.012]), (0.015, 0.015), (0.02, 0.015), (0.04,), (0.05, 0.03)
    idle = [amplitude * rng.uniform(0.4, 1) * _smooth_curve(frames, rng) for amplitude in np.concatenate(amplitudes)]
    t = np.arange(frames) / FPS
    syllables = np.abs(
        np.sin(np.pi * rng.uniform(2.5, 4.5) * t + rng.uniform(0, np.pi) + 0.8 * _smooth_curve(frames, rng))
    )
    talks = np.clip(0.6 + 0.6 * _smooth_curve(frames, rng), 0, 1)
    jaw = rng.uniform(0.03, 0.07) * talks * syllables
    mouth = rng.uniform(0.04, 0.12) * talks * _smooth_curve(frames, rng, fast=2.5)
    blinks = np.arange(rng.uniform(0.2, 1.5), frames / FPS, rng.uniform(1.2, 3))
    shut = 1.6 * np.exp(-0.5 * ((t[:, None] - blinks) / 0.06) ** 2).sum(axis=1)
    brows = 0.02 * _smooth_curve(frames, rng)
    return np.stack([*idle, jaw, mouth, shut, brows], axis=1)


def _smooth_curve(frames: int, rng: np.random.Generator, fast: float = 0.8) -> np.ndarray:
    """Return a smooth random curve `(T,)`, mostly within -1 to 1; `fast` is its highest frequency in hertz."""
    t = np.arange(frames)[:, None] / FPS
    rates, phases = rng.uniform(0.2, 1, 3) * fast, rng.uniform(0, 2 * np.pi, 3)
    return (np.sin(2 * np.pi * rates * t + phases) * rng.dirichlet(np.ones(3) * 2)).sum(axis=1) * 1.3
