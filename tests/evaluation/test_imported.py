"""Scores of detectors that ran elsewhere: read, matched with videos, and judged as one's own."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit
from typer.testing import CliRunner

from dfutils import cli
from dfutils.core import stages
from dfutils.core.errors import InputError
from dfutils.core.experiments import claim
from dfutils.core.files import read_json, write_table
from dfutils.core.params import Params
from dfutils.data.indexing import fingerprints
from dfutils.evaluation import score_files
from dfutils.evaluation.error_analysis import ErrorAnalysis
from dfutils.evaluation.evaluation import Evaluation, Scores, calibrate, score_splits
from dfutils.evaluation.experiment import Experiment
from dfutils.evaluation.imported import import_scores
from dfutils.metrics import figures
from dfutils.reporting import score_page
from dfutils.reporting.error_report import ErrorReport
from tests.support.evaluated import AUDIT, Judge

FRAMES = 3


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr("dfutils.core.params.ROOT", tmp_path)
    return tmp_path


def videos(n: int = 160) -> pd.DataFrame:
    """Return a split table of people with four videos each, half for validation, two without a face."""
    label = (np.arange(n) % 4 > 1).astype(int)
    facts = {"bitrate": 1e5, "width": 64.0, "height": 64.0, "fps": 25.0, "n_frames": 100.0, "duration_s": 4.0}
    return pd.DataFrame({
        "video_id": [f"v{k}" for k in range(n)], "path": [f"part{k % 7}/v{k}.mp4" for k in range(n)], "dataset": "d",
        "label": label, "method": np.where(label == 1, "swap", ""), "identity": [f"p{k // 4}" for k in range(n)],
        "donor": "", "source_video": "", "split": np.where(np.arange(n) < n // 2, "val", "test"), "codec": "avc1",
        "status": np.where(np.isin(np.arange(n), [3, n - 1]), "no_face", "ok"), **facts,
    })  # fmt: skip


def frame_logits(table: pd.DataFrame) -> pd.DataFrame:
    """Return what a detector says of the frames of each video that has a face."""
    rng = np.random.default_rng(0)
    usable = table[table["status"] == "ok"]
    middle = 1.5 * rng.normal(size=len(usable)) + 2 * (usable["label"].to_numpy() - 0.5)
    rows = usable.loc[usable.index.repeat(FRAMES), ["video_id"]].assign(person=0)
    rows["position"] = np.tile(np.arange(FRAMES), len(usable))
    return rows.assign(logit=np.repeat(middle, FRAMES) + rng.normal(size=len(rows))).reset_index(drop=True)


@pytest.fixture
def dataset(home) -> Params:
    """Return the parameters of an experiment whose notebook 02 has run."""
    params, table = Params(experiment="mine", dataset="d", resamples=200), videos()
    write_table(table, params.run_folder / "videos.parquet")
    looks = dict.fromkeys(["brightness", "sharpness"], 100.0)
    write_table(frame_logits(table).drop(columns="logit").assign(**looks), params.run_folder / "frames.parquet")
    facts = {**fingerprints(table), "settings": {}, "policy": "identity", "audit": AUDIT, "layouts": []}
    stages.finish(params, "preprocess", **facts)
    return params


def native(params: Params, frames: pd.DataFrame) -> Evaluation:
    """Return the evaluation of a detector of one's own that gave these logits."""
    clips = frames.groupby("video_id", sort=False, as_index=False)["logit"].mean()
    scores = Scores(videos(), clips, frames, clips.set_index("video_id")["logit"], 0)
    judge = Judge()
    judge.config = {**Judge.config}
    record = {"layouts": [], "policy": "identity", "fingerprint": "f" * 16, "audit": AUDIT}
    experiment = SimpleNamespace(
        params=params, videos=videos().set_index("video_id", drop=False), frames=None, detector=judge,
        record=lambda _stage: record,
    )  # fmt: skip
    return Evaluation(experiment, scores, calibrate(scores), resamples=params.resamples)


def run(*arguments: object) -> SimpleNamespace:
    found = CliRunner().invoke(cli.app, ["score-import", *map(str, arguments)], catch_exceptions=True)
    return SimpleNamespace(output=found.output, error=found.exception, status=found.exit_code)


