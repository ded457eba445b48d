"""Face strips become tensors, and training clips are disturbed on the way.

A clip is the row of face crops of one video (or of one person in it). Every random draw, of the order of an epoch, of
the frames taken and of each disturbance, is a function of the seed, the epoch and the video, never of how far some
generator has got: a resumed run sees what an unbroken one would have seen, with any number of loader processes.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as vision

from dfutils.errors import InputError
from dfutils.preprocess import load_strip, strip_names

_GREY = (124, 116, 104)
"""ImageNet's mean colour, which normalisation turns into zero."""

_DRAWS = (
    "flip", "rotation", "scale", "brightness", "contrast", "saturation", "downscale", "downscale_factor", "blur",
    "blur_sigma", "noise", "noise_sd", "jpeg", "jpeg_quality", "cutout", "cutout_w", "cutout_h", "cutout_x", "cutout_y",
)  # fmt: skip


class Batch(NamedTuple):
    """Clips of one step, padded with black frames to the longest of them."""

    frames: torch.Tensor
    """uint8 RGB `(B, T, 3, S, S)`"""
    mask: torch.Tensor | None
    """bool `(B, T)`, false on padding, which comes last; None if there is no padding"""
    labels: torch.Tensor
    """int64 `(B,)`: 0 real, 1 fake"""
    index: torch.Tensor
    """int64 `(B,)`: position of the clip in its `ClipDataset`"""
    positions: torch.Tensor
    """int64 `(B, T)`: position of each frame in its strip, -1 on padding"""
    counts: torch.Tensor
    """float32 `(B,)`: 0 for a clip that only fills up a process's share of a step, else 1"""


def number(*key: object) -> int:
    """Return an integer in `[0, 2**63)` that is a function of the key alone (BLAKE2b of its text)."""
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest(), "little") >> 1


def stream(*key: object) -> np.random.Generator:
    """Return a generator whose draws are a function of the key alone."""
    return np.random.default_rng(number(*key))


class Key(NamedTuple):
    """What `Batches` asks a `ClipDataset` for."""

    epoch: int
    index: int
    counts: bool


class ClipDataset(Dataset):
    """The clips of a table of videos, as uint8 tensors."""

    def __init__(
        self,
        table: pd.DataFrame,
        strips_folder: Path,
        *,
        face_size: int = 112,
        frames_per_video: int = 10,
        train: bool = False,
        seed: int = 0,
        train_frames: int = 0,
        **augmentation: float,
    ) -> None:
        """Take the clips of `table` in its order; pixels are read when they are asked for.

        Args:
            table: videos table. Its column `strip`, if there is one, names each video's strip below `strips_folder`,
                or a list of them, one a person; without it a strip is `<video_id>.png`. Its column `strips` says how
                many people have one (see `preprocess.strip_names`). Each strip is a clip, with the video's label;
                without `label` all are 0.
            strips_folder: the folder of the strips; absolute paths in `strip` win over it.
            face_size: side of a crop in pixels.
            frames_per_video: a longer strip gives this many of its frames, evenly spread.
            train: disturb the clips, and take `train_frames` of each.
            seed: of all draws.
            train_frames: frames taken of a training clip, others in every epoch, in order of time; 0 takes all.
            **augmentation: strengths as `augment` names them.

        Raises:
            InputError: if strips are missing.
            TypeError: for an augmentation that `augment` does not know.
        """
        unknown = set(augmentation) - set(augment.__kwdefaults__)
        if unknown:
            raise TypeError(f"no such augmentation: {', '.join(sorted(unknown))}")
        self.face_size, self.frames_per_video, self.train = face_size, frames_per_video, train
        self.seed, self.train_frames, self.augmentation = seed, train_frames, augmentation
        named = table["strip"] if "strip" in table else table["video_id"] + ".png"
        counts = table["strips"] if "strips" in table else [1] * len(table)
        labels = table["label"] if "label" in table else [0] * len(table)
        self.video_ids: list[str] = []
        self.persons: list[int] = []
        self.paths: list[Path] = []
        of_clip: list[int] = []
        for video_id, strips, count, label in zip(table["video_id"], named, counts, labels, strict=True):
            each = strip_names(str(strips), count) if isinstance(strips, str | Path) else strips
            for person, strip in enumerate(each):
                self.video_ids.append(video_id)
                self.persons.append(person)
                self.paths.append(Path(strips_folder) / strip)
                of_clip.append(int(label))
        self.labels = np.asarray(of_clip, dtype=np.int64)
        missing = [path for path in self.paths if not path.is_file()]
        if missing:
            raise InputError(f"{len(missing)} strips are missing, {missing[0]} first: run notebook 02 again.")

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.paths)

    def facts(self) -> dict[str, Any]:
        """Return the plain values that decide what the clips hold, but for the strips' pixels."""
        clips = sorted(zip(self.video_ids, self.persons, self.labels.tolist(), strict=True))
        chosen = {} if not self.train else {"train_frames": self.train_frames, **self.augmentation}
        return {
            "face_size": self.face_size,
            "frames_per_video": self.frames_per_video,
            **chosen,
            "clips": f"{len(clips)} clips, {number(clips):016x}",
        }

    def clip(self, index: int, epoch: int = 0) -> torch.Tensor:
        """Return a clip as the network is shown it in an epoch: uint8 RGB `(T, 3, S, S)`.

        Raises:
            InputError: if the strip is missing, broken, empty, or of another crop size.
        """
        return self._read(index, epoch)[0]

    def _read(self, index: int, epoch: int) -> tuple[torch.Tensor, np.ndarray]:
        """Return the frames taken of a strip, and their ascending positions in it."""
        strip = load_strip(self.paths[index], self.face_size)
        if not len(strip):
            raise InputError(f"The strip {self.paths[index]} holds no frame: run notebook 02 again.")
        chosen = np.arange(len(strip))
        if len(strip) > self.frames_per_video:
            chosen = np.round(np.linspace(0, len(strip) - 1, self.frames_per_video)).astype(int)
        if self.train and 0 < self.train_frames < len(chosen):
            chosen = np.sort(self._stream("frames", index, epoch).permutation(chosen)[: self.train_frames])
        frames = torch.from_numpy(strip[chosen]).permute(0, 3, 1, 2)
        if self.train and any(self.augmentation.values()):
            frames = augment(frames, self._stream("augment", index, epoch), **self.augmentation)
        return frames, chosen

    def _stream(self, what: str, index: int, epoch: int) -> np.random.Generator:
        return stream(self.seed, what, epoch, self.video_ids[index], self.persons[index])

    def __getitem__(self, key: Key) -> tuple[Key, torch.Tensor, np.ndarray, int]:
        """Return what `collate` puts into a batch."""
        epoch, index, _ = key
        return key, *self._read(index, epoch), int(self.labels[index])


