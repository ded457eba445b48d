"""How fast training is: against the bare network, and against the widely copied recipe.

Prints images a second, in a row a crop size and precision, of

    a  forward and backward alone, on random tensors that lie on the device
    b  the loader alone: strips read, disturbed and put into batches
    c  training as `training.fit` does it, validation and checkpoints left out
    d  the plain recipe: float32, batch 4, videos decoded and disturbed picture by picture inside the loader

and the ratios c/a and c/d. Everything is made up and lies in a temporary folder. Run from the checkout:

    python -m tests.benchmarks.speed.train [--sizes 112,224] [--precisions auto,float32] [--steps 20] [--batch-size 8]
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
import torchvision
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from dfutils.core.params import AugmentationSettings, FaceSettings, HardwareSettings, NetworkSettings, TrainingSettings
from dfutils.detector import clips, hardware, training
from dfutils.detector.clips import ClipDataset
from dfutils.detector.network import Detector
from dfutils.faces import video


def random_detector(backbone: str) -> Detector:
    """Return a detector with random weights: speed does not depend on them."""
    return Detector(NetworkSettings(backbone=backbone, pretrained="none"))


def bare(network: nn.Module, size: int, precise: str, options: argparse.Namespace, device: torch.device) -> float:
    """Return images per second of forward and backward on tensors that are on the device already (a)."""
    network.to(device).train()
    frames = torch.randn(options.batch_size, options.frames, 3, size, size, device=device)
    labels = torch.arange(options.batch_size, device=device) % 2

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=precise == "bf16"):
            loss = nn.functional.cross_entropy(network(frames), labels)
        loss.backward()
        network.zero_grad(set_to_none=True)

    return timed(step, options.steps, options.batch_size * options.frames, device)


def timed(step: Callable[[], object], steps: int, images: int, device: torch.device) -> float:
    """Return images a second of `steps` steps, after two to warm up (six on a GPU)."""
    for _ in range(6 if device.type == "cuda" else 2):
        step()
    wait(device)
    started = time.perf_counter()
    for _ in range(steps):
        step()
    wait(device)
    return images * steps / (time.perf_counter() - started)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def pictures(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    """Return `(count, size, size, 3)` of smooth noise: as hard to compress as a face, about."""
    coarse = rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return np.stack([cv2.resize(picture, (size, size), interpolation=cv2.INTER_CUBIC) for picture in coarse])


def strips(folder: Path, size: int, count: int, frames: int) -> pd.DataFrame:
    """Write `count` strips and return their table; every second one is fake."""
    folder.mkdir(parents=True)
    for i in range(count):
        row = np.concatenate(list(pictures(np.random.default_rng(i), frames, size)), axis=1)
        cv2.imwrite(str(folder / f"v{i:04d}.png"), row)
    return pd.DataFrame({"video_id": [f"v{i:04d}" for i in range(count)], "label": [i % 2 for i in range(count)]})


def generated_clips(folder: Path, size: int, options: argparse.Namespace) -> tuple[ClipDataset, ClipDataset]:
    """Return `options.steps` batches of training clips, and two clips for validation, of strips made in `folder`."""
    table = strips(folder, size, options.batch_size * options.steps, options.frames)
    faces = FaceSettings(face_size=size, frames_per_video=options.frames)
    settings = TrainingSettings(epochs=2, batch_size=options.batch_size, patience=0)
    train = ClipDataset(table, folder, faces, training=settings, augmentation=AugmentationSettings())
    return train, ClipDataset(table[:2], folder, faces)


def loading(train: ClipDataset, workers: int, device: torch.device) -> float:
    """Return images per second of the loader alone, up to the device (b)."""
    batches = clips.loader(train, clips.Batches(len(train), train.training.batch_size, shuffle=True), workers=workers)
    for _ in batches if workers else ():  # once for the processes to start
        pass
    started = time.perf_counter()
    for batch in batches:
        batch.frames.to(device)
    wait(device)
    return len(train) * train.frames_per_video / (time.perf_counter() - started)


def fitting(train: ClipDataset, val: ClipDataset, folder: Path, backbone: str, machine: HardwareSettings) -> float:
    """Return images per second of `training.fit`, which writes to `folder`, by its own clock (c)."""
    history = training.fit(random_detector(backbone), train, val, folder, train.training, machine, progress=False)
    return float(history["images_per_s"].iloc[-1])  # the first epoch warms up


class Videos(Dataset):
    """Videos of cropped faces as the recipe reads them: decoded when asked for, ten frames, each drawn by itself."""

    def __init__(self, paths: list[Path], size: int, frames: int) -> None:
        self.paths, self.frames = paths, frames
        self.transform = transforms.Compose([
            transforms.ToPILImage(),
            transforms.Resize((size, size)),
            transforms.RandomHorizontalFlip(),
            transforms.RandomRotation(10),
            transforms.ColorJitter(0.1, 0.1, 0.1),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ])  # fmt: skip

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        capture = cv2.VideoCapture(str(self.paths[index]))
        wanted = set(np.linspace(0, capture.get(cv2.CAP_PROP_FRAME_COUNT) - 1, self.frames).astype(int).tolist())
        found = []
        for number in range(max(wanted) + 1):
            read, frame = capture.read()
            if read and number in wanted:
                found.append(self.transform(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)))
        capture.release()
        return torch.stack(found), index % 2


class Plain(nn.Module):
    """ResNeXt-50, average pool, LSTM, mean over time, linear; as the widely copied code has it."""

    def __init__(self) -> None:
        super().__init__()
        network = torchvision.models.resnext50_32x4d(weights=None)
        self.features = nn.Sequential(*list(network.children())[:-2])
        self.pool, self.lstm = nn.AdaptiveAvgPool2d(1), nn.LSTM(2048, 2048, batch_first=True)
        self.dropout, self.linear = nn.Dropout(0.4), nn.Linear(2048, 2)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        batch, time_steps = frames.shape[:2]
        pooled = self.pool(self.features(frames.flatten(0, 1))).view(batch, time_steps, 2048)
        return self.linear(self.dropout(self.lstm(pooled)[0].mean(1)))


def plain(folder: Path, size: int, options: argparse.Namespace, device: torch.device) -> float:
    """(d) The recipe as it is usually written."""
    paths = []
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(4):
        still = pictures(np.random.default_rng(i), 1, 112)[0]
        video.write(folder / f"{i}.mp4", (np.roll(still, t % 20, axis=1) for t in range(148)))
        paths.append(folder / f"{i}.mp4")
    warm = 6 if device.type == "cuda" else 2
    data = Videos(paths * (options.steps + warm), size, options.frames)
    network = Plain().to(device).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-5, weight_decay=1e-4)
    workers = 2 if device.type == "cuda" else 0
    batches: Iterator[list[torch.Tensor]] = iter(DataLoader(data, batch_size=4, shuffle=True, num_workers=workers))

    def step() -> None:
        frames, labels = (tensor.to(device) for tensor in next(batches))
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(frames), labels)
        loss.backward()
        optimizer.step()
        loss.item()  # the running loss that it prints

    return timed(step, options.steps, 4 * options.frames, device)


def option_parser(description: str, *, steps: int, batch_size: int) -> argparse.ArgumentParser:
    """Return a parser with the options of both benchmarks of training, this one and `gpu`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--batch-size", type=int, default=batch_size, help="clips")
    parser.add_argument("--frames", type=int, default=10, help="of a clip")
    parser.add_argument("--backbone", default="resnext50_32x4d")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "gpu"])
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: PyTorch's choice")
    parser.add_argument("--workers", type=int, default=-1, help="loader processes; -1: as training.fit")
    return parser


