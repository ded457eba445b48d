"""Fakes out of one's own real videos, where no others are at hand."""

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from dfutils.core.errors import InputError
from dfutils.core.files import atomic
from dfutils.core.params import FaceSettings
from dfutils.core.paths import EXTENSIONS
from dfutils.faces import detection, extraction, video
from dfutils.faces.tracking import overlap
from dfutils.forgery import animation, dataset, face_swap

log = logging.getLogger(__name__)

LONGEST_SIDE = 1280
"""Own videos are reduced to this many pixels before they are forged."""

_LEAST_FACES = 10  # frames with a face that a video needs to be forged


def forge_folder(
    real_root: Path | str,
    out: Path | str,
    methods: Sequence[str] = tuple(face_swap.METHODS),
    seed: int = 0,
    max_frames: int = 150,
    workers: int = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """Make fakes of real videos, and encode the real ones anew with the same encoder so that it tells nothing.

    In sorted order each two videos with a face lend each other their faces; an odd last one is only blended with
    itself. The person who is seen longest and largest is forged, wherever dlib sees the face. A video without a face is
    encoded anew and gets no fakes; one that cannot be read is left out. A stopped run goes on where it was.

    Args:
        real_root: folder of real videos, searched through; nothing is written there.
        out: folder for `real/<id>.mp4`, `fake/<method>/<target>__<donor>.mp4`, `fake/self_blend/<target>.mp4`, and
            `masks/` as `build` makes them.
        methods: those of `face_swap.METHODS` that are wanted.
        seed: of all chance.
        max_frames: only so many first frames of each video are used.
        workers: processes; 0 is one a core.
        progress: show bars.

    Returns:
        A row a video: `path` (below `real_root`), `id`, `status` (`ok`, `no_face`, `unreadable`), `reason`, and `fakes`
        (how many there are of it).

    Raises:
        InputError: if there is no video, none has a face, a method is unknown, or `out` is no place for the results.
    """
    real_root, out = Path(real_root), Path(out)
    unknown = sorted(set(methods) - set(face_swap.METHODS))
    if unknown or not methods:
        raise InputError(
            f"Choose forgery methods among {', '.join(face_swap.METHODS)}, not {', '.join(unknown) or 'none'}."
        )
    if out.resolve().is_relative_to(real_root.resolve()):
        raise InputError(f"{out} lies inside the folder of the real videos: choose another place for the fakes.")
    paths = dataset.sources(real_root, EXTENSIONS, "video")
    ids = dataset.names(paths)
    sizes = [(real_root / path).stat().st_size for path in paths]
    about = {"methods": sorted(methods), "max_frames": max_frames, "seed": seed}
    dataset.claim(out, {**about, "sources": [list(source) for source in zip(paths, sizes, strict=True)]})
    calls = [
        partial(_encode_real, real_root / path, out, name, seed, max_frames)
        for path, name in zip(paths, ids, strict=True)
        if not _landmark_file(out, name).exists()
    ]
    dataset.work(calls, len(calls), workers, "real", progress)
    states = {name: _state(out, name) for name in ids}
    usable = [k for k, name in enumerate(ids) if states[name][0] == "ok"]
    if not usable:
        raise InputError(
            f"No face was found in any of the {len(paths)} videos below {real_root}: no fakes can be made."
        )
    calls, fakes, missing = [], dict.fromkeys(ids, 0), 0
    for first in range(0, len(usable), 2):
        pair = usable[first : first + 2]
        for target, donor in ((pair[0], pair[-1]), (pair[-1], pair[0]))[: len(pair)]:
            names = {
                method: dataset.fake_name(method, ids[target], ids[donor])
                for method in face_swap.METHODS
                if method in methods and (method == "self_blend" or len(pair) == 2)
            }
            fakes[ids[target]] = len(names)
            names = {method: name for method, name in names.items() if not dataset.is_there(out, f"fake/{name}")}
            if names:
                missing += len(names)
                sources = [(real_root / paths[k], ids[k]) for k in (target, donor)]
                calls.append(partial(_forge_one, *sources, out, names, seed, max_frames))
    dataset.work(calls, missing, workers, "fakes", progress)
    for path, name in zip(paths, ids, strict=True):
        if states[name][0] != "ok":
            log.warning("%s: no fakes are made of it; %s", path, states[name][1])
    rows = [(path, name, *states[name], fakes[name]) for path, name in zip(paths, ids, strict=True)]
    return pd.DataFrame(rows, columns=["path", "id", "status", "reason", "fakes"])


def _encode_real(path: Path, out: Path, name: str, seed: int, max_frames: int) -> int:
    """Encode a real video anew, and write down its face's landmarks in every frame."""
    boxes, reason = _follow(path, max_frames)
    points = []

    def pictures() -> Iterator[np.ndarray]:
        for index, (frame, scale) in enumerate(_read(path, max_frames)):
            box = boxes.get(index)
            points.append(np.full((68, 2), np.nan) if box is None else detection.landmarks(frame, scale * box))
            yield frame

    try:
        video.write(out / f"real/{name}.mp4", pictures(), _fps(path), dataset.draw_crf(seed, f"real/{name}"))
    except video.VideoError as error:
        points, reason = [], str(error)
    with atomic(_landmark_file(out, name)) as temporary:
        np.savez_compressed(temporary, points=_steady(np.array(points).reshape(-1, 68, 2)), reason=reason)
    return 1


def _follow(path: Path, max_frames: int) -> tuple[dict[int, np.ndarray], str]:
    """Return by frame the box of the main person's face, x y w h in pixels, and what is wrong with the video.

    Between two detections a few frames apart the box moves from one to the other.
    """
    # Every frame with a face: more than a strip may hold, so that the limits of a strip are not checked.
    every_frame = FaceSettings().model_copy(update={"max_frames": max_frames, "frames_per_video": max_frames})
    (clip,) = extraction.extract(path, every_frame)
    boxes = dict(zip(clip.indices.tolist(), clip.boxes, strict=True))
    seen = sorted(boxes)
    for first, second in pairwise(seen):
        if second - first <= 6 and overlap(boxes[first], boxes[second]) > 0.4:
            for index in range(first + 1, second):
                share = (index - first) / (second - first)
                boxes[index] = (1 - share) * boxes[first] + share * boxes[second]
    return boxes, clip.reason


def _read(path: Path, max_frames: int) -> Iterator[tuple[np.ndarray, float]]:
    """Yield the frames of a video, reduced to `LONGEST_SIDE` and all of one size, and the factor of each reduction."""
    size = None
    for _, _, frame in video.frames(path, max_frames):
        scale = min(1.0, LONGEST_SIDE / max(frame.shape[:2]))
        size = size or (round(scale * frame.shape[1]), round(scale * frame.shape[0]))
        same = frame.shape[1::-1] == size
        yield frame if same else cv2.resize(frame, size, interpolation=cv2.INTER_AREA), size[0] / frame.shape[1]


def _fps(path: Path) -> float:
    fps = video.probe(path).fps
    return fps if 1 <= fps <= 240 else animation.FPS


def _steady(points: np.ndarray) -> np.ndarray:
    """Return landmarks `(T, 68, 2)` without their tremble: the mean of three frames where the face keeps its place."""
    steady = points.copy()
    for t in range(1, len(points) - 1):
        near = points[t - 1 : t + 2]
        if np.isfinite(near).all() and np.ptp(near.mean(axis=1), axis=0).max() < 0.1 * np.ptp(near[1], axis=0).max():
            steady[t] = 0.25 * near[0] + 0.5 * near[1] + 0.25 * near[2]
    return steady


def _landmark_file(out: Path, name: str) -> Path:
    return out / f"landmarks/{name}.npz"


def _state(out: Path, name: str) -> tuple[str, str]:
    """Return status and reason of a real video that was encoded anew."""
    with np.load(_landmark_file(out, name)) as archive:
        points, reason = archive["points"], str(archive["reason"])
    if not len(points):
        return "unreadable", reason
    count = int(np.isfinite(points).all(axis=(1, 2)).sum())
    if count < min(_LEAST_FACES, len(points)):
        return "no_face", f"a face is seen in {count} of {len(points)} frames; {_LEAST_FACES} are needed"
    return "ok", ""


def _forge_one(
    target: tuple[Path, str], donor: tuple[Path, str], out: Path, names: dict[str, str], seed: int, max_frames: int
) -> int:
    """Write the fakes of one target, by method, and return how many."""
    with np.load(_landmark_file(out, target[1])) as archive:
        points = archive["points"]
    faces_lent = _donor(*donor, out, max_frames) if set(names) != {"self_blend"} else ([], np.empty((0, 68, 2)))
    for method, name in names.items():
        frames, rng = (frame for frame, _ in _read(target[0], max_frames)), dataset.chance(seed, name)
        if method == "self_blend":
            forged = face_swap.each_self_blend(frames, points, rng)
        else:
            forged = face_swap.each_swap(frames, points, *faces_lent, method, rng)
        dataset.write_fake(out, name, forged, _fps(target[0]), seed)
    return len(names)


def _donor(path: Path, name: str, out: Path, max_frames: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Return crops around a donor's face, at most 50 evenly spread ones to spare memory, and the landmarks in them."""
    with np.load(_landmark_file(out, name)) as archive:
        points = archive["points"]
    seen = np.flatnonzero(np.isfinite(points).all(axis=(1, 2)))
    chosen = set(seen[np.linspace(0, len(seen) - 1, min(len(seen), 50)).round().astype(int)].tolist())
    crops, moved = [], []
    for index, (frame, _) in enumerate(_read(path, max_frames)):
        if index in chosen:
            rows, columns = face_swap.surroundings(points[index], frame.shape)
            crops.append(frame[rows, columns].copy())
            moved.append(points[index] - (columns.start, rows.start))
    return crops, np.array(moved)
