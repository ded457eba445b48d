"""How often the intervals hold the truth, and how long they take.

Scores are simulated from populations whose figures are known from a large sample; of the intervals of many small
samples about 95% must hold them. Run from the checkout:

    python -m tests.benchmarks.quality.metrics [--repetitions 500] [--resamples 500]
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from dfutils.metrics import figures, resampling


@dataclass(frozen=True)
class Population:
    """Log-odds are normal in each class, `separation` standard deviations apart, and calibrated but for `stretch`.

    `people` share `within` of the variance among their videos; without them every video is a person of its own.
    """

    name: str
    reals: int
    fakes: int
    separation: float
    stretch: float = 1.0
    people: int = 0
    within: float = 0.0

    def draw(self, rng: np.random.Generator, times: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return labels, scores and people of `times` test splits pooled."""
        labels = np.tile(np.repeat([0, 1], [self.reals, self.fakes]), times)
        noise, groups = rng.normal(size=len(labels)), None
        if self.people:
            every = self.people * times
            groups = np.arange(len(labels)) % every  # each person has as many videos, real and fake
            noise = np.sqrt(self.within) * rng.normal(size=every)[groups] + np.sqrt(1 - self.within) * noise
        odds = self.separation * noise + self.separation**2 * (labels - 0.5)
        return labels, expit(self.stretch * odds), groups


POPULATIONS = [
    Population("calibrated", 150, 150, 1.8),
    Population("too sure", 100, 200, 1.8, stretch=2.0),
    Population("as a published report", 88, 84, 3.0, stretch=0.8),
    Population("people", 200, 300, 1.8, stretch=1.5, people=50, within=0.3),
    Population("1,000 videos", 500, 500, 2.2, stretch=1.5),
]


def truth(population: Population) -> np.ndarray:
    """Return the figures of a sample of about three million videos."""
    labels, scores, _ = population.draw(
        np.random.default_rng(10**6), times=3_000_000 // (population.reals + population.fakes)
    )
    sample = resampling.sort_scores(labels, scores, 0.5)
    return resampling.figures(sample, np.ones((1, len(labels))))[0][0]


def holds(population: Population, repetitions: int, resamples: int) -> np.ndarray:
    """Return for each figure the share of intervals that hold its true value."""
    true, held = truth(population), np.zeros(len(resampling.NAMES))
    for repetition in range(repetitions):
        # a seed of its own, so that populations do not share one lucky or unlucky series of draws
        rng = np.random.default_rng([POPULATIONS.index(population), repetition])
        labels, scores, groups = population.draw(rng)
        found = figures.summary(labels, scores, groups=groups, resamples=resamples, seed=repetition).values()
        held += [entry["low"] - 1e-9 <= value <= entry["high"] + 1e-9 for entry, value in zip(found, true, strict=True)]
    return held / repetitions


def holds_difference(metric: str, repetitions: int, resamples: int) -> float:
    """Return the share of paired intervals that hold the true difference of two detectors on the same 300 videos."""

    def pair(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        labels = np.repeat([0, 1], n)
        hard = rng.normal(size=2 * n)  # what both find hard
        a, b = (np.sqrt(0.6) * hard + np.sqrt(0.4) * rng.normal(size=2 * n) for _ in range(2))
        return labels, expit(2.0 * a + 4.0 * (labels - 0.5)), expit(1.6 * b + 2.56 * (labels - 0.5))

    column = resampling.NAMES.index(metric)
    labels, *scores = pair(np.random.default_rng(10**6), 1_000_000)
    a, b = (
        resampling.figures(resampling.sort_scores(labels, s, 0.5), np.ones((1, len(s))))[0][0, column] for s in scores
    )
    held = 0
    for repetition in range(repetitions):
        labels, *scores = pair(np.random.default_rng(repetition), 150)
        found = figures.paired_difference(labels, *scores, metric, resamples=resamples, seed=repetition)
        held += found["low"] <= a - b <= found["high"]
    return held / repetitions


def timed(what: str, work: Callable[[], object]) -> None:
    """Print how long `work` takes."""
    start = time.perf_counter()
    work()
    print(f"{what}: {time.perf_counter() - start:.1f} s")


def main() -> None:
    """Print the table of coverages and the times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=500)
    parser.add_argument("--resamples", type=int, default=500)
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 5000)
    scores, others = (expit(rng.normal(size=5000) + 2 * labels - 1) for _ in range(2))
    print("5,000 scored videos, 2,000 resamples")
    timed("  all figures", lambda: figures.summary(labels, scores))
    timed("  over 500 people", lambda: figures.summary(labels, scores, groups=np.arange(5000) % 500))
    timed("  a paired difference", lambda: figures.paired_difference(labels, scores, others, "roc_auc"))
    frames = np.repeat(labels, 10), np.repeat(scores, 10), np.repeat(np.arange(5000), 10)
    timed("  all figures of their 50,000 frames", lambda: figures.summary(*frames[:2], groups=frames[2]))

    print(f"\nshare of 95% intervals that hold the truth, {options.repetitions} repetitions")
    print(" " * 20 + "".join(f"{name:>14}" for name in [*(population.name for population in POPULATIONS), "all"]))
    table = np.stack([holds(population, options.repetitions, options.resamples) for population in POPULATIONS], axis=1)
    for name, row in zip(resampling.NAMES, table, strict=True):
        print(f"{name:20}" + "".join(f"{share:14.3f}" for share in [*row, row.mean()]))
    for metric in ("roc_auc", "balanced_accuracy"):
        share = holds_difference(metric, options.repetitions, options.resamples)
        print(f"paired difference of {metric}: {share:.3f}")


if __name__ == "__main__":
    main()
