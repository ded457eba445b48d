"""Fitting a detector, on PyTorch Lightning.

Lightning carries the loop, the devices and the precision. What decides a run (the learning rate of a step, the best
epoch, when to stop, the seed of every dropout mask) is a function of the settings, the history so far, the epoch and
the step, and of nothing else. So a run that was killed goes on at its last completed epoch as if nothing had happened,
and on a CPU two runs with the same number of threads give the same weights to the last bit.

Of Lightning's callbacks and loggers none is used, after trials. `CSVLogger` deletes the earlier epochs when a run
resumes, and rounds to float32. `ModelCheckpoint` compares one figure, where small validation sets need a second to
decide between equal AUCs, and its files are moved from another folder, which is not atomic between file systems. The
progress bars count the steps of an epoch and do not know when the run ends.

Several processes share each step's clips, so that N of them with a batch of B equal one with a batch of N·B, but for
two things. Batch normalisation sees only the batch of its own process (on GPUs it is synchronised): set
`freeze_batchnorm` where they must agree. And dropout masks are each process's own. A run resumes where it was killed
only with the same number of processes.
"""

import logging
import os
import signal
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import pandas as pd
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.memory import is_oom_error

from dfutils.core.errors import InputError
from dfutils.core.files import locked, make_folder, write_json
from dfutils.core.params import HardwareSettings, TrainingSettings
from dfutils.core.progress import bar
from dfutils.core.stages import BEGUN
from dfutils.detector import clips, hardware
from dfutils.detector.backbones import IMAGENET, read_weights
from dfutils.detector.clips import ClipDataset
from dfutils.detector.lightning_module import Fitting, Progress
from dfutils.detector.network import Detector
from dfutils.detector.schedule import finished, table


def fit(
    detector: Detector,
    train: ClipDataset,
    val: ClipDataset,
    folder: Path,
    settings: TrainingSettings,
    machine: HardwareSettings,
    *,
    data: str = "",
    parameters: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Train a detector in place and leave it with the weights of its best epoch, on the CPU, in evaluation mode.

    The loss is the cross-entropy of the clip's logits, weighted by class; `frame_loss` is the share of it that is taken
    on every frame's logits instead (averaged over the clip's frames). Validation weighs its own classes; accuracy calls
    a clip fake at probability .5.

    Args:
        train: training clips, made with `training`.
        folder: for `history.csv`, `best.safetensors` and `last.ckpt`; several machines share it.
        machine: more than one device needs `torchrun`, as `experiment` starts it. A CPU is always deterministic, and
            with `loader_workers: -1` no process reads clips ahead, as its cores are better used for training.
        data: fingerprint of the videos and their strips; a run with another is not resumed.
        parameters: written to `stages.BEGUN` in `folder` as the run begins.
        progress: show a bar, and a line an epoch.

    Returns:
        A row an epoch: `epoch` (from 1), `train_loss`, `train_accuracy`, `val_loss`, `val_accuracy`, `val_auc` (NaN
        with one class), `learning_rate` (of the last step), `seconds`, `images_per_s` (of training), `best`. Its
        `attrs` hold `device`, `processes`, `precision`, `threads`, `deterministic` and `undetermined` (operations that
        PyTorch cannot repeat exactly on this device) of the run that made it.

    Raises:
        InputError: if the splits cannot be trained on, `folder` holds a run with other settings or data or one that is
            in progress, the loss is not finite, memory does not suffice, or `torchrun` is needed.
    """
    gpu = torch.cuda.is_available()
    _check(settings, train, val)
    detector.check_size(train.face_size)
    folder = make_folder(Path(folder))
    record = _record(detector, train, val, settings, machine, data)
    # Of torchrun's processes, which train together, the first holds the lock.
    lock = locked(folder.with_name(f".{folder.name}.lock"), f"training in {folder}")
    with lock if _is_first() else nullcontext():
        if machine.resume == "never":
            for name in ("last.ckpt", "best.safetensors", "history.csv"):
                (folder / name).unlink(missing_ok=True)
        history, environment, detector.config["normalisation"] = _earlier(folder, record, parameters)
        environment = environment or _environment(machine, gpu)
        if not finished(history, settings):
            _check_processes(machine.devices * machine.num_nodes)
            fitting = Fitting(detector, train, val, folder, settings, record, history, environment)
            _train(fitting, machine, gpu, progress)
    detector.load_state_dict(read_weights(folder / "best.safetensors"))
    detector.frozen_backbone = False
    detector.to("cpu").eval()
    rows = table(history, settings.monitor)
    rows.attrs |= environment
    return rows


def _record(
    detector: Detector,
    train: ClipDataset,
    val: ClipDataset,
    settings: TrainingSettings,
    machine: HardwareSettings,
    data: str,
) -> dict[str, Any]:
    """Return all that a later run must agree with to resume this one."""
    # train_frames is among the facts of the training clips.
    values = TrainingSettings.of(settings).model_dump(exclude={"train_frames"})
    record = {**values, **detector.architecture, "train": train.facts(), "val": val.facts(), "data": data}
    record["normalisation"] = detector.config["normalisation"]
    processes = machine.devices * machine.num_nodes
    return record | ({"processes": processes} if processes > 1 else {})


def _environment(machine: HardwareSettings, gpu: bool) -> dict[str, Any]:
    """Return device, precision and threads of a new run, which its checkpoint keeps."""
    return {
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "processes": machine.devices * machine.num_nodes,
        "precision": hardware.precision(machine.precision, gpu),
        "threads": machine.threads or torch.get_num_threads(),
        "deterministic": machine.deterministic or not gpu,
        "undetermined": [],
    }


def _loader_workers(machine: HardwareSettings, gpu: bool) -> int:
    """Return how many processes read clips ahead."""
    if machine.loader_workers >= 0:
        return machine.loader_workers
    return min(8, os.cpu_count() or 1) if gpu else 0


@hardware.memory_kept()
def _train(fitting: Fitting, machine: HardwareSettings, gpu: bool, progress: bool) -> None:
    """Run the epochs that are left, with PyTorch's settings lent for as long as it takes."""
    settings, folder, backbone = fitting.settings, fitting.folder, fitting.detector.backbone
    fitting.workers = _loader_workers(machine, gpu)
    options = _trainer_options(settings, machine, gpu, fitting.environment["deterministic"])
    clips_left = (settings.epochs - len(fitting.history)) * len(fitting.train_clips)
    shown = bar(total=clips_left, desc="train", unit="clip") if progress and _is_first() else None
    if machine.compile and gpu:
        backbone.compile()  # its weights keep their names
    try:
        options |= {"default_root_dir": folder, "callbacks": [] if shown is None else [Progress(shown)]}
        with _quiet(), hardware.torch_settings(machine.threads, gpu), nullcontext() if shown is None else shown:
            _run(options, fitting, folder / "last.ckpt" if fitting.history else None)
    finally:
        backbone._compiled_call_impl = None


