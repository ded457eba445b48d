"""How long the figures, intervals and tables of notebook 04 take, on a generated predictions table.

python -m tests.benchmarks.speed.evaluate [--videos 10000] [--frames 10]
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.special import expit

from dfutils.evaluation import coverage, evaluate, reference_scores
from dfutils.metrics import figures, slices


def generated(videos: int, frames: int) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return a split table of people with ten videos each, scores, and frame scores."""
    rng = np.random.default_rng(0)
    label, person = np.arange(videos) % 2, np.arange(videos) // 10
    table = pd.DataFrame({
        "video_id": [f"v{k}" for k in range(videos)], "path": "x", "dataset": "d", "label": label,
        "method": np.where(label == 1, np.array(["a", "b", "c", "d"])[np.arange(videos) // 2 % 4], ""),
        "identity": [f"p{k}" for k in person], "donor": "", "source_video": "", "status": "ok",
        "bitrate": rng.lognormal(12, 1, videos), "split": np.where(np.arange(videos) % 10 < 2, "val", "test"),
    })  # fmt: skip
    odds = 1.8 * rng.normal(size=videos) + 1.8**2 * (label - 0.5)
    scores = pd.DataFrame({"video_id": table["video_id"], "probability_fake": expit(odds)})
    rows = scores.loc[scores.index.repeat(frames)].reset_index(drop=True)
    return table, scores, rows


def main() -> None:
    """Print the seconds of each part, and of all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=10_000)
    parser.add_argument("--frames", type=int, default=10)
    given = parser.parse_args()
    videos, scores, frames = generated(given.videos, given.frames)
    total = 0.0

    def timed(name: str, work: Callable[[], object]) -> object:
        nonlocal total
        start, cpu = time.perf_counter(), time.process_time()
        result = work()
        total += time.process_time() - cpu
        print(
            f"{name}: {time.perf_counter() - start:.2f} s, {time.process_time() - cpu:.2f} s of processor", flush=True
        )
        return result

    table = timed("predictions table", lambda: evaluate.predictions(videos, scores, 0.5))
    test = table[table["split"] == "test"]
    timed("all figures of videos and frames", lambda: evaluate.measure(test, frames, 0.5))
    counted = coverage.with_policy(test)
    timed("bands of the curves", lambda: figures.bands(counted.labels, counted.scores, groups=counted.groups))
    timed("by method", lambda: slices.by_slice(test, "method", 0.5))
    timed("by part", lambda: evaluate.by_parts(test, videos, 0.5))
    others = {"majority class": reference_scores.majority(videos)}
    timed("baselines", lambda: reference_scores.baselines(table, others, 0.5))
    print(f"all: {total:.2f} s of processor")


if __name__ == "__main__":
    main()
