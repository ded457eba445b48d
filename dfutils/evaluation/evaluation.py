"""The evaluation of notebook 04: scores, what validation chooses, and every figure of the test split.

Calibration and threshold come from the validation split, every figure from the test split. `Evaluation` computes each
of its parts when it is first asked for.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dfutils.core import stages
from dfutils.core.files import make_folder, plain_rows, write_json, write_table
from dfutils.core.params import DEFAULTS, split_list
from dfutils.data import catalog
from dfutils.detector.fusion import standardise
from dfutils.evaluation import (
    comparison,
    evaluate,
    few_frames,
    forged_seconds,
    metrics_json,
    neighbours,
    reference_scores,
    scoring,
)
from dfutils.evaluation.coverage import Counted, with_policy
from dfutils.evaluation.experiment import Experiment
from dfutils.evaluation.imported import ImportedScores
from dfutils.evaluation.method_figures import by_method, compressions
from dfutils.metrics import answers, calibration, figures, resampling
from dfutils.metrics.answers import Borders
from dfutils.metrics.calibration import Scaling
from dfutils.metrics.slices import by_slice
from dfutils.splits.identities import group_names
from dfutils.splits.policies import scored_part


@dataclass(frozen=True, eq=False)
class Scores:
    """What a detector said of the videos that are judged, before any calibration.

    Attributes:
        videos: their rows of the split table.
        clips: `video_id` and `logit` of the videos whose strip is there.
        frames: `video_id`, `person`, `position` and `logit` of each of their frames.
        alone: by `video_id`, the mean logit of frames that were each scored without their neighbours in time.
        missing: how many strips are missing.
        fewer: `video_id` and `logit` of validation videos of which so many frames were seen, by number of frames.
        config: of the detector, with its calibration and threshold as they were.
    """

    videos: pd.DataFrame
    clips: pd.DataFrame
    frames: pd.DataFrame
    alone: pd.Series
    missing: int
    config: dict[str, Any] = field(default_factory=dict)
    fewer: dict[int, pd.DataFrame] = field(default_factory=dict)


def score_splits(experiment: Experiment, batch_size: int = DEFAULTS.batch_size) -> Scores:
    """Score the validation and the test split, and other datasets that are only scored.

    Raises:
        InputError: if the detector was trained on other videos or faces than the experiment's.
    """
    experiment.check_detector()
    videos = experiment.videos
    judged = videos[videos["split"].isin(["val", "test", "eval"])]
    if isinstance(experiment.detector, ImportedScores):
        return _imported(experiment.detector, judged)
    detector, usable = experiment.detector, evaluate.with_strips(judged, catalog.DATA)
    with neighbours.recording(detector) as recorder:
        clips, frames = scoring.score(detector, usable, catalog.DATA, batch_size=batch_size)
    alone = recorder.alone(frames).set_index("video_id")["logit"]
    if fusion := detector.config.get("fusion"):
        alone = standardise(fusion, "face", alone)
    missing = int((judged["status"] == "ok").sum()) - len(clips)
    val, wanted = usable[usable["split"] == "val"], detector.face_settings.frames_per_video
    fewer = {
        count: scoring.score(detector, val, catalog.DATA, batch_size=batch_size, frames=count, progress=False)[0]
        for count in few_frames.COUNTS
        if count < wanted and len(val)
    }
    return Scores(judged, clips, frames, alone, missing, dict(detector.config), fewer)


def _imported(detector: ImportedScores, judged: pd.DataFrame) -> Scores:
    """Return imported scores of the videos that are judged; no frame was scored without the others."""
    clips, frames = (table[table["video_id"].isin(judged["video_id"])] for table in (detector.clips, detector.frames))
    missing = int(((judged["status"] == "ok") & ~judged["video_id"].isin(clips["video_id"])).sum())
    return Scores(judged, clips, frames, pd.Series(dtype=float), missing, dict(detector.config))


@dataclass(frozen=True)
class Calibration:
    """What validation videos choose: slope and offset for the logits, a threshold on the scores, and two borders.

    `note` says why the rule could not be followed, if it could not; `videos` is the number of validation videos.
    `borders` are those of *cannot tell* (`metrics.answers`), None if they could not be chosen, and `validation` what
    the three answers are worth on the videos that chose them (`answers.rates`), {} if there are none.
    `by_frames` are the error rates of clips of fewer frames (`few_frames.error_rates`).
    """

    scaling: Scaling
    threshold: float
    rule: str
    target_recall: float
    note: str
    videos: int
    borders: Borders | None = None
    validation: dict[str, Any] = field(default_factory=dict)
    by_frames: list[dict[str, Any]] = field(default_factory=list)


def calibrate(
    scores: Scores,
    rule: str = "balanced",
    target_recall: float = DEFAULTS.target_recall,
    prior_fake: float = DEFAULTS.prior_fake,
) -> Calibration:
    """Calibrate for a share of fakes on the validation videos, then choose the threshold by `rule`, and the borders.

    Without validation videos, as where a detector is only judged, all are its own, unless `rule` is a number.
    """
    if not (scores.videos["split"] == "val").any():
        return _own_calibration(scores.config, rule, target_recall)
    val = scores.videos[scores.videos["split"] == "val"].merge(scores.clips.dropna(subset="logit"), on="video_id")
    usable = scores.videos[(scores.videos["status"] == "ok") & (scores.videos["split"] == "test")]
    missing = sorted(set(usable["method"]) - set(val["method"]) - {""})
    scaling = calibration.fit_calibration(val["label"], val["logit"], prior_fake, missing_methods=missing)
    val["probability_fake"] = scaling.probability(val["logit"])
    threshold, note = evaluate.choose_threshold(val, rule, target_recall)
    labels, probabilities = val["label"].to_numpy(), val["probability_fake"].to_numpy()
    borders = answers.choose_borders(labels, probabilities, threshold)
    worth = answers.rates(labels, probabilities, borders, group_names(val)) if borders else {}
    by_frames = _error_rates(val, scores, rule, target_recall, prior_fake)
    return Calibration(scaling, threshold, rule, target_recall, note, len(val), borders, worth, by_frames)


def _error_rates(
    val: pd.DataFrame, scores: Scores, rule: str, target_recall: float, prior_fake: float
) -> list[dict[str, Any]]:
    """Return the error rates of the validation videos by the number of frames seen of them; [] if not scored so."""
    if not scores.fewer:
        return []
    whole = scores.config["frames_per_video"]
    by_count = {count: clips.set_index("video_id")["logit"] for count, clips in scores.fewer.items()}
    logits = {count: by_video.reindex(val["video_id"]).to_numpy() for count, by_video in by_count.items()}
    logits[whole] = val["logit"].to_numpy()
    groups = group_names(scores.videos)[scores.videos["video_id"].isin(val["video_id"])]
    return few_frames.error_rates(val["label"].to_numpy(), groups, logits, rule, target_recall, prior_fake)


def _own_calibration(config: dict[str, Any], rule: str, target_recall: float) -> Calibration:
    """Return the calibration that a detector has brought along."""
    scaling = Scaling(**{name: config[name] for name in ("slope", "offset", "prior_fake")})
    try:
        threshold, note = float(rule), "There are no validation videos: the calibration is the detector's own."
    except ValueError:
        threshold, note = config["threshold"], "There are no validation videos: calibration and threshold are its own."
    borders = answers.around(config["borders"], threshold) if config.get("borders") else None
    return Calibration(
        scaling, threshold, rule, target_recall, note, 0, borders, {}, config.get("frames_error_rates", [])
    )


class Evaluation:
    """A detector's figures on the test split, at the calibration and the threshold that validation chose."""

    def __init__(
        self,
        experiment: Experiment,
        scores: Scores,
        calibration: Calibration,
        *,
        no_face: str = DEFAULTS.no_face,
        resamples: int = DEFAULTS.resamples,
        seed: int = 0,
        brief: bool = False,
    ) -> None:
        """Prepare an evaluation; its parts are computed when they are asked for.

        `no_face` is what a video without a face counts as: `abstain` (left out), `real` or `fake`; `resamples` and
        `seed` are those of the bootstrap behind the intervals. `brief` leaves out what takes longest, the baselines and
        the figures that need no threshold by method.
        """
        self.brief = brief
        self.experiment, self.scores, self.calibration, self.no_face = experiment, scores, calibration, no_face
        self.prior_fake: float = experiment.params.prior_fake
        self.drawn = {"resamples": resamples, "seed": seed}
        self.threshold = calibration.threshold
        self.borders = answers.around(calibration.borders, calibration.threshold)
        chosen = calibration.scaling, calibration.threshold, calibration.borders
        experiment.detector.config = evaluate.calibrated(experiment.detector.config, *chosen)
        self.frames = scores.frames.assign(probability_fake=calibration.scaling.probability(scores.frames["logit"]))

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """The predictions table of all judged videos."""
        clips = self.scores.clips
        calibrated = clips.assign(probability_fake=self.calibration.scaling.probability(clips["logit"]))
        return evaluate.predictions(self.scores.videos, calibrated, self.threshold)

    @cached_property
    def test(self) -> pd.DataFrame:
        """The predictions of the test split."""
        return self.predictions[self.predictions["split"] == "test"]

    @cached_property
    def counted(self) -> Counted:
        """The test videos that count, as `no_face` says."""
        return with_policy(self.test, self.no_face, self.threshold)

    def drawn_weights(self) -> np.ndarray:
        """Return how often each counted video is in each bootstrap resample of `measured`, `(resamples, n)`."""
        counted = self.counted
        return resampling.drawn_weights(counted.labels, counted.scores, counted.groups, **self.drawn)

    @cached_property
    def uncalibrated(self) -> np.ndarray:
        """The scores of the counted videos before the calibration, `(n,)`."""
        raw = pd.Series(Scaling().probability(self.scores.clips["logit"]), index=self.scores.clips["video_id"])
        return raw.reindex(self.counted.table["video_id"]).fillna(float(self.no_face == "fake")).to_numpy()

    @cached_property
    def measured(self) -> dict[str, Any]:
        """The figures of the test split: those of `evaluate.measure`, and `methods` and `answers` (`answers.rates`)."""
        return self._measure(self.test)

    @cached_property
    def elsewhere(self) -> dict[str, dict[str, Any]]:
        """The same for every other dataset that was scored, by name."""
        held_out = self.predictions[self.predictions["split"] == "eval"]
        measured = {}
        for name, rows in held_out.groupby("dataset"):
            measured[name] = self._measure(rows)
            measured[name]["videos"]["which"] = scored_part(self.experiment.videos.loc[rows["video_id"]])
        return measured

    def _measure(self, table: pd.DataFrame) -> dict[str, Any]:
        frames = self.frames.dropna(subset="logit")
        policy = {"no_face": self.no_face, "prior_fake": self.prior_fake}
        measured = evaluate.measure(table, frames, self.threshold, **policy, **self.drawn)
        counted, videos = with_policy(table, self.no_face, self.threshold), self.experiment.videos
        unseen = metrics_json.seen_methods(videos)["unseen"]
        worth = answers.rates(counted.labels, counted.scores, self.borders, counted.groups)
        methods = [] if self.brief else by_method(counted, videos, measured["video"], unseen, **self.drawn)
        return {**measured, "answers": worth, "methods": methods}

    @cached_property
    def bands(self) -> pd.DataFrame:
        """Bands of 95% around the ROC and the precision-recall curve."""
        counted = self.counted
        return figures.bands(counted.labels, counted.scores, groups=counted.groups, **self.drawn)

    @cached_property
    def by_method(self) -> pd.DataFrame:
        """The errors by method of forgery."""
        return by_slice(self.test, "method", self.threshold)

    @cached_property
    def by_part(self) -> pd.DataFrame:
        """The errors by dataset, method and quality."""
        return evaluate.by_parts(self.test, self.experiment.videos, self.threshold)

    @cached_property
    def baselines(self) -> dict[str, dict[str, Any]]:
        """The figures of what needs no detector, beside the detector's, as `reference_scores.baselines` gives them."""
        if self.brief:
            return {}
        videos, alone = self.experiment.videos, self.scores.alone
        usable = videos[videos["status"] == "ok"]
        others = {
            "majority class": reference_scores.majority(videos),
            "container facts": reference_scores.container(usable, self.experiment.frames, self.drawn["seed"]),
            "single frames": pd.Series(self.calibration.scaling.probability(alone), index=alone.index),
        }
        rule = {"rule": self.calibration.rule, "target_recall": self.calibration.target_recall}
        return reference_scores.baselines(self.predictions, others, self.threshold, **rule, **self.drawn)

    @cached_property
    def forged_seconds(self) -> dict[str, Any] | None:
        """How well forged seconds of the test videos are found, as `forged_seconds.measure`; None if none are known, or
        scores were imported that do not say of which frames they are."""
        detector = self.experiment.detector
        if isinstance(detector, ImportedScores) and not detector.config["imported"]["positions"]:
            return None
        frames = self.frames.dropna(subset="probability_fake")  # of views that a video lacks there are no logits
        return forged_seconds.measure(self.test, frames, self.experiment.frames, self.threshold)

    def earlier_runs(self) -> tuple[pd.DataFrame, int]:
        """Return this run beside the others on common test videos, and how many others share too few."""
        reports, name = self.experiment.params.report_folder.parent, self.experiment.params.experiment
        return comparison.paired(self.test, self.threshold, reports, name, **self.drawn)

    @cached_property
    def document(self) -> dict[str, Any]:
        """The content of metrics.json, whose schema `metrics_json` describes: the figures, and the words to them."""
        params, videos, detector = self.experiment.params, self.experiment.videos, self.experiment.detector
        preprocessed, chosen = self.experiment.record("preprocess"), self.calibration
        scores = self.counted.labels, self.uncalibrated, self.counted.scores
        calibration = metrics_json.calibration(*scores, chosen.scaling, self.prior_fake)
        methods = metrics_json.seen_methods(videos) if self._trained_here else None
        caveats = [*evaluate.cautions(detector, videos), *filter(None, [chosen.note])]
        if detector.config.get("uncalibrated") and not chosen.videos:
            caveats.append("The detector is uncalibrated: its scores are no probabilities, and no video chose .5.")
        caveats += metrics_json.caveats(preprocessed, self.measured, calibration, methods)
        return {
            "schema": metrics_json.SCHEMA,
            "experiment": params.experiment,
            "trained_on": self._trained_on(),
            "tested_on": sorted(self.test["dataset"].unique()),
            "conditions": self.conditions,
            "verdict": metrics_json.verdict(self.measured, self.baselines),
            "caveats": caveats,
            "threshold": {
                "value": chosen.threshold,
                "rule": chosen.rule,
                "validation_videos": chosen.videos,
                "note": chosen.note,
            },
            "borders": chosen.borders
            and {"lower": chosen.borders[0], "upper": chosen.borders[1], "validation": chosen.validation},
            "calibration": calibration,
            "prior_fake": params.prior_fake,
            "methods": methods,
            "no_face": params.no_face,
            "test": self.measured,
            "segments": self.forged_seconds,
            "by_method": plain_rows(self.by_method),
            "by_part": plain_rows(self.by_part),
            "baselines": self.baselines,
            "eval": self.elsewhere,
            "audit": preprocessed["audit"],
            "fingerprints": {
                "data and splits": preprocessed.get("splits", preprocessed["fingerprint"]),
                "detector": self.detector,
            },
            "made_by": stages.provenance(),
        }

    @cached_property
    def conditions(self) -> dict[str, Any]:
        """What every figure depends on, as `metrics_json.conditions` gives it."""
        imported = isinstance(self.experiment.detector, ImportedScores)
        settings = None if imported else self.experiment.record("preprocess").get("settings")
        videos = self.experiment.videos
        return metrics_json.conditions(settings, compressions(videos[videos["split"] == "test"]).unique())

    @property
    def _trained_here(self) -> bool:
        """Whether the detector was trained on this experiment's splits, not only judged on them."""
        return not self.experiment.params.detector and not isinstance(self.experiment.detector, ImportedScores)

    def _trained_on(self) -> list[str]:
        """Return the datasets that the detector was trained on, as its own record says where it is only judged."""
        if isinstance(self.experiment.detector, ImportedScores):
            return [self.experiment.detector.name]
        if self._trained_here:
            videos = self.experiment.videos
            return sorted(videos.loc[videos["split"] == "train", "dataset"].unique())
        training = self.experiment.detector.config["training"]
        return split_list(training.get("parameters", {}).get("dataset", "")) or [self.experiment.params.detector]

    @property
    def detector(self) -> str:
        """The fingerprint of the detector with its calibration, by which later notebooks know that it is the same."""
        return metrics_json.fingerprint(self.experiment.detector)

    def write(self) -> Path:
        """Write predictions and metrics.json, keep calibration and threshold in the detector, and return the folder."""
        params = self.experiment.params
        folder = make_folder(params.report_folder)
        write_table(self.predictions, folder / "predictions.parquet")
        write_table(self.frames, folder / "frame_predictions.parquet")
        write_json(self.document, folder / "metrics.json")
        table, judged = self.predictions, self.predictions[self.predictions["split"].isin(["test", "eval"])]
        reals = table.loc[(table["split"] == "val") & (table["label"] == 0), "probability_fake"].dropna()
        measured_on = set(judged["dataset"])
        if (
            params.detector and not self.calibration.videos
        ):  # validation is not repeated, and what it was measured on before stays true
            reals = self.scores.config.get("validation_reals", ())
            measured_on |= set(self.scores.config.get("measured_on", ()))
        chosen = (self.calibration.scaling, self.threshold, reals, measured_on, self.calibration.borders)
        evaluate.keep_calibration(params.run_folder / "detector", *chosen, self.calibration.by_frames)
        return folder
