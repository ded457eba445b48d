"""What an experiment's stages have left behind, and what notebook 05 makes of it."""

from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest

from dfutils.core import params, stages
from dfutils.core.errors import InputError
from dfutils.core.files import make_folder, write_json, write_table
from dfutils.data import catalog
from dfutils.evaluation.error_analysis import ErrorAnalysis
from dfutils.evaluation.experiment import Experiment

SIZE, FRAMES = 32, 3
SCORES = [0.1, 0.7, 0.4, 0.9]


@pytest.fixture
def experiment(tmp_path, monkeypatch) -> Experiment:
    """Four evaluated test videos, the second and third mistaken; in the third two people were seen."""
    monkeypatch.setattr(params, "ROOT", tmp_path)
    monkeypatch.setattr(catalog, "ROOT", tmp_path)
    monkeypatch.setattr(catalog, "DATA", tmp_path / "data")
    monkeypatch.setattr("dfutils.evaluation.experiment.ROOT", tmp_path)
    strips = make_folder(tmp_path / "data" / "own" / "faces")
    ids = [f"v{k}" for k in range(4)]
    videos = pd.DataFrame({
        "video_id": ids, "path": [f"{name}.mp4" for name in ids], "label": [0, 0, 1, 1], "dataset": "own",
        "method": ["", "", "swap", "swap"], "identity": ["a", "b", "b", "b"], "split": "test", "status": "ok",
        "strip": [f"own/faces/{name}.png" for name in ids],
    })  # fmt: skip
    people = [(name, 0) for name in ids] + [("v2", 1)]
    for name, person in people:
        colour = np.full((SIZE, SIZE * FRAMES, 3), 200 if person else 50, np.uint8)
        cv2.imwrite(str(strips / (f"{name}~1.png" if person else f"{name}.png")), colour)
    frames = pd.DataFrame([
        {"video_id": name, "person": person, "position": t, "time_s": t / 25}
        for name, person in people for t in range(FRAMES)
    ])  # fmt: skip
    p = params.Params(experiment="mine")
    predictions = videos[["video_id", "dataset", "label", "method", "identity", "split", "status"]]
    predictions = predictions.assign(probability_fake=SCORES, predicted=pd.array([0, 1, 0, 1], "Int8"))
    scores = frames[["video_id", "person", "position"]].assign(logit=frames["person"] + 0.0, probability_fake=0.5)
    write_table(videos, p.run_folder / "videos.parquet")
    write_table(frames, p.run_folder / "frames.parquet")
    write_table(predictions, p.report_folder / "predictions.parquet")
    write_table(scores, p.report_folder / "frame_predictions.parquet")
    write_json({"layout": "folder", "root": "data/own/videos"}, tmp_path / "data" / "own" / "dataset.json")
    stages.finish(p, "preprocess", settings={"face_size": SIZE})
    stages.finish(p, "evaluate", threshold=0.5)
    opened = Experiment(p)
    opened.__dict__["detector"] = None  # nothing here asks it anything
    monkeypatch.setattr(Experiment, "check_evaluated", lambda _self: None)
    return opened


def test_the_video_to_look_at_has_the_middle_score_or_is_named(experiment, tmp_path):
    assert experiment.choose_video() == tmp_path / "data" / "own" / "videos" / "v1.mp4"
    assert experiment.choose_video("clips/mine.mp4") == tmp_path / "clips" / "mine.mp4"


def test_what_is_missing_is_a_sentence(experiment):
    new = Experiment(params.Params(experiment="new"))
    for what in ("videos", "frames", "predictions", "frame_predictions", "detector", "face_settings"):
        with pytest.raises(InputError):
            getattr(new, what)


def test_predictions_of_another_experiment_are_refused(experiment):
    path = experiment.params.report_folder / "predictions.parquet"
    write_table(pd.read_parquet(path).replace({"video_id": {"v3": "strange"}}), path)
    with pytest.raises(InputError, match="strange"):
        _ = experiment.predictions


def test_an_error_analysis_takes_the_most_suspicious_person_of_a_video(experiment):
    analysis = ErrorAnalysis(experiment)
    assert analysis.mistakes["video_id"].tolist() == ["v1", "v2"]
    assert len(analysis.scored) == 4
    one, two = analysis.clip("v1"), analysis.clip("v2")
    assert one.crops.shape == two.crops.shape == (FRAMES, SIZE, SIZE, 3)
    assert (one.crops == 50).all() and (two.crops == 200).all()
    assert two.rows["person"].tolist() == [1, 1, 1] and two.rows["time_s"].tolist() == [0, 0.04, 0.08]
    assert analysis.by_person["slice"].tolist() == ["b", "a"]
    assert analysis.by_method["slice"].tolist() == ["real", "swap"]
    assert analysis.explain_fakes(0) == {} and len(analysis.inside_forged({})) == 0


def test_explained_fakes_are_of_every_method_and_of_different_people():
    """Though the first videos by name are all of one method."""
    rows = [(f"{m}{p}{k}", 1, m, p) for m in "abcd" for p in "pqrs" for k in range(3)] + [("real", 0, "", "p")]
    scored = pd.DataFrame(rows, columns=["video_id", "label", "method", "group"])
    asked = SimpleNamespace(
        scored=scored,
        no_gradcam="",
        clip=lambda name: SimpleNamespace(crops=name),
        saliency=lambda crops: f"map of {crops}",
    )
    explained = ErrorAnalysis.explain_fakes(asked, 4)
    chosen = scored[scored["video_id"].isin(explained)]
    assert set(chosen["method"]) == set("abcd") and set(chosen["group"]) == set("pqrs")
    assert all(shown == f"map of {name}" for name, shown in explained.items())


def test_mistakes_are_written_beside_the_predictions(experiment):
    analysis = ErrorAnalysis(experiment)
    analysis.write(analysis.mistakes)
    written = pd.read_csv(experiment.params.report_folder / "mistakes.csv")
    assert written["kind"].tolist() == ["false alarm", "miss"]
