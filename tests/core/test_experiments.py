"""Experiments: what a notebook's cells set, the name that a change gives, and what is taken over from others."""

import json
import os

import pytest
from typer.testing import CliRunner

from dfutils import cli
from dfutils.core import params, stages
from dfutils.core.errors import InputError
from dfutils.core.experiments import changes, claim, delete, from_notebook, headline, runs, take_over
from dfutils.core.files import make_folder, write_json
from dfutils.core.parameter_files import load_params
from dfutils.core.params import Params

CELL = 'params_file = "params/sample.yaml"  # a file\nexperiment = None  # a run\nepochs = None  # passes'
INJECTED = "# Parameters\n"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A project with a parameter file of its own."""
    monkeypatch.setattr(params, "ROOT", tmp_path)
    make_folder(tmp_path / "params")
    (tmp_path / "params" / "sample.yaml").write_text("params_file: params/sample.yaml\nepochs: 14\nresamples: 100\n")
    return tmp_path


def opened(*cells: str, stage: str = "train", **values: object) -> Params:
    """What a notebook gets whose cells were run in this order; `values` are what variables hold by now."""
    return from_notebook({"In": ["", *cells], **values}, stage)


def test_one_word_changes_the_file(home):
    assert opened(CELL) == load_params(home / "params" / "sample.yaml")
    mine = opened(CELL.replace("sample", "mine")) if write(home, "mine", "epochs: 2") else None
    assert (mine.experiment, mine.epochs, mine.resamples) == ("mine", 2, 2000)


def write(home, name: str, text: str) -> bool:
    return bool((home / "params" / f"{name}.yaml").write_text(text))


def test_what_is_typed_or_injected_wins_over_the_file(home):
    typed = CELL.replace("epochs = None", "epochs = 3")
    assert (opened(typed).epochs, opened(typed).experiment) == (3, "sample-epochs_3")
    both = opened(typed, f"{INJECTED}epochs = 5\nparams_file = 'params/sample.yaml'\n")
    assert (both.epochs, both.resamples) == (5, 100)
    assert opened(typed, CELL).epochs == 14, "the cell was run again with None"
    assert opened(typed, "experiment = Experiment(p)", "seed = 4", experiment=object()).seed == 4
    computed = opened(CELL.replace("epochs = None", "epochs = 2 * 3"), epochs=6)
    assert computed.epochs == 6
    extra = opened(f"{CELL}\ndropout = 0.2  # a line of one's own")
    assert extra.dropout == 0.2


def test_what_is_injected_without_a_file_begins_at_the_defaults(home):
    assert opened(CELL, f"{INJECTED}epochs = 3\n").resamples == Params().resamples
    assert opened(CELL, f"{INJECTED}epochs = 3\nparams_file = 'params/sample.yaml'").resamples == 100


def test_parameters_of_later_stages_are_ignored_and_unknown_ones_refused(home):
    assert opened(CELL, f"{INJECTED}params_file = 'params/sample.yaml'\nresamples = 300").experiment == "sample"
    later = opened(CELL, f"{INJECTED}params_file = 'params/sample.yaml'\nepochs = 3", stage="evaluate")
    assert later.experiment == "sample-epochs_3"
    for cells in ((f"{CELL}\nepoch = 3",), (CELL, f"{INJECTED}epoch = 3")):
        with pytest.raises(InputError, match="There is no parameter 'epoch': did you mean 'epochs'"):
            opened(*cells)


def test_a_notebook_that_was_made_a_script_has_its_parameters(home):
    names = {"params_file": "params/sample.yaml", "epochs": 3, "experiment": None, "detector": object()}
    assert from_notebook(names, "train").experiment == "sample-epochs_3"
    assert from_notebook({**names, "In": [""]}, "train").experiment == "sample-epochs_3", "nbval keeps no history"
    with pytest.raises(InputError, match="There is no parameter 'epoch': did you mean 'epochs'"):
        from_notebook({"epoc": 1, **names, "epoch": 3, "In": [""]}, "train")
    assert from_notebook({"epoch": "of imports", **names, "x": 3}, "train").epochs == 3, "not in the parameters cell"
    for cells in ({}, {"In": [""]}):
        with pytest.raises(InputError, match="has not run the parameters cell"):
            from_notebook(cells, "train")


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("x = 1", "has not run the parameters cell, which sets params_file: run it first"),
        ('params_file = "params/sampel.yaml"', "did you mean .*sample.yaml"),
        ('params_file = "params"', "it is a folder"),
        (f"{CELL}\nseed = [1]", "seed = \\[1\\] is not possible"),
        (f"{CELL}\nexperiment = 'a/b'", "use at most 100 letters"),
    ],
)
def test_a_mistake_in_the_cell_is_a_sentence(home, cell, says):
    with pytest.raises(InputError, match=says) as caught:
        opened(cell, seed=[1])
    assert "\n" not in str(caught.value)
    assert not (home / "runs").exists(), "nothing was begun"


def finished(p: Params, *names: str) -> None:
    """Write what the stages of an experiment leave, each file with the experiment's name in it."""
    for name in names:
        if name == "preprocess":
            for table in ("videos.parquet", "frames.parquet"):
                (make_folder(p.run_folder) / table).write_text(p.experiment)
            stages.finish(p, name, own_splits="0" * 16)
            continue
        if name == "train":
            write_json({"of": p.experiment}, p.run_folder / "detector" / "config.json")
            write_json({"of": p.experiment}, p.run_folder / "training" / "history.json")
        if name == "evaluate":
            write_json({"of": p.experiment}, p.report_folder / "metrics.json")
            (p.report_folder / "04_evaluate.html").write_text("page")
        stages.finish(p, name)


