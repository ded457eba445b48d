"""Folders of real media that tests may use where they are present, and a workspace for everything they write."""

import os
from pathlib import Path

import pytest

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the file that takes longest, so that no process waits for it at the end."""
    items.sort(key=lambda item: item.path.name != "test_end_to_end.py")
