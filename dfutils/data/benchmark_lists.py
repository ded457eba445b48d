"""The reader of DeepfakeBench's lists, which give class, split and frames of each video."""

import re
from collections.abc import Iterator
from pathlib import Path

from dfutils.core.errors import InputError
from dfutils.data.lists import FAKE, REAL, SPLITS, Listed, entries, plain

BENCHMARK_CLASSES = (
    (REAL, r"(?:.+[_-])?real"),  # real, FF-real, CelebDFv2_real, DFDCP_Real, simswap_Real
    (FAKE, r"(?:.+[_-])?fake[a-z]?"),  # fake, CelebDFv2_fake, DFDCP_FakeA, DFDCP_FakeB, simswap_Fake
    (FAKE, r"FF-(?:DF|F2F|FS|NT|FH|SH)"),
)
"""What the class words of DeepfakeBench's lists mean, as patterns of the whole word in any case."""


def deepfakebench(root: Path, paths: list[str], label_one: str = "") -> dict[str, Listed]:
    """Read DeepfakeBench's `dataset_json/<Name>.json`: set, class, split, video (FaceForensics++: compression, video).

    Each video lists its frames, whose folder is found below the root whatever machine the paths are of. A video that is
    in several splits counts as of the test, else of the validation split; `Listed.also` names the others.
    """
    known: dict[str, tuple[str, str, int, list[str]]] = {}  # folder, class and label, splits
    below = _Below(root)
    for path in [name for name in paths if "dataset_json/" in f"/{name}"] or paths:
        for word, split, folder in _benchmark_videos(root, path):
            label = next((value for value, form in BENCHMARK_CLASSES if re.fullmatch(form, word, re.IGNORECASE)), None)
            if label is None:
                raise InputError(
                    f"{path} has the class {word!r}: rename it in the list to a word that ends in _real or _fake."
                )
            found = below.find(folder)
            entry = known.setdefault(plain(found).lower(), (found, word, label, []))
            if entry[2] != label:
                raise InputError(f"{path} names {found} as {word}, another list as {entry[1]}: correct one of them.")
            if split not in entry[3]:
                entry[3].append(split)
    lists = {}
    for name, (folder, word, label, splits) in known.items():
        first, *others = sorted(splits, key=["test", "val", "train"].index)
        method = word if label == FAKE else ""
        lists[name] = Listed(first, label, name=folder, method=method, also=",".join(others))
    return lists


def _benchmark_videos(root: Path, path: str) -> Iterator[tuple[str, str, str]]:
    """Yield class word, split and folder of frames of each video of a list."""
    for classes in entries(root, path, "one of DeepfakeBench's lists").values():
        for word, splits in classes.items():
            for split, videos in splits.items() if isinstance(splits, dict) else ():
                if split not in SPLITS or not isinstance(videos, dict):
                    raise InputError(
                        f"{path} is not one of DeepfakeBench's lists (see {word}, {split}); fetch it again."
                    )
                levels = videos if videos.keys() <= {"raw", "c0", "c23", "c40"} else {"": videos}
                for entry in (entry for level in levels.values() for entry in level.values()):
                    frames = entry.get("frames") if isinstance(entry, dict) else None
                    if frames:
                        yield word, SPLITS[split], str(frames[0]).replace("\\", "/").rpartition("/")[0]


class _Below:
    """The folders below a root that paths of another machine end in."""

    def __init__(self, root: Path) -> None:
        self.root, self.skipped = root, 0

    def find(self, folder: str) -> str:
        """Return the longest end of a path that is a folder below the root; the path itself if none is."""
        parts = [part for part in folder.split("/") if part not in ("", ".")]
        for skip in (self.skipped, *range(len(parts))):  # paths of a list have the same beginning
            if parts[skip:] and (self.root / "/".join(parts[skip:])).is_dir():
                self.skipped = skip
                return "/".join(parts[skip:])
        return "/".join(parts)
