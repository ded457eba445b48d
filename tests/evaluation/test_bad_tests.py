"""Test splits that can hardly be judged: every number that notebooks 04 and 05 show is there, or is said to be none."""

import json

import numpy as np
import pandas as pd
import pytest

from dfutils.evaluation import coverage, errors, evaluate, neighbours, reference_scores, saliency
from dfutils.metrics import figures as metrics_figures
from dfutils.metrics import slices
from dfutils.reporting import comparison_plots, score_plots, tables, widgets
from tests.support.evaluated import evaluated, split_table

CASES = {
    "no fakes": ([0] * 6, [0.1, 0.7, 0.3, 0.4, 0.2]),
    "no reals": ([1] * 6, [0.1, 0.7, 0.3, 0.4, 0.2]),
    "equal scores": ([0, 0, 0, 1, 1, 1], [0.5] * 5),
    "three videos": ([0, 1, 1, 1], [0.2, 0.9, 0.4]),
    "one video": ([0, 1], [0.2]),
    "no video": ([0], []),
    "NaN scores": ([0, 1, 0, 1, 1], [np.nan, np.nan, 0.2, 0.9]),
    "NaN scores only": ([0, 1, 1], [np.nan, np.nan]),
    "one person": ([0, 1, 0, 1], [0.1, 0.9, 0.6]),
    "certain scores": ([0, 0, 0, 1, 1, 1], [0.0, 0.0, 1.0, 0.0, 1.0]),
    "no mistake": ([0, 0, 1, 1, 1], [0.1, 0.2, 0.8, 0.9]),
}


@pytest.fixture(params=CASES)
def case(request):
    labels, values = CASES[request.param]
    person = {"identity": "p"} if request.param == "one person" else {}
    videos = split_table(labels).assign(
        **person, bitrate=2e5, width=64.0, height=64.0, fps=25.0, people=1, path="a.mp4"
    )
    scores = pd.DataFrame({"video_id": videos["video_id"][: len(values)], "probability_fake": np.array(values, float)})
    frames = pd.concat([scores, scores], ignore_index=True).assign(person=0, position=0)
    facts = dict.fromkeys(("face_px", "sharpness", "brightness", "yaw", "pitch"), 1.0)
    return videos, evaluate.predictions(videos, scores, 0.5), frames.assign(**facts)


def test_report_04_ends_well(case):
    videos, table, frames = case
    measured = evaluate.measure(table, frames.dropna(), 0.5, resamples=100)
    counted = coverage.with_policy(table, "abstain", 0.5)
    beside = reference_scores.baselines(
        table, {"majority class": reference_scores.majority(videos)}, 0.5, resamples=100
    )
    by_part = evaluate.by_parts(table, videos, 0.5)
    curve = metrics_figures.bands(counted.labels, counted.scores, groups=counted.groups, resamples=20)
    figures = [
        score_plots.confusion(measured["confusion"]),
        score_plots.intervals(measured["video"]),
        comparison_plots.forest(
            {name: found["roc_auc"] for name, found in beside.items()}, reference_scores.finding(beside)
        ),
        score_plots.roc_pr(counted.labels, counted.scores, 0.5, curve),
        score_plots.score_histogram(counted.labels, counted.scores, 0.5),
        score_plots.reliability(counted.labels, counted.scores, counted.scores),
        score_plots.reliability(counted.labels, counted.scores, counted.scores, prior_fake=0.5, groups=counted.groups),
        score_plots.slices(by_part),
    ]
    for figure in figures:
        assert "nan" not in figure.alt.lower()
        assert "base64" in figure.to_html()
    assert "base64" in widgets.threshold(counted.labels, counted.scores, 0.5).to_html()
    for shown in (tables.summary(measured["frame"]), tables.reference_scores(beside), tables.slices(by_part)):
        assert "nan" not in shown.to_html().lower()
    written = evaluated(videos, frames.drop_duplicates("video_id"), frames).document
    json.dumps(written, allow_nan=False)
    assert "nan" not in written["verdict"].lower()


def test_report_05_ends_well(case):
    videos, table, frames = case
    mistakes = errors.mistakes(table, 0.5)
    facts = errors.properties(table, frames, videos)
    sliced = errors.by_properties(table, facts, 0.5)
    for shown in (sliced, errors.by_sureness(table, 0.5), slices.by_slice(table, "identity", 0.5)):
        assert "nan" not in tables.slices(shown).to_html().lower()
    assert "nan" not in tables.rounded(mistakes).to_html().lower()
    assert "base64" in score_plots.slices(sliced).to_html()
    none: tuple[list[str], np.ndarray] = ([], np.zeros((0, 4), dtype=np.float32))
    indexed = videos.set_index("video_id", drop=False).rename_axis(None)
    near = neighbours.nearest(mistakes["video_id"], none, none, indexed)
    diagnosed = neighbours.diagnose(mistakes, near, neighbours.usual_distance(none, indexed))
    assert len(diagnosed) == len(mistakes)
    assert set(diagnosed["suspect"]) <= {""}
    assert saliency.chance_summary(saliency.inside_against_chance([], [])).shape == (3, 4)