def _is_first() -> bool:
    """Return whether this is the first of torchrun's processes, or the only process."""
    return os.environ.get("RANK", "0") == "0"


def _trainer_options(
    settings: TrainingSettings, machine: HardwareSettings, gpu: bool, deterministic: bool
) -> dict[str, Any]:
    """Return the settings as arguments of Lightning's `Trainer`."""
    several = machine.devices * machine.num_nodes > 1
    return {
        "accelerator": "auto" if gpu else "cpu",
        "devices": machine.devices,
        "num_nodes": machine.num_nodes,
        # DDP otherwise waits for gradients of the frozen backbone.
        "strategy": "ddp_find_unused_parameters_true" if several and settings.freeze_epochs else machine.strategy,
        "precision": hardware.PRECISIONS[hardware.precision(machine.precision, gpu)],
        "max_epochs": settings.epochs,
        "accumulate_grad_batches": settings.accumulate,
        "deterministic": "warn" if deterministic else None,
        "benchmark": gpu and not machine.deterministic,
        "sync_batchnorm": gpu and several and not settings.freeze_batchnorm,
    }


def history_of(folder: Path) -> list[dict[str, Any]]:
    """Return the epochs that a run in `folder` has completed, a mapping each; none if there is no run."""
    return _saved(Path(folder)).get("history", [])


def _check(settings: TrainingSettings, train: ClipDataset, val: ClipDataset) -> None:
    """Refuse what cannot be trained or validated."""
    clips.class_weights(train.labels, settings.class_weights, blended=train.blended)
    if not len(val):
        raise InputError("The validation split is empty: raise val_fraction or add videos, and run notebook 02 again.")
    if settings.monitor == "val_auc" and len(set(val.labels.tolist())) < 2:
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


def _saved(folder: Path) -> dict[str, Any]:
    """Return what a run in `folder` remembers of itself; nothing if there is none."""
    path = folder / "last.ckpt"
    if not path.is_file():
        return {}
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return {"history": saved["history"], "record": saved["record"], "facts": saved.get("facts", {})}
    except Exception:  # whatever a broken file makes of the unpickler
        raise InputError(f"{path} cannot be read; delete it to train from the start.") from None


def _earlier(
    folder: Path, record: dict[str, Any], parameters: Mapping[str, Any] | None
) -> tuple[list[dict[str, Any]], dict[str, Any], dict[str, list[float]]]:
    """Return history, environment and normalisation of a run in `folder` that can be resumed, or of a new one.

    The parameters of a new one are written. A run keeps the normalisation that it began with, in `record` as well;
    earlier versions knew ImageNet's only.
    """
    saved = _saved(folder)
    if not saved:
        if parameters is not None and _is_first():
            write_json(dict(parameters), folder / BEGUN)
        return [], {}, record["normalisation"]
    record["normalisation"] = saved["record"].setdefault("normalisation", dict(IMAGENET))
    before, now = _settings(saved["record"]), _settings(record)
    if before.get("data") and now.get("data") and before["data"] != now["data"]:
        raise InputError(
            f"The videos, their labels or their strips have changed since the run in {folder} began: choose another "
            "experiment, or delete the folder to train again."
        )
    differing = sorted(
        name for name in before.keys() | now.keys() if name != "data" and before.get(name) != now.get(name)
    )
    if differing:
        raise InputError(
            f"{folder} holds a run with other settings (differing: {', '.join(differing)}); choose another experiment, "
            "or delete the folder to train again."
        )
    return saved["history"], saved["facts"], record["normalisation"]


def _settings(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record without what is off, so that a setting that an older version did not know counts as off."""
    train, val = ({f"{name}_{key}": record[name][key] for key in record[name]} for name in ("train", "val"))
    plain = {key: value for key, value in record.items() if key not in ("train", "val")}
    return {key: value for key, value in {**plain, **train, **val}.items() if value}


def _run(trainer_options: dict[str, Any], fitting: Fitting, checkpoint: Path | None) -> None:
    """Run the loop, with errors in the user's words, and Ctrl-C as every other stage passes it on."""
    interrupt = signal.getsignal(signal.SIGINT)
    batch_size = fitting.settings.batch_size
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
        with hardware.nondeterministic_operations() as operations:
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
    except (RuntimeError, MemoryError) as error:
        if not (isinstance(error, torch.OutOfMemoryError | MemoryError) or is_oom_error(error)):
            raise
        raise InputError(
            f"Memory ran out with batch_size = {batch_size}: lower batch_size, or take fewer frames of a clip "
            "(train_frames) or smaller crops (face_size)."
        ) from None


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
