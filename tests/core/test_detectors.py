"""Where a named detector lies, what judging it implies, and what is wrong with a name."""

import os

import pytest

from dfutils.core import params, stages
from dfutils.core.detectors import SHIPPED, folder_of, implied
from dfutils.core.errors import InputError
from dfutils.core.experiments import claim, from_notebook, headline
from dfutils.core.files import make_folder, read_json, write_json
from dfutils.core.parameter_files import load_params
from dfutils.core.params import Params

FACES = {"face_size": 96, "face_margin": 0.2, "align": False, "frames_per_video": 5}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A project with a parameter file and a detector of crops of 96 pixels."""
    monkeypatch.setattr(params, "ROOT", tmp_path)
    make_folder(tmp_path / "params")
    (tmp_path / "params" / "mine.yaml").write_text("dataset: mine\nface_size: 64\n")
    detector(tmp_path / "runs" / "old" / "detector", "first")
    return tmp_path


def detector(folder, weights: str) -> None:
    write_json({"format": 1, **FACES, "threshold": 0.4}, folder / "config.json")
    (folder / "model.safetensors").unlink(missing_ok=True)
    (folder / "model.safetensors").write_text(weights)


def test_a_detector_is_shipped_or_a_folder_of_the_project(home):
    assert folder_of("shipped") == SHIPPED
    assert folder_of("runs/old/detector") == home / "runs" / "old" / "detector"
    assert folder_of(str(home / "runs" / "old" / "detector")) == home / "runs" / "old" / "detector"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("runs/absent/detector", "There is no detector at .*notebook 03 makes one"),
        ("params", "is no detector: it has no config.json"),
        ("params/weights.pt", "weights.pt holds weights without the crops that they take"),
        ("hf://one", "write hf://owner/name"),
    ],
)
def test_what_is_no_detector_is_a_sentence(home, name, says):
    (home / "params" / "weights.pt").write_text("x")
    with pytest.raises(InputError, match=says):
        load_params(home / "params" / "mine.yaml", detector=name)


def test_judging_takes_the_detectors_faces_and_tests_on_every_video(home):
    assert implied("shipped")["face_size"] == 192
    judged = load_params(home / "params" / "mine.yaml", detector="runs/old/detector")
    assert {name: getattr(judged, name) for name in FACES} == FACES
    assert judged.split_policy == "test"
    shipped = load_params(home / "params" / "mine.yaml", detector="shipped")
    assert shipped.experiment == "mine-detector_shipped", "its faces do not lengthen the name"
    assert "detector shipped instead of none, face_margin 0.25 instead of 0.3" in headline(shipped)
    assert load_params(home / "params" / "mine.yaml", detector="shipped", face_size=192).face_size == 192
    with pytest.raises(InputError, match=r"face_size = 112 is not possible with detector = 'shipped', which takes 192"):
        load_params(home / "params" / "mine.yaml", detector="shipped", face_size=112)
    with pytest.raises(InputError, match="leaves nothing to train on: name the detector to judge"):
        load_params(home / "params" / "mine.yaml", split_policy="test")


def test_notebook_03_has_nothing_to_train_where_a_detector_is_judged(home):
    cell = 'params_file = "params/mine.yaml"\ndetector = "shipped"'
    assert from_notebook({"In": [cell]}, "preprocess").experiment == "mine-detector_shipped"
    with pytest.raises(InputError, match="is judged as it is, and nothing is trained: go on with notebook 04"):
        from_notebook({"In": [f"{cell}\nexperiment = 'mine-detector_shipped'"]}, "train")


def test_a_judged_detector_is_linked_and_a_later_one_of_its_name_is_judged_apart(home):
    given = load_params(home / "params" / "mine.yaml", detector="runs/old/detector", experiment="judged")
    stages.finish(given, "preprocess")
    first = claim(given, "evaluate")
    assert first.experiment == "judged"
    weights = first.run_folder / "detector" / "model.safetensors"
    assert os.path.samefile(weights, home / "runs" / "old" / "detector" / "model.safetensors")
    write_json({"threshold": 0.7}, first.run_folder / "detector" / "config.json")  # what notebook 04 chose
    stages.finish(first, "evaluate")
    assert claim(given, "evaluate") == first
    assert read_json(home / "runs" / "old" / "detector" / "config.json")["threshold"] == 0.4
    detector(home / "runs" / "old" / "detector", "trained again")
    later = claim(given, "evaluate")
    assert later.experiment.startswith("judged-") and len(later.experiment) == len("judged-") + 8
    assert weights.read_text() == "first"
    assert (later.run_folder / "detector" / "model.safetensors").read_text() == "trained again"
    assert later.run_folder.joinpath("preprocess.json").exists(), "the faces are the same"


def test_a_name_without_a_detector_is_trained_as_ever():
    assert not Params().detector
