"""Fakes that are made while training: in every epoch another one out of the same real clip.

After Shiohara & Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR 2022, section 3: a face, or a part of
it, is laid over itself, slightly moved, bent, and different in colour, sharpness or resolution, so that what can be
learnt is the trace of blending and not one generator's. The same masks carry another person's face where a donor is
given. The methods of `forge` are few and fixed, to be told apart in a report; here everything is drawn from wide
ranges, once a clip, with a little flicker from frame to frame. Either side may be the worse one: now the face is
coarser than its surroundings, now they are.
"""

from typing import NamedTuple

import cv2
import numpy as np

from dfutils.forgery import face_swap

PARTS = {
    "face": (np.arange(68), 0.34),
    "inner": (np.arange(17, 68), 0.2),
    "box": (np.arange(68), 0.12),
    "lower": (np.r_[2:15, 31:36, 48:68], 0.14),
    "mouth": (np.arange(48, 68), 0.1),
    "eyes": (np.r_[17:27, 36:48], 0.1),
}
"""What is replaced: the landmarks that span it, and how often it is drawn."""

_FLICKER = 0.01  # standard deviation of the gain from frame to frame
_KNOTS = 6  # of an elastic field, along each side of a crop


class Style(NamedTuple):
    """How one side of a seam differs from the other, drawn once a clip."""

    shift: np.ndarray  # of red, green and blue, in grey levels
    saturation: float
    contrast: float
    shrink: float  # reduced so many times and enlarged again
    smooth: bool  # enlarged by cubic instead of linear interpolation
    sharpen: float  # share of the detail added, or taken away
    gamma: float

    def of(self, picture: np.ndarray, size: float) -> np.ndarray:
        """Return a picture, float32 RGB, in this style; `size` is its face's, in pixels."""
        height, width = picture.shape[:2]
        if self.shrink > 1.05:
            small = (max(round(width / self.shrink), 2), max(round(height / self.shrink), 2))
            how = cv2.INTER_CUBIC if self.smooth else cv2.INTER_LINEAR
            picture = cv2.resize(
                cv2.resize(picture, small, interpolation=cv2.INTER_AREA), (width, height), interpolation=how
            )
        if self.sharpen:
            picture = picture + np.float32(self.sharpen) * (
                picture - cv2.GaussianBlur(picture, (0, 0), max(0.01 * size, 0.6))
            )
        grey, mean = picture.mean(axis=2, keepdims=True), picture.mean(axis=(0, 1))
        picture = grey + np.float32(self.saturation) * (picture - grey)
        picture = (picture - mean) * np.float32(self.contrast) + mean + self.shift.astype(np.float32)
        if self.gamma == 1:
            return picture
        return 255 * (np.clip(picture, 0, 255) / 255) ** np.float32(self.gamma)


def _style(rng: np.random.Generator, coarsest: float) -> Style:
    """Draw a style in which now colour, now detail, now both differ."""
    coloured, kind = rng.random() < 0.75, rng.random()
    strength = float(rng.uniform(0.3, 1)) if coloured else 0.0
    return Style(
        shift=strength * (rng.normal(0, 6) + rng.uniform(-12, 12, 3)),
        saturation=1 + strength * float(rng.uniform(-0.3, 0.3)),
        contrast=1 + strength * float(rng.uniform(-0.15, 0.15)),
        shrink=float(np.exp(rng.uniform(np.log(1.2), np.log(coarsest)))) if kind < 0.65 else 1.0,
        smooth=bool(rng.random() < 0.5),
        sharpen=float(rng.uniform(0.3, 1.2)) if kind > 0.8 else 0.0,
        gamma=float(np.exp(strength * rng.normal(0, 0.08))),
    )


