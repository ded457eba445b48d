"""Preprocessing of a dataset: a strip of faces for each video, computed once, on all cores or a cluster.

For each video its strips (PNG) are written first and then a small row file (JSON), which marks the video as finished. A
run that was interrupted resumes with the videos that have no row file; at the end the frames table and the videos table
are assembled from the row files. The results depend only on the video, on the settings, whose digest names the folder,
and on the actions in the folder's review.csv (`dfutils.faces.review`). A video that crashes or hangs the process that
reads it has a row file too (`dfutils.faces.workers`).
"""

import socket
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd
from joblib import cpu_count

from dfutils.core.errors import InputError
from dfutils.core.files import digest, locked, make_folder, read_json, remove_leftovers, write_json, write_table
from dfutils.core.params import FaceSettings, Indexed, PreprocessSettings, split_list
from dfutils.core.progress import bar
from dfutils.faces import review, views
from dfutils.faces.detection import Box
from dfutils.faces.extraction import FaceClip, extract
from dfutils.faces.strips import strip_names, view_strip, write_strip
from dfutils.faces.workers import CRASHED, HUNG, call_each

FRAME_COLUMNS = [
    "video_id", "person", "position", "frame", "time_s", "x", "y", "w", "h", "score", "sharpness", "brightness",
    "face_px", "yaw", "pitch", "roll", "landmarks",
]  # fmt: skip

_VERSION = 1
"""Part of every signature; increase it when a change of the code changes strips."""


class _Job(NamedTuple):
    """One video to preprocess, as plain values for another process."""

    video_id: str
    path: Path
    root: Path
    folder: Path
    settings: FaceSettings
    box: Box | None

    @property
    def row(self) -> Path:
        """Path of the row file."""
        return self.folder / "rows" / f"{self.video_id}.json"


class Preprocessed(NamedTuple):
    """The results of preprocessing a dataset, as `preprocess` returns them.

    Attributes:
        videos: the videos table with `status`, `reason`, `people` (how many were seen), `strip` (path below the folder
            of all datasets, "" if none) and `strips` (how many, see `strip_names`).
        frames: the frames table, one row per crop, with `FRAME_COLUMNS`.
        reviewed: one row per action in review.csv: `video_id`, `action`, `result`.
        folder: that of the strips.
    """

    videos: pd.DataFrame
    frames: pd.DataFrame
    reviewed: pd.DataFrame
    folder: Path


def signature(settings: Mapping[str, Any]) -> str:
    """Return 10 hexadecimal digits that name everything that changes a strip: its settings, and this code's version.

    The settings are plain values, because they also come out of the record of an experiment that an earlier version of
    the suite has preprocessed.
    """
    settings = {name: value for name, value in settings.items() if name != "views"}  # their strips lie beside
    return digest({"version": _VERSION, **settings})[:10]


def preprocess(dataset: Indexed, settings: PreprocessSettings, *, progress: bool = True) -> Preprocessed:
    """Return the tables of a dataset's faces, after writing the strips that do not exist yet.

    Strips, tables and review.csv are written to `<folder of the dataset>/faces/<signature>/`.

    Args:
        dataset: an indexed dataset.
        settings: how faces are extracted, and by how many processes, each with one thread. The workers of a `scheduler`
            must see the same folders under the same paths. A video that takes too long becomes `unreadable`.

    Raises:
        InputError: if there is no video, a folder is missing or cannot be written to, the disk is full, another run is
            preprocessing the same strips, review.csv is invalid, or the cluster is lost. Finished videos are kept.
    """
    face_settings = settings.face_settings
    videos, folder = dataset.videos, dataset.folder / "faces" / signature(face_settings.model_dump())
    if videos.empty:
        raise InputError(f"There are no videos in the index of {dataset.name} to preprocess: run notebook 01 again.")
    make_folder(folder / "rows")
    with locked(folder / "run.lock", f"preprocessing {dataset.name} with these settings"):
        for leftovers in (folder, folder / "rows"):
            remove_leftovers(leftovers)
        actions = review.actions(folder, set(videos["video_id"]) | dataset.left_out)
        actions = {name: action for name, action in actions.items() if name not in dataset.left_out}
        unreadable = videos.loc[videos["status"] == "unreadable", ["video_id", "reason"]]
        unreadable = {name: reason for name, reason in unreadable.itertuples(index=False) if name not in actions}
        jobs = _open_jobs(dataset, folder, face_settings, unreadable, actions)
        count = min(settings.workers or cpu_count(), max(len(jobs), 1))
        calls = [(job,) for job in jobs]
        timeout_s = settings.video_timeout_s
        ended = call_each(_extract_one, calls, workers=count, timeout_s=timeout_s, scheduler=settings.scheduler)
        for k, failure in bar(ended, total=len(jobs), desc="faces", unit="video") if progress and jobs else ended:
            if failure:
                _write_failure(jobs[k], failure, timeout_s)
        write_json(face_settings.model_dump(), folder / "settings.json")
        results = _assemble(videos, folder, unreadable, actions, split_list(face_settings.views))
        review.update(folder, results.videos)
    return results


