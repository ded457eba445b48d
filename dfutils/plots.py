"""One visual language for all notebooks.

Real and fake have the same two colours everywhere (Okabe and Ito's blue and vermilion, told apart by colour-blind eyes
too), titles say what is found, axes carry units, and every figure describes itself in words (`figure.alt`) for those
who cannot see it. Figures stand on white, so that they read the same on a light and on a dark page and in print.
"""

import base64
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from sklearn.metrics import precision_recall_curve, roc_auc_score, roc_curve

from dfutils import metrics
from dfutils.files import atomic

REAL, FAKE, QUIET = "#0072B2", "#D55E00", "#6B7280"
COLORS = (REAL, FAKE)
"""By label."""

_STYLE = {
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E5E7EB",
    "legend.frameon": False,
    "image.interpolation": "nearest",
}


@contextmanager
def _figure(width: float, height: float) -> Iterator[Figure]:
    """Give a figure in the suite's style that belongs to no window and no notebook cell."""
    with mpl.rc_context(_STYLE):
        yield Figure(figsize=(width, height))


def show(figure: Figure) -> HTML:
    """Return a figure as a picture with its description in words, for the last line of a cell or `display`."""
    data = base64.b64encode(_png(figure)).decode()
    return HTML(f'<img alt="{escape(figure.alt, quote=True)}" src="data:image/png;base64,{data}">')


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_bytes(_png(figure))


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(stream, format="png", dpi=110, metadata={"Software": None})
    return stream.getvalue()


# --- videos ---


def class_counts(videos: pd.DataFrame) -> Figure:
    """Draw how many videos there are of each class, method and dataset."""
    names = videos["method"].where(videos["label"] == 1, "real").replace("", "fake")
    many = videos["dataset"].nunique() > 1
    rows = (videos["dataset"] + ": " + names) if many else names
    counts = pd.DataFrame({"row": rows, "label": videos["label"]}).value_counts().reset_index()
    counts = counts.sort_values(["label", "row"], ascending=[False, False])
    fakes = int((videos["label"] == 1).sum())
    with _figure(7.5, 0.9 + 0.4 * len(counts)) as figure:
        axes = figure.subplots()
        bars = axes.barh(counts["row"], counts["count"], color=[COLORS[label] for label in counts["label"]])
        axes.bar_label(bars, padding=4)
        axes.set(title=f"{fakes} of {len(videos)} videos are fake", xlabel="videos")
        axes.grid(axis="y", visible=False)
        parts = ", ".join(f"{row.row} {row.count}" for row in counts.itertuples(index=False))
        figure.alt = f"Bars: number of videos by class and method. {parts}."
    return figure


_FACTS = {
    "width": ("Width", "pixels"),
    "height": ("Height", "pixels"),
    "fps": ("Rate", "frames a second"),
    "duration_s": ("Duration", "seconds"),
    "bitrate": ("Bitrate", "bits a second"),
    "n_frames": ("Length", "frames"),
}


def facts(videos: pd.DataFrame) -> Figure:
    """Draw the container's facts of real and fake videos over each other."""
    return _by_class(videos, _FACTS, "Container facts by class: where the colours part, there is a shortcut")


def face_facts(frames: pd.DataFrame) -> Figure:
    """Draw size, sharpness and brightness of the faces kept, real and fake over each other (`label` must be there)."""
    names = {
        "face_px": ("Face size", "source pixels"),
        "sharpness": ("Sharpness", "variance of the Laplacian"),
        "brightness": ("Brightness", "mean luma, 0 to 255"),
    }
    return _by_class(frames, names, "Faces by class: where the colours part, there is a shortcut")


