"""The commands `predict`, `serve` and `publish`, apart from parsing their arguments.

Verdicts are written to standard output, progress and warnings to standard error, so that verdicts can be piped.
"""

import csv as tables
import glob
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import typer
from tqdm import tqdm

from dfutils.core.errors import InputError
from dfutils.core.files import make_folder, read_json, writing
from dfutils.core.paths import PICTURES, files_below, printable
from dfutils.serving.verdict_text import text

_COLUMNS = [
    "file",
    "status",
    "decision",
    "prediction",
    "probability_fake",
    "threshold",
    "rank",
    "windows",
    "persons",
    "start_s",
    "end_s",
    "sure",
    "reason",
    "model",
    "version",
    "warnings",
]


def predict(
    videos: list[str],
    model: str,
    *,
    as_json: bool,
    csv: Path | None,
    explain: Path | None,
    report: Path | None = None,
    first: int | None = None,
    budget: float | None = None,
    every: float | None = None,
) -> bool:
    """Judge videos and write the verdicts; return whether all of them were scored.

    A video that is judged when the user interrupts (Ctrl-C) is the last one; its verdict says how far it got.

    Args:
        videos: files, folders and patterns, as `find_videos` takes them.
        model: a detector's folder, published weights, or hf://owner/name; "" for the suite's own.
        as_json: write one line of JSON per video in place of text.
        csv: write a table with one row per video to this file, too.
        explain: write a one-file HTML report per video into this folder, too.
        report: write a page that lists all videos, and a report of each, into this folder, too (`triage`).
        first, budget, every: as in `verdict.predict_video` and `whole_video.Plan`.

    Raises:
        InputError: if an argument names no video, there is no such detector, or what is asked for cannot be written.
    """
    from dfutils.core import detectors
    from dfutils.core.progress import bar
    from dfutils.serving import hub

    paths = find_videos(videos)
    reports = _reports(paths, explain)
    detector = hub.load(model or detectors.SHIPPED)  # says what is wrong with a name before it imports PyTorch
    from dfutils.serving import triage, verdict_html
    from dfutils.serving import verdict as verdicts

    limits = verdicts.warnings_of(detector)
    sys.stderr.writelines(f"dfutils: {limit}\n" for limit in limits if as_json)
    escape = (sys.stdout.encoding or "").lower() != "utf-8"  # an escaped letter stays valid JSON
    scored = 0
    listed = triage.opened(report) if report else nullcontext()
    with listed as page, _table(csv) as write_row, bar(total=len(paths), desc="predict", unit="video") as progress:
        for path, verdict in _verdicts(paths, detector, progress, first, budget, every):
            values = verdict.to_dict() | {"file": printable(path)}
            scored += values["status"] == "ok"
            write_row(values)
            with progress.external_write_mode(file=sys.stdout):
                typer.echo(json.dumps(values, ensure_ascii=escape) if as_json else text(values, limits))
            heat = verdict_html.heat(detector, verdict) if explain or page else {}
            if explain:
                verdict_html.write(verdict, reports[path], heat)
            if page:
                page.add(path, verdict, heat)
    if not as_json:
        typer.echo("\n".join(limits))
    if scored < len(paths):
        sys.stderr.write(f"dfutils: {len(paths) - scored} of {len(paths)} videos could not be judged.\n")
    return scored == len(paths)


def _verdicts(
    paths: list[Path], detector: Any, progress: tqdm, first: int | None, budget: float | None, every: float | None
) -> Iterator[tuple[Path, Any]]:
    """Yield each video and the verdict on it; the bar counts videos, and parts of the one that is judged.

    Raises:
        KeyboardInterrupt: after the verdict that a user has interrupted.
    """
    from dfutils.faces.whole_video import Plan
    from dfutils.serving import verdict as verdicts

    def show(number: int, done: float) -> None:
        progress.n = round(number + done, 2)
        progress.refresh()

    for number, path in enumerate(paths):
        verdict = verdicts.predict_video(path, detector, first, Plan(budget, every), partial(show, number))
        yield path, verdict
        show(number, 1.0)
        if verdict.stopped:
            raise KeyboardInterrupt


