"""Matching of paths with the patterns of a layout, and advice for trees of files that do not fit."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dfutils.core.paths import PICTURES, files_below, printable
from dfutils.data.layouts import LAYOUTS, Layout, Rule
from dfutils.data.lists import plain
from dfutils.data.picture_layouts import LABEL_WORDS

_ARCHIVES = frozenset({".zip", ".tar", ".gz", ".tgz", ".xz", ".bz2", ".7z", ".rar"})
_NOUNS = {"video": "video", "any": "video", "picture": "picture", "frames": "folder of frames"}


class Match(NamedTuple):
    """A rule that matches a path."""

    rule: Rule
    groups: dict[str, str]
    key: str  # plain path below the folders that the dataset was unpacked into
    prefix: str  # those folders, with a slash at the end, or ""

    @property
    def listed_name(self) -> str:
        """The name of the video in the dataset's lists; "" if it is in none."""
        whole = {"key": self.key, "path": self.prefix + self.key, "name": self.key.rpartition("/")[2]}
        return self.rule.listed.format_map({**self.groups, **whole})


def match(entry: Layout, path: str) -> Match | None:
    """Return the match of the first rule that matches; a published dataset may lie in any folders below the root."""
    for rule in entry.rules:
        pattern = rf"(?P<prefix>(?:.+/)??)(?P<key>{rule.pattern})" if entry.published else rf"(?P<key>{rule.pattern})"
        found = re.fullmatch(pattern, plain_path(entry, path), re.IGNORECASE)  # `re` keeps 512 compiled patterns
        if found:
            groups = {name: text or "" for name, text in found.groupdict().items()}
            if entry.published:  # names of people must not differ by case alone
                groups |= {name: groups[name].lower() for name in ("identity", "donor") if name in groups}
            return Match(rule, groups, groups.pop("key"), groups.pop("prefix", ""))
    return None


def plain_path(entry: Layout, path: str) -> str:
    """Return the path that the rules are matched with."""
    return plain(path) if entry.published else os.path.splitext(path)[0]


def why_no_video(entry: Layout, root: Path, paths: list[str]) -> str:
    """Return what is wrong with a folder in which no video has a label: what was found, what was expected, what to do.

    Args:
        entry: the layout that it was scanned with.
        root: the folder.
        paths: the videos below it.
    """
    none = f"There is no {_NOUNS[entry.media]} below {root}"
    if not paths:
        if archives := files_below(root, _ARCHIVES):
            first = printable(archives[0])
            return (
                f"{none}, but {len(archives)} archives such as {first}: unpack each where it lies (in {root}, "
                f"`tar -xf {first} -C {first.rpartition('/')[0] or '.'}`)."
            )
        images = files_below(root, PICTURES)
        if images:
            return (
                f"{none}, but {len(images)} images such as {printable(images[0])}: set `layout: images` if each is a "
                "photograph, `layout: frames` if each folder holds the frames of a video."
            )
        return f"{none}: {entry.title} has files like {entry.example}. {entry.obtain}"
    unlabelled = [path for path in paths if (found := match(entry, path)) and found.rule.label is None]
    if unlabelled:
        return (
            f"None of the {len(paths)} videos below {root} has a label: {entry.title} states them in "
            f"{' or '.join(entry.lists)} beside the videos, which is missing or names others; fetch it into the folder "
            f"of {printable(unlabelled[0])}."
        )
    return (
        f"None of the {len(paths)} videos below {root} is one of {entry.title}. Found: {_folders(paths)}, for example "
        f"{printable(paths[0])}. Expected: files like {entry.example}. {advice(entry, root, paths)}"
    )


def advice(entry: Layout, root: Path, paths: list[str]) -> str:
    """Return which parameter to set for videos that do not fit a layout, as one sentence."""
    fits = {
        name: sum((found := match(other, path)) is not None and found.rule.label is not None for path in paths)
        for name, other in LAYOUTS.items()
        if name not in ("sample", "stills") and other is not entry and other.media == entry.media
    }
    best = max(fits, key=lambda name: fits[name])
    if 2 * fits[best] > len(paths):
        return f"{fits[best]} of them fit the layout {best}: set `layout: {best}`."
    tree, layout = (LAYOUTS["folder"], " and `layout: folder`") if entry.published else (entry, "")
    for known, also in ((entry, ""), (tree, layout)):
        if 2 * sum(match(known, f"{root.name}/{path}") is not None for path in paths) > len(paths):
            return f"`root` is one folder too deep: set `root: {root.parent}`{also}."
    below = sorted({folder for path in paths for folder in _parents(path) if match(tree, path[len(folder) + 1 :])})
    if len(below) == 1:
        return f"`root` is not deep enough: set `root: {root / below[0]}`{layout}."
    if 1 < len(below) <= 4:
        roots = ", ".join(str(root / folder) for folder in below)
        layouts = f", and `layout: {', '.join(['folder'] * len(below))}`" if entry.published else ""
        return f"{roots} are datasets of their own: name each in `dataset` and `root`, comma-separated{layouts}."
    named = {label: sorted(_named(paths, words)) for label, words in LABEL_WORDS.items()}
    if any(named.values()):
        texts = [f"{label} videos are in {', '.join(folders[:4])}" for label, folders in named.items() if folders]
        return (
            f"If {' and '.join(texts)}, move or link them to real/ and fake/<method>/ below one folder, and set `root` "
            "to that and `layout: folder`."
        )
    return (
        f"Set `layout` to one of {', '.join(LAYOUTS)}, or `root` to the folder that the dataset was unpacked into; any "
        "other videos fit `layout: folder` once they lie below real/ and fake/<method>/."
    )


def _folders(paths: list[str], most: int = 4) -> str:
    """Return the folders that hold the most videos, with their numbers, as text."""
    count = Counter(path.rpartition("/")[0] or "no folder" for path in paths)
    texts = [f"{printable(folder)} ({number})" for folder, number in count.most_common(most)]
    return ", ".join(texts) + (f" and {len(count) - most} more" if len(count) > most else "")


def _parents(path: str) -> Iterator[str]:
    """Yield the folders above a file, the outermost first."""
    parts = path.split("/")
    yield from ("/".join(parts[:depth]) for depth in range(1, len(parts)))


def _named(paths: list[str], words: str) -> set[str]:
    """Return the folders whose names contain one of the words, each by the outermost such folder."""
    found = set()
    for path in paths:
        for folder in _parents(path):
            if re.search(words, folder.rpartition("/")[2], re.IGNORECASE):
                found.add(printable(folder))
                break
    return found
