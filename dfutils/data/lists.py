"""Readers of the lists that datasets bring along: labels, splits and people by the name of a video.

Each reader takes the root, the paths of the list files below it, and what 1 means where a list of one's own has
numbers as labels (`real`, `fake` or ""). It returns the entries by the lower-case name of
`layouts.Rule.listed`.
"""

import csv
import io
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dfutils.core.errors import InputError
from dfutils.core.files import decode
from dfutils.metrics import segments

REAL, FAKE = 0, 1
_LABELS = {"real": REAL, "fake": FAKE}
SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
    "testing": "test",
}  # fmt: skip
"""What words for a split mean."""


@dataclass(frozen=True)
class Listed:
    """Entry of one video in a dataset's own list; "" and None for what it does not say."""

    split: str = ""
    label: int | None = None
    source: str = ""  # path
    name: str = ""  # as written in the list, for messages
    method: str = ""
    identity: str = ""
    donor: str = ""
    attributes: tuple[tuple[str, str], ...] = ()  # names and values, such as ("language", "en")
    also: str = ""  # other splits that the lists name it in, too
    segments: str = ""  # forged seconds, such as 1.5-3.0;7-8


def plain(path: str) -> str:
    """Return the path without extension and `videos/` or `frames/` level, and with a repeated folder once."""
    *folders, name = path.split("/")
    published: list[str] = []
    for folder in folders:
        if folder.lower() not in ("videos", "frames") and not (published and published[-1].lower() == folder.lower()):
            published.append(folder)
    return "/".join([*published, name.rpartition(".")[0] or name])


def _text(root: Path, path: str) -> str:
    """Return the text of a list without a byte-order mark."""
    try:
        return decode((root / path).read_bytes())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The list {path} below {root} cannot be read ({error}); fetch it again.") from None


def _json(root: Path, path: str) -> object:
    try:
        return json.loads(_text(root, path))
    except ValueError as error:
        raise InputError(f"The list {path} below {root} is not JSON ({error}); fetch it again.") from None


def entries(root: Path, path: str, what: str) -> dict[str, dict[str, Any]]:
    """Return a JSON list that maps names to entries; `what` describes it in the error for anything else."""
    found = _json(root, path)
    if not isinstance(found, dict) or not all(isinstance(entry, dict) for entry in found.values()):
        raise InputError(f"{path} is not {what}; fetch it again.")
    return found


def _label(word: str) -> int | None:
    """Return the label that real or fake in any case stands for; None for any other word."""
    return _LABELS.get(word.lower())


def _split(name: str) -> str:
    """Return train, val or test in lower case, "" for any other text."""
    return name.lower() if name.lower() in ("train", "val", "test") else ""


def _add(lists: dict[str, Listed], name: str, entry: Listed, path: str) -> None:
    """Add an entry to the entries of a list.

    Raises:
        InputError: if there is a different entry of that name.
    """
    if lists.setdefault(name, entry) != entry:
        raise InputError(f"{path} names {entry.name or name} twice with different splits or labels; correct the list.")


def celeb_list(root: Path, paths: list[str], label_one: str = "") -> dict[str, Listed]:
    """Read `List_of_testing_videos.txt`: lines of `<digit> <path>` without a header; 1 is real, unlike our labels.

    An invalid line raises, because skipping it would move a test video to training.
    """
    lists: dict[str, Listed] = {}
    for path in paths:
        for number, line in enumerate(_text(root, path).splitlines(), start=1):
            if not line.strip():
                continue
            match = re.fullmatch(r"\s*([01])\s+(\S.*?)\s*", line)
            if not match:
                raise InputError(f"Line {number} of {path} is not '<0 or 1> <path>' but {line.strip()[:80]!r}; fix it.")
            label = REAL if match[1] == "1" else FAKE
            name = match[2].replace("\\", "/")
            _add(lists, plain(name).lower(), Listed("test", label, name=name), path)
    return lists


