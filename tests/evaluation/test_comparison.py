"""Runs side by side: what they differ in, on which videos they can be compared, and what the pages hold."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from dfutils import cli
from dfutils.core.errors import InputError
from dfutils.evaluation import comparison, coverage, evaluate
from dfutils.metrics import figures
from dfutils.reporting import overview, tables


def predictions(shift: float, first: int = 0, n: int = 60, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 2
    return pd.DataFrame(
        {
            "video_id": [f"v{k}" for k in range(first, first + n)],
            "dataset": "d",
            "label": label,
            "identity": [f"p{k // 3}" for k in range(n)],
            "split": "test",
            "status": "ok",
            "probability_fake": 1 / (1 + np.exp(-(rng.normal(size=n) + shift * (label - 0.5)))),
        }
    )


def report(reports: Path, name: str, table: pd.DataFrame, trained="d", evaluated=(), tested="", **parameters) -> None:
    folder = reports / name
    folder.mkdir(parents=True)
    counted = coverage.with_policy(table)
    part = {
        "videos": evaluate.tested(table),
        "counts": {"real": 30, "fake": 30},
        "video": figures.summary(counted.labels, counted.scores, resamples=50),
    }
    written = {"schema": 2, "trained_on": [trained], "threshold": {"value": 0.5}, "test": part}
    written |= {"tested_on": [tested]} if tested else {}
    written["eval"] = {name: {**part, "videos": evaluate.tested(predictions(0, n=len(table)))} for name in evaluated}
    (folder / "metrics.json").write_text(json.dumps(written))
    (folder / "run.json").write_text(
        json.dumps({"parameters": parameters, "stages": {"evaluate": {"finished": "2030-01-01 10:00 UTC"}}})
    )
    table.to_parquet(folder / "predictions.parquet")


@pytest.fixture
def reports(tmp_path) -> Path:
    report(tmp_path, "plain", predictions(0.5), seed=0, epochs=3, dataset="d")
    report(tmp_path, "better", predictions(4, seed=1), seed=0, epochs=9, dataset="d")
    report(tmp_path, "other <b>", predictions(1, first=1000), trained="e", evaluated=["d"], seed=1, epochs=3)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "metrics.json").write_text("{")
    (tmp_path / "images").mkdir()
    return tmp_path


def test_evaluated_runs_are_found_and_broken_ones_left_out(reports):
    assert [run.name for run in comparison.found(reports)] == ["better", "other <b>", "plain"]
    assert comparison.differences(comparison.found(reports)) == {
        "better": {"epochs": 9},
        "other <b>": {"seed": 1},
        "plain": {},
    }


def test_runs_are_compared_on_the_test_videos_of_both(reports):
    mine = pd.read_parquet(reports / "plain" / "predictions.parquet")
    table, apart = comparison.paired(mine, 0.5, reports, "plain", resamples=200)
    assert table["run"].tolist() == ["better"]
    assert apart == 1  # tested on other videos
    row = table.iloc[0]
    assert row["videos"] == 60
    assert row["mine"] < row["theirs"]
    assert row["roc_auc"] == pytest.approx(row["mine"] - row["theirs"])
    assert row["roc_auc_low"] < row["roc_auc"] < row["roc_auc_high"] < 0
    assert comparison.paired(mine.assign(split="val"), 0.5, reports, "plain")[1] == 2
    assert comparison.paired(mine, 0.5, reports / "nowhere", "plain")[0].empty


def test_the_matrix_has_a_row_for_what_was_trained_on(reports):
    matrix = comparison.train_test_matrix(reports)
    assert list(matrix.index) == ["d", "e"]
    assert list(matrix.columns) == ["d", "e"]
    assert matrix.loc["d", "e"] == ""
    assert matrix.loc["e", "d"].startswith(matrix.loc["e", "e"][:5])


def test_cells_of_a_column_are_of_the_same_videos(reports):
    report(reports, "fewer", predictions(1, n=40), trained="f", evaluated=["d"])
    matrix = comparison.train_test_matrix(reports)
    assert list(matrix.columns) == ["d (60 videos)", "d (40 videos)", "e", "f"]
    assert matrix.loc["f", "d (60 videos)"] == matrix.loc["e", "d (40 videos)"] == ""
    assert matrix.loc["f", "d (40 videos)"] and matrix.loc["e", "d (60 videos)"]
    # Ids that pooling has given a dataset's name are the same videos; what was judged is told from the predictions.
    written = json.loads((reports / "fewer" / "metrics.json").read_text())
    for part in (written["test"], written["eval"]["d"]):
        del part["videos"]
    (reports / "fewer" / "metrics.json").write_text(json.dumps(written))
    pooled = predictions(1, n=60).assign(split="eval", video_id=lambda t: "d__" + t["video_id"])
    own = predictions(1, n=40).assign(dataset="f", video_id=lambda t: "f__" + t["video_id"])
    pd.concat([own, pooled]).to_parquet(reports / "fewer" / "predictions.parquet")
    assert list(comparison.train_test_matrix(reports).columns) == ["d", "e", "f"]
    (reports / "fewer" / "predictions.parquet").unlink()
    assert "d (videos not recorded)" in comparison.train_test_matrix(reports)


def test_the_overview_holds_every_run_and_loads_nothing(reports):
    text = overview.write_overview(reports).read_text(encoding="utf-8")
    for word in ("better", "other &lt;b&gt;", "epochs 9", "2030-01-01", 'data-value="0.', "aria-sort"):
        assert word in text
    assert "<b>" not in text
    assert "src=" not in text and "http" not in text
    kept = pd.read_csv(reports / "tables" / "runs.csv")
    assert kept["experiment"].tolist() == ["better", "other <b>", "plain"] and "(" in kept.loc[0, "ROC AUC"]
    assert r"\toprule" in (reports / "tables" / "runs.tex").read_text(encoding="utf-8")
    with pytest.raises(InputError, match="no evaluated run"):
        overview.write_overview(reports / "images")


def test_seeds_are_summed_up_with_their_spread(tmp_path):
    for seed in (0, 1, 5):
        report(tmp_path, f"mine-seed{seed}", predictions(2, seed=seed), seed=seed)
    page = overview.write_seeds(tmp_path, "mine", [0, 1, 5])
    text = page.read_text(encoding="utf-8")
    assert page == tmp_path / "mine-seeds" / "index.html"
    for word in ("../mine-seed5/", "standard deviation", "seed 5", "<img alt="):
        assert word in text
    written = json.loads((tmp_path / "mine-seeds" / "seeds.json").read_text())
    auc = [run.metrics["test"]["video"]["roc_auc"]["value"] for run in comparison.found(tmp_path)]
    (row,) = [row for row in written["figures"] if row["figure"] == "roc_auc"]
    assert row["mean"] == pytest.approx(np.mean(auc))
    assert row["sd"] == pytest.approx(np.std(auc, ddof=1))
    kept = [path.relative_to(page.parent).as_posix() for path in page.parent.glob("*s/*")]
    assert sorted(kept) == ["figures/seeds.pdf", "figures/seeds.png", "tables/spread.csv", "tables/spread.tex"]
    with pytest.raises(InputError, match="mine-seed7 was not evaluated"):
        overview.write_seeds(tmp_path, "mine", [0, 7])


def test_seeds_say_how_far_apart_they_lie_and_no_more(tmp_path):
    for seed in (0, 1, 5):
        report(tmp_path, f"mine-seed{seed}", predictions(2, seed=seed), seed=seed)
    text = overview.write_seeds(tmp_path, "mine", [0, 1, 5]).read_text(encoding="utf-8")
    assert "is more than what" not in text and "half width" not in text
    assert list(comparison.spread(comparison.found(tmp_path))) == ["figure", "mean", "sd", "least", "greatest", "runs"]


def test_runs_that_share_few_people_are_not_told_apart(reports):
    mine = pd.read_parquet(reports / "plain" / "predictions.parquet").assign(group=[f"p{k % 4}" for k in range(60)])
    table, _ = comparison.paired(mine, 0.5, reports, "plain", resamples=200)
    assert table[["roc_auc_low", "roc_auc_high"]].isna().all(axis=None)
    assert "(too few people)" in tables.paired_runs(table).iloc[0]["AUC, here less there"]


def test_a_judged_detector_has_its_cell_in_the_matrix_and_the_command_prints_it(reports):
    report(reports, "judged", predictions(2, first=2000, seed=3), trained="d", tested="new")
    table = comparison.train_test_matrix(reports)
    assert table.loc["d", "new"] != "" == table.loc["e", "new"]
    shown = CliRunner().invoke(cli.app, ["compare", str(reports), "--matrix"]).stdout
    assert table.loc["d", "new"] in shown and "trained on" in shown
