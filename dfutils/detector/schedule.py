"""What decides a training run, as functions of its settings and of its history so far.

Which epoch is the best, when the learning rate falls, when to stop: nothing here remembers anything, so a run that was
killed and goes on decides as an unbroken one would have.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from dfutils.core.params import TrainingSettings

HISTORY_COLUMNS = [
    "epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_auc", "learning_rate", "seconds",
    "images_per_s", "best",
]  # fmt: skip


def standing(row: Mapping[str, float], monitor: str) -> tuple[float, ...]:
    """Return what is compared between epochs: lower is better. With `last` the latest always is."""
    if monitor == "last":
        return (-row["epoch"],)
    return (row["val_loss"],) if monitor == "val_loss" else (-row["val_auc"], row["val_loss"])


def best_epoch(scores: Sequence[tuple[float, ...]]) -> int:
    """Return the first epoch of the lowest score."""
    return min(range(len(scores)), key=lambda epoch: scores[epoch])


def plateau_falls(scores: Sequence[tuple[float, ...]], patience: int = 2) -> int:
    """Return how often a plateau has halved the learning rate: after each run of more than `patience` poor epochs."""
    falls = poor = 0
    best: tuple[float, ...] = (float("inf"),)
    for score in scores:
        if score < best:
            best, poor = score, 0
        else:
            poor += 1
        if poor > patience:
            falls, poor = falls + 1, 0
    return falls


def finished(history: Sequence[Mapping[str, float]], settings: TrainingSettings) -> bool:
    """Return whether a run is over: all epochs done, or `patience` of them without improvement."""
    if not history:
        return False
    stale = len(history) - 1 - best_epoch([standing(row, settings.monitor) for row in history])
    return len(history) >= settings.epochs or 0 < settings.patience <= stale


def rate_factor(done: float, schedule: str, epochs: int, warmup_epochs: float = 0.0, falls: int = 0) -> float:
    """Return the learning rate as a share of its peak.

    Args:
        done: epochs done, with their fraction.
        schedule: `plateau`, `cosine` or `none`.
        epochs: of the whole run.
        warmup_epochs: in which the rate rises in a straight line.
        falls: how often a plateau has halved it.
    """
    factor = min(1.0, done / warmup_epochs) if warmup_epochs else 1.0
    if schedule == "plateau":
        return factor * 0.5**falls
    if schedule == "cosine" and done > warmup_epochs:
        return factor * 0.5 * (1 + math.cos(math.pi * (done - warmup_epochs) / (epochs - warmup_epochs)))
    return factor


def rates(history: pd.DataFrame, settings: TrainingSettings, points: int = 40) -> pd.DataFrame:
    """Return the learning rate all along a run: `done` (epochs, with their fraction) and `learning_rate`.

    Args:
        history: as `training.fit` returns it.
        settings: of the run.
        points: of the curve, in each epoch.
    """
    standings = [standing(row, settings.monitor) for row in history.to_dict("records")]
    shape = settings.schedule, settings.epochs, settings.warmup_epochs
    curve = [
        (done, settings.learning_rate * rate_factor(done, *shape, plateau_falls(standings[:epoch])))
        for epoch in range(len(standings))
        for done in np.linspace(epoch, epoch + 1, points)
    ]
    return pd.DataFrame(curve, columns=["done", "learning_rate"])


def gap(history: pd.DataFrame) -> str:
    """Return in words how far training and validation are apart, and what the epochs after the best one did."""
    best, last = history[history["best"]].iloc[0], history.iloc[-1]
    points = 100 * (best["train_accuracy"] - best["val_accuracy"])
    where = f"{abs(points):.1f} points {'below' if points > 0 else 'above'}" if abs(points) >= 0.05 else "as high as"
    text = (
        f"In epoch {best['epoch']:.0f}, the one that is kept, validation accuracy lies {where} training accuracy "
        f"({best['val_accuracy']:.1%} and {best['train_accuracy']:.1%}; loss {best['val_loss']:.3f} and "
        f"{best['train_loss']:.3f})."
    ).replace("lies as high", "is as high")
    if points < 0:
        text += " Above is possible: training is measured on disturbed clips, with dropout, while the network changes."
    if np.isnan(best["val_auc"]):
        text += " The validation split is of one class only, so that its figures say little: raise val_fraction."
    if last["epoch"] == best["epoch"]:
        return f"{text} It was the last one: more epochs may do better still."
    if last["val_loss"] > best["val_loss"] and last["train_loss"] < best["train_loss"]:
        return (
            f"{text} From there to the last epoch training loss fell to {last['train_loss']:.3f} while validation loss "
            f"rose to {last['val_loss']:.3f}: the network had begun to remember its videos."
        )
    return f"{text} Later epochs did no better."


def table(history: Sequence[Mapping[str, float]], monitor: str) -> pd.DataFrame:
    """Return the history with the column `best`, true for the one epoch that is kept."""
    rows = pd.DataFrame(history, columns=HISTORY_COLUMNS[:-1])
    best = best_epoch([standing(row, monitor) for row in history])
    return rows.assign(best=np.arange(len(rows)) == best)
