"""The strip format: the face crops of one person side by side, left to right in time, as one lossless PNG."""

from pathlib import Path

import cv2
import numpy as np

from dfutils.core.errors import InputError
from dfutils.core.files import atomic


def strip_names(strip: str, count: int) -> list[str]:
    """Return the paths of a video's `count` strips, one per person, from the path of the main person's, which is first.

    The strips of further people end in `~1`, `~2`, …: no video's id contains `~`, and every file system allows it.
    """
    return [strip, *(f"{strip.removesuffix('.png')}~{person}.png" for person in range(1, count))][:count]


def view_strip(strip: str, view: str) -> str:
    """Return the path of a view's strip, such as `<video_id>~native.png`, from that of the face crops."""
    return strip if view == "face" else f"{strip.removesuffix('.png')}~{view}.png"


def write_strip(frames: np.ndarray, path: Path) -> None:
    """Write crops, uint8 RGB `(T, S, S, 3)` with T > 0, side by side as a PNG."""
    strip = cv2.cvtColor(np.concatenate(list(frames), axis=1), cv2.COLOR_RGB2BGR)
    with atomic(path) as temporary:
        # encoded in memory, because imwrite and imread cannot open every path on Windows
        temporary.write_bytes(cv2.imencode(".png", strip)[1].tobytes())


def read_strip(path: Path, grey: bool = False) -> np.ndarray | None:
    """Return a strip, crops side by side, uint8 `(S, T * S, 3)` RGB or `(S, T * S)` grey; None if it cannot be read."""
    data = np.fromfile(path, dtype=np.uint8) if Path(path).is_file() else np.empty(0, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR) if len(data) else None
    return image if image is None or grey else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def load_strip(path: Path, face_size: int | None) -> np.ndarray:
    """Return the crops of a strip, uint8 RGB `(T, S, S, 3)`, S = `face_size` if it is given.

    Raises:
        InputError: if the strip is missing or broken, or its crops have another size.
    """
    image = read_strip(path)
    if image is None:
        raise InputError(f"The strip {path} is missing or broken: run notebook 02 again.")
    if image.shape[0] != (face_size or image.shape[0]) or image.shape[1] % image.shape[0]:
        raise InputError(f"The strip {path} holds crops of {image.shape[0]} pixels, not {face_size}.")
    face_size = image.shape[0]
    return image.reshape(face_size, -1, face_size, 3).transpose(1, 0, 2, 3)
