"""What notebooks 04 and 07 show: every figure of an evaluation, and how it holds under disturbance."""

from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown

from dfutils.evaluation import comparison, literature, metrics_json, perturbations, reference_scores
from dfutils.evaluation.evaluation import Evaluation
from dfutils.evaluation.robustness import RobustnessTest
from dfutils.metrics.figures import rates_from_confusion
from dfutils.metrics.intervals import with_interval
from dfutils.reporting import comparison_plots, image_plots, score_plots, tables, widgets
from dfutils.reporting.figure import Picture
from dfutils.reporting.report import Report
from dfutils.reporting.table import Table, or_none
from dfutils.reporting.wording import Text


class EvaluationReport(Report):
    """Tables and figures of an evaluation."""

    def __init__(self, evaluation: Evaluation) -> None:
        """Report on an evaluation."""
        self.evaluation, self.folder = evaluation, evaluation.experiment.params.report_folder

    def confusion(self) -> Picture:
        """Draw the confusion matrix of the test videos."""
        return score_plots.confusion(self.evaluation.measured["confusion"])

    def rates(self) -> Table:
        """Return precision, recall and F1 of both classes."""
        rates = rates_from_confusion(self.evaluation.measured["confusion"])
        return Table(tables.rounded(rates), "Precision, recall and F1 of the test videos")

    def coverage(self) -> Text:
        """Return how many test videos have a score, and what those without a face count as."""
        known, policy = self.evaluation.measured["counts"]["coverage"], self.evaluation.no_face
        return Text(f"{known['scored']} of {known['videos']} test videos were scored; without a face: {policy}.")

    def fewer_frames(self) -> Table | Text:
        """Return the error rates of the validation videos by the number of frames that the detector sees of them."""
        rows = [
            {
                "frames": entry["frames"],
                "real videos called fake": with_interval(entry["false_alarms"]),
                "fakes called real": with_interval(entry["misses"]),
            }
            for entry in self.evaluation.calibration.by_frames
        ]
        caption = "Errors on validation videos, by the number of frames seen, with 95% intervals"
        return or_none(pd.DataFrame(rows), caption, "Not measured: clips have one frame, or validation too few people.")

    def threshold(self) -> object:
        """Return a slider that moves the threshold, where a kernel answers; else both rates against it, as a figure."""
        counted = self.evaluation.counted
        return widgets.threshold(counted.labels, counted.scores, self.evaluation.threshold)

    def intervals(self) -> Picture:
        """Draw every figure over videos as a dot on its interval."""
        return score_plots.intervals(self.evaluation.measured["video"])

    def frame_figures(self) -> Table:
        """Return every figure over single frames with its interval."""
        return Table(tables.summary(self.evaluation.measured["frame"]), "Figures over single frames")

    def baselines(self) -> Table:
        """Return the figures of what needs no detector, beside the detector's."""
        caption = "The detector and what needs none, with 95% intervals"
        return Table(tables.reference_scores(self.evaluation.baselines), caption)

    def gain(self) -> Picture:
        """Draw the ROC AUC of the detector and of what needs none, on their intervals."""
        measured = self.evaluation.baselines
        known = {name: figures["roc_auc"] for name, figures in measured.items()}
        title = reference_scores.finding(measured)
        return comparison_plots.forest(known, title, mark=reference_scores.DETECTOR)

    def roc_pr(self) -> Picture:
        """Draw ROC and precision-recall curves with bands of 95%, and the threshold in use."""
        counted, threshold = self.evaluation.counted, self.evaluation.threshold
        return score_plots.roc_pr(counted.labels, counted.scores, threshold, self.evaluation.bands)

    def scores(self) -> Picture:
        """Draw the scores of fakes upwards and of reals downwards, with the borders of *cannot tell*."""
        counted, evaluation = self.evaluation.counted, self.evaluation
        return score_plots.score_histogram(counted.labels, counted.scores, evaluation.threshold, evaluation.borders)

    def answers(self) -> Table:
        """Return what the three answers are worth on validation, which chose the borders, and on the test."""
        evaluation = self.evaluation
        worth = {"validation": evaluation.calibration.validation, "test": evaluation.measured["answers"]}
        lower, upper = evaluation.borders
        caption = f"Real below {lower:.3f}, fake from {upper:.3f} on, cannot tell between; with 95% intervals"
        return Table(tables.answers({name: found for name, found in worth.items() if found}), caption)

    def reliability(self) -> Picture:
        """Draw the share of fakes among videos of like score, before and after any calibration."""
        counted, prior, before = self.evaluation.counted, self.evaluation.prior_fake, self.evaluation.uncalibrated
        after = None if np.allclose(before, counted.scores) else counted.scores
        return score_plots.reliability(counted.labels, before, after, prior_fake=prior, groups=counted.groups)

    def parts(self) -> Picture:
        """Draw the error rate by dataset, method and quality."""
        return score_plots.slices(self.evaluation.by_part)

    def parts_table(self) -> Table:
        """Return the errors by dataset, method and quality."""
        return tables.slices(self.evaluation.by_part, "Mistakes by dataset, method and quality")

    def forged_seconds(self) -> Text:
        """Return how well forged seconds are found, where they are known."""
        found = self.evaluation.forged_seconds
        if found is None:
            return Text("Not measured: forged seconds, or scores of single frames, of these test videos are not known.")
        return Text(f"Average precision at IoU .5: {found['ap_iou_50']:.3f}, over {found['videos']} test videos.")

    def by_method(self) -> Table:
        """Return the figures that need no threshold, by test set and method of forgery."""
        return Table(tables.by_method(self._measured()), "Figures by test set and method, with 95% intervals")

    def _measured(self) -> dict[str, dict[str, Any]]:
        """Return the figures of the test split and of every other dataset that was scored, by what was tested."""
        evaluation = self.evaluation
        others = {f"{name} ({part['videos']['which']})": part for name, part in evaluation.elsewhere.items()}
        return {evaluation.experiment.params.experiment: evaluation.measured, **others}

    def elsewhere(self) -> Table | Text:
        """Return a few figures on the test split and on every other dataset that was scored."""
        table = tables.compared({name: part["video"] for name, part in self._measured().items()})
        caption = "The test split and other datasets, with 95% intervals"
        return or_none(table if self.evaluation.elsewhere else table.head(0), caption, "None are named.")

    def verdict(self) -> Markdown:
        """Return the result in words, with what it depends on and what limits it."""
        written = self.evaluation.document
        caveats = [f"- {caveat}" for caveat in written["caveats"]]
        depends = metrics_json.in_words(written["conditions"])
        return Markdown("\n".join([f"**{written['verdict']}**", "", depends, "", *caveats]))

    def earlier_runs(self, earlier: pd.DataFrame) -> Table | Text:
        """Return this run beside others on the test videos of both, from what `Evaluation.earlier_runs` returned."""
        caption = "This run and others on the test videos of both, with 95% intervals"
        return or_none(tables.paired_runs(earlier), caption, "There is no run to compare with.")

    def train_test_matrix(self) -> Table:
        """Return the AUC over videos by training datasets and test dataset, of all reports that are here."""
        reports = self.folder.parent
        matrix = comparison.train_test_matrix(reports, self.evaluation.document)
        return Table(matrix, "ROC AUC by training datasets (rows) and test dataset (columns), with 95% intervals")

    def published(self) -> Table:
        """Return published figures, with what differs."""
        figures = literature.figures(self.evaluation.experiment.record("preprocess")["layouts"])
        return Table(figures, "Published figures: other splits, crops, frames and intervals")


