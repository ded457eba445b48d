"""The built-in sample: a dataset made of two portraits, without network access.

Variants of the portraits are animated (`animation`), forged (`face_swap`), and written as `dataset` describes. Variants
2k and 2k + 1 swap faces with each other only, so that each such pair is a group and a split by identity drops no video.
"""

from functools import partial
from pathlib import Path

from dfutils.core.errors import InputError
from dfutils.core.params import DEFAULTS
from dfutils.forgery import animation, dataset, face_swap

PAIRS = (("collins", "hopper"), ("collins", "collins"), ("hopper", "collins"), ("hopper", "hopper"))
"""Portraits of the variants 2k and 2k + 1, cyclically. Half the swaps are within one portrait, so that glasses do not
identify fakes."""


def build_sample(
    out: Path | str,
    variants: int = DEFAULTS.sample_variants,
    frames: int = DEFAULTS.sample_frames,
    size: int = DEFAULTS.sample_size,
    seed: int = DEFAULTS.sample_seed,
    workers: int = DEFAULTS.workers,
) -> None:
    """Make the built-in sample: `real/<variant>.mp4` and fakes of each variant by three of the four methods.

    A fake lies in `fake/<method>/<target>__<donor>.mp4`, a self-blend in `fake/self_blend/<target>.mp4`, the masks of
    both in `masks/<method>/<same name>.npz` (see `dataset.load_masks`). The same arguments give the same bytes on one
    machine, whatever the number of workers. Finished clips are kept: an interrupted call is resumed by the next.

    Args:
        out: a new folder, or one that was made with the same arguments.
        variants: number of variants, even, 4 or more; each gives 4 videos.
        frames: number of frames of each clip, at 25 frames per second.
        size: side of the clips in pixels; even and at least 128, so that dlib detects the faces.
        workers: number of processes; 0: one per core.

    Raises:
        InputError: if an argument is invalid, or the folder has other parameters or holds other files.
    """
    if variants < 4 or variants % 2:
        raise InputError(f"The sample needs an even number of variants, 4 or more, not {variants}.")
    if frames < 1 or size < 128 or size % 2:
        raise InputError(f"Sample clips need a frame or more and an even size of 128 or more, not {frames} and {size}.")
    out = Path(out)
    dataset.claim_folder(out, {"variants": variants, "frames": frames, "size": size, "seed": seed})
    calls = [
        (pair, partial(_build_pair, out, pair, portraits, frames, size, seed)) for pair, portraits in _pairs(variants)
    ]
    dataset.build_pairs(out, calls, workers, "sample")


def _pairs(variants: int) -> list[tuple[dataset.Pair, tuple[str, str]]]:
    """Return the pairs of variants with the methods that forge them, and the portraits of each pair."""
    digits, methods = max(2, len(str(variants - 1))), tuple(face_swap.METHODS)
    pairs = []
    for k in range(variants // 2):
        portraits = PAIRS[k % len(PAIRS)]
        # each variant lacks one method, cyclically, such that no method is always applied to the same portraits
        skipped = [(k + k // len(PAIRS) + 2 * member) % len(methods) for member in (0, 1)]
        names = tuple(f"{portraits[member]}_{2 * k + member:0{digits}d}" for member in (0, 1))
        chosen = tuple(tuple(m for i, m in enumerate(methods) if i != skip) for skip in skipped)
        pairs.append((dataset.Pair(names, chosen), portraits))
    return pairs


def _build_pair(out: Path, pair: dataset.Pair, portraits: tuple[str, str], frames: int, size: int, seed: int) -> int:
    """Write the clips of a pair that are not finished, and return their number."""
    clips = []
    for variant, portrait in zip(pair.names, portraits, strict=True):
        rng = dataset.named_rng(seed, variant)
        clips.append(animation.animate(*animation.vary(portrait, size, rng), frames, size, rng))
    return dataset.write_pair(out, pair, clips, seed)
