"""Fitting a detector, on PyTorch Lightning.

Lightning carries the loop, the devices and the precision. What decides a run (the learning rate of a step, the best
epoch, when to stop, the seed of every dropout mask) is a function of the settings, the history so far, the epoch and
the step, and of nothing else. So a run that was killed goes on at its last completed epoch as if nothing had happened,
and on a CPU two runs with the same number of threads give the same weights to the last bit.
"""

import logging
import math
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException
from safetensors.torch import save_file
from sklearn.metrics import roc_auc_score
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from dfutils import clips
from dfutils.clips import Batch, Batches, ClipDataset, number
from dfutils.errors import InputError
from dfutils.files import atomic, make_folder
from dfutils.model import Detector, probability, read_weights
from dfutils.progress import bar

HISTORY_COLUMNS = [
    "epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_auc", "learning_rate", "seconds",
    "images_per_s", "best",
]  # fmt: skip


def fit(
    detector: Detector,
    train: ClipDataset,
    val: ClipDataset,
    out: Path,
    *,
    epochs: int = 20,
    batch_size: int = 8,
    optimizer: str = "adam",
    learning_rate: float = 1e-4,
    backbone_learning_rate: float | None = None,
    weight_decay: float = 1e-4,
    schedule: str = "plateau",
    warmup_epochs: float = 0.0,
    patience: int = 5,
    monitor: str = "val_loss",
    class_weights: str = "balanced",
    frame_loss: float = 0.0,
    freeze_batchnorm: bool = False,
    freeze_backbone_epochs: int = 0,
    accumulate: int = 1,
    clip_grad: float = 0.0,
    precision: str = "auto",
    deterministic: bool = False,
    accelerator: str = "auto",
    devices: int | str = 1,
    num_nodes: int = 1,
    strategy: str = "auto",
    threads: int = 0,
    loader_workers: int | None = None,
    seed: int = 0,
    resume: str = "auto",
    progress: bool = True,
) -> pd.DataFrame:
    """Train a detector in place and leave it with the weights of its best epoch, on the CPU, in evaluation mode.

    The loss is the cross-entropy of the clip's logits, weighted by class; `frame_loss` is the share of it that is taken
    on every frame's logits instead (averaged over the clip's frames). Training and validation report the same loss;
    accuracy calls a clip fake at probability .5. Batch normalisation sees only the batch of its own process (of all, on
    GPUs), so several processes equal one with a larger batch only if `freeze_batchnorm` is set.

    Args:
        detector: trained in place.
        train: training clips, made with `train=True`.
        val: validation clips.
        out: folder for `history.csv`, `best.safetensors` and `last.ckpt`.
        epochs: passes over the training clips, at most.
        batch_size: clips a step, on each device.
        optimizer: `adam` or `adamw`.
        learning_rate: peak learning rate.
        backbone_learning_rate: that of the backbone, if it is another.
        weight_decay: of the optimiser.
        schedule: `plateau` (halved after more than 2 epochs without improvement of `monitor`), `cosine` (to 0), `none`.
        warmup_epochs: linear rise at the start.
        patience: epochs without improvement of `monitor` before stopping; 0 never stops.
        monitor: `val_loss` or `val_auc` (at equal AUC the lower loss is the better); it picks the best epoch.
        class_weights: `balanced`, `none` or two numbers (see `clips.class_weights`).
        frame_loss: 0 to 1.
        freeze_batchnorm: keep the backbone's running means and variances, and use them in training.
        freeze_backbone_epochs: first epochs in which only the layers after the backbone learn.
        accumulate: steps whose gradients are added before the optimiser moves.
        clip_grad: largest norm of the gradient; 0 leaves it.
        precision: Lightning's name of one, or `auto`: bf16 where the hardware has it.
        deterministic: do what PyTorch allows on a GPU (a CPU always does).
        accelerator: Lightning's: `auto`, `cpu`, `gpu`.
        devices: devices of this machine; more than one needs `torchrun`.
        num_nodes: machines.
        strategy: Lightning's.
        threads: CPU threads; 0 leaves PyTorch's choice.
        loader_workers: processes that read clips ahead; None is 0 on a CPU, whose cores are better used for learning.
        seed: of order, frames, augmentation (with the data sets' own) and dropout.
        resume: `auto` goes on from `out` if there is a run with the same settings; `never` starts again.
        progress: show a bar, and a line an epoch.

    Returns:
        A row an epoch: `epoch` (from 1), `train_loss`, `train_accuracy`, `val_loss`, `val_accuracy`, `val_auc` (NaN
        with one class), `learning_rate` (of the last step), `seconds`, `images_per_s` (of training), `best`. Its
        `attrs` hold `device`, `precision`, `threads` and `deterministic`.

    Raises:
        InputError: if the splits cannot be trained on, `out` holds a run with other settings, the loss is not finite,
            or memory does not suffice.
    """
    settings = {
        "epochs": epochs, "batch_size": batch_size, "optimizer": optimizer, "learning_rate": learning_rate,
        "backbone_learning_rate": backbone_learning_rate, "weight_decay": weight_decay, "schedule": schedule,
        "warmup_epochs": warmup_epochs, "patience": patience, "monitor": monitor, "class_weights": class_weights,
        "frame_loss": frame_loss, "freeze_batchnorm": freeze_batchnorm,
        "freeze_backbone_epochs": freeze_backbone_epochs, "accumulate": accumulate, "clip_grad": clip_grad,
        "seed": seed,
    }  # fmt: skip
    _check({**settings, "resume": resume}, train, val)
    detector.check_size(train.face_size)
    out = make_folder(Path(out))
    record = {**settings, **detector.architecture, "train": train.facts(), "val": val.facts()}
    if resume == "never":
        for name in ("last.ckpt", "best.safetensors", "history.csv"):
            (out / name).unlink(missing_ok=True)
    history = _earlier(out, record)

    gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    precise = _precision(precision, gpu)
    distributed = str(devices) != "1" or num_nodes > 1
    if distributed and strategy == "auto" and freeze_backbone_epochs:
        strategy = "ddp_find_unused_parameters_true"
    fitting = _Fitting(
        detector, train, val, out, settings, record, history, fused=precise != "16-mixed",
        workers=(min(8, os.cpu_count() or 1) if gpu else 0) if loader_workers is None else loader_workers,
    )  # fmt: skip
    with _quiet(), _settled(threads, gpu):
        trainer = lightning.Trainer(
            accelerator=accelerator if gpu or accelerator != "auto" else "cpu",
            devices=devices,
            num_nodes=num_nodes,
            strategy=strategy,
            precision=precise,
            max_epochs=epochs,
            accumulate_grad_batches=accumulate,
            deterministic="warn" if deterministic or not gpu else None,
            benchmark=gpu and not deterministic,
            sync_batchnorm=gpu and distributed and not freeze_batchnorm,
            use_distributed_sampler=False,  # `Batches` shares clips out without duplicates
            num_sanity_val_steps=0,
            default_root_dir=out,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            callbacks=[_Progress(len(train), epochs)] if progress else [],
        )
        facts = {
            "device": torch.cuda.get_device_name() if gpu else "cpu",
            "precision": precise,
            "threads": torch.get_num_threads(),
            "deterministic": deterministic or not gpu,
        }
        if not _finished(history, settings):
            _run(trainer, fitting, out / "last.ckpt" if history else None, batch_size)
    detector.load_state_dict(read_weights(out / "best.safetensors"))
    detector.frozen_backbone = False
    detector.to("cpu").eval()
    table = _table(fitting.history, monitor)
    table.attrs.update(facts)
    return table


