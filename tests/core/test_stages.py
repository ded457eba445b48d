"""Tests of the records of finished stages."""

import pytest

from dfutils.core import params, stages
from dfutils.core.errors import InputError


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(params, "ROOT", tmp_path)
    return tmp_path


def test_results_pass_to_later_stages_and_their_absence_says_what_to_run(home):
    mine = params.Params(experiment="a")
    with pytest.raises(InputError, match="run notebook 03_train first"):
        stages.record(mine, "train")
    stages.finish(mine, "train", device="cpu")
    with pytest.raises(InputError, match="correct the experiment's name: there is 'a'"):
        stages.record(params.Params(experiment="aa"), "train")
    record = stages.record(mine, "train")
    assert record["device"] == "cpu"
    assert record["made_by"]["dfutils"]


def test_every_parameter_belongs_to_a_stage():
    named = {"experiment", "params_file"}.union(*stages.OWN.values())
    assert named == set(params.Params.model_fields)


def test_a_stage_depends_on_what_the_stages_before_it_depend_on():
    assert stages.before("errors") == ("download", "preprocess", "train", "evaluate")
    assert {"epochs", "face_size", "resamples", "eval_datasets"} <= stages.depends("evaluate")
    assert "epochs" not in stages.depends("preprocess")
    assert {"face_size", "seed"} <= stages.depends("train")
    assert not {"eval_datasets", "eval_root", "eval_videos", "audit_faces", "resamples"} & stages.depends("train")
