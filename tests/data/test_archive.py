"""Tests of unpacking: valid archives become folders, all others raise one sentence and leave no files."""

import errno
import io
import random
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfutils.core import progress
from dfutils.core.errors import InputError
from dfutils.data import archive as module
from dfutils.data.archive import BrokenArchiveError, unpack
from dfutils.data.manifest import manifest_path, verify
from tests.support.archives import FILES, KINDS, content, make


def tar_of(path: Path, name: str = "a.mp4", **fields: object) -> Path:
    """Write a tar of one entry without content, with the given fields."""
    member = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(member, field, value)
    with tarfile.open(path, "w") as out:
        out.addfile(member)
    return path


def refused(path: Path, into: Path, match: str, kind: type[InputError] = InputError) -> None:
    """Assert that unpacking raises one sentence and leaves neither folder, nor manifest, nor temporary files."""
    before = sorted(p.name for p in into.parent.iterdir())
    with pytest.raises(kind, match=match) as caught:
        unpack(path, into)
    assert "\n" not in str(caught.value)
    assert sorted(p.name for p in into.parent.iterdir()) == before
    assert not manifest_path(into).exists()


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_becomes_its_files_and_a_manifest_beside_them(tmp_path: Path, into: Path, kind: str) -> None:
    state = unpack(make(tmp_path / f"a.{kind}"), into)
    assert content(into) == FILES
    assert state.whole and state.files == 3 and state.bytes == sum(map(len, FILES.values()))
    assert state.source == f"archive a.{kind}"
    assert sorted(p.name for p in into.parent.iterdir()) == ["videos", "videos.manifest.json"]


def test_the_kind_is_told_by_the_bytes_and_folders_may_be_listed(tmp_path: Path, into: Path) -> None:
    shutil.copytree(unpack(make(tmp_path / "a.zip"), into).folder, tmp_path / "tree")
    with tarfile.open(tmp_path / "b.zip", "w:gz") as out:
        out.add(tmp_path / "tree", ".")  # as `tar czf b.zip .` names them: ./Celeb-real/…
    unpack(tmp_path / "b.zip", tmp_path / "again")
    assert content(tmp_path / "again") == FILES
    # A tar that ends in a zip is a tar, though the end is what tells a zip.
    make(tmp_path / "c.tar", {"x.zip": (tmp_path / "a.zip").read_bytes()})
    unpack(tmp_path / "c.tar", tmp_path / "inner")
    assert list(content(tmp_path / "inner")) == ["x.zip"]


BAD_NAMES = [
    "../out.mp4",
    "a/../../out.mp4",
    "/out.mp4",
    "C:/out.mp4",
    "C:out.mp4",
    "..\\out.mp4",
    "a\\..\\..\\out.mp4",
    "\\out.mp4",
    "C:\\out.mp4",
    "a\nb.mp4",
]


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_name_outside_the_target_is_refused(tmp_path: Path, into: Path, kind: str, name: str) -> None:
    refused(make(tmp_path / f"a.{kind}", {**FILES, name: b"x"}), into, "does not name a file below the folder")
    assert not (tmp_path / "out.mp4").exists() and not Path("/out.mp4").exists()


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_backslashes_of_windows_separate_folders(tmp_path: Path, into: Path, kind: str) -> None:
    path = make(tmp_path / f"a.{kind}", {name.replace("/", "\\"): content for name, content in FILES.items()})
    if kind == "zip":
        with zipfile.ZipFile(path, "a") as out:
            out.writestr("Celeb-real\\", b"")  # a folder
    assert unpack(path, into).whole
    assert content(into) == FILES
    both = make(tmp_path / f"b.{kind}", {"a/b.mp4": b"1", "a\\b.mp4": b"2"})
    refused(both, tmp_path / "data" / "both", r"holds b\.mp4 twice")


