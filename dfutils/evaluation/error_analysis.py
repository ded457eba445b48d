"""The error analysis of notebook 05: which test videos are mistaken, where the detector looked, what is near them."""

from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from dfutils.core.errors import InputError
from dfutils.core.files import atomic
from dfutils.core.params import DEFAULTS
from dfutils.data import catalog
from dfutils.detector.network import Detector
from dfutils.evaluation import errors, evaluate, neighbours, saliency, scoring
from dfutils.evaluation.experiment import Experiment
from dfutils.evaluation.imported import ImportedScores
from dfutils.faces.strips import load_strip, strip_names
from dfutils.metrics.slices import by_slice


class ScoredClip(NamedTuple):
    """The crops that gave a video its score, uint8 RGB `(T, S, S, 3)`, and their rows of the frames table."""

    crops: np.ndarray
    rows: pd.DataFrame


class Saliency(NamedTuple):
    """Where a detector looked in a clip: its Grad-CAM and that of random weights, both `(T, S, S)`, and their likeness.

    `alike` is a rank correlation, NaN where one map is flat.
    """

    maps: np.ndarray
    random: np.ndarray
    alike: float


class ErrorAnalysis:
    """The test videos that a detector is wrong about, and what may explain it."""

    def __init__(self, experiment: Experiment, seed: int = 0) -> None:
        """Analyse an evaluated experiment; `seed` is that of the random weights and of every draw.

        Raises:
            InputError: if the experiment was not evaluated, or its detector or splits have changed since.
        """
        experiment.check_evaluated()
        self.experiment, self.seed = experiment, seed
        self.threshold: float = experiment.record("evaluate")["threshold"]
        self.videos, self.frames, self.detector = experiment.videos, experiment.frame_predictions, experiment.detector
        predictions = experiment.predictions
        self.test = predictions[predictions["split"] == "test"]

    @property
    def scored(self) -> pd.DataFrame:
        """The test videos that have a score."""
        return self.test[self.test["probability_fake"].notna()]

    @cached_property
    def mistakes(self) -> pd.DataFrame:
        """The mistaken test videos, the surest mistakes first, as `errors.mistakes` gives them."""
        return errors.mistakes(self.test, self.threshold)

    @property
    def imported(self) -> bool:
        """Whether the scores were imported, so that there is no network to ask."""
        return isinstance(self.detector, ImportedScores)

    @property
    def has_strips(self) -> bool:
        """Whether there are face crops of the videos; imported scores may come without them."""
        return "strip" in self.videos

    def strip(self, video_id: str, person: int = 0) -> np.ndarray:
        """Return the crops of a person in a video, uint8 RGB `(T, S, S, 3)`; 0 is the main person."""
        name = strip_names(self.videos.loc[video_id, "strip"], person + 1)[-1]
        return load_strip(catalog.DATA / name, self.experiment.face_settings.face_size)

    def clip(self, video_id: str) -> ScoredClip:
        """Return the crops that gave a video its score: of the most suspicious person, where there are several.

        Where scores of single frames are not known of them, as of most imported scores, they are NaN.
        """
        rows = self.frames[self.frames["video_id"] == video_id].sort_values("position")
        if self.imported and not self.detector.config["imported"]["positions"]:
            rows = self.experiment.frames
            rows = rows[(rows["video_id"] == video_id) & (rows["person"] == 0)].sort_values("position")
            rows = rows.assign(logit=np.nan, probability_fake=np.nan)
            return ScoredClip(self.strip(video_id), rows)
        person = rows.assign(logit=rows["logit"].clip(-40, 40)).groupby("person")["logit"].mean().idxmax()  # ±inf
        rows = rows[rows["person"] == person]
        return ScoredClip(self.strip(video_id, person)[rows["position"].to_numpy()], rows)

    @cached_property
    def _random_weights(self) -> Detector:
        return saliency.randomised(self.detector, seed=self.seed)

    def saliency(self, crops: np.ndarray) -> Saliency:
        """Return where the detector looked in a clip, beside the same network with random weights."""
        maps, other = saliency.gradcam(self.detector, crops), saliency.gradcam(self._random_weights, crops)
        return Saliency(maps, other, saliency.likeness(maps, other))

    @cached_property
    def no_gradcam(self) -> str:
        """Why Grad-CAM can show nothing of this detector; "" if it can, or there is no scored video to try it on."""
        if self.imported:
            return "The scores were imported: there is no network whose regions and frames could be looked at."
        try:
            for video_id in self.scored["video_id"].head(1):
                self.saliency(self.clip(video_id).crops)
        except InputError as error:
            return str(error)
        return ""

    def contributions(self, crops: np.ndarray) -> np.ndarray:
        """Return what each frame adds to a clip's log-odds of fake, `(T,)`."""
        return saliency.leave_one_out(self.detector, crops)

    def explain_fakes(self, count: int) -> dict[str, Saliency]:
        """Return where the detector looked in `count` fakes of the test across methods and people, by video id.

        Empty where Grad-CAM can show nothing of it; see `no_gradcam`.
        """
        fakes = saliency.spread_out(self.scored[self.scored["label"] == 1], count)
        return {video_id: self.saliency(self.clip(video_id).crops) for video_id in fakes if not self.no_gradcam}

    def inside_forged(self, explained: dict[str, Saliency], resamples: int = DEFAULTS.resamples) -> pd.DataFrame:
        """Return how much of the maps falls on what was forged, against two kinds of chance.

        Columns as of `saliency.chance_summary`; no rows where it is not known what was forged.
        """
        maps, masks, groups = [], [], []
        of_video = self.test.set_index("video_id")["group"]
        for video_id, found in explained.items():
            video = self.videos.loc[video_id]
            root = self.experiment.roots[video["dataset"]]
            rows = self.clip(video_id).rows
            mask = saliency.forged_masks(rows, video, root, self.experiment.face_settings)
            if mask is not None:
                maps.append(found.maps)
                masks.append(mask)
                groups.append(of_video[video_id])
        inside = saliency.inside_against_chance(maps, masks).assign(group=groups)
        table = saliency.chance_summary(inside, resamples, self.seed)
        return table if maps else table.head(0)

    @cached_property
    def by_property(self) -> pd.DataFrame:
        """The errors in thirds of each property of face and file."""
        facts = errors.properties(self.test, self.frames, self.videos)
        return errors.by_properties(self.test, facts, self.threshold)

    @cached_property
    def by_method(self) -> pd.DataFrame:
        """The errors by method of forgery."""
        return by_slice(self.test, "method", self.threshold)

    @cached_property
    def by_person(self) -> pd.DataFrame:
        """The errors by person, most errors first."""
        people = by_slice(self.test, "identity", self.threshold)
        return people.sort_values("errors", ascending=False, kind="stable")

    @cached_property
    def by_sureness(self) -> pd.DataFrame:
        """The errors where the detector is sure, and where it is not."""
        return errors.by_sureness(self.test, self.threshold)

    def diagnose(self, most: int, batch_size: int = DEFAULTS.batch_size) -> pd.DataFrame:
        """Return the mistakes with what their nearest training clips suggest, as `neighbours.diagnose` does.

        At most `most` training clips are compared, drawn at random.
        """
        train = self.videos[(self.videos["split"] == "train") & (self.videos["status"] == "ok")].sort_values("video_id")
        train = train.sample(min(len(train), most), random_state=self.seed).sort_values("video_id")
        if train.empty or self.imported:  # none are asked for, or the detector was trained or has run elsewhere
            return neighbours.diagnose(self.mistakes, neighbours.nearest((), ((), ()), ((), ()), train), np.nan)
        asked = evaluate.with_strips(pd.concat([train, self.videos.loc[self.mistakes["video_id"]]]), catalog.DATA)
        with neighbours.recording(self.detector) as recorder:
            _, frames = scoring.score(self.detector, asked, catalog.DATA, batch_size=batch_size)
        names, vectors = recorder.vectors(frames)
        of_train = np.isin(names, train["video_id"])
        known = ([name for name, kept in zip(names, of_train, strict=True) if kept], vectors[of_train])
        near = neighbours.nearest(self.mistakes["video_id"], (names, vectors), known, self.videos)
        return neighbours.diagnose(self.mistakes, near, neighbours.usual_distance(known, self.videos))

    def write(self, diagnosed: pd.DataFrame) -> None:
        """Write mistakes.csv, which is what `diagnose` returned."""
        with atomic(self.experiment.params.report_folder / "mistakes.csv") as temporary:
            diagnosed.to_csv(temporary, index=False)
