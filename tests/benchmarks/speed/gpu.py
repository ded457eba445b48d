"""How fast a GPU trains and scores: against the bare network, and against plain float32.

Prints a table, a row as soon as it is measured: images per second of ResNeXt-50 32x4d with LSTM on crops of 224 pixels.

    float32    forward and backward of the plain recipe of `train`: channels first, not compiled; without TF32, and with
               TF32 in convolutions, which is PyTorch's default
    bare       forward and backward of the detector in bf16, with channels last
    fit        `training.fit` in bf16, whose loader processes read, decode and augment strips
    loader     those processes alone
    inference  the detector's logits in float32 from uint8 pixels, as `scoring.score` computes them, and bare in bf16

On a GPU, bare and fit are measured with `torch.compile` as well. All but fit and loader work on tensors that are on the
device already. Before the table it prints the largest difference between the scores that the shipped detector gives on
the CPU and on the GPU; the exit status is 1 if it is more than 1e-3.

All data are generated, in a temporary folder. Neither dlib nor PyAV need be installed. Without a GPU everything runs on
the CPU, and scores are compared with themselves: this tests the script, no more. Run from the checkout:

    python -m tests.benchmarks.speed.gpu
    python -m tests.benchmarks.speed.gpu --device cpu --size 32 --frames 2 --batch-size 2 --steps 2
"""

import argparse
import tempfile
from pathlib import Path

import torch

from dfutils.core import detectors
from dfutils.core.params import HardwareSettings
from dfutils.detector.network import Detector, logits
from dfutils.evaluation.scoring import score
from tests.benchmarks.speed import train

TOLERANCE = 1e-3
"""Largest difference allowed between a score on the CPU and on the GPU."""


def agreement(folder: Path, device: torch.device, count: int = 8) -> float:
    """Return how far CPU and `device` differ at most in the probability of a clip or a frame; print it.

    `folder` takes the strips of the `count` clips.
    """
    detector = Detector.load(detectors.SHIPPED)
    faces = detector.face_settings
    table = train.strips(folder, faces.face_size, count, faces.frames_per_video)
    (clips, frames), (clips_there, frames_there) = (
        [rows["probability_fake"] for rows in score(detector, table, folder, device=place, progress=False)]
        for place in ("cpu", device.type)
    )
    by_clip, by_frame = (clips - clips_there).abs().max(), (frames - frames_there).abs().max()
    print(
        f"Scores on cpu and {device.type} differ by at most {by_clip:.1e} ({len(clips)} clips) and {by_frame:.1e} "
        f"({len(frames)} frames, from {frames.min():.3f} to {frames.max():.3f}).\n",
        flush=True,
    )
    return float(max(by_clip, by_frame))


def float32(options: argparse.Namespace, device: torch.device, tf32: bool) -> float:
    """Return images per second of the plain recipe's network; `tf32` lets convolutions round to TF32."""
    benchmark = torch.backends.cudnn.benchmark
    with torch.backends.cudnn.flags(enabled=True, benchmark=benchmark, deterministic=False, allow_tf32=tf32):
        return train.bare(train.Plain(), options.size, "float32", options, device)


def inference(options: argparse.Namespace, device: torch.device) -> tuple[float, float]:
    """Return images per second of the detector's logits in float32, and of its forward alone in bf16."""
    detector = train.random_detector(options.backbone).eval().to(device)
    shape = (options.batch_size, options.frames, 3, options.size, options.size)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
    frames = detector.normalise(pixels)

    def step() -> None:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
            detector(frames)

    images = options.batch_size * options.frames
    exact = train.timed(lambda: logits(detector, pixels), options.steps, images, device)
    return exact, train.timed(step, options.steps, images, device)


def print_table(folder: Path, options: argparse.Namespace, device: torch.device) -> None:
    """Measure and print all rows; `folder` takes the strips and the runs."""

    def row(what: str, images: float, *ratios: str) -> None:
        print(f"| {what} | {images:,.1f} | {' | '.join(ratios) or '|'} |", flush=True)

    print(f"| {options.size} px | images/s | of bare | times float32 |\n| --- | --- | --- | --- |")
    plain = float32(options, device, tf32=False)
    row("float32, channels first, no TF32", plain, "", "1.0")
    default = float32(options, device, tf32=True)
    row("float32, channels first, TF32 in convolutions", default, "", f"{default / plain:.1f}")
    data = train.generated_clips(folder / "strips", options.size, options)
    for compiled in (False, True) if device.type == "cuda" else (False,):
        detector, how = train.random_detector(options.backbone), "bf16, channels last"
        if compiled:
            detector.backbone.compile()
            how += ", compiled"
        bare = train.bare(detector, options.size, "bf16", options, device)
        row(f"{how}: bare", bare, "1.00", f"{bare / plain:.1f}")
        machine = HardwareSettings(
            precision="bf16", compile=compiled, threads=options.threads, loader_workers=options.workers
        )
        fit = train.fitting(*data, folder / f"run-{compiled}", options.backbone, machine)
        row(f"{how}: fit", fit, f"{fit / bare:.2f}", f"{fit / plain:.1f}")
    row("loader", train.loading(data[0], options.workers, device))
    exact, fast = inference(options, device)
    row("inference, float32", exact)
    row("inference, bf16: bare", fast)


def main() -> None:
    """Compare scores, and print the table."""
    parser = train.option_parser(__doc__.splitlines()[0], steps=20, batch_size=16)
    parser.add_argument("--size", type=int, default=224, help="side of a crop in pixels")
    options = parser.parse_args()
    device = train.prepare(options)
    with tempfile.TemporaryDirectory() as folder:
        difference = agreement(Path(folder) / "scored", device)
        print_table(Path(folder), options, device)
    if difference > TOLERANCE:
        raise SystemExit(f"Scores on CPU and GPU differ by {difference:.1e}, more than {TOLERANCE}.")


if __name__ == "__main__":
    main()
