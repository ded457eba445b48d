"""Self-blended fakes made during training, a different one of each real clip in every epoch.

After Shiohara & Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR 2022, section 3: a face, or a region of
it, is blended with a copy of itself that is slightly moved, warped, and different in colour, sharpness or resolution,
so that a detector learns traces of blending and not those of one generator. With a donor, the same masks blend another
person's face. Unlike the few fixed methods of `face_swap`, all parameters are drawn from wide ranges, once per clip,
with a small flicker from frame to frame; either the face or its surroundings are degraded. (The method of `face_swap`
stays beside it, because with this one the sample would be another.)
"""

from typing import NamedTuple

import cv2
import numpy as np

from dfutils.forgery import face_swap

REGIONS = {
    "face": (np.arange(68), 0.34),
    "inner": (np.arange(17, 68), 0.2),
    "box": (np.arange(68), 0.12),
    "lower": (np.r_[2:15, 31:36, 48:68], 0.14),
    "mouth": (np.arange(48, 68), 0.1),
    "eyes": (np.r_[17:27, 36:48], 0.1),
}
"""Regions that are replaced: the landmarks whose hull each is, and its probability."""

_FLICKER = 0.01  # standard deviation of the gain from frame to frame
_KNOTS = 6  # number of knots of an elastic displacement field along each side of a crop


class Style(NamedTuple):
    """Differences in colour and detail between the two sides of a mask, drawn once per clip."""

    shift: np.ndarray  # of red, green and blue, in grey levels
    saturation: float
    contrast: float
    shrink: float  # factor by which the image is reduced and enlarged again
    smooth: bool  # enlarged by cubic instead of linear interpolation
    sharpen: float  # share of the detail that is added
    gamma: float

    def apply(self, picture: np.ndarray, size: float) -> np.ndarray:
        """Return an image, float32 RGB, in this style; `size` is the size of its face in pixels."""
        height, width = picture.shape[:2]
        if self.shrink > 1.05:
            small = (max(round(width / self.shrink), 2), max(round(height / self.shrink), 2))
            interpolation = cv2.INTER_CUBIC if self.smooth else cv2.INTER_LINEAR
            picture = cv2.resize(picture, small, interpolation=cv2.INTER_AREA)
            picture = cv2.resize(picture, (width, height), interpolation=interpolation)
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


def _draw_style(rng: np.random.Generator, coarsest: float) -> Style:
    """Return a random style in which colour, detail or both differ."""
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


