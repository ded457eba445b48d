"""Talking clips and forgeries out of a folder of photographs: real faces to train on where no videos are at hand.

Each photograph is a person of its own and comes to life as the sample's portraits do (`animation.animate`). Two by two
they lend each other their faces. The dataset brings its own splits, a tenth of the pairs each for validation and test.
Validation knows one forgery method only, `HELD_OUT`, which training never sees; the test has all.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from dfutils.core.errors import InputError
from dfutils.core.files import atomic, file_digest
from dfutils.faces import detection
from dfutils.forgery import animation, dataset, face_swap

log = logging.getLogger(__name__)

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})

HELD_OUT = "poisson"
"""The forgery method that no training clip is made by."""

_TRAINING = ("paste", "blend")  # in turn, one fake a pair: more are made while training
_SURROUNDINGS = 2.2  # side of a clip, in sides of the face's box
_CANVAS = 1.1  # side of a still, in sides of a clip
_SMALLEST = 80  # least width of a face in a photograph, in pixels
_VALIDATION, _TEST, _OF = 0, 5, 10  # which of ten pairs are for validation and for the test
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
    frames: int = 20,
    size: int = 256,
    seed: int = 0,
    workers: int = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """Make `real/<name>.mp4`, `fake/<method>/<target>__<donor>.mp4` and `splits.csv` of a folder of photographs.

    A stopped run goes on where it was. The same arguments give the same pictures; x264 writes them in the same bytes
    where a clip's side is a multiple of 64, and nearly always elsewhere.

    Args:
        photographs: the folder, searched through; nothing is written there.
        out: a new folder, or one that was made with the same arguments.
        frames: length of each clip, at 25 frames a second.
        size: side of the clips in pixels, at most; a smaller photograph is not enlarged.
        seed: of all chance.
        workers: processes; 0 is one a core.
        progress: show bars.

    Returns:
        A row a photograph: `path`, `name`, `status` (`ok`, `unreadable`, `no_face`, `several_faces`, `small_face`,
        `copy`), `split` and `fakes`, how many there are of it.

    Raises:
        InputError: if there are too few photographs with a face, or `out` is no place for the results.
    """
    photographs, out = Path(photographs), Path(out)
    if out.resolve().is_relative_to(photographs.resolve()):
        raise InputError(f"{out} lies inside the folder of the photographs: choose another place for the clips.")
    paths = dataset.sources(photographs, EXTENSIONS, "photograph")
    names = dataset.names(paths)
    digests = [file_digest(photographs / path) for path in paths]
    about = {"frames": frames, "size": size, "seed": seed, "photographs": sorted(set(digests))}
    dataset.claim(out, about)
    first = {digest: name for digest, name in zip(reversed(digests), reversed(names), strict=True)}
    kept = [first[digest] == name for digest, name in zip(digests, names, strict=True)]
    calls = [
        partial(_look, photographs / path, out, name, size)
        for path, name, keep in zip(paths, names, kept, strict=True)
        if keep and not _still_file(out, name).exists()
    ]
    dataset.work(calls, len(calls), workers, "photographs", progress)
    states = [_state(out, name) if keep else "copy" for name, keep in zip(names, kept, strict=True)]
    usable = [name for name, state in zip(names, states, strict=True) if state == "ok"]
    pairs = _pairs(usable, seed)
    if len(pairs) < _OF:
        raise InputError(
            f"{len(usable)} of {len(paths)} photographs below {photographs} show one face of {_SMALLEST} pixels or "
            f"more; {2 * _OF} are needed."
        )
    if left_out := Counter(state for state in states if state != "ok"):
        counts = ", ".join(f"{count} {_LEFT_OUT[state]}" for state, count in left_out.most_common())
        log.warning("%d of %d photographs are left out: %s.", left_out.total(), len(paths), counts)
    calls = [(pair, partial(_build_pair, out, pair, frames, seed)) for pair, _ in pairs]
    dataset.build_pairs(out, calls, workers, "clips", progress)
    _write_splits(out, pairs)
    split = {name: part for pair, part in pairs for name in pair.names}
    fakes = {name: len(pair.methods[member]) for pair, _ in pairs for member, name in enumerate(pair.names)}
    rows = [
        (path, name, state, split.get(name, ""), fakes.get(name, 0))
        for path, name, state in zip(paths, names, states, strict=True)
    ]
    return pd.DataFrame(rows, columns=["path", "name", "status", "split", "fakes"])


def _look(photograph: Path, out: Path, name: str, size: int) -> int:
    """Find the face in a photograph, and keep the still that a clip is made of, with its landmarks."""
    picture = cv2.imread(str(photograph), cv2.IMREAD_COLOR)
    still, points, status = np.empty((0, 0, 3), np.uint8), np.empty((0, 2)), "unreadable"
    if picture is not None:
        found = sorted(detection.detect(np.ascontiguousarray(picture[..., ::-1])), key=lambda face: -face.box[2])
        if not found:
            status = "no_face"
        elif found[0].box[2] < _SMALLEST:
            status = "small_face"
        elif len(found) > 1 and found[1].box[2] > 0.5 * found[0].box[2]:
            status = "several_faces"
        else:
            still, points = _cut(np.ascontiguousarray(picture[..., ::-1]), found[0], size)
            status = "ok"
    with atomic(_still_file(out, name)) as temporary:
        np.savez(temporary, still=still, points=points, status=status)
    return 1


def _cut(photograph: np.ndarray, face: detection.Face, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a square around a face, a tenth larger than the clip will be, and the landmarks in it."""
    x, y, w, h = face.box
    side = min(_SURROUNDINGS * w, max(photograph.shape[:2]))
    scale = min(1.0, size / side)
    points = np.asarray(face.landmarks, float)
    if scale < 1:
        photograph = cv2.resize(photograph, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        points = (points + 0.5) * scale - 0.5
    canvas = 2 * round(_CANVAS * side * scale / 2)
    corner = np.round(scale * np.array([x + w / 2, y + h / 2]) - canvas / 2)
    move = np.column_stack([np.eye(2), -corner])
    still = cv2.warpAffine(
        photograph, move, (canvas, canvas), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101
    )
    return still, points - corner


def _still_file(out: Path, name: str) -> Path:
    return out / f"stills/{name}.npz"


def _state(out: Path, name: str) -> str:
    with np.load(_still_file(out, name)) as archive:
        return str(archive["status"])


def _pairs(names: Sequence[str], seed: int) -> list[tuple[dataset.Pair, str]]:
    """Return each two people with the methods that forge them, and the split they are in."""
    order = dataset.chance(seed, "pairs").permutation(sorted(names)).tolist()
    every, pairs = tuple(face_swap.METHODS), []
    for k in range(len(order) // 2):
        part = {_VALIDATION: "val", _TEST: "test"}.get(k % _OF, "train")
        methods = {"val": ((HELD_OUT,),) * 2, "test": (every,) * 2, "train": ((_TRAINING[k % 2],), ())}[part]
        pairs.append((dataset.Pair((order[2 * k], order[2 * k + 1]), methods), part))
    return pairs


def _build_pair(out: Path, pair: dataset.Pair, frames: int, seed: int) -> int:
    clips = []
    for name in pair.names:
        with np.load(_still_file(out, name)) as archive:
            still, points = archive["still"], archive["points"]
        size = 2 * int(len(still) / _CANVAS / 2)
        clips.append(animation.animate(still, points, frames, size, dataset.chance(seed, name)))
    return dataset.write_pair(out, pair, clips, seed)


def _write_splits(out: Path, pairs: Sequence[tuple[dataset.Pair, str]]) -> None:
    """Write `splits.csv`: a clip's path and its split a line."""
    lines = [
        f"{path},{part}\n"
        for pair, part in pairs
        for member, name in enumerate(pair.names)
        for path in (f"real/{name}.mp4", *(f"fake/{fake}.mp4" for _, fake in pair.fakes(member)))
    ]
    with atomic(out / "splits.csv") as temporary:
        temporary.write_text("path,split\n" + "".join(sorted(lines)), encoding="utf-8", newline="\n")
