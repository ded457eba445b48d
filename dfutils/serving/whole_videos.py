"""Threshold and borders for verdicts on whole videos.

The verdict on a whole video is that of its most suspicious stretch. The largest of many scores is larger by chance
alone, so a threshold chosen on single clips calls too many long videos fake. Here the validation videos are judged
whole, by the function that judges a user's video, and threshold and borders are chosen from these verdicts by the rules
of notebook 04.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from dfutils.core.errors import InputError
from dfutils.core.files import read_json, write_json
from dfutils.core.params import EvaluationSettings, Params
from dfutils.core.progress import bar
from dfutils.detector.network import Detector
from dfutils.evaluation.evaluate import choose_threshold
from dfutils.evaluation.experiment import Experiment
from dfutils.metrics import answers
from dfutils.serving.verdict import predict_video


def calibrate(params: Params) -> dict[str, Any]:
    """Judge the validation videos of an experiment whole, keep what they choose in its detector, and return it.

    Returns:
        As `choose`. In the detector's config.json it is `whole`; notebook 04 removes it when it calibrates anew.

    Raises:
        InputError: if notebook 04 has not judged this detector, or no validation video has a verdict.
    """
    experiment = Experiment(params)
    experiment.check_evaluated()
    val = experiment.videos[experiment.videos["split"] == "val"]
    labels = {experiment.path(video_id): int(label) for video_id, label in val["label"].items()}
    found = choose(labels, experiment.detector, params)
    config = params.run_folder / "detector" / "config.json"
    write_json({**read_json(config), "whole": found}, config)
    return found


def choose(labels: dict[Path, int], detector: Detector, settings: EvaluationSettings) -> dict[str, Any]:
    """Return threshold, borders (absent if a class is missing) and the scores of the real videos, all of whole videos.

    Args:
        labels: of each video, 0 real, 1 fake. Those without a verdict are left out.
        detector: judges them; it has its calibration.
        settings: the rule of the threshold.
    """
    verdicts = ((label, predict_video(path, detector)) for path, label in bar(list(labels.items()), unit="video"))
    scored = [(label, found.probability_fake) for label, found in verdicts if found.probability_fake is not None]
    if not scored:
        raise InputError("No validation video has a verdict: there is nothing to choose a threshold by.")
    table = pd.DataFrame(scored, columns=["label", "probability_fake"])
    threshold, _ = choose_threshold(table, settings.threshold, settings.target_recall)
    scores, is_fake = table["probability_fake"].to_numpy(), table["label"].to_numpy()
    borders = answers.choose_borders(is_fake, scores, threshold)
    reals = answers.kept_scores(scores[is_fake == 0])
    found = {"threshold": float(threshold), "validation_reals": reals, "videos": len(scored)}
    return {**found, "borders": list(borders)} if borders else found
