"""Calls in worker processes that may crash or hang, on this machine or on a Dask cluster.

Native code that reads a broken file can end its process or never return. Each call therefore runs in a process of a
pebble pool, which ends the processes that take too long and replaces those that died; only the call of such a process
is lost. A crash may have another cause than the call (memory that other processes took), so a call that crashed is
repeated once, after all others. A call that raises an exception ends all of them, because an exception is not caused by
one broken file.
"""

import importlib
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from contextlib import contextmanager
from functools import cache, partial
from multiprocessing.util import Finalize
from typing import Any

from pebble import ProcessExpired, ProcessPool

from dfutils.core.errors import InputError

CRASHED = "crashed"
HUNG = "hung"

_PATIENCE_S = 120.0
"""How long a cluster may have no worker, in seconds."""

_CONTEXT = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
"""How processes start. The server has imported the function's module and forks in milliseconds; macOS's own libraries
do not survive a fork."""


def call_each(
    function: Callable[..., Any], jobs: Sequence[tuple], *, workers: int, timeout_s: float, scheduler: str = ""
) -> Iterator[tuple[int, str]]:
    """Call `function(*job)` for every job, and yield each job's position when its call ends, with "" or its failure.

    Args:
        function: a function of a module, so that other processes can import it; its return value is discarded.
        jobs: its arguments, as plain values.
        workers: number of processes on this machine, each with one thread.
        timeout_s: a call that takes longer is yielded as `HUNG`, one that ends its process twice as `CRASHED`.
        scheduler: address of a Dask scheduler whose workers are used instead of this machine; "" for none. Each starts
            as many processes as it has threads.

    Raises:
        InputError: if a call raises it (no further call is begun), the scheduler cannot be reached, or the cluster has
            lost its workers.
        RuntimeError: if a call raises anything else, or a process ends before it has imported the function.
    """
    run = partial(_on_cluster, scheduler=scheduler) if scheduler else partial(_on_this_machine, workers=workers)
    crashed = []
    for k, failure in run(function, jobs, range(len(jobs)), timeout_s):
        if failure == CRASHED:
            crashed.append(k)
        else:
            yield k, failure
    yield from run(function, jobs, crashed, timeout_s)


def _on_this_machine(
    function: Callable[..., Any], jobs: Sequence[tuple], chosen: Iterable[int], timeout_s: float, *, workers: int
) -> Iterator[tuple[int, str]]:
    waiting, running = list(reversed(chosen)), {}
    if not waiting:
        return
    pool = _pool(function.__module__, workers)
    try:
        with _without_script():
            while waiting or running:
                while waiting and len(running) < workers and pool.active:
                    k = waiting.pop()
                    running[pool.schedule(_call, (function, jobs[k]), timeout=timeout_s)] = k
                for call in _ended(pool, running):
                    yield running.pop(call), _failure(call)
    finally:
        _end(pool)


def _pool(module: str, workers: int) -> ProcessPool:
    if _CONTEXT.get_start_method() == "forkserver":
        _CONTEXT.set_forkserver_preload([module])
    pool = ProcessPool(workers, initializer=_prepare, initargs=(module,), context=_CONTEXT)
    manager = pool._pool_manager
    blame = manager.handle_worker_expiration

    def blame_later(expiration: tuple) -> None:
        # The message in which the process said what it takes up may still be on its way: without it pebble blames no
        # call, which then never ends, or takes the whole pool for broken.
        time.sleep(0.5)
        blame(expiration)

    manager.handle_worker_expiration = blame_later
    return pool


def _end(pool: ProcessPool) -> None:
    pool.stop()
    pool.join()


def _prepare(module: str) -> None:
    """Make this process ready for calls: with one thread, and with the function imported, which is not part of a call's
    time."""
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
    importlib.import_module(module)
    from threadpoolctl import threadpool_limits  # after the libraries that it sets

    threadpool_limits(1)


@contextmanager
def _without_script() -> Iterator[None]:
    """Keep new processes from running the user's script again, as multiprocessing does for functions defined in it."""
    script = vars(sys.modules["__main__"])
    path = script.pop("__file__", None)
    try:
        yield
    finally:
        if path is not None:
            script["__file__"] = path


def _call(function: Callable[..., Any], job: tuple) -> None:
    """Call a function. What it raises leaves this process as `InputError` or `RuntimeError`, which can be pickled;
    pebble adds the traceback."""
    try:
        function(*job)
    except InputError as error:
        raise InputError(str(error)) from None
    except Exception as error:
        raise RuntimeError(f"{type(error).__name__}: {error}") from error


def _ended(pool: ProcessPool, calls: Iterable[Future]) -> set[Future]:
    """Return those of the calls that end within a second, or earlier, when the first ends."""
    done = wait(calls, 1, FIRST_COMPLETED).done
    if not pool.active:  # then some calls may never end
        raise RuntimeError("A process ended before it could begin; what it said stands above.")
    return done


def _failure(call: Future) -> str:
    """Return "", `CRASHED` or `HUNG` of a call that has ended, or raise its exception."""
    try:
        call.result()
    except TimeoutError:
        return HUNG
    except ProcessExpired:
        return CRASHED
    return ""


class _FailedError(Exception):
    """The failure of a call. Dask stores a result on its worker, where it can be lost, but sends an exception back."""


_LOCK = threading.Lock()


@cache
def _pool_of_worker(module: str) -> ProcessPool:
    """Return the processes of this Dask worker, as many as it has threads."""
    from distributed import get_worker

    multiprocessing.current_process()._config["daemon"] = False  # Dask's workers may not have children otherwise
    pool = _pool(module, get_worker().state.nthreads)
    Finalize(pool, _end, (pool,), exitpriority=10)  # before the worker waits for its children
    return pool


def _call_on_worker(function: Callable[..., Any], job: tuple, timeout_s: float) -> None:
    with _LOCK:
        pool = _pool_of_worker(function.__module__)
    call = pool.schedule(_call, (function, job), timeout=timeout_s)
    while not _ended(pool, [call]):
        pass
    failure = _failure(call)
    if failure:
        raise _FailedError(failure)


def _on_cluster(
    function: Callable[..., Any], jobs: Sequence[tuple], chosen: Iterable[int], timeout_s: float, *, scheduler: str
) -> Iterator[tuple[int, str]]:
    """Yield as `call_each` does. Dask repeats the jobs of a worker that was killed, and after some times drops them."""
    try:
        import distributed
    except ImportError:
        raise InputError("scheduler needs Dask, which is an extra: pip install 'dfutils[cluster]'.") from None
    try:
        client = distributed.Client(scheduler, timeout=_PATIENCE_S / 4)
    except (OSError, TimeoutError, ValueError) as error:
        text = str(error).partition("\n")[0]
        raise InputError(
            f"There is no Dask scheduler at {scheduler} ({text}): start one, or leave scheduler empty."
        ) from None
    waiting, running = list(reversed(chosen)), {}
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
                    running[client.submit(_call_on_worker, function, jobs[k], timeout_s, pure=False)] = k
                if not running:
                    time.sleep(1)
                    continue
                try:
                    finished = distributed.wait(list(running), timeout=1, return_when="FIRST_COMPLETED").done
                except TimeoutError:
                    continue
                for future in finished:
                    k, error = running.pop(future), future.exception() if future.status == "error" else None
                    if error is not None and not isinstance(error, distributed.KilledWorker | _FailedError):
                        raise error
                    yield k, CRASHED if isinstance(error, distributed.KilledWorker) else str(error or "")
        except (OSError, CancelledError) as error:
            raise InputError(f"The scheduler at {scheduler} was lost ({error}): start it and run again.") from None
