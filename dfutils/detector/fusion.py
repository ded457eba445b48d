"""How the views of a detector become one score: their logits are standardised on validation videos and averaged.

Each view counts alike, or not at all. A regression on the views' logits was tried and did worse on methods of forgery
that it had not seen: it weighs a view by what the few methods of validation show.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from dfutils.detector.network import Detector, clip_tensor, logits
from dfutils.faces.views import as_judged


def fit_fusion(labels: np.ndarray, logits: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Return `weight`, `mean` and `std` of each view, from its logits of validation videos.

    Args:
        labels: `(n,)`, 0 real, 1 fake.
        logits: `(n,)` of each view, fake less real; NaN where a view is not possible.

    A view whose ROC AUC is below one half, or which has no logits of both classes, gets the weight 0; if all do, all
    get 1.
    """
    found = {}
    for view, values in logits.items():
        known = np.isfinite(values)
        both = len(np.unique(labels[known])) == 2
        found[view] = {
            "weight": float(both and roc_auc_score(labels[known], values[known]) >= 0.5),
            "mean": float(values[known].mean()) if known.any() else 0.0,
            "std": float(values[known].std()) or 1.0 if known.any() else 1.0,
        }
    if not any(view["weight"] for view in found.values()):
        found = {view: {**values, "weight": 1.0} for view, values in found.items()}
    return found


def standardise(fusion: Mapping[str, Mapping[str, float]], view: str, logits: Any) -> Any:
    """Return a view's logits as they enter the fused one, of the same shape: what it would be by this view alone."""
    return (logits - fusion[view]["mean"]) / fusion[view]["std"]


def fuse(fusion: Mapping[str, Mapping[str, float]], logits: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the fused logits, of the shape of one view's: the weighted mean of the standardised ones that are known.

    Args:
        fusion: as `fit_fusion` returns it; empty for a detector of one view, whose logits are the result.
        logits: of each view, fake less real, equal shapes; NaN where a view is not possible. Views may be missing, but
            not that of the face, which stands alone where no other that has a weight is possible.
    """
    if not fusion:
        return np.asarray(logits["face"], dtype=float)
    known = [view for view in fusion if view in logits]
    values = np.stack([standardise(fusion, view, np.asarray(logits[view], dtype=float)) for view in known])
    weights = np.array([fusion[view]["weight"] for view in known]).reshape(-1, *[1] * (values.ndim - 1))
    weights = np.isfinite(values) * weights
    face = values[known.index("face")]  # where no view that counts is possible
    mean = np.nansum(weights * values, axis=0) / np.maximum(weights.sum(axis=0), 1e-12)
    return np.where(weights.any(axis=0), mean, face)


def view_logits(detector: Detector, crops: Mapping[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return, for each network whose view a clip has, `logits` of the clip, `()`, and of its frames, `(T,)`.

    `crops` are uint8 RGB `(T, S, S, 3)` of each view, as a `FaceClip` holds them.
    """
    found = {}
    for name, part in detector.networks.items():
        if part.view in crops:
            clip, frames = logits(part, clip_tensor(part, as_judged(part.view, crops[part.view])))
            found[name] = (clip[0], frames[0])
    return found


def spoke_most(probabilities: Mapping[str, float], fused: float) -> str:
    """Return the network whose own probability of fake lies farthest on the side, above or below 0.5, of the fused."""
    sign = 1 if fused >= 0.5 else -1
    return max(probabilities, key=lambda name: sign * probabilities[name], default="face")
