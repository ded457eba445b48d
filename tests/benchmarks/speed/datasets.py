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


def folders(root: Path, videos: int = 240_000) -> None:
    """As many files as KoDF has, in plain folders: a quarter real, the others by six methods."""
    for k in range(videos):
        kind = "real" if k % 4 == 0 else f"fake/method{k % 6}"
        _touch(root / kind / f"part{k // 2000:03d}" / f"{k:07d}.mp4")


def listed(root: Path, videos: int = 240_000) -> None:
    """As many files with a table beside them: label, person, split and an attribute of each."""
    names = [f"part{k // 2000:03d}/{k:07d}.mp4" for k in range(videos)]
    for name in names:
        _touch(root / name)
    number = np.arange(videos)
    label, split = np.where(number % 4, "fake", "real"), np.where(number % 10, "train", "test")
    table = pd.DataFrame({"path": names, "label": label, "person": number // 600, "split": split})
    table.assign(age=number % 7).to_csv(root / "videos.csv", index=False)


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
    start, busy = time.perf_counter(), time.process_time()
    result = call()
    took = f"{time.perf_counter() - start:.2f} s, {time.process_time() - busy:.2f} s of processor"
    print(f"{what}: {len(result):,} rows, {took}, peak so far {_peak_mib():.0f} MiB")
    return result


def main(folder: Path) -> None:
    """Build the trees and print the timings."""
    trees = {"celeb_df_v2": celeb_df_v2, "dfdc": dfdc, "folder": folders, "listed": listed}
    for layout, build in trees.items():
        root = folder / layout
        if not root.exists():
            build(root)
        table = _timed(f"scan {layout}", lambda layout=layout, root=root: scan(layout, root))
        if layout in ("folder", "listed"):  # `entangled` is harder
            continue
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
