"""An experiment's training: from parameters alone, in one process and in two."""

import json
import shutil
import stat
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from dfutils.core import params, stages
from dfutils.core.errors import InputError
from dfutils.core.files import make_folder, read_table, write_table
from dfutils.data import catalog, indexing
from dfutils.detector import experiment
from dfutils.detector.backbones import IMAGENET
from dfutils.detector.fusion import fit_fusion
from dfutils.detector.network import Detector
from dfutils.evaluation import evaluate, metrics_json
from dfutils.evaluation.error_analysis import ErrorAnalysis
from dfutils.evaluation.experiment import Experiment
from dfutils.evaluation.robustness import RobustnessTest
from dfutils.evaluation.scoring import score
from dfutils.faces.strips import view_strip
from dfutils.metrics.calibration import Scaling
from dfutils.reporting.wording import caution
from dfutils.splits import provenance

SIZE, FRAMES = 32, 2
TRAIN, VAL = 13, 5  # neither is a multiple of a step, so that some process's share must be filled up
TINY = {
    "experiment": "two", "backbone": "shufflenet_v2_x0_5", "pretrained": "none", "hidden_size": 8, "epochs": 1,
    "batch_size": 4,
    "patience": 0, "threads": 1, "precision": "float32", "learning_rate": 1e-3,
}  # fmt: skip
PLAIN = {
    "backbone": "resnet18", "freeze_batchnorm": True, "dropout": 0.0, "class_weights": "none", "flip": 0.0,
    "rotation": 0.0,
    "color_jitter": 0.0,
}  # fmt: skip


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A project in which notebook 02 has run: strips of 18 videos, every second one fake."""
    monkeypatch.setenv("DFUTILS_HOME", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(params, "ROOT", tmp_path)
    monkeypatch.setattr(catalog, "DATA", tmp_path / "data")
    strips = make_folder(tmp_path / "data" / "made" / "faces")
    ids = [f"v{i:02d}" for i in range(TRAIN + VAL)]
    for i, name in enumerate(ids):
        rng = np.random.default_rng(i)
        picture = rng.integers(0, 128, (SIZE, SIZE * FRAMES, 3), dtype=np.uint8) + np.uint8(60 * (i % 2))
        cv2.imwrite(str(strips / f"{name}.png"), picture)
    videos = pd.DataFrame({
        "video_id": ids, "label": [i % 2 for i in range(len(ids))], "status": "ok",
        "split": ["train"] * TRAIN + ["val"] * VAL, "strip": [f"made/faces/{name}.png" for name in ids],
        "dataset": "made", "identity": [f"p{i}" for i in range(len(ids))], "donor": "", "source_video": "",
    })  # fmt: skip
    frames = pd.DataFrame([
        {"video_id": name, "person": 0, "position": t, "landmarks": face(name, t)}
        for name in ids for t in range(FRAMES)
    ])  # fmt: skip
    p = params.Params(**TINY)
    write_table(videos, p.run_folder / "videos.parquet")
    write_table(frames, p.run_folder / "frames.parquet")
    settings = {"face_size": SIZE, "frames_per_video": FRAMES, "face_margin": 0.3, "align": False}
    stages.finish(p, "preprocess", **indexing.fingerprints(videos), settings=settings, layouts=["folder"])
    return tmp_path


def face(name: str, t: int) -> list[float]:
    """Landmarks of a roundish face in the middle of a crop."""
    angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    radius = np.random.default_rng([int(name[1:]), t]).uniform(6, 11, 68)
    return np.stack([16 + radius * np.cos(angle), 16 + radius * np.sin(angle)], axis=1).ravel().tolist()


def test_a_detector_begins_with_the_weights_of_another_wherever_it_is_started(home, monkeypatch):
    other = experiment.new_detector(params.Params(**{**TINY, "seed": 5}))
    other.save(home / "runs" / "other" / "detector")
    monkeypatch.chdir("/")
    begun = experiment.new_detector(params.Params(**{**TINY, "seed": 6, "pretrained": "runs/other/detector"}))
    theirs = other.backbone.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in begun.backbone.state_dict().items())
    with pytest.raises(InputError, match="no weights"):
        experiment.new_detector(params.Params(**{**TINY, "pretrained": "runs/absent/detector"}))


def test_a_training_says_what_it_began_with(home):
    p = params.Params(**TINY)
    experiment.train(p, progress=False)
    begun = json.loads((p.run_folder / "training" / stages.BEGUN).read_text(encoding="utf-8"))
    assert begun == stages.record(p, "train")["parameters"] and begun["epochs"] == 1
    stages.path_of(p, "train").unlink()  # interrupted before it was done
    other = params.Params(**{**TINY, "learning_rate": 1e-2})
    assert experiment.train(other, progress=False).parent.name == "two-learning_rate_0.01"
    assert json.loads((p.run_folder / "training" / stages.BEGUN).read_text(encoding="utf-8")) == begun


HISTORY = pd.DataFrame({"epoch": [1], "best": [True]})


def test_a_calibration_is_kept_as_long_as_weights_and_splits_are(home):
    p = params.Params(**TINY)
    folder, network = p.run_folder / "detector", experiment.new_detector(p)
    experiment.save_detector(p, network, HISTORY)
    evaluate.keep_calibration(folder, Scaling(0.05), 0.498, [0.25], ["mine"], by_frames=[{"frames": 1}])
    calibrated = metrics_json.fingerprint(Detector.load(folder))
    experiment.save_detector(p, experiment.new_detector(p), HISTORY)  # notebook 03, opened again
    again = Detector.load(folder)
    assert (again.config["slope"], again.config["threshold"]) == (0.05, 0.498)
    assert (again.config["validation_reals"], again.config["measured_on"]) == ([0.25], ["mine"])
    assert again.config["frames_error_rates"] == [{"frames": 1}]
    assert metrics_json.fingerprint(again) == calibrated
    assert metrics_json.fingerprint(network) != calibrated
    table = pd.read_parquet(p.run_folder / "videos.parquet")
    write_table(table.assign(split=table["split"][::-1].to_numpy()), p.run_folder / "videos.parquet")
    experiment.save_detector(p, experiment.new_detector(p), HISTORY)
    assert Detector.load(folder).config["slope"] == 1.0
    assert "validation_reals" not in Detector.load(folder).config
    write_table(table, p.run_folder / "videos.parquet")
    experiment.save_detector(p, network, HISTORY)
    evaluate.keep_calibration(folder, Scaling(0.05), 0.498)
    experiment.save_detector(p, experiment.new_detector(params.Params(**{**TINY, "seed": 8})), HISTORY)
    assert Detector.load(folder).config["threshold"] == 0.5


def test_later_notebooks_refuse_splits_detectors_and_calibrations_that_do_not_belong_together(home):
    p = params.Params(**TINY)
    folder, table = p.run_folder / "detector", pd.read_parquet(p.run_folder / "videos.parquet")
    experiment.save_detector(p, experiment.new_detector(p), HISTORY)
    evaluate.keep_calibration(folder, Scaling(0.5), 0.4)
    judged = metrics_json.fingerprint(Detector.load(folder))
    stages.finish(p, "evaluate", threshold=0.4, temperature=2.0, detector=judged)
    Experiment(p).check_evaluated()
    for opened in (ErrorAnalysis, lambda known: RobustnessTest(known, "blur", "1", 2)):
        with pytest.raises(InputError, match="predictions"):  # which there are none of here: no check has refused it
            opened(Experiment(p))
    evaluate.keep_calibration(folder, Scaling(), 0.4)
    for opened in (ErrorAnalysis, lambda known: RobustnessTest(known, "blur", "1", 2)):
        with pytest.raises(InputError, match="calibration has changed since notebook 04"):
            opened(Experiment(p))
    evaluate.keep_calibration(folder, Scaling(0.5), 0.4)
    anew = table.assign(split=table["split"][::-1].to_numpy())
    write_table(anew, p.run_folder / "videos.parquet")
    with pytest.raises(InputError, match="is not what notebook 02 wrote"):
        Experiment(p).check_detector()
    made = {**stages.record(p, "preprocess"), **indexing.fingerprints(anew)}
    stages.finish(p, "preprocess", **{name: made[name] for name in ("fingerprint", "splits", "settings", "layouts")})
    for check in (Experiment(p).check_detector, Experiment(p).check_evaluated):
        with pytest.raises(InputError, match="their splits have changed since this detector was trained"):
            check()


def test_a_detector_records_what_it_has_seen_and_what_its_first_weights_had(home):
    p = params.Params(**TINY)
    experiment.save_detector(p, experiment.new_detector(p), HISTORY)
    table = pd.read_parquet(p.run_folder / "videos.parquet")
    training = Detector.load(p.run_folder / "detector").config["training"]
    assert provenance.overlap(training["seen"], table)["videos"] == TRAIN + VAL
    assert "earlier" not in training
    # The same videos, dealt anew: some test videos of the second experiment were in the first one's training.
    second = params.Params(**{**TINY, "experiment": "second", "pretrained": "runs/two/detector"})
    make_folder(second.run_folder)
    dealt = table.assign(split=["test"] * 5 + ["train"] * (len(table) - 5))
    write_table(dealt, second.run_folder / "videos.parquet")
    settings = stages.record(p, "preprocess")["settings"]
    stages.finish(second, "preprocess", **indexing.fingerprints(dealt), settings=settings, layouts=["folder"])
    assert "of the 5 test videos those had seen 5 in training" in caution(second)
    experiment.save_detector(second, experiment.new_detector(second), HISTORY)
    found = Experiment(second)
    found.check_detector()
    (said,) = evaluate.cautions(found.detector, found.videos)
    assert "weights of runs/two/detector" in said
    later = params.Params(experiment="second")  # as notebooks 04 to 07 declare it
    assert said in caution(later)


def test_a_run_goes_on_with_the_normalisation_it_began_with(home):
    p = params.Params(**TINY)
    experiment.fit_experiment(p, experiment.new_detector(p), experiment.load_clips(p), progress=False)
    path = p.run_folder / "training" / "last.ckpt"
    saved = torch.load(path, weights_only=True)
    own = {"mean": [0.5] * 3, "std": [0.25] * 3}
    for kept, expected in ((own, own), (None, IMAGENET)):  # earlier versions recorded none
        saved["record"].pop("normalisation")
        saved["record"] |= {"normalisation": kept} if kept else {}
        torch.save(saved, path)
        network = experiment.new_detector(p)
        network.config["normalisation"] = {"mean": [0.0] * 3, "std": [1.0] * 3}
        experiment.fit_experiment(p, network, experiment.load_clips(p), progress=False)
        assert network.config["normalisation"] == expected


def test_two_processes_learn_what_one_learns_with_twice_the_batch(home, capfd):
    single = params.Params(**{**TINY, **PLAIN})
    data = experiment.load_clips(single)
    alone = experiment.new_detector(single)
    expected = experiment.fit_experiment(single, alone, data, progress=False)
    double = params.Params(**{**TINY, **PLAIN, "experiment": "both", "batch_size": 2, "devices": 2})
    make_folder(double.run_folder)
    for path in single.run_folder.iterdir():
        if path.is_file():
            (double.run_folder / path.name).write_bytes(path.read_bytes())
    together = experiment.new_detector(double)
    history = experiment.fit_experiment(double, together, data)
    assert history.attrs["processes"] == 2
    assert "validation loss" in capfd.readouterr().err  # torchrun's progress came through
    # Each clip was seen once an epoch and each validation video scored once: shares are whole numbers of them.
    for column, count in (("train_accuracy", TRAIN), ("val_accuracy", VAL)):
        right = history[column] * count
        assert np.allclose(right, right.round(), atol=1e-9)
    for column in ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_auc"):
        assert np.allclose(history[column], expected[column], atol=1e-4), column
    table = pd.read_parquet(single.run_folder / "videos.parquet")
    scores = []
    for detector in (alone, together):
        detector.config.update(face_size=SIZE, frames_per_video=FRAMES)
        scores.append(score(detector, table, catalog.DATA, progress=False)[0]["logit"])
    assert np.abs(scores[0] - scores[1]).max() < 1e-4
    fresh = experiment.new_detector(single).state_dict()
    assert (alone.state_dict()["backbone.conv1.weight"] - fresh["backbone.conv1.weight"]).abs().max() > 1e-3
    saved = Detector.load(double.run_folder / "detector").state_dict()  # `dfutils train` has written it, too
    assert all(torch.equal(saved[key], value) for key, value in together.state_dict().items())
    assert stages.record(double, "train")["processes"] == 2


def test_the_command_leaves_a_detector_that_the_notebook_finds(home):
    p = params.Params(**{**TINY, "self_blend": 0.5, "jpeg": 0.5, "resamples": 200, "ablation": True})
    folder = experiment.train(p, progress=False)
    assert Detector.load(folder).config["training"]["best_epoch"] == 1
    record = stages.record(p, "train")
    assert record["device"] == "cpu"
    assert "resamples" not in record["parameters"]
    before = {path: path.stat().st_mtime_ns for path in p.run_folder.glob("training*/last.ckpt")}
    assert [path.parent.name for path in sorted(before)] == ["training", "training-mean"]
    notebook = params.Params(**{**TINY, "self_blend": 0.5, "jpeg": 0.5, "ablation": True})
    detector = experiment.new_detector(notebook)
    history = experiment.fit_experiment(notebook, detector, experiment.load_clips(notebook), progress=False)
    assert len(history) == 1
    assert {path: path.stat().st_mtime_ns for path in before} == before
    kept = Detector.load(folder).state_dict()
    assert all(torch.equal(kept[key], value) for key, value in detector.state_dict().items())
    other = experiment.train(params.Params(**{**TINY, "self_blend": 0.5, "jpeg": 0.0}), progress=False)
    assert other.parent.name == f"{p.experiment}-jpeg_0.0"
    assert all(torch.equal(kept[key], value) for key, value in Detector.load(folder).state_dict().items())


def test_what_torchrun_says_is_passed_on_and_its_last_word_is_a_sentence(home, monkeypatch, tmp_path, capsys):
    fake = tmp_path / "python"
    fake.write_text(
        "#!/bin/sh\necho 'epoch 1' >&2\necho 'dfutils: The strip x is broken.' >&2\necho gone >&2\nexit 1\n"
    )
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(fake))
    p = params.Params(**{**TINY, "devices": 2})
    with pytest.raises(InputError, match=r"^The strip x is broken\.$"):
        experiment.fit_experiment(p, experiment.new_detector(p), experiment.load_clips(p))
    fake.write_text("#!/bin/sh\necho 'Segmentation fault' >&2\nexit 11\n")
    with pytest.raises(RuntimeError, match=r"status 11:\nSegmentation fault"):
        experiment.fit_experiment(p, experiment.new_detector(p), experiment.load_clips(p))
    assert "Segmentation fault" in capsys.readouterr().err


def test_machines_and_processes_must_be_those_asked_for(home, monkeypatch):
    p = params.Params(**{**TINY, "devices": 2, "num_nodes": 2})
    with pytest.raises(InputError, match="start torchrun on every machine"):
        experiment.train(p)
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(InputError, match="torchrun started 3 processes, but devices and num_nodes ask for 4"):
        experiment.train(p)


def test_splits_that_are_not_those_of_notebook_02(home):
    p = params.Params(**TINY)
    table = pd.read_parquet(p.run_folder / "videos.parquet")
    write_table(table[1:], p.run_folder / "videos.parquet")
    with pytest.raises(InputError, match="is not what notebook 02 wrote"):
        experiment.load_clips(p)
    shutil.rmtree(p.run_folder)  # from which another experiment takes over what notebook 02 wrote
    with pytest.raises(InputError, match="no finished preprocess stage"):
        experiment.train(params.Params(**{**TINY, "experiment": "new"}))


def test_a_face_alone_needs_no_fusion_and_no_further_pass_over_the_clips():
    assert experiment.fit_views(params.Params(), network=None, data=None) == {}


def test_each_view_trains_a_network_and_validation_fuses_them(home):
    p = params.Params(**TINY, views="face,native")
    videos = read_table(p.run_folder / "videos.parquet")
    for i, strip in enumerate(videos["strip"]):
        picture = np.random.default_rng(i).integers(0, 200, (170, 170 * FRAMES, 3), dtype=np.uint8)
        cv2.imwrite(str(home / "data" / view_strip(strip, "native")), picture)
    videos["views"] = ["face"] + ["face,native"] * (len(videos) - 1)  # the first has too small a face
    write_table(videos, p.run_folder / "videos.parquet")
    made = stages.record(p, "preprocess")
    stages.finish(p, "preprocess", **{**made, "settings": {**made["settings"], "views": "face,native"}})
    write_table(videos.assign(views="face"), p.run_folder / "videos.parquet")
    with pytest.raises(InputError, match=r"0 training and 0 validation clips have the view native.*leave it out of"):
        experiment.train(p, progress=False)
    write_table(videos, p.run_folder / "videos.parquet")
    folder = experiment.train(p, progress=False)  # which takes the face's network from the first
    detector = Detector.load(folder)
    assert list(detector.networks) == ["face", "native"]
    assert {path.name for path in p.run_folder.glob("training*")} == {"training", "training-native"}
    val = videos[videos["split"] == "val"]
    scored, _ = score(detector, val, home / "data", progress=False)
    by_view = {view: scored[f"logit_{view}"].to_numpy() for view in ("face", "native")}
    fused = fit_fusion(val["label"].to_numpy(), by_view)
    for view, facts in detector.config["fusion"].items():
        assert facts == pytest.approx(fused[view], abs=1e-4)
