"""How often a slice that has nothing to do with the errors is reported as different.

Every simulated test has 30 people with 10 videos each; some people are hard. Run from the checkout:

    python -m tests.benchmarks.quality.slices [--repetitions 2000]
"""

import argparse

import numpy as np
import pandas as pd

from dfutils.metrics import slices

PEOPLE, VIDEOS = 30, 10


def split(rng: np.random.Generator, hard: float = 0.0) -> pd.DataFrame:
    """Return a predictions table with four properties; people of the last third err more often by `hard`.

    `of the person` (thirds of the people), `of few people` (five of them), `of the video` (thirds, anew for each
    video) and `of both` (a number, partly the person's).
    """
    person = np.repeat(np.arange(PEOPLE), VIDEOS)
    labels = np.tile(np.arange(VIDEOS) % 2, PEOPLE)
    rate = rng.beta(0.5, 3.0, PEOPLE)
    third = np.arange(PEOPLE) * 3 // PEOPLE
    wrong = rng.random(len(person)) < np.clip(rate + hard * (third == 2), 0, 1)[person]
    return pd.DataFrame(
        {
            "video_id": [f"v{k}" for k in range(len(person))],
            "label": labels,
            "group": [f"p{k}" for k in person],
            "probability_fake": np.where(wrong, 1 - labels, labels),
            "of the person": np.array(["a", "b", "c"])[third][person],
            "of few people": np.where(person < 5, "few", "rest"),
            "of the video": rng.choice(["a", "b", "c"], len(person)),
            "of both": rng.normal(size=PEOPLE)[person] + rng.normal(size=len(person)),
        }
    )


PROPERTIES = ("of the person", "of few people", "of the video", "of both")


def reported(repetitions: int, hard: float = 0.0) -> pd.DataFrame:
    """Return by property the share of slices with p below .05, and of tables with a corrected p below .05."""
    rows = []
    for repetition in range(repetitions):
        table = split(np.random.default_rng(repetition), hard)
        for name in PROPERTIES:
            found = slices.by_slice(table, name, 0.5, bins=3)
            rows.append([name, (found["p"] < 0.05).mean(), (found["p_holm"] < 0.05).any()])
    columns = ["property", "slices with p < .05", "tables with a corrected p < .05"]
    return pd.DataFrame(rows, columns=columns).groupby("property", sort=False).mean()


def main() -> None:
    """Print both tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=2000)
    repetitions = parser.parse_args().repetitions
    for words, hard in (("unrelated to the errors", 0.0), ("the last third of the people errs .3 more often", 0.3)):
        print(f"{words}; {repetitions} simulated tests of {PEOPLE} people with {VIDEOS} videos each\n")
        found = reported(repetitions, hard).map("{:.3f}".format).reset_index()
        for row in [found.columns, ["---"] * 3, *found.to_numpy()]:
            print("| " + " | ".join(row) + " |")
        print(flush=True)


if __name__ == "__main__":
    main()
