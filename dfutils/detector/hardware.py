"""What the machine can do for training, and PyTorch's settings lent for as long as it takes."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

PRECISIONS = {"bf16": "bf16-mixed", "float32": "32-true"}
"""What the suite calls a precision, and what Lightning does. Weights are float32 in both."""


def precision(asked: str, gpu: bool) -> str:
    """Return `asked`, or for `auto` what the hardware is made for: `bf16` or `float32`.

    This is decided by what the processor says of itself, never by a timing, so that a run is the same on every start:
    GPUs since Ampere multiply bf16 natively, and so do CPUs with AVX512-BF16 or AMX. PyTorch computes in bf16 on any
    other CPU too, but slower than in float32.
    """
    if asked != "auto":
        return asked
    if gpu:
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = any(
            getattr(torch.cpu, test, bool)() for test in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        )
    return "bf16" if native else "float32"


@contextmanager
def settled(threads: int, gpu: bool) -> Iterator[None]:
    """Give PyTorch back as it was: random state, threads, determinism."""
    before, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warn = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark, filling = torch.backends.cudnn.benchmark, torch.utils.deterministic.fill_uninitialized_memory
    try:
        with torch.random.fork_rng(devices=[torch.cuda.current_device()] if gpu else []):
            torch.utils.deterministic.fill_uninitialized_memory = False  # costs time, and no result depends on it
            if threads:
                torch.set_num_threads(threads)
            yield
    finally:
        torch.set_num_threads(before)
        torch.use_deterministic_algorithms(strict, warn_only=warn)
        torch.backends.cudnn.benchmark = benchmark
        torch.utils.deterministic.fill_uninitialized_memory = filling


@contextmanager
def undetermined() -> Iterator[set[str]]:
    """Yield a set that collects the operations PyTorch has no deterministic way for on this device, by name."""
    found: set[str] = set()
    show = warnings.showwarning

    def watch(message: Warning | str, *where: object, **more: object) -> None:
        operation = re.match(r"(\S+) does not have a deterministic implementation", str(message))
        if operation:
            found.add(operation[1])
        else:
            show(message, *where, **more)

    with warnings.catch_warnings():
        warnings.filterwarnings("always", message=".* does not have a deterministic implementation")
        warnings.showwarning = watch
        yield found
