"""The table that papers print: trained on FaceForensics++ c23, judged on Celeb-DF v2, from trees of their shape."""

import json
from itertools import product
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from dfutils.core import params
from dfutils.core.params import Indexed, Params
from dfutils.data.indexing import pool
from dfutils.data.selection import choose
from dfutils.evaluation.evaluation import Evaluation, Scores, calibrate
from dfutils.reporting.evaluation_report import EvaluationReport
from dfutils.splits.division import divide
from tests.support.evaluated import PREPROCESSED, Judge
from tests.support.trees import indexed

METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")


@pytest.fixture(scope="module")
def datasets(tmp_path_factory) -> list[Indexed]:
    """FF++ with 60 sequences, five methods and two compressions, and Celeb-DF v2's 518 listed videos among others."""
    names = [f"{k:03d}" for k in range(60)]
    pairs = [[names[k], names[k + 1]] for k in range(0, 60, 2)]
    swaps = [f"{a}_{b}" for a, b in pairs] + [f"{b}_{a}" for a, b in pairs]
    ffpp = [f"original_sequences/youtube/{c}/videos/{name}.mp4" for c, name in product(("c23", "c40"), names)]
    ffpp += [
        f"manipulated_sequences/{method}/{c}/videos/{swap}.mp4"
        for method, c, swap in product((*METHODS, "FaceShifter"), ("c23", "c40"), swaps)
    ]
    parts = {"train": pairs[:16], "val": pairs[16:23], "test": pairs[23:]}
    reals = [f"Celeb-real/id{k % 59}_{k:04d}.mp4" for k in range(178 + 30)]
    fakes = [f"Celeb-synthesis/id{k % 59}_id{(k + 1) % 59}_{k:04d}.mp4" for k in range(340 + 30)]
    listed = [f"1 {name}" for name in reals[:178]] + [f"0 {name}" for name in fakes[:340]]
    folder = tmp_path_factory.mktemp("trees")
    return [
        indexed(folder / "a", "ffpp", ffpp, {f"{part}.json": json.dumps(rows) for part, rows in parts.items()}),
        indexed(folder / "b", "celeb_df_v2", reals + fakes, {"List_of_testing_videos.txt": "\n".join(listed)}),
    ]


def test_from_ffpp_c23_to_celeb_df_v2_as_papers_print_it(datasets, tmp_path, monkeypatch):
    monkeypatch.setattr(params, "ROOT", tmp_path)
    p = Params(
        experiment="ffpp", dataset="ffpp", eval_datasets="celeb_df_v2", methods=",".join(METHODS), compressions="c23",
        sources="youtube", split_policy="official", resamples=100,
    )  # fmt: skip
    chosen = [*choose(datasets[:1], p), datasets[1]]
    videos = pool({dataset.name: dataset.videos for dataset in chosen})
    videos = divide(videos, p, 0, ["celeb_df_v2"]).assign(status="ok")
    videos = videos.fillna({name: 100.0 for name in ("width", "height", "fps", "bitrate")})
    rng = np.random.default_rng(0)
    clips = pd.DataFrame({"video_id": videos["video_id"], "logit": rng.normal(videos["label"] * 3.0 - 1.5)})
    frames = clips.assign(person=0, position=0)
    judged = videos[videos["split"].isin(["val", "test", "eval"])]
    kept = clips["video_id"].isin(judged["video_id"])
    scores = Scores(judged, clips[kept], frames[kept], clips[kept].set_index("video_id")["logit"], 0)
    experiment = SimpleNamespace(
        params=p, videos=videos.set_index("video_id", drop=False), frames=None, detector=Judge(),
        record=lambda _stage: PREPROCESSED,
    )  # fmt: skip
    report = EvaluationReport(Evaluation(experiment, scores, calibrate(scores), resamples=100))
    table = report.by_method()
    celeb = ("celeb_df_v2 (official list)", "all")
    assert list(table) == [("ffpp", "all"), *(("ffpp", f"{method} c23") for method in METHODS), celeb]
    assert (table.loc["real videos", celeb], table.loc["fakes", celeb]) == ("178", "340")
    assert set(table.loc["real videos", [("ffpp", f"{method} c23") for method in METHODS]]) == {"14"}
    assert {"ROC AUC", "average precision", "equal error rate"} <= set(table.index)
    folder = tmp_path / "reports" / "ffpp" / "tables"
    latex = (folder / "by_method.tex").read_text()
    assert r"celeb\_df\_v2 (official list)" in latex and r"\toprule" in latex
    assert pd.read_csv(folder / "by_method.csv", header=[0, 1], index_col=0).shape == table.shape
