"""Where a detector lies that a parameter or a command names: in a folder, in this package, or on the hub."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dfutils.core import foreign
from dfutils.core import params as parameters
from dfutils.core.errors import InputError
from dfutils.core.files import read_json

PREFIX = "hf://"
"""Prefix of the name of a detector on the hub: hf://owner/name."""

SHIPPED = Path(__file__).resolve().parents[1] / "serving" / "weights"
"""Folder of the detector that comes with the suite and is the default."""

DETECTOR = ("config.json", "model.safetensors")  # the files of a detector's folder
_WEIGHTS = (".safetensors", ".pt", ".pth")  # endings of files of published weights
_STATES = re.compile(r"(.*/)?(optimizer|scheduler|scaler|rng_state|training_args|ema)[^/]*")  # of training, beside them


def folder_of(detector: str) -> Path:
    """Return the folder of the detector that a parameter names: `shipped`, a folder, or `hf://owner/name`.

    Raises:
        InputError: if there is none, it cannot be fetched, or it is a file of weights of other code.
    """
    local = SHIPPED if detector == "shipped" else parameters.ROOT / Path(detector).expanduser()
    path = find(detector if detector.startswith(PREFIX) else local)
    if path.is_file():
        raise InputError(
            f"detector = {detector!r} is not possible: {path.name} holds weights without the crops that they take; "
            "name a folder that notebook 03 wrote."
        )
    return path


def implied(detector: str) -> dict[str, Any]:
    """Return the parameters that judging a detector implies: its face settings, and that all videos are for the test.

    One of another library is not calibrated, so that splits are made for it as for a detector that is trained.

    Raises:
        InputError: as `folder_of`, or if its config.json is broken or of no detector.
    """
    folder = folder_of(detector)
    config = read_json(folder / DETECTOR[0])
    if foreign.kind(folder, config):
        return foreign.faces(folder, config)
    known = config | (config.get("preprocessing") or {})
    faces = {name: known[name] for name in parameters.FaceSettings.model_fields if name in known}
    return {**faces, "split_policy": "test", "test_methods": "", "test_sources": ""}


def find(name: str | Path) -> Path:
    """Return the folder of a detector, or the file of its weights, fetched if need be.

    Raises:
        InputError: if there is none, or it cannot be fetched.
    """
    path = fetch(str(name)) if str(name).startswith(PREFIX) else Path(name)
    if not path.exists():
        raise InputError(f"There is no detector at {path}: notebook 03 makes one, in runs/<experiment>/detector.")
    if path.is_dir() and not (path / DETECTOR[0]).is_file():
        raise InputError(f"{path} is no detector: it has no {DETECTOR[0]}; notebook 03 makes one, with its weights.")
    return path


def fetch(name: str) -> Path:
    """Download a detector from the hub unless it is cached; return its folder, or its file of published weights.

    Args:
        name: `hf://owner/name`, optionally followed by `/file` for one of several files of weights, and by `@revision`.

    Raises:
        InputError: if there is no such detector, there are several, or the hub cannot be reached and it is not cached.
    """
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    address, _, revision = name.removeprefix(PREFIX).partition("@")
    parts = re.fullmatch(r"([\w.-]+/[\w.-]+)(?:/(.+))?", address)
    if not parts:
        raise InputError(f"{name} is not the name of a detector on the hub: write hf://owner/name.")
    repo, file = parts.groups()
    source: dict[str, Any] = {"repo_id": repo, "revision": revision or None}
    try:
        try:
            files = [file.rfilename for file in HfApi().model_info(**source, timeout=15).siblings or []]
        except HfHubHTTPError:
            raise
        except Exception:  # no network: use the cache
            return _cached(name, source, file)
        chosen = _detector_files(files, name, file)
        if not chosen:
            raise InputError(f"{name} holds no detector: neither config.json with model.safetensors nor a .pt file.")
        if chosen == DETECTOR:
            return Path(snapshot_download(**source, allow_patterns=[*chosen, foreign.PREPROCESSOR]))
        return Path(hf_hub_download(**source, filename=chosen[0]))
    except LocalEntryNotFoundError:
        raise InputError(
            f"{name} cannot be fetched: the hub cannot be reached, and it was not fetched before."
        ) from None
    except HfHubHTTPError as error:
        lines = str(error).strip().splitlines()
        raise InputError(f"{name} cannot be fetched from the hub: {lines[0] if lines else error!r}") from None
    except HFValidationError:
        raise InputError(f"{name} is not the name of a detector on the hub: write hf://owner/name.") from None


def _cached(name: str, source: dict[str, Any], file: str | None) -> Path:
    """Return the folder, or the file of weights, of a detector that was downloaded before, as `fetch` does.

    Raises:
        LocalEntryNotFoundError: if nothing of it is in the cache.
        InputError: if only a part of it is.
    """
    from huggingface_hub import snapshot_download

    patterns = [*DETECTOR, foreign.PREPROCESSOR, *(f"*{ending}" for ending in _WEIGHTS)]
    folder = Path(snapshot_download(**source, local_files_only=True, allow_patterns=patterns))
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    chosen = _detector_files(files, name, file)
    if not chosen:
        text = f"{name} was not fetched whole, and the hub cannot be reached: try again with a network."
        raise InputError(text) from None
    return folder if chosen == DETECTOR else folder / chosen[0]


def _detector_files(files: Iterable[str], name: str, file: str | None) -> tuple[str, ...]:
    """Return those of a repository's files that make a detector: a folder's two, one of weights (`file`), or none.

    Raises:
        InputError: if there are several files of weights and none was chosen; the message names them.
    """
    files = sorted(files)
    if file is None and set(DETECTOR) <= set(files):
        return DETECTOR
    weights = [path for path in files if path.endswith(_WEIGHTS) and not _STATES.fullmatch(path)]
    if file is None and len(weights) > 1:
        more = f" and {len(weights) - 6} more" if len(weights) > 6 else ""
        repo, at, revision = name.partition("@")
        raise InputError(
            f"{name} holds several files of weights ({', '.join(weights[:6])}{more}): choose one, as in "
            f"{repo}/{weights[0]}{at}{revision}."
        )
    return tuple(path for path in weights if file in (None, path))
