"""Videos to strips of faces: every video once, on all cores or a cluster, never twice.

For each video a strip (PNG) and then a small row file are written; the row file says that the video is done. A run that
was stopped finishes the rest, and the frames table and the videos table are put together from the row files at the end.
What is made depends only on the video, on the settings, whose digest names the folder, and on what somebody wrote into
review.csv there (`dfutils.faces.review`). A video that crashes or hangs what reads it becomes a row, too
(`dfutils.faces.workers`).
"""

import inspect
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from joblib import cpu_count

from dfutils.core.errors import InputError
from dfutils.core.files import digest, make_folder, read_json, remove_leftovers, write_json, write_table
from dfutils.core.params import Indexed, Params
from dfutils.core.progress import bar
from dfutils.faces import extraction, review
from dfutils.faces.detection import Box
from dfutils.faces.extraction import extract_clips
from dfutils.faces.strips import strip_names, write_strip
from dfutils.faces.workers import CRASHED, HUNG, run_each

FRAME_COLUMNS = [
    "video_id", "person", "position", "frame", "time_s", "x", "y", "w", "h", "score", "sharpness", "brightness",
    "face_px", "yaw", "pitch", "roll", "landmarks",
]  # fmt: skip

_VERSION = 1
"""Part of every signature: raise it when a change of the code changes strips."""


class _Job(NamedTuple):
    """One video to be done: all that another process must know."""

    video_id: str
    path: Path
    root: Path
    folder: Path
    settings: dict[str, Any]
    box: Box | None

    @property
    def row(self) -> Path:
        return self.folder / "rows" / f"{self.video_id}.json"


class Made(NamedTuple):
    """What preprocessing made of a dataset: both tables, with the columns that DESIGN's tables have.

    `reviewed` says what came of each action in review.csv: `video_id`, `action`, `result`. `folder` holds the strips.
    """

    videos: pd.DataFrame
    frames: pd.DataFrame
    reviewed: pd.DataFrame
    folder: Path


def settings(params: Params) -> dict[str, Any]:
    """Return the parameters that change a strip, by their names."""
    names = {"faces", *inspect.signature(extraction.extract).parameters}
    return {name: getattr(params, name) for name in Params.model_fields if name in names}


def signature(settings: dict[str, Any]) -> str:
    """Return the short name of everything that changes a strip: the settings and the version of this code."""
    return digest({"version": _VERSION, **settings})[:10]


def preprocess(
    dataset: Indexed,
    settings: dict[str, Any],
    *,
    workers: int = 0,
    video_timeout_s: float = 600.0,
    scheduler: str = "",
    progress: bool = True,
) -> Made:
    """Make the strips of all videos of a dataset that are not made yet, and the tables of all.

    Args:
        dataset: an indexed dataset.
        settings: as `settings` gives them.
        workers: processes; 0 is one a core. Each is held to one thread.
        video_timeout_s: a video that takes longer is given up.
        scheduler: address of a Dask scheduler, whose workers see the same folders under the same names; "" for local
            processes.
        progress: show a bar.

    Returns:
        The videos table with `status`, `reason`, `people` (how many were seen), `strip` (path below the folder of all
        datasets, "" if none) and `strips` (how many, see `strip_names`), the frames table, and what was reviewed. Both
        tables are written to `<folder>/faces/<signature>/` too, with review.csv beside them.

    Raises:
        InputError: if there is no video, a folder vanishes or cannot be written to, the disk is full, another run is at
            work on the same strips, review.csv has a mistake, or the cluster is gone. What is finished stays.
    """
    videos, folder = dataset.videos, dataset.folder / "faces" / signature(settings)
    if videos.empty:
        raise InputError(f"There are no videos in the index of {dataset.name} to preprocess: run notebook 01 again.")
    make_folder(folder / "rows")
    with _claimed(folder, dataset.name):
        for place in (folder, folder / "rows"):
            remove_leftovers(place)
        actions = review.actions(folder, set(videos["video_id"]))
        known = videos.loc[videos["status"] == "unreadable", ["video_id", "reason"]]
        known = {name: reason for name, reason in known.itertuples(index=False) if name not in actions}
        jobs = []
        for row in videos.itertuples():
            action = actions.get(row.video_id, review.Action(""))
            if row.video_id in known or action.verb == "exclude":
                continue
            job = _Job(row.video_id, dataset.root / row.path, dataset.root, folder, settings, action.box)
            if action.verb == "retry":
                _forget_failure(job.row)
            if not _is_done(job):
                jobs.append(job)
        count = min(workers or cpu_count(), max(len(jobs), 1))
        calls = [(job,) for job in jobs]
        done = run_each(_one, calls, workers=count, timeout_s=video_timeout_s, scheduler=scheduler)
        for k, lost in bar(done, total=len(jobs), desc="faces", unit="video") if progress and jobs else done:
            if lost:
                _give_up(jobs[k], lost, video_timeout_s)
        write_json(settings, folder / "settings.json")
        made = _compact(videos, folder, known, actions)
        review.renew(folder, made.videos)
    return made