def test_imported_scores_of_frames_give_the_figures_of_the_native_run(dataset, home):
    frames = frame_logits(videos())
    path = home / "own.csv"
    frames.rename(columns={"logit": "score"}).to_csv(path, index=False)
    found = import_scores(dataset, score_files.read(path, "fake"))
    assert found.said == [
        "2 of 160 videos that are judged are not in own.csv: v3, v159.",
        "The scores in score are not from 0 to 1, and are taken to be log-odds of fake.",
    ]
    (folder,) = score_page.judge(found.experiments)
    written, wanted = read_json(folder / "metrics.json"), native(dataset, frames).document
    wanted = json.loads(json.dumps(wanted))
    assert folder.name == "mine-own"
    for name in ("videos", "counts", "confusion"):
        assert written["test"][name] == wanted["test"][name]
    assert written["test"]["frame"]["roc_auc"]["value"] is not None
    for part in ("video", "frame"):
        for figure, values in wanted["test"][part].items():
            assert written["test"][part][figure] == pytest.approx(values, abs=1e-9), figure
    for mine, theirs in zip(written["test"]["methods"], wanted["test"]["methods"], strict=True):
        assert mine["roc_auc"] == pytest.approx(theirs["roc_auc"], abs=1e-9)
    assert "frames and crops not known" in (folder / "index.html").read_text(encoding="utf-8")
    assert written["calibration"]["slope"] == pytest.approx(wanted["calibration"]["slope"])
    assert "trained on is not recorded" in " ".join(written["caveats"])


def test_probabilities_absolute_paths_and_a_higher_score_for_real(dataset, home):
    """The file is of another machine, in UTF-16, with semicolons and decimal commas, and its scores are of real."""
    table = videos()
    probability = 1 / (1 + np.exp(-frame_logits(table).groupby("video_id", sort=False)["logit"].mean()))
    rows = [f"C:\\sets\\faces\\part{int(name[1:]) % 7}\\{name}.avi;{1 - p:.6f}" for name, p in probability.items()]
    text = "\n".join(["Path;Score", *rows]).replace(".", ",").replace(",avi", ".avi")
    (home / "theirs.csv").write_bytes(text.encode("utf-16"))
    found = import_scores(dataset, score_files.read(home / "theirs.csv", "real"))
    (folder,) = score_page.judge(found.experiments)
    written, wanted = read_json(folder / "metrics.json"), native(dataset, frame_logits(table)).measured
    assert written["test"]["video"]["roc_auc"]["value"] == pytest.approx(wanted["video"]["roc_auc"]["value"])
    assert written["test"]["confusion"] == wanted["confusion"]
    assert written["test"]["frame"]["roc_auc"]["value"] is None
    table = pd.read_parquet(folder / "predictions.parquet")
    assert table["status"].value_counts().to_dict() == {"ok": 158, "no_face": 2}


def matrix(home: Path, n: int = 120) -> Path:
    """Write scores of three detectors on videos of two methods, in a file that brings its labels along."""
    rng = np.random.default_rng(1)
    label = np.arange(n) % 2
    method = np.where(label == 0, "camera", np.where(np.arange(n) % 4 == 1, "easy", "hard"))
    table = pd.DataFrame({"video_id": [f"x{k}" for k in range(n)], "label": np.where(label, "FAKE", "Real")})
    table["method"] = method
    for name, gain in (("good", 3.0), ("weak", 0.5)):
        table[f"prob_{name}"] = 1 / (1 + np.exp(-(rng.normal(size=n) + gain * (label - 0.5) * (method != "hard"))))
    table["prob_audio"], table["lat_good"] = "", 17
    table.to_csv(home / "matrix.csv", index=False)
    return home / "matrix.csv"


def test_several_detectors_without_a_dataset_stand_on_one_page(home):
    table = pd.read_csv(matrix(home))
    done = run(home / "matrix.csv", "--higher", "fake", "--column", "prob_*", "--experiment", "peer", "-p", "seed=1")
    assert done.status == 0, done.output
    assert "Left out, as they score no test video: prob_audio." in done.output
    page = home / "reports" / "peer" / "index.html"
    assert str(page) in done.output.replace("\n", "")
    text = page.read_text(encoding="utf-8")
    assert all(word in text for word in ("Compared with prob_good", "Methods, the weakest first", "../peer-prob_weak/"))
    label = (table["label"] == "FAKE").to_numpy(dtype=int)
    for name in ("good", "weak"):
        scores = table[f"prob_{name}"].to_numpy()
        written = read_json(home / "reports" / f"peer-prob_{name}" / "metrics.json")
        assert written["threshold"]["value"] == 0.5 and written["trained_on"] == [f"matrix.csv prob_{name}"]
        wanted = figures.summary(label, scores, resamples=50)
        for figure in ("roc_auc", "recall_fake", "recall_real", "eer"):
            assert written["test"]["video"][figure]["value"] == pytest.approx(wanted[figure]["value"])
    assert pd.read_csv(page.parent / "tables" / "methods.csv").iloc[:, 0].tolist() == ["hard", "easy"]
    paired = pd.read_csv(page.parent / "tables" / "paired.csv", index_col=0).loc["prob_weak"]
    gain = figures.paired_difference(label, table["prob_weak"], table["prob_good"], "roc_auc", seed=1)
    assert paired["difference"] == f"{gain['value']:.4f} ({gain['low']:.4f} – {gain['high']:.4f})"
    assert (home / "reports" / "peer-prob_good" / "index.html").is_file()


