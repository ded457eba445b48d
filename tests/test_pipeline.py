"""The runner: parameters in, pages out; and what a failing notebook leaves behind. Its notebooks here are tiny."""

import json
import os
import re
import signal
import subprocess
import sys

import nbformat
import pytest

from dfutils import cli, pipeline
from dfutils.core import params
from dfutils.core.errors import InputError, StageError
from dfutils.core.files import write_json, write_table
from dfutils.core.parameter_files import load_params
from dfutils.core.paths import video_id
from dfutils.core.stages import DEFAULT_STAGES, STAGES
from dfutils.reporting import overview
from dfutils.serving import commands
from tests.evaluation.test_comparison import predictions, report
from tests.support.pages import loads
from tests.support.tables import table

PARAMETERS = "\n".join(f"{name} = None" for name in ("params_file", "experiment", "epochs", "sample_frames", "seed"))


def notebook(*cells: str) -> nbformat.NotebookNode:
    """A notebook with a title, a parameters cell and the given code cells, each under a heading of its own."""
    made = [nbformat.v4.new_markdown_cell("# A title\n\nWhat it asks.")]
    made.append(nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}))
    for number, cell in enumerate(cells):
        made += [nbformat.v4.new_markdown_cell(f"## Part {number} & more"), nbformat.v4.new_code_cell(cell)]
    document = nbformat.v4.new_notebook(cells=made)
    document.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return document


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """A project in a temporary folder whose five notebooks do next to nothing."""
    monkeypatch.setattr(params, "ROOT", tmp_path)
    monkeypatch.setattr(pipeline, "NOTEBOOKS", tmp_path / "notebooks")
    (tmp_path / "notebooks").mkdir()
    for name in STAGES.values():
        nbformat.write(
            notebook(f"print('{name}', experiment, epochs, sample_frames)"), tmp_path / "notebooks" / f"{name}.ipynb"
        )
    return tmp_path


def test_a_run_executes_the_notebooks_with_their_parameters_and_writes_self_contained_pages(suite):
    index = pipeline.run(params.Params(experiment="mine", sample_frames=17), ["download", "train"][:1])
    page = (suite / "reports" / "mine" / "01_download.html").read_text(encoding="utf-8")
    assert "01_download mine None 17" in page
    assert "Part 0 &amp; more" in page
    assert "<details" in page
    assert index == suite / "reports" / "mine" / "index.html"
    assert "01_download.html" in index.read_text(encoding="utf-8")
    for made in (suite / "reports" / "mine").glob("*.html"):
        assert loads(made) == []
    assert json.loads((index.parent / "run.json").read_text())["stages"]["download"]["seconds"] > 0


def test_a_contents_list_leads_to_anchors_that_exist(suite):
    pipeline.run(params.Params(experiment="mine"), ["download"])
    text = (suite / "reports" / "mine" / "01_download.html").read_text(encoding="utf-8")
    targets = re.findall(r'<li class="level-\d"><a href="#([^"]+)"', text)
    assert targets
    for target in targets:
        assert f'id="{target}"' in text


def test_a_failing_cell_is_shown_with_its_notebook_and_earlier_results_stay(suite):
    nbformat.write(notebook("1/0"), suite / "notebooks" / "02_preprocess.ipynb")
    with pytest.raises(StageError) as caught:
        pipeline.run(params.Params(experiment="mine"), ["download", "preprocess", "train"][:2])
    assert "ZeroDivisionError" in str(caught.value)
    assert str(suite / "reports" / "mine" / "02_preprocess.failed.ipynb") in str(caught.value)
    index = (suite / "reports" / "mine" / "index.html").read_text(encoding="utf-8")
    assert "did not finish" in index
    assert "01_download.html" in index
    executed = nbformat.read(suite / "reports" / "mine" / "02_preprocess.failed.ipynb", as_version=4)
    assert any(output.output_type == "error" for cell in executed.cells for output in cell.get("outputs", []))


