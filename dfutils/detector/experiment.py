"""An experiment's training, from its parameters to its detector, in one process or in many.

One device trains in the process that asks. Several are started by torchrun, because forking a running notebook is
fragile: its children run `dfutils train`, which is this module again, and the caller then finds a finished run. On
several machines torchrun must be started on each, by hand or by the cluster:

    torchrun --nnodes=2 --nproc_per_node=8 --rdzv_backend=c10d --rdzv_endpoint=HOST:29500 -m dfutils train PARAMS
"""

import codecs
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
import yaml

from dfutils.core import experiments, stages
from dfutils.core.errors import InputError
from dfutils.core.files import atomic, digest, read_table
from dfutils.core.params import (
    AugmentationSettings,
    FaceSettings,
    HardwareSettings,
    NetworkSettings,
    Params,
    TrainingSettings,
    lasting,
    split_list,
)
from dfutils.core.progress import BATCH
from dfutils.data import catalog, indexing
from dfutils.detector import schedule, training
from dfutils.detector.clip_scores import clip_logits
from dfutils.detector.clips import ClipDataset
from dfutils.detector.fusion import fit_fusion
from dfutils.detector.network import Detector
from dfutils.faces import batch
from dfutils.metrics.calibration import WRITTEN
from dfutils.splits import provenance

_SENTENCE = re.compile(r"^dfutils: (.+)$", flags=re.MULTILINE)
"""How a process that stops for a user's mistake says so."""


class Clips(NamedTuple):
    """What a detector is fitted to and what picks its best epoch."""

    train: ClipDataset
    val: ClipDataset


def load_clips(params: Params, view: str = "face") -> Clips:
    """Return the clips of an experiment whose notebook 02 has run; only videos with enough faces are taken.

    Of another view than the face there are no self-blended fakes, and of `motion` no augmentation but flips, turns and
    cut-outs: the others would change differences of frames into what no video shows.

    Raises:
        InputError: if notebook 02 has not been run, or its table is not the one it wrote.
    """
    made = stages.record(params, "preprocess")
    videos = read_table(params.run_folder / "videos.parquet")
    indexing.check_splits(videos, made)
    usable = videos[videos["status"] == "ok"].sort_values("video_id")
    faces = FaceSettings(**made["settings"])
    disturbed = AugmentationSettings.of(params)
    if view != "face":
        off = ["self_blend"] + (
            ["color_jitter", "downscale", "blur", "noise", "jpeg", "h264"] if view == "motion" else []
        )
        disturbed = disturbed.model_copy(update=dict.fromkeys(off, 0.0))
    landmarks = read_table(params.run_folder / "frames.parquet") if disturbed.self_blend else None
    return Clips(
        ClipDataset(
            usable[usable["split"] == "train"],
            catalog.DATA,
            faces,
            training=TrainingSettings.of(params),
            augmentation=disturbed,
            frames_table=landmarks,
            view=view,
        ),
        ClipDataset(usable[usable["split"] == "val"], catalog.DATA, faces, view=view),
    )


def new_detector(params: Params, temporal: str = "") -> Detector:
    """Return the untrained detector of an experiment; `temporal` wins over its own."""
    return Detector(NetworkSettings.of(params).model_copy(update={"temporal": temporal or params.temporal}))


def fit_views(params: Params, network: Detector, data: Clips, *, progress: bool = True) -> dict[str, pd.DataFrame]:
    """Train a network for each further view, and fuse them with that of the face on the validation clips.

    Args:
        network: of the face, trained; it gets `others` and the fusion.
        data: the clips of the face.

    Returns:
        The history of each view's training; empty if the face is the only one.

    Raises:
        InputError: if too few videos have a view.
    """
    if params.views == "face":
        return {}
    histories, logits, place = {}, {}, torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for view in split_list(params.views):
        clips = data if view == "face" else load_clips(params, view)
        if view != "face":
            if not len(clips.val) or len(set(clips.train.labels.tolist())) < 2:
                raise InputError(
                    f"{len(clips.train)} training and {len(clips.val)} validation clips have the view {view}, which "
                    "takes large faces, and training needs both real and fake ones: leave it out of `views`."
                )
            network.others[view] = new_detector(params)
            network.others[view].view = view
            histories[view] = fit_experiment(params, network.others[view], clips, progress=progress)
        scores, _ = clip_logits(network.networks[view], clips.val, params.batch_size, place)
        logits[view] = scores.set_index(["video_id", "person"])["logit"]
    table = pd.DataFrame(logits).reindex(logits["face"].index)
    network.config["fusion"] = fit_fusion(data.val.labels, {view: table[view].to_numpy() for view in table})
    return histories


def fit_experiment(params: Params, network: Detector, data: Clips, *, progress: bool = True) -> pd.DataFrame:
    """Train a detector as the parameters say, or take it from a run that is finished; see `training.fit`.

    Where several devices are asked for and this is not one of torchrun's processes, torchrun is started, trains all
    that `run` does, and its progress is passed on to stderr.

    Raises:
        InputError: as `training.fit`, or if several machines are asked for and their run is not finished.
    """
    folder = _folder(params, network.architecture["temporal"], data.train.view)
    devices = params.devices or max(torch.cuda.device_count(), 1)
    machine = HardwareSettings.of(params).model_copy(update={"devices": devices})
    if devices * params.num_nodes > 1 and not _is_started():
        if params.resume == "never" or not schedule.finished(training.history_of(folder), params):
            _start(params, devices)
        machine = machine.model_copy(update={"resume": "auto"})  # what was just trained
    made = stages.record(params, "preprocess")
    videos = indexing.own_part(read_table(params.run_folder / "videos.parquet"))
    fingerprint = digest({"videos": indexing.fingerprint(videos), "strips": batch.signature(made["settings"])})
    settings = TrainingSettings.of(params)
    about = {"data": fingerprint, "parameters": _parameters(params), "progress": progress}
    return training.fit(network, data.train, data.val, folder, settings, machine, **about)


