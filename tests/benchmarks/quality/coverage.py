"""How often 95% intervals hold the truth: single figures and paired differences, as the reports compute them.

Every simulated test split goes the whole way: split table, predictions table, groups, figures. Run from the checkout:

    python -m tests.benchmarks.quality.coverage [--repetitions 2000] [--resamples 300]
"""

import argparse
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from scipy.special import expit

from dfutils.evaluation import coverage, evaluate
from dfutils.metrics import figures

FIGURES = ("recall_fake", "recall_real", "roc_auc", "average_precision", "brier", "log_loss")
"""Recall of fakes, one minus the share of false alarms, and the four figures of the scores."""


@dataclass(frozen=True)
class Population:
    """Test splits whose log-odds are normal in each class, `separation` standard deviations apart.

    `groups` people or sources have `reals` and `fakes` videos each and share `within` of the variance; without groups
    there are so many videos in all. `known` is what is known of a group: `identity` or `source`.
    """

    name: str
    reals: int
    fakes: int
    groups: int = 0
    known: str = "identity"
    within: float = 0.5
    separation: float = 1.8
    stretch: float = 1.3

    def draw(self, rng: np.random.Generator, times: int = 1) -> tuple[pd.DataFrame, np.ndarray]:
        """Return the split table and the log-odds of `times` test splits pooled."""
        own = np.repeat([0, 1], [self.reals, self.fakes])
        count = max(self.groups, 1) * times
        labels = np.tile(own, count)
        noise, group = rng.normal(size=len(labels)), np.repeat(np.arange(count), len(own))
        if self.groups:
            noise = np.sqrt(self.within) * rng.normal(size=count)[group] + np.sqrt(1 - self.within) * noise
        odds = self.separation * noise + self.separation**2 * (labels - 0.5)
        return self.table(labels, group), self.stretch * odds

    def table(self, labels: np.ndarray, group: np.ndarray) -> pd.DataFrame:
        """Return a split table of videos of which nothing is known but their people, or their sources."""
        names = np.char.add("v", np.arange(len(labels)).astype(str)).astype(object)
        first = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])  # the real video that a source's others are of
        sourced = self.groups > 0 and self.known == "source"
        source = np.where(names == names[first][group - group[0]], "", names[first][group - group[0]])
        people = np.char.add("p", group.astype(str)).astype(object)
        return pd.DataFrame(
            {
                "video_id": names,
                "label": labels,
                "dataset": "d",
                "method": np.where(labels == 1, "swap", ""),
                "identity": people if self.groups and not sourced else "",
                "donor": "",
                "source_video": source if sourced else "",
                "split": "test",
                "status": "ok",
            }
        )


POPULATIONS = (
    Population("20 videos", 10, 10),
    Population("50 videos", 25, 25),
    Population("300 videos", 150, 150),
    Population("40 sources x 6", 1, 5, groups=40, known="source"),
    Population("40 people x 6", 3, 3, groups=40),
    *(Population(f"{count} people x 6", 3, 3, groups=count) for count in (2, 3, 4, 6, 9)),
)
PAIRED = tuple(Population(f"{count} people", 3, 3, groups=count) for count in (2, 3, 4, 5, 10, 20, 50))


def groups_of(table: pd.DataFrame) -> np.ndarray:
    """Return the unit of intervals of each video, as notebook 04 finds it."""
    scores = pd.DataFrame({"video_id": table["video_id"], "probability_fake": 0.5})
    return coverage.with_policy(evaluate.predictions(table, scores, 0.5)).groups


def held(found: dict, truth: float) -> float:
    """Return 1.0 if an interval holds the truth, 0.0 if not, NaN if it is undefined."""
    return np.nan if found["low"] is None else float(found["low"] - 1e-9 <= truth <= found["high"] + 1e-9)


def single(population: Population, repetitions: int, resamples: int) -> np.ndarray:
    """Return `(repetitions, figures)`: whether the interval of each figure holds its truth, NaN where undefined."""
    size = max(population.groups, 1) * (population.reals + population.fakes)
    table, odds = population.draw(np.random.default_rng(10**6), times=400_000 // size)
    drawn = {"prior_fake": 0.5}
    large = figures.summary(table["label"], expit(odds), resamples=2, **drawn)
    rows, groups = [], groups_of(population.draw(np.random.default_rng(0))[0])
    for repetition in range(repetitions):
        # a seed of its own, so that populations do not share one lucky or unlucky series of draws
        rng = np.random.default_rng([POPULATIONS.index(population), repetition])
        table, odds = population.draw(rng)
        found = figures.summary(
            table["label"], expit(odds), groups=groups, resamples=resamples, seed=repetition, **drawn
        )
        rows.append([held(found[name], large[name]["value"]) for name in FIGURES])
    return np.array(rows)


def paired(population: Population, metric: str, repetitions: int, resamples: int) -> np.ndarray:
    """Return `(repetitions,)`: whether the interval of two detectors' difference holds it, NaN where undefined."""

    truth, found = true_difference(metric), []
    groups = groups_of(population.draw(np.random.default_rng(0))[0])
    for k in range(repetitions):
        table, *scores = pair(population, np.random.default_rng(k))
        drawn = {"groups": groups, "resamples": resamples, "seed": k}
        found.append(held(figures.paired_difference(table["label"], *scores, metric, **drawn), truth))
    return np.array(found)


def pair(
    population: Population, rng: np.random.Generator, times: int = 1
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Return a split table and the scores of two detectors, which share half of their noise."""
    table, odds = population.draw(rng, times)
    _, others = population.draw(rng, times)
    shift = population.stretch * population.separation**2 * (table["label"].to_numpy() - 0.5)
    return table, expit(odds), expit(0.7 * shift + np.sqrt(0.5) * (odds + others - 2 * shift))


@cache
def true_difference(metric: str) -> float:
    """Return the difference that very many people show; it does not depend on how many a test split has."""
    table, *scores = pair(PAIRED[-1], np.random.default_rng(10**6), times=1000)
    return figures.paired_difference(table["label"], *scores, metric, resamples=2)["value"]


def share(found: np.ndarray) -> str:
    """Return the share of defined intervals that hold the truth, and how many are undefined."""
    undefined = np.isnan(found).mean()
    if undefined > 0.5:
        return "undefined"
    return f"{np.nanmean(found):.3f}" + (f" ({undefined:.0%} undefined)" if undefined else "")


def main() -> None:
    """Print both tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--resamples", type=int, default=300)
    given = parser.parse_args()
    print(f"Share of 95% intervals that hold the truth; {given.repetitions} simulated test splits each.\n")
    print("| test split | " + " | ".join(FIGURES) + " |\n" + "| --- " * (len(FIGURES) + 1) + "|")
    for population in POPULATIONS:
        found = single(population, given.repetitions, given.resamples)
        print(f"| {population.name} | " + " | ".join(share(column) for column in found.T) + " |", flush=True)
    metrics = ("roc_auc", "balanced_accuracy")
    print("\n| paired difference | " + " | ".join(metrics) + " |\n" + "| --- " * (len(metrics) + 1) + "|")
    for population in PAIRED:
        found = [share(paired(population, metric, given.repetitions, given.resamples)) for metric in metrics]
        print(f"| {population.name} | " + " | ".join(found) + " |", flush=True)


if __name__ == "__main__":
    main()
