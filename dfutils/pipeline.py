"""Runs an experiment's notebooks in order: parameters in, executed notebooks and HTML pages out.

papermill runs each notebook in a kernel of its own, with the Python that runs this process, and notebooks exchange data
through files alone. A stage that fails leaves its notebook, with the error in it, as `<notebook>.failed.ipynb`, and
everything that earlier stages wrote; the report of an earlier, successful run of the stage stays as it is.
"""

import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import papermill
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from tqdm import tqdm

from dfutils.core import experiments
from dfutils.core.errors import InputError, StageError
from dfutils.core.files import atomic, make_folder, read_json, write_json
from dfutils.core.params import Params, lasting
from dfutils.core.paths import video_id
from dfutils.core.progress import BATCH
from dfutils.core.stages import DEFAULT_STAGES, OWN, STAGES, depends, path_of, provenance, record
from dfutils.data import catalog, indexing, selection
from dfutils.reporting import html, overview
from dfutils.splits.division import each_method

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"

_PATIENCE_S = 300
"""How long a kernel may take to start, in seconds; a busy machine may need more than papermill's 60."""


def choose(first: str = "", only: str = "") -> list[str]:
    """Return the names of the stages to run: the default ones, those of them from `first` on, or just `only`.

    If `first` is not a default stage, it is run with every stage after it.

    Raises:
        InputError: if a stage is unknown, or both arguments are given.
    """
    names = list(STAGES)
    if first and only:
        raise InputError("--from and --only cannot be given together: choose one.")
    for name in (first, only):
        if name and name not in names:
            raise InputError(f"There is no stage {name!r}; the stages are {', '.join(names)}.")
    if only:
        return [only]
    default = [name for name in names if name in DEFAULT_STAGES]
    if first and first not in default:
        return names[names.index(first) :]
    return default[default.index(first) :] if first else default


def run(params: Params, stages: list[str]) -> Path:
    """Execute the notebooks of `stages`, write their pages and the index, and return the path of `index.html`.

    Where a stage is finished with other parameters, all goes to an experiment of another name (`experiments.claim`).
    Stages that do not depend on what distinguishes an experiment from its parameter file are taken over from another
    experiment that has finished them. A finished report changes only by stages that succeed: the parameters in run.json
    are those of finished stages, and a failure is recorded there only where the report was unfinished or some stage of
    this run has succeeded.

    Raises:
        StageError: if a cell fails, or a kernel dies or does not start. The results of finished stages stay.
        InputError: if the report's folder cannot be written to.
    """
    if params.detector and len(stages) > 1:
        stages = [stage for stage in stages if stage != "train"]  # it is judged as it is
    params = experiments.claim(params, *stages)
    sys.stderr.write(f"{experiments.headline(params)}\n")
    folder = make_folder(params.report_folder)
    changed = experiments.changes(params).keys()
    path = folder / "run.json"
    run_record = read_json(path) if path.exists() else {"stages": {}, "failed": "", "parameters": lasting(params)}
    stands = bool(run_record["stages"]) and not run_record.get("failed")  # a report that a failure must not touch
    failed = ""
    try:
        for number, stage in enumerate(stages, start=1):
            done = _taken_over(params, stage) if changed and not depends(stage) & changed else None
            if done is None:
                started = time.monotonic()
                _execute(params, stage, f"{number}/{len(stages)}")
                done = {
                    "title": html.title(folder / f"{STAGES[stage]}.ipynb"),
                    "seconds": round(time.monotonic() - started, 1),
                    "finished": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
                }
            run_record["stages"][stage] = done
            run_record["parameters"] |= lasting(params, sorted(OWN[stage]))
            stands = False
    except StageError as error:
        failed = str(error)
        raise
    except KeyboardInterrupt:
        failed = f"The stage {stage} was stopped."
        raise
    except Exception as error:
        failed = f"The stage {stage} failed: {error!r}"
        raise
    finally:
        if not stands:
            _write_report(params, run_record | {"failed": failed, "made_by": provenance()})
    return folder / "index.html"


