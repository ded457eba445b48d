"""What others have published, to stand beside a report's own figures, with what differs.

A figure of another paper is of other splits, crops, frames and intervals (mostly none): it says what is usual, not who
is better.
"""

import pandas as pd

_ROWS = [
    (
        "celeb_df_v1",
        "ResNeXt-50 + LSTM on Celeb-DF v1, 172 videos",
        "accuracy .92; recall of fakes .86, of reals .98",
        "seed project's report",
        "split by file, so people may be on both sides; a copy with 428 real and 432 fake videos; no intervals",
    ),
    (
        "kaggle_cropped_faces",
        "ResNeXt-50 + LSTM on FF++, Celeb-DF and DFDC pooled, 10 frames",
        "best validation accuracy 87.5% (224 px), 84.2% (112 px)",
        "seed project's notebook; the family's README",
        "the best epoch's validation figure, not a test; split by file",
    ),
    (
        "celeb_df_v2",
        "within Celeb-DF v2, several networks",
        "AUC .985 to .998",
        "second-hand",
        "the official list shares people with training; some figures are of frames",
    ),
    (
        "celeb_df_v2",
        "from FF++ to Celeb-DF v2: SBI, Effort, GenD",
        "video AUC .938, .956, .960",
        "their READMEs and papers",
        "trained on another dataset, mostly at 224 px and more, on 32 frames",
    ),
    (
        "celeb_df_v1",
        "from FF++ to Celeb-DF v1: SPSL",
        "frame AUC .815",
        "DeepfakeBench's README",
        "of frames, not of videos; trained on another dataset",
    ),
]


def figures(datasets: list[str]) -> pd.DataFrame:
    """Return published figures, those of the named datasets first, with a column that says whether it is one of them.

    Columns: `of this dataset`, `what`, `figure`, `read in`, `what differs`.
    """
    table = pd.DataFrame(_ROWS, columns=["of this dataset", "what", "figure", "read in", "what differs"])
    same = table["of this dataset"].isin(datasets)
    table["of this dataset"] = same.map({True: "yes", False: "no"})
    return pd.concat([table[same], table[~same]], ignore_index=True)
