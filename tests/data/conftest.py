"""A folder to unpack into, and a server that answers as Kaggle does."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kaggle_server import CONTENT, VIDEOS, KaggleServer, alone


@pytest.fixture
def into(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "videos"


@pytest.fixture
def kaggle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[KaggleServer]:
    with KaggleServer(files={"faces": CONTENT, "dfdc": CONTENT, "videos": VIDEOS}) as server:
        alone(monkeypatch, tmp_path / "home", server.endpoint)
        yield server
