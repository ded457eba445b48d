"""The views of a face: what a network is shown of each chosen frame.

`face` is the resized crop of the strip. `native` is a crop at the video's own resolution, because resizing removes the
traces that a generator leaves in single pixels; a network looks at windows of it. `motion` shows how four successive
frames differ, in green, also at the video's own resolution: frames that are half a second apart do not show flicker.

The crops are cut from frames in memory, for boxes that were found before: faces are searched once, for the strip.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from dfutils.faces import video
from dfutils.faces.detection import Box, square_region

VIEWS = ("face", "native", "motion")

MARGIN = 0.3
"""Added on each side of the face box, as a share of it."""

LEAST_PX = 100
"""Side of the smallest face that `native` and `motion` show: its crop has the pixels of a window."""

LARGEST = 384
"""Side of the largest crop; of a larger face it is reduced to this."""

WINDOW = 160
"""Side of a window of a native crop."""

MOTION = 224
"""Side of a motion crop."""

SUCCESSIVE = 4
"""Frames whose differences are the three channels of a motion crop."""

GAIN = 4
"""Factor of the differences, which are mostly of a few grey levels."""

GREY = 128
"""Value of no difference."""

_PLACES = ((0.5, 0.5), (0, 0), (1, 0), (0, 1), (1, 1))  # x, y of the windows: the centre and four corners


def crop_side(boxes: np.ndarray) -> int:
    """Return the side of a clip's crops in source pixels, one for all its frames, from their boxes `(T, 4)`."""
    return max(round(float(np.median(np.max(boxes[:, 2:], axis=1))) * (1 + 2 * MARGIN)), 2)


def native_crop(rgb: np.ndarray, box: Box, side: int) -> np.ndarray:
    """Return the square of `side` pixels around the centre of a box, uint8 RGB `(S, S, 3)`.

    It is reduced to `LARGEST`, and never enlarged; pixels outside the frame repeat its border.
    """
    x, y, w, h = box
    part = square_region(rgb, round(x + w / 2 - side / 2), round(y + h / 2 - side / 2), side)
    if side <= LARGEST:
        return part
    return cv2.resize(part, (LARGEST, LARGEST), interpolation=cv2.INTER_AREA)


