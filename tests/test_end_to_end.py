"""The whole suite as a user runs it: a tiny sample, the real runner, real faces, a real network, a report."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from dfutils.core.stages import DEFAULT_STAGES, STAGES
from dfutils.evaluation import evaluate, metrics_json
from tests.support.pages import loads

ROOT = Path(__file__).resolve().parents[1]


def run(home: Path, *words: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "DFUTILS_HOME": str(home)}
    command = [sys.executable, "-m", "dfutils", "run", str(ROOT / "params" / "tiny.yaml"), *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=home, check=False)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    done = run(folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_a_report_stands_at_the_end_and_asks_nothing_of_the_outside(home):
    report = home / "reports" / "tiny"
    pages = [report / f"{name}.html" for name in ("index", *(STAGES[stage] for stage in DEFAULT_STAGES))]
    for page in pages:
        assert loads(page) == []
        assert "Traceback" not in page.read_text(encoding="utf-8")
        assert page.stat().st_size < 8 * 2**20
    index = pages[0].read_text(encoding="utf-8")
    for word in ("ROC AUC", "data:image/png", "fingerprint", "Wall time", "dlib-bin", "face_size", "in the wild"):
        assert word in index


def test_numbers_in_the_report_are_those_of_the_predictions(home):
    report = home / "reports" / "tiny"
    metrics = json.loads((report / "metrics.json").read_text(encoding="utf-8"))
    predictions = pd.read_parquet(report / "predictions.parquet")
    assert list(predictions) == evaluate.PREDICTION_COLUMNS
    test = predictions[predictions["split"] == "test"]
    called = pd.crosstab(test["label"], test["predicted"].astype(int)).reindex([0, 1], fill_value=0)
    called = called.reindex([0, 1], axis=1, fill_value=0)
    assert metrics["test"]["confusion"] == called.to_numpy().tolist()
    assert metrics["schema"] == metrics_json.SCHEMA
    splits = pd.read_parquet(home / "runs" / "tiny" / "videos.parquet")
    assert set(predictions["video_id"]) == set(splits.loc[splits["split"].isin(["val", "test"]), "video_id"])


def test_no_person_stands_on_two_sides(home):
    splits = pd.read_parquet(home / "runs" / "tiny" / "videos.parquet")
    people = pd.concat(
        [splits[["identity", "split"]], splits[["donor", "split"]].rename(columns={"donor": "identity"})]
    )
    people = people[people["identity"] != ""]
    assert people.groupby("identity")["split"].nunique().max() == 1


def test_the_same_parameters_give_the_same_metrics(home):
    done = run(home, "--from", "preprocess", "-p", "experiment=again")
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (
        json.loads((home / "reports" / name / "metrics.json").read_text(encoding="utf-8")) for name in ("tiny", "again")
    )
    assert first.pop("experiment") == "tiny"
    assert second.pop("experiment") == "again"
    for written in (first, second):
        written["fingerprints"].pop("detector")  # it holds the experiment's name
        written["made_by"].pop("commit")  # somebody may commit while the tests run
    assert first == second
    weights = [home / "runs" / name / "detector" / "model.safetensors" for name in ("tiny", "again")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_finished_experiment_is_not_overwritten(home):
    before = (home / "runs" / "tiny" / "detector" / "model.safetensors").stat().st_mtime_ns
    done = run(home, "--only", "train", "-p", "epochs=2")
    assert done.returncode == 1
    assert "epochs 1 → 2" in done.stderr
    assert "-p experiment=" in done.stderr
    assert "Traceback" not in done.stderr
    assert (home / "runs" / "tiny" / "detector" / "model.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-p", "dataset=mine", "-p", "layout=folder", "-p", "root=nowhere"], "is missing|no files"),
        (["-p", "dataset=mine", "-p", "layout=celeb_df", "-p", "root=."], "no layout 'celeb_df'"),
        (["--only", "evaluate", "-p", "experiment=new"], "no finished preprocess stage"),
    ],
)
def test_what_is_missing_is_said_in_a_sentence(home, words, says):
    done = run(home, *words, *(["-p", "experiment=other"] if "experiment=new" not in words else []))
    assert done.returncode == 1
    assert any(part in done.stderr for part in says.split("|")), done.stderr[-800:]
    assert "Traceback" not in done.stderr
