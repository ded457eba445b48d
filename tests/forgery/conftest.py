"""A tiny sample for the tests of this folder."""

import pytest

from tests.support.videos import build_tiny_sample


@pytest.fixture(scope="session")
def tiny_sample(tmp_path_factory):
    out = tmp_path_factory.mktemp("sample") / "videos"
    build_tiny_sample(out)
    return out