def imitate(
    frames: np.ndarray,
    landmarks: np.ndarray,
    rng: np.random.Generator,
    donor: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return a clip as a forger might have left it, and what was replaced.

    Args:
        frames: `(T, H, W, 3)` uint8 RGB.
        landmarks: `(T, 68, 2)` in pixels of each frame, finite.
        rng: source of all chance.
        donor: another person's frames and landmarks, of any number and size; without one the clip's own face is used.

    Returns:
        Frames `(T, H, W, 3)` uint8 and masks `(T, H, W)` float32, the share of the new face in each pixel, 0 to 1.
    """
    names, odds = list(PARTS), np.array([share for _, share in PARTS.values()])
    part = names[int(rng.choice(len(names), p=odds / odds.sum()))]
    if donor is not None and part in ("eyes", "mouth"):
        part = "face"  # another's eyes alone are no forgery that is made
    style, outside = _style(rng, 4.0), rng.random() < (0.15 if donor is not None else 0.3)
    mask = _Mask(part, rng)
    source = _Donor(frames, landmarks, donor, rng) if donor is not None else _Self(rng)
    forged, masks = [], []
    for t, (frame, points) in enumerate(zip(frames, landmarks, strict=True)):
        gain = (1 + _FLICKER * rng.standard_normal(3)).astype(np.float32)
        size, picture = face_swap.extent(points), frame.astype(np.float32)
        face = source.at(t, picture, points, size) * gain
        if outside:
            picture = style.of(picture, size)
        else:
            face = style.of(face, size)
        share = mask.of(points, frame.shape[:2], size)
        forged.append(face_swap.eight_bits(picture + share[..., None] * (np.clip(face, 0, 255) - picture)))
        masks.append(share)
    return np.stack(forged), np.stack(masks)


class _Self:
    """The clip's own face, a little moved, turned, scaled and bent."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.zoom, self.turn = 1 + rng.uniform(-0.05, 0.05), np.deg2rad(rng.uniform(-3, 3))
        self.move = rng.uniform(-1, 1, 2) * (0.03, 0.02)
        self.field = rng.normal(0, rng.uniform(0, 0.012), (_KNOTS, _KNOTS, 2))

    def at(self, _t: int, picture: np.ndarray, points: np.ndarray, size: float) -> np.ndarray:
        centre, jitter = points.mean(axis=0), 0.002 * self.rng.standard_normal(2)
        y, x = np.mgrid[: picture.shape[0], : picture.shape[1]].astype(np.float32)
        cosine, sine = np.cos(self.turn) / self.zoom, np.sin(self.turn) / self.zoom
        bent = _field(size * self.field, picture.shape)
        dx, dy = centre + size * (self.move + jitter)
        where = (
            (cosine * (x - dx) + sine * (y - dy) + centre[0] + bent[..., 0]).astype(np.float32),
            (cosine * (y - dy) - sine * (x - dx) + centre[1] + bent[..., 1]).astype(np.float32),
        )
        return cv2.remap(picture, *where, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)


class _Donor:
    """Another person's face, bent onto the clip's landmarks, in its colours or nearly so."""

    def __init__(
        self, frames: np.ndarray, landmarks: np.ndarray, donor: tuple[np.ndarray, np.ndarray], rng: np.random.Generator
    ) -> None:
        self.frames, self.points = donor
        self.chosen, self.mirrored = face_swap.lend(landmarks, self.points)
        self.detail, self.colour = float(rng.uniform(0.3, 1.0)), float(rng.uniform(0.5, 1.0))

    def at(self, t: int, picture: np.ndarray, points: np.ndarray, size: float) -> np.ndarray:
        k = self.chosen[t]
        face = face_swap.bend(self.frames[k], self.points[k], points, picture.shape, self.detail, self.mirrored)
        inside = np.zeros(picture.shape[:2], np.uint8)
        cv2.fillConvexPoly(inside, cv2.convexHull(np.round(points).astype(np.int32)), 1)
        if not inside.any():
            return face
        statistics = np.stack([face_swap.colours(face, inside), face_swap.colours(picture, inside)])
        return face_swap.transfer(face, statistics, self.colour)


class _Mask:
    """What is replaced: the hull of some landmarks, its outline elastically bent, its edge soft, drawn once a clip."""

    def __init__(self, part: str, rng: np.random.Generator) -> None:
        self.part, (self.marks, _) = part, PARTS[part]
        self.lift = rng.uniform(0.05, 0.45)  # how far it reaches above the brows, in brow-to-chin heights
        grown = {"mouth": (1.3, 2.0), "eyes": (1.05, 1.35), "lower": (0.95, 1.15)}.get(part, (0.85, 1.12))
        self.grow = rng.uniform(*grown)
        self.field = rng.normal(0, rng.uniform(0, 0.05), (_KNOTS, _KNOTS, 2))
        self.feather = 0.0 if rng.random() < 0.1 else float(np.exp(rng.uniform(np.log(0.008), np.log(0.09))))
        self.ratio = float(rng.choice([0.5, 0.75, 1.0, 1.0, 1.0, 1.0]))

    def of(self, points: np.ndarray, shape: tuple[int, int], size: float) -> np.ndarray:
        points = points.copy()
        if self.part in ("face", "inner", "box"):
            points[17:27] += self.lift * (points[17:27].mean(axis=0) - points[8])
        hull = cv2.convexHull(points[self.marks].astype(np.float32))[:, 0]
        if self.part == "box":
            hull = cv2.boxPoints(cv2.minAreaRect(hull))
        hull = hull.mean(axis=0) + self.grow * (hull - hull.mean(axis=0))
        mask = np.zeros(shape, np.uint8)
        cv2.fillPoly(mask, [np.round(hull * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
        y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
        bent = _field(size * self.field, shape)
        soft = cv2.remap(mask, x + bent[..., 0], y + bent[..., 1], cv2.INTER_LINEAR).astype(np.float32) / 255
        if self.feather:
            soft = cv2.GaussianBlur(soft, (0, 0), max(self.feather * size, 0.5))
        return np.float32(self.ratio) * np.clip(soft, 0, 1)


def _field(knots: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a smooth displacement field of a picture, float32 `(H, W, 2)`, from its values at a few knots."""
    return cv2.resize(knots.astype(np.float32), shape[1::-1], interpolation=cv2.INTER_CUBIC)
