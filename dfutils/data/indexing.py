"""Which videos there are, and what is known of each before any is opened.

`scan` turns a folder into the videos table: a row a video with its label, method, people, source video and official
split, all read from names and from the dataset's own lists by an entry of `dfutils.data.layouts`. No label is ever guessed:
what fits no pattern, is on no list, or is said to be two things is left out, and the table's warnings say so. `check`
holds the counts against the published ones, `open_facts` fills in what the containers say, `pool` joins datasets, and
`fingerprint` names the data that an experiment saw.
"""

import difflib
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from dfutils.core.errors import InputError
from dfutils.core.files import digest
from dfutils.core.paths import EXTENSIONS, files_below, video_id, walk, with_suffix
from dfutils.core.progress import bar
from dfutils.data.layouts import FAKE, LAYOUTS, Layout, Listed, Rule, plain

__all__ = [
    "COLUMNS", "EXTENSIONS", "LAYOUTS", "check", "files_below", "fingerprint", "open_facts", "pool", "scan", "video_id",
]  # fmt: skip

COLUMNS = [
    "video_id", "path", "label", "dataset", "method", "identity", "donor", "source_video", "official_split",
    "width", "height", "fps", "n_frames", "duration_s", "codec", "bitrate",
]  # fmt: skip
FACTS = ["width", "height", "fps", "n_frames", "duration_s", "bitrate"]  # the numeric ones; `codec` is text


class _Match(NamedTuple):
    rule: Rule
    groups: dict[str, str]
    key: str  # plain path below whatever folders the dataset was unpacked into
    prefix: str  # those folders, with a slash at the end, or ""


def _ids(paths: list[str]) -> list[str]:
    """Return the names of all videos; where some would differ in case only or not at all, each gets its suffix."""
    ids = [video_id(path) for path in paths]
    times = Counter(name.lower() for name in ids)
    return [with_suffix(name, path) if times[name.lower()] > 1 else name for name, path in zip(ids, paths, strict=True)]


def find_layout(name: str) -> Layout:
    """Return the layout of that name.

    Raises:
        InputError: if there is none, naming the closest.
    """
    if name in LAYOUTS:
        return LAYOUTS[name]
    close = difflib.get_close_matches(name, LAYOUTS, n=1, cutoff=0.4)
    hint = f"did you mean {close[0]!r}?" if close else f"the layouts are {', '.join(LAYOUTS)}."
    raise InputError(f"There is no layout {name!r}: {hint}")


def scan(layout: str, root: Path | str) -> pd.DataFrame:
    """Return the videos table of the dataset below `root`, sorted by path; no video is opened.

    Columns are `COLUMNS`: `label` int8 (0 real, 1 fake), container facts NaN or "". `dataset` is the layout's name.
    `source_video` names the real video even where it is not there (a subset), so that fakes made from it stay together.

    `table.attrs["warnings"]` is a list of `{"kind", "count", "text", "examples"}`: what was left out and why, what the
    lists name that is missing, what no list names, and counts that differ from the published ones.

    Raises:
        InputError: if the layout is unknown, `root` is missing or a file, no video there fits the layout, two files
            are the same video of a published dataset or would share an id, or a list is broken or contradicts itself.
    """
    entry, root = find_layout(layout), Path(root)
    if not root.exists():
        raise InputError(f"The dataset's folder {root} is missing: fetch the dataset (notebook 01) or correct `root`.")
    if not root.is_dir():
        raise InputError(f"{root} is a file: `root` must be the folder of the dataset ({entry.title}).")
    paths, list_paths = walk(root, entry.lists)
    lists = entry.read(root, list_paths) if entry.read and list_paths else {}
    left_out: dict[str, list[str]] = {"ignored": [], "unfitting": [], "unlabelled": [], "contradicting": []}
    seen: dict[str, str] = {}  # path by key, to catch the same video twice
    kept: list[tuple[str, _Match, Listed | None, int]] = []
    # With a test list only, everything off it is for training; a list that names training videos is taken at its word.
    splits = {entry.split for entry in lists.values()}
    off_list = "train" if "test" in splits and "train" not in splits else ""
    named, unlisted = set(), []
    for path in paths:
        match = _match(entry, path)
        if match is None or not _is_text(path):
            ignored = entry.ignored and re.fullmatch(entry.ignored, plain(path), re.IGNORECASE)
            left_out["ignored" if ignored else "unfitting"].append(path)
            continue
        if entry.published and seen.setdefault(match.key.lower(), path) != path:
            raise InputError(
                f"{seen[match.key.lower()]} and {path} below {root} are the same video of {entry.title}: keep one."
            )
        name = match.rule.listed.format_map({**match.groups, "key": match.key, "name": match.key.rpartition("/")[2]})
        found = lists.get(name.lower())
        named.add(name.lower())
        if lists and name and found is None and match.rule.label is not None:
            unlisted.append(path)
        said, by_rule = found.label if found else None, match.rule.label
        label = by_rule if said is None else said
        if label is None:
            left_out["unlabelled"].append(path)
        elif by_rule is not None and label != by_rule:
            left_out["contradicting"].append(path)
        else:
            kept.append((path, match, found, label))
    if not kept:
        raise InputError(_nothing(entry, root, paths))
    absent = sorted(listed.name or name for name, listed in lists.items() if name not in named)
    table = _table(layout, entry, kept, off_list)
    table.attrs["warnings"] = [
        *_warnings(entry, lists, left_out, absent, unlisted if not off_list else []),
        *_count_warnings(check(layout, table)),
    ]
    return table