def collate(items: Sequence[tuple[Key, torch.Tensor, np.ndarray, int]]) -> Batch:
    """Put clips into one batch, padding shorter ones at the end."""
    keys, clips, places, labels = zip(*items, strict=True)
    lengths = torch.tensor([len(clip) for clip in clips])
    longest = int(lengths.max())
    size = clips[0].shape[-1]
    # Colours last in memory, as they come out of the strip and as convolutions want them.
    frames = torch.zeros((len(clips), longest, size, size, 3), dtype=torch.uint8).permute(0, 1, 4, 2, 3)
    positions = torch.full((len(clips), longest), -1)
    for row, (clip, place) in enumerate(zip(clips, places, strict=True)):
        frames[row, : len(clip)] = clip
        positions[row, : len(clip)] = torch.from_numpy(place)
    mask = None if bool((lengths == longest).all()) else torch.arange(longest) < lengths[:, None]
    index = torch.tensor([key.index for key in keys])
    counts = torch.tensor([float(key.counts) for key in keys])
    return Batch(frames, mask, torch.tensor(labels), index, positions, counts)


class Batches(Sampler[list[Key]]):
    """The clips of each step of an epoch, every clip once, in steps of nearly equal size.

    Equal steps spare batch normalisation a last step of one clip. With several processes each takes its share of every
    step; where the shares are uneven, a clip that does not count fills up.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int = 0,
        epoch: int = 0,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        """Divide `count` clips into steps of at most `batch_size` clips a process.

        Args:
            count: the clips.
            batch_size: of one process.
            shuffle: draw an order for every epoch; otherwise clips come as they stand.
            seed: of the order.
            epoch: that the first pass belongs to.
            share: this process's rank, and how many processes there are.
        """
        self.count, self.shuffle, self.seed, self.epoch = count, shuffle, seed, epoch
        self.rank, self.world = share
        self.steps = -(-count // (batch_size * self.world))
        self.sampler = self  # where Lightning looks for `set_epoch`

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Return the steps of an epoch."""
        return self.steps

    def __iter__(self) -> Iterator[list[Key]]:
        """Give each step's keys."""
        order = stream(self.seed, "order", self.epoch).permutation(self.count) if self.shuffle else range(self.count)
        for step in np.array_split(np.asarray(order, dtype=int), self.steps) if self.steps else []:
            share = [Key(self.epoch, int(index), True) for index in step[self.rank :: self.world]]
            filling = -(-len(step) // self.world) - len(share)
            yield share + [Key(self.epoch, int(step[0]), False)] * filling


def loader(dataset: ClipDataset, batches: Batches, *, workers: int = 0, pin_memory: bool = False) -> DataLoader:
    """Return an iterable of `Batch`; `workers` processes read ahead, 0 reads in this one."""
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
    )


