"""A split, a record of notebook 02 and as much of a detector as evaluation needs."""

from types import SimpleNamespace

import pandas as pd
from scipy.special import logit

from dfutils.core.params import Params
from dfutils.evaluation.evaluation import Calibration, Evaluation, Scores
from dfutils.metrics.calibration import Scaling

AUDIT = {"alarms": ["Something leaked."], "shortcut_auc": {"value": 0.5, "low": 0.4, "high": 0.6}}


PREPROCESSED = {"layouts": ["sample"], "policy": "identity", "fingerprint": "f" * 16, "audit": AUDIT}


def split_table(labels: list[int]) -> pd.DataFrame:
    """Rows of a split table; the last video has no face."""
    return pd.DataFrame(
        {
            "video_id": [f"v{k}" for k in range(len(labels))],
            "dataset": "d",
            "label": labels,
            "method": ["swap" if label else "" for label in labels],
            "identity": [f"p{k // 2}" for k in range(len(labels))],
            "split": "test",
            "status": ["ok"] * (len(labels) - 1) + ["no_face"],
            "path": "x",
        }
    )


class Judge:
    """As much of a detector as evaluation asks for."""

    config = {"training": {"split_fingerprint": "f" * 16}}  # noqa: RUF012

    def digest(self):
        return "d" * 16


def evaluated(videos: pd.DataFrame, scores: pd.DataFrame, frames: pd.DataFrame, note: str = "") -> Evaluation:
    """Return an evaluation of given probabilities at the threshold .5, without calibration."""
    clips, by_frame = (table.assign(logit=logit(table["probability_fake"])) for table in (scores, frames))
    facts = {"bitrate": 2e5, "width": 64.0, "height": 64.0, "fps": 25.0, "n_frames": 50, "duration_s": 2.0}
    facts |= dict.fromkeys(("codec", "donor", "source_video"), "")
    videos = videos.assign(**{name: value for name, value in facts.items() if name not in videos})
    judge = Judge()
    judge.config = {**Judge.config}
    experiment = SimpleNamespace(
        params=Params(experiment="mine"), videos=videos, frames=None, detector=judge, record=lambda _: PREPROCESSED
    )
    alone = clips.set_index("video_id")["logit"]
    chosen = Calibration(Scaling(), 0.5, "balanced", 0.9, note, 0)
    return Evaluation(experiment, Scores(videos, clips, by_frame, alone, 0), chosen, resamples=100)
