"""What the stages of an experiment have left behind, for the stages that come after them."""

from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from dfutils.core import stages
from dfutils.core.files import read_table
from dfutils.core.params import ROOT, FaceSettings, Params
from dfutils.data import catalog
from dfutils.data.indexing import check_splits
from dfutils.detector.network import Detector
from dfutils.evaluation.evaluate import check_judged, check_predictions, check_trained_on, with_groups
from dfutils.evaluation.imported import ImportedScores, is_imported


class Experiment:
    """An experiment's tables, records and detector, each read when it is first asked for.

    Whatever is missing ends in an InputError that names the notebook to run.
    """

    def __init__(self, params: Params) -> None:
        """Open an experiment by its parameters; nothing is read yet."""
        self.params = params

    def record(self, stage: str) -> dict[str, Any]:
        """Return what a finished stage has recorded."""
        return stages.record(self.params, stage)

    @cached_property
    def face_settings(self) -> FaceSettings:
        """The parameters that faces were extracted with."""
        return FaceSettings(**self.record("preprocess")["settings"])

    @cached_property
    def videos(self) -> pd.DataFrame:
        """The split table, with `video_id` as a column and as the index."""
        made = self.record("preprocess")
        table = read_table(self.params.run_folder / "videos.parquet")
        check_splits(table, made)
        return table.set_index("video_id", drop=False).rename_axis(None)

    @cached_property
    def frames(self) -> pd.DataFrame:
        """The frames table, of all videos."""
        return read_table(self.params.run_folder / "frames.parquet")

    @cached_property
    def detector(self) -> Detector | ImportedScores:
        """The detector that was trained, or is to be judged; imported scores where those stand for one."""
        folder = self.params.run_folder / "detector"
        return ImportedScores(folder) if is_imported(folder) else Detector.load(folder)

    def check_detector(self) -> None:
        """Make sure that the detector was trained on the videos, splits and faces of this experiment as they are now.

        One that is only judged may have been trained on other videos, but not on other faces.

        Raises:
            InputError: if they have changed since.
        """
        videos = self.videos  # first, so that what is missing is named in the order of the notebooks
        if not self.params.detector and not isinstance(self.detector, ImportedScores):
            check_trained_on(self.detector, videos)
        self.detector.check_geometry(self.record("preprocess")["settings"])

    def check_evaluated(self) -> None:
        """Make sure that notebook 04 has judged this detector, with its calibration, on these splits.

        Raises:
            InputError: if it has not, or something has changed since.
        """
        record = self.record("evaluate")
        check_judged(self.detector, record)
        self.check_detector()

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """The predictions table; one of an earlier version gets its groups from the split table."""
        table = read_table(self.params.report_folder / "predictions.parquet")
        check_predictions(table, self.videos)
        return with_groups(table, self.videos)

    @cached_property
    def frame_predictions(self) -> pd.DataFrame:
        """The scores of single frames, with their rows of the frames table."""
        scores = read_table(self.params.report_folder / "frame_predictions.parquet")
        return scores.merge(self.frames, on=["video_id", "person", "position"], how="left")

    def path(self, video_id: str) -> Path:
        """Return where a video lies."""
        row = self.videos.loc[video_id]
        return self.roots[row["dataset"]] / row["path"]

    @cached_property
    def roots(self) -> dict[str, Path]:
        """The folder that the paths of each dataset begin in, by its name."""
        return catalog.roots(self.videos["dataset"].unique())

    def choose_video(self, file: str = "") -> Path:
        """Return a video to look at: `file` (below the project's folder), or the test video with the middle score."""
        if file:
            return ROOT / file
        table = self.predictions
        scored = table[(table["split"] == "test") & table["probability_fake"].notna()]
        middle = scored.sort_values(["probability_fake", "video_id"]).iloc[len(scored) // 2]
        return self.path(middle["video_id"])
