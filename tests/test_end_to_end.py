"""The whole suite as a user runs it: a tiny sample, the real runner, real faces, a real network, a report.

The notebooks are run twice: by the runner, with parameters from a file, and by nbval (`test_nbval.py`), with those in
their own cells.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from dfutils import cli
from dfutils.core import params
from dfutils.core.errors import InputError
from dfutils.core.parameter_files import load_params
from dfutils.core.progress import BATCH
from dfutils.core.stages import DEFAULT_STAGES, STAGES
from dfutils.data import index, obtain
from dfutils.evaluation import Experiment, evaluate, metrics_json, score_splits
from dfutils.reporting import markdown
from tests.support.pages import loads
from tests.support.readme import commands, works_here

ROOT = Path(__file__).resolve().parents[1]
TINY = str(ROOT / "params" / "tiny.yaml")


@pytest.fixture
def call(tiny_home, monkeypatch, capsys):
    """Return a function that calls the command in this process and returns its exit status, stdout and stderr."""

    def dfutils(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dfutils", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    monkeypatch.setattr(params, "ROOT", tiny_home)
    monkeypatch.setenv("DFUTILS_HOME", str(tiny_home))  # for the kernels
    monkeypatch.setenv(BATCH, "1")  # which the command sets: restored after the test
    monkeypatch.chdir(tiny_home)
    return dfutils


def test_a_report_stands_at_the_end_and_asks_nothing_of_the_outside(tiny_home):
    report = tiny_home / "reports" / "tiny"
    pages = [report / f"{name}.html" for name in ("index", *(STAGES[stage] for stage in DEFAULT_STAGES))]
    for page in pages:
        assert loads(page) == []
        assert "Traceback" not in page.read_text(encoding="utf-8")
        assert page.stat().st_size < 8 * 2**20
    index = pages[0].read_text(encoding="utf-8")
    for word in ("ROC AUC", "data:image/png", "fingerprint", "Wall time", "dlib-bin", "face_size", "in the wild"):
        assert word in index


def test_numbers_in_the_report_are_those_of_the_predictions(tiny_home):
    report = tiny_home / "reports" / "tiny"
    metrics = json.loads((report / "metrics.json").read_text(encoding="utf-8"))
    predictions = pd.read_parquet(report / "predictions.parquet")
    assert list(predictions) == evaluate.PREDICTION_COLUMNS
    test = predictions[predictions["split"] == "test"]
    called = pd.crosstab(test["label"], test["predicted"].astype(int)).reindex([0, 1], fill_value=0)
    called = called.reindex([0, 1], axis=1, fill_value=0)
    assert metrics["test"]["confusion"] == called.to_numpy().tolist()
    assert metrics["schema"] == metrics_json.SCHEMA
    splits = pd.read_parquet(tiny_home / "runs" / "tiny" / "videos.parquet")
    assert set(predictions["video_id"]) == set(splits.loc[splits["split"].isin(["val", "test"]), "video_id"])


def test_no_person_stands_on_two_sides(tiny_home):
    splits = pd.read_parquet(tiny_home / "runs" / "tiny" / "videos.parquet")
    people = pd.concat(
        [splits[["identity", "split"]], splits[["donor", "split"]].rename(columns={"donor": "identity"})]
    )
    people = people[people["identity"] != ""]
    assert people.groupby("identity")["split"].nunique().max() == 1


@pytest.fixture(scope="module")
def as_the_readme_has_it(tiny_home) -> Path:
    """Name what was made as the README does: the tiny sample is its sample, its videos are those of a user."""
    shutil.copytree(ROOT / "params", tiny_home / "params")
    tiny = (ROOT / "params" / "tiny.yaml").read_text(encoding="utf-8")
    (tiny_home / "params" / "sample.yaml").write_text(f"{tiny}experiment: tiny\n", encoding="utf-8")
    for name in ("sample", "faces2"):
        (tiny_home / "runs" / name).symlink_to(tiny_home / "runs" / "tiny")
    for name in ("videos", "more"):
        (tiny_home / name).mkdir()
    for name in ("clip.mp4", "videos/a.mp4", "more/b.mov"):
        shutil.copyfile(next((tiny_home / "data" / "tiny" / "videos" / "real").glob("*.mp4")), tiny_home / name)
    return tiny_home


@pytest.mark.skipif(os.name == "nt", reason="the README's commands are for a POSIX shell")
@pytest.mark.parametrize("command", dict.fromkeys(filter(works_here, commands("README.md"))))
def test_the_readmes_commands_work_as_written(as_the_readme_has_it, command, call):
    """In a fresh shell, or in this process where loading PyTorch or the runner again would take the time."""
    if ">" in command or command.startswith("dfutils params"):
        activated = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": activated, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return
    status, out, said = call(*shlex.split(command)[1:])
    assert status == 0, said
    if command.startswith("dfutils predict"):
        assert "real videos look as suspicious" in out or "real validation videos look" in out


def test_the_report_can_be_read_as_markdown(tiny_home, tmp_path):
    report = tiny_home / "reports" / "tiny"
    markdown.write(report, tmp_path)
    markdown.write(report, tmp_path)  # again, over what is there
    text = "".join(path.read_text(encoding="utf-8") for path in tmp_path.glob("*.md"))
    assert len(list(tmp_path.glob("*.md"))) == len(markdown.SHOWN)
    assert not re.search(r"<(table|style|img|div|script)|base64|Traceback|/tmp/", text)
    linked = re.findall(r"\]\((pictures/[^)]+)\)", text)
    assert sorted(linked) == sorted(f"pictures/{path.name}" for path in (tmp_path / "pictures").iterdir())
    assert len(linked) > 15 and "| ROC AUC |" in text
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.*")) < 4 * 2**20
    assert markdown.differences(report, tmp_path) == []
    figures = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    figures["test"]["video"]["roc_auc"]["value"] += 0.002
    (tmp_path / "figures.json").write_text(json.dumps(figures), encoding="utf-8")
    (said,) = markdown.differences(report, tmp_path)
    assert said.startswith("test.video.roc_auc.value: ")
    figures |= {"processor": "another"}
    (tmp_path / "figures.json").write_text(json.dumps(figures), encoding="utf-8")
    assert markdown.differences(report, tmp_path) == [], "on another processor it must lie in the interval"
    figures["test"]["video"]["roc_auc"] |= {"low": 2.0, "high": 3.0}
    (tmp_path / "figures.json").write_text(json.dumps(figures), encoding="utf-8")
    assert len(markdown.differences(report, tmp_path)) == 1


def test_a_finished_experiment_is_not_overwritten(tiny_home, call):
    """Another value trains in an experiment of its own, on the strips and splits that are there."""
    before = (tiny_home / "runs" / "tiny" / "detector" / "model.safetensors").stat().st_mtime_ns
    status, _, said = call("run", TINY, "--only", "train", "-p", "epochs=2")
    assert status == 0, said[-3000:]
    first = "Experiment tiny-epochs_2: params/tiny.yaml with epochs 2 instead of 1. Taken over from tiny: "
    assert said.startswith(first)
    assert (tiny_home / "runs" / "tiny" / "detector" / "model.safetensors").stat().st_mtime_ns == before
    mine = tiny_home / "runs" / "tiny-epochs_2"
    assert len(pd.read_csv(mine / "training" / "history.csv")) == 2
    assert os.path.samefile(mine / "videos.parquet", tiny_home / "runs" / "tiny" / "videos.parquet")


def test_what_is_missing_is_said_in_a_sentence(call):
    changed = ("dataset=mine", "layout=folder", "root=nowhere", "experiment=other")
    status, _, said = call("run", TINY, *(word for pair in changed for word in ("-p", pair)))
    assert status == 1
    assert "is missing" in said or "no files" in said, said[-800:]
    assert "Traceback" not in said


def test_what_the_notebooks_call_says_it_too(tiny_home, monkeypatch):
    monkeypatch.setattr(params, "ROOT", tiny_home)
    unknown = load_params(ROOT / "params" / "tiny.yaml", dataset="mine", layout="celeb_df", root=".")
    with pytest.raises(InputError, match="no layout 'celeb_df'"):
        index(obtain(unknown.places[0], unknown))
    with pytest.raises(InputError, match="no finished preprocess stage"):
        score_splits(Experiment(load_params(ROOT / "params" / "tiny.yaml", experiment="new")), 8)
