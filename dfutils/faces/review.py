"""Review of the videos without a strip: actions that the user writes into `review.csv`, and frames to decide by.

The file lists every video without a strip with the reason. The user writes an action into its last column, and every
later run applies it. Columns and actions that the user wrote are never changed; an invalid line is reported in one
sentence that names it.
"""

import csv
import io
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from dfutils.core.errors import InputError
from dfutils.core.files import atomic, decode, read_json
from dfutils.faces import video
from dfutils.faces.detection import Box

NAME = "review.csv"
COLUMNS = ["video_id", "path", "status", "reason", "action"]
HELP = "write exclude, retry, or box x y w h (pixels of the video, from its upper left corner), or leave it empty"


class Action(NamedTuple):
    """An action for a video: `exclude`, `retry` (while it has no strip) or `box`, with x, y, w, h in source pixels."""

    verb: str
    box: Box | None = None

    def __str__(self) -> str:
        return " ".join([self.verb, *(f"{value:g}" for value in self.box or ())])


class _Sheet(NamedTuple):
    """The content of a review file."""

    columns: list[str]
    rows: list[tuple[int, dict[str, str]]]  # line number, values by column
    delimiter: str


def actions(folder: Path, known: Collection[str]) -> dict[str, Action]:
    """Return the actions in a folder's review.csv, by video id; empty if there is no such file.

    Args:
        folder: that of the strips.
        known: the ids of all videos.

    Raises:
        InputError: if the file cannot be read, or for an unknown action or video; the message names the line.
    """
    path = folder / NAME
    actions: dict[str, Action] = {}
    for line, row in _read(path).rows:
        text = " ".join(row["action"].split())
        if not text:
            continue
        where = f"{path}, line {line}"
        video_id = row["video_id"].strip()
        if video_id not in known:
            raise InputError(f"{where}: there is no video {video_id!r} in the dataset; correct or delete the line.")
        action = _parse(text)
        if action is None:
            raise InputError(f"{where}: {text!r} is no action; {HELP}.")
        if actions.setdefault(video_id, action) != action:
            raise InputError(f"{where}: {video_id} has another action on a line above; delete one of the two.")
    return actions


def _parse(text: str) -> Action | None:
    """Return the action that a text names, None if it names none."""
    words = re.split(r"[\s,]+", text.lower())
    if words in (["exclude"], ["retry"]):
        return Action(words[0])
    try:
        x, y, w, h = map(float, words[1:])
    except ValueError:
        return None
    usable = words[0] == "box" and np.isfinite([x, y, w, h]).all() and w >= 2 and h >= 2
    return Action("box", (x, y, w, h)) if usable else None


def _read(path: Path) -> _Sheet:
    """Return the content of a review file, with whichever delimiter a spreadsheet program saved it."""
    if not path.exists():
        return _Sheet(list(COLUMNS), [], ",")
    try:
        text = decode(path.read_bytes())
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path} cannot be read: save it as CSV in UTF-8, or delete it.") from None
    head, _, rest = text.partition("\n")
    stated = re.fullmatch(r"sep=(.)\r?", head)  # a line with which spreadsheet programs are told the delimiter
    text = rest if stated else text
    delimiter = stated[1] if stated else max(",;\t", key=head.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restkey="", restval="")
    columns = [name.strip() for name in reader.fieldnames or []]
    if not {"video_id", "action"} <= set(columns):
        raise InputError(f"{path} has no columns video_id and action: put them back, or delete the file.")
    reader.fieldnames = columns
    rows = [(reader.line_num + bool(stated), {name: row[name] or "" for name in columns}) for row in reader]
    return _Sheet(columns, rows, delimiter)


def update(folder: Path, videos: pd.DataFrame) -> None:
    """Update review.csv: add the videos without a strip, and remove those that have a strip and no action.

    Everything that the user wrote is kept, including what was written while the run was in progress.

    Args:
        folder: that of the strips.
        videos: videos table with `status` and `reason`.

    Raises:
        InputError: if the file cannot be written.
    """
    path = folder / NAME
    sheet = _read(path)
    current = {row["video_id"]: row for row in videos[COLUMNS[:-1]].to_dict("records")}
    lost = [name for name, row in current.items() if row["status"] not in ("ok", "excluded")]
    user_columns = set(sheet.columns) - set(COLUMNS[:-1])
    rows, listed = [], set()
    for _, row in sheet.rows:
        video_id = row["video_id"].strip()
        if video_id in lost or any(row[name].strip() for name in user_columns):
            rows.append(row | {name: v for name, v in current.get(video_id, {}).items() if name in sheet.columns})
            listed.add(video_id)
    rows += [current[name] for name in lost if name not in listed]
    if not rows and not path.exists():
        return
    text = io.StringIO(newline="")
    writer = csv.DictWriter(
        text, sheet.columns, delimiter=sheet.delimiter, restval="", extrasaction="ignore", lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(rows)
    content = text.getvalue().encode("utf-8-sig")  # spreadsheet programs recognise UTF-8 by the byte order mark
    if path.exists() and path.read_bytes() == content:
        return
    try:
        with atomic(path) as temporary:
            temporary.write_bytes(content)
    except PermissionError:
        raise InputError(f"{path} cannot be written: close it in other programs and run again.") from None


def applied(actions: dict[str, Action], videos: pd.DataFrame) -> pd.DataFrame:
    """Return one row per action, after it was applied: `video_id`, `action` and `result`."""
    states = videos.set_index("video_id")[["status", "reason"]]
    rows = []
    for video_id, action in sorted(actions.items()):
        status, reason = states.loc[video_id]
        result = {"ok": "has a strip", "excluded": "excluded"}.get(status, f"still {status}: {reason}")
        rows.append((video_id, str(action), result))
    return pd.DataFrame(rows, columns=["video_id", "action", "result"])


def review_frames(
    path: Path, folder: Path, video_id: str, max_frames: int, most: int = 6
) -> tuple[list[np.ndarray], list[list[tuple[tuple[float, ...], str]]]]:
    """Return frames of a video without a strip, and the detections in each.

    Args:
        path: the video.
        folder: that of the strips.
        video_id: the video's id in this folder.
        max_frames: the parameter with which the video was preprocessed.
        most: largest number of frames.

    Returns:
        Frames, RGB uint8 `(H, W, 3)`: about two thirds evenly spaced over those that were read, one third with
        detections; and for each frame its detections, each a box `(x, y, w, h)` in pixels and the reason why it was
        rejected, or "a valid face". Both are empty if the video cannot be read.
    """
    row = read_json(folder / "rows" / f"{video_id}.json")
    detections: dict[int, list[tuple[tuple[float, ...], str]]] = {}
    for index, box, reason in row["rejected"]:
        detections.setdefault(index, []).append((tuple(box), reason))
    for face in row["frames"]:
        detections.setdefault(face["frame"], []).append((tuple(face[side] for side in "xywh"), "a valid face"))
    chosen = _evenly(range(max(row["n_read"], 1)), most - most // 3) | _evenly(sorted(detections), most // 3)
    try:
        frames = list(video.frames(path, max_frames, wanted=chosen))
    except video.VideoError:
        return [], []
    return [frame for _, _, frame in frames], [detections.get(index, []) for index, _, _ in frames]


def _evenly(indices: Sequence[int], most: int) -> set[int]:
    """Return at most `most` of the indices, evenly spaced."""
    positions = np.linspace(0, len(indices) - 1, min(most, len(indices))).round().astype(int) if len(indices) else []
    return {int(indices[k]) for k in positions}
