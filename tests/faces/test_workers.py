"""Calls that crash, hang, raise or lose their worker: all other calls end, and each ends once."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from dfutils.core.errors import InputError
from dfutils.faces import workers as faces_workers

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the signals sent here are those of POSIX")


def act(what: str, name: str, folder: Path) -> None:
    """Record the start of the call, do what `what` names, record the end."""
    with (folder / "started").open("a") as file:
        file.write(f"{name}\n")
    if what == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "hang":  # in native code, and without ever giving back Python's lock
        ctypes.PyDLL(None).sleep(1000)
    if what == "refuse":
        raise InputError("The disk is full.")
    if what == "unpicklable":
        error = FileNotFoundError("nothing here")
        error.reason = lambda: None
        raise error
    if what == "crash once" and lines(folder / "started")[name] == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "slow":
        time.sleep(0.3)
    if what == "threads":
        import cv2

        cv2.setNumThreads(1)
        (folder / f"threads.{name}").write_text(f"{cv2.getNumThreads()} {os.environ['OMP_NUM_THREADS']}")
    with (folder / "ended").open("a") as file:
        file.write(f"{name}\n")


def lines(path: Path) -> Counter:
    return Counter(path.read_text().split()) if path.exists() else Counter()


def run(folder: Path, *whats: str, **options) -> dict[int, str]:
    jobs = [(what, f"{k}", folder) for k, what in enumerate(whats)]
    options = {"workers": 2, "timeout_s": 60, **options}
    ended = list(faces_workers.call_each(act, jobs, **options))
    assert len(ended) == len(dict(ended))
    return dict(ended)


@pytest.mark.parametrize("workers", [1, 2])
def test_all_calls_end_once_in_other_processes(tmp_path, workers):
    assert run(tmp_path, *["fine"] * 7, workers=workers) == dict.fromkeys(range(7), "")
    assert lines(tmp_path / "ended") == lines(tmp_path / "started") == Counter(map(str, range(7)))
    assert run(tmp_path) == {}


def test_a_crash_loses_its_own_call_and_no_other(tmp_path):
    failures = run(tmp_path, "fine", "slow", "crash", "slow", "fine", "fine", "crash", "fine")
    assert failures == {**dict.fromkeys((0, 1, 3, 4, 5, 7), ""), 2: faces_workers.CRASHED, 6: faces_workers.CRASHED}
    assert set(lines(tmp_path / "ended")) == {"0", "1", "3", "4", "5", "7"}


def test_a_hang_in_native_code_is_ended(tmp_path):
    started = time.monotonic()
    failures = run(tmp_path, "fine", "hang", "fine", "fine", timeout_s=4)
    assert failures == {0: "", 1: faces_workers.HUNG, 2: "", 3: ""}
    assert time.monotonic() - started < 60


def test_what_a_call_raises_ends_the_run(tmp_path):
    with pytest.raises(InputError, match="disk is full"):
        run(tmp_path, "fine", "refuse", *["slow"] * 30)
    assert len(lines(tmp_path / "ended")) < 20
    with pytest.raises(RuntimeError, match="FileNotFoundError: nothing here"):
        run(tmp_path, "unpicklable")


def end_at_once(_module: str) -> None:
    os.abort()


def test_processes_that_cannot_begin_blame_no_video(tmp_path, monkeypatch):
    monkeypatch.setattr(faces_workers, "_prepare", end_at_once)
    with pytest.raises(RuntimeError, match="before it could begin"):
        run(tmp_path, "fine")
    assert not lines(tmp_path / "started")


def test_a_crash_that_was_not_the_calls_own_fault_is_repeated(tmp_path):
    assert run(tmp_path, "fine", "crash once", "fine") == dict.fromkeys(range(3), "")
    assert lines(tmp_path / "started") == Counter("0112")


def test_a_crash_is_blamed_on_its_call_also_where_this_process_hears_of_the_call_late(tmp_path, monkeypatch):
    class Late(faces_workers.ProcessPool):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            process = self._pool_manager.process_next_message
            self._pool_manager.process_next_message = lambda timeout: (time.sleep(0.2), process(timeout))

    monkeypatch.setattr(faces_workers, "ProcessPool", Late)
    failures = run(tmp_path, "crash", "fine", "crash", "slow", timeout_s=20)
    assert failures == {0: faces_workers.CRASHED, 1: "", 2: faces_workers.CRASHED, 3: ""}


def test_a_script_is_not_run_again_by_the_workers(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import time; from dfutils.faces.workers import call_each; print('once')\n"
        "print(list(call_each(time.sleep, [(0,)], workers=2, timeout_s=60)), __file__)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, script], check=True, capture_output=True, text=True, env=environment)
    assert done.stdout.splitlines() == ["once", f"[(0, '')] {script}"]


def test_workers_times_threads_is_cores(tmp_path):
    run(tmp_path, "threads", "threads")
    assert {path.read_text() for path in tmp_path.glob("threads.*")} == {"1 1"}


# A cluster


@pytest.fixture(scope="module")
def cluster():
    """A scheduler and two workers with their nannies, each a process of its own."""
    distributed = pytest.importorskip("distributed", reason="the extra cluster is not installed")
    import dask

    environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    quickly = {"distributed.scheduler.allowed-failures": 0}  # a worker takes seconds to come back
    settings = {"threads_per_worker": 1, "processes": True, "dashboard_address": None, "env": environment}
    with dask.config.set(quickly), distributed.LocalCluster(n_workers=2, silence_logs=50, **settings) as local_cluster:
        yield local_cluster


def test_a_cluster_does_all_calls(tmp_path, cluster):
    assert run(tmp_path, *["fine"] * 9, scheduler=cluster.scheduler_address) == dict.fromkeys(range(9), "")
    assert lines(tmp_path / "ended") == Counter(map(str, range(9)))


def test_a_worker_that_is_killed_loses_nothing(tmp_path, cluster):
    pids = [worker.pid for worker in cluster.workers.values()]  # of the worker below each nanny

    def kill() -> None:
        while len(lines(tmp_path / "ended")) < 4:
            time.sleep(0.05)
        os.kill(pids[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    failures = run(tmp_path, *["slow"] * 16, scheduler=cluster.scheduler_address)
    killer.join()
    assert failures == dict.fromkeys(range(16), "")
    assert set(lines(tmp_path / "ended")) == set(map(str, range(16)))


def test_a_cluster_loses_the_call_that_crashes_and_no_other(tmp_path, cluster):
    failures = run(tmp_path, "fine", "crash", *["slow"] * 6, scheduler=cluster.scheduler_address)
    assert failures == {**dict.fromkeys(range(8), ""), 1: faces_workers.CRASHED}
    assert run(tmp_path, "hang", "fine", timeout_s=4, scheduler=cluster.scheduler_address) == {
        0: faces_workers.HUNG,
        1: "",
    }


def test_no_scheduler_and_no_workers_are_sentences(tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed", reason="the extra cluster is not installed")
    monkeypatch.setattr(faces_workers, "_PATIENCE_S", 3.0)
    with pytest.raises(InputError, match="no Dask scheduler"):
        run(tmp_path, "fine", scheduler="tcp://127.0.0.1:9")
    settings = {"processes": False, "dashboard_address": None, "silence_logs": 50}
    with (
        distributed.LocalCluster(n_workers=0, **settings) as empty,
        pytest.raises(InputError, match="has no workers"),
    ):
        run(tmp_path, "fine", scheduler=empty.scheduler_address)


def test_dask_is_loaded_only_when_asked_for():
    script = "import sys; from dfutils.faces import batch, workers; sys.exit('distributed' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])
