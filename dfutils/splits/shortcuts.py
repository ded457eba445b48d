"""How far one gets without looking at a face.

Files of different origin differ in size, rate, length, codec and bitrate, in brightness and sharpness. Where origin
goes with the label, that alone tells fakes from real videos, and a detector learns it first. A small classifier on
these facts measures how much they tell: a detector whose score is no better has proved nothing.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.tree import DecisionTreeClassifier

from dfutils.metrics import figures
from dfutils.splits.identities import people

MARGIN = 0.1  # the alarm: the interval's low end lies this much above chance
_FACTS = ["width", "height", "fps", "n_frames", "duration_s", "bitrate", "codec", "brightness", "sharpness"]


@dataclass(frozen=True)
class Shortcuts:
    """How well the label is told without a face.

    `auc` (videos, cross-validated by person; `low` and `high` its 95% interval over people) is NaN where there are too
    few videos, and `note` says so. `alarm` is set where `low` is above 0.5 by `MARGIN`. `facts` has a row a fact:
    `fact`, `auc` of a small tree on it alone, `importance` (AUC that the classifier loses when it is shuffled), and the
    usual value of `real` and of `fake` videos (median, or the most frequent), the most telling first.
    """

    auc: float
    low: float
    high: float
    alarm: bool
    facts: pd.DataFrame
    videos: int
    people: int
    note: str = ""

    @property
    def telling(self) -> list[str]:
        """The facts, three at most, that tell something each by itself; the first of all if none does."""
        alone = self.facts.loc[self.facts["auc"] >= 0.5 + MARGIN, "fact"]
        return (alone if len(alone) else self.facts["fact"].head(1)).head(3).tolist()


def in_words(fact: str) -> str:
    """Return what a fact's column is called in a sentence."""
    return {"fps": "frame rate", "n_frames": "number of frames", "duration_s": "length"}.get(fact, fact)


def shortcuts(videos: pd.DataFrame, frames: pd.DataFrame | None = None, seed: int = 0, most: int = 20_000) -> Shortcuts:
    """Train a small classifier on container and photometric facts alone and say how far it gets.

    Gradient-boosted trees of depth 3, five-fold cross-validation with all videos of a person (and of what was made from
    them) in one fold; the interval is a bootstrap over people, 1,000 resamples. All videos whose facts are known take
    part, whatever their split (at most `most`, whole people); fewer than 20, or fewer than 8 of a class or 5 people,
    give no figure.
    """
    rows, facts = _facts(videos, frames)
    label = rows["label"].to_numpy(dtype=int)
    group = np.unique(people(rows)[0], return_inverse=True)[1] if len(rows) else np.empty(0, dtype=int)
    rng = np.random.default_rng(seed)
    order = rng.permutation(int(group.max()) + 1 if len(group) else 0)
    if len(rows) > most:
        kept = np.isin(group, order[np.cumsum(np.bincount(group)[order]) <= most])
        rows, facts, label = rows[kept], facts[kept], label[kept]
        group = np.unique(group[kept], return_inverse=True)[1]
    groups = int(group.max()) + 1 if len(group) else 0
    if len(rows) < 20 or np.bincount(label, minlength=2).min() < 8 or groups < 5:
        table = pd.DataFrame(columns=["fact", "auc", "importance", "real", "fake"])
        note = f"too few videos with known facts ({len(rows)} of {groups} people)"
        return Shortcuts(np.nan, np.nan, np.nan, False, table, len(rows), groups, note)
    numbers = _numbers(facts)
    fold = _folds(group, label, rng)
    score, importance = _boosted(numbers, label, fold, seed, rng)
    figure = figures.summary(label, score, groups=group, resamples=1000, seed=seed)["roc_auc"]
    auc, low, high = (np.nan if figure[name] is None else figure[name] for name in ("value", "low", "high"))
    table = pd.DataFrame(
        {
            "fact": facts.columns,
            "auc": [roc_auc_score(label, _tree(numbers[:, [k]], label, fold)) for k in range(facts.shape[1])],
            "importance": importance,
            **{
                name: [_usual(facts.loc[label == value, fact]) for fact in facts]
                for value, name in ((0, "real"), (1, "fake"))
            },
        }
    )
    table = table.sort_values(["auc", "fact"], ascending=[False, True]).reset_index(drop=True)
    return Shortcuts(auc, low, high, bool(low > 0.5 + MARGIN), table, len(rows), groups)