def _open_jobs(
    dataset: Indexed,
    folder: Path,
    settings: FaceSettings,
    unreadable: Collection[str],
    actions: dict[str, review.Action],
) -> list[_Job]:
    """Return the videos that are still to be preprocessed, without those that are `unreadable` or excluded."""
    jobs = []
    for row in dataset.videos.itertuples():
        action = actions.get(row.video_id, review.Action(""))
        if row.video_id in unreadable or action.verb == "exclude":
            continue
        job = _Job(row.video_id, dataset.root / row.path, dataset.root, folder, settings, action.box)
        if action.verb == "retry":
            _remove_failed_row(job.row)
        if not _is_done(job):
            jobs.append(job)
    return jobs


def _remove_failed_row(row: Path) -> None:
    """Remove the row file of a video whose status is not ok, so that the video is preprocessed again."""
    try:
        if read_json(row)["status"] == "ok":
            return
    except (InputError, KeyError, TypeError):
        pass
    row.unlink(missing_ok=True)


def _extract_one(job: _Job) -> None:
    """Write the strips and then the row file of one video, unless they exist.

    Raises:
        InputError: if the folder of the videos or of the row files is missing on this machine.
    """
    for folder in (job.root, job.row.parent):
        if not folder.is_dir():
            raise InputError(
                f"The folder {folder} is missing on {socket.gethostname()}: restore it and run again; finished videos "
                "are kept."
            )
    if _is_done(job):  # on a cluster, a finished job whose worker died is called again
        return
    cv2.setNumThreads(1)
    try:
        if _is_done(job, ["face"]):  # by a run that asked for fewer views
            return _add_views(job)
        clips = extract(job.path, job.settings, job.box)
    except (cv2.error, MemoryError) as error:
        text = str(error).strip().partition("\n")[0] or type(error).__name__
        _write_row(job, "unreadable", f"{job.path.name} cannot be used: {text}.")
        return
    frames = []
    for person, (clip, name) in enumerate(zip(clips, strip_names(f"{job.video_id}.png", len(clips)), strict=True)):
        if len(clip.frames):
            write_strip(clip.frames, job.folder / name)
        _write_views(job, name, clip.views)
        frames += [{"person": person, **_without_nan(row)} for row in _frame_rows(clip)]
    main = clips[0]
    rejected = [[int(frame), [float(side) for side in box], why] for frame, box, why in main.candidates]
    fields = {"people": main.people, "n_read": main.n_read, "rejected": rejected, "frames": frames}
    fields |= {"views": _possible(job, main.views)}
    _write_row(job, main.status, main.reason, len(clips), **fields)


def _add_views(job: _Job) -> None:
    """Write the strips of the views that a finished video lacks, of the faces that were found then."""
    row = read_json(job.row)
    frames = pd.DataFrame(row["frames"], columns=["person", "frame", *"xywh"])
    cuts = [(rows["frame"].tolist(), rows[[*"xywh"]].to_numpy(float)) for _, rows in frames.groupby("person")]
    found = views.read(job.path, cuts, split_list(job.settings.views), job.settings.max_frames)
    for name, crops in zip(strip_names(f"{job.video_id}.png", row["strips"]), found, strict=True):
        _write_views(job, name, crops)
    write_json({**row, "views": _possible(job, found[0])}, job.row)


def _write_views(job: _Job, strip: str, crops: Mapping[str, np.ndarray]) -> None:
    for view, cells in crops.items():
        write_strip(cells, job.folder / view_strip(strip, view))


def _possible(job: _Job, crops: Collection[str]) -> dict[str, bool]:
    """Return which of the views that were asked for a video has."""
    return {view: view == "face" or view in crops for view in split_list(job.settings.views)}