def blend(
    frames: np.ndarray,
    landmarks: np.ndarray,
    rng: np.random.Generator,
    donor: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return a clip whose face is blended with a changed copy of itself, or with a donor's, and the masks.

    Args:
        frames: `(T, H, W, 3)` uint8 RGB.
        landmarks: `(T, 68, 2)` in pixels of each frame, finite.
        donor: another person's frames and landmarks, of any number and size; without it, the clip's own face is used.

    Returns:
        Frames `(T, H, W, 3)` uint8 and masks `(T, H, W)` float32, the share of the new face in each pixel, 0 to 1.
    """
    names, probabilities = list(REGIONS), np.array([share for _, share in REGIONS.values()])
    region = names[int(rng.choice(len(names), p=probabilities / probabilities.sum()))]
    if donor is not None and region in ("eyes", "mouth"):
        region = "face"  # swaps of these regions alone do not occur
    style, outside = _draw_style(rng, 4.0), rng.random() < (0.15 if donor is not None else 0.3)
    mask = _Mask(region, rng)
    source = _Donor(frames, landmarks, donor, rng) if donor is not None else _Self(rng)
    forged, masks = [], []
    for t, (frame, points) in enumerate(zip(frames, landmarks, strict=True)):
        gain = (1 + _FLICKER * rng.standard_normal(3)).astype(np.float32)
        size, picture = face_swap.face_extent(points), frame.astype(np.float32)
        face = source.render(t, picture, points, size) * gain
        if outside:
            picture = style.apply(picture, size)
        else:
            face = style.apply(face, size)
        share = mask.render(points, frame.shape[:2], size)
        forged.append(face_swap.to_uint8(picture + share[..., None] * (np.clip(face, 0, 255) - picture)))
        masks.append(share)
    return np.stack(forged), np.stack(masks)


class _Self:
    """The clip's own face, slightly moved, rotated, scaled and warped."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.zoom, self.turn = 1 + rng.uniform(-0.05, 0.05), np.deg2rad(rng.uniform(-3, 3))
        self.move = rng.uniform(-1, 1, 2) * (0.03, 0.02)
        self.field = rng.normal(0, rng.uniform(0, 0.012), (_KNOTS, _KNOTS, 2))

    def render(self, _t: int, picture: np.ndarray, points: np.ndarray, size: float) -> np.ndarray:
        centre, jitter = points.mean(axis=0), 0.002 * self.rng.standard_normal(2)
        y, x = np.mgrid[: picture.shape[0], : picture.shape[1]].astype(np.float32)
        cosine, sine = np.cos(self.turn) / self.zoom, np.sin(self.turn) / self.zoom
        displacement = _resize_field(size * self.field, picture.shape)
        dx, dy = centre + size * (self.move + jitter)
        maps = (
            (cosine * (x - dx) + sine * (y - dy) + centre[0] + displacement[..., 0]).astype(np.float32),
            (cosine * (y - dy) - sine * (x - dx) + centre[1] + displacement[..., 1]).astype(np.float32),
        )
        return cv2.remap(picture, *maps, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)


class _Donor:
    """Another person's face, warped onto the clip's landmarks, with its colours adapted in part."""

    def __init__(
        self, frames: np.ndarray, landmarks: np.ndarray, donor: tuple[np.ndarray, np.ndarray], rng: np.random.Generator
    ) -> None:
        self.frames, self.points = donor
        self.chosen, self.mirrored = face_swap.match_donor(landmarks, self.points)
        self.detail, self.colour = float(rng.uniform(0.3, 1.0)), float(rng.uniform(0.5, 1.0))

    def render(self, t: int, picture: np.ndarray, points: np.ndarray, size: float) -> np.ndarray:
        k = self.chosen[t]
        face = face_swap.warp_donor(self.frames[k], self.points[k], points, picture.shape, self.detail, self.mirrored)
        inside = np.zeros(picture.shape[:2], np.uint8)
        cv2.fillConvexPoly(inside, cv2.convexHull(np.round(points).astype(np.int32)), 1)
        if not inside.any():
            return face
        statistics = np.stack([face_swap.lab_statistics(face, inside), face_swap.lab_statistics(picture, inside)])
        return face_swap.transfer_colours(face, statistics, self.colour)


class _Mask:
    """Mask of the replaced region: the hull of its landmarks, elastically deformed, with a soft edge."""

    def __init__(self, region: str, rng: np.random.Generator) -> None:
        self.region, (self.marks, _) = region, REGIONS[region]
        self.lift = rng.uniform(0.05, 0.45)  # how far it reaches above the brows, in brow-to-chin heights
        limits = {"mouth": (1.3, 2.0), "eyes": (1.05, 1.35), "lower": (0.95, 1.15)}.get(region, (0.85, 1.12))
        self.grow = rng.uniform(*limits)
        self.field = rng.normal(0, rng.uniform(0, 0.05), (_KNOTS, _KNOTS, 2))
        self.feather = 0.0 if rng.random() < 0.1 else float(np.exp(rng.uniform(np.log(0.008), np.log(0.09))))
        self.ratio = float(rng.choice([0.5, 0.75, 1.0, 1.0, 1.0, 1.0]))

    def render(self, points: np.ndarray, shape: tuple[int, int], size: float) -> np.ndarray:
        points = points.copy()
        if self.region in ("face", "inner", "box"):
            points[17:27] += self.lift * (points[17:27].mean(axis=0) - points[8])
        hull = cv2.convexHull(points[self.marks].astype(np.float32))[:, 0]
        if self.region == "box":
            hull = cv2.boxPoints(cv2.minAreaRect(hull))
        hull = hull.mean(axis=0) + self.grow * (hull - hull.mean(axis=0))
        mask = np.zeros(shape, np.uint8)
        cv2.fillPoly(mask, [np.round(hull * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
        y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
        displacement = _resize_field(size * self.field, shape)
        soft = cv2.remap(mask, x + displacement[..., 0], y + displacement[..., 1], cv2.INTER_LINEAR)
        soft = soft.astype(np.float32) / 255
        if self.feather:
            soft = cv2.GaussianBlur(soft, (0, 0), max(self.feather * size, 0.5))
        return np.float32(self.ratio) * np.clip(soft, 0, 1)


def _resize_field(knots: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a smooth displacement field of an image, float32 `(H, W, 2)`, from its values at a few knots."""
    return cv2.resize(knots.astype(np.float32), shape[1::-1], interpolation=cv2.INTER_CUBIC)
