"""Tests of the records of finished stages."""

import pytest

from dfutils.core import params, stages
from dfutils.core.errors import InputError


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(params, "ROOT", tmp_path)
    return tmp_path


def test_a_finished_stage_is_not_overwritten_by_other_parameters(home):
    first = params.Params(experiment="a", epochs=3, seed=1)
    stages.claim(first, "train")
    stages.finish(first, "train", device="cpu")
    stages.claim(first, "train")
    other = params.Params(experiment="a", epochs=4, seed=1)
    with pytest.raises(InputError, match=r"epochs 3 → 4.*-p experiment=NAME"):
        stages.claim(other, "train")
    stages.claim(params.Params(experiment="b", epochs=4, seed=1), "train")


def test_parameters_that_change_no_result_may_change(home):
    stages.finish(params.Params(experiment="a", workers=1), "preprocess")
    stages.claim(params.Params(experiment="a", workers=2), "preprocess")


def test_results_pass_to_later_stages_and_their_absence_says_what_to_run(home):
    mine = params.Params(experiment="a")
    with pytest.raises(InputError, match="run notebook 03_train first"):
        stages.record(mine, "train")
    stages.finish(mine, "train", device="cpu")
    record = stages.record(mine, "train")
    assert record["device"] == "cpu"
    assert record["made_by"]["dfutils"]
