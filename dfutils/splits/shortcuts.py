"""Shortcut learning: how well the label is predicted from container facts, brightness and sharpness alone.

Files of different origin differ in size, frame rate, length, codec and bitrate, in brightness and sharpness. If origin
and label are correlated, these facts separate fakes from real videos, and a detector may learn them instead of faces. A
small classifier on the facts measures how well.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.tree import DecisionTreeClassifier

from dfutils.metrics import figures
from dfutils.splits.identities import people

MARGIN = 0.1
"""How far the lower limit of the AUC must exceed 0.5 to raise an alarm."""
_FACTS = ["width", "height", "fps", "n_frames", "duration_s", "bitrate", "codec", "brightness", "sharpness"]


@dataclass(frozen=True)
class Shortcuts:
    """How well the label is predicted without faces.

    Attributes:
        auc: ROC AUC of videos, cross-validated by person; NaN if there are too few videos.
        low: lower limit of its 95% interval over people.
        high: upper limit.
        alarm: whether `low` exceeds 0.5 by `MARGIN`.
        facts: table with one row per fact, the most informative first: `fact`, `auc` of a small tree on it alone,
            `importance` (decrease of the classifier's AUC when the fact is permuted), and the typical value of `real`
            and of `fake` videos (the median; of texts the mode).
        videos: number of videos.
        people: number of people.
        note: why there is no figure; "" if there is one.
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
    def informative(self) -> list[str]:
        """The facts, three at most, that predict the label alone; if none does, the best."""
        facts = self.facts.loc[self.facts["auc"] >= 0.5 + MARGIN, "fact"]
        return (facts if len(facts) else self.facts["fact"].head(1)).head(3).tolist()


def fact_name(fact: str) -> str:
    """Return the name of a fact's column for a sentence."""
    return {"fps": "frame rate", "n_frames": "number of frames", "duration_s": "length"}.get(fact, fact)


def shortcuts(videos: pd.DataFrame, frames: pd.DataFrame | None = None, seed: int = 0, most: int = 20_000) -> Shortcuts:
    """Return how well a small classifier on container and photometric facts alone predicts the label.

    Gradient-boosted trees of depth 3, five-fold cross-validation with all videos of a person (and the fakes made from
    them) in one fold; the interval is a bootstrap over people with 1,000 resamples. All videos whose facts are known
    are used, whatever their split (at most `most` videos, of whole people). Fewer than 20 videos, 8 of a class, or 5
    people give no figure.
    """
    rows, facts = _facts(videos, frames)
    label = rows["label"].to_numpy(dtype=int)
    group = np.unique(people(rows)[0], return_inverse=True)[1] if len(rows) else np.empty(0, dtype=int)
    rng = np.random.default_rng(seed)
    order = rng.permutation(int(group.max()) + 1 if len(group) else 0)
    if len(rows) > most:
        chosen = np.isin(group, order[np.cumsum(np.bincount(group)[order]) <= most])
        rows, facts, label = rows[chosen], facts[chosen], label[chosen]
        group = np.unique(group[chosen], return_inverse=True)[1]
    groups = int(group.max()) + 1 if len(group) else 0
    if len(rows) < 20 or np.bincount(label, minlength=2).min() < 8 or groups < 5:
        table = pd.DataFrame(columns=["fact", "auc", "importance", "real", "fake"])
        note = f"too few videos with known facts ({len(rows)} of {groups} people)"
        return Shortcuts(np.nan, np.nan, np.nan, False, table, len(rows), groups, note)
    numbers = _encode(facts)
    folds = list(StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(numbers, label, group))
    score, importance = _cross_validate(_boosting(len(rows), seed), numbers, label, folds, rng)
    # A small tree may depend on a fact without being monotonic in it.
    leaf = int(np.clip(len(rows) // 20, 3, 50))
    tree = DecisionTreeClassifier(max_depth=3, min_samples_leaf=leaf, class_weight="balanced", random_state=0)
    figure = figures.summary(label, score, groups=group, resamples=1000, seed=seed)["roc_auc"]
    auc, low, high = (np.nan if figure[name] is None else figure[name] for name in ("value", "low", "high"))
    table = pd.DataFrame(
        {
            "fact": facts.columns,
            "auc": [
                roc_auc_score(label, _cross_validate(tree, column, label, folds, rng)[0])
                for column in numbers.T[:, :, None]
            ],
            "importance": importance,
            **{
                name: [_typical(facts.loc[label == value, fact]) for fact in facts]
                for value, name in ((0, "real"), (1, "fake"))
            },
        }
    )
    table = table.sort_values(["auc", "fact"], ascending=[False, True]).reset_index(drop=True)
    return Shortcuts(auc, low, high, bool(low > 0.5 + MARGIN), table, len(rows), groups)


def predict_from_facts(
    train: pd.DataFrame, others: pd.DataFrame, frames: pd.DataFrame | None = None, seed: int = 0
) -> pd.Series | None:
    """Return the probability of fake of other videos, by `video_id`, from trees fitted to the facts of `train`.

    Videos whose facts are unknown are left out. None if `train` has fewer than 20 videos with known facts, or fewer
    than 8 of a class.
    """
    rows, facts = _facts(pd.concat([train, others], ignore_index=True), frames)
    in_train = rows["video_id"].isin(set(train["video_id"])).to_numpy()
    label = rows["label"].to_numpy(dtype=int)
    if in_train.sum() < 20 or np.bincount(label[in_train], minlength=2).min() < 8:
        return None
    numbers = _encode(facts)
    model = _boosting(int(in_train.sum()), seed).fit(numbers[in_train], label[in_train])
    return pd.Series(model.predict_proba(numbers)[:, 1].round(9), index=rows["video_id"])[~in_train]


def _facts(videos: pd.DataFrame, frames: pd.DataFrame | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows whose container was read, and their facts; a fact that no row has is left out."""
    was_read = videos["bitrate"].notna() | videos["width"].notna()
    if "status" in videos:
        was_read &= ~videos["status"].isin(["unreadable", "excluded"])
    rows = videos[was_read].sort_values("video_id").reset_index(drop=True)
    facts = rows[[name for name in _FACTS if name in rows]]
    if frames is not None:
        means = frames[frames["person"] == 0].groupby("video_id")[["brightness", "sharpness"]].mean()
        facts = facts.join(means.reindex(rows["video_id"]).reset_index(drop=True))
    return rows, facts[[name for name in facts if facts[name].notna().any() and (facts[name] != "").any()]]


def _encode(facts: pd.DataFrame) -> np.ndarray:
    """Return the facts as float `(N, F)`; texts are encoded as their ranks in alphabetical order."""
    columns = [
        pd.factorize(facts[name], sort=True)[0] if name == "codec" else facts[name].to_numpy(dtype=float)
        for name in facts
    ]
    return np.stack(columns, axis=1).astype(float)


def _cross_validate(
    model: ClassifierMixin, numbers: np.ndarray, label: np.ndarray, folds: list, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return held-out scores `(n,)` and the decrease of AUC `(F,)` when each fact is permuted in the held-out rows.

    scikit-learn's `cross_val_predict` fails where all videos of a class are in one fold, and `permutation_importance`
    on a fold that has no AUC of its own; here such a fold scores 0.5, and the AUC is that of all folds together.
    """
    score = np.full(len(label), 0.5)
    permuted_scores = np.tile(score, (numbers.shape[1], 1))
    for train, test in folds:
        if len(np.unique(label[train])) < 2:
            continue
        model.fit(numbers[train], label[train])
        score[test] = model.predict_proba(numbers[test])[:, 1].round(9)
        for fact in range(numbers.shape[1]):
            permuted = numbers[test].copy()
            permuted[:, fact] = rng.permutation(permuted[:, fact])
            permuted_scores[fact, test] = model.predict_proba(permuted)[:, 1].round(9)
    auc = roc_auc_score(label, score)
    return score, np.array([auc - roc_auc_score(label, permuted) for permuted in permuted_scores])


def _boosting(videos: int, seed: int) -> HistGradientBoostingClassifier:
    """Return an unfitted classifier for this number of videos."""
    return HistGradientBoostingClassifier(
        max_depth=3,
        max_iter=60,
        max_bins=64,
        min_samples_leaf=int(np.clip(videos // 20, 3, 50)),
        class_weight="balanced",  # otherwise scores would depend on a fold's share of fakes
        early_stopping=False,
        random_state=seed,
    )


def _typical(values: pd.Series) -> Any:
    """Return the median of numbers, the mode of texts."""
    if values.name == "codec":
        return values.mode().iloc[0] if len(values) else ""
    return float(values.median())
