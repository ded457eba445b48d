"""Layouts: how the files of each dataset are named and arranged, one entry per dataset.

An entry consists of patterns of paths with what each says of a video (label, method, people, the real video it was made
from), a reader of the dataset's own lists, the published numbers of files, and the terms of use. Patterns match the
*plain* path, which is the path as published: without extension, without an extra `videos/` level, and with a repeated
folder (`X/X/`) once. A video that matches no pattern gets no label.
"""

import csv
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dfutils.core.errors import InputError
from dfutils.core.files import decode

REAL, FAKE = 0, 1


@dataclass(frozen=True)
class Rule:
    """A pattern of plain paths and what it says of the videos that match.

    `pattern` must match the whole path, ignoring case; its groups `identity`, `donor`, `method` and `compression` fill
    the columns of those names. `source` (published path of a fake's real video) and `listed` (name of the video in the
    lists; "" if it is in none) are format strings of the groups; `listed` also of `key`, the whole plain path, and
    `name`, its last component.
    """

    part: str
    label: int | None  # None: given by the dataset's list only
    pattern: str
    method: str = ""
    source: str = ""
    listed: str = "{key}"


@dataclass(frozen=True)
class Listed:
    """Entry of one video in a dataset's own list; "" and None for what it does not say."""

    split: str = ""
    label: int | None = None
    source: str = ""  # path
    name: str = ""  # as written in the list, for messages


@dataclass(frozen=True)
class Layout:
    """A dataset: its rules, its lists, its published numbers of files and its terms of use."""

    title: str
    rules: tuple[Rule, ...]
    example: str
    lists: tuple[str, ...] = ()  # lower-case names of the list files
    lists_at: str = ""  # where the lists are, if not in the dataset's archive
    read: Callable[[Path, list[str]], dict[str, Listed]] | None = None
    counts: Mapping[str, int | None] = field(default_factory=dict)  # published files of each part; None: not published
    tests: int | None = None  # number of videos in the published test list
    published: bool = True  # whether patterns match plain paths; otherwise paths without extension
    ignored: str = ""  # pattern of plain paths of other files than the dataset's videos (masks)
    licence: str = ""
    obtain: str = ""


def plain(path: str) -> str:
    """Return the path without extension and `videos/` level, and with a repeated folder once; case is kept."""
    *folders, name = path.split("/")
    published: list[str] = []
    for folder in folders:
        if folder.lower() != "videos" and not (published and published[-1].lower() == folder.lower()):
            published.append(folder)
    return "/".join([*published, name.rpartition(".")[0] or name])


# Readers of the lists. Each takes the root and the paths of the list files below it, and returns their entries by the
# lower-case name that `Rule.listed` gives.


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


def _add(lists: dict[str, Listed], name: str, entry: Listed, path: str) -> None:
    """Add an entry to the entries of a list.

    Raises:
        InputError: if there is a different entry of that name.
    """
    if lists.setdefault(name, entry) != entry:
        raise InputError(f"{path} names {entry.name or name} twice with different splits or labels; correct the list.")


def _celeb_list(root: Path, paths: list[str]) -> dict[str, Listed]:
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


def _ffpp_splits(root: Path, paths: list[str]) -> dict[str, Listed]:
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


def _dfdc_lists(root: Path, paths: list[str]) -> dict[str, Listed]:
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
    entries = _json(root, path)
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise InputError(f"{path} is not DFDC's metadata (a mapping from file names); fetch it again.")
    labels = {"FAKE": FAKE, "REAL": REAL, "1": FAKE, "0": REAL}
    splits = {"train": "train", "validate": "val", "validation": "val", "val": "val", "test": "test"}
    for name, entry in entries.items():
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


def _kaggle_labels(root: Path, paths: list[str]) -> dict[str, Listed]:
    """Read `Gobal_metadata.csv` (the published spelling): rows of `file,LABEL` without a header, which must agree with
    the folders' labels. Names with both labels are ignored."""
    labels_of: dict[str, set[int]] = {}
    for path in paths:
        for row in csv.reader(_text(root, path).splitlines()):
            label = {"REAL": REAL, "FAKE": FAKE}.get(row[1].strip().upper()) if len(row) > 1 else None
            if label is not None:
                labels_of.setdefault(plain(row[0].strip()).lower(), set()).add(label)
    return {name: Listed(label=min(labels)) for name, labels in labels_of.items() if len(labels) == 1}


def _split_list(root: Path, paths: list[str]) -> dict[str, Listed]:
    """Read `splits.csv` of a dataset that the suite made: rows of `path,split` after a header."""
    lists: dict[str, Listed] = {}
    for path in paths:
        for row in csv.DictReader(_text(root, path).splitlines()):
            name, split = str(row.get("path") or ""), str(row.get("split") or "")
            if split not in ("train", "val", "test"):
                raise InputError(f"{path} gives {name or 'a line'} no split; delete that folder and make it again.")
            _add(lists, os.path.splitext(name)[0].lower(), Listed(split, name=name), path)
    return lists