@pytest.mark.parametrize(
    ("names", "join"),
    [
        (["a.zip.001", "a.zip.002", "a.zip.003"], "`cat a.zip.001 a.zip.002 a.zip.003 > whole`"),
        (["a.z01", "a.z02", "a.zip"], "`zip -s 0 a.zip --out whole.zip`"),
        (["a.tar.gz.aa", "a.tar.gz.ab"], "`cat a.tar.gz.aa a.tar.gz.ab > whole`"),
        (["a.tar.gzaa", "a.tar.gzab"], "`cat a.tar.gzaa a.tar.gzab > whole`"),
        ([f"a.tar.0{k}" for k in range(6)], "`cat a.tar.00 a.tar.01 … a.tar.05 > whole`"),
    ],
)
def test_a_part_of_a_split_archive_is_told_with_the_others(
    tmp_path: Path, into: Path, names: list[str], join: str
) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    whole = make(tmp_path / ("a.zip" if "zip" in names[-1] else "a.tar.gz")).read_bytes()
    step = -(-len(whole) // len(names))
    for k, name in enumerate(names):
        (folder / name).write_bytes(whole[k * step : (k + 1) * step])
    (folder / "b.zip").touch()
    for name in names:
        refused(folder / name, into, f"one of {len(names)} parts of a split archive .*{re.escape(join)}, and give the")
    (folder / "whole").write_bytes(b"".join((folder / name).read_bytes() for name in names))
    assert unpack(folder / "whole", into).whole


@given(names=st.lists(st.text(st.sampled_from("ab./\\:C "), min_size=1, max_size=12), max_size=4, unique=True))
@settings(max_examples=60, deadline=None)
def test_whatever_the_names_nothing_is_written_elsewhere(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        into = Path(folder, "here", "videos")
        path = make(Path(folder, "a.tar"), dict.fromkeys(names, b"x"))
        try:
            unpack(path, into)
        except InputError:
            assert not into.exists()
        assert {p.name for p in Path(folder).iterdir()} <= {"here", "a.tar"}
        assert {p.name for p in Path(folder, "here").iterdir()} <= {"videos", "videos.manifest.json"}


@pytest.mark.parametrize(
    "facts",
    [
        {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
        {"type": tarfile.SYMTYPE, "linkname": "b.mp4"},
        {"type": tarfile.LNKTYPE, "linkname": "b.mp4"},
        {"type": tarfile.CHRTYPE},
        {"type": tarfile.BLKTYPE},
        {"type": tarfile.FIFOTYPE},
        {"type": b"?"},
    ],
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, into: Path, facts: dict) -> None:
    if facts["type"] == b"?":  # tarfile writes no unknown types
        raw = bytearray(tar_of(tmp_path / "a.tar").read_bytes())
        raw[156:157] = b"8"
        raw[148:156] = b"%06o\0 " % (sum(raw[:148]) + 8 * 32 + sum(raw[156:512]))
        (tmp_path / "a.tar").write_bytes(raw)
    else:
        tar_of(tmp_path / "a.tar", **facts)
    refused(tmp_path / "a.tar", into, "link, a device or another special file")


@pytest.mark.parametrize("mode", [0o120777, 0o020600, 0o010600])
def test_links_and_devices_in_a_zip_are_refused(tmp_path: Path, into: Path, mode: int) -> None:
    member = zipfile.ZipInfo("a.mp4")
    member.external_attr = mode << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr(member, "/etc/passwd")
    refused(tmp_path / "a.zip", into, "link, a device or another special file")


def patched(path: Path, marker: bytes, offset: int, value: bytes) -> Path:
    """Overwrite bytes after the first occurrence of a marker, and return the path."""
    raw = bytearray(path.read_bytes())
    at = raw.index(marker) + offset
    raw[at : at + len(value)] = value
    path.write_bytes(raw)
    return path


def test_an_encrypted_zip_is_refused(tmp_path: Path, into: Path) -> None:
    refused(patched(make(tmp_path / "a.zip"), b"PK\x01\x02", 8, b"\x01\x00"), into, "is encrypted")


def test_an_unknown_compression_is_refused(tmp_path: Path, into: Path) -> None:
    path = patched(make(tmp_path / "a.zip"), b"PK\x01\x02", 10, b"\x09\x00")  # Deflate64, what Explorer writes
    patched(path, b"PK\x03\x04", 8, b"\x09\x00")
    refused(path, into, "unpack it with another program")


@pytest.mark.parametrize("size", [0, 10, 39_999, 40_001, 1 << 20])
def test_a_zip_that_lies_about_a_size_is_stopped(tmp_path: Path, into: Path, size: int) -> None:
    path = patched(make(tmp_path / "a.zip"), b"PK\x01\x02", 24, size.to_bytes(4, "little"))
    refused(path, into, "false sizes|is not the .* bytes", BrokenArchiveError)


def test_a_zip_whose_lie_has_a_right_checksum_still_writes_no_more_than_declared(tmp_path: Path, into: Path) -> None:
    import zlib

    path = patched(make(tmp_path / "a.zip", {"a.mp4": b"x" * 9000}), b"PK\x01\x02", 24, (10).to_bytes(4, "little"))
    patched(path, b"PK\x01\x02", 16, zlib.crc32(b"x" * 10).to_bytes(4, "little"))
    assert unpack(path, into).bytes == 10


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_bomb_is_refused_before_it_is_written(tmp_path: Path, into: Path, kind: str) -> None:
    if kind == "zip":
        path = patched(make(tmp_path / "a.zip"), b"PK\x01\x02", 24, (2 << 30).to_bytes(4, "little"))
    else:
        path = tmp_path / "a.tar"
        member = tarfile.TarInfo("a.mp4")
        member.size = 2 << 30
        path.write_bytes(member.tobuf() + bytes(10_240))
    refused(path, into, "far beyond its own size")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_too_many_files_are_refused(tmp_path: Path, into: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILES", 2)
    refused(make(tmp_path / f"a.{kind}"), into, "more than 2 files")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_name_that_comes_twice_is_refused(tmp_path: Path, into: Path, kind: str) -> None:
    path = make(tmp_path / f"a.{kind}", {"a.mp4": b"1", "b.mp4": b"2"})
    path.write_bytes(path.read_bytes().replace(b"b.mp4", b"a.mp4"))
    if kind == "tar":
        raw = bytearray(path.read_bytes())
        raw[1024 + 148 : 1024 + 156] = raw[148:156]  # the checksum of the header: names differ in one letter
        path.write_bytes(raw)
    refused(path, into, r"holds a\.mp4 twice")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.5, 0.9, 0.98])
def test_half_an_archive_says_to_download_it_again(tmp_path: Path, into: Path, kind: str, share: float) -> None:
    raw = make(tmp_path / f"a.{kind}").read_bytes()
    if kind == "tar":
        raw = raw[: 40_000 + 20_000 + 5_200 + 5 * 512]  # without the padding after its end
    (tmp_path / f"a.{kind}").write_bytes(raw[: int(share * len(raw))])
    refused(tmp_path / f"a.{kind}", into, "download it again", BrokenArchiveError)


def test_a_tar_cut_between_two_files_is_not_taken_for_whole(tmp_path: Path, into: Path) -> None:
    path = make(tmp_path / "a.tar")
    path.write_bytes(path.read_bytes()[: 512 + 40_448])  # the first header and file, to the block
    refused(path, into, "download it again", BrokenArchiveError)


@pytest.mark.parametrize("raw", [b"", b"<html>Please log in</html>" * 100, b"7z\xbc\xaf\x27\x1c" + bytes(600)])
def test_what_is_no_archive_is_told(tmp_path: Path, into: Path, raw: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(raw)
    refused(tmp_path / "a.zip", into, "neither a zip nor a tar", BrokenArchiveError)


def test_an_archive_without_files_or_that_is_not_there_is_told(tmp_path: Path, into: Path) -> None:
    refused(make(tmp_path / "a.zip", {"folder/": b""}), into, "holds no files")
    refused(make(tmp_path / "a.tar", {}), into, "holds no files")
    refused(tmp_path / "b.zip", into, "cannot be opened")
    refused(tmp_path, into, "cannot be opened")


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_damaged_bytes_end_in_a_sentence_or_harm_nothing(tmp_path: Path, into: Path, kind: str) -> None:
    chance = random.Random(kind)
    raw = make(tmp_path / f"a.{kind}", {name: value[:900] for name, value in FILES.items()}).read_bytes()
    for _ in range(60):
        damaged = bytearray(raw)
        for _ in range(chance.choice([1, 1, 5, 30])):
            damaged[chance.randrange(len(raw))] = chance.randrange(256)
        (tmp_path / "b").write_bytes(damaged)
        try:
            assert unpack(tmp_path / "b", into).whole
        except InputError:
            assert not list(into.parent.iterdir())
        shutil.rmtree(into.parent)
        into.parent.mkdir()


Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_that_is_too_small_is_told_before_anything_is_written(
    tmp_path: Path, into: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1 << 30, 1 << 30, module.RESERVE + 1000))
    refused(make(tmp_path / f"a.{kind}"), into, "make room or set root to a folder on another disk")


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_disk_that_becomes_full_leaves_nothing_half_made(
    tmp_path: Path, into: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = make(tmp_path / f"a.{kind}"), Path.open

    class Full(io.BytesIO):
        def write(self, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    def opened(self: Path, mode: str = "r", *rest: object, **more: object) -> object:
        if mode == "xb" and self.name.startswith("List"):
            return Full()
        return real(self, mode, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opened)
        refused(path, into, "became full .* no file of it remains")
    assert unpack(path, into).whole


def test_an_unpack_that_was_killed_is_not_taken_for_whole(tmp_path: Path, into: Path) -> None:
    code = f"""
import os
from pathlib import Path
from dfutils.data import archive
calls = []
archive.check_room = lambda *_: calls.append(1) or (len(calls) == 4 and os._exit(9))  # at the third file, as kill -9
archive.unpack(Path({str(make(tmp_path / "a.zip"))!r}), Path({str(into)!r}))
"""
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 9
    assert verify(into).text == "missing"
    assert unpack(tmp_path / "a.zip", into).whole


def test_an_interrupted_unpack_leaves_what_was_there(
    tmp_path: Path, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path / "a.zip")
    unpack(path, into)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "check_room", interrupted)
    with pytest.raises(KeyboardInterrupt):
        unpack(path, into)
    assert verify(into).whole
    assert len(list(into.parent.iterdir())) == 2


def test_a_linked_target_is_filled_where_it_points_to(tmp_path: Path, into: Path) -> None:
    (tmp_path / "big_disk").mkdir()
    into.symlink_to(tmp_path / "big_disk", target_is_directory=True)
    assert unpack(make(tmp_path / "a.zip"), into).whole
    assert into.is_symlink() and content(tmp_path / "big_disk") == FILES


def test_the_bar_goes_to_stderr(
    tmp_path: Path, into: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(progress.BATCH, "1")  # as text, not as a notebook's widget
    unpack(make(tmp_path / "a.zip"), into)
    out, err = capfd.readouterr()
    assert out == "" and "unpack" in err