def ffpp_splits(root: Path, paths: list[str], label_one: str = "") -> dict[str, Listed]:
    """Read FaceForensics++'s `train.json`, `val.json`, `test.json`: pairs of real videos, each of which was the target
    of fakes with the other as donor."""
    lists: dict[str, Listed] = {}
    for path in paths:
        split = Path(path).stem.lower()
        pairs = _json(root, path)
        if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
            raise InputError(f"{path} is not FaceForensics++'s list of pairs of sequences; fetch it again.")
        for first, second in pairs:
            for name in (f"{first}", f"{second}", f"{first}_{second}", f"{second}_{first}"):
                _add(lists, name.lower(), Listed(split, name=name), path)
    return lists


def dfdc_lists(root: Path, paths: list[str], label_one: str = "") -> dict[str, Listed]:
    """Read DFDC's `metadata.json` of each part and `labels.csv` of the test set, which lie beside the videos."""
    lists: dict[str, Listed] = {}
    for path in paths:
        folder = path.rpartition("/")[0]
        prefix = f"{folder}/" if folder else ""
        rows = _dfdc_csv(root, path) if path.lower().endswith(".csv") else _dfdc_json(root, path)
        for name, split, label, original in rows:
            source = prefix + original if original else ""
            _add(lists, plain(prefix + name).lower(), Listed(split, label, source, prefix + name), path)
    return lists


def _dfdc_json(root: Path, path: str) -> Iterator[tuple[str, str, int | None, str]]:
    """Yield name, split, label and original; the label is "FAKE" or "REAL", in the test set `is_fake`, 1 or 0."""
    listed = entries(root, path, "DFDC's metadata (a mapping from file names)")
    labels = {"FAKE": FAKE, "REAL": REAL, "1": FAKE, "0": REAL}
    splits = {"train": "train", "validate": "val", "validation": "val", "val": "val", "test": "test"}
    for name, entry in listed.items():
        split = splits.get(str(entry.get("split", "")).lower(), "test" if "is_fake" in entry else "")
        label = labels.get(str(entry.get("label", entry.get("is_fake", ""))).upper())
        yield name, split, label, str(entry.get("original") or "") if label == FAKE else ""


def _dfdc_csv(root: Path, path: str) -> Iterator[tuple[str, str, int | None, str]]:
    """Yield name, split, label and original of the rows `filename,label` (1 is fake), with or without a header."""
    for number, row in enumerate(csv.reader(_text(root, path).splitlines())):
        if not row or (number == 0 and len(row) > 1 and row[1].strip() not in {"0", "1"}):
            continue
        if len(row) < 2 or row[1].strip() not in {"0", "1"}:
            raise InputError(f"Line {number + 1} of {path} is not 'filename,0' or 'filename,1'; correct it.")
        yield row[0].strip(), "test", int(row[1]), ""


def kaggle_labels(root: Path, paths: list[str], label_one: str = "") -> dict[str, Listed]:
    """Read `Gobal_metadata.csv` (the published spelling): rows of `file,LABEL` without a header, which must agree with
    the folders' labels. Names with both labels are ignored."""
    labels_of: dict[str, set[int]] = {}
    for path in paths:
        for row in csv.reader(_text(root, path).splitlines()):
            label = _label(row[1].strip()) if len(row) > 1 else None
            if label is not None:
                labels_of.setdefault(plain(row[0].strip()).lower(), set()).add(label)
    return {name: Listed(label=min(labels)) for name, labels in labels_of.items() if len(labels) == 1}


def split_list(root: Path, paths: list[str], label_one: str = "") -> dict[str, Listed]:
    """Read `splits.csv` of a dataset that the suite made: rows of `path,split` after a header."""
    lists: dict[str, Listed] = {}
    for path in paths:
        for row in csv.DictReader(_text(root, path).splitlines()):
            name, split = str(row.get("path") or ""), str(row.get("split") or "")
            if split not in ("train", "val", "test"):
                raise InputError(f"{path} gives {name or 'a line'} no split; delete that folder and make it again.")
            _add(lists, os.path.splitext(name)[0].lower(), Listed(split, name=name), path)
    return lists


