"""Reading of pictures as videos: a photograph is a video of one frame, an animation or a folder of pictures of several.

Pictures are as a viewer shows them: turned as EXIF says, in sRGB by their colour profile, transparent parts on white.
Pillow reads them. Of a folder, pictures are taken in the order of the numbers in their names, so that `2.png` comes
before `10.png`; beside `frames/<video>/` may lie `landmarks/<video>/` with the landmarks of each picture, as
DeepfakeBench's preprocessing leaves both.
"""

import io
import math
import re
from collections.abc import Container, Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageOps

from dfutils.core.paths import HEAD_BYTES, PICTURES, is_picture
from dfutils.faces.video_facts import MAX_PIXELS, VideoError, VideoFacts, check_size

FRAMES_PER_S = 25.0
"""Nominal rate of frames in a folder, whose times nothing states."""

_ORIENTATION = 0x0112  # Exif's tag; above 4, rows and columns are swapped
_ANIMATED = ("WEBP", "PNG", "AVIF")  # formats whose further pictures are moments; those of others are pages or previews


def is_pictures(path: Path | str) -> bool:
    """Return whether a path is a picture by its first bytes, or a folder that holds pictures."""
    path = Path(path)
    if path.is_dir():
        return bool(frame_files(path))
    try:
        with path.open("rb") as file:
            return is_picture(file.read(HEAD_BYTES))
    except OSError:
        return False


def frame_files(folder: Path) -> list[Path]:
    """Return the pictures in a folder in the order of the numbers in their names."""
    found = [file for file in folder.iterdir() if file.suffix.lower() in PICTURES and not file.name.startswith(".")]
    return sorted(found, key=lambda file: ([int(part) for part in re.findall(r"\d+", file.stem)], file.name))


def facts(path: Path | str) -> VideoFacts:
    """Return the facts of a picture, an animation or a folder of pictures, after decoding the first picture.

    Rate, length and bitrate are NaN but for an animation. A JPEG of more than `MAX_PIXELS` pixels is decoded at a half,
    a quarter or an eighth of its size, which is also the size stated.

    Raises:
        VideoError: if there is no picture that can be decoded, or it is too large.
    """
    path = Path(path)
    if path.is_dir():
        files = frame_files(path)
        for file in files:
            try:
                return replace(facts(file), n_frames=len(files))
            except VideoError as error:
                first_error = error
        raise first_error if len(files) == 1 else VideoError(f"None of the pictures in {path.name} can be decoded.")
    with _opened(path) as image:
        _load(image, path)
        width, height = image.size[:: -1 if image.getexif().get(_ORIENTATION, 1) > 4 else 1]
        n_frames, fps = _n_frames(image), 1000 / image.info["duration"] if image.info.get("duration") else math.nan
        duration = n_frames / fps if n_frames > 1 else math.nan
        bitrate = 8 * path.stat().st_size / duration
        return VideoFacts(width, height, fps if n_frames > 1 else math.nan, n_frames, duration, image.format, bitrate)


def frames(
    path: Path | str, max_frames: int, wanted: Container[int] | None = None
) -> Iterator[tuple[int, float, np.ndarray]]:
    """Yield what `video.frames` yields of a picture, an animation or a folder of pictures.

    A picture in a folder that cannot be decoded is passed over. One of another size than the first is fitted into that
    with its proportions, and its border repeated. Times in a folder follow the numbers in the names, at
    `FRAMES_PER_S`.

    Raises:
        VideoError: as `facts` does.
    """
    path, size, error = Path(path), None, None
    if not path.is_dir():
        yield from _moments(path, max_frames, wanted)
        return
    files = frame_files(path)[:max_frames]
    times = _times(files)
    for index, file in enumerate(files):
        if wanted is not None and index not in wanted:
            continue
        try:
            with _opened(file) as image:
                rgb = _rgb(image, file)
        except VideoError as broken:
            error = broken
            continue
        size = size or _first_size(path)
        yield index, times[index], rgb if rgb.shape[1::-1] == size else _fitted(rgb, *size)
    if error and size is None:
        facts(path)  # says whether any picture can be decoded


def landmarks(path: Path | str) -> dict[int, np.ndarray]:
    """Return the landmarks that lie beside a folder of frames, by index of the frame: float `(68, 2)` in its pixels.

    For `…/frames/<video>/NNN.png` they are `…/landmarks/<video>/NNN.npy`, of 68 points or more, the first 68 of which
    are dlib's. Frames without such a file, or of another size than the first, are left out.
    """
    path = Path(path)
    folder = path.parent.parent / "landmarks" / path.name
    if path.parent.name.lower() != "frames" or not folder.is_dir():
        return {}
    found, size = {}, None
    for index, file in enumerate(frame_files(path)):
        try:
            with _opened(file) as image:
                size = size or image.size
                points = np.load(folder / f"{file.stem}.npy", allow_pickle=False).astype(float).reshape(-1, 2)[:68]
                if image.size == size and len(points) == 68 and np.isfinite(points).all():
                    found[index] = points
        except (VideoError, OSError, ValueError, EOFError):
            continue
    return found