def _frame_rows(clip: FaceClip) -> list[dict[str, Any]]:
    """Return one row of the frames table per frame of a clip, without `video_id` and `person`."""
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


def _write_row(job: _Job, status: str, reason: str, strips: int = 1, **fields: Any) -> None:
    """Write the row file of a video: its results, and the state of the file from which they were computed."""
    row = {
        "people": 0,
        "n_read": 0,
        "rejected": [],
        "frames": [],
        "views": _possible(job, []),
        **fields,
        "status": status,
        "reason": reason,
        "strips": strips if status == "ok" else 0,
        "source": _file_state(job.path),
        "box": None if job.box is None else list(job.box),
    }
    write_json(row, job.row)


def _write_failure(job: _Job, failure: str, timeout_s: float) -> None:
    """Write the row file of a video that ended its process or did not end within `timeout_s`."""
    reasons = {
        CRASHED: f"{job.path.name} ended the process that read it.",
        HUNG: f"{job.path.name} was given up after {timeout_s:g} s (video_timeout_s).",
    }
    _write_row(job, "unreadable", reasons[failure])


def _without_nan(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values with None for NaN, which JSON cannot represent."""
    return {name: None if isinstance(value, float) and value != value else value for name, value in values.items()}


def _file_state(path: Path) -> list[int]:
    """Return size and modification time (ns) of a file, which identify its content; empty if it is missing."""
    try:
        stat = path.stat()
    except OSError:
        return []
    return [stat.st_size, stat.st_mtime_ns]


def _is_done(job: _Job, wanted: Sequence[str] = ()) -> bool:
    """Return whether the row file belongs to the present file and box of the job, and all its strips exist.

    They are those of the views `wanted`, without any those of the job.
    """
    if not job.row.exists():
        return False
    try:
        row = read_json(job.row)
        strips = strip_names(f"{job.video_id}.png", row["strips"])
        same = row["source"] == _file_state(job.path) and row["box"] == (None if job.box is None else list(job.box))
        possible = row.get("views", {"face": True})  # earlier versions had no other
    except (InputError, KeyError, TypeError):
        return False
    views_wanted = wanted or split_list(job.settings.views)
    if not same or (row["status"] == "ok" and not set(views_wanted) <= set(possible)):
        return False
    paths = [view_strip(strip, view) for strip in strips for view in views_wanted if possible.get(view)]
    return all((job.folder / path).exists() for path in paths)


def _assemble(
    videos: pd.DataFrame,
    folder: Path,
    unreadable: dict[str, str],
    actions: dict[str, review.Action],
    names: list[str],
) -> Preprocessed:
    """Return the results of all videos, after writing both tables from the row files."""
    rows, frames = [], []
    base = f"{folder.parents[1].name}/faces/{folder.name}"
    for video_id in videos["video_id"]:
        if video_id in actions and actions[video_id].verb == "exclude":
            rows.append(("excluded", f"excluded in {review.NAME}.", 0, "", 0, ""))
            continue
        if video_id in unreadable:
            rows.append(("unreadable", unreadable[video_id], 0, "", 0, ""))
            continue
        row = read_json(folder / "rows" / f"{video_id}.json")
        strip = f"{base}/{video_id}.png" if row["status"] == "ok" else ""
        possible = row.get("views", {"face": True})
        shown = ",".join(view for view in names if possible.get(view) and strip)
        rows.append((row["status"], row["reason"], row["people"], strip, row["strips"], shown))
        frames += [{"video_id": video_id, **frame} for frame in row["frames"]]
    columns = pd.DataFrame(rows, columns=["status", "reason", "people", "strip", "strips", "views"], index=videos.index)
    columns = columns.drop(columns=["views"] if names == ["face"] else [])
    counts = {"people": np.int32, "strips": np.int32}
    table = videos.drop(columns=["status", "reason", "views"], errors="ignore").join(columns.astype(counts))
    frames_table = pd.DataFrame(frames, columns=FRAME_COLUMNS)
    numbers = FRAME_COLUMNS[4:-1]
    frames_table[numbers] = frames_table[numbers].astype(float)
    write_table(frames_table, folder / "frames.parquet")
    write_table(table, folder / "videos.parquet")
    return Preprocessed(table, frames_table, review.applied(actions, table), folder)
