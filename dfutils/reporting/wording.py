"""What readers are told that figures, properties and scores are called."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dfutils.core import stages
from dfutils.core.errors import InputError
from dfutils.core.files import read_json, read_table
from dfutils.core.params import Params
from dfutils.metrics import answers
from dfutils.metrics.answers import Borders
from dfutils.splits import provenance


class Text(str):
    """A few lines that a notebook shows as they are, where they end a cell."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return the lines without quotes."""
        return str(self)


_PROPERTIES = {
    "face_px": "face size in pixels",
    "turn": "turn of the head in degrees",
    "nod": "nod of the head in degrees",
    "bits": "compression: bits per pixel",
    "people": "faces seen in the video",
    "yaw": "yaw in degrees",
    "pitch": "pitch in degrees",
    "roll": "roll in degrees",
    "bitrate": "bitrate in bit/s",
    "duration_s": "length in seconds",
}


def property_name(name: str) -> str:
    """Return the name of a property of videos for readers, with its unit."""
    return _PROPERTIES.get(name, name.removeprefix("attribute_").replace("_", " "))


_WORDS = {
    "video_id": "video",
    "probability_fake": "score",
    "roc_auc": "ROC AUC",
    "val_auc": "val AUC",
    "eer": "equal error rate",
    "tpr_at_fpr_1": "fakes caught at 1% false alarms",
    "tpr_at_fpr_5": "fakes caught at 5% false alarms",
    "brier": "Brier score",
    "ece": "calibration error (ECE)",
    "precision_real": "precision of reals",
    "precision_fake": "precision of fakes",
    "recall_real": "recall of reals",
    "recall_fake": "recall of fakes",
    "f1_real": "F1 of reals",
    "f1_fake": "F1 of fakes",
}


def figure_name(name: str) -> str:
    """Return the name of a figure of `figures.summary`, or of a table's column, for readers."""
    return _WORDS.get(name, name.replace("_", " "))


UNDECIDED = "Undecided: the score is next to the threshold"

ANSWERS = {
    None: "No verdict",
    "fake": "Looks fake to this detector",
    "real": "Looks real to this detector",
    "cannot tell": "This detector cannot tell whether it is real or fake",
}
"""A detector's answers (`metrics.answers.decide`) in words."""

_FOUND = {
    "real": (
        UNDECIDED,
        "Some signs of forgery, too few to call the video fake",
        *["No signs of a forgery of a known kind"] * 2,
    ),
    "fake": (UNDECIDED, "Weak signs of forgery", "Signs of forgery", "Strong signs of forgery"),
}
"""What was found in a video of either answer, by how far it lies from the border of the answer."""


def finding(
    probability: float | None,
    threshold: float,
    frames: np.ndarray,
    reals: Sequence[float] | None = None,
    borders: Borders | None = None,
) -> str:
    """Return a score in words: what was found, in how many frames, and how many real videos look as suspicious.

    Args:
        probability: of fake, of the video; None if the detector abstains.
        threshold: the video is called fake at or above it.
        frames: probability of fake of each frame, `(T,)`.
        reals: probabilities of fake of the real validation videos; None if the detector's file does not hold them.
        borders: of *cannot tell*; None for the threshold alone.
    """
    if probability is None:
        return "No verdict: the detector has too little to judge by."
    lower, upper = borders or (threshold, threshold)
    answer, two = answers.decide(probability, (lower, upper)), lower == upper
    if answer == "cannot tell":
        found = "Some signs of forgery, as real and fake videos have them"
    else:
        way = (probability - upper) / max(1 - upper, 1e-9) if answer == "fake" else (lower - probability) / lower
        steps = [0.1 if two else 0.0, 0.5, 0.85]
        found = _FOUND[answer][int(np.searchsorted(steps, way, side="right"))]
    fake = probability >= threshold
    agree = int(((frames >= threshold) == fake).sum())
    side = ("below the threshold", "at or above the threshold")[fake]
    return f"{found}; {agree} of {len(frames)} frames are {side}. {_beside_reals(probability, reals)}"


def _beside_reals(probability: float, reals: Sequence[float] | None) -> str:
    """Return how many real validation videos have the score or a higher one, scores compared to four decimals."""
    ranked = answers.rank(probability, reals)
    if not ranked:
        return "How many real videos look as suspicious is not known: this detector's file does not hold their scores."
    as_high, count = ranked
    if not as_high:
        return f"None of {count} real validation videos looks as suspicious."
    return f"{as_high} of {count} real validation videos look as suspicious or more so."


def fewer_frames(count: int, usual: int, rates: Sequence[Mapping[str, Any]]) -> str:
    """Return what it means that a clip has fewer faces than the detector was trained on, by its measured error rates.

    Args:
        count: faces of the clip.
        usual: faces that the detector was trained on.
        rates: the detector's `frames_error_rates`; [] if they were not measured.
    """
    faces = "Only one face was" if count == 1 else f"Only {count} faces were"
    said = f"{faces} found, where the detector was trained on {usual}: its answer is less certain."
    if not (near := [entry for entry in rates if entry["frames"] <= count]):
        return f"{said} Its errors with so few faces were not measured."
    few, all_of_them = near[-1], rates[-1]
    shares = [f"{entry[kind]['value']:.0%}" for entry in (few, all_of_them) for kind in ("false_alarms", "misses")]
    frames = "1 frame" if few["frames"] == 1 else f"{few['frames']} frames"
    return (
        f"{said} With {frames} it called {shares[0]} of {few['reals']} real validation videos fake and {shares[1]} of "
        f"{few['fakes']} fakes real; with {all_of_them['frames']}, {shares[2]} and {shares[3]}."
    )


_TINY = 16
"""Variants of the built-in sample: with fewer, its scores do not even say that training works."""


def caution(params: Params) -> Text | None:
    """Return what a reader must know before any figure of an experiment, one sentence per line; None if nothing.

    Its scores mean nothing if its data are a few clips of the built-in sample; they are too good if its detector began
    with the weights of another that has seen the test videos.
    """
    said = [*_of_sample(params), *_of_first_weights(params)]
    return Text("\n".join(said)) if said else None


def _of_sample(params: Params) -> list[str]:
    """Return a warning if the data are a few clips of the built-in sample.

    The size of the sample is a parameter of notebook 01; after it, its record says what it was. Nothing is returned if
    notebook 01 was not run for this experiment.
    """
    if "sample_variants" not in params.model_fields_set:
        try:
            params = params.model_copy(update=stages.record(params, "download")["parameters"])
        except InputError:
            return []
    if {place.layout for place in params.places} != {"sample"} or params.sample_variants >= _TINY:
        return []
    return [
        f"The data are {params.sample_variants} variants of the built-in sample: this run only shows that the "
        "notebooks work, and its scores mean nothing."
    ]


def _of_first_weights(params: Params) -> list[str]:
    """Return warnings if training begins (notebook 03) or began with weights that have seen the test videos."""
    videos, config = params.run_folder / "videos.parquet", params.run_folder / "detector" / "config.json"
    if not videos.is_file():
        return []
    if "pretrained" in params.model_fields_set:
        earlier = provenance.earlier_training(params.first_weights, params.pretrained)
    else:
        earlier = read_json(config).get("training", {}).get("earlier") if config.is_file() else None
    return provenance.cautions(earlier, read_table(videos))