_MADE = (
    Rule("real", REAL, r"real/(?P<identity>[^/]+)"),
    Rule("fake", FAKE, r"fake/(?P<method>[^/]+)/(?P<identity>[^/]+?)__(?P<donor>[^/]+)", source="real/{identity}.mp4"),
    Rule("fake", FAKE, r"fake/(?P<method>[^/]+)/(?P<identity>[^/]+)", source="real/{identity}.mp4"),
)
_CELEB_REALS = (
    Rule("Celeb-real", REAL, r"Celeb-real/(?P<identity>id\d+)_\d+"),
    Rule("YouTube-real", REAL, r"YouTube-real/\d+"),
)
# A fake is named <target>_<donor>_<number of the target's video>, so that its source is <target>_<number>.
_CELEB_FAKE = r"(?P<identity>id\d+)_(?P<donor>id\d+)_(?P<number>\d+)"
_CELEB_SOURCE = "Celeb-real/{identity}_{number}.mp4"
_CELEB_SWAPS = Rule(
    "Celeb-synthesis", FAKE, rf"Celeb-synthesis/{_CELEB_FAKE}", method="Celeb-synthesis", source=_CELEB_SOURCE
)
_CELEB_LISTS = ("list_of_testing_videos.txt",)
_CELEB_TERMS = "For research, not for commerce; the terms are in the request form, and copies may not be passed on."
_PP = "Celeb-synthesis/(?:FaceSwap|FaceReenact|TalkingFace)/(?P<method>[^/]+)"

_FF = "(?P<compression>raw|c0|c23|c40)"
_FF_METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")
_SCENE = r"__(?P<scene>\w+)"

