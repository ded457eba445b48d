"""What a user must be told of a dataset that was scanned: dictionaries `{"kind", "count", "text", "examples"}`."""

from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd

from dfutils.core.paths import printable
from dfutils.data.layout import Layout
from dfutils.data.lists import Listed


def of_files(
    entry: Layout, lists: dict[str, Listed], left_out: dict[str, list[str]], absent: list[str], unlisted: list[str]
) -> list[dict[str, Any]]:
    """Return the warnings of a scan, each one sentence with examples."""
    texts = {
        "not Unicode": (
            left_out["not Unicode"],
            "Videos left out because their names are not valid Unicode: rename them",
        ),
        "unfitting": (left_out["unfitting"], "Videos left out because their names fit no pattern of the dataset"),
        "unlabelled": (left_out["unlabelled"], "Videos left out because no list gives their label"),
        "contradicting": (
            left_out["contradicting"],
            "Videos left out because they are real by one source, fake by another",
        ),
        "absent": (absent, f"Of {len(lists)} names on the dataset's lists, those without a file"),
        "unlisted": (unlisted, "Videos that the dataset's lists do not name"),
    }
    warnings = [warning(kind, files, text) for kind, (files, text) in texts.items() if files]
    for one in warnings:
        if one["kind"] == "unfitting":
            one["text"] += f" Expected: files like {entry.example}."
    warnings += [{"kind": "note", "count": 0, "text": note, "examples": []} for note in entry.notes]
    if entry.lists and not lists:
        names = " or ".join(entry.lists)
        text = f"There is no list ({names}): the official split is unknown, and what lists say is unchecked."
        if entry.lists_at:
            text += f" The lists are in {entry.lists_at}; put them beside the videos."
        warnings.append({"kind": "no list", "count": 0, "text": text, "examples": []})
    return warnings


def warning(kind: str, files: list[str], text: str) -> dict[str, Any]:
    examples = [printable(path) for path in files[:10]]
    text = f"{text}: {len(files)}, e.g. {', '.join(examples[:3])}."
    return {"kind": kind, "count": len(files), "text": text, "examples": examples}


def of_sources(sources: Mapping[str, str], known: Collection[str]) -> list[dict[str, Any]]:
    """Return a warning for fakes whose real video, as the lists name it, is not there; these stay together even so."""
    lost = [path for path, source in sources.items() if source not in known]
    text = "Fakes whose real video the lists name, which is not there"
    return [warning("no source", lost, text)] if lost else []


def of_leaks(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a warning for videos that the dataset's own lists name in several splits."""
    if "also_in_split" not in table:
        return []
    leaking = table[table["also_in_split"] != ""]
    splits = " and ".join(sorted(set(leaking["also_in_split"])))
    text = f"The dataset's lists leak: they name test videos in {splits}, too (here they are in the test alone)"
    return [warning("leak", leaking["path"].tolist(), text)]


def of_counts(checked: pd.DataFrame) -> list[dict[str, Any]]:
    """Return one warning for all counts that differ from the published ones, or none."""
    differing = checked[checked["differs"]]
    if differing.empty:
        return []
    parts = [
        f"{part} {found}" + ("" if expected != expected else f" of {expected:.0f}")
        for part, expected, found in zip(differing["part"], differing["expected"], differing["found"], strict=True)
    ]
    text = f"Counts differ from the published ones: {', '.join(parts)}."
    return [{"kind": "counts", "count": len(parts), "text": text, "examples": parts[:10]}]
