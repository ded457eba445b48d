"""Detectors that others can use: fetched by name, and published with a card that says what they are worth.

A published detector is its folder (weights as safetensors, `config.json`) with the figures of its evaluation and a
model card written from them. The card is honest by construction: limits come before figures, every figure has its
interval, and what splits share or give away is on it. Nothing here imports torch until weights are read.
"""

import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dfutils.errors import InputError
from dfutils.files import atomic, read_json
from dfutils.intervals import in_words, value_and_interval, with_interval

PREFIX = "hf://"

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
    from dfutils.model import Detector

    path = fetch(str(name)) if str(name).startswith(PREFIX) else Path(name)
    if path.is_file():
        detector = Detector.from_published(path)
        detector.facts["face_size"] = 224
    else:
        detector = Detector.load(path)
    detector.facts["source"] = str(name) if str(name).startswith(PREFIX) else path.resolve().name
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
            from dfutils import backbones

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


def card(config: dict[str, Any], metrics: dict[str, Any], repo: str, robustness: dict[str, Any] | None = None) -> str:
    """Return the model card in Markdown, from a detector's `config.json`, `metrics.json` and `robustness.json`."""
    training, test = config.get("training", {}), metrics["test"]
    parameters, shape = training.get("parameters", {}), config["architecture"]
    audit = metrics.get("audit", {})
    parts = [
        _header(metrics, repo),
        f"# {repo.rpartition('/')[2]}: is the face in a video real or fake?",
        f"{metrics['verdict']}",
        _bullets("## What limits it", [*metrics["caveats"], *_ALWAYS]),
        "## Use",
        f"```sh\ndfutils predict video.mp4 --model {PREFIX}{repo}\ndfutils serve --model {PREFIX}{repo}\n```",
        "Made for looking further into a video whose origin is in doubt, by people who see the whole case. Not made "
        "for accusing a person, for publishing or deleting without a human look, or for watching people.",
        "## What it is",
        f"Video → first frames → faces (dlib) → {config['frames_per_video']} face crops of {config['face_size']} "
        f"pixels → {shape['backbone']} → {shape['temporal']} ({shape['hidden_size']}) → real (0) or fake (1). It calls "
        f"a video fake from {metrics['threshold']['value']:.3f} on, chosen on "
        f"{metrics['threshold']['validation_videos']} validation videos (rule: {metrics['threshold']['rule']}). "
        f"Temperature: {config.get('temperature', 1.0):.3g}.",
        "## Figures",
        f"On {test['counts']['real']} real and {test['counts']['fake']} fake test **videos**, with 95% intervals "
        f"({metrics['no_face']} where no face was found):",
        _table(test["video"]),
        _confusion(test["confusion"]),
        _elsewhere(metrics.get("eval", {})),
        _robustness(robustness),
        "## Data and splits",
        f"Layouts: {', '.join(training.get('layouts', [])) or 'unknown'}. Trained as experiment "
        f"`{metrics['experiment']}`, data and splits `{metrics['fingerprints'].get('data and splits', 'unknown')}`.",
        _bullets("What the audit of the splits found:", audit.get("alarms") or ["No alarm."]),
        _baselines(metrics.get("baselines", {})),
        "## Training",
        "```json\n" + json.dumps(parameters, indent=1, sort_keys=True) + "\n```",
        "## Made by",
        ", ".join(f"{name} {value}" for name, value in metrics.get("made_by", {}).items() if name != "platform") + ".",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


_ALWAYS = [
    "A score is a reason to look further, never proof.",
    "Forgeries by methods it was not trained on, wholly synthetic people and heavy compression can pass it.",
    "Detectors fail unevenly across people: look at the errors by person before you use one on many.",
]


def _header(metrics: dict[str, Any], repo: str) -> str:
    """Return the card's YAML, with the figures that the hub shows."""
    found = {name: metrics["test"]["video"].get(name, {}).get("value") for name in ("roc_auc", "balanced_accuracy")}
    rows = [
        f"    - type: {name}\n      value: {value:.4f}\n      name: {in_words(name)} (test videos)"
        for name, value in found.items()
        if value is not None
    ]
    index = ""
    if rows:
        index = (
            f"model-index:\n- name: {repo.rpartition('/')[2]}\n  results:\n  - task:\n"
            f"      type: video-classification\n    dataset:\n      type: custom\n"
            f"      name: {json.dumps(metrics['experiment'])}\n    metrics:\n" + "\n".join(rows) + "\n"
        )
    return (
        "---\nlibrary_name: dfutils\npipeline_tag: video-classification\ntags:\n- deepfake-detection\n- video\n"
        f"{index}---"
    )


def _bullets(head: str, items: list[str]) -> str:
    return f"{head}\n\n" + "\n".join(f"- {item}" for item in items)


def _table(figures: dict[str, Any]) -> str:
    rows = ["| figure | value | 95% interval |", "| --- | --- | --- |"]
    for name, figure in figures.items():
        if not isinstance(figure, dict) or "value" not in figure:
            continue
        value, interval = value_and_interval(figure)
        rows.append(f"| {in_words(name)} | {value} | {interval} |")
    return "\n".join(rows)


def _confusion(counts: list[list[int]]) -> str:
    (rr, rf), (fr, ff) = counts
    return f"| | called real | called fake |\n| --- | --- | --- |\n| real | {rr} | {rf} |\n| fake | {fr} | {ff} |"


def _elsewhere(measured: dict[str, Any]) -> str:
    parts = [
        f"### On {name}, which it was not trained on\n\n{_table(part['video'])}" for name, part in measured.items()
    ]
    return "\n\n".join(parts)


def _robustness(found: dict[str, Any] | None) -> str:
    if not found:
        return "Robustness against compression, blur and noise was not measured."
    rows = ["| disturbance | level | lost | ROC AUC | change |", "| --- | --- | --- | --- | --- |"]
    for row in found["figures"]:
        auc = {"value": row["roc_auc"], "low": row["low"], "high": row["high"]}
        change = {"value": row["change"], "low": row["change_low"], "high": row["change_high"]}
        kind = f"| {row['perturbation']} | {row['level']} | {row['lost']:.0%} |"
        rows.append(f"{kind} {with_interval(auc)} | {with_interval(change) if row['level'] else ''} |")
    return (
        f"### Under disturbance\n\n{found['figures'][0]['scored']} test videos, disturbed before any face is looked "
        "for (the disturbances of DeeperForensics-1.0, and JPEG; levels 1 to 5). *Lost* have no score any more; "
        "*change* is that of the AUC on the videos that still have one.\n\n" + "\n".join(rows)
    )


def _baselines(found: dict[str, Any]) -> str:
    value = found.get("container facts", {}).get("roc_auc", {}).get("value")
    if value is None:
        return ""
    return (
        f"A classifier that sees no face at all, only size, rate, length and bitrate of the files, reaches a ROC AUC "
        f"of {value:.3f} on the same test videos: what lies above that is owed to faces."
    )
