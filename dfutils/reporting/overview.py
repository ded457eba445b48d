"""The page of all runs, and the page of one experiment under several seeds."""

from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from dfutils.core.errors import InputError
from dfutils.core.files import atomic, plain_rows, write_json
from dfutils.evaluation import comparison
from dfutils.metrics.intervals import value_and_interval
from dfutils.reporting.html import _TEMPLATES, HEADLINE
from dfutils.reporting.wording import figure_name


def write_overview(reports: Path) -> Path:
    """Write `index.html` into a folder of reports, one row per evaluated run, and return its path.

    Raises:
        InputError: if there is no evaluated run below it.
    """
    listed = comparison.found(reports)
    if not listed:
        raise InputError(f"There is no evaluated run in {reports}: dfutils run PARAMS makes one.")
    intro = f"{len(listed)} evaluated run{'s' * (len(listed) > 1)}. A column's heading sorts by it; the field filters."
    return _write(Path(reports) / "index.html", "Runs side by side", intro, listed)


def write_seeds(reports: Path, experiment: str, seeds: list[int]) -> Path:
    """Write `<experiment>-seeds/index.html` and `seeds.json`: mean, spread and every run; return the page's path.

    Raises:
        InputError: if one of the runs was not evaluated.
    """
    from dfutils.reporting import comparison_plots

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
    figure.save(folder / "figures" / "seeds.png")
    intro = (
        f"{experiment}, trained and judged {len(seeds)} times: same videos, same splits, other initial weights and "
        f"other draws. {found}."
    )
    shown = {
        "names": [
            "figure",
            "mean",
            "standard deviation",
            "least",
            "greatest",
        ],
        "rows": [
            [
                figure_name(row.figure),
                *(_number(value) for value in (row.mean, row.sd, row.least, row.greatest)),
            ]
            for row in table.itertuples()
        ],
    }
    written = {"schema": 1, "experiment": experiment, "runs": names, "figures": plain_rows(table)}
    write_json(written, folder / "seeds.json")
    picture = Markup(figure.to_html())  # made here, and its description is escaped there
    page = folder / "index.html"
    return _write(page, f"{experiment}: {len(seeds)} seeds", intro, chosen, shown, picture, up="../")


def _number(value: Any) -> str:
    return "" if pd.isna(value) else f"{value:.3f}"


def _write(
    page: Path,
    heading: str,
    intro: str,
    listed: list[comparison.Run],
    spread: dict[str, Any] | None = None,
    picture: Markup | str = "",
    up: str = "",
) -> Path:
    environment = Environment(loader=FileSystemLoader(_TEMPLATES / "report"), autoescape=True)
    differs = comparison.differences(listed)
    body = environment.get_template("runs.html.j2").render(
        style=Markup((_TEMPLATES / "report" / "style.css").read_text(encoding="utf-8")),
        heading=heading,
        intro=intro,
        spread=spread,
        picture=picture,
        figures=list(HEADLINE.values()),
        runs=[_row(run, differs[run.name], up) for run in listed],
    )
    with atomic(page) as temporary:
        temporary.write_text(body, encoding="utf-8")
    return page


def _row(run: comparison.Run, differs: dict[str, Any], up: str) -> dict[str, Any]:
    video, counts = run.metrics["test"]["video"], run.metrics["test"].get("counts", {})
    figures = []
    for name in HEADLINE:
        figure = video.get(name) or {"value": None}
        value, interval = value_and_interval(figure)
        sort = "NaN" if figure["value"] is None else figure["value"]
        figures.append({"value": value, "interval": interval, "sort": sort})
    page = "index.html" if (run.folder / "index.html").exists() else "metrics.json"
    return {
        "name": run.name,
        "href": f"{up}{run.name}/{page}",
        "trained_on": ", ".join(run.metrics.get("trained_on") or []) or run.parameters.get("dataset", ""),
        "videos": counts.get("real", 0) + counts.get("fake", 0),
        "figures": figures,
        "finished": run.finished,
        "differs": "; ".join(f"{name} {value}" for name, value in differs.items()) or "–",
    }
