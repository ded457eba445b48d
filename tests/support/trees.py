"""Trees of empty files, of the shape of a dataset."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from dfutils.core.params import Indexed
from dfutils.data.indexing import scan


def plant(root: Path, paths: Iterable[str], lists: Mapping[str, str | bytes] | None = None) -> Path:
    """Make empty files below a folder, and lists with their content; return the folder."""
    for path, content in {**dict.fromkeys(paths, b""), **(lists or {})}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def indexed(root: Path, layout: str, paths: Iterable[str], lists: Mapping[str, str | bytes] | None = None) -> Indexed:
    """Return a dataset of a layout as notebook 01 indexes it, without container facts."""
    videos = scan(layout, plant(root, paths, lists)).assign(dataset=layout, status="")
    return Indexed(layout, root, root, videos, layout)
