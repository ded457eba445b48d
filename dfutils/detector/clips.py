"""Face strips become tensors; on the way training clips are disturbed, and some real ones become fakes.

A clip is the row of face crops of one video (or of one person in it). Every random draw, of the order of an epoch, of
the frames taken, of each disturbance and of each self-blended fake, is a function of the seed, the epoch and the video,
never of how far some generator has got: a resumed run sees what an unbroken one would have seen, with any number of
loader processes.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, Sampler

from dfutils.core.errors import InputError
from dfutils.core.params import AugmentationSettings, FaceSettings, TrainingSettings
from dfutils.detector.augmentation import augment
from dfutils.detector.pairing import pairs
from dfutils.faces import views
from dfutils.faces.strips import load_strip, strip_names, view_strip
from dfutils.forgery import self_blending


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


def dropout_seed(seed: int, epoch: int, step: int, rank: int = 0) -> int:
    """Return the seed of PyTorch's draws in a step of training, of the process `rank`; `step` counts from 0."""
    return number(seed, "dropout", epoch, step, rank)


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
        faces: FaceSettings,
        *,
        training: TrainingSettings | None = None,
        augmentation: AugmentationSettings | None = None,
        frames_table: pd.DataFrame | None = None,
        view: str = "face",
    ) -> None:
        """Take the clips of `table` in its order; pixels are read when they are asked for.

        Args:
            table: videos table. Its column `strip`, if there is one, names each video's strip below `strips_folder`,
                or a list of them, one a person; without it a strip is `<video_id>.png`. Its column `strips` says how
                many people have one (see `strips.strip_names`). Each strip is a clip, with the video's label; without
                `label` all are 0.
            strips_folder: the folder of the strips; absolute paths in `strip` win over it.
            faces: `face_size` is the side of a crop in pixels; a strip of more than `frames_per_video` frames gives
                this many of them, evenly spread.
            training: of training clips `train_frames` are taken, others in every epoch, in order of time; 0 takes all.
                Its `seed` is that of all draws. None: for evaluation, without any draw.
            augmentation: of training clips. A real one becomes a fake for an epoch (`self_blending.blend`) with the
                probability `self_blend`, before it is disturbed; clips without landmarks stay real.
            frames_table: where the landmarks are that self-blending needs, as notebook 02 writes it.
            view: of `faces.views.VIEWS`; only videos are taken that have it, as their column `views` says. Of a native
                crop training is shown a random window, evaluation the fixed ones, one below the other.

        Raises:
            InputError: if strips are missing, or no real clip has the landmarks for `self_blend`.
        """
        self.view, self.frames_per_video = view, faces.frames_per_video
        self.face_size = {"native": views.WINDOW, "motion": views.MOTION}.get(view, faces.face_size)
        if view != "face":
            table = table[[view in found.split(",") for found in table["views"]]] if "views" in table else table[:0]
        self.training, self.augmentation = training, augmentation if training else None
        self.video_ids: list[str] = []
        self.persons: list[int] = []
        self.paths: list[Path] = []
        self.labels = self._list_clips(table, Path(strips_folder))
        sources = dict(zip(table["video_id"], table["source_video"], strict=True)) if "source_video" in table else {}
        self.families = np.unique([sources.get(name) or name for name in self.video_ids], return_inverse=True)[1]
        missing = [path for path in self.paths if not path.is_file()]
        if missing:
            raise InputError(f"{len(missing)} strips are missing, {missing[0]} first: run notebook 02 again.")
        self.self_blend = self.augmentation.self_blend if self.augmentation else 0.0
        self._landmarks: dict[int, np.ndarray] = {}
        if self.self_blend and 0 in self.labels:
            self._landmarks = self._find_landmarks(frames_table)
        # In an order that does not depend on the table's.
        self._lenders = np.array(
            sorted(self._landmarks, key=lambda clip: (self.video_ids[clip], self.persons[clip])), dtype=int
        )

    def _list_clips(self, table: pd.DataFrame, strips_folder: Path) -> np.ndarray:
        """Note video, person and path of each clip of the table, and return their labels, int64 `(clips,)`."""
        strips = table["strip"] if "strip" in table else table["video_id"] + ".png"
        counts = table["strips"] if "strips" in table else [1] * len(table)
        labels = table["label"] if "label" in table else [0] * len(table)
        of_clips: list[int] = []
        for video_id, strip, count, label in zip(table["video_id"], strips, counts, labels, strict=True):
            each = strip_names(str(strip), count) if isinstance(strip, str | Path) else strip
            for person, name in enumerate(each):
                self.video_ids.append(video_id)
                self.persons.append(person)
                self.paths.append(strips_folder / view_strip(str(name), self.view))
                of_clips.append(int(label))
        return np.asarray(of_clips, dtype=np.int64)

    def _find_landmarks(self, frames_table: pd.DataFrame | None) -> dict[int, np.ndarray]:
        """Return float32 `(T, 68, 2)` for the position of each real clip whose every frame has landmarks."""
        wanted = {
            clip: index
            for index, clip in enumerate(zip(self.video_ids, self.persons, strict=True))
            if self.labels[index] == 0
        }
        landmarks = {}
        if frames_table is not None:
            rows = frames_table[frames_table["video_id"].isin({video_id for video_id, _ in wanted})]
            for clip, group in rows.sort_values("position").groupby(["video_id", "person"]):
                points = [np.asarray(row, dtype=np.float32) for row in group["landmarks"]]
                if clip in wanted and all(row.shape == (136,) and np.isfinite(row).all() for row in points):
                    landmarks[wanted[clip]] = np.stack(points).reshape(-1, 68, 2)
        if not landmarks:
            raise InputError(
                f"self_blend = {self.self_blend} needs landmarks, and none of the {len(wanted)} real training clips "
                "has them: set self_blend to 0, or run notebook 02 again."
            )
        return landmarks

    @property
    def blended(self) -> float:
        """Share of real clips that are fakes in an epoch, on average: less than `self_blend` if some lack landmarks."""
        return self.self_blend * len(self._landmarks) / max(int((self.labels == 0).sum()), 1)

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.paths)

    def facts(self) -> dict[str, Any]:
        """Return the plain values that decide what the clips hold, but for the strips' pixels."""
        clips = sorted(zip(self.video_ids, self.persons, self.labels.tolist(), strict=True))
        drawn: dict[str, Any] = {}
        if self.training:
            drawn = {"train_frames": self.training.train_frames}
        if self.augmentation:
            drawn |= AugmentationSettings.of(self.augmentation).model_dump()
        return {
            "face_size": self.face_size,
            "frames_per_video": self.frames_per_video,
            **drawn,
            "clips": f"{len(clips)} clips, {number(clips):016x}",
        }

    def clip(self, index: int, epoch: int = 0) -> torch.Tensor:
        """Return a clip as the network is shown it in an epoch: uint8 RGB `(T, 3, S, S)`.

        Raises:
            InputError: if the strip is missing, broken, empty, or of another crop size.
        """
        return self._read(index, epoch)[0]

    def _read(self, index: int, epoch: int) -> tuple[torch.Tensor, np.ndarray, int]:
        """Return the frames taken of a strip, their ascending positions in it, and what they are: 0 real, 1 fake."""
        strip = load_strip(self.paths[index], None if self.view == "native" else self.face_size)
        if not len(strip):
            raise InputError(f"The strip {self.paths[index]} holds no frame: run notebook 02 again.")
        chosen = np.arange(len(strip))
        if len(strip) > self.frames_per_video:
            chosen = np.round(np.linspace(0, len(strip) - 1, self.frames_per_video)).astype(int)
        if self.training and 0 < self.training.train_frames < len(chosen):
            chosen = np.sort(self._stream("frames", index, epoch).permutation(chosen)[: self.training.train_frames])
        pixels, label = strip[chosen], int(self.labels[index])
        if index in self._landmarks:
            rng = self._stream("self_blend", index, epoch)
            if rng.random() < self.self_blend:
                pixels, label = self._blend(index, len(strip), pixels, chosen, rng), 1
        if self.view == "native":
            pixels = (
                views.random_window(pixels, self._stream("window", index, epoch))
                if self.training
                else views.windows(pixels)
            )
        frames = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)
        if self.augmentation:
            frames = augment(frames, self._stream("augment", index, epoch), self.augmentation)
        return frames, chosen, label

    def _blend(
        self, index: int, length: int, pixels: np.ndarray, chosen: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        points, donor = self._landmarks[index], None
        self._check_length(index, length)
        others = self._lenders[self.families[self._lenders] != self.families[index]]
        if rng.random() < self.augmentation.swap and len(others):
            other = int(rng.choice(others))
            strip = load_strip(self.paths[other], self.face_size)
            self._check_length(other, len(strip))
            donor = (strip, self._landmarks[other])
        return self_blending.blend(pixels, points[chosen], rng, donor)[0]

    def _check_length(self, index: int, length: int) -> None:
        if len(self._landmarks[index]) != length:
            raise InputError(
                f"The strip {self.paths[index]} has {length} frames, the frames table {len(self._landmarks[index])}: "
                "run notebook 02 again."
            )

    def _stream(self, what: str, index: int, epoch: int) -> np.random.Generator:
        return stream(self.training.seed, what, epoch, self.video_ids[index], self.persons[index])

    def __getitem__(self, key: Key) -> tuple[Key, torch.Tensor, np.ndarray, int]:
        """Return what `collate` puts into a batch."""
        epoch, index, _ = key
        return key, *self._read(index, epoch)


def collate(items: Sequence[tuple[Key, torch.Tensor, np.ndarray, int]]) -> Batch:
    """Put clips into one batch, padding shorter ones at the end."""
    keys, clips, taken, labels = zip(*items, strict=True)
    # Colours last in memory, as they come out of the strip and as convolutions want them.
    frames = pad_sequence([clip.permute(0, 2, 3, 1) for clip in clips], batch_first=True).permute(0, 1, 4, 2, 3)
    positions = pad_sequence([torch.from_numpy(chosen) for chosen in taken], batch_first=True, padding_value=-1)
    mask = None if bool((positions >= 0).all()) else positions >= 0
    index = torch.tensor([key.index for key in keys])
    counts = torch.tensor([float(key.counts) for key in keys])
    return Batch(frames, mask, torch.tensor(labels), index, positions, counts)


class Batches(Sampler[list[Key]]):
    """The clips of each step of an epoch, every clip once (unless sampled by class), in steps of nearly equal size.

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
        labels: np.ndarray | None = None,
        families: np.ndarray | None = None,
    ) -> None:
        """Divide `count` clips into steps of at most `batch_size` clips a process.

        Args:
            shuffle: draw an order for every epoch; otherwise clips come as they stand.
            epoch: that the first pass belongs to.
            share: this process's rank, and how many processes there are.
            labels: if given, as many clips of each class are drawn (with `shuffle`): an epoch is as long as before,
                but takes some clips of the larger class only, and those of the smaller one several times, each as
                often as the others or once more.
            families: if given, of each clip, the order is drawn of families (with `shuffle`), and their clips follow
                one another; with `labels`, too, each fake follows a real clip, of its family if that has one.
        """
        self.count, self.shuffle, self.seed, self.epoch = count, shuffle, seed, epoch
        self.labels, self.families = labels, families
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
        order = self._order() if self.shuffle else range(self.count)
        for step in np.array_split(np.asarray(order, dtype=int), self.steps) if self.steps else []:
            share = [Key(self.epoch, int(index), True) for index in step[self.rank :: self.world]]
            filling = -(-len(step) // self.world) - len(share)
            yield share + [Key(self.epoch, int(step[0]), False)] * filling

    def _order(self) -> np.ndarray:
        rng = stream(self.seed, "order", self.epoch)
        if self.families is not None and self.count:
            if self.labels is not None and 0 < self.labels.sum() < self.count:
                return pairs(self.labels, self.families, rng)
            return np.argsort(rng.permutation(self.families.max() + 1)[self.families], kind="stable")
        classes = [] if self.labels is None else [np.flatnonzero(self.labels == label) for label in (0, 1)]
        if len(classes) < 2 or not all(map(len, classes)):
            return rng.permutation(self.count)
        shares = (self.count // 2, self.count - self.count // 2)
        drawn = [
            np.concatenate([rng.permutation(clips) for _ in range(-(-many // len(clips)))])[:many]
            for clips, many in zip(classes, shares, strict=True)
            if many
        ]
        return rng.permutation(np.concatenate(drawn))


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


def validation_weights(labels: np.ndarray, text: str = "balanced") -> tuple[float, float]:
    """Return the weights of real and fake in the validation loss, from the validation labels alone.

    As `class_weights`, with the classes as they stand there: how training draws and changes its clips has no part in
    it. 1 and 1 where a class is missing.
    """
    if len(np.unique(labels)) < 2:
        return 1.0, 1.0
    return class_weights(labels, text)


def class_weights(
    labels: np.ndarray, text: str = "balanced", *, blended: float = 0.0, balanced_sampling: bool = False
) -> tuple[float, float]:
    """Return the loss weights of real and fake.

    `balanced` weights follow what an epoch shows on average, n / 2n_class (as in scikit-learn), not what the table
    says: a self-blended clip counts as a fake, and with balanced sampling both classes are drawn alike, so that both
    together never weigh a class twice.

    Args:
        labels: the training labels, 0 real and 1 fake.
        text: `balanced`, `none`, or two numbers, of real and fake: `1.0,2.5`.
        blended: share of the real clips that become fakes (`ClipDataset.blended`).
        balanced_sampling: whether as many clips of each class are drawn (`Batches`).

    Raises:
        InputError: if the text is none of these, or an epoch would not hold both classes.
    """
    real, fake = float((labels == 0).sum()), float((labels == 1).sum())
    if balanced_sampling and real and fake:
        real = fake = (real + fake) / 2
    real, fake = real * (1 - blended), fake + real * blended
    if blended >= 1:
        raise InputError("self_blend = 1 leaves no real clip to learn from: choose a smaller share.")
    if not real or not fake:
        raise InputError(
            f"Training needs real and fake videos, but its split holds {(labels == 0).sum()} real and "
            f"{(labels == 1).sum()} fake ones."
        )
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