def class_weights(labels: np.ndarray, text: str = "balanced") -> tuple[float, float]:
    """Return the loss weights of real and fake.

    Args:
        labels: the training labels, 0 real and 1 fake.
        text: `balanced` (n / 2n_class, as in scikit-learn), `none`, or two numbers, of real and fake: `1.0,2.5`.

    Raises:
        InputError: if the text is none of these, or a class is missing from the labels.
    """
    real, fake = int((labels == 0).sum()), int((labels == 1).sum())
    if not real or not fake:
        raise InputError(f"Training needs real and fake videos, but its split holds {real} real and {fake} fake ones.")
    if text == "balanced":
        return (real + fake) / (2 * real), (real + fake) / (2 * fake)
    if text == "none":
        return 1.0, 1.0
    try:
        weights = tuple(float(part) for part in text.split(","))
    except ValueError:
        weights = ()
    if len(weights) != 2 or not all(0 < weight < float("inf") for weight in weights):
        raise InputError(
            f"class_weights = {text!r} is not possible: write balanced, none, or two positive numbers "
            "for real and fake, as in 1.0,2.5."
        )
    return weights


def augment(
    frames: torch.Tensor,
    rng: np.random.Generator,
    *,
    flip: float = 0.0,
    rotation: float = 0.0,
    scale: float = 0.0,
    color_jitter: float = 0.0,
    downscale: float = 0.0,
    blur: float = 0.0,
    noise: float = 0.0,
    jpeg: float = 0.0,
    cutout: float = 0.0,
) -> torch.Tensor:
    """Return a disturbed copy of a clip; all of its frames share the draws, except the grain of the noise.

    Args:
        frames: uint8 `(T, 3, S, S)`.
        rng: source of the draws; each argument's draw is the same whatever the other arguments are.
        flip: probability of mirroring.
        rotation: largest angle in degrees, to either side.
        scale: largest change of size, as a share.
        color_jitter: largest change of brightness, of contrast and of saturation, as a share.
        downscale: probability of shrinking 1 to 4 times and enlarging again.
        blur: probability of a Gaussian blur, standard deviation 0.3 to 2 pixels in a crop of 112.
        noise: probability of Gaussian noise, standard deviation 1 to 10 of 255 grey levels.
        jpeg: probability of JPEG compression, quality 30 to 95.
        cutout: probability of a grey rectangle, sides 10 to 40% of the crop's.
    """
    # All are drawn, used or not, so that switching one on shifts no other.
    u = dict(zip(_DRAWS, rng.random(len(_DRAWS)), strict=True))
    size = frames.shape[-1]
    if u["flip"] < flip:
        frames = vision.horizontal_flip(frames)
    if rotation or scale:
        angle, zoom = rotation * (2 * u["rotation"] - 1), 1 + scale * (2 * u["scale"] - 1)
        frames = vision.affine(frames, angle, [0, 0], zoom, [0.0, 0.0], interpolation=InterpolationMode.BILINEAR)
    if color_jitter:
        frames = vision.adjust_brightness(frames, 1 + color_jitter * (2 * u["brightness"] - 1))
        frames = vision.adjust_contrast(frames, 1 + color_jitter * (2 * u["contrast"] - 1))
        frames = vision.adjust_saturation(frames, 1 + color_jitter * (2 * u["saturation"] - 1))
    if u["downscale"] < downscale:
        small = max(round(size / (1 + 3 * u["downscale_factor"])), 1)
        frames = vision.resize(vision.resize(frames, [small, small], antialias=True), [size, size], antialias=True)
    if u["blur"] < blur:
        sigma = (0.3 + 1.7 * u["blur_sigma"]) * size / 112
        kernel = 2 * int(np.ceil(2 * sigma)) + 1
        frames = vision.gaussian_blur(frames, [kernel, kernel], [sigma, sigma])
    if u["noise"] < noise:
        grain = torch.from_numpy(rng.standard_normal(frames.shape, dtype=np.float32)) * (1 + 9 * u["noise_sd"])
        frames = (frames + grain).round_().clamp_(0, 255).to(torch.uint8)
    if u["jpeg"] < jpeg:
        frames = _jpeg(frames, int(30 + 65 * u["jpeg_quality"]))
    if u["cutout"] < cutout:
        w, h = (max(round(size * (0.1 + 0.3 * u[side])), 1) for side in ("cutout_w", "cutout_h"))
        x, y = int(u["cutout_x"] * (size - w + 1)), int(u["cutout_y"] * (size - h + 1))
        grey = torch.tensor(_GREY, dtype=torch.uint8)[:, None, None].expand(3, h, w)
        frames = vision.erase(frames, y, x, h, w, grey)
    return frames


def _jpeg(frames: torch.Tensor, quality: int) -> torch.Tensor:
    """Compress and decompress each frame, by OpenCV: torchvision is giving up its codecs."""
    bgr = [frame.permute(1, 2, 0).flip(-1).numpy() for frame in frames]
    coded = [cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1] for picture in bgr]
    back = np.stack([cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1] for data in coded])
    return torch.from_numpy(back).permute(0, 3, 1, 2)
