"""Training: it learns, is reproducible, resumes after it was killed, and reports errors in one sentence."""

import os
import platform
import signal
import sys
import warnings
from pathlib import Path

import cv2
import lightning.pytorch
import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file

from dfutils.core.errors import InputError
from dfutils.core.params import FaceSettings, HardwareSettings, TrainingSettings
from dfutils.core.progress import BATCH
from dfutils.detector import hardware, schedule
from dfutils.detector.clips import ClipDataset
from dfutils.detector.network import Detector
from dfutils.detector.schedule import HISTORY_COLUMNS, gap, plateau_halvings, rate_factor, rates
from dfutils.detector.training import fit, history_of
from dfutils.evaluation.scoring import score
from tests.support.clips import clip_dataset
from tests.support.detectors import untrained

SIZE, FRAMES = 32, 3
FACES = FaceSettings(face_size=SIZE, frames_per_video=FRAMES)
TIMES = ["seconds", "images_per_s"]
AS_TRAIN = {"flip": 0.5, "rotation": 10.0, "color_jitter": 0.2}
TINY = {"backbone": "shufflenet_v2_x0_5", "hidden_size": 8}


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture(scope="module")
def strips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write strips of 72 videos; every second one is fake and has a bright seam, like the edge of a pasted face."""
    folder = tmp_path_factory.mktemp("strips")
    for i in range(72):
        rng = np.random.default_rng(i)
        picture = cv2.resize(rng.integers(90, 160, (4, 4, 3), dtype=np.uint8), (SIZE, SIZE)).astype(float)
        edge = int(rng.integers(4, 10))
        frames = []
        for _ in range(FRAMES):
            frame = picture + rng.normal(0, 4, picture.shape)
            if i % 2:
                cv2.rectangle(frame, (edge, edge), (SIZE - edge, SIZE - edge), (160, 160, 160), 1)
            frames.append(frame.clip(0, 255).astype(np.uint8))
        cv2.imwrite(str(folder / f"v{i:02d}.png"), np.concatenate(frames, axis=1))
    return folder


def rows(first: int, last: int) -> pd.DataFrame:
    numbers = range(first, last)
    return pd.DataFrame({"video_id": [f"v{i:02d}" for i in numbers], "label": [i % 2 for i in numbers]})


def data(strips: Path, table: pd.DataFrame, kind: type[ClipDataset] = ClipDataset, **options: object) -> ClipDataset:
    return clip_dataset(table, strips, FACES, kind, **options)


@pytest.fixture
def train(strips: Path) -> ClipDataset:
    return data(strips, rows(0, 12), train=True, **AS_TRAIN)


@pytest.fixture
def val(strips: Path) -> ClipDataset:
    return data(strips, rows(48, 54))


def run(
    detector: Detector,
    train: ClipDataset,
    val: ClipDataset,
    out: Path,
    *,
    data: str = "",
    progress: bool = False,
    **options: object,
) -> pd.DataFrame:
    options = {"epochs": 2, "batch_size": 4, "learning_rate": 1e-3, "threads": 1, **options}
    of_training = {name: options.pop(name) for name in list(options) if name in TrainingSettings.model_fields}
    settings, machine = TrainingSettings(**of_training), HardwareSettings(**options)
    return fit(detector, train, val, out, settings, machine, data=data, progress=progress)


def same_weights(one: Detector, other: Detector) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_each_class_has_half_of_the_validation_loss_whatever_training_draws(strips, tmp_path):
    """Two real and four fakes are validated, while training balances its own classes by sampling."""
    train = data(strips, rows(0, 12).assign(label=[0] * 9 + [1] * 3), train=True, **AS_TRAIN)
    unequal = rows(48, 54).assign(label=[0, 1, 1, 0, 1, 1])
    detector = untrained(**TINY)
    history = run(
        detector, train, data(strips, unequal), tmp_path / "run", epochs=1, balanced_sampling=True, frame_loss=0.0
    )
    detector.config.update(face_size=SIZE, frames_per_video=FRAMES)
    scores, _ = score(detector, unequal, strips, progress=False)
    right = np.where(unequal["label"] == 1, scores["probability_fake"], 1 - scores["probability_fake"])
    expected = pd.Series(-np.log(right)).groupby(unequal["label"]).mean().mean()
    assert history["val_loss"].iloc[0] == pytest.approx(expected, rel=1e-3)


def test_it_learns_to_see_a_seam_and_keeps_the_best_epoch(strips, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv(BATCH, "1")  # a plain bar, also where pytest has loaded parts of Jupyter
    train, val = data(strips, rows(0, 48), train=True, flip=0.5), data(strips, rows(48, 72))
    detector = untrained(backbone="resnet18", hidden_size=32)
    history = run(
        detector, train, val, tmp_path / "run", epochs=3, batch_size=8, optimizer="adamw", schedule="cosine",
        warmup_epochs=1.0, frame_loss=0.5, monitor="val_auc", threads=0, progress=True,
    )  # fmt: skip
    assert list(history) == HISTORY_COLUMNS
    assert history["epoch"].tolist() == [1, 2, 3]
    assert history["val_auc"].max() > 0.95
    best = history.sort_values(["val_auc", "val_loss"], ascending=[False, True]).iloc[0]
    assert best["best"]
    assert history["best"].sum() == 1
    assert history.attrs["threads"] >= 1
    assert 0.3 < history.attrs["first_loss"] < 2
    written = pd.read_csv(tmp_path / "run" / "history.csv")
    pd.testing.assert_frame_equal(written, history, check_exact=False)
    # The weights are those of the best epoch, and score outside of training as they did inside.
    kept = load_file(tmp_path / "run" / "best.safetensors")
    assert all(torch.equal(kept[key], value) for key, value in detector.state_dict().items())
    detector.config.update(face_size=SIZE, frames_per_video=FRAMES)
    scores, _ = score(detector, rows(48, 72), strips, progress=False)
    right = (scores["probability_fake"] >= 0.5) == rows(48, 72)["label"]
    assert right.mean() == pytest.approx(best["val_accuracy"])
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err.count("validation loss") == 3
    assert "clip/s" in shown.err
    for noise in ("GPU available", "Warning", "Tip", "Trainable"):
        assert noise not in shown.err


def test_two_runs_are_equal_to_the_last_bit_and_leave_no_trace(train, val, tmp_path):
    detectors, histories = [untrained(**TINY), untrained(**TINY)], []
    for number, detector in enumerate(detectors):
        torch.manual_seed(100 + number)
        state = torch.get_rng_state()
        histories.append(run(detector, train, val, tmp_path / str(number), loader_workers=number))
        assert torch.equal(torch.get_rng_state(), state)
        assert not torch.are_deterministic_algorithms_enabled()
    assert same_weights(*detectors)
    pd.testing.assert_frame_equal(*(history.drop(columns=TIMES) for history in histories), check_exact=True)
    other = untrained(**TINY)
    run(other, train, val, tmp_path / "seed", seed=1)
    assert not same_weights(other, detectors[0])


class Killed(ClipDataset):
    """Interrupts the third epoch in its last step."""

    armed = True
    left = 0

    def __getitem__(self, key):
        if self.armed and key.epoch == 2:
            self.left += 1
            if self.left == len(self):
                raise KeyboardInterrupt
        return super().__getitem__(key)


def test_a_killed_run_goes_on_as_if_nothing_had_happened(strips, train, val, tmp_path):
    options = {"epochs": 4, "warmup_epochs": 1.5, "train_frames": 2, "flip": 0.5}
    recipe = {"epochs": 4, "warmup_epochs": 1.5, "accumulate": 2, "clip_grad": 1.0, "backbone_learning_rate": 5e-4}
    table = rows(0, 12)
    whole = data(strips, table, train=True, train_frames=2, flip=options["flip"])
    broken = data(strips, table, Killed, train=True, train_frames=2, flip=options["flip"])
    unbroken, detector = untrained(**TINY), untrained(**TINY)
    expected = run(unbroken, whole, val, tmp_path / "unbroken", **recipe)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(detector, broken, val, tmp_path / "broken", **recipe)
    assert signal.getsignal(signal.SIGINT) is handler
    assert len(pd.read_csv(tmp_path / "broken" / "history.csv")) == 2
    broken.armed = False
    detector = untrained(**TINY, seed=9)  # a new process would start from anything
    history = run(detector, broken, val, tmp_path / "broken", **recipe)
    pd.testing.assert_frame_equal(history.drop(columns=TIMES), expected.drop(columns=TIMES), check_exact=True)
    assert same_weights(detector, unbroken)
    # A finished run is not run again, and one with other settings is not mixed with it.
    again = untrained(**TINY)
    pd.testing.assert_frame_equal(run(again, broken, val, tmp_path / "broken", **recipe), history, check_exact=True)
    assert same_weights(again, unbroken)
    with pytest.raises(InputError, match=r"other settings \(differing: learning_rate, seed\)"):
        run(again, broken, val, tmp_path / "broken", **recipe, learning_rate=1e-2, seed=3)
    assert len(run(again, whole, val, tmp_path / "broken", resume="never", epochs=1)) == 1
    (tmp_path / "broken" / "last.ckpt").write_bytes(b"half")
    with pytest.raises(InputError, match=r"last\.ckpt cannot be read"):
        run(again, whole, val, tmp_path / "broken", epochs=1)


def test_a_checkpoint_that_was_cut_is_never_taken_for_whole(train, val, tmp_path, monkeypatch):
    expected = run(untrained(**TINY), train, val, tmp_path / "unbroken", epochs=3)
    save = lightning.pytorch.Trainer.save_checkpoint

    def cut(trainer, path, *args, **options):
        if trainer.current_epoch < 1:
            return save(trainer, path, *args, **options)
        Path(path).write_bytes(b"PK\x03\x04 half of it")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(lightning.pytorch.Trainer, "save_checkpoint", cut)
        with pytest.raises(KeyboardInterrupt):
            run(untrained(**TINY), train, val, tmp_path / "cut", epochs=3)
    assert len(history_of(tmp_path / "cut")) == 1
    history = run(untrained(**TINY), train, val, tmp_path / "cut", epochs=3)
    pd.testing.assert_frame_equal(history.drop(columns=TIMES), expected.drop(columns=TIMES), check_exact=True)
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == sorted(
        ["best.safetensors", "history.csv", "last.ckpt"]
    )


def test_a_second_training_of_one_run_is_refused_with_who_holds_it(strips, train, val, tmp_path):
    class Second(ClipDataset):
        """Starts a second training of the same run in the first step of a first one."""

        def __getitem__(self, key):
            run(untrained(**TINY), train, val, tmp_path / "run")
            return super().__getitem__(key)

    with pytest.raises(InputError, match=rf"training in .*run \(process {os.getpid()} on .*, since .*\): wait"):
        run(untrained(**TINY), data(strips, rows(0, 12), Second, train=True), val, tmp_path / "run")
    assert len(run(untrained(**TINY), train, val, tmp_path / "run", epochs=1)) == 1


def test_data_that_changed_since_are_not_mixed_in(strips, train, val, tmp_path):
    run(untrained(**TINY), train, val, tmp_path, epochs=1, data="a")
    with pytest.raises(InputError, match="have changed since the run in"):
        run(untrained(**TINY), train, val, tmp_path, epochs=1, data="b")
    with pytest.raises(InputError, match=r"differing: train_clips\)"):
        run(untrained(**TINY), data(strips, rows(0, 8), train=True, **AS_TRAIN), val, tmp_path, epochs=1, data="a")
    # A checkpoint of before settings were added, and one without a fingerprint, are still read.
    assert len(run(untrained(**TINY), train, val, tmp_path, epochs=1)) == 1
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    for name in ("data", "balanced_sampling", "freeze_epochs"):
        del saved["record"][name]
    del saved["facts"], saved["record"]["train"]["self_blend"]
    saved["record"]["backbone_learning_rate"] = None
    torch.save(saved, tmp_path / "last.ckpt")
    assert len(run(untrained(**TINY), train, val, tmp_path, epochs=1, data="a")) == 1


def test_sampling_blending_and_the_rest_of_the_recipe(strips, val, tmp_path):
    faces = pd.DataFrame(
        {"video_id": f"v{i:02d}", "person": 0, "position": t, "landmarks": np.random.default_rng(t).uniform(8, 24, 136)}
        for i in range(12) for t in range(FRAMES)
    )  # fmt: skip
    real = data(strips, rows(0, 12).query("label == 0"), train=True, self_blend=0.5, frames_table=faces)
    recipe = {"precision": "bf16", "compile": True, "deterministic": True, "balanced_sampling": True, "accumulate": 2}
    weights = []
    for name in ("a", "b"):
        detector = untrained(**TINY)
        history = run(detector, real, val, tmp_path / name, **recipe)  # fakes are made of the real clips alone
        weights.append(detector)
        assert history.attrs["precision"] == "bf16"
        assert history.attrs["undetermined"] == []
    assert same_weights(*weights)
    assert detector.backbone._compiled_call_impl is None
    assert next(detector.parameters()).dtype == torch.float32
    with pytest.raises(InputError, match="precision = 'half' is not possible"):
        run(detector, real, val, tmp_path, precision="half")
    with pytest.raises(InputError, match="ask for 2 processes, and this is one"):
        run(detector, real, val, tmp_path / "two", devices=2)


def test_backbone_and_head_have_their_own_rates(train, val, tmp_path):
    detector, fresh = untrained(**TINY), untrained(**TINY).state_dict()
    run(detector, train, val, tmp_path, epochs=1, backbone_learning_rate=1e-9, weight_decay=0.0)
    state = detector.state_dict()
    moved = {key: (state[key] - fresh[key]).abs().max().item() for key in ("backbone.conv1.0.weight", "linear.weight")}
    assert 0 < moved["backbone.conv1.0.weight"] < 1e-7 < 1e-4 < moved["linear.weight"]


def test_precision_follows_what_the_processor_says(monkeypatch):
    for flags, expected in (((False, False), "float32"), ((True, False), "bf16"), ((False, True), "bf16")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda flags=flags: flags[0])
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda flags=flags: flags[1])
        assert hardware.precision("auto", gpu=False) == expected
        assert hardware.precision("float32", gpu=False) == "float32"


def test_operations_that_cannot_be_repeated_are_named():
    with pytest.warns(UserWarning, match="something else"), hardware.nondeterministic_operations() as operations:
        warnings.warn("scatter_cuda does not have a deterministic implementation, but you set", stacklevel=1)
        warnings.warn("something else", stacklevel=1)
    assert operations == {"scatter_cuda"}


def test_the_gap_in_words():
    history = pd.DataFrame({
        "epoch": [1, 2, 3], "train_loss": [0.6, 0.3, 0.1], "train_accuracy": [0.7, 0.9, 1.0],
        "val_loss": [0.6, 0.4, 0.7], "val_accuracy": [0.7, 0.85, 0.8], "val_auc": 0.9, "best": [False, True, False],
    })  # fmt: skip
    assert "validation accuracy lies 5.0 points below training accuracy (85.0% and 90.0%" in gap(history)
    assert "training loss fell to 0.100 while validation loss rose to 0.700" in gap(history)
    assert "more epochs may do better" in gap(history[:2])
    last = history.assign(best=[False, False, True])
    assert gap(last).endswith("It was the last epoch; validation loss was lowest in epoch 2 (0.400).")
    assert "of one class only" in gap(history.assign(val_auc=float("nan")))
    assert "is as high as training accuracy" in gap(history[:1].assign(best=True))


def test_the_rate_along_a_run():
    history = pd.DataFrame({"val_loss": [1.0, 2.0, 2.0, 2.0, 2.0], "val_auc": 0.5})
    settings = TrainingSettings(learning_rate=0.1, schedule="plateau", epochs=9, warmup_epochs=1.0, monitor="val_loss")
    curve = rates(history, settings, points=3)
    assert curve["done"].tolist()[:4] == [0, 0.5, 1, 1]
    assert curve["learning_rate"].tolist() == pytest.approx([0, 0.05, *[0.1] * 10, *[0.05] * 3])


def test_the_last_epoch_is_kept_where_validation_is_too_small_to_choose_by():
    rows = [{"epoch": epoch, "val_loss": loss, "val_auc": 1 - loss} for epoch, loss in ((1, 0.1), (2, 0.9), (3, 0.5))]
    for monitor, best in (("val_auc", 0), ("last", 2)):
        assert schedule.best_epoch([schedule.epoch_score(row, monitor) for row in rows]) == best


def test_frozen_parts_do_not_move(train, val, tmp_path):
    detector, fresh = untrained(**TINY), untrained(**TINY).state_dict()
    run(detector, train, val, tmp_path / "a", freeze_epochs=2)
    state = detector.state_dict()
    assert all(torch.equal(state[key], fresh[key]) for key in state if key.startswith("backbone."))
    assert not torch.equal(state["linear.weight"], fresh["linear.weight"])
    detector = untrained(**TINY)
    run(detector, train, val, tmp_path / "b", epochs=1, freeze_batchnorm=True)
    state = detector.state_dict()
    assert all(torch.equal(state[key], fresh[key]) for key in state if "running_" in key)
    assert not torch.equal(state["backbone.conv1.0.weight"], fresh["backbone.conv1.0.weight"])


def test_it_stops_early(train, val, tmp_path):
    history = run(
        untrained(**TINY), train, val, tmp_path, epochs=9, patience=2, learning_rate=1e-30, weight_decay=0.0,
        freeze_batchnorm=True,
    )  # fmt: skip
    assert len(history) == 3
    assert history["best"].tolist() == [True, False, False]


def test_a_loss_that_is_not_finite_names_step_rate_and_videos(train, val, tmp_path):
    detector = untrained(**TINY)
    torch.nn.init.constant_(detector.linear.bias, float("nan"))
    with pytest.raises(
        InputError, match=r"nan in step 1 of epoch 1, at learning rate 0\.001, on the videos v\d\d, v\d\d"
    ):
        run(detector, train, val, tmp_path)


def test_a_loss_is_looked_at_after_the_last_step_too(strips, val, tmp_path):
    train = data(strips, rows(0, 8), train=True)
    detector = untrained(**TINY)
    detector.linear.register_forward_hook(lambda layer, _, output: output * (float("inf") if layer.training else 1))
    with pytest.raises(InputError, match=r"The loss is nan in step 1 of epoch 1"):
        run(detector, train, val, tmp_path, batch_size=8)
    assert not (tmp_path / "last.ckpt").exists()


class Hungry(ClipDataset):
    """A clip dataset whose reading fails as PyTorch does when memory runs out."""

    def __getitem__(self, key):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def test_out_of_memory_names_what_helps(strips, val, tmp_path):
    with pytest.raises(InputError, match=r"batch_size = 4: lower batch_size, .*train_frames.*face_size"):
        run(untrained(**TINY), data(strips, rows(0, 8), Hungry, train=True), val, tmp_path)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_strip_is_one_sentence(strips, val, tmp_path, workers):
    for source in sorted(strips.iterdir())[:8]:
        (tmp_path / source.name).write_bytes(source.read_bytes())
    train = data(tmp_path, rows(0, 8), train=True)
    (tmp_path / "v03.png").write_bytes(b"")
    with pytest.raises(InputError) as caught:
        run(untrained(**TINY), train, val, tmp_path / "run", loader_workers=workers)
    assert str(caught.value).startswith("The strip ")
    assert "\n" not in str(caught.value)


def test_splits_that_cannot_be_trained_on(strips, train, val, tmp_path):
    detector = untrained(**TINY)
    real = rows(48, 54).query("label == 0")
    with pytest.raises(InputError, match=r"All 3 validation videos are real.*use monitor: val_loss"):
        run(detector, train, data(strips, real), tmp_path, monitor="val_auc")
    with pytest.raises(InputError, match="6 real and 0 fake"):
        run(detector, data(strips, rows(0, 12).query("label == 0"), train=True), val, tmp_path)
    with pytest.raises(InputError, match="validation split is empty"):
        run(detector, train, data(strips, real[:0]), tmp_path)
    with pytest.raises(InputError, match="schedule = 'step' is not possible"):
        run(detector, train, val, tmp_path, schedule="step")
    history = run(detector, train, data(strips, real), tmp_path, epochs=1)
    assert history["val_auc"].isna().all()
    assert history["best"].tolist() == [True]


def test_schedules():
    assert [rate_factor(done, "none", 4, warmup_epochs=2) for done in (0.5, 1, 2, 3)] == [0.25, 0.5, 1, 1]
    assert rate_factor(2, "cosine", 4) == pytest.approx(0.5)
    assert rate_factor(1, "cosine", 5, warmup_epochs=1) == 1
    assert rate_factor(3, "cosine", 5, warmup_epochs=1) == pytest.approx(0.5)
    assert rate_factor(5, "cosine", 5, warmup_epochs=1) == pytest.approx(0)
    assert rate_factor(3, "plateau", 9, halvings=2) == 0.25


def test_a_plateau_halves_the_rate_as_torch_does():
    losses = [1.0, 0.9, 0.95, 0.92, 0.91, 0.95, 0.93, 0.94, 0.5, 0.6, 0.6, 0.6, 0.4]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    expected = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=2, threshold=0)
    for epoch, loss in enumerate(losses):
        expected.step(loss)
        assert 0.5 ** plateau_halvings([(loss,) for loss in losses[: epoch + 1]]) == optimizer.param_groups[0]["lr"]
    assert plateau_halvings([(float("nan"),)] * 3) == 1


def test_two_notebooks_do_not_train_in_one_folder(train, val, tmp_path):
    run(untrained(**TINY), train, val, tmp_path / "a", epochs=1)
    with (
        FileLock(tmp_path / ".a.lock"),
        pytest.raises(InputError, match=r"Another run is training in .*: wait until it has ended"),
    ):
        run(untrained(**TINY), train, val, tmp_path / "a", epochs=1)
    run(untrained(**TINY), train, val, tmp_path / "a", epochs=1)


def test_memory_that_is_kept_is_not_fetched_anew(monkeypatch):
    resource = pytest.importorskip("resource")

    @hardware.memory_kept()
    def kept() -> list[int]:
        return [faults() for _ in range(12)]  # a freed block is a little too small for the next, until some are joined

    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(2**24).add_(1)  # 64 MiB
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    fetched = faults()
    if platform.libc_ver()[0] == "glibc":
        assert min(kept()) < 0.1 * fetched
        assert faults() > 0.5 * fetched, "as before"
    monkeypatch.setattr(sys, "platform", "win32")
    assert len(kept()) == 12
