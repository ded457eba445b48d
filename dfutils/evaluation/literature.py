"""What others have published (`literature.csv`), to stand beside a report's own figures, with what differs.

A figure of another paper is of other splits, crops, frames and intervals (mostly none): it says what is usual, not who
is better.
"""

from pathlib import Path

import numpy as np
import pandas as pd


def figures(datasets: list[str]) -> pd.DataFrame:
    """Return published figures, those of the named datasets first, with a column that says whether it is one of them.

    Columns: `of this dataset`, `what`, `figure`, `read in`, `what differs`.
    """
    table = pd.read_csv(Path(__file__).with_name("literature.csv"))
    table["dataset"] = np.where(table["dataset"].isin(datasets), "yes", "no")
    table = table.sort_values("dataset", ascending=False, kind="stable", ignore_index=True)
    return table.rename(columns={"dataset": "of this dataset"})