def _check(settings: Mapping[str, Any], train: ClipDataset, val: ClipDataset) -> None:
    """Refuse what cannot be trained or validated."""
    for name, allowed in (
        ("optimizer", ("adam", "adamw")),
        ("schedule", ("plateau", "cosine", "none")),
        ("monitor", ("val_loss", "val_auc")),
        ("resume", ("auto", "never")),
    ):
        if settings[name] not in allowed:
            raise InputError(f"{name} = {settings[name]!r} is not possible: choose {' or '.join(allowed)}.")
    clips.class_weights(train.labels, settings["class_weights"])
    if not len(val):
        raise InputError("The validation split is empty: raise val_fraction or add videos, and run notebook 02 again.")
    if settings["monitor"] == "val_auc" and len(set(val.labels.tolist())) < 2:
        kind = "fake" if val.labels[0] else "real"
        raise InputError(
            f"All {len(val)} validation videos are {kind}, so that val_auc is undefined: use monitor: val_loss, or "
            "raise val_fraction and run notebook 02 again."
        )


def _earlier(out: Path, record: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the history of a run in `out` that can be continued; none if there is no run."""
    path = out / "last.ckpt"
    if not path.is_file():
        return []
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        history, before = saved["history"], saved["record"]
    except Exception:  # whatever a broken file makes of the unpickler
        raise InputError(f"{path} cannot be read; delete it to train from the start.") from None
    differing = sorted(key for key in before.keys() | record.keys() if before.get(key) != record.get(key))
    if differing:
        raise InputError(
            f"{out} holds a run with other settings (differing: {', '.join(differing)}); choose another experiment, or "
            "delete the folder to train again."
        )
    return history


def _run(trainer: lightning.Trainer, fitting: "_Fitting", checkpoint: Path | None, batch_size: int) -> None:
    """Run the loop, with errors in the user's words, and Ctrl-C as every other stage passes it on."""
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(fitting, ckpt_path=checkpoint, weights_only=True if checkpoint else None)
    except SIGTERMException:  # the machine wants this process to end
        raise
    except SystemExit:  # Lightning exits on Ctrl-C and switches the signal off
        signal.signal(signal.SIGINT, interrupt)
        raise KeyboardInterrupt from None
    except InputError as error:  # a loader process puts its traceback into the text
        raise InputError(str(error).rpartition("InputError: ")[2].strip()) from None
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise InputError("A step of one picture is too little for batch normalisation: raise batch_size.") from None
    except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if not _is_out_of_memory(error):
            raise
        raise InputError(
            f"Memory ran out with batch_size = {batch_size}: lower batch_size, or take fewer frames of a clip "
            "(train_frames) or smaller crops (face_size)."
        ) from None


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


class _Fitting(lightning.LightningModule):
    """What Lightning runs: steps, and the bookkeeping at an epoch's end."""

    def __init__(
        self,
        detector: Detector,
        train: ClipDataset,
        val: ClipDataset,
        out: Path,
        settings: dict[str, Any],
        record: dict[str, Any],
        history: list[dict[str, Any]],
        fused: bool,
        workers: int,
    ) -> None:
        super().__init__()
        self.detector, self.train_clips, self.val_clips, self.out = detector, train, val, out
        self.settings, self.record, self.history = settings, record, history
        self.fused, self.workers = fused, workers
        weights = torch.tensor(clips.class_weights(train.labels, settings["class_weights"]))
        self.register_buffer("class_weights", weights, persistent=False)

    # Data and optimiser

    def train_dataloader(self) -> Any:
        return self._loader(self.train_clips, shuffle=True)

    def val_dataloader(self) -> Any:
        return self._loader(self.val_clips, shuffle=False)

    def _loader(self, data: ClipDataset, shuffle: bool) -> Any:
        # Lightning takes the first epoch's order before it says which epoch that is.
        batches = Batches(
            len(data), self.settings["batch_size"], shuffle=shuffle, seed=self.settings["seed"],
            epoch=len(self.history), share=(self.trainer.global_rank, self.trainer.world_size),
        )  # fmt: skip
        return clips.loader(data, batches, workers=self.workers, pin_memory=self.device.type == "cuda")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        rate = self.settings["learning_rate"]
        backbone = list(self.detector.backbone.parameters())
        inside = {id(parameter) for parameter in backbone}
        head = [parameter for parameter in self.detector.parameters() if id(parameter) not in inside]
        groups = [
            {"params": head, "peak": rate},
            {"params": backbone, "peak": self.settings["backbone_learning_rate"] or rate},
        ]
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[self.settings["optimizer"]]
        # Fused: one pass over the weights, fifteen times as fast as the default on a CPU.
        return kind(groups, lr=rate, weight_decay=self.settings["weight_decay"], fused=self.fused)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        # Lightning's own clipping refuses fused optimisers.
        if self.settings["clip_grad"]:
            torch.nn.utils.clip_grad_norm_(self.detector.parameters(), self.settings["clip_grad"])

    # Training

    def on_train_epoch_start(self) -> None:
        self.started = time.perf_counter()
        self.sums = torch.zeros(5, dtype=torch.float64, device=self.device)
        self.falls = plateau_falls([_score(row, self.settings["monitor"]) for row in self.history])
        self.detector.train()
        self.detector.frozen_backbone = self.current_epoch < self.settings["freeze_backbone_epochs"]
        if self.detector.frozen_backbone:
            self.detector.backbone.eval()
        if self.settings["freeze_batchnorm"]:
            for module in self.detector.backbone.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()

    def on_train_batch_start(self, batch: Batch, step: int) -> None:
        torch.manual_seed(number(self.settings["seed"], "dropout", self.current_epoch, step, self.global_rank))
        done = self.current_epoch + (step + 0.5) / self.trainer.num_training_batches
        factor = rate_factor(
            done, self.settings["schedule"], self.settings["epochs"], self.settings["warmup_epochs"], self.falls
        )
        for group in self.optimizers(use_pl_optimizer=False).param_groups:
            group["lr"] = group["peak"] * factor
        self.rate = self.settings["learning_rate"] * factor

    def training_step(self, batch: Batch, step: int) -> torch.Tensor:
        losses, weights, logits = self._losses(batch)
        # Each process weighs its clips by the sum of all processes; averaged gradients are then those of one.
        total = self.trainer.strategy.reduce(weights.sum(), reduce_op="sum")
        loss = (losses * weights).sum() * self.trainer.world_size / total
        if not torch.isfinite(loss):
            videos = ", ".join(self.train_clips.video_ids[index] for index in batch.index.tolist())
            raise InputError(
                f"The loss is {loss.item()} in step {step + 1} of epoch {self.current_epoch + 1}, at learning rate "
                f"{self.rate:.3g}, on the videos {videos}: lower learning_rate, set clip_grad, or look at these strips."
            )
        self.sums += _sums(losses, weights, logits, batch)
        return loss

    def _losses(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return each clip's loss, its weight, and its logits."""
        frames = self.detector.normalise(batch.frames)
        logits, by_frame = self.detector.clip_and_frame_logits(frames, batch.mask)
        losses = functional.cross_entropy(logits.float(), batch.labels, reduction="none")
        share = self.settings["frame_loss"]
        if share:
            labels = batch.labels[:, None].expand(by_frame.shape[:2])
            of_frames = functional.cross_entropy(by_frame.float().transpose(1, 2), labels, reduction="none")
            mask = torch.ones_like(of_frames) if batch.mask is None else batch.mask.float()
            losses = (1 - share) * losses + share * (of_frames * mask).sum(1) / mask.sum(1)
        return losses, self.class_weights[batch.labels] * batch.counts, logits.detach().float()

    # Validation

    def on_validation_epoch_start(self) -> None:
        self.trained = time.perf_counter()
        self.seen: list[torch.Tensor] = []
        if not self.settings["freeze_batchnorm"] and not self.detector.frozen_backbone:
            self._measure_batchnorm()

    def _measure_batchnorm(self, count: int = 64, frames: int = 2) -> None:
        """Measure the means and variances of batch normalisation anew, on some training clips.

        The running ones lag behind the weights by some ten steps, which on small data is the better part of an epoch:
        a network that separates its batches perfectly then validates like a coin. After "precise BN" (Wu and Johnson,
        Rethinking "Batch" in BatchNorm, 2021, section 3). Every process measures on the same clips.
        """
        layers = [module for module in self.detector.backbone.modules() if isinstance(module, _BatchNorm)]
        momenta = [layer.momentum for layer in layers]
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # the plain mean over what follows
            layer.train()
        few = Batches(
            len(self.train_clips), count // 2, shuffle=True, seed=self.settings["seed"], epoch=self.current_epoch
        )
        for batch in islice(clips.loader(self.train_clips, few), 2):
            spread = slice(None, None, max(batch.frames.shape[1] // frames, 1))
            mask = None if batch.mask is None else batch.mask[:, spread].to(self.device)
            self.detector.features(self.detector.normalise(batch.frames[:, spread].to(self.device)), mask)
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
            layer.eval()

    def validation_step(self, batch: Batch, step: int) -> None:
        with torch.autocast(self.device.type, enabled=False):  # as `predict` will score
            losses, weights, logits = self._losses(batch)
        columns = (losses, weights, logits[:, 1] - logits[:, 0], batch.labels, batch.counts)
        self.seen.append(torch.stack([column.double() for column in columns], dim=1))

    def on_validation_epoch_end(self) -> None:
        seen = self.all_gather(torch.cat(self.seen)).reshape(-1, 5).cpu().numpy()
        losses, weights, logits, labels, _ = seen[seen[:, 4] > 0].T
        self.validated = {
            "val_loss": float((losses * weights).sum() / weights.sum()),
            "val_accuracy": float(((probability(logits) >= 0.5) == labels).mean()),
            "val_auc": float("nan"),
        }
        if len(set(labels)) == 2 and np.isfinite(logits).all():
            self.validated["val_auc"] = float(roc_auc_score(labels, logits))

    # The end of an epoch

    def on_train_epoch_end(self) -> None:
        sums = self.trainer.strategy.reduce(self.sums, reduce_op="sum").tolist()
        row = {
            "epoch": self.current_epoch + 1,
            "train_loss": sums[0] / sums[1],
            "train_accuracy": sums[2] / sums[3],
            **self.validated,
            "learning_rate": self.rate,
            "seconds": time.perf_counter() - self.started,
            "images_per_s": sums[4] / (self.trained - self.started),
        }
        self.history.append(row)
        monitor = self.settings["monitor"]
        if not np.isfinite(row[monitor]):
            raise InputError(
                f"{monitor} is not finite after epoch {row['epoch']}: lower learning_rate or set clip_grad."
            )
        if (
            best_epoch([_score(row, monitor) for row in self.history]) == len(self.history) - 1
            and self.global_rank == 0
        ):
            with atomic(self.out / "best.safetensors") as temporary:
                save_file({k: v.cpu().contiguous() for k, v in self.detector.state_dict().items()}, temporary)
        self.trainer.should_stop = _finished(self.history, self.settings)
        # Beside its place, then renamed: a run killed here goes on from the epoch before.
        part = self.out / ".last.part.ckpt"
        self.trainer.save_checkpoint(part)
        if self.global_rank == 0:
            os.replace(part, self.out / "last.ckpt")
            with atomic(self.out / "history.csv") as temporary:
                _table(self.history, monitor).to_csv(temporary, index=False)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"], checkpoint["record"] = self.history, self.record


def _sums(losses: torch.Tensor, weights: torch.Tensor, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return what an epoch adds up: weighted loss, weights, right answers, clips, pictures."""
    right = ((logits.argmax(1) == batch.labels) * batch.counts).sum()
    pictures = (batch.positions >= 0).sum()
    return torch.stack(
        [(losses.detach() * weights).sum(), weights.sum(), right, batch.counts.sum(), pictures.float()]
    ).double()


# Decisions, as functions of the history


def _score(row: Mapping[str, float], monitor: str) -> tuple[float, ...]:
    """Return what is compared between epochs: lower is better."""
    return (row["val_loss"],) if monitor == "val_loss" else (-row["val_auc"], row["val_loss"])


def best_epoch(scores: Sequence[tuple[float, ...]]) -> int:
    """Return the first epoch of the lowest score."""
    return min(range(len(scores)), key=lambda epoch: scores[epoch])


def plateau_falls(scores: Sequence[tuple[float, ...]], patience: int = 2) -> int:
    """Return how often a plateau has halved the learning rate: after each run of more than `patience` poor epochs."""
    falls = poor = 0
    best: tuple[float, ...] = (float("inf"),)
    for score in scores:
        if score < best:
            best, poor = score, 0
        else:
            poor += 1
        if poor > patience:
            falls, poor = falls + 1, 0
    return falls


def _finished(history: Sequence[Mapping[str, float]], settings: Mapping[str, Any]) -> bool:
    """Return whether a run is over: all epochs done, or `patience` of them without improvement."""
    if not history:
        return False
    stale = len(history) - 1 - best_epoch([_score(row, settings["monitor"]) for row in history])
    return len(history) >= settings["epochs"] or 0 < settings["patience"] <= stale


def rate_factor(done: float, schedule: str, epochs: int, warmup_epochs: float = 0.0, falls: int = 0) -> float:
    """Return the learning rate as a share of its peak.

    Args:
        done: epochs done, with their fraction.
        schedule: `plateau`, `cosine` or `none`.
        epochs: of the whole run.
        warmup_epochs: in which the rate rises in a straight line.
        falls: how often a plateau has halved it.
    """
    factor = min(1.0, done / warmup_epochs) if warmup_epochs else 1.0
    if schedule == "plateau":
        return factor * 0.5**falls
    if schedule == "cosine" and done > warmup_epochs:
        return factor * 0.5 * (1 + math.cos(math.pi * (done - warmup_epochs) / (epochs - warmup_epochs)))
    return factor


def _table(history: Sequence[Mapping[str, float]], monitor: str) -> pd.DataFrame:
    table = pd.DataFrame(history, columns=HISTORY_COLUMNS[:-1])
    best = best_epoch([_score(row, monitor) for row in history])
    return table.assign(best=np.arange(len(table)) == best)


# Surroundings


def _precision(asked: str, gpu: bool) -> str:
    if asked != "auto":
        return asked
    if gpu:
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    # PyTorch computes in bf16 on any CPU, but only with these instructions faster than in float32.
    tests = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return "bf16-mixed" if any(getattr(torch.cpu, test, bool)() for test in tests) else "32-true"


@contextmanager
def _settled(threads: int, gpu: bool) -> Iterator[None]:
    """Give PyTorch back as it was: random state, threads, determinism."""
    before, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warn = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark, filling = torch.backends.cudnn.benchmark, torch.utils.deterministic.fill_uninitialized_memory
    try:
        with torch.random.fork_rng(devices=[torch.cuda.current_device()] if gpu else []):
            torch.utils.deterministic.fill_uninitialized_memory = False  # costs time, and no result depends on it
            if threads:
                torch.set_num_threads(threads)
            yield
    finally:
        torch.set_num_threads(before)
        torch.use_deterministic_algorithms(strict, warn_only=warn)
        torch.backends.cudnn.benchmark = benchmark
        torch.utils.deterministic.fill_uninitialized_memory = filling


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's advice to itself."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class _Progress(lightning.Callback):
    """A bar over all clips of all epochs, and a line an epoch."""

    def __init__(self, clips: int, epochs: int) -> None:
        self.clips, self.epochs, self.moving = clips, epochs, None

    def on_train_start(self, trainer: lightning.Trainer, fitting: _Fitting) -> None:
        if trainer.is_global_zero:
            left = self.epochs - len(fitting.history)
            self.moving = bar(total=left * self.clips, desc="train", unit="clip")

    def on_train_batch_end(
        self, trainer: lightning.Trainer, fitting: _Fitting, outputs: Any, batch: Batch, step: int
    ) -> None:
        if self.moving is not None:
            self.moving.update(int(batch.counts.sum()) * trainer.world_size)

    def on_validation_end(self, trainer: lightning.Trainer, fitting: _Fitting) -> None:
        if self.moving is not None:
            found, sums = fitting.validated, fitting.sums.tolist()
            line = (
                f"epoch {trainer.current_epoch + 1:>3} of {self.epochs}: training loss {sums[0] / sums[1]:.4f}, "
                f"accuracy {sums[2] / sums[3]:.3f}; validation loss {found['val_loss']:.4f}, accuracy "
                f"{found['val_accuracy']:.3f}, AUC {found['val_auc']:.3f}; "
                f"{sums[4] / (fitting.trained - fitting.started):.1f} images/s"
            )
            self.moving.write(line, file=sys.stderr)

    def on_train_end(self, trainer: lightning.Trainer, fitting: _Fitting) -> None:
        self._close()

    def on_exception(self, trainer: lightning.Trainer, fitting: _Fitting, exception: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        if self.moving is not None:
            self.moving.close()
            self.moving = None