def test_an_error_analysis_of_imported_scores_says_what_it_cannot_show(home):
    assert run(matrix(home), "--higher", "fake", "--column", "prob_good", "--experiment", "peer").status == 0
    params = Params(experiment="peer")
    analysis = ErrorAnalysis(Experiment(params))
    report = ErrorReport(analysis)
    assert len(analysis.mistakes) and len(analysis.by_method) == 3
    for shown in (report.misses(), report.false_alarms(), report.player()):
        assert "imported without their videos" in str(shown)
    assert "no network" in str(report.explained()) and analysis.explain_fakes(4) == {}
    assert "no maps" in str(report.likeness({}))
    diagnosed = analysis.diagnose(100)
    assert len(diagnosed) == len(analysis.mistakes)
    assert len(report.properties_table()) >= 0
    for stage in ("train", "demo", "robustness"):
        with pytest.raises(InputError, match="holds imported scores, and no network"):
            claim(params, stage)


def test_the_equal_error_rate_without_interpolation():
    labels, scores = np.array([0, 0, 1, 1]), np.array([0.1, 0.6, 0.4, 0.9])
    assert figures.observed_eer(labels, scores) == 0.5
    assert figures.observed_eer(labels, np.array([0.1, 0.2, 0.4, 0.9])) == 0
    assert figures.observed_eer(np.array([1, 1]), np.array([0.1, 0.2])) is None


GOOD = "video_id,label,score\nv0,real,.1\nv1,real,.4\nv2,fake,.9\n"


@pytest.mark.parametrize(
    ("text", "options", "sentence"),
    [
        (GOOD, [], "Say it with --higher fake or --higher real"),
        (GOOD, ["--higher", "up"], "What does a higher score mean"),
        (GOOD, ["--higher", "fake", "--column", "scores"], "no column scores.*did you mean 'score'"),
        (GOOD.replace("video_id", "id"), ["--higher", "fake"], "no column video_id and no column path, but id, label"),
        (GOOD.replace(".4", "high"), ["--higher", "fake"], "has 'high' in the column score, 1 in all: give numbers"),
        (GOOD.replace("v1,real", "v1,partly"), ["--higher", "fake"], "labels partly: use real and fake"),
        (GOOD.replace("real", "0").replace("fake", "1"), ["--higher", "fake"], "say what 1 means with .label_one"),
        (GOOD + "v2,real,.9\n", ["--higher", "fake"], "has v2 both as real and as fake: correct the list"),
        (GOOD + "v2,fake,.8\n", ["--higher", "fake"], "several rows for v2: give one, or.*a column frame"),
        (GOOD.replace("v1,real", "v1,fake"), ["--higher", "fake"], "other labels.* such as v1, which is real there"),
        ("video_id,score\na,.1\nb,.2\n", ["--higher", "fake"], "none of the 160 videos.*but a; they are called v0"),
        ("path,score\nv0.mp4,.1\n../v0.mp4,.2\n", ["--higher", "fake"], "several rows for v0"),
        ("path,score,frame\na/v0.mp4,.1,0\nb/v0.mp4,.2,0\n", ["--higher", "fake"], "several rows for v0, a/v0.mp4 and"),
        ("video_id,position,score\nv0,one,.1\n", ["--higher", "fake"], "'one' in the column position: give numbers 0"),
        ("video_id,frame,person,score\nv0,1,left,.1\n", ["--higher", "fake"], "'left' in the column person: give"),
        ("video_id,position,score\nv90,3,.1\n", ["--higher", "fake"], "position 3 of person 0 in v90.*no such frame"),
        ("video_id,position,score\nv90,1,.1\nv90,1,.2\n", ["--higher", "fake"], "position 1 of.*v90 twice"),
        (GOOD, ["--higher", "fake"], "has no score of a test video: there is nothing to judge"),
        (GOOD.replace("score\n", "score,split\n").replace(".9", ".9,dev"), ["--higher", "fake"], "has the split 'dev'"),
    ],
)  # fmt: skip
def test_bad_files_end_in_one_sentence_and_leave_nothing(dataset, home, text, options, sentence):
    (home / "scores.csv").write_text(text, encoding="utf-8-sig")
    (home / "mine.yaml").write_text("experiment: mine\ndataset: d\nresamples: 200\n")
    done = run(home / "scores.csv", home / "mine.yaml", *options)
    assert isinstance(done.error, InputError) and done.status == 1
    with pytest.raises(InputError, match=sentence):
        raise done.error
    assert not (home / "reports" / "mine-scores").exists()


