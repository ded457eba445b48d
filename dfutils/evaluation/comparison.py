"""Experiments side by side: which runs there are, in what they differ, and which is better on the videos both tested.

Everything is read from the reports' own files, so that reports of other machines can be laid beside one's own. Two runs
are compared only on videos that were in the test split of both: a comparison on videos that one of them was trained on
means nothing.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.metrics import roc_auc_score

from dfutils.core.errors import InputError
from dfutils.core.files import read_json, read_table
from dfutils.core.params import DEFAULTS
from dfutils.evaluation import coverage
from dfutils.evaluation.evaluate import tested
from dfutils.metrics import figures
from dfutils.metrics.intervals import with_interval

log = logging.getLogger(__name__)

LEAST_COMMON = 10
"""Test videos that two runs must share, and both classes among them, to be compared."""

SPREAD = ("roc_auc", "average_precision", "eer", "accuracy", "balanced_accuracy", "recall_fake", "recall_real", "brier")
"""Figures whose spread over seeds is shown."""


@dataclass(frozen=True)
class Run:
    """A report with figures: its name, folder, metrics.json, the parameters known of it, and when it was evaluated."""

    name: str
    folder: Path
    metrics: dict[str, Any]
    parameters: dict[str, Any]
    finished: str


def found(reports: Path) -> list[Run]:
    """Return all runs below a folder of reports that were evaluated, by name; what cannot be read is left out."""
    runs = []
    for path in sorted(Path(reports).glob("*/metrics.json")):
        try:
            written = read_json(path)
            record = read_json(path.parent / "run.json") if (path.parent / "run.json").exists() else {}
            if "video" not in written.get("test", {}):
                raise InputError(f"{path} holds no figures of a test split.")
        except (InputError, AttributeError) as error:
            log.warning("%s is left out: %s", path.parent.name, error)
            continue
        when = record.get("stages", {}).get("evaluate", {}).get("finished", "")
        runs.append(Run(path.parent.name, path.parent, written, record.get("parameters", {}), when))
    return runs


def differences(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """Return for each run the parameters in which it departs from what most runs have (of equals, the first run)."""
    names = sorted({name for run in runs for name in run.parameters} - {"experiment"})
    result: dict[str, dict[str, Any]] = {run.name: {} for run in runs}
    for name in names:
        values = [run.parameters[name] for run in runs if name in run.parameters]
        usual = Counter(map(repr, values)).most_common(1)[0][0]
        for run in runs:
            if name in run.parameters and repr(run.parameters[name]) != usual:
                result[run.name][name] = run.parameters[name]
    return result


def paired(
    mine: pd.DataFrame,
    threshold: float,
    reports: Path,
    experiment: str,
    *,
    resamples: int = DEFAULTS.resamples,
    seed: int = 0,
    most: int = 10,
) -> tuple[pd.DataFrame, int]:
    """Return how this run does against the others on the test videos of both, and how many others share too few.

    `mine` is this run's predictions table; at most `most` runs are compared, those with the most common videos first.

    Columns: `run`, `videos` (common), `mine` and `theirs` (ROC AUC there), and for `roc_auc` and `balanced_accuracy`
    the difference mine less theirs with `_low` and `_high`, by a paired bootstrap over people.
    """
    others = {run.name: run for run in found(reports) if run.name != experiment}
    shared = {name: common(mine, _predictions(run)) for name, run in others.items()}
    known = {name: common for name, common in shared.items() if common is not None}
    drawn, rows = {"resamples": resamples, "seed": seed}, []
    for name in sorted(known, key=lambda name: (-len(known[name].table), name))[:most]:
        both, run = known[name], others[name]
        theirs = both.table["theirs"].to_numpy(dtype=float)
        pair = {"thresholds": (threshold, run.metrics["threshold"]["value"]), "groups": both.groups}
        row: dict[str, Any] = {"run": name, "videos": len(both.table)}
        row |= {"mine": roc_auc_score(both.labels, both.scores), "theirs": roc_auc_score(both.labels, theirs)}
        for figure in ("roc_auc", "balanced_accuracy"):
            gain = figures.paired_difference(both.labels, both.scores, theirs, figure, **pair, **drawn)
            row |= {figure: gain["value"], f"{figure}_low": gain["low"], f"{figure}_high": gain["high"]}
        rows.append(row)
    pairs = [f"{name}{end}" for name in ("roc_auc", "balanced_accuracy") for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=["run", "videos", "mine", "theirs", *pairs]), len(others) - len(known)


def _predictions(run: Run) -> pd.DataFrame:
    """Return a run's predictions table, without rows if it has none."""
    try:
        return read_table(run.folder / "predictions.parquet")
    except InputError:
        return pd.DataFrame()


