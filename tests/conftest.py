"""Folders of real media that tests may use where they are present, and a workspace for everything they write."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

if "PYTEST_XDIST_WORKER" in os.environ:  # one process per core: more threads than that wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED = Path(__file__).resolve().parents[2] / "shared"


def _shared(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"{name}: the shared folder of real media is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def clips_dir() -> Path:
    """Twelve real videos of faces, never part of the project."""
    return _shared("clips")


@pytest.fixture(scope="session")
def faces_dir() -> Path:
    """Photographs of real faces, never part of the project."""
    return _shared("faces")


@pytest.fixture(scope="session")
def tiny_home(tmp_path_factory) -> Path:
    """The tiny sample's experiment as `dfutils run` leaves it: data, run and report; made once for all processes."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, root = shared / "home", Path(__file__).resolve().parents[1]
    with FileLock(shared / "home.lock"):
        if not (folder / "reports" / "tiny" / "index.html").exists():
            folder.mkdir(exist_ok=True)
            command = [sys.executable, "-m", "dfutils", "run", str(root / "params" / "tiny.yaml")]
            environment = {**os.environ, "DFUTILS_HOME": str(folder)}
            done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=False)
            assert done.returncode == 0, done.stderr[-3000:]
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no process waits for one at the end."""
    longest = ("test_end_to_end.py", "test_nbval.py", "test_pipeline.py", "test_web_page.py", "test_shipped.py")
    items.sort(key=lambda item: longest.index(item.path.name) if item.path.name in longest else len(longest))
