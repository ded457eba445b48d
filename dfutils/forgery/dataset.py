"""Names, random numbers, encoding and resumption, shared by all datasets that the suite makes.

A fake lies in `fake/<method>/<target>__<donor>.mp4`, a self-blend in `fake/self_blend/<target>.mp4`, the mask of the
forged pixels in `masks/<method>/<same name>.npz`. Real and fake clips are encoded with the same encoder at a quality
whose distribution does not depend on the label, so that only the forgery separates them. All random draws are functions
of a seed and of a clip's name, and finished clips are kept, so that an interrupted build can be resumed.
"""

import logging
import os
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from dfutils.core.errors import InputError
from dfutils.core.files import atomic, make_folder, read_json, write_json
from dfutils.core.paths import files_below, printable, video_id
from dfutils.core.progress import bar
from dfutils.faces import video
from dfutils.forgery import animation, face_swap

log = logging.getLogger(__name__)

CRF = (18, 28)
"""Range of the x264 quality (CRF) that is drawn for a clip."""

_VERSION = 2  # recorded with the clips: increase it when a change of the code changes clips
_MASK_WIDTH = 64


class Pair(NamedTuple):
    """Two people who swap faces with each other only, and the methods that forge each of them."""

    names: tuple[str, str]
    methods: tuple[tuple[str, ...], tuple[str, ...]]

    def fakes(self, member: int) -> list[tuple[str, str]]:
        """Return method and name (path below `fake/` and `masks/` without extension) of the fakes of one of them."""
        return [
            (method, fake_name(method, self.names[member], self.names[1 - member])) for method in self.methods[member]
        ]


def count_missing(out: Path, pair: Pair) -> int:
    """Return the number of clips of a pair that are not finished."""
    clips = [f"real/{name}" for name in pair.names]
    clips += [f"fake/{name}" for member in (0, 1) for _, name in pair.fakes(member)]
    return sum(not is_finished(out, name) for name in clips)


def build_pairs(out: Path, pairs: Iterable[tuple[Pair, Callable[[], int]]], workers: int, desc: str) -> None:
    """Execute, for each pair with unfinished clips, the call that writes them."""
    missing = [(count_missing(out, pair), call) for pair, call in pairs]
    execute([call for count, call in missing if count], sum(count for count, _ in missing), workers, desc)


def write_pair(out: Path, pair: Pair, clips: Sequence[tuple[np.ndarray, np.ndarray]], seed: int) -> int:
    """Write the clips of a pair that are not finished, and return their number.

    `clips` are frames `(T, H, W, 3)` and landmarks `(T, 68, 2)` of the two people, at 25 frames per second.
    """
    written = 0
    for member in (0, 1):
        (target, points), donor = clips[member], clips[1 - member]
        name = f"real/{pair.names[member]}"
        if not is_finished(out, name):
            video.write(out / f"{name}.mp4", target, animation.FPS, draw_crf(seed, name))
            written += 1
        for method, name in pair.fakes(member):
            if not is_finished(out, f"fake/{name}"):
                rng = named_rng(seed, name)
                if method == "self_blend":
                    forged = face_swap.iter_self_blend(target, points, rng)
                else:
                    forged = face_swap.iter_swap(target, points, *donor, method, rng)
                write_fake(out, name, forged, animation.FPS, seed)
                written += 1
    return written


def list_sources(root: Path, extensions: Collection[str] | None, kind: str) -> list[str]:
    """Return the paths of the videos, or of the files with one of the extensions, below a folder, as `files_below`.

    Files whose names are not valid Unicode cannot be written to a table; they are left out with a warning.

    Raises:
        InputError: if there is no such folder or file; the message names the `kind` of files.
    """
    if not root.is_dir():
        raise InputError(f"{root} is no folder: it must hold the {kind}s.")
    found = files_below(root, extensions)
    paths = [path for path in found if printable(path) == path]
    for path in sorted(set(found) - set(paths)):
        log.warning("%s is left out, because its name is not valid Unicode: rename it.", printable(path))
    if not paths:
        raise InputError(f"There is no {kind} below {root}: put the {kind}s there.")
    return paths


