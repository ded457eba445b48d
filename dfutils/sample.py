"""Datasets that the suite makes itself: the built-in sample, and fakes out of one's own real videos.

The sample needs no network: variants of two portraits talk (`stills`), are forged by the methods of `forge`, and are
written as H.264. Real and fake clips go through the same rendering and through one encoding, at a quality drawn
without regard to the label, so that nothing but the forgery tells them apart. Variants 2k and 2k + 1 lend each other
their faces and nobody else does: each such pair is a group of its own, and a split by identity loses no video. The same
holds for fakes of one's own videos, which are encoded anew for that.
"""

import logging
import os
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from dfutils import faces, forge, stills, video
from dfutils.datasets import video_id, videos_below
from dfutils.errors import InputError
from dfutils.files import atomic, make_folder, read_json, write_json
from dfutils.progress import bar
from dfutils.tracks import overlap

log = logging.getLogger(__name__)

PAIRS = (("collins", "hopper"), ("collins", "collins"), ("hopper", "collins"), ("hopper", "hopper"))
"""Portraits of the variants 2k and 2k + 1, in turn: half the swaps stay with one portrait, lest glasses tell fakes."""

CRF = (18, 28)
"""Least and greatest x264 quality that is drawn for a clip."""

LONGEST_SIDE = 1280
"""Own videos are reduced to this many pixels before they are forged."""

_VERSION = 2  # written beside what is made: raise it when a change of the code changes clips
_MASK_WIDTH = 64
_LEAST_FACES = 10  # frames with a face that a video needs to be forged


def build(
    out: Path | str,
    variants: int = 60,
    frames: int = 60,
    size: int = 256,
    seed: int = 0,
    workers: int = 0,
    progress: bool = True,
) -> None:
    """Make the built-in sample: `real/<variant>.mp4` and fakes of each variant by three of the four methods.

    A fake lies in `fake/<method>/<target>__<donor>.mp4`, a self-blend in `fake/self_blend/<target>.mp4`; what was
    forged in it, in `masks/<method>/<same name>.npz` (see `load_masks`). The same arguments give the same bytes on one
    machine, whatever the number of workers. What is there already is kept, so that a stopped run goes on where it was.

    Args:
        out: a new folder, or one that was made with the same arguments.
        variants: how many, even, 4 or more. Each gives 4 videos.
        frames: length of each clip, at 25 frames a second.
        size: side of the clips in pixels; 128 or more, so that dlib sees the faces.
        seed: of all chance.
        workers: processes; 0 is one a core.
        progress: show a bar.

    Raises:
        InputError: if an argument makes no sense, or the folder holds anything else.
    """
    if variants < 4 or variants % 2:
        raise InputError(f"The sample needs an even number of variants, 4 or more, not {variants}.")
    if frames < 1 or size < 128 or size % 2:
        raise InputError(f"Sample clips need a frame or more and an even size of 128 or more, not {frames} and {size}.")
    out = Path(out)
    _claim(out, {"variants": variants, "frames": frames, "size": size, "seed": seed})
    calls, missing = [], 0
    for pair in _pairs(variants):
        lacking = sum(not _is_there(out, name) for name in pair.names())
        if lacking:
            missing += lacking
            calls.append(partial(_build_pair, out, pair, frames, size, seed))
    _work(calls, missing, workers, "sample", progress)


class _Pair(NamedTuple):
    """Two variants that lend each other their faces: names, portraits, and the methods that forge each."""

    variants: tuple[str, str]
    portraits: tuple[str, str]
    methods: tuple[tuple[str, ...], tuple[str, ...]]

    def fakes(self, member: int) -> list[tuple[str, str]]:
        """Return method and name (below `fake/` and `masks/`) of the fakes of one of them."""
        return [
            (method, _fake_name(method, self.variants[member], self.variants[1 - member]))
            for method in self.methods[member]
        ]

    def names(self) -> list[str]:
        """Return the names of all clips, below `out` and without extension."""
        return [f"real/{variant}" for variant in self.variants] + [
            f"fake/{name}" for member in (0, 1) for _, name in self.fakes(member)
        ]


