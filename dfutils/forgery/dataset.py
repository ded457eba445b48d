"""What all datasets that the suite makes itself have in common: names, chance, encoding, and a folder that goes on.

A fake lies in `fake/<method>/<target>__<donor>.mp4`, a self-blend in `fake/self_blend/<target>.mp4`, what was forged in
it in `masks/<method>/<same name>.npz`. Real and fake clips go through one encoding at a quality drawn without regard to
the label, so that nothing but the forgery tells them apart. Every draw is a function of a seed and a clip's name, and
what is finished is kept, so that a stopped run goes on where it was.
"""

import os
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from dfutils.core.errors import InputError
from dfutils.core.files import atomic, make_folder, read_json, write_json
from dfutils.core.paths import files_below, video_id
from dfutils.core.progress import bar
from dfutils.faces import video
from dfutils.forgery import animation, face_swap

CRF = (18, 28)
"""Least and greatest x264 quality that is drawn for a clip."""

_VERSION = 2  # written beside what is made: raise it when a change of the code changes clips
_MASK_WIDTH = 64


class Pair(NamedTuple):
    """Two people who lend each other their faces and nobody else, and the methods that forge each of them."""

    names: tuple[str, str]
    methods: tuple[tuple[str, ...], tuple[str, ...]]

    def fakes(self, member: int) -> list[tuple[str, str]]:
        """Return method and name (below `fake/` and `masks/`) of the fakes of one of them."""
        return [
            (method, fake_name(method, self.names[member], self.names[1 - member])) for method in self.methods[member]
        ]


def missing(out: Path, pair: Pair) -> int:
    """Return how many clips of a pair are not finished."""
    clips = [f"real/{name}" for name in pair.names]
    clips += [f"fake/{name}" for member in (0, 1) for _, name in pair.fakes(member)]
    return sum(not is_there(out, name) for name in clips)


def build_pairs(
    out: Path, pairs: Iterable[tuple[Pair, Callable[[], int]]], workers: int, desc: str, progress: bool
) -> None:
    """Call what writes a pair's clips, for each pair that lacks any."""
    lacking = [(missing(out, pair), call) for pair, call in pairs]
    work([call for count, call in lacking if count], sum(count for count, _ in lacking), workers, desc, progress)


def write_pair(out: Path, pair: Pair, clips: Sequence[tuple[np.ndarray, np.ndarray]], seed: int) -> int:
    """Write the clips of a pair that are missing, and return how many.

    `clips` are frames `(T, H, W, 3)` and landmarks `(T, 68, 2)` of the two, at 25 frames a second.
    """
    written = 0
    for member in (0, 1):
        (target, points), donor = clips[member], clips[1 - member]
        name = f"real/{pair.names[member]}"
        if not is_there(out, name):
            video.write(out / f"{name}.mp4", target, animation.FPS, draw_crf(seed, name))
            written += 1
        for method, name in pair.fakes(member):
            if not is_there(out, f"fake/{name}"):
                rng = chance(seed, name)
                if method == "self_blend":
                    forged = face_swap.each_self_blend(target, points, rng)
                else:
                    forged = face_swap.each_swap(target, points, *donor, method, rng)
                write_fake(out, name, forged, animation.FPS, seed)
                written += 1
    return written


def sources(root: Path, extensions: Collection[str], kind: str) -> list[str]:
    """Return the paths of all files below a folder with such an extension, as `paths.files_below` does.

    Raises:
        InputError: if there is no such folder or file; `kind` says what was looked for.
    """
    if not root.is_dir():
        raise InputError(f"{root} is no folder: it must hold the {kind}s.")
    if not (paths := files_below(root, extensions)):
        raise InputError(f"There is no {kind} below {root}: put the {kind}s there.")
    return paths


def names(paths: Sequence[str]) -> list[str]:
    """Return names for sources that are unique whatever the case, and without the "__" that parts target and donor."""
    found = [re.sub("__+", "_", video_id(path)).strip("_") or "video" for path in paths]
    times = Counter(name.lower() for name in found)
    return [
        f"{name[:80]}-{zlib.crc32(path.encode()):08x}" if times[name.lower()] > 1 else name
        for name, path in zip(found, paths, strict=True)
    ]


def fake_name(method: str, target: str, donor: str) -> str:
    return f"{method}/{target}" if method == "self_blend" else f"{method}/{target}__{donor}"


def chance(seed: int, name: str) -> np.random.Generator:
    """Return a generator of its own for whatever has this name, so that no order of work can matter."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def draw_crf(seed: int, name: str) -> int:
    """Return the quality a clip is encoded at: the same distribution for real and fake."""
    return int(chance(seed, f"crf of {name}").integers(CRF[0], CRF[1] + 1))


def is_there(out: Path, name: str) -> bool:
    """Whether a clip is finished, with its masks if it is a fake."""
    masks = out / f"masks/{name.removeprefix('fake/')}.npz"
    return (out / f"{name}.mp4").exists() and (name.startswith("real/") or masks.exists())


def write_fake(out: Path, name: str, forged: Iterable[tuple[np.ndarray, np.ndarray]], fps: float, seed: int) -> None:
    """Write a fake and its masks as they come."""
    small = []

    def pictures() -> Iterator[np.ndarray]:
        for frame, mask in forged:
            height = max(round(_MASK_WIDTH * mask.shape[0] / mask.shape[1]), 1)
            little = cv2.resize(mask, (_MASK_WIDTH, height), interpolation=cv2.INTER_AREA)
            small.append((255 * little + 0.5).astype(np.uint8))
            yield frame

    video.write(out / f"fake/{name}.mp4", pictures(), fps, draw_crf(seed, f"fake/{name}"))
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


def claim(out: Path, parameters: dict[str, Any]) -> None:
    """Write down what a folder is made with before anything is put there.

    Raises:
        InputError: if it was made with something else, or not by the suite.
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


def work(calls: Sequence[Callable[[], int]], total: int, workers: int, desc: str, progress: bool) -> None:
    """Run calls, each of which returns how many videos it made, on all cores."""
    count = min(workers or os.cpu_count() or 1, max(len(calls), 1))
    with bar(total=total, desc=desc, unit="video") if progress and calls else nullcontext() as shown:
        tasks = (delayed(_alone)(call) for call in calls)
        for finished in Parallel(n_jobs=count, return_as="generator_unordered", batch_size=1)(tasks):
            if shown is not None:
                shown.update(finished)


def _alone(call: Callable[[], int]) -> int:
    """Call with one thread: the order in which threads add up must not show in the result."""
    cv2.setNumThreads(1)
    with threadpool_limits(1):
        return call()