def find_videos(names: list[str]) -> list[Path]:
    """Return the videos that names stand for, each once, in order.

    Args:
        names: files, folders (searched recursively, for pictures too) and patterns such as `clips/*.mp4`.

    Raises:
        InputError: if one of them stands for no video.
    """
    paths: dict[Path, None] = {}
    for name in names:
        if re.match(r"[A-Za-z]+://", name):
            raise InputError(f"{name} is an address: download the video, and give the file.")
        path = Path(name)
        if path.is_dir():
            videos = sorted(path / video for video in {*files_below(path), *files_below(path, PICTURES)})
        elif path.exists():
            videos = [path]
        else:
            videos = [Path(match) for match in sorted(glob.glob(name, recursive=True)) if os.path.isfile(match)]
        if not videos:
            raise InputError(f"{printable(name)} is no video, no folder with videos and no pattern that fits any.")
        paths |= dict.fromkeys(videos)
    return list(paths)


@contextmanager
def _table(path: Path | None) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yield a function that writes the row of a verdict to a CSV file at once, or nowhere if there is no path.

    Raises:
        InputError: if the file cannot be written.
    """
    if path is None:
        yield lambda row: None
        return
    make_folder(path.parent)
    advice = "make room, close it in other programs, or give another file."
    written = partial(writing, f"The table {path} cannot be written", advice)
    with written():
        file = path.open("w", encoding="utf-8", newline="", buffering=1)
    try:
        writer = tables.DictWriter(file, _COLUMNS, extrasaction="ignore", lineterminator="\n")
        with written():
            writer.writeheader()

        def write_row(row: dict[str, Any]) -> None:
            plain = {"persons": len(row["persons"]), "model": row["model"]["name"], "version": row["model"]["version"]}
            rank = row["rank"] and f"{row['rank']['as_high']} of {row['rank']['of']}"
            with written():
                writer.writerow(row | plain | {"rank": rank, "warnings": " ".join(row["warnings"])})

        yield write_row
    finally:
        with suppress(OSError):  # of a line that could not be written; whole ones have been
            file.close()


def _reports(paths: list[Path], folder: Path | None) -> dict[Path, Path]:
    """Make a folder and return where in it each video's report goes, no two equal, in lower case too; {} for None."""
    names: dict[Path, Path] = {}
    taken: set[str] = set()
    if folder is None:
        return names
    make_folder(folder)
    for path in paths:
        name, number = f"{path.stem}.html", 2
        while name.lower() in taken:
            name, number = f"{path.stem}-{number}.html", number + 1
        taken.add(name.lower())
        names[path] = folder / name
    return names


def serve(model: str, host: str, port: int, origins: list[str], root: str) -> None:
    """Serve a detector until the process is stopped; the arguments are those of `web_page.serve`.

    Raises:
        InputError: if there is no such detector, it cannot be loaded, or the port is taken.
    """
    from dfutils.core import detectors
    from dfutils.serving import web_page

    model = model or str(detectors.SHIPPED)
    if not model.startswith(detectors.PREFIX):
        detectors.find(model)
    web_page.serve(model, host, port, origins=origins, examples=examples(), root=root, report=typer.echo)


def examples(count: int = 4) -> list[Path]:
    """Return some videos of the built-in sample, real and fake in turn; none if it was not made on this machine."""
    from dfutils.core.params import ROOT

    for name in ("sample", "tiny"):
        folder = ROOT / "data" / name / "videos"
        classes = [sorted(folder.glob(pattern)) for pattern in ("real/*.mp4", "fake/*/*.mp4")]
        if all(classes):
            chosen = [[videos[(2 * k + 1) * len(videos) // count] for k in range(count // 2)] for videos in classes]
            return [path for pair in zip(*chosen, strict=True) for path in pair]
    return []


def publish(model: Path, repo: str, metrics: Path | None, *, private: bool, dry_run: bool, half: bool) -> str:
    """Write the folder to publish and, unless `dry_run`, upload it; return a sentence that says what was done.

    `metrics` is None for those of the experiment that trained the detector; the other arguments and the errors are
    those of `hub.prepare` and `hub.publish`.
    """
    from dfutils.core.params import ROOT
    from dfutils.serving import hub

    if metrics is None:
        config = model / "config.json"
        experiment = read_json(config).get("training", {}).get("experiment", "") if config.is_file() else ""
        metrics = ROOT / "reports" / (experiment or model.resolve().parent.name) / "metrics.json"
    folder = hub.prepare(model, metrics, model.resolve().parent / "published", repo, half)
    if dry_run:
        return f"Ready to be published, and not yet: {folder}"
    return f"Published: --model {hub.publish(folder, repo, private)}"