class RobustnessReport(Report):
    """Tables and figures of a robustness test."""

    def __init__(self, test: RobustnessTest) -> None:
        """Report on a robustness test."""
        self.test, self.folder = test, test.experiment.params.report_folder

    def plan(self) -> Text:
        """Return which videos are disturbed, and how."""
        videos, wanted = self.test.videos, self.test.wanted
        lines = [
            f"{len(videos)} test videos ({(videos['label'] == 0).sum()} real), {len(wanted)} disturbances and levels:"
        ]
        for name, level in wanted:
            strength = perturbations.LEVELS[name][level - 1]
            lines.append(f"  {perturbations.WORDS[name]}, level {level}: {strength:g}")
        return Text("\n".join(lines))

    def preview(self, most: int = 7) -> Picture:
        """Draw the first frame of one of the videos, undisturbed and disturbed."""
        images = self.test.preview(most)
        captions = ["undisturbed"]
        captions += [f"{perturbations.WORDS[name]}, level {level}" for name, level in self.test.wanted[:most]]
        return image_plots.frame_grid(images, captions, "The same frame, undisturbed and disturbed")

    def statuses(self, disturbed: pd.DataFrame) -> Table:
        """Return the number of videos by disturbance, level and status."""
        counts = disturbed.groupby(["perturbation", "level"], sort=False)["status"].value_counts().unstack(fill_value=0)
        counts.index.names, counts.columns.name = [None, None], None
        counts = counts.rename(index=perturbations.WORDS, columns=lambda name: name.replace("_", " "))
        return Table(counts, "Videos by disturbance, level and status")

    def degradation(self, measured: pd.DataFrame) -> Picture:
        """Draw the AUC and the share of videos without a score against the level, for each disturbance."""
        return comparison_plots.degradation(measured)

    def separation(self, measured: pd.DataFrame) -> Table:
        """Return how many videos were scored, and how well the classes are told apart."""
        caption = "Videos scored and ROC AUC by disturbance and level, with 95% intervals"
        return Table(tables.robustness(measured).iloc[:, :4], caption)

    def decisions(self, measured: pd.DataFrame) -> Table:
        """Return the figures at the threshold of the undisturbed videos."""
        return Table(tables.robustness(measured).iloc[:, 4:], "Figures at the threshold of the undisturbed videos")