def run_seeds(params: Params, stages: list[str], seeds: list[int]) -> Path:
    """Run the stages once per seed, as experiment `<experiment>-seed<seed>`, and return the path of the page of all.

    Data, faces and splits are those of `params.seed` in every run, so that all are tested on the same videos; training
    and the stages after it use the seed.

    Raises:
        StageError, InputError: as `run`; finished runs stay.
    """
    data_stages = [stage for stage in stages if stage in ("download", "preprocess")]
    later_stages = [stage for stage in stages if stage not in data_stages]
    for seed in seeds:
        experiment = f"{params.experiment}-seed{seed}"
        for chosen, value in ((data_stages, params.seed), (later_stages, seed)):
            if chosen:
                run(params.model_copy(update={"experiment": experiment, "seed": value}), chosen)
    return overview.write_seeds(params.report_folder.parent, params.experiment, seeds)


def run_methods(params: Params, stages: list[str], seeds: list[int]) -> Path:
    """Run the stages once per method of forgery, which that run leaves out of training (`test_methods`), as experiment
    `<experiment>-without-<method>`, and with seeds each as `run_seeds` does; return the path of the page of all runs.

    A stage that fails, such as for a method whose people all are in training, ends that method's run alone.

    Raises:
        StageError: if a run failed, after all others.
        InputError: if the videos name fewer than two methods, or as `run`.
    """
    if "download" in stages:
        run(params, ["download"])  # names the methods; the other runs take it over
    datasets = selection.choose([catalog.load(place) for place in params.places], params)
    videos, failed = indexing.pool({dataset.name: dataset.videos for dataset in datasets}), []
    for method in each_method(videos):
        experiment = video_id(f"{params.experiment}-without-{method}")  # any text made the name of a folder
        one = params.model_copy(update={"experiment": experiment, "test_methods": method})
        try:
            page = run_seeds(one, stages, seeds) if seeds else run(one, stages)
        except StageError as error:
            failed.append(f"Without {method}: {error}")
    if failed:
        raise StageError("\n".join(failed))
    everything = params.report_folder.parent / "index.html"
    return everything if everything.exists() else page  # of the last run, if none was evaluated


def _taken_over(params: Params, stage: str) -> dict[str, Any] | None:
    """Take a finished stage over from another experiment, with its executed notebook; return what that one's run.json
    says of it, or None if there is none."""
    experiments.take_over(params, stage)
    path = path_of(params, stage)
    source = read_json(path).get("taken_from") if path.exists() else None
    if not source:
        return None
    report = params.report_folder.parent / source
    notebook, known = report / f"{STAGES[stage]}.ipynb", report / "run.json"
    done = read_json(known)["stages"].get(stage) if known.exists() and notebook.exists() else None
    if done:
        with atomic(params.report_folder / notebook.name) as temporary:
            shutil.copyfile(notebook, temporary)
    return done


def _execute(params: Params, stage: str, position: str) -> None:
    """Run one notebook with the parameters that it reads."""
    source = NOTEBOOKS / f"{STAGES[stage]}.ipynb"
    own = OWN[stage] | {"experiment"} | ({"params_file"} if params.params_file else set())
    target = params.report_folder / f"{STAGES[stage]}.failed.ipynb"  # until it has succeeded
    document = nbformat.read(source, as_version=4)
    count = 1 + sum(cell.cell_type == "code" for cell in document.cells)  # papermill injects one
    with tqdm(total=count, desc=f"{position} {stage}", unit="cell", leave=True, dynamic_ncols=True) as progress:
        try:
            papermill.execute_notebook(
                str(source),
                str(target),
                parameters={name: getattr(params, name) for name in Params.model_fields if name in own},
                kernel_name="python3",
                kernel_manager_class=_ThisPython,
                start_timeout=_PATIENCE_S,
                cwd=str(NOTEBOOKS),
                progress_bar=False,
                extra_arguments=["--log-level=CRITICAL"],  # a kernel logs an error when it is shut down
                stderr_file=_LastLine(lambda text: progress.set_postfix_str(text)),
                on_cell_start=_ShowHeading(progress),
                on_cell_executed=lambda cell, cell_index, execute_reply: progress.update(),
            )
        except PapermillExecutionError as error:
            if error.ename == "KeyboardInterrupt":
                raise KeyboardInterrupt from None
            raise StageError(_explain(stage, error, target)) from None
        except DeadKernelError:
            heading = progress.desc.rpartition("· ")[2]
            raise StageError(
                f"The stage {stage} stopped: its kernel died at {heading!r}, most often because "
                "memory ran out. Close other programs or set fewer workers or a smaller batch_size, and run the same "
                f"command again. {_where(target)}"
            ) from None
        except (RuntimeError, OSError) as error:  # of jupyter_client, and of files that cannot be written
            raise StageError(
                f"The stage {stage} could not be run: {' '.join(str(error).split())}. If no kernel starts, this shows "
                f"why: {sys.executable} -m ipykernel_launcher --version"
            ) from None
    target.replace(params.report_folder / source.name)


