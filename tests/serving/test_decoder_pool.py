"""Decoder processes: what crashes one costs its own answer alone, and their resources are limited."""

import asyncio
import multiprocessing
import subprocess
import sys

import numpy as np
import pytest

from dfutils.faces import whole_video
from dfutils.faces.windows import VideoScan
from dfutils.serving.decoder_pool import DecoderError, DecoderPool
from dfutils.serving.hub import load
from tests.support.videos import reencode


def test_two_hundred_broken_videos_break_nothing(clips_dir, folder, tmp_path):
    """Mutations of a real clip, straight to the decoders: a crash costs its own answer and no other."""
    whole = reencode(clips_dir / "d18.mp4", tmp_path / "small.mp4", 12, size=160, movflags="faststart")
    settings = load(folder).face_settings.model_copy(update={"frames_per_video": 2, "max_frames": 6})
    rng = np.random.default_rng(0)
    paths = []
    for k in range(200):
        data = bytearray(whole)
        begin = 0 if k % 2 else 40
        for place in rng.integers(begin, len(data) if k % 3 else 1500, 1 + 2 ** (k % 8)):
            data[place] = rng.integers(256)
        if k % 5 == 0:
            del data[rng.integers(len(data)) :]
        if k % 7 == 0:
            place = int(rng.integers(len(data)))
            data[place:place] = rng.bytes(int(rng.integers(1, 300)))
        paths.append(tmp_path / f"{k}.mp4")
        paths[-1].write_bytes(data)
    statuses = []

    async def all_of_them() -> None:
        pool = DecoderPool(1, seconds=20)
        await pool.start()
        for path in [*paths, tmp_path / "small.mp4"]:
            try:
                statuses.append((await pool.scan(path, settings)).main.status)
            except DecoderError:
                statuses.append("broken")
        await pool.close()

    asyncio.run(all_of_them())
    assert len(statuses) == 201
    assert set(statuses) <= {"ok", "few_faces", "no_face", "unreadable", "broken"}
    assert {"ok", "unreadable"} <= set(statuses)
    assert statuses[-1] == "ok"


def test_a_decoder_is_limited_and_starts_without_what_it_does_not_need(folder, tmp_path):
    code = (
        "import sys, resource; from dfutils.serving import decoder_pool; decoder_pool.prepare(2**31);"
        "import dfutils.faces.extraction;"
        "assert resource.getrlimit(resource.RLIMIT_AS)[0] == 2**31;"
        "assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == 0;"
        "sys.exit(len({'torch', 'fastapi', 'kaggle', 'papermill', 'pandas', 'scipy'} & set(sys.modules)))"
    )
    if sys.platform == "linux":
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr


def test_what_a_decoder_finds_survives_the_way(clips_dir, folder):
    async def found() -> VideoScan:
        pool = DecoderPool(1, seconds=60)
        try:
            return await pool.scan(clips_dir / "d18.mp4", load(folder).face_settings, on_progress=shares.append)
        finally:
            await pool.close()

    shares: list[float] = []
    back, here = asyncio.run(found()), whole_video.scan(clips_dir / "d18.mp4", load(folder).face_settings)
    assert [len(person.windows) for person in back.people] == [len(person.windows) for person in here.people] == [2]
    for one, other in zip(back.people[0].windows, here.people[0].windows, strict=True):
        assert (one.start_s, one.end_s) == (other.start_s, other.end_s)
        for name in ("frames", "indices", "times", "boxes", "scores", "landmarks", "pose"):
            np.testing.assert_array_equal(getattr(one.clip, name), getattr(other.clip, name))
    assert (back.facts, back.cut, back.main.status) == (here.facts, here.cut, here.main.status)
    assert (back.shots, back.left_out) == (here.shots, here.left_out)
    assert shares == sorted(shares) and all(0 <= share <= 1 for share in shares)


def decoders() -> list[multiprocessing.Process]:
    return [child for child in multiprocessing.active_children() if "pebble" in child.name]


def test_killed_idle_busy_and_abandoned_decoders_are_replaced(clips_dir, folder):
    """An idle one as by the system that is out of memory, a busy one, and one whose client has left."""
    settings, clip = load(folder).face_settings, clips_dir / "d18.mp4"

    async def main() -> None:
        pool = DecoderPool(1, seconds=60)
        try:
            await pool.start()
            first = decoders()
            first[0].kill()
            await asyncio.sleep(0.5)
            assert (await pool.scan(clip, settings)).main.status == "ok"
            said = ""
            for seconds in (0.1, 0.2, 0.4, 0.8):  # until the decoder has begun, which may be late on a busy machine
                busy = asyncio.create_task(pool.scan(clip, settings))
                await asyncio.sleep(seconds)
                for child in decoders():
                    child.kill()
                (ended,) = await asyncio.gather(busy, return_exceptions=True)
                said = str(ended) if isinstance(ended, DecoderError) else said
                if "damaged" in said:
                    break
            assert "damaged" in said
            assert (await pool.scan(clip, settings)).main.status == "ok"
            second = {child.pid for child in decoders()}
            left = asyncio.create_task(pool.scan(clip, settings))
            await asyncio.sleep(0.1)
            left.cancel()
            assert (await pool.scan(clip, settings)).main.status == "ok"
            assert second.isdisjoint(child.pid for child in decoders())
        finally:
            await pool.close()
        assert decoders() == []

    asyncio.run(main())


def test_a_decoder_that_cannot_have_the_memory_refuses(clips_dir, folder):
    async def starved() -> None:
        pool = DecoderPool(1, seconds=20, memory=2**28)
        try:
            await pool.scan(clips_dir / "d18.mp4", load(folder).face_settings)
        finally:
            await pool.close()

    if sys.platform == "linux":
        with pytest.raises(DecoderError):
            asyncio.run(starved())