def _by_class(table: pd.DataFrame, names: dict[str, tuple[str, str]], title: str) -> Figure:
    shown = {name: text for name, text in names.items() if table[name].notna().any()}
    columns = min(3, max(len(shown), 1))
    lines = -(-max(len(shown), 1) // columns)
    medians = []
    with _figure(3.1 * columns, 2.3 * lines + 0.5) as figure:
        panels = np.atleast_1d(figure.subplots(lines, columns)).ravel()
        for axes, (name, (text, unit)) in zip(panels, shown.items(), strict=False):
            values = table[name].astype(float)
            edges = np.histogram_bin_edges(values.dropna(), bins=24)
            for label in (0, 1):
                part = values[table["label"] == label].dropna()
                if len(part):
                    weights = np.full(len(part), 100 / len(part))
                    axes.hist(part, bins=edges, weights=weights, color=COLORS[label], alpha=0.55, label=_NAMES[label])
                    medians.append(f"{text} {_NAMES[label]} median {part.median():.4g}")
            axes.set(title=text, xlabel=unit, ylabel="% of class")
        for axes in panels[len(shown) :]:
            axes.set_visible(False)
        if shown:
            panels[0].legend()
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
        figure.alt = f"Histograms for real and fake. {'; '.join(medians)}."
    return figure


_NAMES = ("real", "fake")


# --- pictures ---


def frame_grid(images: Sequence[np.ndarray], captions: Sequence[str], title: str = "") -> Figure:
    """Draw pictures side by side, each with its caption."""
    columns = min(5, max(len(images), 1))
    lines = -(-max(len(images), 1) // columns)
    with _figure(max(1.75 * columns, 4.5), 2.2 * lines + 0.4) as figure:
        panels = np.atleast_1d(figure.subplots(lines, columns)).ravel()
        for axes in panels:
            axes.set_axis_off()
        for axes, image, caption in zip(panels, images, captions, strict=False):
            axes.imshow(image)
            axes.set_title(caption, fontsize=8, fontweight="normal", loc="center")
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        words = "; ".join(" ".join(caption.split()) for caption in captions)
        figure.alt = f"{title}. Pictures: {words}."
    return figure


def strip(
    frames: np.ndarray,
    scores: Sequence[float] | None = None,
    threshold: float | None = None,
    title: str = "",
    times: Sequence[float] | None = None,
) -> Figure:
    """Draw a clip's crops in time order, and below each its probability of fake if `scores` are given.

    Args:
        frames: `(T, S, S, 3)` RGB.
        scores: `(T,)`, 0 to 1.
        threshold: drawn as a line across the bars.
        title: above the strip.
        times: `(T,)` in seconds, written below.
    """
    count = len(frames)
    with _figure(9.5, 9.5 / max(count, 6) + (1.35 if scores is not None else 0.35)) as figure:
        if scores is None:
            top = figure.subplots()
        else:
            top, below = figure.subplots(2, 1, height_ratios=[9.5 / max(count, 6), 0.85], sharex=True)
        side = frames.shape[1]
        top.imshow(np.concatenate(list(frames), axis=1), extent=(0, count, 1, 0), aspect="equal")
        top.set_axis_off()
        top.set_xlim(0, max(count, 6))
        top.set_title(title, fontsize=11)
        figure.alt = f"{title}. {count} face crops of {side} pixels in time order."
        if scores is not None:
            _score_bars(below, np.asarray(scores, dtype=float), threshold, times)
            figure.alt += f" Scores of the frames: {', '.join(f'{score:.2f}' for score in scores)}."
    return figure


def _score_bars(axes: Axes, scores: np.ndarray, threshold: float | None, times: Sequence[float] | None) -> None:
    places = np.arange(len(scores)) + 0.5
    line = 0.5 if threshold is None else threshold
    axes.bar(places, scores, width=0.9, color=[COLORS[int(score >= line)] for score in scores])
    axes.axhline(line, color="black", linewidth=1, linestyle="--")
    for place, score in zip(places, scores, strict=True):
        axes.text(place, score + 0.03, f"{score:.2f}", ha="center", va="bottom", fontsize=8)
    axes.set(ylim=(0, 1.25), yticks=[0, 1], ylabel="fake")
    axes.grid(visible=False)
    labels = [""] * len(scores) if times is None else [f"{time:.1f} s" for time in times]
    axes.set_xticks(places, labels, fontsize=8)


def review(pictures: Sequence[np.ndarray], boxes: Sequence[Sequence[tuple[Any, str]]], title: str = "") -> Figure:
    """Draw whole frames of a video, with a box around whatever was taken for a face and rejected, and why."""
    columns = min(3, max(len(pictures), 1))
    lines = -(-max(len(pictures), 1) // columns)
    rejected = [why for frame in boxes for _, why in frame]
    with _figure(9.5, 2.3 * lines + 0.5) as figure:
        panels = np.atleast_1d(figure.subplots(lines, columns)).ravel()
        for axes in panels:
            axes.set_axis_off()
        for axes, picture, found in zip(panels, pictures, boxes, strict=False):
            axes.imshow(picture)
            for (x, y, w, h), why in found:
                axes.add_patch(Rectangle((x, y), w, h, fill=False, edgecolor="#F0E442", linewidth=2))
                axes.text(x, y, why, color="black", backgroundcolor="#F0E442", fontsize=7, va="bottom")
        figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold", wrap=True)
        words = f"Rejected: {'; '.join(rejected)}." if rejected else "Nothing in them was taken for a face."
        figure.alt = f"{title} {len(pictures)} whole frames. {words}"
    return figure


# --- training ---


def curves(history: pd.DataFrame) -> Figure:
    """Draw loss, accuracy and validation AUC by epoch, with the epoch that is kept."""
    best = history[history["best"]].iloc[0]
    panels = [("loss", "loss"), ("accuracy", "accuracy")]
    with _figure(9.5, 3.0) as figure:
        axes = figure.subplots(1, 3)
        for place, (name, unit) in zip(axes, panels, strict=False):
            place.plot(history["epoch"], history[f"train_{name}"], color=QUIET, marker="o", label="training")
            place.plot(history["epoch"], history[f"val_{name}"], color="black", marker="o", label="validation")
            place.set(title=name.capitalize(), xlabel="epoch", ylabel=unit)
        axes[2].plot(history["epoch"], history["val_auc"], color="black", marker="o")
        axes[2].set(title="ROC AUC, validation", xlabel="epoch", ylabel="AUC")
        for place in axes:
            place.axvline(best["epoch"], color="#009E73", linestyle="--", linewidth=1.5)
            place.xaxis.get_major_locator().set_params(integer=True)
        axes[0].legend()
        figure.suptitle(f"Epoch {best['epoch']:.0f} is kept", x=0.01, ha="left", fontsize=12, fontweight="bold")
        figure.alt = (
            f"Curves over {len(history)} epochs. In epoch {best['epoch']:.0f}, which is kept, the training loss is "
            f"{best['train_loss']:.3f}, the validation loss {best['val_loss']:.3f}, "
            f"the validation AUC {best['val_auc']:.3f}."
        )
    return figure


# --- scores ---


def confusion(matrix: Sequence[Sequence[int]]) -> Figure:
    """Draw a confusion matrix: counts, and shares of each row. Rows are true, columns called."""
    counts = np.asarray(matrix)
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    (_, alarms), (misses, _) = counts
    with _figure(5.6, 4.4) as figure:
        axes = figure.subplots()
        for true in (0, 1):
            for called in (0, 1):
                share = shares[true, called]
                face = mpl.colors.to_rgba(COLORS[true], 0.08 + 0.84 * share)
                axes.add_patch(Rectangle((called, true), 1, 1, facecolor=face, edgecolor="white", linewidth=3))
                ink = "white" if share > 0.55 else "black"
                place = called + 0.5
                axes.text(
                    place, true + 0.46, f"{counts[true, called]}", ha="center", va="center", fontsize=26, color=ink
                )
                axes.text(place, true + 0.74, f"{share:.1%} of row", ha="center", va="center", fontsize=11, color=ink)
        axes.set(xlim=(0, 2), ylim=(2, 0), xlabel="called", ylabel="is")
        axes.set_xticks([0.5, 1.5], ["REAL", "FAKE"])
        axes.set_yticks([0.5, 1.5], [f"REAL\n({totals[0, 0]})", f"FAKE\n({totals[1, 0]})"])
        axes.tick_params(length=0)
        axes.grid(visible=False)
        for side in axes.spines.values():
            side.set_visible(False)
        axes.set_title(f"{misses} of {totals[1, 0]} fakes pass, {alarms} of {totals[0, 0]} reals are accused")
        figure.alt = (
            f"Confusion matrix. Of {totals[0, 0]} real videos {counts[0, 0]} are called real and {alarms} fake; of "
            f"{totals[1, 0]} fake videos {misses} are called real and {counts[1, 1]} fake."
        )
    return figure


def intervals(summary: dict[str, dict[str, Any]]) -> Figure:
    """Draw the figures between 0 and 1 of a summary as dots with their 95% intervals."""
    known = {
        name: figure
        for name, figure in summary.items()
        if figure["value"] is not None and figure["low"] is not None and name not in ("log_loss",)
    }
    names = list(known)[::-1]
    with _figure(7.5, 0.9 + 0.32 * max(len(names), 1)) as figure:
        axes = figure.subplots()
        for place, name in enumerate(names):
            low, value, high = (known[name][key] for key in ("low", "value", "high"))
            axes.plot([low, high], [place, place], color=QUIET, linewidth=4, solid_capstyle="round", alpha=0.6)
            axes.plot(value, place, "o", color="black")
        axes.axvline(0.5, color="black", linewidth=0.8, linestyle=":")
        axes.set(xlim=(-0.02, 1.02), xlabel="value, with 95% interval", title="How much is known of each figure")
        axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
        words = "; ".join(f"{name} {known[name]['value']:.3f}" for name in known)
        figure.alt = f"Dots with intervals: {words}."
    return figure


def roc_pr(labels: np.ndarray, scores: np.ndarray, threshold: float, bands: dict[str, Any] | None = None) -> Figure:
    """Draw ROC and precision-recall curves, with bands as `metrics.bands` gives them, and the threshold in use."""
    with _figure(9.5, 4.3) as figure:
        left, right = figure.subplots(1, 2)
        if len(np.unique(labels)) < 2:
            for axes in (left, right):
                axes.text(0.5, 0.5, "undefined: one class is missing", ha="center")
            figure.alt = "ROC and precision-recall curves are undefined: one class is missing."
            return figure
        called = scores >= threshold
        recall, alarm = called[labels == 1].mean(), called[labels == 0].mean()
        precision = labels[called].mean() if called.any() else 1.0
        rate, sensitivity, _ = roc_curve(labels, scores)
        precisions, recalls, _ = precision_recall_curve(labels, scores)
        left.plot(rate, sensitivity, color=FAKE, drawstyle="steps-post")
        left.plot([0, 1], [0, 1], color=QUIET, linestyle=":", linewidth=1)
        left.plot(alarm, recall, "o", color="black", markersize=8)
        right.plot(recalls, precisions, color=FAKE, drawstyle="steps-post")
        right.axhline(labels.mean(), color=QUIET, linestyle=":", linewidth=1)
        right.plot(recall, precision, "o", color="black", markersize=8)
        if bands is not None:
            _band(left, bands["roc"])
            _band(right, bands["pr"])
        auc = roc_auc_score(labels, scores)
        left.set(title=f"ROC: AUC {auc:.3f}", xlabel="reals called fake", ylabel="fakes called fake")
        right.set(title="Precision and recall of fakes", xlabel="recall: fakes called fake", ylabel="precision")
        for axes in (left, right):
            axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        left.set_aspect("equal")
        figure.alt = (
            f"ROC curve with AUC {auc:.3f}, and precision-recall curve. At the threshold in use {recall:.1%} of the "
            f"fakes are caught, {alarm:.1%} of the reals accused, and precision is {precision:.1%}."
        )
    return figure


def _band(axes: Axes, band: dict[str, np.ndarray]) -> None:
    axes.fill_between(band["x"], band["low"], band["high"], color=FAKE, alpha=0.15, linewidth=0)


def score_histogram(labels: np.ndarray, scores: np.ndarray, threshold: float) -> Figure:
    """Draw the scores of both classes, and the threshold."""
    with _figure(7.5, 3.2) as figure:
        axes = figure.subplots()
        edges = np.linspace(0, 1, 26)
        for label in (0, 1):
            axes.hist(scores[labels == label], bins=edges, color=COLORS[label], alpha=0.6, label=_NAMES[label])
        axes.axvline(threshold, color="black", linestyle="--", linewidth=1.2, label=f"threshold {threshold:.2f}")
        wrong = int(((scores >= threshold) != (labels == 1)).sum())
        axes.set(
            title=f"{wrong} of {len(labels)} videos lie on the wrong side",
            xlabel="probability of fake",
            ylabel="videos",
        )
        axes.legend()
        figure.alt = f"Histogram of scores: {wrong} of {len(labels)} videos lie on the wrong side of {threshold:.2f}."
    return figure


def reliability(labels: np.ndarray, scores: np.ndarray) -> Figure:
    """Draw the share of fakes among videos of like score against that score."""
    table = metrics.reliability(labels, scores)
    with _figure(4.8, 4.4) as figure:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=QUIET, linestyle=":", linewidth=1)
        below = (table["share_fake"] - table["low"]).clip(lower=0)
        above = (table["high"] - table["share_fake"]).clip(lower=0)
        axes.errorbar(table["mean_score"], table["share_fake"], yerr=[below, above], fmt="o", color=FAKE, capsize=3)
        for row in table.itertuples():
            axes.annotate(
                f"{row.n}", (row.mean_score, row.share_fake), (6, -12), textcoords="offset points", fontsize=8
            )
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="score", ylabel="share of fakes", aspect="equal")
        axes.set_title("On the diagonal, a score is a probability")
        words = "; ".join(f"score {row.mean_score:.2f}: {row.share_fake:.0%} of {row.n}" for row in table.itertuples())
        figure.alt = f"Reliability diagram, share of fakes by score: {words}."
    return figure


def slices(table: pd.DataFrame, title: str = "Share of videos that are mistaken, with 95% intervals") -> Figure:
    """Draw error rates by slice, as `slices.by_slice` gives them (with `property`, several tables in one)."""
    rows = table.iloc[::-1].reset_index(drop=True)
    names = (rows["property"] + " " + rows["slice"]) if "property" in rows else rows["slice"]
    with _figure(7.5, 0.9 + 0.34 * max(len(rows), 1)) as figure:
        axes = figure.subplots()
        for place, row in enumerate(rows.itertuples()):
            color = REAL if row.fake == 0 else FAKE if row.real == 0 else QUIET
            axes.plot([row.low, row.high], [place, place], color=color, linewidth=4, alpha=0.45, solid_capstyle="round")
            axes.plot(row.error_rate, place, "o", color=color)
            axes.text(1.03, place, f"{row.errors} of {row.n}", va="center", fontsize=9)
        axes.set(xlim=(-0.02, 1.0), ylim=(-0.6, len(rows) - 0.4), xlabel="error rate", title=title)
        axes.set_yticks(range(len(rows)), names)
        words = "; ".join(
            f"{name} {row.errors} of {row.n}" for name, row in zip(names[::-1], table.itertuples(), strict=True)
        )
        figure.alt = f"Errors by slice: {words}."
    return figure