def test_a_change_trains_in_an_experiment_of_its_own_on_the_splits_that_are_there(home):
    sample = opened(CELL)
    finished(sample, "download", "preprocess", "train", "evaluate")
    mine = opened(CELL.replace("epochs = None", "epochs = 3"))
    assert mine.experiment == "sample-epochs_3"
    assert (mine.run_folder / "videos.parquet").read_text() == "sample"
    assert not (mine.run_folder / "detector").exists()
    assert headline(mine) == (
        "Experiment sample-epochs_3: params/sample.yaml with epochs 3 instead of 14. "
        "Taken over from sample: download, preprocess."
    )
    finished(mine, "train")
    later = opened(CELL.replace("experiment = None", "experiment = 'sample-epochs_3'"), stage="evaluate")
    assert (later.experiment, later.epochs) == ("sample-epochs_3", 3)
    assert json.loads((sample.run_folder / "detector" / "config.json").read_text()) == {"of": "sample"}


def test_what_a_report_alone_depends_on_makes_another_report_of_the_same_detector(home):
    sample = opened(CELL)
    finished(sample, "download", "preprocess", "train", "evaluate")
    mine = opened(f"{CELL}\nresamples = 300", stage="evaluate")
    assert mine.experiment == "sample-resamples_300"
    assert json.loads((mine.run_folder / "detector" / "config.json").read_text()) == {"of": "sample"}
    assert not mine.report_folder.exists()
    shown = opened(f"{CELL}\nmistakes_shown = 3", stage="errors")
    assert json.loads((shown.report_folder / "metrics.json").read_text()) == {"of": "sample"}
    assert not (shown.report_folder / "04_evaluate.html").exists()


def test_taken_over_files_are_links_that_neither_deletion_nor_writing_breaks(home):
    sample = opened(CELL)
    finished(sample, "download", "preprocess", "train")
    mine = opened(f"{CELL}\nresamples = 300", stage="evaluate")
    config = mine.run_folder / "detector" / "config.json"
    assert os.path.samefile(config, sample.run_folder / "detector" / "config.json")
    write_json({"of": "mine"}, config)
    assert json.loads((sample.run_folder / "detector" / "config.json").read_text()) == {"of": "sample"}
    (sample.run_folder / "videos.parquet").unlink()
    assert (mine.run_folder / "videos.parquet").read_text() == "sample"


def test_a_file_that_was_edited_does_not_overwrite_what_it_made(home):
    finished(opened(CELL), "download", "preprocess", "train")
    write(home, "sample", "epochs: 20\nresamples: 100\n")
    edited = opened(CELL)
    assert edited.experiment == "sample-epochs_20"
    assert changes(edited) == {"epochs": (14, 20)}
    assert headline(edited).startswith("Experiment sample-epochs_20: params/sample.yaml with epochs 20 instead of 14.")
    back = opened(CELL.replace("experiment = None", "experiment = 'sample'"), stage="evaluate")
    assert (back.experiment, back.epochs) == ("sample", 14)


def test_a_finished_stage_is_not_overwritten_by_other_parameters(home):
    first = Params(experiment="a", epochs=3, seed=1)
    assert claim(first, "train") == first
    stages.finish(first, "train", device="cpu")
    assert claim(first, "train") == first
    assert claim(Params(experiment="a", epochs=4, seed=1), "train").experiment == "a-epochs_4"
    assert claim(Params(experiment="b", epochs=4, seed=1), "train").experiment == "b"


def test_parameters_that_change_no_result_may_change(home):
    stages.finish(Params(experiment="a", workers=1), "preprocess")
    assert claim(Params(experiment="a", workers=2), "preprocess").experiment == "a"


