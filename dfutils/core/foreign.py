"""Detectors of other libraries, by their config.json: what they are, which crops they take, what their labels mean.

Image classifiers of the library transformers and GenD (Yermakov et al., Deepfake Detection that Generalizes Across
Benchmarks, WACV 2026). Nothing is loaded here, and no code that comes with a detector ever runs.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dfutils.core.errors import InputError
from dfutils.core.files import read_json
from dfutils.core.params import Params

GEND, CLASSIFIER = "GenD", "image classifier"
"""Kinds of detectors of other libraries."""

PREPROCESSOR = "preprocessor_config.json"
"""File in which an image classifier says how pictures are scaled and normalised."""

_GEND_FACES = {"frames_per_video": 32, "face_size": 224, "face_margin": 0.15, "align": True}
"""GenD's crops, by its script detector.py: 32 evenly spread frames, faces levelled, their box 1.3 times as wide."""

_WORDS = {
    "real": {"real", "realism", "authentic", "genuine", "original", "pristine"},
    "fake": {"fake", "deepfake", "deep fake", "forged", "manipulated", "synthetic", "generated", "ai generated"},
}


def kind(folder: Path, config: Mapping[str, Any]) -> str:
    """Return which kind of another library's detector a config.json is of; "" if it is none.

    Raises:
        InputError: if it is of another library and no detector that can be read, or asks for code of its own.
    """
    architectures = config.get("architectures") or []
    if "format" in config or not (config.get("model_type") or architectures):
        return ""
    if config.get("model_type") == GEND or GEND in architectures:
        return GEND
    path = Path(folder) / "config.json"
    if config.get("auto_map"):
        raise InputError(f"{path} asks for code that comes with the weights (auto_map), which is not run.")
    if len(architectures) == 1 and architectures[0].endswith("ForImageClassification"):
        return CLASSIFIER
    named = ", ".join(architectures) or config.get("model_type")
    raise InputError(
        f"{path} is of another library's model ({named}), and no detector of this suite, no image classifier "
        "(…ForImageClassification) and no GenD."
    )


def faces(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the face settings that a detector of another library implies, by what it was trained on.

    An image classifier says only how large its pictures are; the rest is that of the experiment that judges it, which
    writes it into its copy of config.json (`adopted`).

    Raises:
        InputError: as `kind` and `pictures`.
    """
    found = kind(folder, config)
    if found == CLASSIFIER:
        return {"face_size": pictures(folder)["size"], **config.get("faces", {})}
    return dict(_GEND_FACES) if found else {}


def adopted(folder: Path, config: Mapping[str, Any], params: Params) -> dict[str, Any]:
    """Return a config.json of another library with what an experiment says of the detector: `faces`, as far as they
    were free, and `label_one`."""
    free = {name: getattr(params, name) for name in _GEND_FACES if name not in faces(folder, config)}
    return {**config, "faces": free, "label_one": params.label_one}


def pictures(folder: Path) -> dict[str, Any]:
    """Return `size`, `mean` and `std` of the pictures that an image classifier takes.

    Raises:
        InputError: if its preprocessor_config.json is missing or does not say so.
    """
    path = Path(folder) / PREPROCESSOR
    if not path.is_file():
        raise InputError(f"{path} is missing: it says how pictures are scaled and normalised; fetch it as well.")
    given = read_json(path)
    size = given.get("size")
    if isinstance(size, Mapping):
        size = size.get("height") or size.get("shortest_edge")
    crop = given.get("crop_size") if given.get("do_center_crop") else None
    size = (crop.get("height") if isinstance(crop, Mapping) else crop) or size
    mean, std = given.get("image_mean"), given.get("image_std")
    if not isinstance(size, int) or not isinstance(mean, list) or not isinstance(std, list):
        raise InputError(f"{path} does not give size, image_mean and image_std; fetch it again.")
    return {"size": size, "mean": mean, "std": std}


def fake_class(folder: Path, config: Mapping[str, Any], label_one: str = "") -> int:
    """Return which of the two classes, 0 or 1, is fake, by the words in `id2label`, or by `label_one`.

    Raises:
        InputError: if there are not two classes, or the words do not say and `label_one` is not set.
    """
    words = {int(key): str(word) for key, word in (config.get("id2label") or {0: "LABEL_0", 1: "LABEL_1"}).items()}
    if sorted(words) != [0, 1]:
        raise InputError(f"{folder} tells {len(words)} classes apart ({', '.join(words.values())[:200]}), not two.")
    plain = [words[k].lower().replace("_", " ").replace("-", " ").strip() for k in (0, 1)]
    meant = [next((label for label, known in _WORDS.items() if word in known), "") for word in plain]
    if sorted(meant) == ["fake", "real"]:
        return meant.index("fake")
    label_one = label_one or config.get("label_one", "")
    if label_one in ("real", "fake"):
        return int(label_one == "fake")
    raise InputError(
        f"{folder} calls its classes {words[0]} and {words[1]}, which does not say which is fake: set what 1 means "
        "with `label_one: fake` or `label_one: real`."
    )
