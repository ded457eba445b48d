"""Fitting a detector, on PyTorch Lightning.

Lightning carries the loop, the devices and the precision. What decides a run (the learning rate of a step, the best
epoch, when to stop, the seed of every dropout mask) is a function of the settings, the history so far, the epoch and
the step, and of nothing else. So a run that was killed goes on at its last completed epoch as if nothing had happened,
and on a CPU two runs with the same number of threads give the same weights to the last bit.
"""

import logging
import os
import signal
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import pandas as pd
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

from dfutils.core.errors import InputError
from dfutils.core.files import make_folder
from dfutils.detector import clips, hardware
from dfutils.detector.backbones import read_weights
from dfutils.detector.clips import ClipDataset
from dfutils.detector.lightning_module import Fitting, Progress
from dfutils.detector.network import Detector
from dfutils.detector.schedule import HISTORY_COLUMNS, finished, gap, plateau_falls, rate_factor, rates, table

__all__ = ["HISTORY_COLUMNS", "fit", "gap", "history_of", "plateau_falls", "rate_factor", "rates"]


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
    backbone_learning_rate: float = 0.0,
    weight_decay: float = 1e-4,
    schedule: str = "plateau",
    warmup_epochs: float = 0.0,
    patience: int = 5,
    monitor: str = "val_loss",
    class_weights: str = "balanced",
    balanced_sampling: bool = False,
    family_batches: bool = False,
    frame_loss: float = 0.0,
    freeze_epochs: int = 0,
    freeze_batchnorm: bool = False,
    accumulate: int = 1,
    clip_grad: float = 0.0,
    precision: str = "auto",
    compile: bool = False,
    deterministic: bool = False,
    accelerator: str = "auto",
    devices: int = 1,
    num_nodes: int = 1,
    strategy: str = "auto",
    threads: int = 0,
    loader_workers: int | None = None,
    seed: int = 0,
    resume: str = "auto",
    data: str = "",
    progress: bool = True,
) -> pd.DataFrame:
    """Train a detector in place and leave it with the weights of its best epoch, on the CPU, in evaluation mode.

    The loss is the cross-entropy of the clip's logits, weighted by class; `frame_loss` is the share of it that is taken
    on every frame's logits instead (averaged over the clip's frames). Training and validation report the same loss;
    accuracy calls a clip fake at probability .5. Convolutions see their pictures with channels last, on every device.

    Several processes share each step's clips out, so that N of them with a batch of B equal one with a batch of N·B,
    but for two things. Batch normalisation sees only the batch of its own process (on GPUs it is synchronised): set
    `freeze_batchnorm` where they must agree. And dropout masks are each process's own. A run goes on from where it was
    killed only with the same number of processes.

    Args:
        detector: trained in place.
        train: training clips, made with `train=True`.
        val: validation clips.
        out: folder for `history.csv`, `best.safetensors` and `last.ckpt`.
        epochs: passes over the training clips, at most.
        batch_size: clips a step, on each device.
        optimizer: `adam` or `adamw`.
        learning_rate: peak learning rate.
        backbone_learning_rate: peak of the backbone's, if it is another; 0 is `learning_rate`.
        weight_decay: of the optimiser.
        schedule: `plateau` (halved after more than 2 epochs without improvement of `monitor`), `cosine` (to 0), `none`.
        warmup_epochs: linear rise at the start.
        patience: epochs without improvement of `monitor` before stopping; 0 never stops.
        monitor: `val_loss` or `val_auc` (at equal AUC the lower loss is the better); it picks the best epoch. `last`
            keeps the last one, for a validation split too small to choose by.
        class_weights: `balanced`, `none` or two numbers (see `clips.class_weights`).
        balanced_sampling: draw as many clips of each class in an epoch (see `clips.Batches`).
        family_batches: let a real video and the fakes made from it follow one another, so that they stand in one step
            and differ in nothing but the forgery; with `balanced_sampling` one fake a real clip, as Shiohara and
            Yamasaki (CVPR 2022) pair them.
        frame_loss: 0 to 1.
        freeze_epochs: first epochs in which only the layers after the backbone learn.
        freeze_batchnorm: keep the backbone's running means and variances, and use them in training.
        accumulate: steps whose gradients are added before the optimiser moves.
        clip_grad: largest norm of the gradient; 0 leaves it.
        precision: `bf16` (mixed: weights stay float32), `float32`, or `auto`: what the hardware is made for (see
            `hardware.precision`).
        compile: let `torch.compile` fuse the backbone's operations, on a GPU; a CPU ignores it.
        deterministic: repeat a run on a GPU as exactly as PyTorch allows (a CPU always does).
        accelerator: Lightning's: `auto`, `cpu`, `gpu`.
        devices: devices of this machine; more than one needs `torchrun`, as `recipe` starts it.
        num_nodes: machines, which share the folder `out`.
        strategy: Lightning's.
        threads: CPU threads; 0 leaves PyTorch's choice.
        loader_workers: processes that read clips ahead; None is 0 on a CPU, whose cores are better used for learning.
        seed: of order, frames, augmentation (with the data sets' own) and dropout.
        resume: `auto` goes on from `out` if there is a run with the same settings; `never` starts again.
        data: fingerprint of the videos and of how their strips were made; a run with another does not go on.
        progress: show a bar, and a line an epoch.

    Returns:
        A row an epoch: `epoch` (from 1), `train_loss`, `train_accuracy`, `val_loss`, `val_accuracy`, `val_auc` (NaN
        with one class), `learning_rate` (of the last step), `seconds`, `images_per_s` (of training), `best`. Its
        `attrs` hold `device`, `processes`, `precision`, `threads`, `deterministic` and `undetermined` (operations that
        PyTorch cannot repeat exactly on this device) of the run that made it.

    Raises:
        InputError: if the splits cannot be trained on, `out` holds a run with other settings or data, the loss is not
            finite, memory does not suffice, or `torchrun` is needed.
    """
    settings = {
        "epochs": epochs, "batch_size": batch_size, "optimizer": optimizer, "learning_rate": learning_rate,
        "backbone_learning_rate": backbone_learning_rate, "weight_decay": weight_decay, "schedule": schedule,
        "warmup_epochs": warmup_epochs, "patience": patience, "monitor": monitor, "class_weights": class_weights,
        "balanced_sampling": balanced_sampling, "family_batches": family_batches, "frame_loss": frame_loss,
        "freeze_epochs": freeze_epochs, "freeze_batchnorm": freeze_batchnorm, "accumulate": accumulate,
        "clip_grad": clip_grad, "seed": seed,
    }  # fmt: skip
    gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    processes = devices * num_nodes
    _check({**settings, "resume": resume, "precision": precision}, train, val)
    detector.check_size(train.face_size)
    out = make_folder(Path(out))
    record = {**settings, **detector.architecture, "train": train.facts(), "val": val.facts(), "data": data}
    record |= {"processes": processes} if processes > 1 else {}
    if resume == "never":
        for name in ("last.ckpt", "best.safetensors", "history.csv"):
            (out / name).unlink(missing_ok=True)
    history, facts = _earlier(out, record)
    precise = hardware.precision(precision, gpu)
    facts = facts or {
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "processes": processes,
        "precision": precise,
        "threads": threads or torch.get_num_threads(),
        "deterministic": deterministic or not gpu,
        "undetermined": [],
    }
    if not finished(history, settings):
        _check_processes(processes)
        workers = (min(8, os.cpu_count() or 1) if gpu else 0) if loader_workers is None else loader_workers
        fitting = Fitting(detector, train, val, out, settings, record, history, facts, workers)
        trainer_options = {
            "accelerator": accelerator if gpu or accelerator != "auto" else "cpu",
            "devices": devices,
            "num_nodes": num_nodes,
            # DDP otherwise waits for gradients of the frozen backbone.
            "strategy": "ddp_find_unused_parameters_true" if processes > 1 and freeze_epochs else strategy,
            "precision": hardware.PRECISIONS[precise],
            "max_epochs": epochs,
            "accumulate_grad_batches": accumulate,
            "deterministic": "warn" if facts["deterministic"] else None,
            "benchmark": gpu and not deterministic,
            "sync_batchnorm": gpu and processes > 1 and not freeze_batchnorm,
            "default_root_dir": out,
            "callbacks": [Progress(len(train), epochs)] if progress else [],
        }
        with _quiet(), hardware.settled(threads, gpu), _compiled(detector, compile and gpu):
            _run(trainer_options, fitting, out / "last.ckpt" if history else None)
    detector.load_state_dict(read_weights(out / "best.safetensors"))
    detector.frozen_backbone = False
    detector.to("cpu").eval()
    rows = table(history, monitor)
    rows.attrs.update(facts)
    return rows


