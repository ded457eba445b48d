"""Charts of scores: what was called what, how sure one can be of every figure, and where the errors gather."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.ticker import FuncFormatter, MaxNLocator
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from dfutils.metrics import calibration, figures
from dfutils.metrics.answers import Borders
from dfutils.reporting.comparison_plots import dots, in_words, with_text
from dfutils.reporting.figure import COLORS, FAKE, GOOD, INK, QUIET, REAL, WIDTH, Picture, in_percent, new_figure
from dfutils.reporting.wording import figure_name, property_name

_NAMES = figures.CLASSES


def confusion(matrix: Sequence[Sequence[int]], title: str | None = None, unit: str = "videos") -> Picture:
    """Draw a confusion matrix: counts, and their share of the row. Rows are what it is, columns what it is called."""
    counts = np.asarray(matrix)
    (_, alarms), (misses, _) = counts
    reals, fakes = totals = counts.sum(axis=1)
    if title is None:
        parts = [f"{fakes - misses:,} of {fakes:,} fakes caught"] if fakes else ["No fakes to catch"]
        parts += [f"{alarms:,} of {reals:,} reals accused"] if reals else ["no reals to accuse"]
        title = ", ".join(parts)
    shares = counts / np.maximum(totals, 1)[:, None]
    tints = (0.06 + 0.5 * shares) * [-1, 1]  # each column in the colour of the call, pale enough for dark letters
    colors = sns.blend_palette([REAL, "white", FAKE], as_cmap=True)
    with new_figure(5.4, 3.7, title) as figure:
        axes = figure.subplots()
        number = {"fontsize": 26, "fontweight": "bold", "color": INK, "va": "bottom"}
        look = {"cmap": colors, "vmin": -1, "vmax": 1, "cbar": False, "linewidths": 4, "linecolor": "white"}
        sns.heatmap(tints, annot=counts, fmt=",", annot_kws=number, **look, ax=axes)
        for true, called in np.ndindex(2, 2):
            words = f"{shares[true, called]:.1%} of the {_NAMES[true]}s" if totals[true] else f"no {_NAMES[true]}s"
            axes.text(called + 0.5, true + 0.66, words, fontsize=11, ha="center", va="center")
        ticks = {"fontweight": "bold", "fontsize": 12, "rotation": 0}
        axes.set_xticklabels(["REAL", "FAKE"], **ticks)
        axes.set_yticklabels([f"REAL\n{reals:,}", f"FAKE\n{fakes:,}"], **ticks)
        axes.set(xlabel=f"the detector calls the {unit}", ylabel=f"the {unit} are")
        axes.xaxis.set_label_position("top")
        axes.xaxis.tick_top()
        for tick, color in zip([*axes.get_xticklabels(), *axes.get_yticklabels()], COLORS * 2, strict=True):
            tick.set_color(color)
        figure.alt += (
            f" Confusion matrix of {counts.sum()} {unit}. Of {reals} real ones {counts[0, 0]} are called real and "
            f"{alarms} fake; of {fakes} fake ones {counts[1, 1]} are called fake and {misses} real."
        )
    return figure


_LOWER_IS_BETTER = ("eer", "log_loss", "brier", "ece")


def intervals(summary: dict[str, dict[str, Any]]) -> Picture:
    """Draw every figure of `figures.summary` over videos as a dot on its interval, with both written out."""
    rows: dict[str, list[dict[str, Any]]] = {"higher is better": [], "lower is better": []}
    for name, found in summary.items():
        row = {**with_text(found), "name": figure_name(name)}
        if found["value"] is not None and found["value"] > 1:  # a loss beyond the axis: its text says it
            row |= dict.fromkeys(("value", "low", "high"))
        if row.get("high") is not None:
            row["high"] = min(row["high"], 1.0)
        rows["lower is better" if name in _LOWER_IS_BETTER else "higher is better"].append(row)
    auc = summary.get("roc_auc", {"value": None})
    title = "ROC AUC is undefined: a class is missing"
    if auc["value"] is not None:
        known = auc["low"] is not None
        interval = f"95% interval {auc['low']:.3f} to {auc['high']:.3f}" if known else "too few videos for an interval"
        title = f"ROC AUC over videos: {auc['value']:.3f} ({interval})"
    with new_figure(WIDTH, 0.5 + 0.29 * (len(rows) + len(summary)), title) as figure:
        axes = figure.subplots()
        dots(axes, [row for name, part in rows.items() for row in ({"name": name}, *part)], "value, and 95% interval")
        axes.set_xlim(0, 1)
        figure.alt += "".join(in_words(row) for part in rows.values() for row in part)
    return figure


def roc_pr(labels: np.ndarray, scores: np.ndarray, threshold: float, bands: pd.DataFrame | None = None) -> Picture:
    """Draw ROC and precision-recall curves with the threshold in use, and bands as `figures.bands` gives them."""
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=float)
    if len(np.unique(labels)) < 2:
        with new_figure(WIDTH, 1.0, "ROC and precision-recall curves are undefined: a class is missing") as figure:
            return figure
    auc, called = roc_auc_score(labels, scores), scores >= threshold
    recall, alarm = called[labels == 1].mean(), called[labels == 0].mean()
    precision = labels[called].mean() if called.any() else None
    title = f"ROC AUC {auc:.3f}; {recall:.0%} of fakes caught, {alarm:.0%} of reals accused (dot)"
    rate, sensitivity, _ = roc_curve(labels, scores, drop_intermediate=False)
    precisions, recalls, _ = precision_recall_curve(labels, scores)
    with new_figure(6.8, 3.2, title) as figure:
        left, right = figure.subplots(1, 2)
        left.plot(rate, sensitivity, color=INK)
        left.plot([0, 1], [0, 1], color=QUIET, linestyle=":", linewidth=1.5)
        right.plot(recalls, precisions, color=INK, drawstyle="steps-post")
        right.axhline(labels.mean(), color=QUIET, linestyle=":", linewidth=1.5)
        if bands is not None and len(bands):
            for axes, name in ((left, "tpr"), (right, "precision")):
                axes.fill_between(bands["x"], bands[f"{name}_low"], bands[f"{name}_high"], color="#C9CFD8", lw=0)
        point = {"marker": "o", "color": GOOD, "markersize": 10, "markeredgecolor": "white", "linestyle": ""}
        left.plot(alarm, recall, **point)
        if precision is not None:
            right.plot(recall, precision, **point)
        guess = {"color": QUIET, "fontsize": 9.5}
        left.text(0.56, 0.49, "guessing", rotation=45, rotation_mode="anchor", **guess)
        right.text(0.02, labels.mean() + 0.02, "guessing", **guess)
        left.set(title="ROC", xlabel="reals called fake", ylabel="fakes called fake")
        right.set(title="Precision and recall", xlabel="fakes called fake (recall)")
        right.set_ylabel("called fakes that are (precision)")
        for axes in (left, right):
            axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.03), box_aspect=1, xticks=[0, 0.5, 1])
            axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
            in_percent(axes, "xy")
        left.text(0.97, 0.04, f"{len(labels):,} videos", ha="right", color=QUIET, fontsize=10)
        figure.alt += (
            f" ROC curve and precision-recall curve over {len(labels)} videos, with a dot at the threshold in use, "
            f"{threshold:.2f}; average precision {average_precision_score(labels, scores):.3f}."
        )
    return figure


def rates(labels: np.ndarray, scores: np.ndarray, threshold: float) -> Picture:
    """Draw how many fakes are caught and how many reals accused at every threshold, and mark the one in use."""
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=float)
    title = f"Both rates fall as the threshold rises; it is {threshold:.2f}"
    if len(np.unique(labels)) < 2:
        with new_figure(WIDTH, 0.6, "Rates at other thresholds are undefined: a class is missing") as figure:
            return figure
    with new_figure(WIDTH, 3.0, title) as figure:
        axes = figure.subplots()
        for label, words in ((1, "fakes caught"), (0, "reals accused")):
            of_class = scores[labels == label]
            whole = {"x": [0, *of_class, 1], "weights": [0, *np.ones(len(of_class)), 0]}  # from one end to the other
            look = {"color": COLORS[label], "linestyle": ("--", "-")[label], "label": words}
            sns.ecdfplot(**whole, complementary=True, **look, ax=axes)
            near = "; ".join(f"{step:.1f}: {(of_class >= step).mean():.0%}" for step in np.arange(0.1, 1, 0.2))
            figure.alt += f" {words.capitalize()} of all {_NAMES[label]} videos by threshold, {near}."
        axes.axvline(threshold, color=INK, linestyle=(0, (3, 2)), linewidth=1.5)
        axes.set(xlim=(0, 1), ylim=(-0.02, 1.02), xlabel="threshold: called fake at or above it")
        axes.set_ylabel("share of the class")
        in_percent(axes, "y")
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def score_histogram(
    labels: np.ndarray, scores: np.ndarray, threshold: float, borders: Borders | None = None
) -> Picture:
    """Draw the scores of fakes upwards and of reals downwards; those on the wrong side of the threshold are dark.

    Between the `borders` of *cannot tell* the ground is grey.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=float)
    wrong = (scores >= threshold) != (labels == 1)
    title = f"{wrong.sum()} of {len(labels)} videos lie on the wrong side of {threshold:.2f}"
    with new_figure(WIDTH, 3.3, title) as figure:
        axes = figure.subplots()
        for label, sign in ((1, 1), (0, -1)):
            of_class = labels == label
            total, bad = of_class.sum(), (wrong & of_class).sum()
            shades = sns.light_palette(COLORS[label], 100)
            look = {"hue_order": [False, True], "palette": [shades[38], shades[99]], "alpha": 1, "edgecolor": "white"}
            stack = {"weights": np.full(total, sign), "multiple": "stack", "bins": 25, "binrange": (0, 1)}
            if total:
                sns.histplot(x=scores[of_class], hue=wrong[of_class], **stack, **look, legend=False, ax=axes)
            place = {"x": 0.01, "y": 0.98, "va": "top"} if label else {"x": 0.01, "y": 0.02, "va": "bottom"}
            words = f"{total:,} {_NAMES[label]}s, {bad:,} called {_NAMES[1 - label]} (dark)"
            axes.text(s=words, color=COLORS[label], fontweight="bold", transform=axes.transAxes, **place)
            figure.alt += f" Of {total} {_NAMES[label]}s {bad} are called {_NAMES[1 - label]}."
        axes.axhline(0, color=INK, linewidth=1)
        clear = 0.1, 0.9  # of the words, as a share of the height
        if borders and borders[0] < borders[1]:
            axes.axvspan(*borders, *clear, color=QUIET, alpha=0.2, linewidth=0, zorder=0)
            for border in borders:
                axes.axvline(border, *clear, color=QUIET, linewidth=1)
            figure.alt += f" Between {borders[0]:.3f} and {borders[1]:.3f} the answer is cannot tell."
        axes.axvline(threshold, *clear, color=INK, linestyle=(0, (3, 2)), linewidth=1.5)
        most = max(map(abs, axes.get_ylim()), default=1)
        axes.set(xlim=(0, 1), ylim=(-1.25 * most, 1.25 * most), xlabel="probability of fake", ylabel="videos")
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{abs(value):,.0f}"))
        axes.grid(axis="x", visible=False)
    return figure


