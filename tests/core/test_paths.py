"""Tests of the ids of videos."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfutils.core.paths import video_id


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("Celeb-real/id0_0000.mp4", "Celeb-real__id0_0000"),
        ("real/a.MP4", "real__a"),
        ("real/a.mov", "real__a.mov"),
        ("real/con.mp4", "real__con"),
    ],
)
def test_plain_ids(path: str, expected: str) -> None:
    assert video_id(path) == expected


def test_ids_of_difficult_names() -> None:
    paths = [
        "con.mp4",
        "nul.mov",
        "a b.mp4",
        "a_b!.mp4",
        ".mp4",
        "-x.mp4",
        "x..mp4",
        "x" * 300,
        "Übung.mp4",
        "日本.mp4",
    ]
    ids = [video_id(path) for path in paths]
    assert len(set(ids)) == len(ids)
    assert video_id("U\u0308bung.mp4") == video_id("Übung.mp4")  # as macOS writes it


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200))
def test_ids_are_safe_everywhere(path: str) -> None:
    name = video_id(path)
    assert 0 < len(name) <= 100
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    assert not name.startswith((".", "-"))
    assert not name.endswith(".")
    assert name.split(".")[0].lower() not in {"con", "prn", "aux", "nul", "com1", "lpt9"}
    assert video_id(path) == name