def common(mine: pd.DataFrame, theirs: pd.DataFrame) -> coverage.Counted | None:
    """Return the test videos of two predictions tables that both have scored, with the other's scores in the column
    `theirs`; None if they are too few (`LEAST_COMMON`) or of one class."""
    columns = ["dataset", "video_id", "label", "probability_fake"]
    if not {"split", *columns} <= set(theirs):
        return None
    theirs = theirs.loc[theirs["split"] == "test", columns]
    theirs = theirs.rename(columns={"probability_fake": "theirs"}).dropna(subset=["theirs"])
    own = mine[(mine["split"] == "test") & mine["probability_fake"].notna()]
    both = own.merge(theirs, on=["dataset", "video_id", "label"])
    if len(both) < LEAST_COMMON or both["label"].nunique() < 2:
        return None
    return coverage.with_policy(both)


def train_test_matrix(reports: Path, current: dict[str, Any] | None = None, metric: str = "roc_auc") -> pd.DataFrame:
    """Return a figure by training datasets (rows) and test dataset (columns), as text with its interval.

    All cells of a column are of the same videos: a dataset of which reports have judged different videos has a column
    for each set. Of several runs of one cell the last evaluated stands there. Runs without `eval_datasets` count for
    their own cell.
    `current`, the metrics.json of a run that is not written yet, stands for the report of its name.
    """
    others = [run for run in found(reports) if not current or run.name != current.get("experiment")]
    runs = [(run.metrics, run.folder) for run in sorted(others, key=lambda run: run.finished)]
    rows = []
    for written, folder in [*runs, *([(current, reports)] if current else [])]:
        if not (trained := ", ".join(written.get("trained_on") or [])):
            continue
        tested = ", ".join(written.get("tested_on") or []) or trained  # earlier versions tested what they trained on
        for name, part in {tested: written["test"], **written.get("eval", {})}.items():
            videos = part.get("videos") or _judged(folder, name if part is not written["test"] else "")
            rows.append({"trained on": trained, "test": name, **videos, "cell": with_interval(part["video"][metric])})
    table = pd.DataFrame(rows, columns=["trained on", "test", "fingerprint", "count", "which", "cell"])
    sets = ["test", "fingerprint"]
    judged = table.groupby(sets, as_index=False).last()  # the last that is known
    foreign = ~judged["test"].isin(table["trained on"])
    judged = judged.assign(foreign=foreign, fewer=-judged["count"]).sort_values(["foreign", "test", "fewer", sets[1]])
    cells = table.drop_duplicates(["trained on", *sets], keep="last")
    cells = cells.pivot(index="trained on", columns=sets, values="cell").fillna("")
    return cells.reindex(columns=pd.MultiIndex.from_frame(judged[sets])).set_axis(_column_names(judged), axis=1)


def _judged(folder: Path, dataset: str) -> dict[str, Any]:
    """Return what names the videos that a report of an earlier version has judged, from its predictions: of the test
    split, or of another dataset. Where those are missing, the report's own name stands for them."""
    try:
        table = read_table(folder / "predictions.parquet")
        rows = table[table["split"] == ("eval" if dataset else "test")]
        rows = rows[rows["dataset"] == dataset] if dataset else rows
    except (InputError, KeyError):
        rows = pd.DataFrame()
    return tested(rows) if len(rows) else {"fingerprint": folder.name, "count": 0}


def _column_names(judged: pd.DataFrame) -> list[str]:
    """Return the heads of the columns: the dataset, and where it has several, which of its videos were judged."""
    count = judged["count"].map(lambda count: f"{count} videos" if count else "videos not recorded")
    which = count.radd([f"{which}, " if isinstance(which, str) else "" for which in judged["which"]])
    several = judged["test"].duplicated(keep=False)
    named = judged["test"].where(~several, judged["test"] + " (" + which + ")")
    alike = named.duplicated(keep=False)
    return named.where(~alike, named + " [" + judged["fingerprint"].str[:4] + "]").tolist()


def spread(runs: Sequence[Run]) -> pd.DataFrame:
    """Return mean, standard deviation, least and greatest of each figure over runs that differ in their seed alone.

    Columns `figure`, `mean`, `sd` (of the runs, n - 1; NaN for one), `least`, `greatest` and `runs` (with a value). A
    few runs say how far apart they lie, and no more: not whether the seed or the test videos matter more.
    """
    values = pd.DataFrame([{name: run.metrics["test"]["video"][name]["value"] for name in SPREAD} for run in runs])
    table = values.astype(float).agg(["mean", "std", "min", "max", "count"]).T.astype({"count": int})
    return table.set_axis(["mean", "sd", "least", "greatest", "runs"], axis=1).rename_axis("figure").reset_index()
