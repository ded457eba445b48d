"""What the LSTM and self-blended fakes are worth on a forgery that training never saw.

Takes an experiment whose notebooks 01 and 02 have run, leaves one method out of training and validation, trains each
variant with each seed, and scores the test split's real videos and the left-out method's fakes. Everything is kept in
`runs/`, so a run that was stopped goes on. Prints, in Markdown, ROC AUC by video with its 95% interval, and the mean of
the seeds. Run from the checkout:

    python -m tests.benchmarks.quality.generalise params/sample.yaml --without poisson [--seeds 3] [-p epochs=10]
"""

import argparse

import pandas as pd
import yaml

from dfutils.core import parameter_files, params, stages
from dfutils.core.errors import InputError
from dfutils.core.files import read_table, write_table
from dfutils.core.params import Params
from dfutils.data import catalog, indexing
from dfutils.detector import experiment
from dfutils.evaluation.scoring import score
from dfutils.metrics import figures

VARIANTS = {
    "lstm": {"temporal": "lstm", "self_blend": 0.0},
    "mean": {"temporal": "mean", "self_blend": 0.0},
    "lstm, self_blend .5": {"temporal": "lstm", "self_blend": 0.5},
}


def leave_out(source: Params, method: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the split table without a method in training and validation, and with no other in the test; and frames.

    Raises:
        InputError: if the test split has no fake of that method.
    """
    videos = read_table(source.run_folder / "videos.parquet")
    mine = videos["method"] == method
    if not (mine & (videos["split"] == "test")).any():
        known = ", ".join(sorted(set(videos.loc[videos["label"] == 1, "method"])))
        raise InputError(f"No fake of the test split is made by {method!r}; its methods are {known}.")
    test = videos["split"] == "test"
    kept = videos[(~test & ~mine) | (test & (mine | (videos["label"] == 0)))]
    return kept.reset_index(drop=True), read_table(source.run_folder / "frames.parquet")


def measure(p: Params, videos: pd.DataFrame, frames: pd.DataFrame, made: dict[str, object]) -> dict[str, float]:
    """Train one variant with one seed, and return its AUC on the test with the interval."""
    write_table(videos, p.run_folder / "videos.parquet")
    write_table(frames, p.run_folder / "frames.parquet")
    facts = {**made, "fingerprint": indexing.fingerprint(videos)}
    stages.finish(p, "preprocess", **{name: facts[name] for name in ("fingerprint", "settings", "layouts")})
    detector = experiment.new_detector(p)
    history = experiment.fit_experiment(p, detector, experiment.load_clips(p))
    experiment.save_detector(p, detector, history)
    test = videos[(videos["split"] == "test") & (videos["status"] == "ok")]
    scores, _ = score(detector, test, catalog.DATA, batch_size=p.batch_size)
    rows = test.merge(scores, on="video_id")
    found = figures.summary(rows["label"].to_numpy(), rows["probability_fake"].to_numpy())["roc_auc"]
    return {"value": found["value"], "low": found["low"], "high": found["high"]}


def main() -> None:
    """Train, score and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("params")
    parser.add_argument("--without", required=True, metavar="METHOD")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("-p", "--param", action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    source = parameter_files.load_params(options.params)
    given = {name: getattr(source, name) for name in source.model_fields_set}
    given |= {name: yaml.safe_load(value) for name, _, value in (text.partition("=") for text in options.param)}
    videos, frames = leave_out(source, options.without)
    made = stages.record(source, "preprocess")
    print(f"| without {options.without} | " + " | ".join(f"seed {seed}" for seed in range(options.seeds)) + " | mean |")
    print("| --- " * (options.seeds + 2) + "|")
    for number, (name, variant) in enumerate(VARIANTS.items()):
        cells, values = [], []
        for seed in range(options.seeds):
            own = f"{source.experiment}-without-{options.without}-{number}-{seed}"
            p = params.Params(**{**given, **variant, "seed": seed, "experiment": own})
            found = measure(p, videos, frames, made)
            values.append(found["value"])
            cells.append(f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]")
        print(f"| {name} | " + " | ".join(cells) + f" | {sum(values) / len(values):.3f} |", flush=True)


if __name__ == "__main__":
    main()
