"""Faces in one image: detection, landmarks, pose, embedding for recognition, and crops with their quality.

The models are dlib's: its HOG detector, its predictor of 68 landmarks and its recognition network. Their files come in
the package `face_recognition_models` and are loaded once per process, on first use.
"""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import cv2
import dlib
import face_recognition_models
import numpy as np

from dfutils.faces.tracking import overlap

Box = tuple[float, float, float, float]

SMALLEST = 80  # side of the smallest face that dlib's HOG detector finds, in pixels of its input
STEP = 5 / 6  # scale between the levels of its image pyramid; an input reduced by a power of it gives the same boxes
CELL = 8  # cells of its HOG features, in pixels; a region that begins on this grid gives the boxes of the whole frame


@dataclass(frozen=True, eq=False)
class Face:
    """A detected face: `box` x, y, w, h in pixels, dlib's `score`, `landmarks` `(68, 2)` in pixels of the image."""

    box: Box
    score: float
    landmarks: np.ndarray | None = field(default=None, repr=False)


@cache
def _detector() -> Any:
    return dlib.get_frontal_face_detector()


@cache
def _predictor() -> Any:
    return dlib.shape_predictor(face_recognition_models.pose_predictor_model_location())


@cache
def _recogniser() -> Any:
    return dlib.face_recognition_model_v1(face_recognition_models.face_recognition_model_location())


def detect(rgb: np.ndarray, upsample: int = 0) -> list[Face]:
    """Return the faces that dlib's HOG detector finds in an image, highest score first.

    It finds faces of 80 pixels or more. The image is first enlarged by `2 ** upsample`, which divides that limit by the
    same factor.
    """
    scale = 2.0**upsample
    detections = _detect_boxes(cv2.resize(rgb, None, fx=scale, fy=scale) if upsample else rgb, 0.0)
    boxes = [(tuple(value / scale for value in box), score) for box, score in detections]
    return [Face(box, score, landmarks(rgb, box)) for box, score in boxes]


def landmarks(rgb: np.ndarray, box: Box) -> np.ndarray:
    """Return the 68 landmarks of the face in a box, float64 `(68, 2)`, in the order of the iBUG 300-W annotation.

    The method is Kazemi and Sullivan's (CVPR 2014), as dlib implements and trained it.
    """
    x, y, w, h = (round(value) for value in box)
    shape = _predictor()(np.ascontiguousarray(rgb), dlib.rectangle(x, y, x + w - 1, y + h - 1))
    return np.array([(point.x, point.y) for point in shape.parts()], dtype=float)


