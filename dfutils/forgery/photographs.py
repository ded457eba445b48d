"""Talking clips and fakes made of a folder of photographs of faces, for training without videos.

Each photograph counts as a person of its own and is animated by `animation.animate`. People are paired and swap faces.
The dataset has its own splits: a tenth of the pairs each for validation and for the test. Training never contains the
method `HELD_OUT`, validation contains only that, the test contains all methods.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from dfutils.core.errors import InputError
from dfutils.core.files import atomic, file_digest
from dfutils.core.params import DEFAULTS
from dfutils.faces import detection
from dfutils.forgery import animation, dataset, face_swap

log = logging.getLogger(__name__)

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})

HELD_OUT = "poisson"
"""The forgery method that is in no training clip."""

_TRAINING = ("paste", "blend")  # alternately, one fake per pair: more are made during training
_SURROUNDINGS = 2.2  # side of a clip, in sides of the face's box
_CANVAS = 1.1  # side of a still, in sides of a clip
_SMALLEST = 80  # least width of a face in a photograph, in pixels
_VALIDATION, _TEST, _OF = 0, 5, 10  # indices of the pairs of every ten that are for validation and for the test
_LEFT_OUT = {
    "unreadable": "unreadable",
    "no_face": "without a face",
    "several_faces": "with several faces",
    "small_face": f"with a face of less than {_SMALLEST} pixels",
    "copy": "copied",
}


def animate_photographs(
    photographs: Path | str,
    out: Path | str,
    frames: int = DEFAULTS.sample_frames,
    size: int = DEFAULTS.sample_size,
    seed: int = DEFAULTS.sample_seed,
    workers: int = DEFAULTS.workers,
) -> pd.DataFrame:
    """Make `real/<name>.mp4`, `fake/<method>/<target>__<donor>.mp4` and `splits.csv` of a folder of photographs.

    An interrupted call is resumed by the next. The same arguments give the same frames; x264 encodes them to the same
    bytes if the side of a clip is a multiple of 64, and nearly always otherwise.

    Args:
        photographs: folder of photographs, searched recursively; not changed.
        out: a new folder, or one that was made with the same arguments.
        frames: number of frames of each clip, at 25 frames per second.
        size: largest side of the clips in pixels; smaller photographs are not enlarged.
        workers: number of processes; 0: one per core.

    Returns:
        One row per photograph: `path`, `name`, `status` (`ok`, `unreadable`, `no_face`, `several_faces`, `small_face`,
        `copy`), `split` and `fakes`, the number of fakes of it.

    Raises:
        InputError: if there are too few photographs with a face, or `out` is inside `photographs` or holds other files.
    """
    photographs, out = Path(photographs), Path(out)
    if out.resolve().is_relative_to(photographs.resolve()):
        raise InputError(f"{out} lies inside the folder of the photographs: choose another folder for the clips.")
    paths = dataset.list_sources(photographs, EXTENSIONS, "photograph")
    names = dataset.unique_names(paths)
    digests = [file_digest(photographs / path) for path in paths]
    parameters = {"frames": frames, "size": size, "seed": seed, "photographs": sorted(set(digests))}
    dataset.claim_folder(out, parameters)
    first_names = set(dict(zip(reversed(digests), reversed(names), strict=True)).values())  # of equal files, the first
    distinct = {name: photographs / path for path, name in zip(paths, names, strict=True) if name in first_names}
    _extract_stills(distinct, out, size, workers)
    statuses = [_status(out, name) if name in distinct else "copy" for name in names]
    usable = [name for name, status in zip(names, statuses, strict=True) if status == "ok"]
    pairs = _pairs(usable, seed)
    if len(pairs) < _OF:
        raise InputError(
            f"{len(usable)} of {len(paths)} photographs below {photographs} show one face of {_SMALLEST} pixels or "
            f"more; {2 * _OF} are needed."
        )
    _log_left_out(statuses)
    calls = [(pair, partial(_build_pair, out, pair, frames, seed)) for pair, _ in pairs]
    dataset.build_pairs(out, calls, workers, "clips")
    _write_splits(out, pairs)
    table = pd.DataFrame({"path": paths, "name": names, "status": statuses})
    split = {name: split for pair, split in pairs for name in pair.names}
    fakes = {name: len(pair.methods[member]) for pair, _ in pairs for member, name in enumerate(pair.names)}
    return table.assign(
        split=[split.get(name, "") for name in names],
        fakes=[fakes.get(name, 0) for name in names],
    )


def _log_left_out(statuses: Sequence[str]) -> None:
    """Log the numbers of photographs that are left out, by reason."""
    if left_out := Counter(status for status in statuses if status != "ok"):
        counts = ", ".join(f"{count} {_LEFT_OUT[status]}" for status, count in left_out.most_common())
        log.warning("%d of %d photographs are left out: %s.", left_out.total(), len(statuses), counts)


def _extract_stills(photographs: Mapping[str, Path], out: Path, size: int, workers: int) -> None:
    """Extract the stills of photographs, given by name, that are not there yet."""
    calls = [
        partial(_extract_still, path, out, name, size)
        for name, path in photographs.items()
        if not _still_file(out, name).exists()
    ]
    dataset.execute(calls, len(calls), workers, "photographs")


def _extract_still(photograph: Path, out: Path, name: str, size: int) -> int:
    """Detect the face in a photograph, write the still that its clip is made of with its landmarks, and return 1."""
    image = cv2.imread(str(photograph), cv2.IMREAD_COLOR)
    still, points, status = np.empty((0, 0, 3), np.uint8), np.empty((0, 2)), "unreadable"
    if image is not None:
        image = np.ascontiguousarray(image[..., ::-1])
        faces = sorted(detection.detect(image), key=lambda face: -face.box[2])
        if not faces:
            status = "no_face"
        elif faces[0].box[2] < _SMALLEST:
            status = "small_face"
        elif len(faces) > 1 and faces[1].box[2] > 0.5 * faces[0].box[2]:
            status = "several_faces"
        else:
            still, points = _crop(image, faces[0], size)
            status = "ok"
    with atomic(_still_file(out, name)) as temporary:
        np.savez(temporary, still=still, points=points, status=status)
    return 1


def _crop(photograph: np.ndarray, face: detection.Face, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a square around a face, a tenth larger than the clip, and the landmarks in it `(68, 2)`."""
    x, y, w, h = face.box
    side = min(_SURROUNDINGS * w, max(photograph.shape[:2]))
    scale = min(1.0, size / side)
    points = np.asarray(face.landmarks, float)
    if scale < 1:
        photograph = cv2.resize(photograph, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        points = (points + 0.5) * scale - 0.5
    canvas = 2 * round(_CANVAS * side * scale / 2)
    corner = np.round(scale * np.array([x + w / 2, y + h / 2]) - canvas / 2)
    translation = np.column_stack([np.eye(2), -corner])
    still = cv2.warpAffine(
        photograph, translation, (canvas, canvas), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101
    )
    return still, points - corner


def _still_file(out: Path, name: str) -> Path:
    return out / f"stills/{name}.npz"


def _status(out: Path, name: str) -> str:
    with np.load(_still_file(out, name)) as archive:
        return str(archive["status"])


def _pairs(names: Sequence[str], seed: int) -> list[tuple[dataset.Pair, str]]:
    """Return pairs of people with the methods that forge them, and the split of each pair."""
    order = dataset.named_rng(seed, "pairs").permutation(sorted(names)).tolist()
    all_methods, pairs = tuple(face_swap.METHODS), []
    for k in range(len(order) // 2):
        split = {_VALIDATION: "val", _TEST: "test"}.get(k % _OF, "train")
        methods = {"val": ((HELD_OUT,),) * 2, "test": (all_methods,) * 2, "train": ((_TRAINING[k % 2],), ())}[split]
        pairs.append((dataset.Pair((order[2 * k], order[2 * k + 1]), methods), split))
    return pairs


def _build_pair(out: Path, pair: dataset.Pair, frames: int, seed: int) -> int:
    """Write the clips of a pair that are not finished, and return their number."""
    clips = []
    for name in pair.names:
        with np.load(_still_file(out, name)) as archive:
            still, points = archive["still"], archive["points"]
        size = 2 * int(len(still) / _CANVAS / 2)
        clips.append(animation.animate(still, points, frames, size, dataset.named_rng(seed, name)))
    return dataset.write_pair(out, pair, clips, seed)


def _write_splits(out: Path, pairs: Sequence[tuple[dataset.Pair, str]]) -> None:
    """Write `splits.csv`, with the path and the split of each clip."""
    lines = [
        f"{path},{split}\n"
        for pair, split in pairs
        for member, name in enumerate(pair.names)
        for path in (f"real/{name}.mp4", *(f"fake/{fake}.mp4" for _, fake in pair.fakes(member)))
    ]
    with atomic(out / "splits.csv") as temporary:
        temporary.write_text("path,split\n" + "".join(sorted(lines)), encoding="utf-8", newline="\n")
