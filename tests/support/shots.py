"""Videos of several shots, put together from two portraits."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from dfutils.faces import video
from dfutils.forgery import animation

FPS = 10
SIDE = 320


def portrait(name: str, side: int = SIDE) -> np.ndarray:
    """Return a square picture of `collins` or `hopper`."""
    return cv2.resize(animation.vary(name, side, np.random.default_rng(0))[0], (side, side))


def shot(picture: np.ndarray, seconds: float) -> list[np.ndarray]:
    """Return frames of a picture that drifts by a pixel a frame, there and back."""
    return [np.roll(picture, k % 20 if k % 40 < 20 else 20 - k % 20, axis=1) for k in range(round(seconds * FPS))]


def card(seconds: float) -> list[np.ndarray]:
    """Return frames of a title card without a face."""
    frame = np.full((SIDE, SIDE, 3), 30, np.uint8)
    cv2.putText(frame, "Part One", (40, 170), cv2.FONT_HERSHEY_SIMPLEX, 1.6, (240, 240, 240), 3)
    return [frame] * round(seconds * FPS)


def write(path: Path, *shots: Sequence[np.ndarray]) -> Path:
    """Write shots, one after another, as a video."""
    video.write(path, (frame for frames in shots for frame in frames), FPS)
    return path
