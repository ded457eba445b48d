"""What a detector has learnt from, so that a later test can be compared with it.

A detector that begins with the weights of another has seen that one's training videos, too. Each detector therefore
records which videos, people and source videos it has seen, as hashes, and what the weights that it began with had seen.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from dfutils.core.files import read_json
from dfutils.splits.identities import content_keys, own_names, person_keys

KINDS = ("videos", "people", "sources")
"""What is recorded of training videos."""


def seen(videos: pd.DataFrame) -> dict[str, list[str]]:
    """Return what a detector sees that learns from these videos: hashes of `videos`, `people` and `sources`.

    Each is a sorted list of 12 hexadecimal digits of SHA-256. People are targets and donors, as far as they are named;
    a source is the real video that a fake was made from, or a real video itself. Ids are those that videos have in
    their own dataset, so that pooling makes no difference.
    """
    return {kind: sorted({name for row in names for name in row}) for kind, names in _hashes(videos).items()}


def overlap(earlier: Mapping[str, list[str]], videos: pd.DataFrame) -> dict[str, int]:
    """Return how many of these videos are among the `videos` seen, or share `people` or `sources` with them."""
    known = {kind: set(earlier.get(kind, ())) for kind in KINDS}
    return {kind: sum(not known[kind].isdisjoint(row) for row in names) for kind, names in _hashes(videos).items()}


def earlier_training(weights: str | Path, name: str) -> dict[str, Any] | None:
    """Return what the weights that a detector begins with were trained on, as their own detector has recorded it.

    Args:
        weights: as `Params.first_weights`.
        name: what the record calls them.

    None for ImageNet's weights and random ones. Else `weights` (the name), `seen` (as `seen` gives it, with all that
    earlier weights had seen) and `complete`, false if some of it is not recorded: a file of weights says nothing, nor
    does a detector of an earlier version.
    """
    if str(weights) in ("imagenet", "packaged", "none"):
        return None
    folder = Path(weights)
    training = read_json(folder / "config.json").get("training", {}) if (folder / "config.json").is_file() else {}
    return {"weights": name, **everything_seen(training)}


def everything_seen(training: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a detector has seen by what its config.json says of its training, and the weights that it began with:
    `seen`, and `complete`, false if some of it is not recorded."""
    before = training.get("earlier") or {"seen": {}, "complete": True}
    parts = (training.get("seen", {}), before["seen"])
    everything = {kind: sorted({name for part in parts for name in part.get(kind, ())}) for kind in KINDS}
    return {"seen": everything, "complete": "seen" in training and before["complete"]}


def cautions(earlier: Mapping[str, Any] | None, videos: pd.DataFrame) -> list[str]:
    """Return what must be said with every figure on the test videos (and those of other datasets that are scored) of a
    split table, given what the detector's first weights had seen: nothing if that was none of them.

    Without the name of `weights`, `earlier` is what the detector itself has seen, which was not trained here.
    """
    if not earlier:
        return []
    weights = earlier.get("weights", "")
    opening = f"Training began with the weights of {weights}, and of" if weights else "Of"
    said = []
    for split, what in (("test", "test videos"), ("eval", "videos of other datasets")):
        rows = videos[videos["split"] == split]
        shared = overlap(earlier["seen"], rows)
        if any(shared.values()):
            said.append(
                f"{opening} the {len(rows)} {what} {'those' if weights else 'the detector'} "
                f"had seen {shared['videos']} in training, the people of {shared['people']}, and the source videos of "
                f"{shared['sources']}: every figure on them is too good."
            )
    if not earlier["complete"]:
        opening = f"{opening.removesuffix(' of')} what those were" if weights else "What the detector was"
        said.append(f"{opening} trained on is not recorded: the test videos may be among it.")
    return said


def _hashes(videos: pd.DataFrame) -> dict[str, list[set[str]]]:
    """Return for each row the hashes of its id, of its people, and of its source."""
    names = {
        "videos": [own_names(videos, videos["video_id"])],
        "people": [person_keys(videos, "identity"), person_keys(videos, "donor")],
        "sources": [own_names(videos, content_keys(videos))],
    }
    return {
        kind: [{_hash(name) for name in row if name} for row in zip(*columns, strict=True)]
        for kind, columns in names.items()
    }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
