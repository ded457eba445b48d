"""What the numbers look like: every chart of the notebooks.

Titles say what is found, axes carry units, and every figure describes itself in words (`figure.alt`) for those who
cannot see it. Colours and letters come from `canvas`, pictures out of videos from `pictures`; notebooks find all of it
here.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from sklearn.metrics import precision_recall_curve, roc_auc_score, roc_curve

from dfutils import metrics
from dfutils.canvas import (
    COLORS,
    FAKE,
    GOOD,
    INK,
    QUIET,
    REAL,
    WIDTH,
    in_percent,
    new_figure,
    panels,
    save,
    show,
    style,
)
from dfutils.pictures import frame_grid, review, sheet, strip

__all__ = [
    "class_counts", "confusion", "curves", "face_facts", "faces_found", "facts", "frame_grid", "intervals",
    "reliability", "review",
    "roc_pr", "save", "score_histogram", "sheet", "show", "slices", "strip", "style",
]  # fmt: skip

_NAMES = metrics.CLASSES


# --- what the dataset is ---


def class_counts(videos: pd.DataFrame) -> Figure:
    """Draw how many videos there are of each class, method and dataset, from the videos table."""
    names = videos["method"].where(videos["label"] == 1, "real").replace("", "fake")
    rows = videos["dataset"] + ": " + names if videos["dataset"].nunique() > 1 else names
    counts = pd.DataFrame({"row": rows, "label": videos["label"]}).value_counts().reset_index()
    counts = counts.sort_values(["label", "row"], ascending=False)
    fakes, total = int((videos["label"] == 1).sum()), len(videos)
    larger = max(fakes, total - fakes)
    title = f"{total - fakes:,} real and {fakes:,} fake videos"
    if total:
        title += f": naming the larger class is right in {larger / total:.0%}"
    with new_figure(WIDTH, 0.7 + 0.36 * len(counts), title) as figure:
        axes = figure.subplots()
        bars = axes.barh(counts["row"], counts["count"], color=[COLORS[label] for label in counts["label"]], height=0.7)
        axes.bar_label(bars, [f"{count:,}" for count in counts["count"]], padding=4)
        axes.set(xlabel="videos", xlim=(0, 1.12 * counts["count"].max() if len(counts) else 1))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.grid(axis="y", visible=False)
        axes.margins(y=0.02)
        parts = [f"{row.row} {row.count}" for row in counts.iloc[::-1].itertuples(index=False)]
        figure.alt += f" Bars, a bar a kind of video: {', '.join(parts)}."
    return figure


def facts(videos: pd.DataFrame) -> Figure:
    """Draw length, size, frame rate and bitrate of real and fake videos over each other, from the videos table."""
    shown = videos.assign(side=videos[["width", "height"]].min(axis=1), kbits=videos["bitrate"] / 1000)
    names = {
        "duration_s": ("Length", "seconds"),
        "side": ("Size", "pixels of the shorter side"),
        "fps": ("Rate", "frames a second"),
        "kbits": ("Bitrate", "kbit a second"),
    }
    return _by_class(shown, names, "container fact")


def face_facts(frames: pd.DataFrame) -> Figure:
    """Draw size, sharpness, brightness and turn of the faces kept, real and fake over each other.

    `frames`: the frames table with the videos' `label`.
    """
    names = {
        "face_px": ("Face size", "source pixels"),
        "sharpness": ("Sharpness", "variance of the Laplacian"),
        "brightness": ("Brightness", "mean of 0 to 255"),
        "turn": ("Turn of the head", "degrees to either side"),
    }
    return _by_class(frames.assign(turn=frames["yaw"].abs()), names, "fact of the face")


def faces_found(videos: pd.DataFrame, frames: pd.DataFrame) -> Figure:
    """Draw how many valid faces and how many people were found a video, real and fake over each other.

    `videos`: the videos table with `people`; `frames`: the frames table. Unreadable and excluded videos are left out.
    """
    read = videos[~videos["status"].isin(["unreadable", "excluded"])]
    counts = frames[frames["person"] == 0].groupby("video_id").size()
    found = read.assign(found=read["video_id"].map(counts).fillna(0))
    names = {"found": ("Faces found", "valid faces a video"), "people": ("People seen", "a video")}
    return _by_class(found, names, "count of faces")


def _by_class(table: pd.DataFrame, names: dict[str, tuple[str, str]], what: str) -> Figure:
    """Draw a histogram a column, both classes over each other; the title names the column that tells them apart."""
    labels = table["label"].to_numpy()
    values = {name: table[name].to_numpy(dtype=float, na_value=np.nan) for name in names}
    told = {name: _told_apart(labels, column) for name, column in values.items()}
    known = {name: auc for name, auc in told.items() if auc is not None}
    title = f"No {what} can be compared"
    if known:
        best = max(known, key=known.get)
        title = f"No {what} alone tells fake from real: the best, {names[best][0].lower()}, has AUC {known[best]:.2f}"
        if known[best] >= 0.6:
            title = f"{names[best][0]} alone tells fake from real with AUC {known[best]:.2f}: a possible shortcut"
    with new_figure(WIDTH, 4.6, title) as figure:
        for axes, (name, (text, unit)) in zip(panels(figure, len(names), 2), names.items(), strict=True):
            medians = _histograms(axes, labels, values[name], stretched=name in ("kbits", "sharpness"))
            axes.set(title=text, xlabel=unit)
            figure.alt += f" {text} in {unit}: {medians}."
        axes = figure.axes
        for left in axes[::2]:
            left.set_ylabel("share of class")
        handles = [Rectangle((0, 0), 1, 1, facecolor=color, alpha=0.6) for color in COLORS]
        axes[0].legend(handles, _NAMES, handlelength=1, loc="best")
    return figure


def _told_apart(labels: np.ndarray, values: np.ndarray) -> float | None:
    """Return how well a value alone tells the classes apart: AUC, .5 to 1; None without values of both."""
    known = np.isfinite(values)
    if len(np.unique(labels[known])) < 2:
        return None
    auc = float(roc_auc_score(labels[known], values[known]))
    return max(auc, 1 - auc)


def _histograms(axes: Axes, labels: np.ndarray, values: np.ndarray, *, stretched: bool) -> str:
    """Draw both classes as shares of their own number, and return their medians in words.

    `stretched`: on a logarithmic axis where values differ by more than ten times.
    """
    known = values[np.isfinite(values)]
    if len(known) == 0:
        axes.text(0.5, 0.5, "unknown", ha="center", va="center", color=QUIET, transform=axes.transAxes)
        axes.set(xticks=[], yticks=[])
        return "unknown"
    if len(np.unique(known)) <= 6:
        return _few_values(axes, labels, values)
    wide = stretched and known.min() > 0 and known.max() / known.min() > 10
    if wide:
        edges = np.geomspace(known.min(), known.max() * 1.0001, 25)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1,) if known.max() / known.min() > 60 else (1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        edges = np.histogram_bin_edges(known, bins=24)
    medians = []
    for label in (0, 1):
        part = known[labels[np.isfinite(values)] == label]
        if len(part):
            shape = {"bins": edges, "weights": np.full(len(part), 1 / len(part)), "color": COLORS[label]}
            axes.hist(part, histtype="stepfilled", alpha=0.3, **shape)
            axes.hist(part, histtype="step", linewidth=1.8, linestyle=("-", "--")[label], **shape)
            medians.append(f"median {np.median(part):.4g} for {_NAMES[label]}")
    in_percent(axes, "y")
    axes.yaxis.set_major_locator(MaxNLocator(4))
    if not wide:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    return " and ".join(medians)


def _few_values(axes: Axes, labels: np.ndarray, values: np.ndarray) -> str:
    """Draw the share of each of a few values in both classes, and return the shares in words."""
    kinds = np.unique(values[np.isfinite(values)])
    words = []
    for label in (0, 1):
        part = values[(labels == label) & np.isfinite(values)]
        shares = [(part == kind).mean() if len(part) else 0.0 for kind in kinds]
        axes.bar(np.arange(len(kinds)) + 0.4 * (label - 0.5), shares, width=0.36, color=COLORS[label], alpha=0.6)
        words.append(", ".join(f"{kind:g} in {share:.0%}" for kind, share in zip(kinds, shares, strict=True) if share))
    axes.set_xticks(range(len(kinds)), [f"{kind:.5g}" for kind in kinds])
    axes.set_xlim(-0.7, len(kinds) - 0.3)
    axes.grid(axis="x", visible=False)
    in_percent(axes, "y")
    axes.yaxis.set_major_locator(MaxNLocator(4))
    return f"{words[0]} of the real and {words[1]} of the fake"


# --- training ---


def curves(history: pd.DataFrame) -> Figure:
    """Draw loss, accuracy and validation AUC by epoch, and mark the epoch that is kept.

    `history`: a row an epoch with `epoch`, `train_loss`, `val_loss`, `train_accuracy`, `val_accuracy`, `val_auc` (NaN
    where undefined) and `best` (true for the epoch kept), as `train.fit` returns it.
    """
    best = history[history["best"]].iloc[0]
    defined = np.isfinite(best["val_auc"])
    found = f"AUC {best['val_auc']:.2f}" if defined else f"accuracy {best['val_accuracy']:.0%}"
    title = f"Epoch {best['epoch']:.0f} of {len(history)} is kept: validation loss {best['val_loss']:.2f}, {found}"
    lines = {
        "train": {"color": QUIET, "linestyle": (0, (4, 2)), "marker": ".", "label": "training"},
        "val": {"color": INK, "marker": ".", "label": "validation"},
    }
    with new_figure(WIDTH, 4.9, title) as figure:
        loss, rates = figure.subplots(2, 1, sharex=True)
        for name, look in lines.items():
            loss.plot(history["epoch"], history[f"{name}_loss"], **look)
            rates.plot(history["epoch"], history[f"{name}_accuracy"], **{**look, "label": f"{look['label']} accuracy"})
        if history["val_auc"].notna().any():
            rates.plot(history["epoch"], history["val_auc"], color="#A0468C", marker=".", label="validation AUC")
        for axes in (loss, rates):
            axes.axvline(best["epoch"], color=GOOD, linewidth=1.5, zorder=0)
        loss.plot(best["epoch"], best["val_loss"], "o", color=GOOD, markersize=8, label="kept")
        most = np.nanmax(history[["train_loss", "val_loss"]].to_numpy(dtype=float))
        loss.set(ylabel="cross-entropy loss", ylim=(0, 1.1 * most))
        ends = history["epoch"].min() - 0.5, history["epoch"].max() + 0.5
        rates.set(xlabel="epoch", ylabel="accuracy, AUC", xlim=ends)
        rates.margins(y=0.1)
        rates.xaxis.set_major_locator(MaxNLocator(10, integer=True, min_n_ticks=1))
        in_percent(rates, "y")
        for axes in (loss, rates):
            axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        figure.alt += (
            f" Curves over the epochs. In the epoch that is kept the training loss is {best['train_loss']:.3f} and "
            f"the training accuracy {best['train_accuracy']:.1%}, the validation accuracy {best['val_accuracy']:.1%}."
        )
    return figure


# --- scores ---


def confusion(matrix: Sequence[Sequence[int]], title: str | None = None, unit: str = "videos") -> Figure:
    """Draw a confusion matrix: counts, and their share of the row. Rows are what it is, columns what it is called."""
    counts = np.asarray(matrix)
    (_, alarms), (misses, _) = counts
    reals, fakes = totals = counts.sum(axis=1)
    if title is None:
        parts = [f"{fakes - misses:,} of {fakes:,} fakes caught"] if fakes else ["No fakes to catch"]
        parts += [f"{alarms:,} of {reals:,} reals accused"] if reals else ["no reals to accuse"]
        title = ", ".join(parts)
    with new_figure(5.4, 3.7, title) as figure:
        axes = figure.subplots()
        for true, called in np.ndindex(2, 2):
            share = counts[true, called] / totals[true] if totals[true] else 0.0
            tint = mpl.colors.to_rgba(COLORS[called], 0.06 + 0.5 * share)  # pale enough for dark letters
            axes.add_patch(Rectangle((called, true), 1, 1, facecolor=tint, edgecolor="white", linewidth=4))
            middle = {"x": called + 0.5, "ha": "center", "va": "center"}
            axes.text(y=true + 0.42, s=f"{counts[true, called]:,}", fontsize=26, fontweight="bold", **middle)
            words = f"{share:.1%} of the {_NAMES[true]}s" if totals[true] else f"no {_NAMES[true]}s"
            axes.text(y=true + 0.72, s=words, fontsize=11, **middle)
        axes.set(xlim=(0, 2), ylim=(2, 0), xlabel=f"the detector calls the {unit}")
        axes.set_xticks([0.5, 1.5], ["REAL", "FAKE"], fontweight="bold", fontsize=12)
        axes.set_yticks([0.5, 1.5], [f"REAL\n{reals:,}", f"FAKE\n{fakes:,}"], fontweight="bold", fontsize=12)
        axes.set_ylabel(f"the {unit} are")
        axes.xaxis.set_label_position("top")
        axes.xaxis.tick_top()
        for tick, color in zip([*axes.get_xticklabels(), *axes.get_yticklabels()], COLORS * 2, strict=True):
            tick.set_color(color)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        figure.alt += (
            f" Confusion matrix of {counts.sum()} {unit}. Of {reals} real ones {counts[0, 0]} are called real and "
            f"{alarms} fake; of {fakes} fake ones {counts[1, 1]} are called fake and {misses} real."
        )
    return figure


_WORDS = {
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "eer": "equal error rate",
    "tpr_at_fpr_1": "fakes caught at 1% false alarms",
    "tpr_at_fpr_5": "fakes caught at 5% false alarms",
    "log_loss": "log loss",
    "brier": "Brier score",
    "ece": "calibration error (ECE)",
    "f1_real": "F1 of reals",
    "f1_fake": "F1 of fakes",
}
_LOWER_IS_BETTER = ("eer", "log_loss", "brier", "ece")


def intervals(summary: dict[str, dict[str, Any]], unit: str = "videos") -> Figure:
    """Draw every figure of `metrics.summary` as a dot on its interval, with both written out."""
    good = [name for name in summary if name not in _LOWER_IS_BETTER]
    rows: list[str] = ["higher is better", *good, "lower is better", *(name for name in summary if name not in good)]
    auc = summary.get("roc_auc", {"value": None})
    title = "ROC AUC is undefined: a class is missing"
    if auc["value"] is not None:
        title = f"ROC AUC over {unit}: {auc['value']:.3f} (95% interval {auc['low']:.3f} to {auc['high']:.3f})"
    with new_figure(WIDTH, 0.5 + 0.29 * len(rows), title) as figure:
        axes = figure.subplots()
        for place, name in enumerate(rows):
            if name not in summary:
                continue
            text = "undefined"
            value, low, high = (summary[name][key] for key in ("value", "low", "high"))
            if value is not None:
                text = f"{value:.3f}"
                axes.plot(value, place, "o", color=INK, markersize=7, clip_on=value > 1)
            if value is not None and low is not None:
                text += f"   {low:.3f} – {high:.3f}"
                axes.plot([low, min(high, 1.0)], [place, place], color=QUIET, linewidth=5, alpha=0.45, zorder=1)
            axes.text(1.05, place, text, va="center", fontsize=10)
            figure.alt += f" {_words(name)} {text.replace('   ', ', from ').replace(' – ', ' to ')}."
        axes.set(xlim=(0, 1), ylim=(len(rows) - 0.4, -0.6), xlabel="value, and 95% interval")
        axes.set_yticks(range(len(rows)), [_words(name) for name in rows])
        for tick, name in zip(axes.get_yticklabels(), rows, strict=True):
            if name not in summary:
                tick.set(fontweight="bold", color=QUIET)
        axes.grid(axis="y", visible=False)
    return figure


def _words(name: str) -> str:
    kind, _, label = name.partition("_")
    if kind in ("precision", "recall") and label in _NAMES:
        return f"{kind} of {label}s"
    return _WORDS.get(name, name.replace("_", " "))


def roc_pr(
    labels: np.ndarray,
    scores: np.ndarray,
    threshold: float,
    bands: pd.DataFrame | None = None,
    unit: str = "videos",
) -> Figure:
    """Draw ROC and precision-recall curves with the threshold in use, and bands as `metrics.bands` gives them."""
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
        right.set(
            title="Precision and recall",
            xlabel="fakes called fake (recall)",
            ylabel="called fakes that are (precision)",
        )
        for axes in (left, right):
            axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.03), box_aspect=1)
            axes.set_xticks([0, 0.5, 1])
            axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
            in_percent(axes, "xy")
        left.text(0.97, 0.04, f"{len(labels):,} {unit}", ha="right", color=QUIET, fontsize=10)
        average = metrics.summary(labels, scores, resamples=2)["average_precision"]["value"]
        figure.alt += (
            f" ROC curve and precision-recall curve over {len(labels)} {unit}, with a dot at the threshold in use, "
            f"{threshold:.2f}; average precision {average:.3f}."
        )
    return figure


def score_histogram(labels: np.ndarray, scores: np.ndarray, threshold: float, unit: str = "videos") -> Figure:
    """Draw the scores of fakes upwards and of reals downwards; those on the wrong side of the threshold are dark."""
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=float)
    wrong = (scores >= threshold) != (labels == 1)
    title = f"{wrong.sum()} of {len(labels)} {unit} lie on the wrong side of {threshold:.2f}"
    edges = np.linspace(0, 1, 26)
    with new_figure(WIDTH, 3.3, title) as figure:
        axes = figure.subplots()
        for label, sign in ((1, 1), (0, -1)):
            mistaken, right = (np.histogram(scores[(labels == label) & part], edges)[0] for part in (wrong, ~wrong))
            look = {"x": edges[:-1], "width": 0.036, "align": "edge", "color": COLORS[label]}
            axes.bar(height=sign * mistaken, **look)
            axes.bar(height=sign * right, bottom=sign * mistaken, alpha=0.38, **look)
            total, bad = (labels == label).sum(), (wrong & (labels == label)).sum()
            place = {"x": 0.01, "y": 0.98, "va": "top"} if label else {"x": 0.01, "y": 0.02, "va": "bottom"}
            words = f"{total:,} {_NAMES[label]}s, {bad:,} called {_NAMES[1 - label]} (dark)"
            axes.text(s=words, color=COLORS[label], fontweight="bold", transform=axes.transAxes, **place)
            figure.alt += f" Of {total} {_NAMES[label]}s {bad} are called {_NAMES[1 - label]}."
        axes.axhline(0, color=INK, linewidth=1)
        axes.axvline(threshold, color=INK, linestyle=(0, (3, 2)), linewidth=1.5)
        most = max(map(abs, axes.get_ylim()), default=1)
        axes.set(xlim=(0, 1), ylim=(-1.25 * most, 1.25 * most), xlabel="probability of fake", ylabel=unit)
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{abs(value):,.0f}"))
        axes.grid(axis="x", visible=False)
    return figure


def reliability(
    labels: np.ndarray, scores: np.ndarray, calibrated: np.ndarray | None = None, unit: str = "videos"
) -> Figure:
    """Draw the share of fakes among videos of like score, and how many videos have such scores.

    `calibrated`: the same videos' scores after temperature scaling, drawn beside them.
    """
    series = [("scores", scores, INK, "o")]
    if calibrated is not None:
        series = [("before temperature", scores, QUIET, "o"), ("after temperature", calibrated, GOOD, "s")]
    tables = [metrics.reliability(labels, values) for _, values, _, _ in series]
    errors = [
        (table["n"] * (table["mean_score"] - table["share_fake"]).abs()).sum() / max(len(labels), 1) for table in tables
    ]
    title = f"On average a score is {errors[0]:.2f} off the share of fakes"
    if calibrated is not None:
        title = f"Temperature takes the calibration error from {errors[0]:.2f} to {errors[1]:.2f}"
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
            rows = (f"{row.mean_score:.2f}: {row.share_fake:.0%} of {row.n}" for row in table.itertuples())
            figure.alt += f" Share of fakes by score, {name}: {'; '.join(rows)}."
        axes.set(xlim=(0, 1), ylim=(-0.02, 1.02), ylabel="share that is fake, and 95% interval")
        in_percent(axes, "y")
        below.set(xlabel="score: probability of fake", ylabel=unit)
        below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        legend = axes.legend(loc="upper left", markerscale=1)
        for handle in legend.legend_handles[1:]:
            handle.set_sizes([60])
    return figure


_PROPERTIES = {
    "face_px": "face size in pixels",
    "yaw": "yaw in degrees",
    "pitch": "pitch in degrees",
    "roll": "roll in degrees",
    "bitrate": "bitrate in bit/s",
    "duration_s": "length in seconds",
}


def slices(table: pd.DataFrame, title: str | None = None) -> Figure:
    """Draw the error rate of each slice with its interval, as `slices.by_slice` gives them.

    With a column `property`, several tables stand under their names. Slices of reals only and of fakes only have the
    colours of their class. A full dot differs from the other videos of its class (p below .05, corrected for looking
    at all slices).
    """
    named = table["property"] if "property" in table else pd.Series("", index=table.index)
    rows: list[Any] = []
    for name, part in table.groupby(named, sort=False):
        rows += [*([_PROPERTIES.get(name, str(name).replace("_", " "))] if name else []), *part.itertuples()]
    if title is None:
        title = _outstanding(table)
    with new_figure(WIDTH, 0.75 + 0.3 * len(rows), title) as figure:
        axes = figure.subplots()
        for place, row in enumerate(rows):
            if isinstance(row, str):
                figure.alt += f" By {row}:"
                continue
            color = REAL if row.fake == 0 else FAKE if row.real == 0 else INK
            axes.plot([row.low, row.high], [place, place], color=color, linewidth=5, alpha=0.35, zorder=1)
            sure = row.p_holm < 0.05
            look = {"markerfacecolor": color if sure else "white", "markeredgewidth": 2, "clip_on": False}
            axes.plot(row.error_rate, place, "o", color=color, markersize=8, **look)
            text = {"transform": axes.get_yaxis_transform(), "va": "center", "fontsize": 10}
            axes.text(1.03, place, f"{row.errors:,} of {row.n:,}", **text)
            figure.alt += f" {row.slice}: {row.errors} of {row.n}{', unlike the others' if sure else ''}."
        most = np.ceil(10 * table["high"].max()) / 10 if len(table) else 1.0
        axes.set(xlim=(0, min(max(most, 0.1), 1.0)), ylim=(len(rows) - 0.4, -0.6))
        axes.set_xlabel(
            "share mistaken, and 95% interval\nfull dot: unlike the rest of its class (p < 0.05, corrected)"
        )
        axes.set_yticks(range(len(rows)), [row if isinstance(row, str) else row.slice for row in rows])
        for tick, row in zip(axes.get_yticklabels(), rows, strict=True):
            if isinstance(row, str):
                tick.set(fontweight="bold", color=QUIET)
        axes.tick_params(axis="y", pad=9)  # room for a dot at 0
        in_percent(axes, "x")
        axes.grid(axis="y", visible=False)
    return figure


def _outstanding(table: pd.DataFrame) -> str:
    """Return in words which slice is worse than the others of its class beyond chance."""
    if len(table) == 0:
        return "There are no scored videos to compare"
    sure = table[(table["p_holm"] < 0.05) & (table["errors"] > 0)]
    if len(sure) == 0:
        return "No slice stands out from the others more than chance allows"
    worst = sure.iloc[int(sure["error_rate"].to_numpy(dtype=float).argmax())]
    name = worst["slice"]
    if "property" in worst:
        name = f"{_PROPERTIES.get(worst['property'], worst['property'].replace('_', ' '))} {name}"
    return f"Mistakes gather in {name}: {worst['errors']:,} of {worst['n']:,} videos"