def reliability(
    labels: np.ndarray,
    scores: np.ndarray,
    calibrated: np.ndarray | None = None,
    *,
    prior_fake: float | None = None,
    groups: np.ndarray | None = None,
) -> Picture:
    """Draw the share of fakes among videos of like score, and how many videos have such scores.

    Args:
        labels: `(n,)`, 0 real, 1 fake.
        scores: `(n,)`, probability of fake.
        calibrated: the same videos' scores after calibration, drawn beside them.
        prior_fake: share of fakes that it is drawn for, by weighting the classes; None: as many as there are.
        groups: the unit of the intervals.
    """
    series = [("scores", scores, INK, "o")]
    if calibrated is not None:
        series = [("before calibration", scores, QUIET, "o"), ("after calibration", calibrated, GOOD, "s")]
    given = {"prior_fake": prior_fake, "groups": groups}
    tables = [calibration.reliability(labels, values, **given) for _, values, _, _ in series]
    errors = [(table["weight"] * (table["mean_score"] - table["share_fake"]).abs()).sum() for table in tables]
    if tables[0].empty:
        with new_figure(WIDTH, 0.6, "The reliability diagram is undefined: a class is missing") as figure:
            return figure
    title = f"On average a score is {errors[0]:.2f} off the share of fakes"
    if calibrated is not None:
        verb = "raises" if errors[1] > errors[0] + 1e-9 else "takes"
        title = f"Calibration {verb} the calibration error from {errors[0]:.3f} to {errors[1]:.3f}"
    if prior_fake is not None:
        title += f", where {prior_fake:.0%} are fake"
    with new_figure(5.4, 4.9, title) as figure:
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[3.4, 1])
        axes.plot([0, 1], [0, 1], color=QUIET, linestyle=":", linewidth=1.5, label="as it should be")
        for k, ((name, _, color, marker), table) in enumerate(zip(series, tables, strict=True)):
            x = table["mean_score"] + (k - (len(series) - 1) / 2) * 0.014
            axes.vlines(x, table["low"], table["high"], color=color, linewidth=1.5, alpha=0.6)
            sizes = 25 + 250 * table["n"] / max(table["n"].max(), 1)
            look = {"color": color, "marker": marker, "edgecolor": "white", "clip_on": False, "zorder": 3}
            axes.scatter(x, table["share_fake"], s=sizes, label=name, **look)
            width = 0.08 / len(series)
            below.bar(table["left"] + 0.01 + k * width, table["n"], width=width, align="edge", color=color)
            rows = (f"{row.mean_score:.2f}: {row.share_fake:.0%} ({row.n})" for row in table.itertuples())
            figure.alt += f" Share of fakes by score, {name}: {'; '.join(rows)}."
        axes.set(xlim=(0, 1), ylim=(-0.02, 1.02), ylabel="share that is fake, and 95% interval")
        in_percent(axes, "y")
        below.set(xlabel="score: probability of fake", ylabel="videos")
        below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        legend = axes.legend(loc="upper left", markerscale=1)
        for handle in legend.legend_handles[1:]:
            handle.set_sizes([60])
    return figure