def fit_ablation(params: Params, data: Clips, *, progress: bool = True) -> dict[str, pd.DataFrame]:
    """Train the detector that `ablation` asks for besides, and return its history by `temporal`; empty if it does not.

    It has the plain mean where the experiment's own detector has an LSTM, and the reverse.
    """
    if not params.ablation:
        return {}
    other = "mean" if params.temporal == "lstm" else "lstm"
    return {other: fit_experiment(params, new_detector(params, other), data, progress=progress)}


def save_detector(params: Params, network: Detector, history: pd.DataFrame) -> None:
    """Write a trained detector with all that scoring a new video needs, and record that the stage is finished."""
    made, folder = stages.record(params, "preprocess"), params.run_folder / "detector"
    best = int(history.loc[history["best"], "epoch"].iloc[0])
    videos = read_table(params.run_folder / "videos.parquet")
    named = indexing.fingerprints(videos)
    facts = {
        "experiment": params.experiment,
        "split_fingerprint": named["fingerprint"],
        "splits": named["splits"],
        "own_splits": named["own_splits"],
        "layouts": made["layouts"],
        "best_epoch": best,
        "parameters": _parameters(params),
        "seen": provenance.seen(videos[videos["split"].isin(["train", "val"]) & (videos["status"] == "ok")]),
    }
    earlier = provenance.earlier_training(params.first_weights, params.pretrained)
    facts |= {"earlier": earlier} if earlier else {}
    crop = {name: made["settings"][name] for name in ("face_size", "face_margin", "align", "frames_per_video")}
    kept = _calibration(folder, network, videos)
    network.save(folder, **crop, **kept, preprocessing=dict(made["settings"]), training=facts)
    stages.finish(params, "train", best_epoch=best, **history.attrs)


def _calibration(folder: Path, network: Detector, videos: pd.DataFrame) -> dict[str, Any]:
    """Return what validation chose for the detector in a folder, if it has the same weights and splits; else nothing.

    So opening notebook 03 again does not undo notebook 04.
    """
    try:
        before = Detector.load(folder)
    except InputError:  # there is no detector yet, or a broken one
        return {}
    training = before.config["training"]
    if not indexing.is_trained_on(training, videos) or before.digest() != network.digest():
        return {}
    return {name: before.config[name] for name in WRITTEN if name in before.config}


def train(params: Params, *, progress: bool = True) -> Path:
    """Do what notebook 03 does but for the looking: train, save the detector, and return its folder.

    In each of torchrun's processes; the first of all writes. The notebook then finds a finished run and shows it.
    """
    params = experiments.claim(params, "train")
    data, network = load_clips(params), new_detector(params)
    history = fit_experiment(params, network, data, progress=progress)
    fit_views(params, network, data, progress=progress)
    if os.environ.get("RANK", "0") == "0":
        save_detector(params, network, history)
    fit_ablation(params, data, progress=progress)
    return params.run_folder / "detector"


def _parameters(params: Params) -> dict[str, Any]:
    """Return the given parameters that training depends on."""
    return lasting(params, sorted(params.model_fields_set & stages.depends("train")))


def _folder(params: Params, temporal: str, view: str) -> Path:
    parts = ["training", *([temporal] if temporal != params.temporal else []), *([view] if view != "face" else [])]
    return params.run_folder / "-".join(parts)


def _is_started() -> bool:
    """Whether this process is one of several that a launcher has started."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def _start(params: Params, devices: int) -> None:
    """Train by torchrun on this machine, passing on what it says."""
    if params.num_nodes > 1:
        raise InputError(
            f"num_nodes = {params.num_nodes}: start torchrun on every machine with `-m dfutils train` and the "
            "parameter file (README, More than one GPU), then run this again to see what was trained."
        )
    # With the faces of notebook 02, which train_frames is checked against.
    faces = stages.record(params, "preprocess")["settings"]
    values = {**faces, **{name: getattr(params, name) for name in params.model_fields_set}}
    with atomic(params.run_folder / "train.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(values, sort_keys=True), encoding="utf-8")
    command = ["torch.distributed.run", "--standalone", f"--nproc_per_node={devices}", "-m", "dfutils", "train"]
    threads = str(max((os.cpu_count() or 1) // devices, 1))  # of each, unless `threads` says otherwise
    environment = {"OMP_NUM_THREADS": threads, **os.environ, BATCH: "1"}
    said, decoder = "", codecs.getincrementaldecoder("utf-8")("replace")
    with subprocess.Popen(
        [sys.executable, "-m", *command, str(params.run_folder / "train.yaml")],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            while part := process.stderr.read1(4096):
                text = decoder.decode(part)
                said += text
                if not _SENTENCE.search(said):  # what follows it is torchrun's account of its processes
                    sys.stderr.write(text)
                    sys.stderr.flush()
        except BaseException:
            process.terminate()  # torchrun ends its processes
            raise
    if process.returncode:
        sentence = _SENTENCE.search(said)
        if sentence:
            raise InputError(sentence[1].strip())
        raise RuntimeError(f"torchrun ended with status {process.returncode}:\n{said[-4000:]}")