def test_files_and_names_that_cannot_be(dataset, home):
    (home / "scores.csv").write_text(GOOD.replace(",label", "").replace(",real", "").replace(",fake", ""))
    (home / "mine.yaml").write_text("experiment: mine\ndataset: d\n")
    higher = ("--higher", "fake")
    asked = {
        (home / "gone.csv", home / "mine.yaml"): "There is no file",
        (home / "scores.csv",): "Name the parameter file of the dataset, or --experiment",
        (home / "scores.csv", home / "mine.yaml", "--experiment", "x"): "Name the parameter file",
        (home / "scores.csv", "--experiment", "x"): "has no column label",
    }
    for arguments, sentence in asked.items():
        with pytest.raises(InputError, match=sentence):
            raise run(*arguments, *higher).error
    (home / "runs" / "peer" / "detector").mkdir(parents=True)
    with pytest.raises(InputError, match="The experiment peer has a detector"):
        raise run(matrix(home), *higher, "--column", "prob_good", "--experiment", "peer").error
    two = pd.DataFrame({"video_id": ["a", "b"], "path": ["x/clip.mp4", "y/clip.mp4"], "label": 0, "split": "test"})
    (home / "two.csv").write_text("path,score\nclip.mp4,.5\n")
    with pytest.raises(InputError, match=r"clip\.mp4, which could be a, b: give more of its folders"):
        score_files.match(score_files.read(home / "two.csv", "fake"), two)


def test_names_that_are_no_videos_are_told(home):
    table = pd.DataFrame({"video_id": ["a", "b"], "path": ["a.mp4", "b.mp4"], "label": [0, 1], "split": "test"})
    (home / "three.csv").write_text("path,score\n/other/a.mp4,.5\n/other/b.mp4,.6\n/other/gone.mp4,.7\n")
    ids, said = score_files.match(score_files.read(home / "three.csv", "fake"), table)
    assert ids.tolist() == ["a", "b", ""]
    assert said == ["1 names in three.csv are no videos of the dataset: /other/gone.mp4."]


def test_the_path_with_most_in_common_is_the_video_and_other_folders_are_told(home):
    table = pd.DataFrame({"video_id": ["a", "b"], "path": ["real/a.mp4", "x/b.mp4"], "label": [0, 1], "split": "test"})
    (home / "four.csv").write_text("path,score\nset/fake/a.mp4,.9\nset/real/a.mp4,.2\nset/y/b.mp4,.8\n")
    ids, said = score_files.match(score_files.read(home / "four.csv", "fake"), table)
    assert ids.tolist() == ["", "a", "b"]
    assert said == [
        "1 paths are in other folders than the dataset's, and were taken: set/y/b.mp4 for x/b.mp4.",
        "1 names in four.csv are no videos of the dataset: set/fake/a.mp4.",
    ]


def test_log_odds_are_such_in_all_rows_of_a_column_and_seconds_need_positions(dataset, home):
    table = videos().query("status == 'ok'")[["video_id"]].assign(score=0.25)
    pd.concat([table, pd.DataFrame({"video_id": ["stranger"], "score": [7.0]})]).to_csv(home / "odds.csv", index=False)
    found = import_scores(dataset, score_files.read(home / "odds.csv", "fake"))
    assert "taken to be log-odds" in found.said[-1]
    experiment = Experiment(found.experiments[0])
    assert (experiment.detector.clips["logit"] == 0.25).all()
    experiment.videos["segments"] = np.where(experiment.videos["label"] == 1, "0-1", "")
    scores = score_splits(experiment)
    assert Evaluation(experiment, scores, calibrate(scores), resamples=50).forged_seconds is None


def test_a_video_with_frames_at_both_ends_is_shown():
    frames = pd.DataFrame({"video_id": "a", "person": 0, "position": [0, 1], "logit": [-np.inf, np.inf]})
    analysis = SimpleNamespace(frames=frames, imported=False, strip=lambda _name, _person: np.zeros((2, 4, 4, 3)))
    assert len(ErrorAnalysis.clip(analysis, "a").crops) == 2


def test_scores_at_the_ends_keep_their_order():
    found = score_files.as_logits(pd.Series([0.0, 1e-14, 0.5, 1 - 1e-15, 1.0]))
    assert found.is_monotonic_increasing and found[2] == 0 and found.iloc[-1] == np.inf
    assert found[1] == pytest.approx(logit(1e-14))
    assert score_files.as_logits(pd.Series([-3.0, np.nan, 4.0])).equals(pd.Series([-3.0, np.nan, 4.0]))