def history_of(out: Path) -> list[dict[str, Any]]:
    """Return the epochs that a run in `out` has completed, a mapping each; none if there is no run."""
    return _saved(Path(out)).get("history", [])


def _check(settings: Mapping[str, Any], train: ClipDataset, val: ClipDataset) -> None:
    """Refuse what cannot be trained or validated."""
    for name, allowed in (
        ("optimizer", ("adam", "adamw")),
        ("schedule", ("plateau", "cosine", "none")),
        ("monitor", ("val_loss", "val_auc", "last")),
        ("resume", ("auto", "never")),
        ("precision", ("auto", *hardware.PRECISIONS)),
    ):
        if settings[name] not in allowed:
            raise InputError(f"{name} = {settings[name]!r} is not possible: choose {' or '.join(allowed)}.")
    clips.class_weights(train.labels, settings["class_weights"], blended=train.blended)
    if not len(val):
        raise InputError("The validation split is empty: raise val_fraction or add videos, and run notebook 02 again.")
    if settings["monitor"] == "val_auc" and len(set(val.labels.tolist())) < 2:
        kind = "fake" if val.labels[0] else "real"
        raise InputError(
            f"All {len(val)} validation videos are {kind}, so that val_auc is undefined: use monitor: val_loss, or "
            "raise val_fraction and run notebook 02 again."
        )