def _first_size(path: Path) -> tuple[int, int]:
    known = facts(path)
    return known.width, known.height


def _times(files: list[Path]) -> list[float]:
    """Return seconds from the first picture on, by the last numbers of the names; by position if these do not grow."""
    numbers = [int((re.findall(r"\d+", file.stem) or [0])[-1]) for file in files]
    if any(later <= earlier for earlier, later in pairwise(numbers)):
        numbers = list(range(len(files)))
    return [(number - numbers[0]) / FRAMES_PER_S for number in numbers]


def _moments(path: Path, max_frames: int, wanted: Container[int] | None) -> Iterator[tuple[int, float, np.ndarray]]:
    """Yield the frames of one file; of an animation that is damaged, those before the damage."""
    with _opened(path) as image:
        time_s = 0.0
        for index in range(min(_n_frames(image), max_frames)):
            try:
                image.seek(index)
                rgb = _rgb(image, path)
            except Exception as error:  # whatever Pillow's parsers come across
                if index:
                    return
                raise error if isinstance(error, VideoError) else _undecodable(path) from None
            if wanted is None or index in wanted:
                yield index, time_s, rgb
            time_s += (image.info.get("duration") or 1000 / FRAMES_PER_S) / 1000


def _opened(path: Path) -> Image.Image:
    """Return an opened picture that is small enough, or will be when it is decoded.

    Raises:
        VideoError: if it cannot be opened or is too large.
    """
    try:
        image = Image.open(path)
    except Image.DecompressionBombError:
        raise VideoError(f"{path.name} has too many pixels: make it smaller; at most 8192x4320 are decoded.") from None
    except Exception:  # whatever Pillow's parsers come across
        raise _undecodable(path) from None
    width, height = image.size
    if width * height > MAX_PIXELS and image.format == "JPEG":
        part = 2 ** math.ceil(math.log2(width * height / MAX_PIXELS) / 2)
        image.draft(None, (width // part, height // part))
    check_size(path, *image.size)
    return image


def _n_frames(image: Image.Image) -> int:
    return getattr(image, "n_frames", 1) if image.format in _ANIMATED else 1


def _rgb(image: Image.Image, path: Path) -> np.ndarray:
    """Return an opened picture as a viewer shows it, RGB uint8 `(H, W, 3)`.

    Raises:
        VideoError: if it is cut short, damaged, or of numbers that are no colours.
    """
    _load(image, path)
    try:
        if image.mode.startswith("I;16"):  # Pillow would cut off all but the darkest of 16 bits
            grey = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            grey.info = image.info
            image = grey
        image = _in_srgb(ImageOps.exif_transpose(image))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.array(image.convert("RGB"))
    except Exception:  # whatever Pillow's parsers come across
        raise _undecodable(path) from None


def _load(image: Image.Image, path: Path) -> None:
    try:
        image.load()
        image.getexif()
    except Exception:  # whatever Pillow's parsers come across
        raise _undecodable(path) from None
    if image.mode in ("I", "F"):
        raise VideoError(f"{path.name} has 32 bits per pixel: save it with 8 or 16.")


def _in_srgb(image: Image.Image) -> Image.Image:
    """Return a picture in the colours of sRGB; as it is without a colour profile, or with one that does not fit."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "CMYK", "L"):
        return image
    try:
        return ImageCms.profileToProfile(image, io.BytesIO(profile), _srgb(), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _fitted(rgb: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return a picture fitted into another size with its proportions kept; its border is repeated around it."""
    scale = min(width / rgb.shape[1], height / rgb.shape[0])
    inner = (max(1, min(width, round(rgb.shape[1] * scale))), max(1, min(height, round(rgb.shape[0] * scale))))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    fitted = cv2.resize(rgb, inner, interpolation=method)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    rest = height - inner[1] - top, width - inner[0] - left
    return cv2.copyMakeBorder(fitted, top, rest[0], left, rest[1], cv2.BORDER_REPLICATE)


def _undecodable(path: Path) -> VideoError:
    with path.open("rb") as file:
        heic = file.read(12)[4:8] == b"ftyp"
    if heic:
        return VideoError(f"{path.name} is a HEIC picture, which cannot be read here: save it as JPEG.")
    return VideoError(f"{path.name} is a picture that cannot be decoded: it was cut short or is damaged.")