def slices(table: pd.DataFrame) -> Picture:
    """Draw the error rate of each slice with its interval, as `slices.by_slice` gives them.

    With a column `property`, several tables stand under their names. Slices of reals only and of fakes only have the
    colours of their class. A full dot differs from the other videos of its class (p below .05, corrected for looking
    at all slices).
    """
    named = table["property"] if "property" in table else pd.Series("", index=table.index)
    rows: list[dict[str, Any]] = []
    said = ""
    for name, part in table.groupby(named, sort=False):
        if name:
            rows.append({"name": property_name(name)})
            said += f" By {property_name(name)}:"
        for row in part.itertuples():
            sure, worse = row.p_holm < 0.05, "worse" if row.errors > row.expected else "better"
            color = REAL if row.fake == 0 else FAKE if row.real == 0 else INK
            drawn = {"value": row.error_rate, "low": row.low, "high": row.high, "color": color, "full": sure}
            rows.append({**drawn, "name": row.slice, "text": f"{row.errors:,} of {row.n:,}"})
            said += f" {row.slice}: {row.errors} of {row.n}{f', {worse} than the others' if sure else ''}."
    label = "share mistaken, and 95% interval\nfull dot: unlike the rest of its class (p < 0.05, corrected)"
    with new_figure(WIDTH, 0.75 + 0.3 * len(rows), _outstanding(table)) as figure:
        axes = figure.subplots()
        dots(axes, rows, label)
        most = np.ceil(10 * np.nanmax([0.1, *table["high"], *table["error_rate"]])) / 10
        axes.set_xlim(0, min(most, 1.0))
        in_percent(axes, "x")
        figure.alt += said
    return figure


def _outstanding(table: pd.DataFrame) -> str:
    """Return in words which slice is worse than the others of its class beyond chance."""
    if len(table) == 0:
        return "There are no scored videos to compare"
    differ = table[table["p_holm"] < 0.05]
    sure = differ[differ["errors"] > differ["expected"]]
    if len(differ) == 0:
        return "No slice stands out from the others more than chance allows"
    if len(sure) == 0:
        return "No slice is worse than the others more than chance allows; full dots are better"
    worst = sure.iloc[int(sure["error_rate"].to_numpy(dtype=float).argmax())]
    name = worst["slice"]
    if "property" in worst:
        name = f"{property_name(worst['property'])} {name}"
    return f"Mistakes gather in {name}: {worst['errors']:,} of {worst['n']:,} videos"