def unique_names(paths: Sequence[str]) -> list[str]:
    """Return names of sources that differ in more than case, without the "__" that separates target and donor."""
    names = [re.sub("__+", "_", video_id(path)).strip("_") or "video" for path in paths]
    count = Counter(name.lower() for name in names)
    return [
        f"{name[:80]}-{zlib.crc32(path.encode()):08x}" if count[name.lower()] > 1 else name
        for name, path in zip(names, paths, strict=True)
    ]


def fake_name(method: str, target: str, donor: str) -> str:
    """Return the path of a fake below `fake/` without extension."""
    return f"{method}/{target}" if method == "self_blend" else f"{method}/{target}__{donor}"


def named_rng(seed: int, name: str) -> np.random.Generator:
    """Return the random generator of a name, so that results do not depend on the order of the work."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def draw_crf(seed: int, name: str) -> int:
    """Return the quality (CRF) of a clip, of the same distribution for real and fake clips."""
    return int(named_rng(seed, f"crf of {name}").integers(CRF[0], CRF[1] + 1))


def is_finished(out: Path, name: str) -> bool:
    """Return whether a clip exists, with its masks if it is a fake."""
    masks = out / f"masks/{name.removeprefix('fake/')}.npz"
    return (out / f"{name}.mp4").exists() and (name.startswith("real/") or masks.exists())


def write_fake(out: Path, name: str, forged: Iterable[tuple[np.ndarray, np.ndarray]], fps: float, seed: int) -> None:
    """Write a fake and its masks from an iterable of frames and masks."""
    small_masks = []

    def frames() -> Iterator[np.ndarray]:
        for frame, mask in forged:
            height = max(round(_MASK_WIDTH * mask.shape[0] / mask.shape[1]), 1)
            small = cv2.resize(mask, (_MASK_WIDTH, height), interpolation=cv2.INTER_AREA)
            small_masks.append((255 * small + 0.5).astype(np.uint8))
            yield frame

    video.write(out / f"fake/{name}.mp4", frames(), fps, draw_crf(seed, f"fake/{name}"))
    with atomic(out / f"masks/{name}.npz") as temporary:
        np.savez_compressed(temporary, masks=np.stack(small_masks))


def load_masks(root: Path | str, path: str) -> np.ndarray:
    """Return the masks of a fake that the suite made: uint8 `(T, height, 64)`, 255 where the target is fully replaced.

    Args:
        root: folder of the dataset.
        path: path of the fake below it, as in the videos table.

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


def claim_folder(out: Path, parameters: dict[str, Any]) -> None:
    """Create the folder of a dataset with a record of its parameters, or check the record if there is one.

    Raises:
        InputError: if the folder has other parameters, or contains files but no record.
    """
    parameters = {**parameters, "version": _VERSION}
    record = make_folder(out) / "sample.json"
    if record.exists():
        if read_json(record).get("parameters") != parameters:
            raise InputError(
                f"{out} was made with other parameters or from other videos: delete that folder, "
                "or choose another dataset name."
            )
        return
    if any(not entry.name.startswith(".") for entry in out.iterdir()):
        raise InputError(f"{out} holds files that were not made here: move them away, or choose another dataset name.")
    made_with = {name: version(name) for name in ("av", "dlib-bin", "numpy", "opencv-python-headless")}
    write_json({"parameters": parameters, "made_with": made_with}, record)


def execute(calls: Sequence[Callable[[], int]], total: int, workers: int, desc: str) -> None:
    """Execute calls, each of which returns how many of the `total` videos it wrote, in processes (0: one per core)."""
    if not calls:
        return
    n_jobs = min(workers or os.cpu_count() or 1, len(calls))
    with bar(total=total, desc=desc, unit="video") as progress_bar:
        tasks = (delayed(_call_single_threaded)(call) for call in calls)
        for finished in Parallel(n_jobs=n_jobs, return_as="generator_unordered", batch_size=1)(tasks):
            progress_bar.update(finished)


def _call_single_threaded(call: Callable[[], int]) -> int:
    """Call with one thread, so that results do not depend on the order in which threads add numbers."""
    cv2.setNumThreads(1)
    with threadpool_limits(1):
        return call()