def dfdc_preview(root: Path, paths: list[str], label_one: str = "") -> dict[str, Listed]:
    """Read the DFDC preview's `dataset.json`: by path, label, set, and both people, `target_id` and `swapped_id`."""
    lists: dict[str, Listed] = {}
    for path in paths:
        for name, entry in entries(root, path, "the DFDC preview's list (a mapping from paths)").items():
            label, split = _label(str(entry.get("label"))), _split(str(entry.get("set") or ""))
            target, swapped = (str(entry.get(key) or "") for key in ("target_id", "swapped_id"))
            donor = swapped if swapped != target else ""
            _add(lists, plain(name).lower(), Listed(split, label, name=name, identity=target, donor=donor), path)
    return lists


def fakeavceleb(root: Path, paths: list[str], label_one: str = "") -> dict[str, Listed]:
    """Read FakeAVCeleb's `meta_data.csv` by position: source, target1, target2, method, category, type, race, gender,
    file name, folder. The last column has no usable name. Targets, where they are people, are donors of the face."""
    lists: dict[str, Listed] = {}
    for path in paths:
        for number, row in enumerate(csv.reader(_text(root, path).splitlines())):
            if number == 0 or not row:
                continue
            if len(row) < 10:
                raise InputError(f"Line {number + 1} of {path} has {len(row)} columns, not 10; fetch the list again.")
            source, *targets, method = (text.strip() for text in row[:4])
            donors = [name for name in targets if re.fullmatch(r"id\d+", name) and name != source]
            name = f"{row[9].strip().partition('/')[2]}/{row[8].strip()}"
            entry = Listed(name=name, method=method, donor=donors[0] if donors else "")
            _add(lists, plain(name).lower(), entry, path)
    return lists


def deeperforensics(root: Path, paths: list[str], label_one: str = "") -> dict[str, Listed]:
    """Read DeeperForensics' `train.txt`, `val.txt`, `test.txt`: names of forged videos, `<target>_<actor>.mp4`, and so
    of the real videos they were made from."""
    lists: dict[str, Listed] = {}
    for path in paths:
        for line in filter(None, map(str.strip, _text(root, path).splitlines())):
            name = plain(line).rpartition("/")[2]
            for listed in (name, name.partition("_")[0]):
                _add(lists, listed.lower(), Listed(Path(path).stem.lower(), name=listed), path)
    return lists


def deepfake_eval_2024(root: Path, paths: list[str], label_one: str = "") -> dict[str, Listed]:
    """Read Deepfake-Eval-2024's table of videos by the names of its columns; a video that is neither Real nor Fake has
    no label."""
    lists: dict[str, Listed] = {}
    for path in paths:
        for row in csv.DictReader(_text(root, path).splitlines()):
            if not {"Filename", "Video Ground Truth"} <= set(row):
                raise InputError(f"{path} has no columns Filename and Video Ground Truth; fetch it again.")
            label = _label(str(row["Video Ground Truth"]).strip())
            split = _split(str(row.get("Finetuning Set") or "").strip())
            language = str(row.get("Language") or "").strip()
            name = str(row["Filename"]).strip()
            attributes = (("language", language),) if language else ()
            _add(lists, plain(name).lower(), Listed(split, label, name=name, attributes=attributes), path)
    return lists


def deepfake_faces(root: Path, paths: list[str], label_one: str = "") -> dict[str, Listed]:
    """Read the `metadata.csv` of Kaggle's deepfake_faces: `videoname`, `label` (REAL or FAKE), `original`, which names
    a fake's source. Other labels are none."""
    lists: dict[str, Listed] = {}
    for path in paths:
        for row in csv.DictReader(_text(root, path).splitlines()):
            if not {"videoname", "label", "original"} <= set(row):
                raise InputError(f"{path} has no columns videoname, label and original; fetch it again.")
            name, label = str(row["videoname"]).strip(), _label(str(row["label"]).strip())
            original = str(row["original"] or "").strip() if label == FAKE else ""
            source = f"faces_224/{os.path.splitext(original)[0]}.jpg" if original else ""
            _add(lists, plain(name).lower(), Listed("", label, source, name), path)
    return lists


