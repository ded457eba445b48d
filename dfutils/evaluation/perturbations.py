"""Disturbances of whole frames, before any face is looked for: what happens to a video on its way through the world.

The seven of DeeperForensics-1.0 (Jiang et al., CVPR 2020) at its five levels, and JPEG. A disturbed video is written
again as a video, without loss, and goes the way of every other: so what a disturbance does to finding the face counts
as much as what it does to the verdict. H.264 is really re-encoded. Noise, blur and scaling are not those of training
clips (`detector.augmentation`), which are defined for crops: variance and kernel are DeeperForensics's.
"""

import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from dfutils.core.errors import InputError
from dfutils.core.files import write_json
from dfutils.core.params import FaceSettings, split_list
from dfutils.faces import extraction, strips, video

LEVELS: dict[str, tuple[float, ...]] = {
    "saturation": (0.4, 0.3, 0.2, 0.1, 0.0),
    "contrast": (0.85, 0.725, 0.6, 0.475, 0.35),
    "blocks": (16, 32, 48, 64, 80),
    "noise": (0.001, 0.002, 0.005, 0.01, 0.05),
    "blur": (7, 9, 13, 17, 21),
    "pixelation": (2, 3, 4, 5, 6),
    "h264": (30, 32, 35, 38, 40),
    "jpeg": (70, 50, 30, 20, 10),
}
"""The strength of each disturbance at levels 1 to 5: share of colour kept, share of light kept, blocks of 8 px for each
full 256 px of the shorter side, variance in YCbCr of 0 to 1, width of the kernel in pixels (σ a sixth of it), factor of
reduction, x264's CRF, JPEG quality. All but JPEG's are those of DeeperForensics-1.0, whose pixelation is called JPEG
there; its contrast is a multiplication, and so darkens."""

WORDS = {
    "saturation": "less colour",
    "contrast": "less contrast",
    "blocks": "grey blocks",
    "noise": "noise",
    "blur": "blur",
    "pixelation": "pixelation",
    "h264": "H.264 again",
    "jpeg": "JPEG",
}
"""How the disturbances are called in figures."""

_BLOCK = 8


def chosen(perturbations: str, levels: str) -> list[tuple[str, int]]:
    """Return the disturbances and levels that the parameters name, in order; `all` are all.

    Raises:
        InputError: for one that there is not.
    """
    names = list(LEVELS) if perturbations.strip() == "all" else split_list(perturbations)
    unknown = sorted(set(names) - set(LEVELS))
    if unknown or not names:
        wrong = unknown[0] if unknown else "nothing"
        raise InputError(f"perturbations = {wrong!r} is not possible: name some of {', '.join(LEVELS)}, or all.")
    steps = split_list(levels)
    wrong = [step for step in steps if step not in ("1", "2", "3", "4", "5")]
    if wrong or not steps:
        raise InputError(f"levels = {levels!r} is not possible: name some of 1, 2, 3, 4, 5, comma-separated.")
    return [(name, step) for name in LEVELS if name in names for step in sorted({int(step) for step in steps})]


def disturb(frame: np.ndarray, name: str, level: int, rng: np.random.Generator) -> np.ndarray:
    """Return a disturbed copy of a frame, RGB uint8 `(H, W, 3)`.

    `h264` works on videos, not on frames, and gives the frame back. Level 0 does so for every disturbance.
    """
    strength = LEVELS[name][level - 1]
    if level == 0 or name == "h264":
        return frame.copy()
    return _ON_FRAMES[name](frame, strength, rng)


def _saturation(frame: np.ndarray, kept: float, _rng: np.random.Generator) -> np.ndarray:
    luma = cv2.cvtColor(frame, cv2.COLOR_RGB2YCrCb).astype(np.float32)
    luma[..., 1:] = 128 + kept * (luma[..., 1:] - 128)
    return cv2.cvtColor(_bytes(luma), cv2.COLOR_YCrCb2RGB)


def _contrast(frame: np.ndarray, kept: float, _rng: np.random.Generator) -> np.ndarray:
    return _bytes(frame.astype(np.float32) * kept)


