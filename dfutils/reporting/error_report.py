"""What notebook 05 shows: the mistakes one by one, where the detector looked, and where they gather."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from dfutils.evaluation.error_analysis import ErrorAnalysis, Saliency
from dfutils.reporting import image_plots, score_plots, tables, widgets
from dfutils.reporting.figure import Picture, Pictures
from dfutils.reporting.report import Report
from dfutils.reporting.table import Table, or_none
from dfutils.reporting.wording import Text

_NO_STRIPS = "These scores were imported without their videos: there are no faces to show."


class ErrorReport(Report):
    """Tables and figures of an error analysis."""

    def __init__(self, analysis: ErrorAnalysis, shown: int = 6) -> None:
        """Report on an error analysis; `shown` is the number of mistakes of each kind drawn where no kernel answers."""
        self.analysis, self.shown = analysis, shown
        self.folder = analysis.experiment.params.report_folder

    def mistakes(self, most: int = 20) -> Table:
        """Return the surest mistakes."""
        return Table(tables.rounded(self.analysis.mistakes.head(most)), "The surest mistakes")

    def _draw(self, row: Any) -> Picture:
        """Draw the strip of a mistake (a row of `ErrorAnalysis.mistakes`) with the scores of its frames."""
        crops, rows = self.analysis.clip(row.video_id)
        title = f"{row.kind}: {row.video_id} ({row.method or 'real'}), score {row.probability_fake:.3f}"
        scores, threshold = rows["probability_fake"], self.analysis.threshold
        scores = None if scores.isna().all() else scores
        return image_plots.strip(crops, scores, threshold, title=title, times=rows["time_s"])

    def misses(self) -> Any:
        """Return a browser through the fakes that passed as real; figures of the surest where no kernel answers."""
        return self._browse("miss")

    def false_alarms(self) -> Any:
        """Return the same for real videos that were called fake."""
        return self._browse("false alarm")

    def _browse(self, kind: str) -> Any:
        if not self.analysis.has_strips:
            return Text(_NO_STRIPS)
        return widgets.browse(self._of_kind(kind), self._draw, self.shown)

    def _of_kind(self, kind: str) -> pd.DataFrame:
        return self.analysis.mistakes[self.analysis.mistakes["kind"] == kind]

    def player(self) -> Any:
        """Return a player of the surest mistake, or of the first scored video if there is none; else its strip."""
        analysis = self.analysis
        rows = [*analysis.mistakes.itertuples(), *analysis.scored.itertuples()]
        if not rows:
            return Text("No test video has a score.")
        if not analysis.has_strips:
            return Text(_NO_STRIPS)
        crops, frames = analysis.clip(rows[0].video_id)
        title = f"{rows[0].video_id}, score {rows[0].probability_fake:.3f}"
        scores, times = frames["probability_fake"].to_numpy(), frames["time_s"].to_numpy()
        return widgets.player(crops, scores, analysis.threshold, title, times)

    def _draw_explained(self, row: Any) -> Picture:
        """Draw a mistake's Grad-CAM beside that of random weights, and what each frame adds."""
        crops, rows = self.analysis.clip(row.video_id)
        found = self.analysis.saliency(crops)
        maps = {"Grad-CAM": found.maps, "random weights": found.random}
        title = f"{row.kind}: {row.video_id}, score {row.probability_fake:.3f}; "
        title += f"the two maps correlate {found.alike:.2f}"
        scores, added = rows["probability_fake"], self.analysis.contributions(crops)
        return image_plots.explained(crops, maps, scores, self.analysis.threshold, title, added)

    def explained(self) -> Any:
        """Return a browser through the surest mistakes of both kinds with their Grad-CAM, or why there is none."""
        if self.analysis.no_gradcam:
            return Text(self.analysis.no_gradcam)
        surest = [self._of_kind(kind).head(self.shown) for kind in ("miss", "false alarm")]
        return widgets.browse(pd.concat(surest), self._draw_explained, 2 * self.shown)

    def likeness(self, explained: Mapping[str, Saliency]) -> Text:
        """Return how alike the maps of the detector and of random weights are on average."""
        if not explained:
            return Text("There are no maps to compare.")
        alike = pd.Series([found.alike for found in explained.values()], dtype=float)
        said = f"{alike.mean():.2f}, over {alike.notna().sum()} clips."
        return Text(f"Mean rank correlation with the maps of random weights: {said}")

    def inside_forged(self, inside: pd.DataFrame) -> Table | Text:
        """Return how much of the maps falls on what was forged, as `ErrorAnalysis.inside_forged` computed it."""
        caption = "Share of the maps inside the forged part, with 95% intervals"
        return or_none(tables.rounded(inside), caption, "What was forged here is not known.")

    def properties(self) -> Picture:
        """Draw the error rate in thirds of each property of face and file."""
        return score_plots.slices(self.analysis.by_property)

    def properties_table(self) -> Table:
        """Return the errors in thirds of each property of face and file."""
        return tables.slices(self.analysis.by_property, "Mistakes by property of face and file")

    def gaps(self) -> Table | Text:
        """Return between which values of each attribute of the dataset the error rates differ most."""
        return tables.gaps(self.analysis.by_property)

    def methods(self) -> Picture:
        """Draw the error rate by method of forgery."""
        return score_plots.slices(self.analysis.by_method)

    def people(self, most: int = 10) -> Table:
        """Return the people whose videos are mistaken most often."""
        return tables.slices(self.analysis.by_person.head(most), "Mistakes by person")

    def sureness(self) -> Table:
        """Return the errors where the detector is sure, and where it is not.

        Recalls and tests are left out: the score decides both the row and the mistake.
        """
        caption = "Mistakes where the detector is sure, and where it is not"
        return Table(tables.slices(self.analysis.by_sureness, "")[["mistaken", "share", "95% interval"]], caption)

    def diagnosed(self, diagnosed: pd.DataFrame, most: int = 20) -> Table:
        """Return the surest mistakes with their nearest training clip and what it suggests."""
        columns = ["kind", "video_id", "margin", "nearest", "distance", "agreeing", "suspect"]
        caption = "The surest mistakes with their nearest training clip"
        return Table(tables.rounded(diagnosed[columns].head(most)), caption)

    def suspects(self, diagnosed: pd.DataFrame) -> Text:
        """Return how many mistakes are suspected of what."""
        if not len(diagnosed):
            return Text("There is no mistake to diagnose.")
        return Text(diagnosed["suspect"].value_counts().to_string())

    def doubtful(self, diagnosed: pd.DataFrame) -> Pictures | Text:
        """Draw the mistakes whose label or place in the test is in doubt, each above its nearest training clip."""
        drawn = Pictures()
        for row in diagnosed[diagnosed["suspect"].isin(["label", "leakage"])].head(self.shown).itertuples():
            title = f"nearest in training ({row.distance:.3f}): {row.nearest}"
            drawn += [self._draw(row), image_plots.strip(self.analysis.strip(row.nearest), title=title)]
        return drawn or Text("There are none.")