def _pairs(variants: int) -> list[_Pair]:
    digits, methods = max(2, len(str(variants - 1))), tuple(forge.METHODS)
    pairs = []
    for k in range(variants // 2):
        portraits = PAIRS[k % len(PAIRS)]
        # each variant goes without one method, in turn, and no method meets always the same portraits
        skipped = [(k + k // len(PAIRS) + 2 * member) % len(methods) for member in (0, 1)]
        pairs.append(
            _Pair(
                tuple(f"{portraits[member]}_{2 * k + member:0{digits}d}" for member in (0, 1)),
                portraits,
                tuple(tuple(m for i, m in enumerate(methods) if i != skip) for skip in skipped),
            )
        )
    return pairs


def _build_pair(out: Path, pair: _Pair, frames: int, size: int, seed: int) -> int:
    """Write the clips of a pair that are missing, and return how many."""
    clips = []
    for variant, portrait in zip(pair.variants, pair.portraits, strict=True):
        rng = _chance(seed, variant)
        clips.append(stills.animate(*stills.vary(portrait, size, rng), frames, size, rng))
    written = 0
    for member in (0, 1):
        (target, points), donor = clips[member], clips[1 - member]
        name = f"real/{pair.variants[member]}"
        if not _is_there(out, name):
            video.write(out / f"{name}.mp4", target, stills.FPS, _crf(seed, name))
            written += 1
        for method, name in pair.fakes(member):
            if not _is_there(out, f"fake/{name}"):
                rng = _chance(seed, name)
                if method == "self_blend":
                    forged = forge.each_self_blend(target, points, rng)
                else:
                    forged = forge.each_swap(target, points, *donor, method, rng)
                _write_fake(out, name, forged, stills.FPS, seed)
                written += 1
    return written


# What both kinds of datasets share


def _fake_name(method: str, target: str, donor: str) -> str:
    return f"{method}/{target}" if method == "self_blend" else f"{method}/{target}__{donor}"


def _chance(seed: int, name: str) -> np.random.Generator:
    """Return a generator of its own for whatever has this name, so that no order of work can matter."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _crf(seed: int, name: str) -> int:
    """Return the quality a clip is encoded at: the same distribution for real and fake."""
    return int(_chance(seed, f"crf of {name}").integers(CRF[0], CRF[1] + 1))


def _is_there(out: Path, name: str) -> bool:
    """Whether a clip is finished, with its masks if it is a fake."""
    masks = out / f"masks/{name.removeprefix('fake/')}.npz"
    return (out / f"{name}.mp4").exists() and (name.startswith("real/") or masks.exists())


def _write_fake(out: Path, name: str, forged: Iterable[tuple[np.ndarray, np.ndarray]], fps: float, seed: int) -> None:
    """Write a fake and its masks as they come."""
    small = []

    def pictures() -> Iterator[np.ndarray]:
        for frame, mask in forged:
            height = max(round(_MASK_WIDTH * mask.shape[0] / mask.shape[1]), 1)
            little = cv2.resize(mask, (_MASK_WIDTH, height), interpolation=cv2.INTER_AREA)
            small.append((255 * little + 0.5).astype(np.uint8))
            yield frame

    video.write(out / f"fake/{name}.mp4", pictures(), fps, _crf(seed, f"fake/{name}"))
    with atomic(out / f"masks/{name}.npz") as temporary:
        np.savez_compressed(temporary, masks=np.stack(small))


def load_masks(root: Path | str, path: str) -> np.ndarray:
    """Return what was forged in a fake made here: uint8 `(T, height, 64)`, 255 where nothing of the target is left.

    Args:
        root: the folder given to `build` or `forge_folder` as `out`.
        path: of the fake below it, as in the videos table.

    Raises:
        InputError: if there is no such file.
    """
    file = Path(root) / "masks" / Path(path).relative_to("fake").with_suffix(".npz")
    try:
        with np.load(file) as archive:
            return archive["masks"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        raise InputError(
            f"The masks {file} are missing or broken: delete the fake and run notebook 01 again."
        ) from None


def _claim(out: Path, parameters: dict[str, Any]) -> None:
    """Write down what a folder is made with before anything is put there.

    Raises:
        InputError: if it was made with something else, or not by this module.
    """
    parameters = {**parameters, "version": _VERSION}
    known = make_folder(out) / "sample.json"
    if known.exists():
        if read_json(known).get("parameters") != parameters:
            raise InputError(
                f"{out} was made with other parameters or from other videos: delete that folder, "
                "or choose another dataset name."
            )
        return
    if any(not entry.name.startswith(".") for entry in out.iterdir()):
        raise InputError(f"{out} holds files that were not made here: move them away, or choose another dataset name.")
    made_with = {name: version(name) for name in ("av", "dlib-bin", "numpy", "opencv-python-headless")}
    write_json({"parameters": parameters, "made_with": made_with}, known)


def _work(calls: Sequence[Callable[[], int]], total: int, workers: int, desc: str, progress: bool) -> None:
    """Run calls, each of which returns how many videos it made, on all cores."""
    count = min(workers or os.cpu_count() or 1, max(len(calls), 1))
    with bar(total=total, desc=desc, unit="video") if progress and calls else nullcontext() as shown:
        tasks = (delayed(_alone)(call) for call in calls)
        for made in Parallel(n_jobs=count, return_as="generator_unordered", batch_size=1)(tasks):
            if shown is not None:
                shown.update(made)


def _alone(call: Callable[[], int]) -> int:
    """Call with one thread: the order in which threads add up must not show in the result."""
    cv2.setNumThreads(1)
    with threadpool_limits(1):
        return call()


# One's own real videos


def forge_folder(
    real_root: Path | str,
    out: Path | str,
    methods: Sequence[str] = tuple(forge.METHODS),
    seed: int = 0,
    max_frames: int = 150,
    workers: int = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """Make fakes of real videos, and encode the real ones anew with the same encoder so that it tells nothing.

    In sorted order each two videos with a face lend each other their faces; an odd last one is only blended with
    itself. The person who is seen longest and largest is forged, wherever dlib sees the face. A video without a face is
    encoded anew and gets no fakes; one that cannot be read is left out. A stopped run goes on where it was.

    Args:
        real_root: folder of real videos, searched through; nothing is written there.
        out: folder for `real/<id>.mp4`, `fake/<method>/<target>__<donor>.mp4`, `fake/self_blend/<target>.mp4`, and
            `masks/` as `build` makes them.
        methods: those of `forge.METHODS` that are wanted.
        seed: of all chance.
        max_frames: only so many first frames of each video are used.
        workers: processes; 0 is one a core.
        progress: show bars.

    Returns:
        A row a video: `path` (below `real_root`), `id`, `status` (`ok`, `no_face`, `unreadable`), `reason`, and `fakes`
        (how many there are of it).

    Raises:
        InputError: if there is no video, none has a face, a method is unknown, or `out` is no place for the results.
    """
    real_root, out = Path(real_root), Path(out)
    unknown = sorted(set(methods) - set(forge.METHODS))
    if unknown or not methods:
        raise InputError(
            f"Choose forgery methods among {', '.join(forge.METHODS)}, not {', '.join(unknown) or 'none'}."
        )
    if out.resolve().is_relative_to(real_root.resolve()):
        raise InputError(f"{out} lies inside the folder of the real videos: choose another place for the fakes.")
    if not real_root.is_dir():
        raise InputError(f"{real_root} is no folder: it must hold the real videos.")
    paths = videos_below(real_root)
    if not paths:
        raise InputError(f"There is no video below {real_root}: put the real videos there.")
    ids = _ids(paths)
    sizes = [(real_root / path).stat().st_size for path in paths]
    about = {"methods": sorted(methods), "max_frames": max_frames, "seed": seed}
    _claim(out, {**about, "sources": [list(source) for source in zip(paths, sizes, strict=True)]})
    calls = [
        partial(_encode_real, real_root / path, out, name, seed, max_frames)
        for path, name in zip(paths, ids, strict=True)
        if not _landmark_file(out, name).exists()
    ]
    _work(calls, len(calls), workers, "real", progress)
    states = {name: _state(out, name) for name in ids}
    usable = [k for k, name in enumerate(ids) if states[name][0] == "ok"]
    if not usable:
        raise InputError(
            f"No face was found in any of the {len(paths)} videos below {real_root}: no fakes can be made."
        )
    calls, fakes, missing = [], dict.fromkeys(ids, 0), 0
    for first in range(0, len(usable), 2):
        pair = usable[first : first + 2]
        for target, donor in ((pair[0], pair[-1]), (pair[-1], pair[0]))[: len(pair)]:
            names = {
                method: _fake_name(method, ids[target], ids[donor])
                for method in forge.METHODS
                if method in methods and (method == "self_blend" or len(pair) == 2)
            }
            fakes[ids[target]] = len(names)
            names = {method: name for method, name in names.items() if not _is_there(out, f"fake/{name}")}
            if names:
                missing += len(names)
                sources = [(real_root / paths[k], ids[k]) for k in (target, donor)]
                calls.append(partial(_forge_one, *sources, out, names, seed, max_frames))
    _work(calls, missing, workers, "fakes", progress)
    for path, name in zip(paths, ids, strict=True):
        if states[name][0] != "ok":
            log.warning("%s: no fakes are made of it; %s", path, states[name][1])
    rows = [(path, name, *states[name], fakes[name]) for path, name in zip(paths, ids, strict=True)]
    return pd.DataFrame(rows, columns=["path", "id", "status", "reason", "fakes"])


def _ids(paths: Sequence[str]) -> list[str]:
    """Return names for videos that are unique whatever the case, and without the "__" that parts target and donor."""
    names = [re.sub("__+", "_", video_id(path)).strip("_") or "video" for path in paths]
    times = Counter(name.lower() for name in names)
    return [
        f"{name[:80]}-{zlib.crc32(path.encode()):08x}" if times[name.lower()] > 1 else name
        for name, path in zip(names, paths, strict=True)
    ]


def _encode_real(path: Path, out: Path, name: str, seed: int, max_frames: int) -> int:
    """Encode a real video anew, and write down its face's landmarks in every frame."""
    boxes, reason = _follow(path, max_frames)
    points = []

    def pictures() -> Iterator[np.ndarray]:
        for index, (frame, scale) in enumerate(_read(path, max_frames)):
            box = boxes.get(index)
            points.append(np.full((68, 2), np.nan) if box is None else faces.landmarks(frame, scale * box))
            yield frame

    try:
        video.write(out / f"real/{name}.mp4", pictures(), _fps(path), _crf(seed, f"real/{name}"))
    except video.VideoError as error:
        points, reason = [], str(error)
    with atomic(_landmark_file(out, name)) as temporary:
        np.savez_compressed(temporary, points=_steady(np.array(points).reshape(-1, 68, 2)), reason=reason)
    return 1


def _follow(path: Path, max_frames: int) -> tuple[dict[int, np.ndarray], str]:
    """Return by frame the box of the main person's face, x y w h in pixels, and what is wrong with the video.

    Between two detections a few frames apart the box moves from one to the other.
    """
    clip = faces.extract(path, max_frames=max_frames, frames_per_video=max_frames)
    boxes = dict(zip(clip.indices.tolist(), clip.boxes, strict=True))
    seen = sorted(boxes)
    for first, second in pairwise(seen):
        if second - first <= 6 and overlap(boxes[first], boxes[second]) > 0.4:
            for index in range(first + 1, second):
                share = (index - first) / (second - first)
                boxes[index] = (1 - share) * boxes[first] + share * boxes[second]
    return boxes, clip.reason


def _read(path: Path, max_frames: int) -> Iterator[tuple[np.ndarray, float]]:
    """Yield the frames of a video, reduced to `LONGEST_SIDE` and all of one size, and the factor of each reduction."""
    size = None
    for _, _, frame in video.frames(path, max_frames):
        scale = min(1.0, LONGEST_SIDE / max(frame.shape[:2]))
        size = size or (round(scale * frame.shape[1]), round(scale * frame.shape[0]))
        same = frame.shape[1::-1] == size
        yield frame if same else cv2.resize(frame, size, interpolation=cv2.INTER_AREA), size[0] / frame.shape[1]


def _fps(path: Path) -> float:
    fps = video.probe(path).fps
    return fps if 1 <= fps <= 240 else stills.FPS


def _steady(points: np.ndarray) -> np.ndarray:
    """Return landmarks `(T, 68, 2)` without their tremble: the mean of three frames where the face keeps its place."""
    steady = points.copy()
    for t in range(1, len(points) - 1):
        near = points[t - 1 : t + 2]
        if np.isfinite(near).all() and np.ptp(near.mean(axis=1), axis=0).max() < 0.1 * np.ptp(near[1], axis=0).max():
            steady[t] = 0.25 * near[0] + 0.5 * near[1] + 0.25 * near[2]
    return steady


def _landmark_file(out: Path, name: str) -> Path:
    return out / f"landmarks/{name}.npz"


def _state(out: Path, name: str) -> tuple[str, str]:
    """Return status and reason of a real video that was encoded anew."""
    with np.load(_landmark_file(out, name)) as archive:
        points, reason = archive["points"], str(archive["reason"])
    if not len(points):
        return "unreadable", reason
    count = int(np.isfinite(points).all(axis=(1, 2)).sum())
    if count < min(_LEAST_FACES, len(points)):
        return "no_face", f"a face is seen in {count} of {len(points)} frames; {_LEAST_FACES} are needed"
    return "ok", ""


def _forge_one(
    target: tuple[Path, str], donor: tuple[Path, str], out: Path, names: dict[str, str], seed: int, max_frames: int
) -> int:
    """Write the fakes of one target, by method, and return how many."""
    with np.load(_landmark_file(out, target[1])) as archive:
        points = archive["points"]
    faces_lent = _donor(*donor, out, max_frames) if set(names) != {"self_blend"} else ([], np.empty((0, 68, 2)))
    for method, name in names.items():
        frames, rng = (frame for frame, _ in _read(target[0], max_frames)), _chance(seed, name)
        if method == "self_blend":
            forged = forge.each_self_blend(frames, points, rng)
        else:
            forged = forge.each_swap(frames, points, *faces_lent, method, rng)
        _write_fake(out, name, forged, _fps(target[0]), seed)
    return len(names)


def _donor(path: Path, name: str, out: Path, max_frames: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Return crops around a donor's face, at most 50 evenly spread ones to spare memory, and the landmarks in them."""
    with np.load(_landmark_file(out, name)) as archive:
        points = archive["points"]
    seen = np.flatnonzero(np.isfinite(points).all(axis=(1, 2)))
    chosen = set(seen[np.linspace(0, len(seen) - 1, min(len(seen), 50)).round().astype(int)].tolist())
    crops, moved = [], []
    for index, (frame, _) in enumerate(_read(path, max_frames)):
        if index in chosen:
            rows, columns = forge.surroundings(points[index], frame.shape)
            crops.append(frame[rows, columns].copy())
            moved.append(points[index] - (columns.start, rows.start))
    return crops, np.array(moved)
