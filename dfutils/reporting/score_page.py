"""Imported scores judged, and several detectors compared on one page: figures, paired differences, weak methods."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from dfutils.core import stages
from dfutils.core.files import write_json
from dfutils.core.params import Params, lasting
from dfutils.evaluation import comparison, coverage
from dfutils.evaluation.evaluation import Evaluation, calibrate, score_splits
from dfutils.evaluation.experiment import Experiment
from dfutils.metrics import figures
from dfutils.metrics.intervals import with_interval
from dfutils.reporting import comparison_plots, html, overview
from dfutils.reporting.report import keep
from dfutils.reporting.table import Table

_DIGITS = 4


def judge(experiments: Sequence[Params]) -> list[Path]:
    """Write what notebook 04 writes for each experiment, and the report's first page; return the reports' folders.

    Of several, baselines and the figures that need no threshold by method are left out; notebook 04 has them.
    """
    folders = []
    for params in experiments:
        experiment = Experiment(params)
        scores = score_splits(experiment)
        chosen = calibrate(scores, params.threshold, params.target_recall, params.prior_fake)
        settings = {"no_face": params.no_face, "resamples": params.resamples, "seed": params.seed}
        evaluation = Evaluation(experiment, scores, chosen, **settings, brief=len(experiments) > 1)
        folders.append(evaluation.write())
        fitted = {"slope": chosen.scaling.slope, "offset": chosen.scaling.offset}
        stages.finish(params, "evaluate", threshold=chosen.threshold, **fitted, detector=evaluation.detector)
        run = {"stages": {}, "failed": "", "parameters": lasting(params), "made_by": stages.provenance()}
        write_json(run, params.report_folder / "run.json")
        html.write_index(params, run)
    return folders


def write_comparison(experiments: Sequence[Params], name: str) -> Path:
    """Write `index.html` into `reports/<name>`: the experiments side by side; return its path.

    The first of them is the one that the others are compared with, on the test videos that both have scored.
    """
    reports = experiments[0].report_folder.parent
    known = {run.name: run for run in comparison.found(reports)}
    runs = [known[params.experiment] for params in experiments]
    tables = {run.name: Experiment(params).predictions for run, params in zip(runs, experiments, strict=True)}
    short = {run.name: run.name.removeprefix(f"{name}-") for run in runs}
    tested = {run.name: tables[run.name][tables[run.name]["split"] == "test"] for run in runs}
    drawn = {"resamples": experiments[0].resamples, "seed": experiments[0].seed}
    parts = {
        "Figures": Table(_figures(runs, tested, short), "Test videos that each has scored, with 95% intervals"),
        f"Compared with {short[runs[0].name]}": Table(
            _paired(runs, tested, short, drawn), "ROC AUC on the videos that both have scored, with 95% intervals"
        ),
        "Methods, the weakest first": Table(_methods(runs, short), "Fakes caught, by method of forgery"),
    }
    for title, table in zip(("figures", "paired", "methods"), parts.values(), strict=True):
        keep(table, reports / name, title)
    auc = {short[run.name]: run.metrics["test"]["video"]["roc_auc"] for run in runs}
    ranked = sorted(auc, key=lambda key: -(auc[key]["value"] or 0))
    title = f"ROC AUC of {len(runs)} detectors, each on the test videos that it has scored"
    picture = comparison_plots.forest({key: auc[key] for key in ranked}, title, mark=short[runs[0].name])
    keep(picture, reports / name, "detectors")
    markup = {title: Markup(table._repr_html_()) for title, table in parts.items()}
    intro = f"{len(runs)} detectors whose scores were imported. {short[runs[0].name]}: {runs[0].metrics['verdict']}"
    page = {"picture": Markup(picture.to_html()), "tables": markup}
    return overview.write_page(reports / name / "index.html", f"{name}: {len(runs)} detectors", intro, runs, **page)


def _figures(runs: Sequence[comparison.Run], tested: dict[str, pd.DataFrame], short: dict[str, str]) -> pd.DataFrame:
    """Return one row per detector: how many videos it scored, and its figures."""
    rows = {}
    for run in runs:
        video, counted = run.metrics["test"]["video"], coverage.with_policy(tested[run.name])
        alarms = {"value": None} if video["recall_real"]["value"] is None else _complement(video["recall_real"])
        observed = figures.observed_eer(counted.labels, counted.scores)
        rows[short[run.name]] = {
            "videos": f"{len(counted.labels):,} of {len(tested[run.name]):,}",
            "ROC AUC": with_interval(video["roc_auc"], _DIGITS),
            "threshold": f"{run.metrics['threshold']['value']:.3f}",
            "fakes caught": with_interval(video["recall_fake"], _DIGITS),
            "false alarms": with_interval(alarms, _DIGITS),
            "equal error rate": with_interval(video["eer"], _DIGITS),
            "without interpolation": "–" if observed is None else f"{observed:.{_DIGITS}f}",
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _complement(rate: dict[str, Any]) -> dict[str, Any]:
    """Return 1 less a rate, with its interval."""
    low, high = (None if rate[end] is None else 1 - rate[end] for end in ("high", "low"))
    return {"value": 1 - rate["value"], "low": low, "high": high}


def _paired(
    runs: Sequence[comparison.Run], tested: dict[str, pd.DataFrame], short: dict[str, str], drawn: dict[str, int]
) -> pd.DataFrame:
    """Return one row per detector but the first: its ROC AUC, that of the first there, and the difference."""
    rows = {}
    for run in runs[1:]:
        common = comparison.common(tested[runs[0].name], tested[run.name])
        if common is None:
            rows[short[run.name]] = {"videos": "too few", "its AUC": "", "AUC of the first": "", "difference": ""}
            continue
        theirs = common.table["theirs"].to_numpy(dtype=float)
        pair = (common.labels, theirs, common.scores)
        gain = figures.paired_difference(*pair, "roc_auc", groups=common.groups, **drawn)
        values = [comparison.roc_auc_score(common.labels, scores) for scores in (theirs, common.scores)]
        rows[short[run.name]] = {
            "videos": f"{len(common.labels):,}",
            "its AUC": f"{values[0]:.{_DIGITS}f}",
            "AUC of the first": f"{values[1]:.{_DIGITS}f}",
            "difference": with_interval(gain, _DIGITS),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _methods(runs: Sequence[comparison.Run], short: dict[str, str]) -> pd.DataFrame:
    """Return one row per method of forgery, those that the first detector misses most at the top."""
    rows: dict[str, dict[str, str]] = {}
    first = [row for row in runs[0].metrics["by_method"] if row["fake"]]
    for row in sorted(first, key=lambda row: (row["recall_fake"], row["slice"])):
        caught = _complement({"value": row["error_rate"], "low": row["low"], "high": row["high"]})
        rows[row["slice"]] = {"fakes": f"{row['fake']:,}", short[runs[0].name]: with_interval(caught)}
    for run in runs[1:]:
        for row in run.metrics["by_method"]:
            if row["slice"] in rows and row["fake"]:
                rows[row["slice"]][short[run.name]] = f"{row['recall_fake']:.3f}"
    return pd.DataFrame.from_dict(rows, orient="index").fillna("–")
