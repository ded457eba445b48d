"""Charts of datasets and of training.

Titles say what is found, axes carry units, and every figure describes itself in words (`figure.alt`) for those who
cannot see it.
"""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from sklearn.metrics import roc_auc_score

from dfutils.metrics import figures
from dfutils.reporting.figure import COLORS, GOOD, INK, OTHER, QUIET, WIDTH, Picture, in_percent, new_figure, panels

_NAMES = figures.CLASSES


def class_counts(videos: pd.DataFrame) -> Picture:
    """Draw how many videos there are of each class, method and dataset, from the videos table."""
    names = videos["method"].where(videos["label"] == 1, "real").replace("", "fake")
    rows = videos["dataset"] + ": " + names if videos["dataset"].nunique() > 1 else names
    shown = pd.DataFrame({"row": rows, "label": videos["label"]}).sort_values(["label", "row"])
    counts = shown["row"].value_counts(sort=False)
    fakes, total = int((videos["label"] == 1).sum()), len(videos)
    title = f"{total - fakes:,} real and {fakes:,} fake videos"
    if total:
        title += f": naming the larger class is right in {max(fakes, total - fakes) / total:.0%}"
    with new_figure(WIDTH, 0.7 + 0.36 * len(counts), title) as figure:
        axes = figure.subplots()
        look = {"palette": COLORS, "saturation": 1, "width": 0.7, "legend": False}
        sns.countplot(shown, y="row", hue="label", hue_order=[0, 1], **look, ax=axes)
        for bars in axes.containers:
            axes.bar_label(bars, fmt="{:,.0f}", padding=4)
        axes.set(xlabel="videos", ylabel="", xlim=(0, 1.12 * counts.max() if total else 1))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        figure.alt += f" Bars, a bar a kind of video: {', '.join(f'{name} {n}' for name, n in counts.items())}."
    return figure


def facts(videos: pd.DataFrame) -> Picture:
    """Draw length, size, frame rate and bitrate of real and fake videos over each other, from the videos table."""
    shown = videos.assign(side=videos[["width", "height"]].min(axis=1), kbits=videos["bitrate"] / 1000)
    names = {
        "duration_s": ("Length", "seconds"),
        "side": ("Size", "pixels of the shorter side"),
        "fps": ("Rate", "frames per second"),
        "kbits": ("Bitrate", "kbit a second"),
    }
    return _by_class(shown, names, "container fact")


def face_facts(frames: pd.DataFrame) -> Picture:
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


def faces_found(videos: pd.DataFrame, frames: pd.DataFrame) -> Picture:
    """Draw how many valid faces and how many people were found a video, real and fake over each other.

    `videos`: the videos table with `people`; `frames`: the frames table. Unreadable and excluded videos are left out.
    """
    read = videos[~videos["status"].isin(["unreadable", "excluded"])]
    counts = frames[frames["person"] == 0].groupby("video_id").size()
    found = read.assign(found=read["video_id"].map(counts).fillna(0))
    names = {"found": ("Faces found", "valid faces per video"), "people": ("People seen", "people per video")}
    return _by_class(found, names, "count of faces")


def _by_class(table: pd.DataFrame, names: dict[str, tuple[str, str]], what: str) -> Picture:
    """Draw a histogram a column, both classes over each other; the title names the column that tells them apart."""
    labels = table["label"].to_numpy()
    values = {name: table[name].to_numpy(dtype=float, na_value=np.nan) for name in names}
    told = {name: _told_apart(labels, column) for name, column in values.items()}
    ids = table["video_id"] if "video_id" in table else pd.Series(range(len(table)))
    counted = np.array([ids[labels == label].nunique() for label in (0, 1)])
    # Twice the standard error of an AUC of one half (Hanley and McNeil 1982); frames of one video count once.
    chance = 2 * np.sqrt((counted.sum() + 1) / (12 * max(counted.prod(), 1)))
    known = {name: auc for name, auc in told.items() if auc is not None}
    title = f"No {what} can be compared"
    if known:
        best = max(known, key=known.get)
        title = f"No {what} alone tells fake from real: the best, {names[best][0].lower()}, has AUC {known[best]:.2f}"
        if known[best] >= 0.6:
            title = f"{names[best][0]} alone tells fake from real with AUC {known[best]:.2f}: "
            title += "a possible shortcut" if known[best] >= 0.5 + chance else "chance, perhaps, with so few videos"
    with new_figure(WIDTH, 2.5 if len(names) <= 2 else 4.6, title) as figure:
        for axes, (name, (text, unit)) in zip(panels(figure, len(names), 2), names.items(), strict=True):
            medians = _distribution(axes, labels, values[name], stretched=name in ("kbits", "sharpness"))
            axes.set(title=text, xlabel=unit, ylabel="" if axes in figure.axes[1::2] else "share of class")
            figure.alt += f" {text} in {unit}: {medians}."
        handles = [Rectangle((0, 0), 1, 1, facecolor=color, alpha=0.6) for color in COLORS]
        figure.legend(handles, _NAMES, handlelength=1, loc="outside lower center", ncols=2)
    return figure


