"""Notebooks run end to end: parameters in, executed notebooks and pages out.

papermill runs each notebook in a kernel of its own; what passes between them lies in files. A stage that fails leaves
its notebook, with the error in it, and everything that earlier stages made.
"""

import os
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import papermill
from papermill.exceptions import PapermillExecutionError
from tqdm import tqdm

from dfutils.core.errors import InputError
from dfutils.core.files import make_folder, read_json, write_json
from dfutils.core.params import Params, lasting
from dfutils.core.progress import BATCH
from dfutils.core.stages import DEFAULT_STAGES, STAGES, provenance
from dfutils.reporting import html, overview

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


class StageError(RuntimeError):
    """A notebook's cell failed; its text says which, why, and where to look."""


def choose(first: str = "", only: str = "") -> list[str]:
    """Return the stages to run: the usual ones, those of them from `first` on, or `only` one.

    A `first` that is none of the usual ones is run with those after it.

    Raises:
        InputError: for an unknown stage, or both.
    """
    names = list(STAGES)
    if first and only:
        raise InputError("--from and --only cannot be given together: choose one.")
    for name in (first, only):
        if name and name not in names:
            raise InputError(f"There is no stage {name!r}; the stages are {', '.join(names)}.")
    if only:
        return [only]
    usual = [name for name in names if name in DEFAULT_STAGES]
    if first and first not in usual:
        return names[names.index(first) :]
    return usual[usual.index(first) :] if first else usual


def run(params: Params, stages: list[str]) -> Path:
    """Execute the notebooks of `stages`, render their pages and the index, and return the path of `index.html`.

    Raises:
        StageError: when a cell fails. What finished before stays, and the index says what failed.
        InputError: if the report's folder cannot be written to.
    """
    folder = make_folder(params.report_folder)
    record_path = folder / "run.json"
    record = read_json(record_path) if record_path.exists() else {"stages": {}}
    record |= {"made_by": provenance(), "failed": "", "parameters": lasting(params)}
    try:
        for number, stage in enumerate(stages, start=1):
            started = time.monotonic()
            _execute(params, stage, f"{number}/{len(stages)}")
            record["stages"][stage] = {
                "title": html.title(folder / f"{STAGES[stage]}.ipynb"),
                "seconds": round(time.monotonic() - started, 1),
                "finished": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            }
    except StageError as error:
        record["failed"] = str(error)
        raise
    except KeyboardInterrupt:
        record["failed"] = f"The stage {stage} was stopped."
        raise
    finally:
        record["stages"] = {stage: record["stages"][stage] for stage in STAGES if stage in record["stages"]}
        if "train" in record["stages"]:
            record["made_by"]["device"] = record(params, "train").get("device", "")
        write_json(record, record_path)
        _render(params, record)
    return folder / "index.html"


def run_seeds(params: Params, stages: list[str], seeds: list[int]) -> Path:
    """Run the stages once a seed, each run as experiment `<experiment>-seed<seed>`, and return the page of all.

    Data, faces and splits are those of `params.seed` in every run, so that all are tested on the same videos; training
    and what comes after it take the seed.

    Raises:
        StageError, InputError: as `run`; runs that were finished stay.
    """
    shared = ("download", "preprocess")
    for seed in seeds:
        mine = params.model_copy(update={"experiment": f"{params.experiment}-seed{seed}"})
        for part, value in (
            ([stage for stage in stages if stage in shared], params.seed),
            ([stage for stage in stages if stage not in shared], seed),
        ):
            if part:
                run(mine.model_copy(update={"seed": value}), part)
    return overview.write_seeds(params.report_folder.parent, params.experiment, seeds)


def _execute(params: Params, stage: str, position: str) -> None:
    """Run one notebook with the parameters it declares."""
    source = NOTEBOOKS / f"{STAGES[stage]}.ipynb"
    target = params.report_folder / source.name
    document = nbformat.read(source, as_version=4)
    count = 1 + sum(cell.cell_type == "code" for cell in document.cells)  # papermill injects one
    with tqdm(total=count, desc=f"{position} {stage}", unit="cell", leave=True, dynamic_ncols=True) as line:
        try:
            papermill.execute_notebook(
                str(source),
                str(target),
                parameters=declared(source, params),
                kernel_name="python3",
                cwd=str(NOTEBOOKS),
                progress_bar=False,
                extra_arguments=["--log-level=CRITICAL"],  # a kernel that is shut down complains of it
                stderr_file=_Tail(lambda text: line.set_postfix_str(text)),
                on_cell_start=_Announce(line, document),
                on_cell_executed=lambda cell, cell_index, execute_reply: line.update(),
            )
        except PapermillExecutionError as error:
            if error.ename == "KeyboardInterrupt":
                raise KeyboardInterrupt from None
            raise StageError(_explain(stage, error, target)) from None


def declared(notebook: Path, params: Params) -> dict[str, Any]:
    """Return the parameters that a notebook's `parameters` cell declares, with the experiment's values."""
    names = papermill.inspect_notebook(str(notebook))
    unknown = sorted(set(names) - set(type(params).model_fields))
    if unknown:
        raise InputError(f"{notebook.name} declares {', '.join(unknown)}, which are no parameters of the suite.")
    return {name: getattr(params, name) for name in names}


def _explain(stage: str, error: PapermillExecutionError, notebook: Path) -> str:
    """Say what failed and where to see it; a user's mistake is its own sentence, a fault comes with its traceback."""
    where = f"The executed notebook shows it: {notebook}"
    if error.ename in ("InputError", "VideoError"):
        return f"The stage {stage} stopped. {error.evalue} {where}"
    trace = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback))
    return f"The stage {stage} failed in cell [{error.exec_count}].\n{trace}\n{where}"


class _Announce:
    """Name the running cell by the heading above it in the stage's bar."""

    def __init__(self, line: tqdm, document: nbformat.NotebookNode) -> None:
        self.line, self.heading, self.stage = line, "", line.desc

    def __call__(self, cell: nbformat.NotebookNode, cell_index: int) -> None:
        if cell.cell_type == "markdown":
            headings = re.findall(r"^#{1,3} +(.+)$", cell.source, flags=re.MULTILINE)
            if headings:
                self.line.set_description_str(f"{self.stage} · {headings[-1][:40]}")


class _Tail:
    """A file that passes on the last thing written to it: the kernel's own progress bar."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self.show = show

    def write(self, text: str) -> None:
        parts = [part.strip() for part in re.split(r"[\r\n]", re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text))]
        self.show(next((part[:70] for part in reversed(parts) if part), ""))

    def flush(self) -> None:
        pass


def _render(params: Params, record: dict[str, Any]) -> None:
    """Write every page again, so that all link to all, and the page of all runs."""
    links = html.page_links(record["stages"])
    for stage in record["stages"]:
        notebook = params.report_folder / f"{STAGES[stage]}.ipynb"
        if notebook.exists():
            html.write_page(notebook, notebook.with_suffix(".html"), links)
    html.write_index(params, record)
    with suppress(InputError):  # nothing was evaluated yet
        overview.write_overview(params.report_folder.parent)


def prepare_kernel() -> None:
    """Tell the kernels that nobody watches them, so that they show progress as plain text."""
    os.environ[BATCH] = "1"
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    if sys.platform == "win32":
        os.environ.setdefault("PYTHONUTF8", "1")
