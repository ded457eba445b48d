"""The stages of an experiment: what each depends on, and the records of those that are finished.

Each finished stage writes a record with the parameters that its results depend on to the experiment's run folder.
"""

import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from dfutils import __version__
from dfutils.core import params as parameters
from dfutils.core.errors import InputError, closest
from dfutils.core.files import read_json, write_json
from dfutils.core.params import (
    AugmentationSettings,
    DemoSettings,
    DownloadSettings,
    ErrorSettings,
    EvaluationSettings,
    HardwareSettings,
    NetworkSettings,
    Params,
    PreprocessSettings,
    RobustnessSettings,
    SelectionSettings,
    SplitSettings,
    TrainingSettings,
    lasting,
)

STAGES = {
    "download": "01_download",
    "preprocess": "02_preprocess",
    "train": "03_train",
    "evaluate": "04_evaluate",
    "errors": "05_error_analysis",
    "demo": "06_demo",
    "robustness": "07_robustness",
}
"""The stages in order, and the notebook of each."""

DEFAULT_STAGES = ("download", "preprocess", "train", "evaluate", "errors")
"""Stages of a run by default; the others must be named."""

BEGUN = "parameters.json"
"""File in `runs/<experiment>/training` with the parameters that its training began with."""

_OTHER_DATASETS = {"eval_datasets", "eval_layout", "eval_root", "eval_videos"}
_DATASETS = {"dataset", "layout", "root", *_OTHER_DATASETS}
_SCORING = {"seed", "batch_size"}

OWN: dict[str, frozenset[str]] = {
    "download": frozenset({*_DATASETS, *DownloadSettings.model_fields, "max_frames", "workers"}),
    "preprocess": frozenset(
        name
        for group in (SelectionSettings, PreprocessSettings, SplitSettings)
        for name in (*group.model_fields, *_DATASETS, "seed", "detector")
    ),
    "train": frozenset(
        name
        for group in (NetworkSettings, TrainingSettings, AugmentationSettings, HardwareSettings)
        for name in group.model_fields
    ),
    "evaluate": frozenset({*EvaluationSettings.model_fields, *_SCORING, "detector"}),
    "errors": frozenset({*ErrorSettings.model_fields, *_SCORING, "resamples"}),
    "demo": frozenset(DemoSettings.model_fields),
    "robustness": frozenset({*RobustnessSettings.model_fields, *_SCORING, "resamples", "workers"}),
}
"""The parameters that each stage reads itself."""

_BEFORE = {"download": (), "preprocess": ("download",), "train": ("preprocess",), "evaluate": ("preprocess", "train")}

_PACKAGES = ("numpy", "opencv-python-headless", "dlib-bin", "av", "torch", "torchvision", "lightning", "scikit-learn")


@cache
def before(stage: str) -> tuple[str, ...]:
    """Return the stages whose results a stage reads, in order."""
    nearest = _BEFORE.get(stage, ("evaluate",))
    needed = {*nearest, *(name for earlier in nearest for name in before(earlier))}
    return tuple(name for name in STAGES if name in needed)


@cache
def depends(stage: str) -> frozenset[str]:
    """Return the parameters that a stage's results depend on: its own, and those of the stages before it.

    Training depends neither on the datasets that are only scored nor on how many faces the audit compares.
    """
    names = OWN[stage].union(*(OWN[name] for name in before(stage)))
    return names - {*_OTHER_DATASETS, "audit_faces"} if stage == "train" else names


def finish(params: Params, stage: str, **results: Any) -> None:
    """Write the record of a finished stage: its parameters, the versions of the software, and `results`, which the
    stages after it read."""
    given = lasting(params, sorted(params.model_fields_set & depends(stage)))
    write_json({"parameters": given, "made_by": provenance(), **results}, path_of(params, stage))


def record(params: Params, stage: str) -> dict[str, Any]:
    """Return the record of a finished stage.

    Raises:
        InputError: if the stage is not finished for this experiment.
    """
    path = path_of(params, stage)
    if not path.exists():
        raise InputError(
            f"Experiment {params.experiment!r} has no finished {stage} stage: run notebook {STAGES[stage]} first, "
            f"with the same parameters{_nearest(params.experiment)}."
        )
    return read_json(path)


def _nearest(experiment: str) -> str:
    """Suggest the run of this machine that a name without one is most like."""
    runs = parameters.ROOT / "runs"
    if (runs / experiment).is_dir():
        return ""
    names = sorted(path.name for path in runs.iterdir() if path.is_dir()) if runs.is_dir() else []
    close = closest(experiment, names)
    return f", or correct the experiment's name: there is {close!r}" if close else ""


def path_of(params: Params, stage: str) -> Path:
    """Return where the record of a stage lies once it is finished."""
    return params.run_folder / f"{stage}.json"


def provenance() -> dict[str, Any]:
    """Return the versions of the suite, of Python and of the packages that affect results, and the commit."""
    versions = {"dfutils": __version__, "python": platform.python_version(), "platform": platform.platform()}
    return {**versions, **{name: metadata.version(name) for name in _PACKAGES}, "commit": commit()}


def commit() -> str:
    """Return the commit of the checkout, followed by `+` if files differ from it; "" outside a git checkout."""
    try:
        return _git("rev-parse", "--short=12", "HEAD") + ("+" if _git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).resolve().parents[2]), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
