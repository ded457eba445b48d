"""Charts that compare: detectors with baselines and with each other, and a detector with itself under disturbance."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dfutils.metrics.intervals import value_and_interval
from dfutils.reporting.figure import GOOD, INK, QUIET, WIDTH, Picture, in_percent, new_figure, panels

_LOST = "#A0468C"  # faces lost: neither real nor fake


def forest(
    rows: dict[str, dict[str, Any]], title: str, *, metric: str = "ROC AUC", mark: str = "", chance: float = 0.5
) -> Picture:
    """Draw a figure of several detectors as dots on their intervals, one below the other.

    Args:
        rows: by name `value`, `low`, `high`; None where undefined.
        title: what is found.
        metric: the axis.
        mark: the row that is drawn in green, the one that the report is about.
        chance: drawn as a dotted line.
    """
    with new_figure(WIDTH, 0.75 + 0.34 * max(len(rows), 1), title) as figure:
        axes = figure.subplots()
        axes.axvline(chance, color=QUIET, linestyle=":", linewidth=1.5)
        ends = [chance]
        for place, (name, found) in enumerate(rows.items()):
            text, color = "   ".join(value_and_interval(found)).rstrip(), GOOD if name == mark else INK
            if found["value"] is not None:
                axes.plot(found["value"], place, "o", color=color, markersize=8, clip_on=False)
                ends.append(found["value"])
                if found.get("low") is not None:
                    ends += [found["low"], found["high"]]
                    axes.plot([found["low"], found["high"]], [place] * 2, color=color, linewidth=5, alpha=0.3, zorder=1)
            axes.text(1.03, place, text, transform=axes.get_yaxis_transform(), va="center", fontsize=10)
            figure.alt += f" {name}: {text.replace('   ', ', from ').replace(' – ', ' to ')}."
        low, high = min(ends), max(ends)
        room = 0.06 * max(high - low, 0.1)
        axes.set(ylim=(max(len(rows), 1) - 0.4, -0.6), xlim=(low - room, high + room), xlabel=metric)
        axes.set_yticks(range(len(rows)), list(rows))
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.grid(axis="y", visible=False)
    return figure


def degradation(table: pd.DataFrame, title: str | None = None) -> Picture:
    """Draw ROC AUC (with its interval) and the share of faces lost against the level of each perturbation.

    `table`: one row per perturbation and level, as `robustness.degradation` gives it; level 0 is the undisturbed test,
    at the left of every panel.
    """
    clean = table[table["level"] == 0]
    parts = [(name, part) for name, part in table[table["level"] > 0].groupby("perturbation", sort=False)]
    with new_figure(WIDTH, 0.7 + 1.75 * -(-max(len(parts), 1) // 3), title or worst_drop(table)) as figure:
        made = panels(figure, len(parts), 3)
        for axes, (name, part) in zip(made, parts, strict=True):
            rows = pd.concat([clean, part]).sort_values("level")
            axes.axhline(0.5, color=QUIET, linestyle=":", linewidth=1.2)
            known = rows.dropna(subset=["roc_auc"])
            axes.fill_between(known["level"], known["low"], known["high"], color=INK, alpha=0.15, linewidth=0)
            axes.plot(known["level"], known["roc_auc"], color=INK, marker="o", markersize=5, label="ROC AUC")
            lost = {"linestyle": (0, (4, 2)), "marker": "s", "markersize": 4, "label": "faces lost"}
            axes.plot(rows["level"], rows["lost"], color=_LOST, **lost)
            _finish(axes, name)
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


def _finish(axes: Axes, name: str) -> None:
    axes.set(title=name, xlim=(-0.3, 5.3), ylim=(-0.03, 1.03))
    axes.set_xlabel("level", labelpad=1)
    axes.set_xticks(range(6))
    axes.set_yticks([0, 0.5, 1])
    in_percent(axes, "y")


def worst_drop(table: pd.DataFrame) -> str:
    """Return in words which disturbance costs most, of all whose loss of AUC is shown: its interval lies below 0."""
    clean, rest = table[table["level"] == 0], table[table["level"] > 0]
    known = rest.dropna(subset=["roc_auc"])
    if known.empty or clean.empty or pd.isna(clean["roc_auc"].iloc[0]):
        return "No figure of the disturbed test videos is defined"
    before = clean["roc_auc"].iloc[0]
    if "change" not in known:
        known = known.assign(change=known["roc_auc"] - before)
    if "change_high" not in known:
        known = known.assign(change_high=known["change"])
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
