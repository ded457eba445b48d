"""Expected calibration error before and after calibration, where test and training differ in their share of fakes.

Log-odds are right for equal shares of both classes, but stretched. Run from the checkout:

    python -m tests.benchmarks.quality.calibration [--repetitions 100]
"""

import argparse

import numpy as np
from scipy.special import expit

from dfutils.metrics.calibration import fit_calibration

BINS, VALIDATION, TEST = 15, 2_000, 20_000


def split(rng: np.random.Generator, videos: int, share: float, stretch: float) -> tuple[np.ndarray, np.ndarray]:
    """Return labels, `share` of them fake, and stretched logits."""
    labels = (np.arange(videos) < round(share * videos)).astype(int)
    return labels, stretch * (1.8 * rng.normal(size=videos) + 1.8**2 * (labels - 0.5))


def calibration_error(labels: np.ndarray, scores: np.ndarray, prior: float) -> float:
    """Return the expected calibration error (Naeini et al., 2015) where fakes have the share `prior`."""
    weights = np.where(labels == 1, prior / labels.mean(), (1 - prior) / (1 - labels.mean())) / len(labels)
    place = np.minimum((scores * BINS).astype(int), BINS - 1)
    return float(np.abs(np.bincount(place, weights * (scores - labels))).sum())


def errors(share: float, stretch: float, prior: float, repetitions: int) -> np.ndarray:
    """Return `(repetitions, 2)`: the error on test before and after calibration for the share `prior`."""
    found = []
    for repetition in range(repetitions):
        rng = np.random.default_rng(repetition)
        scaling = fit_calibration(*split(rng, VALIDATION, share, stretch), prior)
        labels, logits = split(rng, TEST, share, stretch)
        found.append([calibration_error(labels, s, prior) for s in (expit(logits), scaling.probability(logits))])
    return np.array(found)


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=100)
    repetitions = parser.parse_args().repetitions
    print(
        f"{VALIDATION:,} validation and {TEST:,} test videos, {BINS} bins, {repetitions} repetitions; mean (largest)\n"
    )
    print("| real : fake | stretch | stated share of fakes | before | after |\n" + "| --- " * 5 + "|")
    for words, share in (("1:1", 0.5), ("1:9", 0.9), ("9:1", 0.1)):
        for stretch in (1.0, 1.5, 2.0):
            for prior in dict.fromkeys((0.5, share)):
                found = errors(share, stretch, prior, repetitions)
                cells = [f"{column.mean():.3f} ({column.max():.3f})" for column in found.T]
                print(f"| {words} | {stretch} | {prior} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
