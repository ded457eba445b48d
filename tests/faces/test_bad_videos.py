"""Preprocessing when things go wrong: crashes, hangs, kill -9, full disks, lost folders, lost machines, odd videos."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import skimage.data

from dfutils.core.errors import InputError
from dfutils.faces import batch, video
from tests.support.videos import SETTINGS, encode, face_clip, indexed, settings

ROOT = Path(__file__).resolve().parents[2]
extract_one = batch._extract_one

posix = pytest.mark.skipif(sys.platform == "win32", reason="the signals sent here are those of POSIX")


def faulty_extract_one(job) -> None:
    """Preprocess a video, with a failure if its name asks for one; record that the call began."""
    with (job.root / "began").open("a") as file:
        file.write(f"{job.video_id}\n")
    if "crash" in job.path.name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "hang" in job.path.name:
        ctypes.PyDLL(None).sleep(1000)  # holds Python's lock
    if "vanish" in job.path.name:
        shutil.rmtree(job.root / "real")
        (job.root / "began").unlink()
        job.root.rmdir()
    time.sleep(0.3 if "slow" in job.path.name else 0)
    extract_one(job)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "a.mp4"
    face_clip(path)
    return path


def folder_of(root: Path, clip: Path, *names: str) -> Path:
    (root / "real").mkdir(parents=True)
    for name in names:
        shutil.copy2(clip, root / "real" / f"{name}.mp4")
    return root


def results(folder: Path) -> dict[str, bytes]:
    """Return the files that a run leaves, without the lock."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "run.lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def statuses(result: batch.Preprocessed) -> dict[str, str]:
    return dict(zip(result.videos["path"].str.removeprefix("real/"), result.videos["status"], strict=True))


@posix
def test_a_video_that_crashes_or_hangs_is_a_row(tmp_path, clip, monkeypatch):
    monkeypatch.setattr(batch, "_extract_one", faulty_extract_one)
    root = folder_of(tmp_path / "videos", clip, "a", "b", "crash", "hang", "z")
    dataset = indexed(root, tmp_path)
    result = batch.preprocess(dataset, settings(workers=2, video_timeout_s=15), progress=False)
    assert statuses(result) == {
        "a.mp4": "ok",
        "b.mp4": "ok",
        "crash.mp4": "unreadable",
        "hang.mp4": "unreadable",
        "z.mp4": "ok",
    }
    reasons = result.videos.set_index("path")["reason"]
    assert reasons["real/crash.mp4"] == "crash.mp4 ended the process that read it."
    assert reasons["real/hang.mp4"] == "hang.mp4 was given up after 15 s (video_timeout_s)."
    began = (root / "began").read_text()
    again = batch.preprocess(dataset, settings(workers=2), progress=False)
    assert (root / "began").read_text() == began, "what was given up is not tried again unasked"
    assert statuses(again) == statuses(result)


