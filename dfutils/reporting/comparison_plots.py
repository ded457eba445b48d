"""Charts that compare: detectors with baselines and with each other, and a detector with itself under disturbance."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dfutils.metrics.intervals import value_and_interval
from dfutils.reporting.figure import GOOD, INK, OTHER, QUIET, WIDTH, Picture, in_percent, new_figure, panels

INTERVAL = {"estimator": "median", "errorbar": ("pi", 100)}
"""Arguments by which seaborn draws the three numbers `low`, `value`, `high` as a value and its interval."""


def dots(axes: Axes, rows: Iterable[Mapping[str, Any]], label: str) -> None:
    """Draw values as dots on their intervals, one row below the other, with a text at the right.

    Args:
        axes: empty.
        rows: dicts with `name`; `value`, `low`, `high` (None or NaN where undefined); `text`; and optionally `color`
            and `full`, false for an empty dot. A row without a value and a text is a heading.
        label: the axis.
    """
    table = pd.DataFrame([{"text": "", "color": INK, "full": True, **row} for row in rows])
    ends = table.reindex(columns=["color", "full", "value", "low", "high"]).rename_axis("row").reset_index()
    ends = ends.melt(["row", "color", "full"], value_name="at").astype({"at": float}).dropna()
    for (color, full), part in ends.groupby(["color", "full"]):
        look = {"color": color, "markerfacecolor": color if full else "white", "markersize": 7, "markeredgewidth": 2}
        look |= {"linestyle": "none", "clip_on": False, "err_kws": {"linewidth": 5, "alpha": 0.35, "zorder": 1}}
        sns.pointplot(part, x="at", y="row", order=table.index, orient="h", **look, **INTERVAL, ax=axes)
    axes.set(ylim=(max(len(table), 1) - 0.4, -0.6), xlabel=label, ylabel="")
    axes.set_yticks(table.index, table.get("name", []))
    axes.tick_params(axis="y", pad=9)  # room for a dot at the edge
    axes.grid(axis="y", visible=False)
    for tick, (place, row) in zip(axes.get_yticklabels(), table.iterrows(), strict=True):
        axes.text(1.06, place, row["text"], transform=axes.get_yaxis_transform(), va="center", fontsize=10)
        if not row["text"]:
            tick.set(fontweight="bold", color=QUIET)


def with_text(figure: Mapping[str, Any]) -> dict[str, Any]:
    """Return a figure with its interval as a row of `dots`."""
    return {**figure, "text": "   ".join(value_and_interval(figure)).rstrip()}


def in_words(row: Mapping[str, Any]) -> str:
    """Return a row of `dots` for the description of a picture."""
    return f" {row['name']}: {row['text'].replace('   ', ', from ').replace(' – ', ' to ')}."


def forest(rows: Mapping[str, Mapping[str, Any]], title: str, *, mark: str = "") -> Picture:
    """Draw the ROC AUC of several detectors as dots on their intervals, and that of guessing as a dotted line.

    `rows` holds by name `value`, `low`, `high`, None where undefined; `mark` names the row that the report is about.
    """
    drawn = [{**with_text(row), "name": name, "color": GOOD if name == mark else INK} for name, row in rows.items()]
    with new_figure(WIDTH, 0.75 + 0.34 * max(len(rows), 1), title) as figure:
        axes = figure.subplots()
        dots(axes, drawn, "ROC AUC")
        axes.axvline(0.5, color=QUIET, linestyle=":", linewidth=1.5)
        axes.margins(x=0.06)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        figure.alt += "".join(map(in_words, drawn))
    return figure


def degradation(table: pd.DataFrame) -> Picture:
    """Draw ROC AUC (with its interval) and the share of faces lost against the level of each perturbation.

    `table`: one row per perturbation and level, as `robustness.degradation` gives it; level 0 is the undisturbed test,
    at the left of every panel.
    """
    clean = table[table["level"] == 0]
    parts = [(name, part) for name, part in table[table["level"] > 0].groupby("perturbation", sort=False)]
    with new_figure(WIDTH, 0.7 + 1.75 * -(-max(len(parts), 1) // 3), worst_drop(table)) as figure:
        made = panels(figure, len(parts), 3)
        for axes, (name, part) in zip(made, parts, strict=True):
            rows = pd.concat([clean, part]).sort_values("level")
            axes.axhline(0.5, color=QUIET, linestyle=":", linewidth=1.2)
            drawn = {"x": "level", "legend": False, "markeredgewidth": 0, "ax": axes}
            auc = rows.dropna(subset="roc_auc").melt("level", ["roc_auc", "low", "high"], value_name="AUC").dropna()
            band = {**INTERVAL, "err_kws": {"linewidth": 0, "alpha": 0.15}}
            sns.lineplot(auc, y="AUC", color=INK, marker="o", label="ROC AUC", **drawn, **band)
            sns.lineplot(rows, y="lost", color=OTHER, marker="s", linestyle=(0, (4, 2)), label="faces lost", **drawn)
            axes.set(title=name, xlim=(-0.3, 5.3), ylim=(-0.03, 1.03), xticks=range(6), yticks=[0, 0.5, 1], ylabel="")
            axes.set_xlabel("level", labelpad=1)
            in_percent(axes, "y")
            words = (
                f"level {row.level:g} AUC {'undefined' if pd.isna(row.roc_auc) else f'{row.roc_auc:.2f}'}, "
                f"{row.lost:.0%} lost"
                for row in rows.itertuples()
            )
            figure.alt += f" {name}: {'; '.join(words)}."
        if made and parts:
            handles, names = made[0].get_legend_handles_labels()
            figure.legend(handles, names, loc="outside lower center", ncols=2)
    return figure


def worst_drop(table: pd.DataFrame) -> str:
    """Return in words which disturbance costs most, of all whose loss of AUC is shown: its interval lies below 0."""
    clean, rest = table[table["level"] == 0], table[table["level"] > 0]
    known = rest.dropna(subset=["roc_auc"])
    if known.empty or clean.empty or pd.isna(clean["roc_auc"].iloc[0]):
        return "No figure of the disturbed test videos is defined"
    before = clean["roc_auc"].iloc[0]
    gone = rest[rest["roc_auc"].isna()]
    lost = f"; too few are left to judge after {_place(gone.iloc[0])}" if len(gone) else ""
    shown = known[known["change_high"] < 0]
    if shown.empty:
        worst = known.loc[known["roc_auc"].idxmin()]
        return (
            f"A loss is not shown by these videos: AUC {before:.2f} undisturbed, {worst['roc_auc']:.2f} at worst "
            f"({_place(worst)}){lost}"
        )
    worst = shown.loc[shown["change"].idxmin()]
    return (
        f"{_place(worst)} costs most: AUC {before:.2f} → {worst['roc_auc']:.2f}, "
        f"{worst['lost']:.0%} of the videos without a score"
    )


def _place(row: pd.Series) -> str:
    return f"{row['perturbation']} at level {row['level']:g}"
