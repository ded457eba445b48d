"""Learning rate, best epoch and early stopping of a training run, computed from its settings and its history.

None of these functions keeps a state, so that a run that resumes training after it was killed decides as an
uninterrupted one.
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


def epoch_score(row: Mapping[str, float], monitor: str) -> tuple[float, ...]:
    """Return the score by which epochs are compared; lower is better. With `last` the latest epoch is the best."""
    if monitor == "last":
        return (-row["epoch"],)
    return (row["val_loss"],) if monitor == "val_loss" else (-row["val_auc"], row["val_loss"])


def best_epoch(scores: Sequence[tuple[float, ...]]) -> int:
    """Return the index, from 0, of the first epoch with the lowest score."""
    return min(range(len(scores)), key=lambda epoch: scores[epoch])


def plateau_halvings(scores: Sequence[tuple[float, ...]], patience: int = 2) -> int:
    """Return how often the schedule `plateau` has halved the learning rate.

    It is halved when more than `patience` epochs in succession have not improved on the best score, as by PyTorch's
    `ReduceLROnPlateau`.
    """
    halvings = poor = 0
    best: tuple[float, ...] = (float("inf"),)
    for score in scores:
        if score < best:
            best, poor = score, 0
        else:
            poor += 1
        if poor > patience:
            halvings, poor = halvings + 1, 0
    return halvings


def finished(history: Sequence[Mapping[str, float]], settings: TrainingSettings) -> bool:
    """Return whether a run is finished: all epochs are done, or the last `patience` of them were no improvement."""
    if not history:
        return False
    stale = len(history) - 1 - best_epoch([epoch_score(row, settings.monitor) for row in history])
    return len(history) >= settings.epochs or 0 < settings.patience <= stale


def rate_factor(done: float, schedule: str, epochs: int, warmup_epochs: float = 0.0, halvings: int = 0) -> float:
    """Return the learning rate as a share of its peak, 0 to 1.

    Args:
        done: number of epochs done, with a fraction.
        schedule: `plateau`, `cosine` or `none`.
        epochs: number of epochs of the whole run, of which the rate rises linearly in the first `warmup_epochs`.
        halvings: as `plateau_halvings` returns it.
    """
    factor = min(1.0, done / warmup_epochs) if warmup_epochs else 1.0
    if schedule == "plateau":
        return factor * 0.5**halvings
    if schedule == "cosine" and done > warmup_epochs:
        return factor * 0.5 * (1 + math.cos(math.pi * (done - warmup_epochs) / (epochs - warmup_epochs)))
    return factor


def rates(history: pd.DataFrame, settings: TrainingSettings, points: int = 40) -> pd.DataFrame:
    """Return the learning rate over a run, at `points` per epoch: columns `done` (epochs, with a fraction) and
    `learning_rate`. `history` is as `training.fit` returns it."""
    scores = [epoch_score(row, settings.monitor) for row in history.to_dict("records")]
    shape = settings.schedule, settings.epochs, settings.warmup_epochs
    curve = [
        (done, settings.learning_rate * rate_factor(done, *shape, plateau_halvings(scores[:epoch])))
        for epoch in range(len(scores))
        for done in np.linspace(epoch, epoch + 1, points)
    ]
    return pd.DataFrame(curve, columns=["done", "learning_rate"])


def gap(history: pd.DataFrame) -> str:
    """Return sentences on the gap between training and validation, and on the epochs after the best one."""
    best, last = history[history["best"]].iloc[0], history.iloc[-1]
    points = 100 * (best["train_accuracy"] - best["val_accuracy"])
    compared = "is as high as"
    if abs(points) >= 0.05:
        compared = f"lies {abs(points):.1f} points {'below' if points > 0 else 'above'}"
    text = (
        f"In epoch {best['epoch']:.0f}, the one that is kept, validation accuracy {compared} training accuracy "
        f"({best['val_accuracy']:.1%} and {best['train_accuracy']:.1%}; loss {best['val_loss']:.3f} and "
        f"{best['train_loss']:.3f})."
    )
    if points < 0:
        text += (
            " It can be higher, because training accuracy is computed on augmented clips, with dropout, while the "
            "weights change."
        )
    if np.isnan(best["val_auc"]):
        text += " The validation split is of one class only, so that its figures say little: raise val_fraction."
    if last["epoch"] == best["epoch"]:
        if history["val_loss"].min() < last["val_loss"]:
            lowest = history.loc[history["val_loss"].idxmin()]
            return (
                f"{text} It was the last epoch; validation loss was lowest in epoch {lowest['epoch']:.0f} "
                f"({lowest['val_loss']:.3f})."
            )
        return f"{text} It was the last epoch: more epochs may do better."
    if last["val_loss"] > best["val_loss"] and last["train_loss"] < best["train_loss"]:
        return (
            f"{text} From there to the last epoch training loss fell to {last['train_loss']:.3f} while validation loss "
            f"rose to {last['val_loss']:.3f}: the network began to overfit."
        )
    return f"{text} Later epochs were no better."


def table(history: Sequence[Mapping[str, float]], monitor: str) -> pd.DataFrame:
    """Return the history as a table, one row per epoch, with `HISTORY_COLUMNS`; `best` is true for one epoch."""
    rows = pd.DataFrame(history, columns=HISTORY_COLUMNS[:-1])
    best = best_epoch([epoch_score(row, monitor) for row in history])
    return rows.assign(best=np.arange(len(rows)) == best)