@contextmanager
def _claimed(folder: Path, name: str) -> Iterator[None]:
    """Hold the folder for this run; the system lets go of it when the process ends, however it does."""
    lock = FileLock(folder / "run.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"Another run is preprocessing {name} with these settings: wait until it has ended, then run again."
        ) from None
    except OSError as error:
        raise InputError(f"{folder} cannot be written to: {error.strerror or error}.") from None
    try:
        yield
    finally:
        lock.release()


def _forget_failure(row: Path) -> None:
    try:
        if read_json(row)["status"] == "ok":
            return
    except (InputError, KeyError, TypeError):
        pass
    row.unlink(missing_ok=True)


def _one(job: _Job) -> None:
    """Write the strips and then the row file of one video, unless they are there."""
    for place in (job.root, job.row.parent):
        if not place.is_dir():
            raise InputError(
                f"The folder {place} is not there on {socket.gethostname()}: bring it back and run again; what is "
                "finished is kept."
            )
    if _is_done(job):  # on a cluster, a finished job whose worker dies is begun again
        return
    cv2.setNumThreads(1)
    try:
        clips = extract_clips(job.path, job.settings, job.box)
    except (cv2.error, MemoryError) as error:
        text = str(error).strip().partition("\n")[0] or type(error).__name__
        _write_row(job, "unreadable", f"{job.path.name} cannot be used: {text}.")
        return
    frames = []
    for person, (clip, name) in enumerate(zip(clips, strip_names(f"{job.video_id}.png", len(clips)), strict=True)):
        if len(clip.frames):
            write_strip(clip.frames, job.folder / name)
        frames += [{"person": person, **_finite(facts)} for facts in _facts(clip)]
    main = clips[0]
    rejected = [[int(frame), [float(side) for side in box], why] for frame, box, why in main.candidates]
    more = {"people": main.people, "n_read": main.n_read, "rejected": rejected, "frames": frames}
    _write_row(job, main.status, main.reason, len(clips), **more)


def _facts(clip: extraction.FaceClip) -> list[dict[str, Any]]:
    """Return what the frames table says of a clip's frames."""
    return [
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


def _write_row(job: _Job, status: str, reason: str, strips: int = 1, **more: Any) -> None:
    """Write the row file, which says that a video is done, with what, and from what."""
    row = {
        "people": 0,
        "n_read": 0,
        "rejected": [],
        "frames": [],
        **more,
        "status": status,
        "reason": reason,
        "strips": strips if status == "ok" else 0,
        "source": _source(job.path),
        "box": None if job.box is None else list(job.box),
    }
    write_json(row, job.row)


def _give_up(job: _Job, how: str, limit: float) -> None:
    """Write the row of a video that was lost."""
    reasons = {
        CRASHED: f"{job.path.name} ended the process that read it.",
        HUNG: f"{job.path.name} was given up after {limit:g} s (video_timeout_s).",
    }
    _write_row(job, "unreadable", reasons[how])


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


def _is_done(job: _Job) -> bool:
    """Whether a row tells of this very video, made as asked, and its strips are still there."""
    if not job.row.exists():
        return False
    try:
        known = read_json(job.row)
        strips = strip_names(f"{job.video_id}.png", known["strips"])
        same = known["source"] == _source(job.path) and known["box"] == (None if job.box is None else list(job.box))
    except (InputError, KeyError, TypeError):
        return False
    return same and all((job.folder / strip).exists() for strip in strips)


def _compact(videos: pd.DataFrame, folder: Path, known: dict[str, str], actions: dict[str, review.Action]) -> Made:
    """Put the row files together into the two tables."""
    rows, frames = [], []
    base = f"{folder.parents[1].name}/faces/{folder.name}"
    for video_id in videos["video_id"]:
        if video_id in actions and actions[video_id].verb == "exclude":
            rows.append(("excluded", f"excluded in {review.NAME}.", 0, "", 0))
            continue
        if video_id in known:
            rows.append(("unreadable", known[video_id], 0, "", 0))
            continue
        row = read_json(folder / "rows" / f"{video_id}.json")
        strip = f"{base}/{video_id}.png" if row["status"] == "ok" else ""
        rows.append((row["status"], row["reason"], row["people"], strip, row["strips"]))
        frames += [{"video_id": video_id, **fact} for fact in row["frames"]]
    columns = pd.DataFrame(rows, columns=["status", "reason", "people", "strip", "strips"], index=videos.index)
    counts = {"people": np.int32, "strips": np.int32}
    table = videos.drop(columns=["status", "reason"], errors="ignore").join(columns.astype(counts))
    frames_table = pd.DataFrame(frames, columns=FRAME_COLUMNS)
    numbers = FRAME_COLUMNS[4:-1]
    frames_table[numbers] = frames_table[numbers].astype(float)
    write_table(frames_table, folder / "frames.parquet")
    write_table(table, folder / "videos.parquet")
    return Made(table, frames_table, review.obeyed(actions, table), folder)