_PEOPLE_AND_MORE = {"person": "identity", "donor": "donor", "source": "source", "method": "method"}


def own_table(root: Path, paths: list[str], label_one: str = "") -> dict[str, Listed]:
    """Read a table of one's own: columns `path` and `label`, optionally `split`, `person`, `donor`, `source` (path of a
    fake's real video), `method` and `segments` (forged seconds, `1.5-3.0;7-8`); any other column becomes an attribute.

    Labels are real and fake in any case, or 1 and 0 where `label_one` says what 1 means. Delimiter and encoding are
    found out; Parquet is read as well.
    """
    at_top = [path for path in paths if "/" not in path]
    if len(at_top) != 1:
        named = f"{len(at_top)} ({', '.join(at_top[:4])})" if at_top else "none"
        raise InputError(f"{root} must hold one CSV or Parquet file that lists its videos, and holds {named}.")
    path = at_top[0]
    table = read_texts(root, path)
    if missing := [name for name in ("path", "label") if name not in table]:
        raise InputError(f"{path} has no column {' and no column '.join(missing)}, but {', '.join(table)[:200]}.")
    labels = read_labels(table["label"], path, label_one)
    others = [name for name in table if name not in {"path", "label", "split", "segments", *_PEOPLE_AND_MORE}]
    lists: dict[str, Listed] = {}
    for row, label in zip(table.to_dict("records"), labels, strict=True):
        name = row["path"].replace("\\", "/").removeprefix("./").rstrip("/")
        if name.startswith("/") or re.match(r"[A-Za-z]:/", name):
            raise InputError(f"{path} names {name}: paths must begin at root ({root}), without a drive or a slash.")
        split = row.get("split", "").lower()
        if split not in ("", *SPLITS):
            raise InputError(f"{path} gives {name} the split {split!r}: use train, val or test, or leave it empty.")
        values = {column: row.get(key, "") for key, column in _PEOPLE_AND_MORE.items()}
        values["segments"] = ";".join(f"{start:g}-{end:g}" for start, end in segments.parse(row.get("segments", "")))
        if values["segments"] and label == REAL:
            raise InputError(
                f"{path} gives {name} forged seconds ({values['segments']}) and the label real: correct it."
            )
        attributes = tuple((key, row[key]) for key in others)
        entry = Listed(SPLITS.get(split, ""), label, name=name, attributes=attributes, **values)
        _add(lists, os.path.splitext(name)[0].lower(), entry, path)
    return lists


def read_texts(root: Path, path: str) -> pd.DataFrame:
    """Return a CSV or Parquet file as texts without surrounding blanks, "" where there is none."""
    try:
        if path.lower().endswith(".parquet"):
            table = pd.read_parquet(root / path)
        else:
            table = pd.read_csv(io.StringIO(_text(root, path)), sep=None, engine="python", dtype=str)
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise InputError(f"{path} cannot be read as a table: {str(error).partition(chr(10))[0]}") from None
    table = table.rename(columns=lambda name: str(name).strip().lower())
    return (
        table.astype(object)
        .where(table.notna(), "")
        .astype(str)
        .apply(lambda column: column.str.strip().astype(object))
    )


def read_labels(column: pd.Series, path: str, label_one: str) -> list[int]:
    """Return the labels that words or numbers stand for; what 1 means is never guessed."""
    labels = _LABELS
    found = sorted(set(column.str.lower()))
    if set(found) <= {"0", "1", "0.0", "1.0"}:
        if label_one not in labels:
            raise InputError(
                f"{path} has labels 0 and 1: say what 1 means with `label_one: real` or `label_one: fake`."
            )
        one = labels[label_one]
        labels = {"1": one, "1.0": one, "0": 1 - one, "0.0": 1 - one}
    if unknown := [word or "nothing" for word in found if word not in labels]:
        raise InputError(
            f"{path} has the labels {', '.join(unknown[:5])}: use real and fake, or 0 and 1 with label_one."
        )
    return [labels[word] for word in column.str.lower()]