def _told_apart(labels: np.ndarray, values: np.ndarray) -> float | None:
    """Return how well a value alone tells the classes apart: AUC, .5 to 1; None without values of both."""
    known = np.isfinite(values)
    if len(np.unique(labels[known])) < 2:
        return None
    auc = float(roc_auc_score(labels[known], values[known]))
    return max(auc, 1 - auc)


def _distribution(axes: Axes, labels: np.ndarray, values: np.ndarray, *, stretched: bool) -> str:
    """Draw both classes as shares of their own number, and return their medians or shares in words.

    `stretched`: on a logarithmic axis where values differ by more than ten times. Up to six different values have a bar
    each.
    """
    known = np.isfinite(values)
    shown = pd.DataFrame({"value": values[known], "label": labels[known]})
    if shown.empty:
        axes.text(0.5, 0.5, "unknown", ha="center", va="center", color=QUIET, transform=axes.transAxes)
        axes.set(xticks=[], yticks=[])
        return "unknown"
    kinds, wide = np.sort(shown["value"].unique()), False
    look = {"x": "value", "hue": "label", "palette": dict(enumerate(COLORS)), "legend": False, "ax": axes}
    look |= {"stat": "probability", "common_norm": False}
    if len(kinds) <= 6:
        texts = shown["value"].map("{:.4g}".format).astype(pd.CategoricalDtype([f"{kind:.4g}" for kind in kinds]))
        sns.histplot(shown.assign(value=texts), **look, multiple="dodge", shrink=0.76, alpha=0.6, edgecolor="white")
        axes.set_xlim(-0.7, len(kinds) - 0.3)
    else:
        wide = bool(stretched and kinds[0] > 0 and kinds[-1] / kinds[0] > 10)
        shape = {"element": "step", "bins": 24, "log_scale": wide, "hue_order": [1, 0]}  # the last is drawn first
        sns.histplot(shown, **look, **shape, alpha=0.3, linewidth=1.8)
        for steps, line in zip(axes.collections, ("-", "--"), strict=False):
            steps.set_linestyle(line)
    if wide:
        axes.xaxis.set_major_locator(LogLocator(subs=(1,) if kinds[-1] / kinds[0] > 60 else (1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.xaxis.set_minor_locator(NullLocator())
    elif len(kinds) > 6:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    in_percent(axes, "y")
    axes.yaxis.set_major_locator(MaxNLocator(4))
    by_class = shown["value"].groupby(shown["label"].map(dict(enumerate(_NAMES))), sort=False)
    return " and ".join(f"{_summed(part, len(kinds) <= 6)} {name}" for name, part in sorted(by_class, reverse=True))


def _summed(values: pd.Series, few: bool) -> str:
    """Return the shares of a few values, or the median, in words."""
    if not few:
        return f"median {values.median():.4g} for"
    shares = values.value_counts(normalize=True).sort_index()
    return ", ".join(f"{kind:g} in {share:.0%}" for kind, share in shares.items()) + " of the"


def curves(history: pd.DataFrame) -> Picture:
    """Draw loss, accuracy and validation AUC by epoch, and mark the epoch that is kept.

    `history`: one row per epoch with `epoch`, `train_loss`, `val_loss`, `train_accuracy`, `val_accuracy`, `val_auc`
    (NaN where undefined) and `best` (true for the epoch kept), as `training.fit` returns it.
    """
    best = history[history["best"]].iloc[0]
    defined = np.isfinite(best["val_auc"])
    found = f"AUC {best['val_auc']:.2f}" if defined else f"accuracy {best['val_accuracy']:.0%}"
    title = f"Epoch {best['epoch']:.0f} of {len(history)} is kept: validation loss {best['val_loss']:.2f}, {found}"
    names = {"train_loss": "training", "val_loss": "validation", "val_auc": "validation AUC"}
    names |= {"train_accuracy": "training accuracy", "val_accuracy": "validation accuracy"}
    lines = history.set_index("epoch").dropna(axis="columns", how="all")
    with new_figure(WIDTH, 4.9, title) as figure:
        loss, rates = figure.subplots(2, 1, sharex=True)
        for axes, kind in ((loss, "loss$"), (rates, "accuracy$|auc$")):
            shown = lines.filter(regex=kind).rename(columns=names)
            look = {"palette": [QUIET, INK, OTHER], "dashes": [(4, 2), "", ""], "markers": ["."] * 3}
            look = {name: values[: shown.shape[1]] for name, values in look.items()}
            sns.lineplot(shown, **look, markeredgewidth=0, markersize=9, ax=axes)
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


def learning_rate(rates: pd.DataFrame) -> Picture:
    """Draw the learning rate all along a run: `done` (epochs) and `learning_rate`, as `schedule.rates` gives them."""
    top, last = rates["learning_rate"].max(), rates["learning_rate"].iloc[-1]
    title = f"The learning rate peaks at {top:.2g} and ends at {last:.2g}"
    with new_figure(WIDTH, 2.4, title) as figure:
        axes = figure.subplots()
        axes.plot(rates["done"], rates["learning_rate"], color=INK)
        axes.set(xlabel="epochs done", ylabel="learning rate", ylim=(0, 1.1 * top), xlim=(0, rates["done"].max()))
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, min_n_ticks=1))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.1g}" if value else "0"))
        figure.alt += f" A curve over {rates['done'].max():.0f} epochs."
    return figure
