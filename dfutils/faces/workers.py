"""Calls in worker processes that may crash or hang, on this machine or on a Dask cluster.

Native code that reads a broken file can end its process or never return. Each call therefore runs in a worker process
under a watchdog. If a worker dies, the process pool ends; the calls that were running are repeated, each in a process
of its own, so that a second death can only be caused by the call itself. Such a call has *failed*; all others continue.
A call that raises an exception ends all of them, because an exception is not caused by one broken file.
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
"""How long a cluster may have no worker, in seconds."""


def call_each(
    function: Callable[..., Any], jobs: Sequence[tuple], *, workers: int, timeout_s: float, scheduler: str = ""
) -> Iterator[tuple[int, str]]:
    """Call `function(*job)` for every job, and yield each job's position when its call ends, with "" or its failure.

    Args:
        function: a function of a module, so that other processes can import it; its return value is discarded.
        jobs: its arguments, as plain values.
        workers: number of processes on this machine, each with one thread.
        timeout_s: a call that takes longer is yielded as `HUNG`, one that ends its process as `CRASHED`.
        scheduler: address of a Dask scheduler whose workers are used instead of local processes; "" for none. The
            workers must run under nannies, as they do by default, so that one that dies is restarted.

    Raises:
        InputError: if the scheduler cannot be reached, or the cluster has lost its workers.
        RuntimeError: if a process ends before it has imported the function.
        Exception: any exception of a call; no further call is begun.
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
        dispatched: list[int] = []
        ended: set[int] = set()

        def calls(waiting: list[int] = waiting, dispatched: list[int] = dispatched) -> Iterator[Any]:
            for k in waiting:
                dispatched.append(k)
                yield delayed(_call_watched)(function, jobs[k], timeout_s, k)

        # With n_jobs=1 joblib would call in this process, so it is at least 2; pre_dispatch then keeps one worker idle.
        settings = {"batch_size": 1, "pre_dispatch": workers, "return_as": "generator_unordered"}
        try:
            with parallel_config("loky", n_jobs=max(workers, 2), inner_max_num_threads=1):
                for k in Parallel(**settings)(calls()):
                    ended.add(k)
                    yield k, ""
        except TerminatedWorkerError:
            pass
        for k in dispatched:
            if k not in ended:
                yield k, call_alone(function, jobs[k], timeout_s)
        waiting = waiting[len(dispatched) :]


_ONE_AT_A_TIME = threading.Lock()
"""A Dask worker may have several threads, but dlib's detectors and the watchdog exist once per process."""


def _call_watched(function: Callable[..., Any], job: tuple, timeout_s: float, result: Any = "") -> Any:
    """Call a function and return `result`; end this process if the call takes longer than `timeout_s`.

    The watchdog is faulthandler's C thread, which does not need the GIL: native code that hangs may hold it.
    """
    with _ONE_AT_A_TIME, open(os.devnull, "w") as devnull:
        faulthandler.dump_traceback_later(timeout_s, exit=True, file=devnull)
        try:
            function(*job)
        finally:
            faulthandler.cancel_dump_traceback_later()
    return result


_CHILD = """
import os, pickle, sys
answers = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)  # the function's own output goes to standard error
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


def call_alone(function: Callable[..., Any], job: tuple, timeout_s: float) -> str:
    """Call a function in a new process of its own; return "", `CRASHED` or `HUNG`.

    Raises:
        RuntimeError: if the process ended before the call began.
        Exception: any exception of the call.
    """
    environment = {**os.environ, **dict.fromkeys(_THREADS, "1")}
    with tempfile.TemporaryFile() as stderr:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": stderr}
        with subprocess.Popen([sys.executable, "-c", _CHILD], env=environment, **pipes) as process:
            try:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.write(pickle.dumps(sys.path) + pickle.dumps((function, job)))
                    process.stdin.flush()
                # The time until the call begins does not count. `process.stdout.read` would buffer what follows the
                # first byte, and `communicate` would not see it.
                begun = os.read(process.stdout.fileno(), 1)
                answer, _ = process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                return HUNG
            finally:
                process.kill()
        if not begun:
            stderr.seek(0)
            text = stderr.read().decode(errors="replace").strip()[-500:]
            raise RuntimeError(f"A process ended with code {process.returncode} before it could begin: {text}")
    if process.returncode:
        return CRASHED
    if answer:
        raise pickle.loads(answer)
    return ""


class _FailedError(Exception):
    """The failure of a call. Dask stores a result on its worker, where it can be lost, but sends an exception back."""


def _call_alone_or_raise(function: Callable[..., Any], job: tuple, timeout_s: float) -> None:
    failure = call_alone(function, job, timeout_s)
    if failure:
        raise _FailedError(failure)


_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def _on_cluster(
    function: Callable[..., Any], jobs: Sequence[tuple], timeout_s: float, scheduler: str
) -> Iterator[tuple[int, str]]:
    """Yield as `call_each` does.

    Dask repeats the jobs of a worker that died on another worker, and drops a job after some deaths. The cause may be
    another job of the same worker, so a dropped job is repeated by a worker in a process of its own.
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
    without_workers_s = 0
    with client:
        try:
            while waiting or running:
                threads = sum(client.nthreads().values())
                without_workers_s = 0 if threads else without_workers_s + 1
                if without_workers_s > _PATIENCE_S:
                    raise InputError(f"The cluster at {scheduler} has no workers: start some and run again.")
                while waiting and len(running) < 2 * threads:
                    k = waiting.pop()
                    running[client.submit(_call_watched, function, jobs[k], timeout_s, pure=False)] = k
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
                        running[client.submit(_call_alone_or_raise, function, jobs[k], timeout_s, pure=False)] = k
                    elif error is None or isinstance(error, _FailedError):
                        yield k, str(error or "")
                    else:
                        raise error
        except (OSError, CancelledError) as error:
            raise InputError(f"The scheduler at {scheduler} was lost ({error}): start it and run again.") from None
