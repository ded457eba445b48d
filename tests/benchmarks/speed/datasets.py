"""Time `scan` and `assign` on trees as large as the published datasets, made of empty files.

Run `python -m tests.benchmarks.speed.datasets [FOLDER]`; the trees go below FOLDER (default: a temporary folder,
removed at the end). It prints wall time and the process's peak memory; nothing is asserted.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dfutils.data.indexing import scan
from dfutils.splits.policies import assign


def celeb_df_v2(root: Path) -> None:
    """6,529 files: 59 people with ten videos each, 300 strangers, 5,639 swaps, a list of 518."""
    rng = np.random.default_rng(0)
    reals = [f"Celeb-real/id{person}_{number:04d}.mp4" for person in range(59) for number in range(10)]
    strangers = [f"YouTube-real/{number:05d}.mp4" for number in range(300)]
    fakes = [
        f"Celeb-synthesis/id{person}_id{donor}_{number:04d}.mp4"
        for person in range(59)
        for number in range(10)
        for donor in rng.permutation(59)[:10]
        if donor != person
    ][:5639]
    for path in [*reals, *strangers, *fakes]:
        _touch(root / path)
    tests = [*reals[:100], *strangers[:78]], fakes[:340]
    lines = [f"{digit} {path}" for digit, paths in zip((1, 0), tests, strict=True) for path in paths]
    (root / "List_of_testing_videos.txt").write_text("\n".join(lines), encoding="utf-8")


def dfdc(root: Path) -> None:
    """120,000 files in 50 parts, a fifth real, each part with its metadata."""
    for part in range(50):
        entries: dict[str, dict[str, str]] = {}
        for k in range(2400):
            name, real = f"{part:02d}x{k:07d}.mp4", k % 5 == 0
            entries[name] = {"label": "REAL" if real else "FAKE", "split": "train"}
            if not real:
                entries[name]["original"] = f"{part:02d}x{k - k % 5:07d}.mp4"
            _touch(root / f"dfdc_train_part_{part}" / name)
        (root / f"dfdc_train_part_{part}" / "metadata.json").write_text(json.dumps(entries), encoding="utf-8")


def entangled(videos: int = 120_000, persons: int = 3000) -> pd.DataFrame:
    """A table of people who are all swapped with one another, in one component: the hardest case for `assign`."""
    rng = np.random.default_rng(0)
    target, donor = rng.integers(persons, size=(2, videos))
    label = (rng.random(videos) < 0.8).astype(np.int8)
    return pd.DataFrame(
        {
            "video_id": [f"v{k:06d}" for k in range(videos)],
            "label": label,
            "dataset": "bench",
            "method": np.where(label == 1, rng.choice(["a", "b", "c"], videos), ""),
            "identity": [f"p{k}" for k in target],
            "donor": np.where(label == 1, [f"p{k}" for k in donor], ""),
            "source_video": "",
        }
    )


def _touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def _peak_mib() -> float:
    """Peak memory of this process; NaN where the system does not say."""
    try:
        import resource
    except ImportError:
        return float("nan")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def _timed(what: str, call: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    result = call()
    print(f"{what}: {len(result):,} rows, {time.perf_counter() - start:.2f} s, peak so far {_peak_mib():.0f} MiB")
    return result


def main(folder: Path) -> None:
    """Build the trees and print the timings."""
    for layout, build in (("celeb_df_v2", celeb_df_v2), ("dfdc", dfdc)):
        root = folder / layout
        if not root.exists():
            build(root)
        table = _timed(f"scan {layout}", lambda layout=layout, root=root: scan(layout, root))
        for policy in ("identity", "source", "random"):
            _timed(f"assign {layout} {policy}", lambda table=table, policy=policy: assign(table, policy))
    table = entangled()
    split = _timed("assign one component of 3,000 people, identity", lambda: assign(table, "identity"))
    print("dropped", split.attrs["dropped"])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
