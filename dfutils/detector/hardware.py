"""Precision for training on this machine, and PyTorch's and the allocator's settings during a run."""

import ctypes
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

PRECISIONS = {"bf16": "bf16-mixed", "float32": "32-true"}
"""Names of precisions in parameters, and Lightning's names. The weights are float32 in both."""

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Of glibc's `mallopt`: free bytes at the end of the heap that are returned, and how many blocks lie outside it."""


def precision(requested: str, gpu: bool) -> str:
    """Return `requested`, or for `auto` the faster precision on this machine: `bf16` or `float32`.

    The choice follows from the features of the processor and never from a timing, so that every start of a run makes
    the same: GPUs since Ampere multiply bf16 natively, and so do CPUs with AVX512-BF16 or AMX. On other CPUs PyTorch
    computes in bf16 more slowly than in float32.
    """
    if requested != "auto":
        return requested
    if gpu:
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = any(
            getattr(torch.cpu, test, bool)() for test in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        )
    return "bf16" if native else "float32"


@contextmanager
def memory_kept() -> Iterator[None]:
    """Let glibc keep large blocks that are freed, as long as this lasts.

    On a CPU, PyTorch allocates the result of each layer anew. By default glibc fetches blocks of this size from the
    system and returns them at once, and the page faults cost more than a small network's arithmetic: scoring 8 clips by
    EfficientNet-Lite0 at 192 px takes 3.7 s of processor time, and 1.2 s with this. Results are the same. Nothing
    happens where there is no glibc.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(libc, "mallopt"):
        yield
        return
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        libc.mallopt(_MMAP_MAX, 65536)  # glibc's default, like 128 KiB
        libc.mallopt(_TRIM_THRESHOLD, 128 * 1024)
        libc.malloc_trim(0)


@contextmanager
def torch_settings(threads: int, gpu: bool) -> Iterator[None]:
    """Set PyTorch's CPU threads (0: unchanged), and restore threads, random state and determinism at the end."""
    n_threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark, fill_memory = torch.backends.cudnn.benchmark, torch.utils.deterministic.fill_uninitialized_memory
    try:
        with torch.random.fork_rng(devices=[torch.cuda.current_device()] if gpu else []):
            torch.utils.deterministic.fill_uninitialized_memory = False  # costs time, and no result depends on it
            if threads:
                torch.set_num_threads(threads)
            yield
    finally:
        torch.set_num_threads(n_threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark
        torch.utils.deterministic.fill_uninitialized_memory = fill_memory


@contextmanager
def nondeterministic_operations() -> Iterator[set[str]]:
    """Yield a set to which the name of each operation is added that PyTorch cannot compute deterministically here."""
    operations: set[str] = set()
    show = warnings.showwarning

    def collect(message: Warning | str, *arguments: object, **options: object) -> None:
        operation = re.match(r"(\S+) does not have a deterministic implementation", str(message))
        if operation:
            operations.add(operation[1])
        else:
            show(message, *arguments, **options)

    with warnings.catch_warnings():
        warnings.filterwarnings("always", message=".* does not have a deterministic implementation")
        warnings.showwarning = collect
        yield operations