def _match(entry: Layout, path: str) -> _Match | None:
    """Return what the first rule that fits says. A published dataset may lie in folders of its own below the root."""
    published = _plain(entry, path)
    for rule in entry.rules:
        pattern = rf"(?P<prefix>(?:.+/)??)(?P<key>{rule.pattern})" if entry.published else rf"(?P<key>{rule.pattern})"
        found = re.fullmatch(pattern, published, re.IGNORECASE)  # compiled once: `re` keeps the latest 512
        if found:
            groups = {name: text or "" for name, text in found.groupdict().items()}
            if entry.published:  # names of people must not differ by case alone
                groups |= {name: groups[name].lower() for name in ("identity", "donor") if name in groups}
            return _Match(rule, groups, groups.pop("key"), groups.pop("prefix", ""))
    return None


def _plain(entry: Layout, path: str) -> str:
    """Return what the rules are matched with; own folders are taken as they are."""
    return plain(path) if entry.published else os.path.splitext(path)[0]


def _is_text(path: str) -> bool:
    """Whether a file's name is Unicode; other bytes cannot be written to a table."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _table(
    layout: str, entry: Layout, kept: list[tuple[str, _Match, Listed | None, int]], off_list: str
) -> pd.DataFrame:
    """Build the videos table from the matches."""
    ids = _ids([path for path, *_ in kept])
    first: dict[str, str] = {}
    for name, (path, *_) in zip(ids, kept, strict=True):
        if first.setdefault(name.lower(), path) != path:
            raise InputError(f"{first[name.lower()]} and {path} would share the id {name}: rename one of the files.")
    by_key = {match.key.lower(): name for name, (_, match, _, _) in zip(ids, kept, strict=True)}
    rows = []
    for name, (path, match, found, label) in zip(ids, kept, strict=True):
        rule, groups = match.rule, match.groups
        method = (rule.method or groups.get("method", "")) if label == FAKE else ""
        source = (found.source if found else "") or rule.source.format_map(groups)
        if source:
            source = by_key.get(_plain(entry, source).lower()) or video_id(match.prefix + source)
        split = found.split if found else off_list if rule.listed else ""
        people = (groups.get("identity", ""), groups.get("donor", ""))
        rows.append((name, path, label, layout, method, *people, source, split))
    table = pd.DataFrame(rows, columns=COLUMNS[:9]).astype({"label": np.int8})
    for column in COLUMNS[9:]:
        table[column] = "" if column == "codec" else np.nan
    return table[COLUMNS]


def _nothing(entry: Layout, root: Path, paths: list[str]) -> str:
    """Say why a scan found no video to keep."""
    if not paths:
        return f"There is no video below {root}: {entry.title} has files like {entry.example}. {entry.obtain}"
    return (
        f"None of the {len(paths)} videos below {root} is one of {entry.title}, which has files like {entry.example} "
        f"and lists beside them; here is {_shown(paths[0])}: choose the right layout or root."
    )


def _warnings(
    entry: Layout, lists: dict[str, Listed], left_out: dict[str, list[str]], absent: list[str], unlisted: list[str]
) -> list[dict[str, Any]]:
    """Return a warning for each thing that is not as published, each one sentence with examples."""
    texts = {
        "unfitting": (left_out["unfitting"], "Videos left out because their names fit no pattern of the dataset"),
        "unlabelled": (left_out["unlabelled"], "Videos left out because no list gives their label"),
        "contradicting": (
            left_out["contradicting"],
            "Videos left out because they are real by one source, fake by another",
        ),
        "absent": (absent, f"Of {len(lists)} names on the dataset's lists, those without a file"),
        "unlisted": (unlisted, "Videos that the dataset's lists do not name"),
    }
    warnings = [_warning(kind, files, text) for kind, (files, text) in texts.items() if files]
    if entry.lists and not lists:
        names = " or ".join(entry.lists)
        text = f"There is no list ({names}): the official split is unknown, and what lists say is unchecked."
        warnings.append({"kind": "no list", "count": 0, "text": text, "examples": []})
    return warnings


def _warning(kind: str, files: list[str], text: str) -> dict[str, Any]:
    examples = [_shown(path) for path in files[:10]]
    shown = ", ".join(examples[:3])
    return {"kind": kind, "count": len(files), "text": f"{text}: {len(files)}, e.g. {shown}.", "examples": examples}


def _shown(path: str) -> str:
    """Return a path that can be printed and stored, whatever bytes it holds."""
    return path.encode("utf-8", "backslashreplace").decode()


def check(layout: str, table: pd.DataFrame) -> pd.DataFrame:
    """Hold a table of one dataset against the published counts.

    Returns a row a part of the dataset (a compression of it, where there are several) with columns `part`, `expected`
    (NaN: not published), `found`, `differs` (bool; also where a part whose count is not published is missing
    altogether). No rows for layouts of one's own videos.
    """
    entry = find_layout(layout)
    found: Counter[tuple[str, str]] = Counter()
    for path in table["path"]:
        match = _match(entry, path)
        if match:
            found[match.rule.part, match.groups.get("compression", "").lower()] += 1
    compressions = sorted({compression for _, compression in found}) or [""]
    rows: list[tuple[str, int | None, int]] = [
        (f"{part} {compression}".strip(), expected, found[part, compression])
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


def _count_warnings(checked: pd.DataFrame) -> list[dict[str, Any]]:
    """One sentence for all counts that differ from the published ones."""
    differing = checked[checked["differs"]]
    if differing.empty:
        return []
    parts = [
        f"{part} {found}" + ("" if expected != expected else f" of {expected:.0f}")
        for part, expected, found in zip(differing["part"], differing["expected"], differing["found"], strict=True)
    ]
    text = f"Counts differ from the published ones: {', '.join(parts)}."
    return [{"kind": "counts", "count": len(parts), "text": text, "examples": parts[:10]}]


def open_facts(table: pd.DataFrame, root: Path | str, progress: bool = True) -> pd.DataFrame:
    """Return the table with the container facts of every video, opened once each, on all cores.

    `status` and `reason` are added: `unreadable` and why for a video that cannot be opened, "" (not judged yet) for the
    others. Facts that a container does not give stay NaN.
    """
    from dfutils.faces.video import VideoError, VideoFacts, probe

    def one(path: str) -> VideoFacts | str:
        try:
            return probe(Path(root) / path)
        except VideoError as error:
            return str(error)

    # Threads: opening is spent in FFmpeg and in waiting for the disk, both outside Python's lock.
    calls = (delayed(one)(path) for path in table["path"])
    found: Iterable[VideoFacts | str] = Parallel(n_jobs=-1, prefer="threads", return_as="generator")(calls)
    if progress:
        found = bar(found, total=len(table), desc="opening", unit="video")
    facts = list(found)
    opened = table.copy()
    for column in FACTS:
        opened[column] = [np.nan if isinstance(fact, str) else float(getattr(fact, column)) for fact in facts]
    opened["codec"] = ["" if isinstance(fact, str) else fact.codec for fact in facts]
    opened["status"] = ["unreadable" if isinstance(fact, str) else "" for fact in facts]
    opened["reason"] = [fact if isinstance(fact, str) else "" for fact in facts]
    return opened


def fingerprint(table: pd.DataFrame, root: Path | str | None = None) -> str:
    """Return 16 hexadecimal digits that name the data: ids and labels, and the files' sizes where `root` is given.

    The order of rows does not matter; a missing file has size -1.
    """
    sizes = [-1] * len(table) if root is None else [_size(Path(root) / path) for path in table["path"]]
    rows = zip(table["video_id"], table["label"].astype(int), sizes, strict=True)
    return digest(sorted([name, int(label), size] for name, label, size in rows))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def pool(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Join the videos tables of several datasets, given by name, into one.

    Ids and source videos get the dataset's name and `__` in front, so they cannot collide, and `dataset` becomes that
    name; one dataset alone keeps its ids. Warnings are joined, each with its dataset's name.

    Raises:
        InputError: if there is no table, or names and ids are such that two videos would share an id.
    """
    if not tables:
        raise InputError("There is no dataset to pool: name at least one in `dataset`.")
    parts, warnings = [], []
    for name, table in tables.items():
        part = table.assign(dataset=name)
        if len(tables) > 1:
            part["video_id"] = f"{name}__" + part["video_id"]
            sources = part["source_video"]
            part["source_video"] = sources.where(sources == "", f"{name}__" + sources)
        parts.append(part)
        warnings += [{**warning, "text": f"{name}: {warning['text']}"} for warning in table.attrs.get("warnings", [])]
        part.attrs = {}
    pooled = pd.concat(parts, ignore_index=True)
    twice = pooled["video_id"][pooled["video_id"].str.lower().duplicated()]
    if len(twice):
        raise InputError(f"Two videos of the pooled datasets share the id {twice.iloc[0]}: rename one of the datasets.")
    pooled.attrs["warnings"] = warnings
    return pooled
