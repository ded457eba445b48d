"""The built-in sample: a dataset that needs no network, made of two portraits.

Variants of the portraits talk (`stills`), are forged by the methods of `forge`, and are written as `made` says.
Variants 2k and 2k + 1 lend each other their faces and nobody else does: each such pair is a group of its own, and a
split by identity loses no video.
"""

from functools import partial
from pathlib import Path

from dfutils.core.errors import InputError
from dfutils.forgery import animation, dataset, face_swap

PAIRS = (("collins", "hopper"), ("collins", "collins"), ("hopper", "collins"), ("hopper", "hopper"))
"""Portraits of the variants 2k and 2k + 1, in turn: half the swaps stay with one portrait, lest glasses tell fakes."""


def build_sample(
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
    dataset.claim(out, {"variants": variants, "frames": frames, "size": size, "seed": seed})
    calls = [
        (pair, partial(_build_pair, out, pair, portraits, frames, size, seed)) for pair, portraits in _pairs(variants)
    ]
    dataset.build_pairs(out, calls, workers, "sample", progress)


def _pairs(variants: int) -> list[tuple[dataset.Pair, tuple[str, str]]]:
    """Return each two variants with the methods that forge them, and their portraits."""
    digits, methods = max(2, len(str(variants - 1))), tuple(face_swap.METHODS)
    pairs = []
    for k in range(variants // 2):
        portraits = PAIRS[k % len(PAIRS)]
        # each variant goes without one method, in turn, and no method meets always the same portraits
        skipped = [(k + k // len(PAIRS) + 2 * member) % len(methods) for member in (0, 1)]
        names = tuple(f"{portraits[member]}_{2 * k + member:0{digits}d}" for member in (0, 1))
        chosen = tuple(tuple(m for i, m in enumerate(methods) if i != skip) for skip in skipped)
        pairs.append((dataset.Pair(names, chosen), portraits))
    return pairs


def _build_pair(out: Path, pair: dataset.Pair, portraits: tuple[str, str], frames: int, size: int, seed: int) -> int:
    """Write the clips of a pair that are missing, and return how many."""
    clips = []
    for variant, portrait in zip(pair.names, portraits, strict=True):
        rng = dataset.chance(seed, variant)
        clips.append(animation.animate(*animation.vary(portrait, size, rng), frames, size, rng))
    return dataset.write_pair(out, pair, clips, seed)
