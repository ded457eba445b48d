"""An experiment's training: from parameters alone, in one process and in two."""

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
from dfutils.core.files import make_folder, write_table
from dfutils.data import catalog, indexing
from dfutils.detector import experiment
from dfutils.detector.network import Detector
from dfutils.evaluation.scoring import score

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
    })  # fmt: skip
    frames = pd.DataFrame([
        {"video_id": name, "person": 0, "position": t, "landmarks": face(name, t)}
        for name in ids for t in range(FRAMES)
    ])  # fmt: skip
    p = params.Params(**TINY)
    write_table(videos, p.run_folder / "videos.parquet")
    write_table(frames, p.run_folder / "frames.parquet")
    settings = {"face_size": SIZE, "frames_per_video": FRAMES, "face_margin": 0.3, "align": False}
    stages.finish(p, "preprocess", fingerprint=indexing.fingerprint(videos), settings=settings, layouts=["folder"])
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
    with pytest.raises(InputError, match=r"jpeg 0\.5 → 0\.0"):
        experiment.train(params.Params(**{**TINY, "self_blend": 0.5, "jpeg": 0.0}), progress=False)


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
    with pytest.raises(InputError, match="no finished preprocess stage"):
        experiment.train(params.Params(**{**TINY, "experiment": "new"}))
