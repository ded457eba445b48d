"""How fast faces are found, and how well it agrees with the field's usual way.

    python -m tests.benchmarks.speed.preprocess [folder of videos] [--only faces|workers|copies] [--copies 1000]

For every video, in one process with one thread: the family's way (dlib's HOG detector at full size on each of the first
150 frames, ten crops), `dfutils.faces.extract`, and plain `read()` of the same frames. Times are CPU seconds, so that a
busy machine disturbs the ratios little; models are loaded before. A frame of ours is *elsewhere* if the full-size
detector found faces in it and ours overlaps none of them (intersection over union below 0.3).

Then the whole of preprocessing, by the clock, for which the machine must be idle: all videos with one worker and with
two; and copies of the smallest video, a tenth of them and all, to see whether time grows linearly and what the tables
cost.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from dfutils.core import params
from dfutils.core.params import FaceSettings, PreprocessSettings
from dfutils.data import indexing
from dfutils.faces import (
    batch,
    detection,
    extraction,
    tracking,
    video,
)

ROOT = Path(__file__).resolve().parents[3]
CLIPS = ROOT.parent / "shared" / "clips"
FRAMES, CROPS = 150, 10


def read(path: Path) -> int:
    """Decode and convert the first frames, nothing else."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    count = 0
    while count < FRAMES and capture.read()[0]:
        count += 1
    capture.release()
    return count


def family(path: Path) -> tuple[list[np.ndarray], dict[int, list[detection.Box]]]:
    """Return ten crops and all boxes, by frame, of the detector at full size on every frame."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    found, crops = {}, {}
    for index in range(FRAMES):
        readable, frame = capture.read()
        if not readable:
            break
        rgb = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        found[index] = [box for box, _ in detection.search(rgb, (0, 0, rgb.shape[1], rgb.shape[0]), 0, 0.0)]
        if found[index]:
            crops[index] = detection.crop(rgb, found[index][0], np.zeros((68, 2)), 112, 0.3, False)[0]
    capture.release()
    indices = sorted(crops)
    return [crops[indices[k]] for k in tracking.spread(indices, CROPS)], found


def timed(functions: list[Callable[[Path], Any]], path: Path, repeats: int) -> list[tuple[float, Any]]:
    """Return the least CPU time of some runs, and the result, of each function; they take turns."""
    times, results = np.empty((repeats, len(functions))), [None] * len(functions)
    for k in range(repeats):
        for f, function in enumerate(functions):
            start = time.process_time()
            results[f] = function(path)
            times[k, f] = time.process_time() - start
    return list(zip(times.min(axis=0), results, strict=True))


def compare(path: Path) -> dict[str, Any]:
    """Return a row of the table."""
    (plain_s, _), (ours_s, clip) = timed([read, lambda video: extraction.extract(video, FaceSettings())[0]], path, 5)
    [(family_s, (crops, found))] = timed([family], path, 1)
    best = [
        max((tracking.overlap(box, other) for other in found[int(index)]), default=np.nan)
        for index, box in zip(clip.indices, clip.boxes, strict=True)
    ]
    return {
        "video": path.name,
        "read_s": plain_s,
        "ours_s": ours_s,
        "family_s": family_s,
        "family/ours": family_s / ours_s,
        "ours/read": ours_s / plain_s,
        "faces_family": len(crops),
        "faces_ours": len(clip.frames),
        "status": clip.status,
        "people": clip.people,
        "IoU": np.nanmedian(best) if np.isfinite(best).any() else np.nan,
        "IoU_least": np.nanmin(best) if np.isfinite(best).any() else np.nan,
        "elsewhere": int(np.sum(np.array(best) < 0.3)),
        "HOG_blind": int(np.isnan(best).sum()),
        "_ious": best,
    }


def peak_memory(path: Path) -> float:
    """Return the greatest resident memory, in MiB, of a fresh process that extracts a video's faces."""
    script = (
        "import sys, resource, pathlib, cv2;"
        "from dfutils.faces import extraction; from dfutils.core.params import FaceSettings;"
        "cv2.setNumThreads(1); extraction.extract(sys.argv[1], FaceSettings());"
        "status = pathlib.Path('/proc/self/status');"  # ru_maxrss holds the parent's peak, too, on Linux
        "lines = status.read_text().splitlines() if status.exists() else [];"
        "peak = [int(line.split()[1]) / 1024 for line in lines if line.startswith('VmHWM')];"
        "print(peak[0] if peak else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2)"
    )
    result = subprocess.run([sys.executable, "-c", script, str(path)], cwd=ROOT, check=True, capture_output=True)
    return float(result.stdout)


def in_full_hd(path: Path, out: Path, n: int = 60) -> Path:
    """Write the first frames of a video as one of 1920x1080 pixels."""

    def enlarged(rgb: np.ndarray) -> np.ndarray:
        scale = min(1920 / rgb.shape[1], 1080 / rgb.shape[0])
        frame = np.zeros((1080, 1920, 3), np.uint8)
        part = cv2.resize(rgb, None, fx=scale, fy=scale)[:1080, :1920]
        frame[: part.shape[0], : part.shape[1]] = part
        return frame

    video.write(out, (enlarged(rgb) for _, _, rgb in video.frames(path, n)), crf=23)
    return out


