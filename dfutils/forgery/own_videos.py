"""Fakes made of the user's own real videos, for training without a published dataset."""

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd

from dfutils.core.errors import InputError
from dfutils.core.files import atomic
from dfutils.core.params import DEFAULTS, FaceSettings
from dfutils.faces import detection, extraction, video
from dfutils.faces.tracking import overlap
from dfutils.forgery import animation, dataset, face_swap

log = logging.getLogger(__name__)

LONGEST_SIDE = 1280
"""Largest side in pixels to which videos are reduced before they are forged."""

_LEAST_FACES = 10  # number of frames with a face that a video needs to be forged


class _Video(NamedTuple):
    """A real video: its path and its name among the results."""

    path: Path
    name: str


class _Job(NamedTuple):
    """The fakes of one target: their names by method. The donor is the target itself if it has no partner."""

    target: _Video
    donor: _Video
    names: dict[str, str]


def forge_folder(
    real_root: Path | str,
    out: Path | str,
    methods: Sequence[str] = tuple(face_swap.METHODS),
    seed: int = DEFAULTS.sample_seed,
    max_frames: int = DEFAULTS.max_frames,
    workers: int = DEFAULTS.workers,
) -> pd.DataFrame:
    """Make fakes of real videos, and re-encode the real videos with the same encoder.

    In sorted order, the videos with a face are paired and swap faces; if their number is odd, the last is only blended
    with itself. The main person (seen longest and largest) is forged in every frame in which dlib detects the face.
    Videos without a face are re-encoded and not forged; unreadable ones are left out. An interrupted call is resumed by
    the next.

    Args:
        real_root: folder of real videos, searched recursively; not changed.
        out: folder for `real/<id>.mp4`, `fake/<method>/<target>__<donor>.mp4`, `fake/self_blend/<target>.mp4`, and
            `masks/` as in `dataset`.
        methods: names in `face_swap.METHODS`.
        max_frames: number of first frames of each video that are used.
        workers: number of processes; 0: one per core.

    Returns:
        One row per video: `path` (below `real_root`), `id`, `status` (`ok`, `no_face`, `unreadable`), `reason`, and
        `fakes` (number of fakes of it).

    Raises:
        InputError: if there is no video, none has a face, a method is unknown, or `out` is inside `real_root` or holds
            other files.
    """
    real_root, out = Path(real_root), Path(out)
    _check_arguments(real_root, out, methods)
    paths = dataset.list_sources(real_root, None, "video")
    videos = [_Video(real_root / path, name) for path, name in zip(paths, dataset.unique_names(paths), strict=True)]
    sources = [[path, video.path.stat().st_size] for path, video in zip(paths, videos, strict=True)]
    parameters = {"methods": sorted(methods), "max_frames": max_frames, "seed": seed, "sources": sources}
    dataset.claim_folder(out, parameters)
    unfinished = [video for video in videos if not _landmark_file(out, video.name).exists()]
    calls = [partial(_encode_real, *video, out, seed, max_frames) for video in unfinished]
    dataset.execute(calls, len(calls), workers, "real")
    statuses = [_status(out, video.name) for video in videos]
    jobs = _pair_up([video for video, (status, _) in zip(videos, statuses, strict=True) if status == "ok"], methods)
    if not jobs:
        raise InputError(
            f"No face was found in any of the {len(paths)} videos below {real_root}: no fakes can be made."
        )
    _forge(jobs, out, seed, max_frames, workers)
    for path, (status, reason) in zip(paths, statuses, strict=True):
        if status != "ok":
            log.warning("%s: no fakes are made of it; %s", path, reason)
    fakes = {job.target.name: len(job.names) for job in jobs}
    rows = [
        (path, video.name, *status, fakes.get(video.name, 0))
        for path, video, status in zip(paths, videos, statuses, strict=True)
    ]
    return pd.DataFrame(rows, columns=["path", "id", "status", "reason", "fakes"])


def _check_arguments(real_root: Path, out: Path, methods: Sequence[str]) -> None:
    unknown = sorted(set(methods) - set(face_swap.METHODS))
    if unknown or not methods:
        raise InputError(
            f"Choose forgery methods among {', '.join(face_swap.METHODS)}, not {', '.join(unknown) or 'none'}."
        )
    if out.resolve().is_relative_to(real_root.resolve()):
        raise InputError(f"{out} lies inside the folder of the real videos: choose another folder for the fakes.")


def _pair_up(videos: Sequence[_Video], methods: Sequence[str]) -> list[_Job]:
    """Return the fakes of each video: every two videos swap faces, and an odd last one is blended with itself."""
    jobs = []
    for first in range(0, len(videos), 2):
        pair = videos[first : first + 2]
        for target, donor in ((pair[0], pair[-1]), (pair[-1], pair[0]))[: len(pair)]:
            names = {
                method: dataset.fake_name(method, target.name, donor.name)
                for method in face_swap.METHODS
                if method in methods and (method == "self_blend" or len(pair) == 2)
            }
            jobs.append(_Job(target, donor, names))
    return jobs


def _forge(jobs: Sequence[_Job], out: Path, seed: int, max_frames: int, workers: int) -> None:
    """Write the fakes that are not finished."""
    calls, total = [], 0
    for job in jobs:
        names = {method: name for method, name in job.names.items() if not dataset.is_finished(out, f"fake/{name}")}
        if names:
            total += len(names)
            calls.append(partial(_forge_target, job._replace(names=names), out, seed, max_frames))
    dataset.execute(calls, total, workers, "fakes")


