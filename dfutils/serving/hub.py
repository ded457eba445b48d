"""Loads detectors, also from the Hugging Face hub, and publishes them there with a model card.

A published detector is its folder (weights as safetensors, `config.json`) with the figures of its evaluation and a
model card written from them: limits come before figures, every figure has its interval, and the card states what the
audit of the splits found. Nothing here imports torch until weights are read.
"""

import shutil
from pathlib import Path
from typing import Any

from dfutils.core.detectors import DETECTOR, PREFIX, find
from dfutils.core.errors import InputError
from dfutils.core.files import atomic, read_json, write_json


def load(name: str | Path) -> Any:
    """Return the detector in a folder, a file of published weights, or `hf://owner/name`, also with `/file`.

    Weights of the widely copied ResNeXt-50 + LSTM code are read by `Detector.from_published`. That code trains on face
    crops of 224 pixels, so `face_size` is 224 for them.

    Raises:
        InputError: if there is no detector, or it cannot be fetched.
    """
    path = find(name)
    from dfutils.detector.network import Detector  # PyTorch takes seconds: not for a name that is wrong

    if path.is_file():
        detector = Detector.from_published(path)
        detector.config["face_size"] = 224
    else:
        detector = Detector.load(path)
    source = str(name) if str(name).startswith(PREFIX) else path.resolve().name
    detector.config["source"] = f"{source} (uncalibrated)" if detector.config.get("uncalibrated") else source
    return detector


def prepare(model: Path, metrics: Path, out: Path, repo: str, half: bool = False) -> Path:
    """Write the folder to publish (weights, `config.json`, `metrics.json`, the model card as README.md); return it.

    If there is a `robustness.json` in the folder of `metrics`, it is on the card and in the folder, too.

    Args:
        model: the detector's folder.
        metrics: its metrics.json.
        out: folder to write.
        repo: owner/name on the hub, for the card.
        half: write weights in half precision, except vectors (biases, means and variances of batch normalisation): half
            the file size, and scores that differ in the fourth decimal.

    Raises:
        InputError: if the detector or its figures are missing, or the figures are not of this detector with its
            calibration.
    """
    for name in DETECTOR:
        if not (model / name).is_file():
            raise InputError(f"{model} holds no detector: it has no {name}; notebook 03 makes one.")
    if not metrics.is_file():
        raise InputError(
            f"There are no figures at {metrics}: evaluate the detector first (notebook 04), or name its metrics.json "
            "with --metrics. A detector is not published without them."
        )
    config, figures = read_json(model / "config.json"), read_json(metrics)
    robustness_path = metrics.parent / "robustness.json"
    robustness = read_json(robustness_path) if robustness_path.is_file() else None
    if robustness and robustness["detector"] != figures["fingerprints"].get("detector"):
        raise InputError(
            f"{robustness_path} and {metrics} are of two detectors: run notebook 07 again, or delete the former."
        )
    _check_figures(model, figures, metrics)
    from dfutils.serving.model_card import card

    with atomic(out) as temporary:
        temporary.mkdir()
        for name in DETECTOR:
            shutil.copyfile(model / name, temporary / name)
        if half:
            from dfutils.detector import backbones
            from dfutils.detector.network import weights_digest

            backbones.halve(temporary / "model.safetensors")
            weights = weights_digest(backbones.read_weights(temporary / "model.safetensors"))
            write_json({**config, "weights": weights}, temporary / "config.json")
        shutil.copyfile(metrics, temporary / "metrics.json")
        if robustness:
            shutil.copyfile(robustness_path, temporary / robustness_path.name)
        (temporary / "README.md").write_text(card(config, figures, repo, robustness), encoding="utf-8")
    return out


def _check_figures(model: Path, figures: dict[str, Any], metrics: Path) -> None:
    """Refuse figures that are of other weights, another training or another calibration."""
    from dfutils.detector.network import Detector
    from dfutils.evaluation import metrics_json

    if not metrics_json.is_of(figures, Detector.load(model)):
        raise InputError(f"{metrics} holds the figures of another detector or calibration: run notebook 04 again.")


def publish(folder: Path, repo: str, private: bool = False) -> str:
    """Upload a folder that `prepare` wrote, and return its name, hf://owner/name.

    Raises:
        InputError: if the hub refuses the upload, or cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError

    try:
        api = HfApi()
        api.create_repo(repo, repo_type="model", private=private, exist_ok=True)
        api.upload_folder(repo_id=repo, folder_path=folder, commit_message="Publish a detector with its figures")
    except HFValidationError:
        raise InputError(f"{repo} is not a valid name for a model on the hub: write owner/name.") from None
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403):
            raise InputError(f"The hub does not let you write to {repo}: log in with `hf auth login`.") from None
        raise InputError(f"The hub refused {repo}: {str(error).strip().splitlines()[0]}") from None
    except (OSError, HTTPError) as error:  # HTTPError: of the client's HTTP library, which differs between its versions
        raise InputError(f"The hub cannot be reached ({error}): the folder {folder} is ready, try again.") from None
    return f"{PREFIX}{repo}"
