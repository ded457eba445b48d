"""The page of all runs, and the page of one experiment under several seeds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from dfutils.core.errors import InputError
from dfutils.core.files import plain_rows, write_json
from dfutils.evaluation import comparison, metrics_json
from dfutils.metrics.intervals import value_and_interval, with_interval
from dfutils.reporting.html import HEADLINE, render
from dfutils.reporting.report import keep
from dfutils.reporting.table import Table
from dfutils.reporting.wording import figure_name


def write_overview(reports: Path) -> Path:
    """Write `index.html` into a folder of reports, one row per evaluated run, and return its path.

    The table is also written to `tables/runs.csv` and `tables/runs.tex`.

    Raises:
        InputError: if there is no evaluated run below it.
    """
    listed = comparison.found(reports)
    if not listed:
        raise InputError(f"There is no evaluated run in {reports}: dfutils run PARAMS makes one.")
    keep(_table(listed), Path(reports), "runs")
    intro = f"{len(listed)} evaluated run{'s' * (len(listed) > 1)}. A column's heading sorts by it; the field filters."
    return write_page(Path(reports) / "index.html", "Runs side by side", intro, listed, up="")


def write_seeds(reports: Path, experiment: str, seeds: list[int]) -> Path:
    """Write `<experiment>-seeds/index.html` and `seeds.json`: mean, spread and every run; return the page's path.

    Raises:
        InputError: if one of the runs was not evaluated.
    """
    from dfutils.reporting import comparison_plots, tables  # takes seconds

    names = [f"{experiment}-seed{seed}" for seed in seeds]
    known = {run.name: run for run in comparison.found(reports)}
    absent = [name for name in names if name not in known]
    if absent:
        raise InputError(f"The run {absent[0]} was not evaluated, so there is no spread over seeds to report.")
    chosen = [known[name] for name in names]
    table = comparison.spread(chosen)
    folder = Path(reports) / f"{experiment}-seeds"
    auc = table.set_index("figure").loc["roc_auc"]
    found = "ROC AUC is undefined in every run"
    if auc["runs"]:
        found = (
            f"ROC AUC {auc['mean']:.3f} on average, {auc['least']:.3f} to {auc['greatest']:.3f} over {len(seeds)} seeds"
        )
    figure = comparison_plots.forest({run.name: run.metrics["test"]["video"]["roc_auc"] for run in chosen}, found)
    keep(figure, folder, "seeds")
    write_json(
        {"schema": 1, "experiment": experiment, "runs": names, "figures": plain_rows(table)}, folder / "seeds.json"
    )
    shown = tables.rounded(table.rename(columns={"sd": "standard deviation"})).rename(index=figure_name)
    shown = Table(shown, f"Figures over {len(seeds)} seeds")
    keep(shown, folder, "spread")
    intro = (
        f"{experiment}, trained and judged {len(seeds)} times: same videos, same splits, other initial weights and "
        f"other draws. {found}."
    )
    # Table and picture escape their own texts.
    markup = {"picture": Markup(figure.to_html()), "tables": {"Mean and spread": Markup(shown._repr_html_())}}
    return write_page(folder / "index.html", f"{experiment}: {len(seeds)} seeds", intro, chosen, **markup)


def _table(runs: Sequence[comparison.Run]) -> Table:
    """Return one row per run, with the headline figures of its own test videos."""
    rows = []
    for run in runs:
        video, trained = run.metrics["test"]["video"], ", ".join(run.metrics.get("trained_on") or [])
        figures = {words: with_interval(video.get(name) or {"value": None}) for name, words in HEADLINE.items()}
        rows.append({"experiment": run.name, "trained on": trained, **figures, "evaluated": run.finished})
    return Table(pd.DataFrame(rows), "Runs, each on its own test videos, with 95% intervals")


def write_page(
    page: Path, heading: str, intro: str, runs: Sequence[comparison.Run], up: str = "../", **parts: Any
) -> Path:
    """Write a page of runs and return its path.

    `up` is the way to the runs' reports; parts are a `picture` and `tables` by their heading, both as markup.
    """
    conditions = {run.name: run.metrics.get("conditions") for run in runs}  # earlier versions did not write them
    said = {name: metrics_json.in_words(found) if found else "–" for name, found in conditions.items()}
    values = {
        "conditions": said,
        "differs": comparison.differences(runs),
        "figures": HEADLINE,
        "written": value_and_interval,
    }
    return render(page, "runs.html.j2", heading=heading, intro=intro, runs=runs, up=up, **values, **parts)