def test_splits_of_another_seed_or_other_videos_are_not_taken_over(home):
    sample = opened(CELL)
    finished(sample, "download", "preprocess", "train")
    seeded = opened(f"{CELL}\nseed = 5")
    assert seeded.experiment == "sample-seed_5"
    assert not (seeded.run_folder / "preprocess.json").exists()
    with pytest.raises(InputError, match="run notebook 02_preprocess first, with the same parameters"):
        stages.record(seeded, "preprocess")
    other = opened(f"{CELL}\neval_datasets = 'x'", stage="preprocess")
    stages.finish(other, "preprocess", own_splits="1" * 16)
    assert take_over(other, "train") == "", "the videos have changed since"
    stages.finish(other, "preprocess", own_splits="0" * 16)
    assert take_over(other, "train") == "sample"


def test_a_run_that_was_deleted_is_said_to_be_missing(home):
    sample = opened(CELL)
    finished(sample, "download", "preprocess")
    delete(sample.experiment)
    with pytest.raises(InputError, match="has no finished preprocess stage: run notebook 02_preprocess first"):
        stages.record(sample, "preprocess")


def test_runs_are_listed_with_their_size_and_what_was_changed(home):
    finished(opened(CELL), "download", "preprocess", "train")
    finished(opened(CELL.replace("epochs = None", "epochs = 3")), "train")
    first, second = runs()
    assert (first.name, second.name) == ("sample", "sample-epochs_3")
    assert first.finished == second.finished == ["download", "preprocess", "train"]
    assert second.about == "params/sample.yaml with epochs 3 instead of 14"
    files = [path for path in (home / "runs" / "sample").rglob("*") if path.is_file()]
    assert first.size == sum(path.stat().st_size for path in files) > first.shared > 0
    shown = CliRunner().invoke(cli.app, ["runs"]).stdout.splitlines()
    assert shown[1].startswith("sample-epochs_3  0.0 MB") and "with epochs 3 instead of 14" in shown[1]
    write(home, "sample", "epochs: none of them")
    assert runs()[1].about == "params/sample.yaml", "a broken file hides no run"


def test_a_run_is_deleted_after_asking_and_no_other_is_harmed(home):
    finished(opened(CELL), "download", "preprocess", "train", "evaluate")
    other = opened(CELL.replace("epochs = None", "epochs = 3"))
    kept = CliRunner().invoke(cli.app, ["runs", "--delete", "sample"], input="n\n")
    assert "Nothing was deleted." in kept.stdout and (home / "runs" / "sample").is_dir()
    done = CliRunner().invoke(cli.app, ["runs", "--delete", "sample"], input="y\n")
    assert "Deleted: sample." in done.stdout
    assert not (home / "runs" / "sample").exists() and not (home / "reports" / "sample").exists()
    assert (other.run_folder / "videos.parquet").read_text() == "sample"
    for name, says in (("sampel-epochs_3", "did you mean 'sample-epochs_3'"), ("../x", "`dfutils runs` lists them")):
        with pytest.raises(InputError, match=says):
            delete(name)
    assert CliRunner().invoke(cli.app, ["runs", "--delete", "sample-epochs_3"], input="y\n").exit_code == 0
    assert "There are no runs yet" in CliRunner().invoke(cli.app, ["runs"]).stdout


def test_a_run_of_another_machine_is_not_a_new_name_for_what_this_one_has_finished(home):
    finished(opened(CELL), "download", "preprocess", "train", "evaluate")
    named = CELL.replace("experiment = None", "experiment = 'sampel'")
    with pytest.raises(InputError, match="There is no run 'sampel' on this machine: did you mean 'sample'"):
        opened(named, stage="evaluate")
    assert not (home / "runs" / "sampel").exists()
    assert opened(named.replace("epochs = None", "resamples = 300"), stage="evaluate").experiment == "sampel"


@pytest.mark.parametrize("stage", list(stages.STAGES))
def test_papermill_gives_a_notebook_all_of_a_file_and_the_same_parameters(home, stage):
    text = (home / "params" / "sample.yaml").read_text()
    injected = INJECTED + "\n".join(
        line.replace(": ", " = '") + "'" if "params_file" in line else line.replace(":", " =")
        for line in text.splitlines()
    )
    assert opened(CELL.replace("sample", "tiny"), injected, stage=stage) == opened(CELL, stage=stage)


def test_an_interrupted_training_is_resumed_or_left_alone(home):
    """Asked for with other values it gets a name of its own; its name alone brings its values along."""
    sample = opened(CELL)
    finished(sample, "download", "preprocess")
    write_json({"epochs": 14}, sample.run_folder / "training" / stages.BEGUN)
    write(home, "sample", "epochs: 20")
    assert opened(CELL).experiment == "sample", "no epoch was completed"
    (sample.run_folder / "training" / "last.ckpt").touch()
    edited = opened(CELL)
    assert edited.experiment == "sample-epochs_20" and (edited.run_folder / "videos.parquet").read_text() == "sample"
    resumed = opened(CELL.replace("experiment = None", "experiment = 'sample'"))
    assert (resumed.experiment, resumed.epochs) == ("sample", 14)