def embedding(crop_rgb: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return dlib's face embedding, float64 `(128,)`, of a crop and the 68 landmarks in it.

    The Euclidean distance between two images of one person is mostly below 0.6, of two people above (dlib, example
    dnn_face_recognition_ex).
    """
    rectangle = dlib.rectangle(0, 0, crop_rgb.shape[1] - 1, crop_rgb.shape[0] - 1)
    shape = dlib.full_object_detection(rectangle, dlib.points([dlib.point(round(x), round(y)) for x, y in points]))
    return np.array(_recogniser().compute_face_descriptor(np.ascontiguousarray(crop_rgb), shape))


def crop(
    rgb: np.ndarray, box: Box, points: np.ndarray, face_size: int, face_margin: float, align: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return a square crop around a face, uint8 `(face_size, face_size, 3)`, and the landmarks in pixels of the crop.

    The square is centred on the box and `1 + 2 * face_margin` times as wide; pixels outside the image repeat its
    border. With `align` the square is rotated about its centre so that the eyes are level.
    """
    x, y, w, h = box
    side = max(round(max(w, h) * (1 + 2 * face_margin)), 2)
    corner = np.round([x + w / 2 - side / 2, y + h / 2 - side / 2])
    moved = np.asarray(points, dtype=float) - corner
    if align and np.isfinite(moved).all():
        dx, dy = moved[42:48].mean(axis=0) - moved[36:42].mean(axis=0)
        rotation = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), np.degrees(np.arctan2(dy, dx)), 1.0)
        moved = moved @ rotation[:, :2].T + rotation[:, 2]
        rotation[:, 2] -= rotation[:, :2] @ corner
        square = cv2.warpAffine(rgb, rotation, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    else:
        square = square_region(rgb, int(corner[0]), int(corner[1]), side)
    scale = face_size / side
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(square, (face_size, face_size), interpolation=method), (moved + 0.5) * scale - 0.5


def square_region(rgb: np.ndarray, left: int, top: int, side: int) -> np.ndarray:
    """Return a square region of an image; pixels outside the image repeat its border."""
    height, width = rgb.shape[:2]
    x0, x1 = np.clip((left, left + side), (0, 1), (width - 1, width))
    y0, y1 = np.clip((top, top + side), (0, 1), (height - 1, height))
    borders = np.maximum((y0 - top, top + side - y1, x0 - left, left + side - x1), 0)
    inner = rgb[y0:y1, x0:x1]
    return cv2.copyMakeBorder(inner, *map(int, borders), cv2.BORDER_REPLICATE) if borders.any() else inner


# Indices of six landmarks (nose tip, chin, outer corners of the eyes, corners of the mouth), and their positions on a
# generic head in millimetres (x to the right in the image, y down, z away from the camera).
_POSE_POINTS = [30, 8, 36, 45, 48, 54]
_HEAD = np.array([(0, 0, 0), (0, 66, 13), (-45, -34, 27), (45, -34, 27), (-30, 30, 25), (30, 30, 25)], dtype=float)


def head_pose(points: np.ndarray) -> tuple[float, float, float]:
    """Return yaw, pitch and roll of a head in degrees from its 68 landmarks; NaN if there are none.

    Yaw is positive when the face turns to the right of the picture, pitch when it turns up, roll when the head leans
    clockwise. Six landmarks of a generic head are fitted by least squares under a scaled orthographic camera, and the
    nearest rotation is taken. (`cv2.solvePnP`, which takes a face narrower than the generic one for a turned one, gave
    20 to 45 degrees for faces that look straight ahead.) Good to perhaps ten degrees: for comparing groups of frames.
    """
    if not np.isfinite(points).all():
        return (np.nan, np.nan, np.nan)
    head = np.column_stack([_HEAD, np.ones(len(_HEAD))])
    fit = np.linalg.lstsq(head, np.asarray(points, dtype=float)[_POSE_POINTS], rcond=None)[0][:3].T
    u, _, vt = np.linalg.svd(fit, full_matrices=False)
    right, down = u @ vt  # the first two rows of the rotation R = Rz(roll) Ry(-yaw) Rx(-pitch)
    away = np.cross(right, down)
    yaw = np.arctan2(away[0], np.hypot(away[1], away[2]))
    pitch = -np.arctan2(away[1], away[2])
    roll = np.arctan2(down[0], right[0])
    return tuple(float(np.degrees(angle)) for angle in (yaw, pitch, roll))


def steady_box(box: Box, points: np.ndarray) -> Box:
    """Return the square box that dlib's detector would give on average for a face with these landmarks.

    The sizes of the detector's boxes are a factor of 1.2 apart, so that the box of a face of constant size alternates
    between two of them; the spread of the landmarks varies half as much from frame to frame. If the overlap of the two
    boxes is at most 0.5, the landmarks are wrong and the detector's `box` is returned.
    """
    centre = points.mean(axis=0)
    side = float(np.sqrt(((points - centre) ** 2).sum(axis=1).mean())) / _SPREAD
    x, y = centre - side * np.array(_CENTRE)
    steady = (float(x), float(y), side, side)
    return steady if side > 0 and overlap(box, steady) > 0.5 else box


# Means over 450 detections in twelve clips of real faces, relative to the side of the detector's box.
_SPREAD = 0.358  # root mean square distance of the landmarks from their centre
_CENTRE = (0.505, 0.542)  # centre of the landmarks, from the upper left corner


# Searching a frame


def _detect_boxes(rgb: np.ndarray, least: float) -> list[tuple[Box, float]]:
    """Return boxes and scores of `least` or more from dlib's detector at the given size, highest score first."""
    if min(rgb.shape[:2]) < SMALLEST // 2:
        return []
    rectangles, scores, _ = _detector().run(np.ascontiguousarray(rgb), 0, least)
    return [((r.left(), r.top(), r.width(), r.height()), s) for r, s in zip(rectangles, scores, strict=True)]


def search(rgb: np.ndarray, area: Box, times: int, least: float) -> list[tuple[Box, float]]:
    """Return boxes and scores of `least` or more of the faces in a region of a frame, highest score first.

    The region `area` (x, y, w, h) is resized by `(5 / 6) ** times` before detection; a negative `times` enlarges it.
    """
    scale = STEP**times
    grid = CELL / scale
    x0, y0 = (round(max(0, int(value / grid)) * grid) for value in area[:2])
    region = rgb[y0 : max(0, round(area[1] + area[3])), x0 : max(0, round(area[0] + area[2]))]
    if min(region.shape[:2]) * scale < SMALLEST // 2:
        return []
    if times:
        region = cv2.resize(region, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    detections = _detect_boxes(region, least)
    return [((x0 + x / scale, y0 + y / scale, w / scale, h / scale), score) for (x, y, w, h), score in detections]


def search_near(rgb: np.ndarray, box: Box, least: float) -> list[tuple[Box, float]]:
    """Return boxes and scores, as `search` does, of the faces around a box, up to half its side beyond it.

    The region is reduced until a face of the box's size is a little larger than `SMALLEST`. On twelve clips of real
    faces, from one frame to the tenth after it, this missed no face that the detector finds at full size, and the
    median intersection over union with the boxes at full size was 0.9. It takes 5 to 7 ms; dlib's correlation tracker,
    which does not notice that a face is lost, takes 6 to 8 ms.
    """
    x, y, w, h = box
    return search(rgb, (x - w / 2, y - h / 2, 2 * w, 2 * h), _times(w, 1.05 * SMALLEST), least)


def search_whole(rgb: np.ndarray, side: float, least: float) -> list[tuple[Box, float]]:
    """Return boxes and scores, as `search` does, of the faces in a frame with its short side reduced to `side`."""
    height, width = rgb.shape[:2]
    return search(rgb, (0, 0, width, height), max(0, _times(min(height, width), 0.95 * side)), least)


def search_tiles(rgb: np.ndarray, least: float) -> list[tuple[Box, float]]:
    """Return boxes and scores, as `search` does, of the faces in a frame enlarged to about twice its size.

    Faces of 40 pixels are found. The frame is searched in tiles, so that little memory is needed.
    """
    height, width = rgb.shape[:2]
    tiles = [(x, y, w, h) for y, h in _tiles(height) for x, w in _tiles(width)]
    return distinct([detection for tile in tiles for detection in search(rgb, tile, -4, least)])


def _tiles(length: int, most: int = 1280, lap: int = 120) -> list[tuple[float, float]]:
    """Return starts and lengths of the fewest equal tiles, `most` long at most, that overlap by `lap`."""
    count = max(1, -(-(length - lap) // (most - lap)))
    tile = (length + (count - 1) * lap) / count
    return [(k * (tile - lap), tile) for k in range(count)]


def _times(length: float, target: float) -> int:
    """Return how often a length can be multiplied by 5/6 before it is below a target."""
    return int(np.floor(np.log(max(length, 1) / target) / -np.log(STEP)))


def distinct(detections: list[tuple[Box, float]]) -> list[tuple[Box, float]]:
    """Return the detections without those whose box overlaps an earlier one: the same face, detected twice."""
    faces: list[tuple[Box, float]] = []
    for box, score in detections:
        if all(overlap(box, other) < 0.3 for other, _ in faces):
            faces.append((box, score))
    return faces


# A crop's quality


def quality(face_crop: np.ndarray) -> tuple[float, float]:
    """Return sharpness (variance of the Laplacian at 112 pixels) and mean luma (0 to 255) of a crop."""
    grey = cv2.cvtColor(face_crop, cv2.COLOR_RGB2GRAY)
    if grey.shape[0] != 112:
        method = cv2.INTER_AREA if grey.shape[0] > 112 else cv2.INTER_CUBIC
        grey = cv2.resize(grey, (112, 112), interpolation=method)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var()), float(grey.mean())
