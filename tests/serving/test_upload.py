"""Checks of an upload that need no request: its name for display."""

from dfutils.serving.upload import display_name


def test_names_are_shown_without_their_folders():
    assert display_name("../../etc/passwd") == "passwd"
    assert display_name("C:\\x\\y.mp4") == "y.mp4"
    assert display_name("a\r\nb\x00") == "a��b�"
    assert display_name("") == "video"
    assert len(display_name("x" * 500)) == 80