def prepare(options: argparse.Namespace) -> torch.device:
    """Return the device that the options choose, with PyTorch set up for it; print its name and the sizes.

    `options.workers` becomes the number of loader processes.
    """
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    gpu = torch.cuda.is_available()
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.backends.cudnn.benchmark = gpu
    if options.workers < 0:
        options.workers = min(8, os.cpu_count() or 1) if gpu else 0
    name = torch.cuda.get_device_name() if gpu else f"cpu, {torch.get_num_threads()} threads"
    print(
        f"{name}; PyTorch {torch.__version__}; {options.backbone}, {options.batch_size} clips of {options.frames} "
        f"frames, {options.steps} steps, {options.workers} loader processes",
        flush=True,
    )
    return torch.device("cuda" if gpu else "cpu")


def measure(
    size: int, precise: str, options: argparse.Namespace, device: torch.device, folder: Path
) -> tuple[float, float, float]:
    """Return (a), (b) and (c) for a crop size and precision; `folder` takes the strips and the run."""
    detector = random_detector(options.backbone)
    if options.compile and device.type == "cuda":
        detector.backbone.compile()
    a = bare(detector, size, precise, options, device)
    train, val = generated_clips(folder / "strips", size, options)
    b = loading(train, options.workers, device)
    machine = HardwareSettings(
        precision=precise, compile=options.compile, threads=options.threads, loader_workers=options.workers
    )
    return a, b, fitting(train, val, folder / "run", options.backbone, machine)


def main() -> None:
    """Measure and print the table."""
    parser = option_parser(__doc__.splitlines()[0], steps=20, batch_size=8)
    parser.add_argument("--sizes", default="112,224", help="sides of a crop in pixels")
    parser.add_argument("--precisions", default="", help="auto, bf16, float32; default: auto and, if another, float32")
    parser.add_argument("--compile", action="store_true", help="torch.compile in a and c, on a GPU")
    options = parser.parse_args()
    device = prepare(options)
    gpu = device.type == "cuda"
    native = hardware.precision("auto", gpu)
    asked = options.precisions.split(",") if options.precisions else dict.fromkeys([native, "float32"])
    rows = []
    for size in map(int, options.sizes.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            d = plain(Path(folder), size, options, device)
        for precise in (hardware.precision(name, gpu) for name in asked):
            with tempfile.TemporaryDirectory() as folder:
                a, b, c = measure(size, precise, options, device, Path(folder))
            rows.append((size, precise, a, b, c, d, c / a, c / d))
    table = pd.DataFrame(rows, columns=["px", "precision", "a", "b", "c", "d", "c/a", "c/d"])
    print(table.round({"a": 1, "b": 1, "c": 1, "d": 1, "c/a": 2, "c/d": 2}).to_string(index=False))


if __name__ == "__main__":
    main()
