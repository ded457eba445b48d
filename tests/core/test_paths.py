"""Tests of the ids of videos, and of what counts as a video."""

import os
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfutils.core.paths import HEAD_BYTES, files_below, printable, video_id, why_not_video


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


# Containers and how each is encoded, by the endings that people's files have.
FORMS = {
    "mp4": ("mp4 f4v m4v", "mpeg4"),
    "mov": ("mov qt", "mpeg4"),
    "avi": ("avi divx", "mpeg4"),
    "mkv": ("mkv", "mpeg4"),
    "webm": ("webm", "libvpx"),
    "flv": ("flv", "flv1"),
    "gif": ("gif", "gif"),
    "mxf": ("mxf", "mpeg2video"),
    "ts": ("ts", "mpeg2video"),
    "m2ts": ("m2ts mts", "mpeg2video"),
    "mpg": ("mpg vob", "mpeg2video"),
    "asf": ("wmv", "mpeg4"),
    "ivf": ("ivf", "libvpx"),
    "h264": ("h264", "libx264"),
}


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the bytes of a video in each container."""
    folder, made = tmp_path_factory.mktemp("forms"), {}
    images = [np.full((64, 96, 3), 40 * k, np.uint8) for k in range(4)]
    for name, (_, codec) in FORMS.items():
        with av.open(str(folder / f"a.{name}"), "w") as container:
            stream = container.add_stream(codec, rate=25)
            stream.height, stream.width = images[0].shape[:2]
            stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
            for image in images:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image).reformat(format=stream.pix_fmt)))
            container.mux(stream.encode())
        made[name] = (folder / f"a.{name}").read_bytes()
    return made


def test_a_video_is_found_by_its_content_whatever_its_ending(tmp_path: Path, forms: dict[str, bytes]) -> None:
    names = []
    for name, content in forms.items():
        assert why_not_video(content[:HEAD_BYTES]) == "", name
        endings = FORMS[name][0].split()
        names += [f"{name}/a.{ending}" for ending in endings] + [f"{name}/none", f"{name}/of 2019.backup"]
        (tmp_path / name).mkdir()
        for path in names[-len(endings) - 2 :]:
            (tmp_path / path).write_bytes(content)
    assert files_below(tmp_path) == sorted(names)


def test_other_files_are_no_videos(tmp_path: Path) -> None:
    contents = {
        "notes": (b"GGG " * 300, "is text, not a video."),
        "a.json": (b"{}", "is text, not a video."),
        "empty": (b"", "is empty (0 bytes)."),
        "a.heic": (b"\x00\x00\x00\x18ftypheic\x00", "is a HEIC picture, which cannot be read here: save it as JPEG."),
        "a.dng": (b"II*\x00\x08", "is a TIFF or raw picture, which cannot be read here: save it as JPEG or PNG."),
        "a.m4a": (b"\x00\x00\x00\x18ftypM4A \x00", "is audio only, not a video."),
        "a.ogg": (b"OggS\x00" + bytes(23) + b"\x01vorbis\x00", "is audio only, not a video."),
        "a.zip": (b"PK\x03\x04\x00", "is an archive, not a video."),
        "a.m3u8": (b"#EXTM3U\n\x00", "is a playlist, not a video."),
        "a.npy": (b"\x93NUMPY\x01\x00", "is no video of a known kind."),
    }
    for name, (content, reason) in contents.items():
        (tmp_path / name).write_bytes(content)
        assert why_not_video(content[:HEAD_BYTES]) == reason
    os.mkfifo(tmp_path / "pipe")  # reading it would wait for ever
    for name, content in {"a.png": b"\x89PNG\r\n\x1a\n\x00", "b": b"\xff\xd8\xff\xe0"}.items():
        (tmp_path / name).write_bytes(content)
        assert why_not_video(content) == ""  # a picture may be judged, but is no video of a dataset
    assert files_below(tmp_path) == []
    assert files_below(tmp_path, {".png"}) == ["a.png"]


def test_a_transport_stream_may_be_cut_at_the_front() -> None:
    for length in (188, 192):
        packets = (b"G" + bytes(length - 1)) * 6
        for cut in (0, 1, 4, 100, length - 1):
            assert why_not_video(packets[cut : cut + HEAD_BYTES]) == ""


def test_a_name_that_is_not_unicode_has_an_id_and_can_be_printed() -> None:
    name = os.fsdecode(b"caf\xe9.mp4")
    assert printable(name) == "caf\\udce9.mp4"
    assert video_id(name).startswith("caf_-") and video_id(name) == video_id(name)