def faces_and_memory(paths: list[Path]) -> list[tuple[str, str, str]]:
    """Compare, video by video; return the rows of the summary."""
    cv2.setNumThreads(1)
    extraction.extract(paths[0], FaceSettings())  # loads the models
    table = pd.DataFrame([compare(path) for path in paths])
    print(table.drop(columns="_ious").to_string(index=False, float_format="%.2f"))
    ious = np.concatenate(table["_ious"].to_list() or [[]])
    enough = table["faces_family"] >= CROPS
    with tempfile.TemporaryDirectory() as scratch:
        largest = max(paths, key=lambda path: video.probe(path).width * video.probe(path).height)
        memory = {
            "largest": peak_memory(largest),
            "1080p": peak_memory(in_full_hd(largest, Path(scratch) / "hd.mp4")),
            "1080p, no face": peak_memory(_noise(Path(scratch) / "noise.mp4")),
        }
    return [
        ("family / ours, median", f"{table['family/ours'].median():.1f}", "at least 15"),
        ("family / ours, least", f"{table['family/ours'].min():.1f}", "at least 4"),
        ("ours / read, median", f"{table['ours/read'].median():.2f}", "at most 2.2"),
        ("ours / read, total", f"{table['ours_s'].sum() / table['read_s'].sum():.2f}", "at most 1.6"),
        ("family has ten faces, ours too", f"{(table['faces_ours'][enough] >= CROPS).sum()} of {enough.sum()}", "all"),
        ("IoU with full-size HOG, median", f"{np.nanmedian(ious):.2f}", "at least 0.75"),
        ("frames elsewhere", f"{table['elsewhere'].sum()} of {np.isfinite(ious).sum()}", "0"),
        *((f"peak memory, {name}", f"{mib:.0f} MiB", "under 500 MiB") for name, mib in memory.items()),
    ]


def whole_run(paths: list[Path], scratch: Path, workers: int) -> tuple[float, float]:
    """Preprocess videos from the start; return the seconds of all, and those of the tables alone."""
    root, out = scratch / "videos", scratch / "data"
    shutil.rmtree(scratch, ignore_errors=True)
    (root / "real").mkdir(parents=True)
    for k, path in enumerate(paths):
        shutil.copyfile(path, root / "real" / f"{k:05d}_{path.name}")
    table = indexing.probe_videos(indexing.scan("folder", root), root, progress=False).assign(dataset="bench")
    dataset = params.Indexed("bench", root, out / "bench", table)
    settings = PreprocessSettings(workers=workers)
    start = time.perf_counter()
    batch.preprocess(dataset, settings, progress=False)
    middle = time.perf_counter()
    batch.preprocess(dataset, settings, progress=False)  # all is done: it looks, and makes the tables
    return middle - start, time.perf_counter() - middle


def several_workers(paths: list[Path]) -> list[tuple[str, str, str]]:
    """Return the row of two workers against one; both processes had begun before, so that starting does not count."""
    with tempfile.TemporaryDirectory() as scratch:
        whole_run(paths[:1] * 8, Path(scratch), 2)
        seconds = {workers: whole_run(paths, Path(scratch), workers)[0] for workers in (1, 2)}
    ratio = seconds[1] / seconds[2]
    return [("1 worker / 2 workers", f"{ratio:.2f} ({seconds[1]:.1f} s, {seconds[2]:.1f} s)", "at least 1.7")]


def many_copies(path: Path, count: int) -> list[tuple[str, str, str]]:
    """Return the rows of a tenth of the copies against all."""
    few = max(count // 10, 1)
    with tempfile.TemporaryDirectory() as scratch:
        whole_run([path] * 8, Path(scratch), 0)
        (few_s, _), (all_s, tables_s) = (whole_run([path] * n, Path(scratch), 0) for n in (few, count))
    per_video = (all_s / count) / (few_s / few)
    return [
        (f"seconds a video, {count} copies / {few}", f"{per_video:.2f} ({all_s:.0f} s, {few_s:.0f} s)", "about 1"),
        (f"tables of {count}, share of the time", f"{tables_s / all_s:.1%}", "under 2%"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=CLIPS)
    parser.add_argument("--only", choices=("faces", "workers", "copies"))
    parser.add_argument("--copies", type=int, default=1000)
    asked = parser.parse_args()
    endings = {".mp4", ".mov", ".avi", ".mkv", ".webm"}
    paths = sorted(path for path in asked.folder.rglob("*") if path.suffix.lower() in endings)
    if not paths:
        sys.exit(f"There is no video below {asked.folder}.")
    summary = []
    if asked.only in (None, "faces"):
        summary += faces_and_memory(paths)
    if asked.only in (None, "workers"):
        summary += several_workers(paths)
    if asked.only in (None, "copies"):
        summary += many_copies(min(paths, key=lambda path: path.stat().st_size), asked.copies)
    print()
    print(pd.DataFrame(summary, columns=["what", "measured", "wanted"]).to_string(index=False))


def _noise(out: Path) -> Path:
    """Write 1080p frames in which there is nothing to find, so that every size of search is tried."""
    rng = np.random.default_rng(0)
    blocks = [cv2.resize(rng.integers(0, 255, (18, 32, 3), np.uint8), (1920, 1080)) for _ in range(30)]
    video.write(out, blocks, crf=30)
    return out


if __name__ == "__main__":
    main()
