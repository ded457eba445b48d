"""Videos to strips of faces: every video once, on all cores, never twice.

For each video a strip (PNG) and then a small row file are written; the row file says that the video is done. A run that
was stopped finishes the rest, and the frames table and the videos table are put together from the row files at the end.
What is made depends only on the video and on the settings, whose digest names the folder.
"""

import inspect
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from dfutils import faces, video
from dfutils.catalog import Indexed
from dfutils.errors import InputError
from dfutils.files import atomic, digest, make_folder, read_json, write_json, write_table
from dfutils.params import Params
from dfutils.progress import bar

FRAME_COLUMNS = [
    "video_id", "person", "position", "frame", "time_s", "x", "y", "w", "h", "score", "sharpness", "brightness",
    "face_px", "yaw", "pitch", "roll", "landmarks",
]  # fmt: skip

_EXTRACT = {"one": faces.extract, "cropped": faces.extract_cropped}

_VERSION = 1
"""Part of every signature: raise it when a change of the code changes strips."""


class Made(NamedTuple):
    """What preprocessing made of a dataset: both tables, with the columns that DESIGN's tables have."""

    videos: pd.DataFrame
    frames: pd.DataFrame


def settings(params: Params) -> dict[str, Any]:
    """Return the parameters that change a strip: `faces`, and the rest by the names that `faces.extract` gives them."""
    names = {"faces", *inspect.signature(faces.extract).parameters}
    return {name: getattr(params, name) for name in Params.model_fields if name in names}


def signature(settings: dict[str, Any]) -> str:
    """Return the short name of everything that changes a strip: the settings and the version of this code."""
    return digest({"version": _VERSION, **settings})[:10]


def extract(path: Path, settings: dict[str, Any]) -> faces.FaceClip:
    """Return the faces of one video, found as `settings` say; whoever scores a video finds its faces by this."""
    arguments = {name: value for name, value in settings.items() if name != "faces"}
    return _EXTRACT[settings["faces"]](path, **arguments)


def run(dataset: Indexed, settings: dict[str, Any], *, workers: int = 0, progress: bool = True) -> Made:
    """Make the strips of all videos of a dataset that are not made yet, and the tables of all.

    Args:
        dataset: an indexed dataset.
        settings: as `settings` gives them.
        workers: processes; 0 is one a core.
        progress: show a bar.

    Returns:
        The videos table with `status`, `reason`, `people` (how many were seen) and `strip` (path below the folder of
        all datasets, "" if none), and the frames table. Both are written to `<folder>/faces/<signature>/` too.

    Raises:
        InputError: if there is no video, or the folder cannot be written to.
    """
    videos, folder = dataset.videos, dataset.folder / "faces" / signature(settings)
    if videos.empty:
        raise InputError(f"There are no videos in the index of {dataset.name} to preprocess: run notebook 01 again.")
    rows = make_folder(folder / "rows")
    known = dict(videos.loc[videos["status"] == "unreadable", ["video_id", "reason"]].itertuples(index=False))
    jobs = [
        (row.video_id, dataset.root / row.path)
        for row in videos.itertuples()
        if row.video_id not in known and not _is_done(rows / f"{row.video_id}.json", dataset.root / row.path)
    ]
    count = min(workers or os.cpu_count() or 1, max(len(jobs), 1))
    calls = (delayed(_one)(video_id, path, folder, settings) for video_id, path in jobs)
    done: Iterable[str] = Parallel(n_jobs=count, return_as="generator_unordered", batch_size=1)(calls)
    if progress and jobs:
        done = bar(done, total=len(jobs), desc="faces", unit="video")
    for _ in done:
        pass
    write_json(settings, folder / "settings.json")
    return _compact(videos, folder, known)


def _one(video_id: str, path: Path, folder: Path, settings: dict[str, Any]) -> str:
    """Write the strip and then the row file of one video."""
    cv2.setNumThreads(1)
    clip = extract(path, settings)
    if len(clip.frames):
        strip = np.concatenate(list(clip.frames), axis=1)
        with atomic(folder / f"{video_id}.png") as temporary:
            # imwrite and imread cannot open every path on Windows; their in-memory twins need none
            temporary.write_bytes(cv2.imencode(".png", cv2.cvtColor(strip, cv2.COLOR_RGB2BGR))[1].tobytes())
    facts = [
        {
            "position": k,
            "frame": int(clip.indices[k]),
            "time_s": float(clip.times[k]),
            **dict(zip("xywh", map(float, clip.boxes[k]), strict=True)),
            "score": float(clip.scores[k]),
            "sharpness": float(clip.sharpness[k]),
            "brightness": float(clip.brightness[k]),
            "face_px": float(clip.face_px[k]),
            **dict(zip(("yaw", "pitch", "roll"), map(float, clip.pose[k]), strict=True)),
            "landmarks": [round(float(value), 2) for value in clip.landmarks[k].ravel() if np.isfinite(value)],
        }
        for k in range(len(clip.frames))
    ]
    row = {
        "status": clip.status,
        "reason": clip.reason,
        "people": clip.people,
        "n_read": clip.n_read,
        "rejected": [[int(frame), [float(side) for side in box], why] for frame, box, why in clip.candidates],
        "source": _source(path),
        "frames": [_finite(fact) for fact in facts],
    }
    write_json(row, folder / "rows" / f"{video_id}.json")
    return video_id


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """Write NaN as null: JSON has no other word for it."""
    return {name: None if isinstance(value, float) and value != value else value for name, value in values.items()}