def _blocks(frame: np.ndarray, count: float, rng: np.random.Generator) -> np.ndarray:
    height, width = frame.shape[:2]
    changed = frame.copy()
    for _ in range(int(count) * max(min(height, width) // 256, 1)):
        y, x = (int(rng.integers(0, max(side - _BLOCK, 1))) for side in (height, width))
        changed[y : y + _BLOCK, x : x + _BLOCK] = 128
    return changed


def _noise(frame: np.ndarray, variance: float, rng: np.random.Generator) -> np.ndarray:
    luma = cv2.cvtColor(frame, cv2.COLOR_RGB2YCrCb).astype(np.float32)
    luma += 255 * np.float32(np.sqrt(variance)) * rng.standard_normal(luma.shape, dtype=np.float32)
    return cv2.cvtColor(_bytes(luma), cv2.COLOR_YCrCb2RGB)


def _blur(frame: np.ndarray, kernel: float, _rng: np.random.Generator) -> np.ndarray:
    return cv2.GaussianBlur(frame, (int(kernel), int(kernel)), kernel / 6)


def _pixelation(frame: np.ndarray, factor: float, _rng: np.random.Generator) -> np.ndarray:
    height, width = frame.shape[:2]
    small = cv2.resize(frame, (max(width // int(factor), 1), max(height // int(factor), 1)))
    return cv2.resize(small, (width, height))


_ON_FRAMES: dict[str, Callable[[np.ndarray, float, np.random.Generator], np.ndarray]] = {
    "saturation": _saturation,
    "contrast": _contrast,
    "blocks": _blocks,
    "noise": _noise,
    "blur": _blur,
    "pixelation": _pixelation,
    "jpeg": lambda frame, quality, _rng: video.jpeg(frame, int(quality)),
}


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(values + 0.5, 0, 255).astype(np.uint8)


def write(path: Path, out: Path, name: str, level: int, max_frames: int, seed: int) -> None:
    """Write the first frames of a video, disturbed, as a video: without loss, and `h264` at its CRF.

    Chance is a function of the seed and of the names of video, disturbance and level.

    Raises:
        VideoError: if the video cannot be read.
    """
    fps = video.probe(path).fps
    rng = np.random.default_rng([seed, zlib.crc32(f"{path.name} {name} {level}".encode())])

    def pictures() -> Iterator[np.ndarray]:
        for _, _, frame in video.frames(path, max_frames):
            yield disturb(frame, name, level, rng)

    crf = int(LEVELS[name][level - 1]) if name == "h264" and level else 0
    video.write(out, pictures(), fps if 1 <= fps <= 240 else 25.0, crf)


def preview(path: Path, name: str, level: int, seed: int) -> np.ndarray:
    """Return the first frame of a video as the disturbance leaves it, RGB uint8; `h264` encodes ten frames."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "disturbed.mp4"
        write(path, out, name, level, 10, seed)
        return video.first_frame(out)


def make_strip(
    path: Path, folder: Path, video_id: str, name: str, level: int, settings: FaceSettings, seed: int
) -> str:
    """Disturb one video, find its faces again, write the strip to `<folder>/<video_id>.png`, and return the status.

    What was found is noted in `<video_id>.json`, which says that the video is done. `settings` are those of
    the detector's training; with `faces: all` there is a strip for each person, as notebook 02 makes them
    (`strip_names`), so that the score is that of the most suspicious person, disturbed or not.
    """
    cv2.setNumThreads(1)
    count, views = 1, ["face"]
    disturbed = folder / f".{video_id}.{os.getpid()}.mp4"
    try:
        write(path, disturbed, name, level, settings.max_frames, seed)
        clips = extraction.extract(disturbed, settings)
    except video.VideoError:
        status = "unreadable"
    else:
        status, count = clips[0].status, len(clips)
        if status == "ok":
            for clip, strip in zip(clips, strips.strip_names(f"{video_id}.png", count), strict=True):
                for view, crops in {"face": clip.frames, **clip.views}.items():
                    strips.write_strip(crops, folder / strips.view_strip(strip, view))
            views = ["face", *clips[0].views]
    finally:
        disturbed.unlink(missing_ok=True)
    write_json({"status": status, "strips": count, "views": ",".join(views)}, folder / f"{video_id}.json")
    return status