_RUN = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.support.videos import indexed, settings
from dfutils.faces.batch import preprocess
preprocess(indexed(Path(sys.argv[2]), Path(sys.argv[3])), settings(workers=int(sys.argv[4])), progress=False)
"""


def start(root: Path, out: Path, workers: int) -> subprocess.Popen:
    command = [sys.executable, "-c", _RUN, str(ROOT), str(root), str(out), str(workers)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)


@posix
@pytest.mark.parametrize("everything", [False, True], ids=["the run", "the run and its workers"])
def test_kill_minus_nine_and_again_gives_the_bytes_of_an_unbroken_run(tmp_path, clip, everything):
    root = folder_of(tmp_path / "videos", clip, *(f"v{k}" for k in range(8)))
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    batch.preprocess(indexed(root, unbroken), settings(workers=2), progress=False)
    rows = broken / "own" / "faces" / batch.signature(SETTINGS.face_settings.model_dump()) / "rows"
    process = start(root, broken, 2)
    while not (rows.is_dir() and any(rows.glob("real__v*.json"))):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.002)
    (os.killpg if everything else os.kill)(process.pid, signal.SIGKILL)
    process.wait()
    assert not (rows.parent / "videos.parquet").exists(), "the run had ended before it was killed"
    finished = {path: path.stat().st_mtime_ns for path in rows.glob("*.json")}
    (rows / ".real__v3.1.part.json").write_text("{")  # as a worker leaves it that is killed in the midst of writing
    batch.preprocess(indexed(root, broken), settings(workers=2), progress=False)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert results(broken / "own") == results(unbroken / "own")


@posix
def test_two_runs_at_once(tmp_path, clip, monkeypatch):
    monkeypatch.setattr(batch, "_extract_one", faulty_extract_one)
    root = folder_of(tmp_path / "videos", clip, *(f"slow{k}" for k in range(6)))
    dataset, returned = indexed(root, tmp_path), []
    first = threading.Thread(
        target=lambda: returned.append(batch.preprocess(dataset, SETTINGS, progress=False)), daemon=True
    )
    first.start()
    while not (root / "began").exists():
        time.sleep(0.05)
    with pytest.raises(InputError, match="Another run is preprocessing own"):
        batch.preprocess(dataset, SETTINGS, progress=False)
    other = batch.preprocess(dataset, settings(face_size=32), progress=False)
    first.join()
    assert set(statuses(returned[0]).values()) == set(statuses(other).values()) == {"ok"}
    batch.preprocess(dataset, SETTINGS, progress=False)


def test_a_folder_that_vanishes_on_the_way_is_a_sentence(tmp_path, clip, monkeypatch):
    monkeypatch.setattr(batch, "_extract_one", faulty_extract_one)
    root = folder_of(tmp_path / "videos", clip, "a", "vanish", "z")
    dataset = indexed(root, tmp_path)
    with pytest.raises(InputError, match=r"is missing on .* finished videos are kept"):
        batch.preprocess(dataset, SETTINGS, progress=False)
    monkeypatch.undo()
    folder_of(root, clip, "a", "vanish", "z")
    assert set(statuses(batch.preprocess(dataset, SETTINGS, progress=False)).values()) == {"ok"}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mounts a tmpfs")
def test_a_full_disk_is_a_sentence_and_room_lets_the_run_end(tmp_path, clip):
    small = tmp_path / "small"
    small.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(small)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        root = folder_of(tmp_path / "videos", clip, *(f"v{k}" for k in range(8)))
        dataset = indexed(root, small)
        with pytest.raises(InputError, match="the disk is full"):
            batch.preprocess(dataset, SETTINGS, progress=False)
        strips = list(small.rglob("real__v*.png"))
        assert 0 < len(strips) < 8 and not list(small.rglob(".*.part*"))
        subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True, capture_output=True)
        assert set(statuses(batch.preprocess(dataset, SETTINGS, progress=False)).values()) == {"ok"}
    finally:
        subprocess.run(["umount", "-l", str(small)], check=False)


@posix
def test_a_cluster_that_loses_a_worker_loses_no_video(tmp_path, clip, monkeypatch):
    distributed = pytest.importorskip("distributed", reason="the extra cluster is not installed")
    monkeypatch.setattr(batch, "_extract_one", faulty_extract_one)
    root = folder_of(tmp_path / "videos", clip, *(f"slow{k}" for k in range(12)))
    options = {"threads_per_worker": 1, "dashboard_address": None, "silence_logs": 50}
    options["env"] = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    dataset, returned = indexed(root, tmp_path), []
    rows = dataset.folder / "faces" / batch.signature(SETTINGS.face_settings.model_dump()) / "rows"
    written: dict[str, set[int]] = {}

    with distributed.LocalCluster(n_workers=2, processes=True, **options) as cluster:

        def work() -> None:
            address = cluster.scheduler_address
            returned.append(batch.preprocess(dataset, settings(scheduler=address), progress=False))

        run = threading.Thread(target=work, daemon=True)
        run.start()
        victim = next(iter(cluster.workers.values())).pid
        while run.is_alive():
            for path in rows.glob("real__slow*.json"):
                written.setdefault(path.name, set()).add(path.stat().st_mtime_ns)
            if victim and len(written) >= 3:
                os.kill(victim, signal.SIGKILL)
                victim = None
            time.sleep(0.02)
    assert victim is None, "the worker was not killed mid-way"
    assert statuses(returned[0]) == {f"slow{k}.mp4": "ok" for k in range(12)}
    assert len(written) == 12 and {len(times) for times in written.values()} == {1}, "a video was done twice"
    began = Counter((root / "began").read_text().split())
    assert set(began) == {f"real__slow{k}" for k in range(12)}


# Odd videos


def status_of(root: Path, out: Path, **changes) -> dict[str, str]:
    return statuses(batch.preprocess(indexed(root, out), settings(**changes), progress=False))


def portrait(size: int = 300) -> np.ndarray:
    return np.ascontiguousarray(skimage.data.astronaut()[:size, 80 : 80 + size])


def test_a_header_that_lies_about_its_length(tmp_path, clip):
    """The frames that are there are found, whether the header promises many more or fewer."""
    root = folder_of(tmp_path / "videos", clip, "true")
    data = clip.read_bytes()
    for name, frames in (("long", 100_000), ("short", 2)):
        lying = bytearray(data)
        for box, at in ((b"mvhd", 16), (b"mdhd", 16), (b"tkhd", 20)):
            k = lying.index(box) + 4 + at
            scale = int.from_bytes(lying[k - 4 : k], "big") if box != b"tkhd" else 1000
            lying[k : k + 4] = int(frames / 25 * scale).to_bytes(4, "big")
        (root / "real" / f"{name}.mp4").write_bytes(lying)
    assert status_of(root, tmp_path) == {"true.mp4": "ok", "long.mp4": "ok", "short.mp4": "ok"}


def test_garbage_half_way_leaves_the_good_part(tmp_path):
    root = tmp_path / "videos"
    (root / "real").mkdir(parents=True)
    rng = np.random.default_rng(0)
    grainy = (np.clip(portrait() + rng.normal(0, 6, (300, 300, 3)), 0, 255).astype(np.uint8) for _ in range(40))
    video.write(root / "real" / "a.mp4", grainy)  # the grain makes all frames cost about as many bytes
    data = bytearray((root / "real" / "a.mp4").read_bytes())
    for name, share in (("most", 0.6), ("hardly", 0.1)):
        broken = bytearray(data)
        start = int(share * len(data))
        broken[start:] = rng.integers(0, 255, len(data) - start, np.uint8).tobytes()
        (root / "real" / f"{name}.mp4").write_bytes(broken)
    status = status_of(root, tmp_path, frames_per_video=10, max_frames=40)
    assert status["a.mp4"] == status["most.mp4"] == "ok"
    assert status["hardly.mp4"] in ("few_faces", "unreadable")


def test_two_video_streams(tmp_path):
    import av

    root = tmp_path / "videos"
    (root / "real").mkdir(parents=True)
    with av.open(str(root / "real" / "two.mp4"), "w") as container:
        streams = [container.add_stream("libx264", rate=25) for _ in range(2)]
        for stream, side in zip(streams, (300, 64), strict=True):
            stream.width = stream.height = side
            stream.pix_fmt = "yuv420p"
        for _ in range(12):
            for stream, image in zip(streams, (portrait(), np.zeros((64, 64, 3), np.uint8)), strict=True):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        for stream in streams:
            container.mux(stream.encode())
    assert status_of(root, tmp_path) == {"two.mp4": "ok"}


def test_a_frame_of_one_pixel_and_one_of_8k(tmp_path):
    root = tmp_path / "videos"
    (root / "real").mkdir(parents=True)
    encode(root / "real" / "dot.mkv", [np.zeros((1, 1, 3), np.uint8)] * 4, "ffv1", "bgr0")
    large = np.zeros((4320, 7680, 3), np.uint8)
    large[1000:3400, 2000:4400] = np.kron(portrait(300), np.ones((8, 8, 1), np.uint8))
    encode(root / "real" / "8k.mkv", [large] * 2, "mjpeg", "yuvj420p")
    status = status_of(root, tmp_path, frames_per_video=1, max_frames=2)
    assert status == {"8k.mkv": "ok", "dot.mkv": "no_face"}


def test_only_the_first_frames_of_three_hours_are_read(tmp_path, clip):
    root = tmp_path / "videos"
    (root / "real").mkdir(parents=True)
    frames = [portrait()] * 24 + [np.zeros((300, 300, 3), np.uint8)] * 84  # a frame every 100 seconds
    encode(root / "real" / "long.mp4", frames, "libx264", "yuv420p", pts=[100_000 * k for k in range(108)])
    dataset = indexed(root, tmp_path)
    assert dataset.videos["duration_s"].iloc[0] > 10_000
    result = batch.preprocess(dataset, SETTINGS, progress=False)
    assert statuses(result) == {"long.mp4": "ok"} and result.frames["frame"].max() < 20
