"""A split, a record of notebook 02 and as much of a detector as evaluation needs."""

import pandas as pd

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