def learnt(
    train: pd.DataFrame, others: pd.DataFrame, frames: pd.DataFrame | None = None, seed: int = 0
) -> pd.Series | None:
    """Return by `video_id` how likely fake other videos look to trees that saw the facts of the training videos alone.

    A number of 0 to 1, for videos whose facts are known. None where `train` has under 20 videos with known facts, or
    under 8 of a class.
    """
    rows, facts = _facts(pd.concat([train, others], ignore_index=True), frames)
    mine = rows["video_id"].isin(set(train["video_id"])).to_numpy()
    label = rows["label"].to_numpy(dtype=int)
    if mine.sum() < 20 or np.bincount(label[mine], minlength=2).min() < 8:
        return None
    numbers = _numbers(facts)
    model = _trees(int(mine.sum()), seed).fit(numbers[mine], label[mine])
    return pd.Series(model.predict_proba(numbers)[:, 1].round(9), index=rows["video_id"])[~mine]


def _facts(videos: pd.DataFrame, frames: pd.DataFrame | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows whose container was read and their facts; a fact that no row has is left out."""
    known = videos["bitrate"].notna() | videos["width"].notna()
    if "status" in videos:
        known &= ~videos["status"].isin(["unreadable", "excluded"])
    rows = videos[known].sort_values("video_id").reset_index(drop=True)
    facts = rows[[name for name in _FACTS if name in rows]]
    if frames is not None:
        light = frames[frames["person"] == 0].groupby("video_id")[["brightness", "sharpness"]].mean()
        facts = facts.join(light.reindex(rows["video_id"]).reset_index(drop=True))
    return rows, facts[[name for name in facts if facts[name].notna().any() and (facts[name] != "").any()]]


def _numbers(facts: pd.DataFrame) -> np.ndarray:
    """Return the facts as float `(N, F)`; texts become their places in alphabetical order."""
    columns = [
        pd.factorize(facts[name], sort=True)[0] if name == "codec" else facts[name].to_numpy(dtype=float)
        for name in facts
    ]
    return np.stack(columns, axis=1).astype(float)


def _folds(group: np.ndarray, label: np.ndarray, rng: np.random.Generator, folds: int = 5) -> np.ndarray:
    """Return each row's fold: groups whole, and groups of a like share of fakes dealt round."""
    share = np.bincount(group, label) / np.bincount(group)
    turn = np.empty(len(share), dtype=int)
    turn[np.lexsort((rng.permutation(len(share)), share))] = np.arange(len(share)) % folds
    return turn[group]


def _boosted(
    numbers: np.ndarray, label: np.ndarray, fold: np.ndarray, seed: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the held-out scores and the AUC that each fact's shuffling (within the held-out rows) costs."""
    score = np.full(len(label), 0.5)
    shuffled = np.tile(score, (numbers.shape[1], 1))
    for k in np.unique(fold):
        train, test = fold != k, fold == k
        if len(np.unique(label[train])) < 2:
            continue
        model = _trees(len(label), seed).fit(numbers[train], label[train])
        score[test] = model.predict_proba(numbers[test])[:, 1].round(9)
        for fact in range(numbers.shape[1]):
            mixed = numbers[test].copy()
            mixed[:, fact] = rng.permutation(mixed[:, fact])
            shuffled[fact, test] = model.predict_proba(mixed)[:, 1].round(9)
    whole = roc_auc_score(label, score)
    return score, np.array([whole - roc_auc_score(label, mixed) for mixed in shuffled])


def _trees(videos: int, seed: int) -> HistGradientBoostingClassifier:
    """Return the classifier of so many videos, not yet trained."""
    return HistGradientBoostingClassifier(
        max_depth=3,
        max_iter=60,
        max_bins=64,
        min_samples_leaf=int(np.clip(videos // 20, 3, 50)),
        class_weight="balanced",  # or folds with other shares of fakes would have other scores
        early_stopping=False,
        random_state=seed,
    )


def _tree(numbers: np.ndarray, label: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Return the held-out scores of a small tree, which also finds a fact that tells by being in between."""
    score = np.full(len(label), 0.5)
    leaf = int(np.clip(len(label) // 20, 3, 50))
    for k in np.unique(fold):
        train, test = fold != k, fold == k
        if len(np.unique(label[train])) == 2:
            model = DecisionTreeClassifier(max_depth=3, min_samples_leaf=leaf, class_weight="balanced", random_state=0)
            score[test] = model.fit(numbers[train], label[train]).predict_proba(numbers[test])[:, 1].round(9)
    return score


def _usual(values: pd.Series) -> Any:
    """Return the median of numbers, the most frequent of texts."""
    if values.name == "codec":
        return values.mode().iloc[0] if len(values) else ""
    return float(values.median())
