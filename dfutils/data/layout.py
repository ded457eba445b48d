"""What an entry of `layouts` consists of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dfutils.data.lists import Listed


@dataclass(frozen=True)
class Rule:
    """A pattern of plain paths and what it says of the videos that match.

    `pattern` must match the whole path, ignoring case; its groups `identity`, `donor`, `method`, `compression` and
    `attribute_…` fill the columns of those names, `split` the official split. `source` (published path of a fake's real
    video) and `listed` (name of the video in the lists; "" if it is in none) are format strings of the groups; `listed`
    also of `key`, the plain path as the pattern matches it, `path`, the whole of it, and `name`, its last component.
    """

    part: str
    label: int | None  # None: given by the dataset's list only
    pattern: str
    method: str = ""
    source: str = ""
    listed: str = "{key}"


@dataclass(frozen=True)
class Layout:
    """A dataset: its rules, its lists, its published numbers of files and its terms of use."""

    title: str
    rules: tuple[Rule, ...]
    example: str
    media: str = "video"  # what its files are: video, picture (each a video), frames (each folder a video), or any
    lists: tuple[str, ...] = ()  # lower-case names of the list files
    lists_at: str = ""  # where the lists are, if not in the dataset's archive
    read: Callable[[Path, list[str], str], dict[str, Listed]] | None = None
    counts: Mapping[str, int | None] = field(default_factory=dict)  # published files of each part; None: not published
    tests: int | None = None  # number of videos in the published test list
    published: bool = True  # whether patterns match plain paths; otherwise paths without extension
    ignored: str = ""  # pattern of plain paths of other files than the dataset's videos (masks)
    compression: str = ""  # of all videos, where paths do not say it
    notes: tuple[str, ...] = ()  # what a user of the dataset must know, a sentence each
    licence: str = ""
    obtain: str = ""