def failure(suite) -> str:
    """Return why a run of two stages failed, after checking that record and index say it and the same call goes on."""
    values = params.Params(experiment="mine")
    with pytest.raises(StageError) as caught:
        pipeline.run(values, ["download", "preprocess"])
    record = json.loads((suite / "reports" / "mine" / "run.json").read_text())
    assert record["failed"] == str(caught.value)
    assert list(record["stages"]) == ["download"]
    assert "did not finish" in (suite / "reports" / "mine" / "index.html").read_text(encoding="utf-8")
    nbformat.write(notebook("print('well')"), suite / "notebooks" / "02_preprocess.ipynb")
    pipeline.run(values, ["download", "preprocess"])
    record = json.loads((suite / "reports" / "mine" / "run.json").read_text())
    assert (record["failed"], list(record["stages"])) == ("", ["download", "preprocess"])
    return str(caught.value)


def test_a_kernel_that_dies_is_a_sentence_with_the_likely_cause(suite):
    cells = ("1 + 1", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    nbformat.write(notebook(*cells), suite / "notebooks" / "02_preprocess.ipynb")
    text = failure(suite)
    assert "The stage preprocess stopped: its kernel died at 'Part 1 & more', most often because memory ran out" in text
    assert "run the same command again" in text and "02_preprocess.failed.ipynb" in text
    assert "\n" not in text


def test_an_error_without_a_traceback_is_named(suite):
    cell = "class Bare(Exception):\n    def _render_traceback_(self):\n        return []\nraise Bare('of a kind')"
    nbformat.write(notebook(cell), suite / "notebooks" / "02_preprocess.ipynb")
    text = failure(suite)
    assert text.startswith("The stage preprocess failed in cell [3].\nBare: of a kind\n")


def test_a_kernel_that_does_not_start_is_a_sentence(suite, monkeypatch):
    (suite / "python").write_text("#!/bin/sh\nexit 3\n")
    (suite / "python").chmod(0o755)
    monkeypatch.setattr(pipeline.sys, "executable", str(suite / "python"))
    with pytest.raises(StageError) as caught:
        pipeline.run(params.Params(experiment="mine"), ["download"])
    text = str(caught.value)
    assert text.startswith("The stage download could not be run: Kernel died") and "\n" not in text
    assert f"{suite / 'python'} -m ipykernel_launcher --version" in text
    assert json.loads((suite / "reports" / "mine" / "run.json").read_text())["failed"] == text
    monkeypatch.undo()


def test_the_python_that_runs_the_command_runs_the_notebooks(suite, monkeypatch):
    """Whatever kernels the user has installed under the same name."""
    spec = {"argv": ["/bin/false", "{connection_file}"], "display_name": "Python 3", "language": "python"}
    (suite / "jupyter" / "kernels" / "python3").mkdir(parents=True)
    (suite / "jupyter" / "kernels" / "python3" / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(suite / "jupyter"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "no")
    nbformat.write(notebook("import sys\nprint(sys.executable)"), suite / "notebooks" / "01_download.ipynb")
    pipeline.run(params.Params(experiment="mine"), ["download"])
    executed = nbformat.read(suite / "reports" / "mine" / "01_download.ipynb", as_version=4)
    assert executed.cells[-1].outputs[0].text.strip() == sys.executable


def report_files(suite) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (suite / "reports" / "mine").iterdir() if path.is_file()}


PICKY = (
    "from dfutils.core import finish, from_notebook\nfrom dfutils.core.errors import InputError\n"
    "p = from_notebook(globals(), '{stage}')\n"
    "if p.{name} > 199: raise InputError('{name} is out of range.')\nfinish(p, '{stage}')"
)


@pytest.fixture
def picky(suite, monkeypatch):
    """The same with notebooks 01 and 03 that finish, unless a value is above 199."""
    monkeypatch.setenv("DFUTILS_HOME", str(suite))  # for the kernels
    for stage, name in (("download", "sample_frames"), ("train", "epochs")):
        cell = PICKY.format(stage=stage, name=name)
        nbformat.write(notebook(cell), suite / "notebooks" / f"{STAGES[stage]}.ipynb")
    return suite


def test_a_refused_run_leaves_a_finished_report_as_it_was(picky):
    """Refused by its notebook, as a value out of range is; other parameters go to an experiment of their own."""
    suite = picky
    pipeline.run(params.Params(experiment="mine", epochs=3), ["download", "train"])
    assert json.loads(report_files(suite)["run.json"])["parameters"]["epochs"] == 3
    before = report_files(suite)
    other = pipeline.run(params.Params(experiment="mine", epochs=4), ["download", "train"])
    assert other.parent.name == "mine-epochs_4"
    assert report_files(suite) == before
    with pytest.raises(StageError, match=r"sample_frames is out of range\..*01_download\.failed\.ipynb"):
        pipeline.run(params.Params(experiment="new", sample_frames=200), ["download"])
    with pytest.raises(StageError, match=r"06_demo\.failed\.ipynb"):  # a stage that this report does not have
        nbformat.write(notebook("1/0"), suite / "notebooks" / "06_demo.ipynb")
        pipeline.run(params.Params(experiment="mine", epochs=3), ["demo"])
    after = report_files(suite)
    assert "ZeroDivisionError" in after.pop("06_demo.failed.ipynb").decode()
    assert after == before


def test_stages_that_do_not_depend_on_a_change_are_taken_over_with_their_pages(picky, capsys):
    path = picky / "mine.yaml"
    path.write_text("sample_frames: 15\nepochs: 3\n")
    pipeline.run(load_params(path), ["download", "train"])
    report = picky / "reports" / "mine-epochs_4"
    capsys.readouterr()
    for _ in range(2):
        assert pipeline.run(load_params(path, epochs=4), ["download", "train"]).parent == report
        first = capsys.readouterr().err.splitlines()[0]
        assert first.startswith("Experiment mine-epochs_4: mine.yaml with epochs 4 instead of 3.")
        done = [
            json.loads((picky / "reports" / name / "run.json").read_text())["stages"] for name in ("mine", report.name)
        ]
        assert done[0]["download"] == done[1]["download"]
        made = [
            json.loads((picky / "runs" / report.name / f"{stage}.json").read_text()) for stage in ("download", "train")
        ]
        assert [record.get("taken_from") for record in made] == ["mine", None]
        assert "mine" in (report / "01_download.html").read_text(encoding="utf-8")
        assert "03_train.html" in (report / "01_download.html").read_text(encoding="utf-8")
    pipeline.run(load_params(path, experiment="again"), ["download", "train"])
    assert "taken_from" not in json.loads((picky / "runs" / "again" / "download.json").read_text())


def test_a_reports_parameters_are_those_of_its_finished_stages(suite):
    pipeline.run(params.Params(experiment="mine", epochs=3, seed=1), ["download"])  # which reads neither
    nbformat.write(notebook("1/0"), suite / "notebooks" / "03_train.ipynb")
    with pytest.raises(StageError):
        pipeline.run(params.Params(experiment="mine", epochs=8, seed=2), ["preprocess", "train"])
    found = json.loads((suite / "reports" / "mine" / "run.json").read_text())
    assert (found["parameters"]["epochs"], found["parameters"]["seed"]) == (3, 2)  # training did not finish
    assert "ZeroDivisionError" in found["failed"]


def test_a_users_mistake_in_a_notebook_is_one_sentence(suite):
    cell = "from dfutils.core.errors import InputError\nraise InputError('Do this instead.')"
    nbformat.write(notebook(cell), suite / "notebooks" / "01_download.ipynb")
    with pytest.raises(StageError) as caught:
        pipeline.run(params.Params(experiment="mine"), ["download"])
    assert "Do this instead." in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_a_stopped_run_says_so_and_what_was_finished_stays(suite):
    nbformat.write(notebook("import time\ntime.sleep(60)"), suite / "notebooks" / "02_preprocess.ipynb")
    (suite / "mine.yaml").write_text("experiment: mine\n")
    code = (  # whoever started the tests in the background has told them to ignore Ctrl-C
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from pathlib import Path; from dfutils import cli, pipeline;"
        "pipeline.NOTEBOOKS = Path(sys.argv.pop(1)); cli.main()"
    )
    words = [sys.executable, "-c", code, str(suite / "notebooks"), "run", str(suite / "mine.yaml")]
    running = subprocess.Popen(
        words, stderr=subprocess.PIPE, text=True, env={**os.environ, "DFUTILS_HOME": str(suite)}, start_new_session=True
    )
    said = ""
    while "Part 0" not in said.partition("2/5")[2]:
        letter = running.stderr.read(1)
        assert letter, said
        said += letter
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does it
    said = running.communicate()[1]
    assert running.returncode == 130
    assert "dfutils: Stopped. What was finished stays" in said
    assert "Traceback" not in said
    page = (suite / "reports" / "mine" / "index.html").read_text(encoding="utf-8")
    assert "The stage preprocess was stopped." in page and "01_download.html" in page


def test_a_file_where_the_report_should_be_is_a_sentence(suite):
    (suite / "reports").mkdir()
    (suite / "reports" / "mine").write_text("x")
    with pytest.raises(InputError, match="a file is in the way"):
        pipeline.run(params.Params(experiment="mine"), ["download"])


def test_every_seed_is_an_experiment_of_its_own_on_the_same_splits(suite):
    for name in ("02_preprocess", "04_evaluate"):
        nbformat.write(notebook("print('made with', seed)"), suite / "notebooks" / f"{name}.ipynb")
    values = params.Params(experiment="mine", seed=3)
    with pytest.raises(InputError, match="mine-seed4 was not evaluated"):  # these notebooks write no figures
        pipeline.run_seeds(values, ["preprocess", "evaluate"], [4])
    for name, seed in (("02_preprocess", 3), ("04_evaluate", 4)):
        page = suite / "reports" / "mine-seed4" / f"{name}.html"
        assert f"made with {seed}" in page.read_text(encoding="utf-8")
    assert json.loads((suite / "reports/mine-seed4/run.json").read_text())["parameters"]["seed"] == 4


def test_seeds_are_read_once_each_and_nonsense_is_refused():
    assert cli._seeds("0, 2,0") == [0, 2]
    assert cli._seeds("") == []
    with pytest.raises(InputError, match="whole numbers"):
        cli._seeds("0,x")


def indexed(folder, *methods: str) -> None:
    """Write the index of a dataset `d` with two real videos and one fake of each method."""
    rows = [(f"v{k}", int(k > 1), name, "", "", "") for k, name in enumerate(("", "", *methods))]
    write_table(table(rows, "d").assign(part="", compression=""), folder / "data" / "d" / "videos.parquet")
    write_json({"layout": "folder", "root": "data/d/videos"}, folder / "data" / "d" / "dataset.json")


EACH = {"experiment": "mine", "dataset": "d", "split_policy": "method", "test_methods": "each", "seed": 3}


@pytest.mark.parametrize("seeds", [[], [0, 1]])
def test_every_method_left_out_is_an_experiment_of_its_own_and_they_are_compared(suite, monkeypatch, seeds):
    indexed(suite, "Loopy", "Face 2", "Loopy", "")
    calls = []

    def run(values, stages):
        calls.append((values.experiment, stages, values.test_methods, values.seed))
        if "evaluate" in stages:
            report(suite / "reports", values.experiment, predictions(1), test_methods=values.test_methods)
            overview.write_overview(suite / "reports")
        return values.report_folder / "index.html"

    monkeypatch.setattr(pipeline, "run", run)
    page = pipeline.run_methods(params.Params(**EACH), ["download", "evaluate"], seeds)
    unsafe = video_id("mine-without-Face 2")
    assert calls[0] == ("mine", ["download"], "each", 3)
    if seeds:
        assert [call[0] for call in calls[1::2]] == [
            f"{name}-seed{seed}" for name in (unsafe, "mine-without-Loopy") for seed in seeds
        ]
        assert (suite / "reports" / "mine-without-Loopy-seeds" / "seeds.json").exists()
        return
    assert calls[1:] == [
        (unsafe, ["download", "evaluate"], "Face 2", 3),
        ("mine-without-Loopy", ["download", "evaluate"], "Loopy", 3),
    ]
    assert page == suite / "reports" / "index.html"
    text = page.read_text(encoding="utf-8")
    assert unsafe in text and "mine-without-Loopy" in text and "test_methods" in text


def test_a_method_that_cannot_be_left_out_stops_no_other(suite, monkeypatch):
    indexed(suite, "a", "b", "c")
    done = []

    def run(values, stages):
        if values.test_methods == "b":
            raise StageError("The stage preprocess stopped. Why.")
        done.append(values.experiment)
        return values.report_folder / "index.html"

    monkeypatch.setattr(pipeline, "run", run)
    with pytest.raises(StageError, match=r"^Without b: The stage preprocess stopped. Why.$"):
        pipeline.run_methods(params.Params(**EACH), ["preprocess"], [])
    assert done == ["mine-without-a", "mine-without-c"]


@pytest.mark.parametrize(
    ("methods", "says"),
    [((), "name no methods"), (("", ""), "name no methods"), (("Swap", "swap"), r"name only one method \(swap\)")],
)
def test_each_of_fewer_than_two_methods_is_a_sentence(suite, methods, says):
    indexed(suite, *methods)
    with pytest.raises(InputError, match=rf"^test_methods: each needs fakes of two methods or more, .* {says}\.$"):
        pipeline.run_methods(params.Params(**EACH), ["preprocess"], [])


def test_the_command_runs_each_method_where_the_parameters_say_so(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.yaml").write_text("split_policy: method\ntest_methods: each\n")
    monkeypatch.setattr(pipeline, "run_methods", lambda values, stages, seeds: (values.test_methods, stages, seeds))
    words = ["dfutils", "run", str(tmp_path / "mine.yaml"), "--only", "evaluate", "--seeds", "1,2"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    assert "('each', ['evaluate'], [1, 2])" in capsys.readouterr().out


def test_stages_are_chosen_by_name():
    assert pipeline.choose() == list(DEFAULT_STAGES)
    assert pipeline.choose(only="robustness") == pipeline.choose(first="robustness")[-1:] == ["robustness"]
    assert pipeline.choose(first="train") == ["train", "evaluate", "errors"]
    assert pipeline.choose(only="train") == ["train"]
    with pytest.raises(InputError, match="no stage 'trian'"):
        pipeline.choose(first="trian")
    with pytest.raises(InputError, match="cannot be given together"):
        pipeline.choose(first="train", only="train")


MISTAKES = [
    (("run", "absent.yaml"), "no parameter file"),
    (("run", "{good}", "-p", "epoch=3"), "did you mean 'epochs'"),
    (("run", "{good}", "-p", "epochs"), "name=value"),
    (("run", "{good}", "--only", "nothing"), "no stage"),
    (("run", "{good}", "--nonsense"), "No such option"),
    (("run",), "Missing argument"),
    (("run", "{good}", "--seeds", "1,x"), "whole numbers"),
    (("compare", "nowhere"), "no evaluated run"),
]


@pytest.mark.parametrize(("words", "says"), MISTAKES)
def test_mistakes_on_the_command_line_end_in_one_sentence(tmp_path, monkeypatch, capsys, words, says):
    (tmp_path / "good.yaml").write_text("epochs: 1\n")
    monkeypatch.setattr(sys, "argv", ["dfutils", *(word.format(good=tmp_path / "good.yaml") for word in words)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert says in said
    assert len(said.strip().splitlines()) == 1


def test_the_command_itself_says_it_as_well(tmp_path):
    command = [sys.executable, "-m", "dfutils", "run", "absent.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert "no parameter file" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(("all_scored", "status"), [(True, 0), (False, 3)])
def test_the_exit_status_says_whether_all_videos_were_judged(monkeypatch, all_scored, status):
    monkeypatch.setattr(commands, "predict", lambda *videos, **wishes: all_scored)
    monkeypatch.setattr(sys, "argv", ["dfutils", "predict", "clip.mp4"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert (stop.value.code or 0) == status


def test_a_failed_stage_ends_in_its_text_and_exit_status_1(monkeypatch, capsys):
    def fail(*videos: object, **wishes: object) -> None:
        raise StageError("The stage train failed in cell [3].")

    monkeypatch.setattr(commands, "predict", fail)
    monkeypatch.setattr(sys, "argv", ["dfutils", "predict", "clip.mp4"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 1
    assert capsys.readouterr().err == "dfutils: The stage train failed in cell [3].\n"


def test_values_on_the_command_line_are_read_like_a_files():
    read = cli._overrides(["epochs=3", "align=true", "learning_rate=1e-4", "root=a=b", "archive="])
    assert read == {"epochs": 3, "align": True, "learning_rate": "1e-4", "root": "a=b", "archive": ""}