def _encode_real(path: Path, name: str, out: Path, seed: int, max_frames: int) -> int:
    """Re-encode a real video, write the landmarks of its main person in every frame, and return 1."""
    boxes, reason = _track_face(path, max_frames)
    points = []

    def frames() -> Iterator[np.ndarray]:
        for index, (frame, scale) in enumerate(_read_frames(path, max_frames)):
            box = boxes.get(index)
            points.append(np.full((68, 2), np.nan) if box is None else detection.landmarks(frame, scale * box))
            yield frame

    try:
        video.write(out / f"real/{name}.mp4", frames(), _fps(path), dataset.draw_crf(seed, f"real/{name}"))
    except video.VideoError as error:
        points, reason = [], str(error)
    with atomic(_landmark_file(out, name)) as temporary:
        np.savez_compressed(temporary, points=_smooth_landmarks(np.array(points).reshape(-1, 68, 2)), reason=reason)
    return 1


def _track_face(path: Path, max_frames: int) -> tuple[dict[int, np.ndarray], str]:
    """Return the box of the main person's face (x, y, w, h in pixels) by frame index, and what is wrong with the video.

    Boxes are interpolated between two overlapping detections at most six frames apart.
    """
    # Every frame with a face: more than a strip may hold, so that the limits of a strip are not checked.
    every_frame = FaceSettings().model_copy(update={"max_frames": max_frames, "frames_per_video": max_frames})
    (clip,) = extraction.extract(path, every_frame)
    boxes = dict(zip(clip.indices.tolist(), clip.boxes, strict=True))
    detected = sorted(boxes)
    for first, second in pairwise(detected):
        if second - first <= 6 and overlap(boxes[first], boxes[second]) > 0.4:
            for index in range(first + 1, second):
                share = (index - first) / (second - first)
                boxes[index] = (1 - share) * boxes[first] + share * boxes[second]
    return boxes, clip.reason


def _read_frames(path: Path, max_frames: int) -> Iterator[tuple[np.ndarray, float]]:
    """Yield the frames of a video, reduced to `LONGEST_SIDE` and to one size, with the scale factor of each."""
    size = None
    for _, _, frame in video.frames(path, max_frames):
        scale = min(1.0, LONGEST_SIDE / max(frame.shape[:2]))
        size = size or (round(scale * frame.shape[1]), round(scale * frame.shape[0]))
        same = frame.shape[1::-1] == size
        yield frame if same else cv2.resize(frame, size, interpolation=cv2.INTER_AREA), size[0] / frame.shape[1]


def _fps(path: Path) -> float:
    """Return the frame rate of a video, or the default if it is implausible."""
    fps = video.probe(path).fps
    return fps if 1 <= fps <= 240 else animation.FPS


def _smooth_landmarks(points: np.ndarray) -> np.ndarray:
    """Return landmarks `(T, 68, 2)` smoothed over three frames wherever the face hardly moves."""
    smoothed = points.copy()
    for t in range(1, len(points) - 1):
        near = points[t - 1 : t + 2]
        if np.isfinite(near).all() and np.ptp(near.mean(axis=1), axis=0).max() < 0.1 * np.ptp(near[1], axis=0).max():
            smoothed[t] = 0.25 * near[0] + 0.5 * near[1] + 0.25 * near[2]
    return smoothed


def _landmark_file(out: Path, name: str) -> Path:
    return out / f"landmarks/{name}.npz"


def _status(out: Path, name: str) -> tuple[str, str]:
    """Return status and reason of a real video that was re-encoded."""
    with np.load(_landmark_file(out, name)) as archive:
        points, reason = archive["points"], str(archive["reason"])
    if not len(points):
        return "unreadable", reason
    count = int(np.isfinite(points).all(axis=(1, 2)).sum())
    if count < min(_LEAST_FACES, len(points)):
        return "no_face", f"a face is seen in {count} of {len(points)} frames; {_LEAST_FACES} are needed"
    return "ok", ""


def _forge_target(job: _Job, out: Path, seed: int, max_frames: int) -> int:
    """Write the fakes of one target, and return their number."""
    with np.load(_landmark_file(out, job.target.name)) as archive:
        points = archive["points"]
    only_blend = set(job.names) == {"self_blend"}
    donor = ([], np.empty((0, 68, 2))) if only_blend else _donor_crops(*job.donor, out, max_frames)
    for method, name in job.names.items():
        frames = (frame for frame, _ in _read_frames(job.target.path, max_frames))
        rng = dataset.named_rng(seed, name)
        if method == "self_blend":
            forged = face_swap.iter_self_blend(frames, points, rng)
        else:
            forged = face_swap.iter_swap(frames, points, *donor, method, rng)
        dataset.write_fake(out, name, forged, _fps(job.target.path), seed)
    return len(job.names)


def _donor_crops(path: Path, name: str, out: Path, max_frames: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Return crops around a donor's face, at most 50 to limit memory, and the landmarks in them `(number, 68, 2)`."""
    with np.load(_landmark_file(out, name)) as archive:
        points = archive["points"]
    detected = np.flatnonzero(np.isfinite(points).all(axis=(1, 2)))
    chosen = set(detected[np.linspace(0, len(detected) - 1, min(len(detected), 50)).round().astype(int)].tolist())
    crops, landmarks = [], []
    for index, (frame, _) in enumerate(_read_frames(path, max_frames)):
        if index in chosen:
            rows, columns = face_swap.face_region(points[index], frame.shape)
            crops.append(frame[rows, columns].copy())
            landmarks.append(points[index] - (columns.start, rows.start))
    return crops, np.array(landmarks)
