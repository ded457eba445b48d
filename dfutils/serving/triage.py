"""A folder of reports with one page that lists them, the most suspicious video first: offline, in one file.

`verdicts.jsonl` in the folder holds a line for each verdict, appended as soon as it is there, and `index.html` is
written anew every few seconds from all of them. So an interrupted run leaves a page of what was judged, and later runs
into the same folder add to it; a video that is judged again replaces its earlier verdict.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np
from markupsafe import Markup

from dfutils.core.errors import InputError
from dfutils.core.files import atomic, locked, make_folder, writing
from dfutils.core.paths import printable, video_id, with_suffix
from dfutils.serving import timeline, verdict_html
from dfutils.serving.verdict import LIMITS, Verdict

PAUSE_S = 5.0
"""Seconds between two writings of the page, at least; a long page is written less often still."""

_THUMBNAIL = 96


class Triage:
    """The folder while a run writes into it; `rows` holds a row for each video, by its absolute path."""

    def __init__(self, folder: Path) -> None:
        """Read what earlier runs have left in a folder.

        Raises:
            InputError: if the folder holds an index.html that is not of earlier runs, or cannot be read.
        """
        self.folder, self._log = folder, folder / "verdicts.jsonl"
        advice = "make room; verdicts until here are kept."
        self._writing = partial(writing, f"{folder} cannot be written to", advice)
        self.rows: dict[str, dict[str, Any]] = {}
        if (folder / "index.html").exists() and not self._log.is_file():
            raise InputError(f"{folder} holds an index.html that is no page of verdicts: name another folder.")
        for line in self._lines():
            with suppress(ValueError, KeyError, TypeError):  # the last line of a run that was killed may be cut
                row = json.loads(line)
                self.rows[row["key"]] = row
        self._names = {row["report"].lower(): key for key, row in self.rows.items()}
        self._due = 0.0
        self._cut = self._log.exists() and not self._log.read_bytes().endswith(b"\n")

    def _lines(self) -> list[str]:
        try:
            return self._log.read_text(encoding="utf-8").splitlines() if self._log.exists() else []
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{self._log} cannot be read ({error}): name another folder.") from None

    def add(self, path: Path, verdict: Verdict, heat: Mapping[int, np.ndarray]) -> None:
        """Write the report of a verdict and its row, and the page if it is due.

        Raises:
            InputError: if the disk is full, or the folder cannot be written to.
        """
        key = str(path.resolve())
        report = self._name(path, key)
        with self._writing():
            verdict_html.write(verdict, self.folder / report, heat)
            values = {**verdict.to_dict(), "file": printable(path), "frames": []}
            row = {"key": key, "report": report, "thumbnail": _thumbnail(verdict), "verdict": values}
            with self._log.open("a", encoding="utf-8") as log:
                log.write("\n" * self._cut + json.dumps(row) + "\n")
            self._cut = False
        self.rows[key] = row
        if time.monotonic() >= self._due:
            began = time.monotonic()
            self.write()
            self._due = time.monotonic() + max(PAUSE_S, 20 * (time.monotonic() - began))

    def _name(self, path: Path, key: str) -> str:
        """Return the name of a video's report in the folder: that of its file, unless another video has it."""
        if key in self.rows:
            return self.rows[key]["report"]
        name = video_id(path.name)
        report = f"reports/{name}.html"
        if report.lower() in self._names:
            report = f"reports/{with_suffix(name, key)}.html"
        self._names[report.lower()] = key
        return report

    def write(self) -> None:
        """Write the page of all rows, whole or not at all.

        Raises:
            InputError: if the disk is full, or the folder cannot be written to.
        """
        with self._writing(), atomic(self.folder / "index.html") as temporary:
            temporary.write_text(page(list(self.rows.values())), encoding="utf-8")


@contextmanager
def opened(folder: Path) -> Iterator[Triage]:
    """Yield the triage of a folder, for one run at a time; its page is written when the block ends, however it ends.

    Raises:
        InputError: if the folder cannot be made, another run writes into it, or as `Triage`.
    """
    with locked(make_folder(folder) / ".lock", f"writing into {folder}"):
        triage = Triage(folder)
        try:
            yield triage
        finally:
            if triage.rows:
                triage.write()


def _thumbnail(verdict: Verdict) -> str:
    """Return the most telling face of a verdict as a small JPEG, as a data URI; "" if there is none."""
    if not len(verdict.strip):
        return ""
    face = verdict.strip[verdict_html.furthest(verdict.frame_scores, verdict.threshold)]
    small = cv2.resize(face, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA)
    return verdict_html.as_uri(small, ".jpg", 75)


def _detector(row: Mapping[str, Any]) -> str:
    model = row["verdict"]["model"]
    return f"{model['name']}, weights {model['version']}"


def page(rows: list[dict[str, Any]]) -> str:
    """Return the page of rows as HTML, the most suspicious video first, and at the end those that were not judged."""
    scored = [row for row in rows if row["verdict"]["decision"]]
    scored.sort(key=lambda row: (-row["verdict"]["probability_fake"], row["verdict"]["file"]))
    lost = sorted((row for row in rows if not row["verdict"]["decision"]), key=lambda row: row["verdict"]["file"])
    said: dict[str, list[list[str]]] = {}
    for row in rows:
        said.setdefault(_detector(row), []).append(row["verdict"]["warnings"])
    common = {name: [text for text in lists[0] if all(text in of for of in lists)] for name, lists in said.items()}
    return verdict_html.TEMPLATES.get_template("triage.html.j2").render(
        style=Markup((verdict_html.FOLDER / "verdict.css").read_text(encoding="utf-8")),
        scored=scored,
        lost=lost,
        counts=Counter(row["verdict"]["decision"] for row in scored),
        common=common,
        detector=_detector,
        limits=LIMITS,
        sides=timeline.CLASSES,
        timeline=timeline.svg,
        headlines=verdict_html.HEADLINES,
        link=quote,
        clock=timeline.clock,
    )
