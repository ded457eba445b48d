"""The splits that each policy would have made of the same videos, and what they leak."""

from pathlib import Path

import numpy as np
import pytest

from dfutils.faces.strips import write_strip
from dfutils.splits import alternatives
from tests.support.tables import pairs, table


def test_every_policy_that_can_divides_the_videos_in_every_draw():
    videos = pairs(20)
    tables = alternatives.candidates(videos, seed=3, draws=2)
    assert list(tables) == [(policy, draw) for policy in ("random", "source", "identity") for draw in (0, 1)]
    assert not tables["random", 0].equals(tables["random", 1])
    listed = videos.assign(official_split=["test" if k % 4 == 0 else "train" for k in range(len(videos))])
    assert [policy for policy, draw in alternatives.candidates(listed, draws=1)][-1] == "official"
    one_person = videos.assign(identity="a", donor="")
    assert {policy for policy, _ in alternatives.candidates(one_person, draws=1)} == {"random", "source"}


@pytest.fixture
def strips(tmp_path) -> dict[str, Path]:
    """Write a strip per video of `pairs(20, "a")`, the same for a real video and its fake."""
    paths = {}
    for name in pairs(20, "a")["video_id"]:
        rng = np.random.default_rng(int(name.removeprefix("a")))
        paths[name] = tmp_path / f"{name}.png"
        write_strip(rng.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8), paths[name])
    return paths


def test_random_splits_share_people_sources_and_copies_and_splits_by_person_share_none(strips):
    leaks = alternatives.leaks(alternatives.candidates(pairs(20, "a"), draws=1), strips)
    assert list(leaks.index) == ["random", "source", "identity"]
    assert (leaks.loc["random"] > 0).all()
    assert leaks.loc["source"].tolist()[0] > 0 and leaks.loc["source"].tolist()[1:] == [0, 0]
    assert leaks.loc["identity"].tolist() == [0, 0, 0]


def test_nothing_is_shared_where_nothing_is_named(strips):
    rows = [(f"v{k}", k % 2, "m" * (k % 2), "", "", "") for k in range(12)]
    leaks = alternatives.leaks(alternatives.candidates(table(rows), draws=1), {})
    assert (leaks == 0).all().all()