def motion_crop(frames: Sequence[np.ndarray], box: Box, side: int) -> np.ndarray:
    """Return the differences of `SUCCESSIVE` frames in green around a box, uint8 `(MOTION, MOTION, 3)`.

    Channel k is frame k + 1 less frame k, times `GAIN`, plus `GREY`. Where the native crop of this side ends there is
    no difference; of a larger one it is the centre.
    """
    green = [native_crop(frame, box, side)[..., 1].astype(np.int16) for frame in frames]
    found = np.clip(np.diff(np.stack(green, axis=-1), axis=-1) * GAIN + GREY, 0, 255).astype(np.uint8)
    size = len(found)
    if size >= MOTION:
        first = (size - MOTION) // 2
        return found[first : first + MOTION, first : first + MOTION]
    before = -((size - MOTION) // 2)
    after = MOTION - size - before
    return cv2.copyMakeBorder(found, before, after, before, after, cv2.BORDER_CONSTANT, value=(GREY,) * 3)


def window_corners(side: int) -> list[tuple[int, int]]:
    """Return x, y of the windows that a native crop is judged by: one in the centre, four in the corners of its inner
    part, which is 76% of it wide, as generators forge faces and not what is around them."""
    edge = min(0.12 * side, (side - WINDOW) / 2)
    return [tuple(round(edge + place * (side - WINDOW - 2 * edge)) for place in places) for places in _PLACES]


def windows(crops: np.ndarray) -> np.ndarray:
    """Return the windows that native crops are judged by, one below the other: `(T, 5 * WINDOW, WINDOW, 3)`.

    `crops` are uint8 `(T, S, S, 3)` with S at least `WINDOW`.
    """
    corners = window_corners(crops.shape[1])
    return np.concatenate([crops[:, y : y + WINDOW, x : x + WINDOW] for x, y in corners], axis=1)


def random_window(crops: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return one window of native crops, the same of all, for training: `(T, WINDOW, WINDOW, 3)`."""
    room = crops.shape[1] - WINDOW
    edge = min(round(0.1 * crops.shape[1]), room // 2)
    x, y = rng.integers(edge, room - edge + 1, 2)
    return crops[:, y : y + WINDOW, x : x + WINDOW]


def as_judged(view: str, crops: np.ndarray) -> np.ndarray:
    """Return the crops of a view as its network judges them: windows of native ones, all others as they are."""
    return windows(crops) if view == "native" else crops


def needed(indices: Iterable[int], views: Sequence[str]) -> set[int]:
    """Return the indices of the frames that the views of the chosen frames are cut from.

    For motion also those before the last chosen frame, in case the video ends with it.
    """
    chosen = [int(index) for index in indices]
    if "motion" not in views or not chosen:
        return set(chosen)
    after = {index + k for index in chosen for k in range(SUCCESSIVE)}
    return after | {max(chosen) - k for k in range(1, SUCCESSIVE) if max(chosen) >= k}


def cut(
    frames: Mapping[int, np.ndarray], indices: Sequence[int], boxes: np.ndarray, views: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return the crops of a clip in each of the `views` but `face` that is possible.

    Args:
        frames: RGB frames by index, those that are `needed` as far as the video has them.
        indices: of the chosen frames, ascending.
        boxes: x, y, w, h of the face in each of them, `(T, 4)`.
        views: of `VIEWS`.

    Returns:
        uint8 `(T, S, S, 3)` of each view. A view is not there if the face is smaller than `LEAST_PX`, for motion also
        if the video has too few frames or most of them repeat the one before.
    """
    others = [view for view in views if view != "face"]
    boxes = np.asarray(boxes, dtype=float).reshape(-1, 4)
    if not others or not len(boxes) or any(index not in frames for index in indices):
        return {}
    side = crop_side(boxes)
    if side < LEAST_PX * (1 + 2 * MARGIN):
        return {}
    found = {}
    if "native" in others:
        cells = [native_crop(frames[index], box, side) for index, box in zip(indices, boxes, strict=True)]
        found["native"] = np.stack(cells)
    if "motion" in others:
        groups = [_successive(frames, index) for index in indices]
        if all(groups):
            cells = [motion_crop(group, box, side) for group, box in zip(groups, boxes, strict=True)]
            moving = np.stack(cells)
            if np.mean((moving != GREY).any(axis=(1, 2))) >= 0.5:
                found["motion"] = moving
    return found


def _successive(frames: Mapping[int, np.ndarray], index: int) -> list[np.ndarray]:
    """Return the frames from `index` on, `SUCCESSIVE` of them, or the last before the video's end; empty if too few."""
    for first in range(index, index - SUCCESSIVE, -1):
        if all(first + k in frames for k in range(SUCCESSIVE)):
            return [frames[first + k] for k in range(SUCCESSIVE)]
    return []


def read(
    path: Path | str, clips: Sequence[tuple[Sequence[int], np.ndarray]], views: Sequence[str], max_frames: int
) -> list[dict[str, np.ndarray]]:
    """Return `cut` of each clip of a video, given as indices and boxes, from one more reading of it without a search.

    A view that is not possible for one of a video's people is not there for the others either.

    Raises:
        VideoError: if the video cannot be read.
    """
    wanted = set().union(*(needed(indices, views) for indices, _ in clips))
    if not wanted or tuple(views) == VIEWS[:1]:
        return [{} for _ in clips]
    last = min(max(wanted) + 1, max_frames)
    frames = {index: rgb for index, _, rgb in video.frames(path, last, wanted)}
    found = [cut(frames, indices, boxes, views) for indices, boxes in clips]
    everywhere = set(found[0]).intersection(*found)
    return [{view: crops for view, crops in clip.items() if view in everywhere} for clip in found]
