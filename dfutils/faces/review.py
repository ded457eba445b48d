"""What a person says of the videos whose face was not found: `review.csv`, and the pictures to judge by.

The file lists every video without a strip, beside the table of their reasons. Whoever looks at them writes an action
into its last column, and every later run obeys it. The file is the reader's: columns and actions that stand in it stay
as they are, and a mistake in it is said in one sentence that names the line.
"""

import csv
import io
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dfutils.core.errors import InputError
from dfutils.core.files import atomic, read_json
from dfutils.faces import video
from dfutils.faces.detection import Box

NAME = "review.csv"
COLUMNS = ["video_id", "path", "status", "reason", "action"]
HELP = "write exclude, retry, or box x y w h (pixels of the video, from its upper left corner), or leave it empty"


class Action(NamedTuple):
    """What is to be done with a video: `exclude`, `retry` (as long as it has no strip) or `box`, with its box."""

    verb: str
    box: Box | None = None

    def __str__(self) -> str:
        return " ".join([self.verb, *(f"{value:g}" for value in self.box or ())])


class _Sheet(NamedTuple):
    """The file as it stands."""

    columns: list[str]
    rows: list[tuple[int, dict[str, str]]]  # with the number of the line
    delimiter: str


def actions(folder: Path, known: Collection[str]) -> dict[str, Action]:
    """Return the actions written in a folder's review.csv, by video id; none if there is no such file.

    Args:
        folder: that of the strips.
        known: the ids of all videos.

    Raises:
        InputError: for an action or a video that there is not, naming the line.
    """
    path, found = folder / NAME, {}
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
        if found.setdefault(video_id, action) != action:
            raise InputError(f"{where}: {video_id} has another action on a line above; delete one of the two.")
    return found


def _parse(text: str) -> Action | None:
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
    """Read the file, whatever spreadsheet program last wrote it."""
    if not path.exists():
        return _Sheet(list(COLUMNS), [], ",")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path} cannot be read: save it as CSV in UTF-8, or delete it.") from None
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restkey="", restval="")
    columns = [name.strip() for name in reader.fieldnames or []]
    if not {"video_id", "action"} <= set(columns):
        raise InputError(f"{path} has no columns video_id and action: put them back, or delete the file.")
    reader.fieldnames = columns
    rows = [(reader.line_num, {name: row[name] or "" for name in columns}) for row in reader]
    return _Sheet(columns, rows, delimiter)


def renew(folder: Path, videos: pd.DataFrame) -> None:
    """Bring the list up to date: add the videos that have no strip, take out those that have one and no action.

    What somebody wrote is kept, even if that was since the run began.

    Args:
        folder: that of the strips.
        videos: videos table with `status` and `reason`.

    Raises:
        InputError: if the file cannot be written.
    """
    path = folder / NAME
    sheet = _read(path)
    now = {row["video_id"]: row for row in videos[COLUMNS[:-1]].to_dict("records")}
    lost = [name for name, row in now.items() if row["status"] not in ("ok", "excluded")]
    own = set(sheet.columns) - set(COLUMNS[:-1])
    rows, listed = [], set()
    for _, row in sheet.rows:
        video_id = row["video_id"].strip()
        if video_id in lost or any(row[name].strip() for name in own):
            facts = {name: value for name, value in now.get(video_id, {}).items() if name in sheet.columns}
            rows.append(row | facts)
            listed.add(video_id)
    rows += [now[name] for name in lost if name not in listed]
    if not rows and not path.exists():
        return
    text = io.StringIO(newline="")
    writer = csv.DictWriter(
        text, sheet.columns, delimiter=sheet.delimiter, restval="", extrasaction="ignore", lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(rows)
    content = text.getvalue().encode("utf-8-sig")  # the mark tells spreadsheet programs that it is UTF-8
    if path.exists() and path.read_bytes() == content:
        return
    try:
        with atomic(path) as temporary:
            temporary.write_bytes(content)
    except PermissionError:
        raise InputError(f"{path} cannot be written: close it in other programs and run again.") from None


def obeyed(found: dict[str, Action], videos: pd.DataFrame) -> pd.DataFrame:
    """Return what came of each action: a table with `video_id`, `action` and `result`."""
    status = videos.set_index("video_id")[["status", "reason"]]
    rows = []
    for video_id, action in sorted(found.items()):
        state, reason = status.loc[video_id]
        result = {"ok": "has a strip", "excluded": "excluded"}.get(state, f"still {state}: {reason}")
        rows.append((video_id, str(action), result))
    return pd.DataFrame(rows, columns=["video_id", "action", "result"])


def review_frames(
    path: Path, folder: Path, video_id: str, max_frames: int, most: int = 6
) -> tuple[list[np.ndarray], list[list[tuple[tuple[float, ...], str]]]]:
    """Return what a person needs to see of a video that gave no strip.

    Args:
        path: the video.
        folder: that of the strips.
        video_id: the video's id in it.
        max_frames: that it was preprocessed with.
        most: frames to show.

    Returns:
        Evenly spaced frames, RGB, of those that were read, with some in which something was found, and for each the
        boxes `(x, y, w, h)` in its pixels of what was taken for a face, each with why it was rejected, or that it is
        valid. Empty for a video that cannot be read.
    """
    row = read_json(folder / "rows" / f"{video_id}.json")
    found: dict[int, list[tuple[tuple[float, ...], str]]] = {}
    for frame, box, why in row["rejected"]:
        found.setdefault(frame, []).append((tuple(box), why))
    for fact in row["frames"]:
        found.setdefault(fact["frame"], []).append((tuple(fact[side] for side in "xywh"), "a valid face"))
    chosen = _evenly(range(max(row["n_read"], 1)), most - most // 3) | _evenly(sorted(found), most // 3)
    try:
        looked_at = list(video.frames(path, max_frames, wanted=chosen))
    except video.VideoError:
        return [], []
    return [frame for _, _, frame in looked_at], [found.get(index, []) for index, _, _ in looked_at]


def _evenly(indices: Any, most: int) -> set[int]:
    """Return at most `most` of the indices, evenly spread."""
    places = np.linspace(0, len(indices) - 1, min(most, len(indices))).round().astype(int) if len(indices) else []
    return {int(indices[k]) for k in places}