def _check_processes(processes: int) -> None:
    """Refuse to train in another number of processes than were started."""
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started == processes:
        return
    if started == 1:
        raise InputError(
            f"devices and num_nodes ask for {processes} processes, and this is one: start `dfutils train PARAMS`, on "
            "several machines by torchrun (README, More than one GPU)."
        )
    raise InputError(
        f"torchrun started {started} processes, but devices and num_nodes ask for {processes}: set devices to those of "
        "one machine and num_nodes to the machines."
    )


def _saved(out: Path) -> dict[str, Any]:
    """Return what a run in `out` remembers of itself; nothing if there is none."""
    path = out / "last.ckpt"
    if not path.is_file():
        return {}
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return {"history": saved["history"], "record": saved["record"], "facts": saved.get("facts", {})}
    except Exception:  # whatever a broken file makes of the unpickler
        raise InputError(f"{path} cannot be read; delete it to train from the start.") from None


def _earlier(out: Path, record: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return history and facts of a run in `out` that can be continued; nothing if there is no run."""
    saved = _saved(out)
    if not saved:
        return [], {}
    before, now = _settings(saved["record"]), _settings(record)
    if before.get("data") and now.get("data") and before["data"] != now["data"]:
        raise InputError(
            f"The videos, their labels or their strips have changed since the run in {out} began: choose another "
            "experiment, or delete the folder to train again."
        )
    differing = sorted(
        name for name in before.keys() | now.keys() if name != "data" and before.get(name) != now.get(name)
    )
    if differing:
        raise InputError(
            f"{out} holds a run with other settings (differing: {', '.join(differing)}); choose another experiment, or "
            "delete the folder to train again."
        )
    return saved["history"], saved["facts"]


def _settings(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record without what is off, so that a setting that an older version did not know counts as off."""
    train, val = ({f"{name}_{key}": record[name][key] for key in record[name]} for name in ("train", "val"))
    plain = {key: value for key, value in record.items() if key not in ("train", "val")}
    return {key: value for key, value in {**plain, **train, **val}.items() if value}


@contextmanager
def _compiled(detector: Detector, wanted: bool) -> Iterator[None]:
    """Let the backbone run compiled; its weights keep their names."""
    if wanted:
        detector.backbone.compile()
    try:
        yield
    finally:
        detector.backbone._compiled_call_impl = None


def _run(trainer_options: dict[str, Any], fitting: Fitting, checkpoint: Path | None) -> None:
    """Run the loop, with errors in the user's words, and Ctrl-C as every other stage passes it on."""
    interrupt = signal.getsignal(signal.SIGINT)
    batch_size = fitting.settings["batch_size"]
    try:
        trainer = lightning.Trainer(
            **trainer_options,
            use_distributed_sampler=False,  # `Batches` shares clips out without duplicates
            num_sanity_val_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
        )
        with hardware.undetermined() as operations:
            fitting.operations = operations
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