LAYOUTS: dict[str, Layout] = {
    "celeb_df_v1": Layout(
        title="Celeb-DF v1",
        rules=(*_CELEB_REALS, _CELEB_SWAPS),
        example="Celeb-synthesis/id0_id1_0000.mp4",
        lists=_CELEB_LISTS,
        read=_celeb_list,
        counts={"Celeb-real": 158, "YouTube-real": 250, "Celeb-synthesis": 795},
        tests=100,
        licence=_CELEB_TERMS,
        obtain="Fill in the form linked from github.com/yuezunli/celeb-deepfakeforensics; the authors send a link.",
    ),
    "celeb_df_v2": Layout(
        title="Celeb-DF v2",
        rules=(*_CELEB_REALS, _CELEB_SWAPS),
        example="Celeb-synthesis/id0_id1_0000.mp4",
        lists=_CELEB_LISTS,
        read=_celeb_list,
        counts={"Celeb-real": 590, "YouTube-real": 300, "Celeb-synthesis": 5639},
        tests=518,
        licence=_CELEB_TERMS,
        obtain="Fill in the form linked from github.com/yuezunli/celeb-deepfakeforensics; the authors send a link.",
    ),
    "celeb_df_pp": Layout(
        title="Celeb-DF++",
        rules=(
            *_CELEB_REALS,
            Rule("Celeb-synthesis", FAKE, rf"{_PP}/{_CELEB_FAKE}", source=_CELEB_SOURCE),
            # A talking face is driven by sound, not by a second person: <target>_<number>_test_<sound>.
            Rule("Celeb-synthesis", FAKE, rf"{_PP}/(?P<identity>id\d+)_(?P<number>\d+)(?:_.+)?", source=_CELEB_SOURCE),
        ),
        example="Celeb-synthesis/FaceSwap/SimSwap/id0_id1_0000.mp4",
        lists=_CELEB_LISTS,
        read=_celeb_list,
        # 53,196 fakes: counted by users of the release; the authors publish the test numbers, 178 real and 5,240 fake.
        counts={"Celeb-real": 590, "YouTube-real": 300, "Celeb-synthesis": 53196},
        tests=5418,
        licence=_CELEB_TERMS,
        obtain="Fill in the form linked from github.com/OUC-VAS/Celeb-DF-PP; the authors send a link.",
    ),
    "kaggle_cropped_faces": Layout(
        title="Kaggle: deepfake with cropped faces from video",
        rules=(
            Rule(
                "Celeb_fake_face_only", FAKE, rf"Celeb_fake_face_only/{_CELEB_FAKE}", method="Celeb-synthesis",
                source="Celeb_real_face_only/Celeb_real_face_only/{identity}_{number}.mp4", listed="{name}",
            ),
            Rule("Celeb_real_face_only", REAL, r"Celeb_real_face_only/(?P<identity>id\d+)_\d+", listed="{name}"),
            Rule("Celeb_real_face_only", REAL, r"Celeb_real_face_only/\d+", listed="{name}"),  # YouTube-real
            Rule("DFDC_FAKE_Face_only_data", FAKE, r"DFDC_FAKE_Face_only_data/[^/]+", method="DFDC", listed="{name}"),
            Rule("DFDC_REAL_Face_only_data", REAL, r"DFDC_REAL_Face_only_data/[^/]+", listed="{name}"),
            Rule(
                "FF_Face_only_data", FAKE, r"FF_Face_only_data/(?P<identity>\d+)_(?P<donor>\d+)",
                method="FaceForensics++", source="FF_Face_only_data/FF_Face_only_data/{identity}.mp4", listed="{name}",
            ),
            Rule("FF_Face_only_data", REAL, r"FF_Face_only_data/(?P<identity>\d+)", listed="{name}"),
        ),
        example="FF_Face_only_data/FF_Face_only_data/626_562.mp4",
        lists=("gobal_metadata.csv",),
        read=_kaggle_labels,
        counts={
            "Celeb_fake_face_only": None, "Celeb_real_face_only": None, "DFDC_FAKE_Face_only_data": None,
            "DFDC_REAL_Face_only_data": None, "FF_Face_only_data": None, "all videos": 6450,
        },
        licence="Crops from Celeb-DF, DFDC and FaceForensics++: the terms of all three bind; research only.",
        obtain="Public on Kaggle as pranabkc/deepfake-with-cropped-faces-from-video; notebook 01 downloads it.",
    ),
    "ffpp": Layout(
        title="FaceForensics++",
        rules=(
            Rule("youtube", REAL, rf"original_sequences/youtube/{_FF}/(?P<identity>\d{{3}})", listed="{identity}"),
            Rule("actors", REAL, rf"original_sequences/actors/{_FF}/(?P<identity>\d\d){_SCENE}", listed=""),
            *(
                Rule(
                    name, FAKE, rf"manipulated_sequences/{name}/{_FF}/(?P<identity>\d{{3}})_(?P<donor>\d{{3}})",
                    method=name, source="original_sequences/youtube/{compression}/videos/{identity}.mp4",
                    listed="{identity}_{donor}",
                )
                for name in _FF_METHODS
            ),
            Rule(
                "DeepFakeDetection", FAKE,
                rf"manipulated_sequences/DeepFakeDetection/{_FF}/(?P<identity>\d\d)_(?P<donor>\d\d){_SCENE}__\w{{8}}",
                method="DeepFakeDetection", listed="",
                source="original_sequences/actors/{compression}/videos/{identity}__{scene}.mp4",
            ),
        ),
        example="manipulated_sequences/Deepfakes/c23/videos/000_003.mp4",
        lists=("train.json", "val.json", "test.json"),
        lists_at="dataset/splits of github.com/ondyari/FaceForensics",
        read=_ffpp_splits,
        counts={"youtube": 1000, "actors": 363, **dict.fromkeys(_FF_METHODS, 1000), "DeepFakeDetection": 3068},
        ignored=r"(?:.+/)?(?:masks|models|downloaded_sequences|downloaded_videos)/.+",
        licence="For research and teaching, not for commerce (the FaceForensics terms of use, agreed to in the form).",
        obtain="Fill in the form linked from github.com/ondyari/FaceForensics; the authors send a download script.",
    ),
    "dfdc": Layout(
        title="DeepFake Detection Challenge",
        rules=(
            Rule("test videos", None, r"(?:.+/)?(?:test|validation)[^/]*/[^/]+", method="DFDC"),
            Rule("training videos", None, r".+", method="DFDC"),
        ),
        example="dfdc_train_part_0/aaaaaaaaaa.mp4",
        lists=("metadata.json", "labels.csv"),
        read=_dfdc_lists,
        counts={"training videos": 119154},  # Dolhansky et al. 2020, table 1
        licence="For research on detecting forgeries, under the rules of the Kaggle competition, to be accepted there.",
        obtain="Accept the rules of kaggle.com/c/deepfake-detection-challenge, then fetch the parts you need.",
    ),
    "folder": Layout(
        title="Own videos",
        rules=(
            Rule("real", REAL, r"real/.+"),
            Rule("fake", FAKE, r"fake/(?P<method>[^/]+)/.+"),
            Rule("fake", FAKE, r"fake/[^/]+"),
        ),
        example="real/any name.mov and fake/<method>/any name.mp4",
        published=False,
        licence="Your own videos, or ones whose owners let you use them; faces are personal data in many countries.",
        obtain="Put real videos below real/ and fakes below fake/<method>/; without fakes, set forge_fakes: true.",
    ),
    "sample": Layout(
        title="Built-in sample",
        rules=_MADE,
        example="fake/<method>/<target>__<donor>.mp4",
        published=False,
        ignored=r"(?:.+/)?masks/.+",
        licence="Made from two public-domain portraits; free to use.",
        obtain="Made by notebook 01; nothing to fetch.",
    ),
    "stills": Layout(
        title="Photographs brought to life",
        rules=_MADE,
        example="fake/<method>/<target>__<donor>.mp4",
        lists=("splits.csv",),
        read=_split_list,
        published=False,
        ignored=r"(?:.+/)?masks/.+",
        licence="As the photographs'; what is trained on them inherits it.",
        obtain="Made by notebook 01 from a folder of photographs of faces: name it with `root`.",
    ),
}  # fmt: skip
