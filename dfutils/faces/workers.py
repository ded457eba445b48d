"""Many calls in processes that may die, on this machine or on a cluster.

Native code that meets a broken file can end the whole process, or never return. So each call runs in a worker process
under a watchdog; when a worker dies, and with it the pool, the calls that were running are tried again, each in a
process of its own, where a second death can only be its own fault. Whatever the call was about is then *lost*, and all
others go on. A call that raises ends everything: that is no accident of one file.
"""

import contextlib
import faulthandler
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from typing import Any

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError

from dfutils.core.errors import InputError

CRASHED = "crashed"
HUNG = "hung"

_PATIENCE_S = 120.0
"""How long a cluster may be without any worker."""


def run_each(
    function: Callable[..., Any], jobs: Sequence[tuple], *, workers: int, timeout_s: float, scheduler: str = ""
) -> Iterator[tuple[int, str]]:
    """Call `function(*job)` for every job, and yield each job's position as it ends: with "", or how it was lost.

    Args:
        function: of a module, so that other processes can import it; what it returns is dropped.
        jobs: its arguments, as plain values.
        workers: processes on this machine, each held to one thread.
        timeout_s: after this time a call is `HUNG`; one that ends its process is `CRASHED`.
        scheduler: address of a Dask scheduler whose workers take the place of local processes; "" for none. They must
            run under nannies, as they do by default, so that one that dies comes back.

    Raises:
        InputError: if the cluster cannot be reached, or lost its workers.
        RuntimeError: if processes die before they so much as import the function.
        Exception: whatever a call raised; no further job is begun.
    """
    if scheduler:
        yield from _on_cluster(function, jobs, timeout_s, scheduler)
    else:
        yield from _on_this_machine(function, jobs, workers, timeout_s)


def _on_this_machine(
    function: Callable[..., Any], jobs: Sequence[tuple], workers: int, timeout_s: float
) -> Iterator[tuple[int, str]]:
    waiting = list(range(len(jobs)))
    while waiting:
        taken: list[int] = []
        ended: set[int] = set()

        def calls(waiting: list[int] = waiting, taken: list[int] = taken) -> Iterator[Any]:
            for k in waiting:
                taken.append(k)
                yield delayed(_watched)(function, jobs[k], timeout_s, k)

        # joblib runs a single worker in this very process, so there are always two; what is dispatched keeps one idle.
        settings = {"batch_size": 1, "pre_dispatch": workers, "return_as": "generator_unordered"}
        try:
            with parallel_config("loky", n_jobs=max(workers, 2), inner_max_num_threads=1):
                for k in Parallel(**settings)(calls()):
                    ended.add(k)
                    yield k, ""
        except TerminatedWorkerError:
            pass
        for k in taken:
            if k not in ended:
                yield k, run_alone(function, jobs[k], timeout_s)
        waiting = waiting[len(taken) :]


_ONE_AT_A_TIME = threading.Lock()
"""A Dask worker may have several threads; dlib's detectors and the watchdog are one a process."""


def _watched(function: Callable[..., Any], job: tuple, timeout_s: float, result: Any = "") -> Any:
    """Call a function and return `result`; end this process if that takes too long.

    The watchdog is a thread of C that needs no lock of Python's, which native code that hangs may hold.
    """
    with _ONE_AT_A_TIME, open(os.devnull, "w") as nowhere:
        faulthandler.dump_traceback_later(timeout_s, exit=True, file=nowhere)
        try:
            function(*job)
        finally:
            faulthandler.cancel_dump_traceback_later()
    return result


_CHILD = """
import os, pickle, sys
answers = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)  # whatever else is printed is no answer
sys.path[:] = pickle.load(sys.stdin.buffer)
function, job = pickle.load(sys.stdin.buffer)
answers.write(b"+")
answers.flush()
try:
    function(*job)
except BaseException as error:
    pickle.dump(error, answers)
    answers.flush()
"""


def run_alone(function: Callable[..., Any], job: tuple, timeout_s: float) -> str:
    """Call a function in a fresh process of its own; return "", `CRASHED` or `HUNG`. What it raises is raised here.

    Raises:
        RuntimeError: if the process ended before it began with the call.
    """
    environment = {**os.environ, **dict.fromkeys(_THREADS, "1")}
    with tempfile.TemporaryFile() as complaints:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": complaints}
        with subprocess.Popen([sys.executable, "-c", _CHILD], env=environment, **pipes) as process:
            try:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.write(pickle.dumps(sys.path) + pickle.dumps((function, job)))
                    process.stdin.flush()
                begun = process.stdout.read(1)  # the time that it takes to begin does not count
                answer, _ = process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                return HUNG
            finally:
                process.kill()
        if not begun:
            complaints.seek(0)
            text = complaints.read().decode(errors="replace").strip()[-500:]
            raise RuntimeError(f"A process ended with code {process.returncode} before it could begin: {text}")
    if process.returncode:
        return CRASHED
    if answer:
        raise pickle.loads(answer)
    return ""


class _LostError(Exception):
    """How a call was lost. Dask keeps a result on the worker that made it, where it can be lost, but not an error."""


def _verdict(function: Callable[..., Any], job: tuple, timeout_s: float) -> None:
    found = run_alone(function, job, timeout_s)
    if found:
        raise _LostError(found)


_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def _on_cluster(
    function: Callable[..., Any], jobs: Sequence[tuple], timeout_s: float, scheduler: str
) -> Iterator[tuple[int, str]]:
    """As `each`. Dask gives a job whose worker dies to another one, and after some deaths gives it up.

    It blames all that was on the worker, so a job that it gave up is run again, by a worker, in a process of its own.
    """
    try:
        from distributed import Client, wait
        from distributed.scheduler import KilledWorker
    except ImportError:
        raise InputError("scheduler needs Dask, which is an extra: pip install 'dfutils[cluster]'.") from None
    try:
        client = Client(scheduler, timeout=_PATIENCE_S / 4)
    except (OSError, TimeoutError, ValueError) as error:
        text = str(error).partition("\n")[0]
        raise InputError(
            f"There is no Dask scheduler at {scheduler} ({text}): start one, or leave scheduler empty."
        ) from None
    waiting = list(reversed(range(len(jobs))))
    running: dict[Any, int] = {}
    lonely_s = 0
    with client:
        try:
            while waiting or running:
                threads = sum(client.nthreads().values())
                lonely_s = 0 if threads else lonely_s + 1
                if lonely_s > _PATIENCE_S:
                    raise InputError(f"The cluster at {scheduler} has no workers: start some and run again.")
                while waiting and len(running) < 2 * threads:
                    k = waiting.pop()
                    running[client.submit(_watched, function, jobs[k], timeout_s, pure=False)] = k
                if not running:
                    time.sleep(1)
                    continue
                try:
                    finished = wait(list(running), timeout=1, return_when="FIRST_COMPLETED").done
                except TimeoutError:
                    continue
                for future in finished:
                    k, error = running.pop(future), future.exception() if future.status == "error" else None
                    if isinstance(error, KilledWorker):
                        running[client.submit(_verdict, function, jobs[k], timeout_s, pure=False)] = k
                    elif error is None or isinstance(error, _LostError):
                        yield k, str(error or "")
                    else:
                        raise error
        except (OSError, CancelledError) as error:
            raise InputError(f"The scheduler at {scheduler} is gone ({error}): start it and run again.") from None
