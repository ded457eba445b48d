"""What an experiment has done so far, and with which parameters.

Each stage that ends leaves a record in the experiment's run folder. A stage that would put other results in the place
of recorded ones is stopped before it starts, so a finished experiment always matches its name.
"""

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from dfutils import __version__
from dfutils.core.errors import InputError
from dfutils.core.files import read_json, write_json
from dfutils.core.params import Params, lasting

STAGES = {
    "download": "01_download",
    "preprocess": "02_preprocess",
    "train": "03_train",
    "evaluate": "04_evaluate",
    "errors": "05_error_analysis",
    "demo": "06_demo",
    "robustness": "07_robustness",
}
"""The stages in order, and the notebook that is each."""

DEFAULT_STAGES = ("download", "preprocess", "train", "evaluate", "errors")
"""What a run does unless it is told otherwise; the others are asked for by name."""

_PACKAGES = ("numpy", "opencv-python-headless", "dlib-bin", "av", "torch", "torchvision", "lightning", "scikit-learn")


def claim(params: Params, stage: str) -> None:
    """Make sure that `stage` of this experiment may run: it is not finished, or was finished with the same parameters.

    Only parameters that were given (a notebook's cell, a file) and that change results are compared.

    Raises:
        InputError: naming the parameters that differ.
    """
    path = _path(params, stage)
    if not path.exists():
        return
    before = read_json(path)["parameters"]
    now = lasting(params, sorted(params.model_fields_set))
    differ = [name for name in now if name in before and before[name] != now[name]]
    changed = [f"{name} {before[name]!r} → {now[name]!r}" for name in differ]
    if changed:
        raise InputError(
            f"The {stage} stage of experiment {params.experiment!r} is finished with other parameters "
            f"({', '.join(changed)}): give this one a name of its own with -p experiment=NAME, or delete {path.parent}."
        )


def finish(params: Params, stage: str, **facts: Any) -> None:
    """Record that `stage` ended: its parameters, the versions that made it, and `facts` for the stages after it."""
    given = lasting(params, sorted(params.model_fields_set))
    write_json({"parameters": given, "made_by": provenance(), **facts}, _path(params, stage))


def record(params: Params, stage: str) -> dict[str, Any]:
    """Return the record of a finished stage.

    Raises:
        InputError: if that stage has not been run for this experiment.
    """
    path = _path(params, stage)
    if not path.exists():
        raise InputError(
            f"Experiment {params.experiment!r} has no finished {stage} stage: run notebook {STAGES[stage]} first, "
            f"with the same experiment name."
        )
    return read_json(path)


def _path(params: Params, stage: str) -> Path:
    return params.run_folder / f"{stage}.json"


def provenance() -> dict[str, Any]:
    """Return what made an output: versions of the suite, of Python and of the packages that matter, and the commit."""
    versions = {"dfutils": __version__, "python": platform.python_version(), "platform": platform.platform()}
    return {**versions, **{name: metadata.version(name) for name in _PACKAGES}, "commit": commit()}


def commit() -> str:
    """Return the checkout's commit, with `+` where files differ from it; empty outside a git checkout."""
    try:
        return _git("rev-parse", "--short=12", "HEAD") + ("+" if _git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(*words: str) -> str:
    command = ["git", "-C", str(Path(__file__).resolve().parents[2]), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
