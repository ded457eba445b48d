"""Checks of an upload that need no request: its name for display, and whether its content may be a video."""

import pytest

from dfutils.serving.upload import display_name, why_not_video


def test_names_are_shown_without_their_folders():
    assert display_name("../../etc/passwd") == "passwd"
    assert display_name("C:\\x\\y.mp4") == "y.mp4"
    assert display_name("a\r\nb\x00") == "a��b�"
    assert display_name("") == "video"
    assert len(display_name("x" * 500)) == 80


@pytest.mark.parametrize(
    "head", [b"\x00\x00\x00\x20ftypisom", b"\x1aE\xdf\xa3", b"RIFF\x00\x00\x00\x00AVI ", b"FLV\x01", b"OggS"]
)
def test_known_containers_may_be_videos(head):
    assert why_not_video(head + bytes(100)) == ""
    assert why_not_video(b"G" + bytes(187) + b"G" + bytes(187) + b"G" + bytes(187)) == ""
