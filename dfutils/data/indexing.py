"""Indexing of a dataset: from a folder of videos to the videos table.

`scan` reads each video's label, method, people, source video and official split from its path and from the dataset's
own lists, by an entry of `layouts`. No label is guessed: a video that matches no pattern, is on no list, or has
contradicting labels is left out with a warning. `check` compares the numbers of videos with the published ones,
`probe_videos` adds container facts, `pool` joins datasets, and `fingerprints` identifies the data and the splits of an
experiment.
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from dfutils.core.errors import InputError, closest
from dfutils.core.files import digest
from dfutils.core.paths import PICTURES, printable, video_id, walk, with_suffix
from dfutils.core.progress import bar
from dfutils.data import scan_warnings
from dfutils.data.layout import Layout
from dfutils.data.layouts import LAYOUTS
from dfutils.data.lists import FAKE, SPLITS, Listed, plain
from dfutils.data.matching import Match, match, plain_path, why_no_video

COLUMNS = [
    "video_id", "path", "label", "dataset", "method", "identity", "donor", "source_video", "official_split",
    "part", "compression", "width", "height", "fps", "n_frames", "duration_s", "codec", "bitrate",
]  # fmt: skip
"""Columns of the videos table, in order; `segments` (forged seconds, `1.5-3.0;7-8`), `also_in_split` (other splits that
the dataset's lists name a video in) and `attribute_…` follow where a dataset says so."""

_TEXTS = ("also_in_split", "segments")  # further columns of some datasets, "" in others
_NUMERIC_FACTS = ["width", "height", "fps", "n_frames", "duration_s", "bitrate"]  # `codec` is text


class _Video(NamedTuple):
    """A video with a label."""

    path: str
    match: Match
    listed: Listed | None  # its entry in the dataset's lists
    label: int


def _ids(paths: list[str]) -> list[str]:
    """Return the ids of all videos; ids that are equal or differ in case only get the suffix of their path."""
    ids = [video_id(path) for path in paths]
    count = Counter(name.lower() for name in ids)
    return [with_suffix(name, path) if count[name.lower()] > 1 else name for name, path in zip(ids, paths, strict=True)]


def find_layout(name: str) -> Layout:
    """Return the layout of that name.

    Raises:
        InputError: if there is none; the message names the closest.
    """
    if name in LAYOUTS:
        return LAYOUTS[name]
    close = closest(name, LAYOUTS, cutoff=0.4)
    hint = f"did you mean {close!r}?" if close else f"set `layout` to one of {', '.join(LAYOUTS)}."
    raise InputError(f"There is no layout {name!r}: {hint}")


def scan(layout: str, root: Path | str, label_one: str = "") -> pd.DataFrame:
    """Return the videos table of the dataset below `root`, sorted by path, without opening any video.

    Columns are `COLUMNS`: `label` is int8 (0 real, 1 fake), container facts are NaN or "", `dataset` is the layout's
    name, `part` the dataset's name for a kind of its videos (`youtube`, `Celeb-real`). `source_video` is the id of the
    real video even if that is missing (in a subset of the dataset), so that fakes made from it stay together.

    `table.attrs["warnings"]` is a list of `{"kind", "count", "text", "examples"}`: videos that were left out, names in
    the lists without a video, videos that are in no list, and counts that differ from the published ones.

    Args:
        layout: name of an entry of `layouts.LAYOUTS`.
        root: the dataset's folder.
        label_one: what 1 means in a list of one's own (layout `listed`), `real` or `fake`.

    Raises:
        InputError: if the layout is unknown, `root` is missing or a file, no video matches the layout, two files are
            the same video of a published dataset or would have the same id, or a list is invalid or contradicts itself.
    """
    entry, root = find_layout(layout), Path(root)
    _check_root(root, entry)
    paths, lists = _files_and_lists(entry, root, label_one)
    left_out: dict[str, list[str]] = defaultdict(list)  # by kind
    path_of: dict[str, str] = {}  # path by key, to detect duplicate videos
    videos: list[_Video] = []
    # If the lists name test videos but no training videos, all others are for training.
    splits = {entry.split for entry in lists.values()}
    unlisted_split = "train" if "test" in splits and "train" not in splits else ""
    names, unlisted = set(), []
    for path in paths:
        found = match(entry, path)
        if found is None or printable(path) != path:
            ignored = entry.ignored and re.fullmatch(entry.ignored, plain(path), re.IGNORECASE)
            left_out["ignored" if ignored else "unfitting" if found is None else "not Unicode"].append(path)
            continue
        if entry.published and path_of.setdefault(found.key.lower(), path) != path:
            raise InputError(
                f"{path_of[found.key.lower()]} and {path} below {root} are the same video of {entry.title}: keep one."
            )
        name = found.listed_name
        listed = lists.get(name.lower())
        names.add(name.lower())
        if lists and name and listed is None and found.rule.label is not None:
            unlisted.append(path)
        labels = {found.rule.label, listed.label if listed else None} - {None}
        if len(labels) == 1:
            videos.append(_Video(path, found, listed, labels.pop()))
        else:
            left_out["contradicting" if labels else "unlabelled"].append(path)
    if not videos:
        raise InputError(why_no_video(entry, root, paths))
    absent = sorted(listed.name or name for name, listed in lists.items() if name not in names)
    table = _table(layout, entry, videos, unlisted_split)
    table.attrs["warnings"] = [
        *scan_warnings.of_files(entry, lists, left_out, absent, unlisted if not unlisted_split else []),
        *scan_warnings.of_sources(_listed_sources(entry, videos), {video.match.key.lower() for video in videos}),
        *scan_warnings.of_leaks(table),
        *scan_warnings.of_counts(check(layout, table)),
    ]
    return table


def _files_and_lists(entry: Layout, root: Path, label_one: str) -> tuple[list[str], dict[str, Listed]]:
    """Return the paths of what is a video in a layout, and what its lists say of videos, by their names in the lists.

    Where videos, pictures and folders of pictures stand side by side, only the pictures and folders that a list names
    are videos, and what a list names with its extension stands before namesakes, such as a video's thumbnail.
    """
    videos, list_paths = walk(root, entry.lists, None if entry.media in ("video", "any") else PICTURES)
    lists = entry.read(root, list_paths, label_one) if entry.read and list_paths else {}
    if entry.media in ("video", "picture"):
        return videos, lists
    pictures = videos if entry.media == "frames" else walk(root, (), PICTURES)[0]
    folders = sorted({path.rpartition("/")[0] for path in pictures} - {""})
    if entry.media == "frames":
        return folders, lists
    keys = {path: os.path.splitext(path)[0].lower() for path in videos + pictures + folders}
    named = {path: lists[key].name.lower() for path, key in keys.items() if key in lists}
    exact = {name for path, name in named.items() if name == path.lower()}
    meant = [path for path, name in named.items() if name == path.lower() or name not in exact]
    return sorted(meant + [path for path in videos if path not in named]), lists


def _listed_sources(entry: Layout, videos: list[_Video]) -> dict[str, str]:
    """Return the plain path, in lower case, of the real video that the lists name for a fake, by the fake's path."""
    named = [(video.path, video.listed.source) for video in videos if video.listed and video.listed.source]
    return {path: plain_path(entry, source).lower() for path, source in named}


def _check_root(root: Path, entry: Layout) -> None:
    if not root.exists():
        raise InputError(f"The dataset's folder {root} is missing: fetch the dataset (notebook 01) or correct `root`.")
    if not root.is_dir():
        raise InputError(f"{root} is a file: `root` must be the folder of the dataset ({entry.title}).")


def _table(layout: str, entry: Layout, videos: list[_Video], unlisted_split: str) -> pd.DataFrame:
    """Return the videos table; `unlisted_split` is the official split of videos that are in none of the lists.

    Raises:
        InputError: if two videos would have the same id.
    """
    ids = _ids([video.path for video in videos])
    path_of: dict[str, str] = {}
    for name, video in zip(ids, videos, strict=True):
        other = path_of.setdefault(name.lower(), video.path)
        if other != video.path:
            raise InputError(f"{other} and {video.path} would share the id {name}: rename one of the files.")
    id_of = {video.match.key.lower(): name for name, video in zip(ids, videos, strict=True)}
    rows, attributes = [], []
    for name, (path, found, listed, label) in zip(ids, videos, strict=True):
        rule, groups = found.rule, found.groups
        said = listed or Listed()
        method = (said.method or rule.method or groups.get("method", "")) if label == FAKE else ""
        source = said.source or rule.source.format_map(groups)
        if source:
            source = id_of.get(plain_path(entry, source).lower()) or video_id(found.prefix + source)
        split = said.split or SPLITS.get(groups.get("split", "").lower(), "")
        if listed is None and rule.listed:
            split = split or unlisted_split
        people = [getattr(said, who) or groups.get(who, "") for who in ("identity", "donor")]
        place = (rule.part, groups.get("compression", entry.compression).lower())
        rows.append((name, path, label, layout, method, *people, source, split, *place))
        named = {key: text for key, text in groups.items() if key.startswith("attribute_")}
        named |= {name: text for name, text in (("also_in_split", said.also), ("segments", said.segments)) if text}
        attributes.append(named | {f"attribute_{key}": text for key, text in said.attributes})
    table = pd.DataFrame(rows, columns=COLUMNS[:11]).astype({"label": np.int8})
    for column in COLUMNS[11:]:
        table[column] = "" if column == "codec" else np.nan
    return table[COLUMNS].join(pd.DataFrame(attributes).fillna(""))


def check(layout: str, table: pd.DataFrame) -> pd.DataFrame:
    """Return the numbers of videos of a dataset beside the published ones.

    One row per part of the dataset and compression, with columns `part`, `expected` (NaN if not published), `found`,
    `differs` (bool; also True if a part without a published number is missing). Empty for layouts of own videos.
    """
    entry = find_layout(layout)
    count = Counter(zip(table["part"], table["compression"], strict=True))
    compressions = sorted({compression for _, compression in count}) or [""]
    rows: list[tuple[str, int | None, int]] = [
        (f"{part} {compression}".strip(), expected, count[part, compression])
        for compression in compressions
        for part, expected in entry.counts.items()
        if part != "all videos"
    ]
    if "all videos" in entry.counts:
        rows.append(("all videos", entry.counts["all videos"], len(table)))
    if entry.tests is not None:
        rows.append(("test list", entry.tests, int((table["official_split"] == "test").sum())))
    checked = pd.DataFrame(rows, columns=["part", "expected", "found"]).astype({"expected": float, "found": int})
    differs = checked["expected"].where(checked["expected"].notna(), checked["found"].clip(lower=1))
    return checked.assign(differs=differs != checked["found"])


def probe_videos(table: pd.DataFrame, root: Path | str, progress: bool = True) -> pd.DataFrame:
    """Return the videos table with the container facts of every video; facts that a container lacks are NaN.

    The columns `status` and `reason` are added: `unreadable` and the reason for a video that cannot be opened, "" for
    the others. Videos are opened in parallel.
    """
    from dfutils.faces.video import VideoError, VideoFacts, probe

    def facts_or_error(path: str) -> VideoFacts | str:
        try:
            return probe(Path(root) / path)
        except VideoError as error:
            return str(error)

    # Threads, because FFmpeg and reading from disk release the GIL.
    calls = (delayed(facts_or_error)(path) for path in table["path"])
    results: Iterable[VideoFacts | str] = Parallel(n_jobs=-1, prefer="threads", return_as="generator")(calls)
    if progress:
        results = bar(results, total=len(table), desc="opening", unit="video")
    results = list(results)
    table = table.copy()
    for column in _NUMERIC_FACTS:
        table[column] = [np.nan if isinstance(facts, str) else float(getattr(facts, column)) for facts in results]
    table["codec"] = ["" if isinstance(facts, str) else facts.codec for facts in results]
    table["status"] = ["unreadable" if isinstance(facts, str) else "" for facts in results]
    table["reason"] = [facts if isinstance(facts, str) else "" for facts in results]
    return table


def fingerprint(table: pd.DataFrame, root: Path | str | None = None) -> str:
    """Return the digest (16 hexadecimal digits) of ids and labels, and of the files' sizes if `root` is given.

    The order of rows does not matter; the size of a missing file is -1.
    """
    sizes = [-1] * len(table) if root is None else [_size(Path(root) / path) for path in table["path"]]
    rows = zip(table["video_id"], table["label"].astype(int), sizes, strict=True)
    return digest(sorted([name, int(label), size] for name, label, size in rows))


def fingerprints(table: pd.DataFrame) -> dict[str, str]:
    """Return what names a split table, 16 hexadecimal digits each: `fingerprint` its data (ids and labels), `splits`
    its videos, labels and splits, and `own_splits` the same without datasets that are only scored. The order of rows
    does not matter."""
    return {"fingerprint": fingerprint(table), "splits": _splits(table), "own_splits": _splits(own_part(table))}


def _splits(table: pd.DataFrame) -> str:
    rows = zip(table["video_id"], table["label"].astype(int), table["split"], strict=True)
    return digest(sorted([name, int(label), split] for name, label, split in rows))


def own_part(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a split table whose datasets are not only scored, with the ids that they have without those:
    what training depends on."""
    if "dataset" not in table:
        return table
    own = table["split"].isin(["train", "val", "test"]).groupby(table["dataset"]).transform("any")
    rows, names = table[own], table.loc[own, "dataset"].unique()
    if own.all() or len(names) != 1:
        return rows
    return rows.assign(video_id=rows["video_id"].str.removeprefix(f"{names[0]}__"))


def is_trained_on(training: Mapping[str, Any], table: pd.DataFrame) -> bool:
    """Return whether a detector was trained on the videos, labels and splits of a split table, by what its config.json
    says of its training. Earlier versions have recorded less: what they have not is taken to agree."""
    now = fingerprints(table)
    if "own_splits" in training:
        return training["own_splits"] == now["own_splits"]
    return (
        training.get("split_fingerprint") == now["fingerprint"]
        and training.get("splits", now["splits"]) == now["splits"]
    )


def check_splits(table: pd.DataFrame, made: Mapping[str, Any]) -> None:
    """Make sure that a split table is the one that notebook 02 wrote.

    Args:
        table: as it was read.
        made: the record of notebook 02. That of an earlier version names ids and labels only.

    Raises:
        InputError: if the table holds other videos, labels or splits.
    """
    now = fingerprints(table)
    if any(now[name] != made.get(name, now[name]) for name in now):
        raise InputError("The experiment's videos.parquet is not what notebook 02 wrote: run it again.")


def _size(path: Path) -> int:
    try:
        if path.is_dir():  # of frames
            return len(os.listdir(path))
        return path.stat().st_size
    except OSError:
        return -1


def pool(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the videos tables of several datasets, given by name, as one.

    Ids and source videos get the prefix `<name>__`, so that they are unique, and `dataset` is the name; the ids of a
    single dataset stay unchanged. `attrs["warnings"]` are those of all tables, prefixed with their dataset's name.

    Raises:
        InputError: if there is no table, or two videos would have the same id.
    """
    if not tables:
        raise InputError("There is no dataset to pool: name at least one in `dataset`.")
    prefixed, warnings = [], []
    for name, table in tables.items():
        videos = table.assign(dataset=name)
        if len(tables) > 1:
            videos["video_id"] = f"{name}__" + videos["video_id"]
            sources = videos["source_video"]
            videos["source_video"] = sources.where(sources == "", f"{name}__" + sources)
        prefixed.append(videos)
        warnings += [{**warning, "text": f"{name}: {warning['text']}"} for warning in table.attrs.get("warnings", [])]
        videos.attrs = {}
    pooled = pd.concat(prefixed, ignore_index=True)
    attributes = [column for column in pooled if column.startswith("attribute_") or column in _TEXTS]
    pooled[attributes] = pooled[attributes].fillna("")
    duplicates = pooled["video_id"][pooled["video_id"].str.lower().duplicated()]
    if len(duplicates):
        raise InputError(
            f"Two videos of the pooled datasets share the id {duplicates.iloc[0]}: rename one of the datasets."
        )
    pooled.attrs["warnings"] = warnings
    return pooled
