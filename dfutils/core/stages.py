"""Records of an experiment's finished stages.

Each finished stage writes a record with its parameters to the experiment's run folder. A stage that would overwrite
results of other parameters is refused before it starts, so that the files of an experiment always belong together.
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
"""The stages in order, and the notebook of each."""

DEFAULT_STAGES = ("download", "preprocess", "train", "evaluate", "errors")
"""Stages of a run by default; the others must be named."""

_PACKAGES = ("numpy", "opencv-python-headless", "dlib-bin", "av", "torch", "torchvision", "lightning", "scikit-learn")


def claim(params: Params, stage: str) -> None:
    """Check that `stage` of this experiment may run: it is not finished, or was finished with the same parameters.

    Only parameters that were given (in a notebook's cell or a file) and that change results are compared.

    Raises:
        InputError: if parameters differ; the message names them.
    """
    path = _path(params, stage)
    if not path.exists():
        return
    recorded = read_json(path)["parameters"]
    given = lasting(params, sorted(params.model_fields_set))
    changed = [
        f"{name} {recorded[name]!r} → {value!r}"
        for name, value in given.items()
        if name in recorded and recorded[name] != value
    ]
    if changed:
        raise InputError(
            f"The {stage} stage of experiment {params.experiment!r} is finished with other parameters "
            f"({', '.join(changed)}): name this experiment differently with -p experiment=NAME, or delete "
            f"{path.parent}."
        )


def finish(params: Params, stage: str, **results: Any) -> None:
    """Write the record of a finished stage: its parameters, the versions of the software, and `results`, which the
    stages after it read."""
    given = lasting(params, sorted(params.model_fields_set))
    write_json({"parameters": given, "made_by": provenance(), **results}, _path(params, stage))


def record(params: Params, stage: str) -> dict[str, Any]:
    """Return the record of a finished stage.

    Raises:
        InputError: if the stage is not finished for this experiment.
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