def _source(path: Path) -> list[int]:
    """Return what tells that a video is the one a row was made from: its size and time of change."""
    try:
        stat = path.stat()
    except OSError:
        return []
    return [stat.st_size, stat.st_mtime_ns]


def _is_done(row: Path, path: Path) -> bool:
    if not row.exists():
        return False
    try:
        return read_json(row)["source"] == _source(path)
    except (InputError, KeyError, TypeError):
        return False


def _compact(videos: pd.DataFrame, folder: Path, known: dict[str, str]) -> Made:
    """Put the row files together into the two tables."""
    statuses, frames = [], []
    for video_id in videos["video_id"]:
        if video_id in known:
            statuses.append(("unreadable", known[video_id], 0))
            continue
        row = read_json(folder / "rows" / f"{video_id}.json")
        statuses.append((row["status"], row["reason"], row["people"]))
        frames += [{"video_id": video_id, "person": 0, **fact} for fact in row["frames"]]
    status, reason, people = zip(*statuses, strict=True)
    base = f"{folder.parents[1].name}/faces/{folder.name}"
    strips = [
        f"{base}/{name}.png" if state == "ok" else "" for name, state in zip(videos["video_id"], status, strict=True)
    ]
    table = videos.assign(status=list(status), reason=list(reason), people=np.array(people, np.int32), strip=strips)
    frames_table = pd.DataFrame(frames, columns=FRAME_COLUMNS)
    numbers = [name for name in FRAME_COLUMNS[4:-1]]
    frames_table[numbers] = frames_table[numbers].astype(float)
    write_table(frames_table, folder / "frames.parquet")
    write_table(table, folder / "videos.parquet")
    return Made(table, frames_table)


def pool_frames(made: Mapping[str, Made]) -> pd.DataFrame:
    """Join the frames tables of several datasets, with the ids that `datasets.pool` gives."""
    prefix = {name: f"{name}__" if len(made) > 1 else "" for name in made}
    parts = [part.frames.assign(video_id=prefix[name] + part.frames["video_id"]) for name, part in made.items()]
    return pd.concat(parts, ignore_index=True)


def review(
    path: str, dataset: Indexed, settings: dict[str, Any], most: int = 6
) -> tuple[list[np.ndarray], list[list[tuple[tuple[float, ...], str]]]]:
    """Return what a person needs to see of a video that gave no strip.

    Args:
        path: the video's `path`.
        dataset: the dataset it is in.
        settings: those it was preprocessed with.
        most: frames to show.

    Returns:
        Evenly spaced frames, RGB, of those that were looked at, and for each the boxes `(x, y, w, h)` in its pixels
        that were taken for a face and rejected within it, with the reason. Empty for a video that cannot be read.
    """
    (video_id,) = dataset.videos.loc[dataset.videos["path"] == path, "video_id"]
    row = read_json(dataset.folder / "faces" / signature(settings) / "rows" / f"{video_id}.json")
    rejected: dict[int, list[tuple[tuple[float, ...], str]]] = {}
    for frame, box, why in row["rejected"]:
        rejected.setdefault(frame, []).append((tuple(box), why))
    all_frames = range(max(row["n_read"], 1))
    # frames in which something was rejected come first, all others fill up
    chosen = {pool[k] for pool in (sorted(rejected), all_frames) if pool for k in _spread(len(pool), most // 2)}
    try:
        looked_at = list(video.frames(dataset.root / path, settings["max_frames"], wanted=chosen))
    except video.VideoError:
        return [], []
    return [frame for _, _, frame in looked_at], [rejected.get(index, []) for index, _, _ in looked_at]


def _spread(count: int, most: int) -> list[int]:
    """Return at most `most` positions, evenly spread over `count`."""
    return sorted(set(np.linspace(0, count - 1, min(most, count)).round().astype(int).tolist()))


def load_strip(path: Path, face_size: int) -> np.ndarray:
    """Return the crops of a strip, uint8 RGB `(T, face_size, face_size, 3)`.

    Raises:
        InputError: if it is missing, broken, or of another crop size.
    """
    data = np.fromfile(path, dtype=np.uint8) if path.is_file() else np.empty(0, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if image is None:
        raise InputError(f"The strip {path} is missing or broken: run notebook 02 again.")
    if image.shape[0] != face_size or image.shape[1] % face_size:
        raise InputError(f"The strip {path} holds crops of {image.shape[0]} pixels, not {face_size}.")
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return image.reshape(face_size, -1, face_size, 3).transpose(1, 0, 2, 3)