def _explain(stage: str, error: PapermillExecutionError, notebook: Path) -> str:
    """Return what failed and which notebook shows it: for an input error its sentence, for a fault its traceback."""
    if error.ename in ("InputError", "VideoError"):
        return f"The stage {stage} stopped. {error.evalue} {_where(notebook)}"
    trace = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback)) or f"{error.ename}: {error.evalue}"
    return f"The stage {stage} failed in cell [{error.exec_count}].\n{trace}\n{_where(notebook)}"


def _where(notebook: Path) -> str:
    return f"The executed notebook shows it: {notebook}"


class _ThisPython(AsyncKernelManager):
    """Starts kernels with the Python that runs this process, whatever kernels the user has installed."""

    @property
    def kernel_spec(self) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")


class _ShowHeading:
    """papermill's callback before each cell: shows the heading above the running cell in the stage's progress bar."""

    def __init__(self, progress: tqdm) -> None:
        self.progress, self.stage = progress, progress.desc

    def __call__(self, cell: nbformat.NotebookNode, cell_index: int) -> None:
        if cell.cell_type == "markdown":
            headings = re.findall(r"^#{1,3} +(.+)$", cell.source, flags=re.MULTILINE)
            if headings:
                self.progress.set_description_str(f"{self.stage} · {headings[-1][:40]}")


class _LastLine:
    """A file-like object that shows the last line written to it: the kernel's own progress bar."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self.show = show

    def write(self, text: str) -> None:
        lines = [line.strip() for line in re.split(r"[\r\n]", re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text))]
        self.show(next((line[:70] for line in reversed(lines) if line), ""))

    def flush(self) -> None:
        pass


def _write_report(params: Params, run_record: dict[str, Any]) -> None:
    """Write run.json and all pages."""
    finished = run_record["stages"]
    run_record["stages"] = {stage: finished[stage] for stage in STAGES if stage in finished}
    if "train" in finished:
        run_record["made_by"]["device"] = record(params, "train").get("device", "")
    write_json(run_record, params.report_folder / "run.json")
    _write_pages(params, run_record)


def _write_pages(params: Params, run_record: dict[str, Any]) -> None:
    """Write every page of the report again, so that all link to all, and the page that compares all runs."""
    links = html.page_links(run_record["stages"])
    for stage in run_record["stages"]:
        notebook = params.report_folder / f"{STAGES[stage]}.ipynb"
        if notebook.exists():
            html.write_page(notebook, notebook.with_suffix(".html"), links)
    html.write_glossary(params.report_folder / "glossary.html", links)
    html.write_index(params, run_record)
    with suppress(InputError):  # no run was evaluated yet
        overview.write_overview(params.report_folder.parent)


def prepare_kernel() -> None:
    """Set the environment of the kernels: progress as plain text, and no warnings of the debugger, nor of papermill,
    which knows only the parameters that a notebook's own cell names."""
    logging.getLogger("papermill").setLevel(logging.ERROR)
    os.environ[BATCH] = "1"
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    if sys.platform == "win32":
        os.environ.setdefault("PYTHONUTF8", "1")
