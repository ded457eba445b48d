"""Detectors that others can use: fetched by name, and published with a card that says what they are worth.

A published detector is its folder (weights as safetensors, `config.json`) with the figures of its evaluation and a
model card written from them. The card is honest by construction: limits come before figures, every figure has its
interval, and what splits share or give away is on it. Nothing here imports torch until weights are read.
"""

import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dfutils.core.errors import InputError
from dfutils.core.files import atomic, read_json
from dfutils.serving.model_card import PREFIX, card

SHIPPED = Path(__file__).parent / "weights"
"""The detector that comes with the suite: what is used where no other is named."""

_DETECTOR = ("config.json", "model.safetensors")  # the files of a detector's folder
_WEIGHTS = (".safetensors", ".pt", ".pth")  # how files of published weights end


def load(name: str | Path) -> Any:
    """Return the detector that a folder, a file of published weights, or `hf://owner/name` holds, to be used.

    Weights of the widely copied ResNeXt-50 + LSTM code are read by `Detector.from_published`. That code trains on face
    crops of 224 pixels, so these are what it is given.

    Raises:
        InputError: if there is no detector, or it cannot be fetched.
    """
    from dfutils.detector.network import Detector

    path = fetch(str(name)) if str(name).startswith(PREFIX) else Path(name)
    if path.is_file():
        detector = Detector.from_published(path)
        detector.config["face_size"] = 224
    else:
        detector = Detector.load(path)
    detector.config["source"] = str(name) if str(name).startswith(PREFIX) else path.resolve().name
    return detector


def fetch(name: str) -> Path:
    """Return where a detector from the hub lies on this machine: its folder, or a file of published weights.

    Args:
        name: `hf://owner/name`, with `@revision` after it if one is wanted.

    Raises:
        InputError: if there is no such detector, or the hub cannot be reached and nothing was fetched before.
    """
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repo, _, revision = name.removeprefix(PREFIX).partition("@")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise InputError(f"{name} is no name of a detector on the hub: write hf://owner/name.")
    wanted: dict[str, Any] = {"repo_id": repo, "revision": revision or None}
    try:
        try:
            files = [file.rfilename for file in HfApi().model_info(**wanted, timeout=15).siblings or []]
        except HfHubHTTPError:
            raise
        except Exception:  # no network: what was fetched before will do
            patterns = [*_DETECTOR, *(f"*{end}" for end in _WEIGHTS)]
            kept = Path(snapshot_download(**wanted, local_files_only=True, allow_patterns=patterns))
            files = [path.relative_to(kept).as_posix() for path in kept.rglob("*") if path.is_file()]
            found = _of_detector(files)
            if not found:
                raise InputError(
                    f"{name} was not fetched whole, and the hub cannot be reached: try again with a network."
                ) from None
            return kept if found == _DETECTOR else kept / found[0]
        found = _of_detector(files)
        if not found:
            raise InputError(f"{name} holds no detector: neither config.json with model.safetensors nor a .pt file.")
        if found == _DETECTOR:
            return Path(snapshot_download(**wanted, allow_patterns=list(found)))
        return Path(hf_hub_download(**wanted, filename=found[0]))
    except LocalEntryNotFoundError:
        raise InputError(
            f"{name} cannot be fetched: the hub cannot be reached, and it was not fetched before."
        ) from None
    except HfHubHTTPError as error:
        said = str(error).strip().splitlines()
        raise InputError(f"{name} cannot be fetched from the hub: {said[0] if said else error!r}") from None
    except HFValidationError:
        raise InputError(f"{name} is no name of a detector on the hub: write hf://owner/name.") from None


def _of_detector(files: Iterable[str]) -> tuple[str, ...]:
    """Return which of a repository's files make a detector: those of a folder, or one of weights; none if none does."""
    files = sorted(files)
    if set(_DETECTOR) <= set(files):
        return _DETECTOR
    return tuple(file for file in files if file.endswith(_WEIGHTS))[:1]


def prepare(model: Path, metrics: Path, out: Path, repo: str, half: bool = False) -> Path:
    """Write the folder that is published: weights, `config.json`, `metrics.json` and the model card; return it.

    With `half` the weights are written in half precision, all but vectors (biases, and batch normalisation's means and
    variances): half the file, and scores that differ in the fourth decimal.

    If `robustness.json` lies beside `metrics.json`, it is on the card and in the folder, too.

    Raises:
        InputError: if the detector or its figures are missing, or the two files of figures are not of one detector.
    """
    for name in _DETECTOR:
        if not (model / name).is_file():
            raise InputError(f"{model} is no detector: it has no {name}; notebook 03 makes one.")
    if not metrics.is_file():
        raise InputError(
            f"There are no figures at {metrics}: evaluate the detector first (notebook 04), or name its metrics.json "
            "with --metrics. A detector is not published without them."
        )
    config, figures = read_json(model / "config.json"), read_json(metrics)
    beside = metrics.parent / "robustness.json"
    disturbed = read_json(beside) if beside.is_file() else None
    if disturbed and disturbed["detector"] != figures["fingerprints"].get("detector"):
        raise InputError(f"{beside} and {metrics} are of two detectors: run notebook 07 again, or delete the former.")
    with atomic(out) as temporary:
        temporary.mkdir()
        for name in _DETECTOR:
            shutil.copyfile(model / name, temporary / name)
        if half:
            from dfutils.detector import backbones

            backbones.halve(temporary / "model.safetensors")
        shutil.copyfile(metrics, temporary / "metrics.json")
        if disturbed:
            shutil.copyfile(beside, temporary / beside.name)
        (temporary / "README.md").write_text(card(config, figures, repo, disturbed), encoding="utf-8")
    return out


def publish(folder: Path, repo: str, private: bool = False) -> str:
    """Upload a folder that `prepare` wrote, and return its address.

    Raises:
        InputError: if the hub refuses, or cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        api = HfApi()
        api.create_repo(repo, repo_type="model", private=private, exist_ok=True)
        api.upload_folder(repo_id=repo, folder_path=folder, commit_message="Publish a detector with its figures")
    except HFValidationError:
        raise InputError(f"{repo} is no name for a model on the hub: write owner/name.") from None
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403):
            raise InputError(f"The hub does not let you write to {repo}: log in with `hf auth login`.") from None
        raise InputError(f"The hub refused {repo}: {str(error).strip().splitlines()[0]}") from None
    except OSError as error:
        raise InputError(f"The hub cannot be reached ({error}): the folder {folder} is ready, try again.") from None
    except Exception as error:
        if "ConnectError" not in {kind.__name__ for kind in type(error).__mro__}:
            raise
        raise InputError(f"The hub cannot be reached ({error}): the folder {folder} is ready, try again.") from None
    return f"{PREFIX}{repo}"
