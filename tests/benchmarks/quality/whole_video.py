"""Whole videos: forged stretches in real videos, and false alarms over real clips strung together. Run by hand:

    python -m tests.benchmarks.quality.whole_video --videos path/to/real_videos --work path/to/scratch [--seconds 120]

Real clips are forged two by two with the suite's methods (kept in `--work`, so that it is done once). A clip is played
forwards and backwards until the video is long enough; five seconds of it are forged. The same five seconds are judged
alone, too. Then all clips are strung together in random orders. Prints both tables in Markdown.
"""

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np

from dfutils.core.progress import bar
from dfutils.data import indexing
from dfutils.faces import video
from dfutils.faces.whole_video import Plan
from dfutils.forgery import own_videos
from dfutils.serving import hub
from dfutils.serving.verdict import predict_video
from tests.benchmarks import arguments

FPS, STRETCH_S = 25, 5
WHOLE = Plan(budget=1e6)


def frames_of(path: Path, count: int) -> Iterator[np.ndarray]:
    """Yield frames of a clip, forwards and backwards, at most 150 of them again and again."""
    known = [frame for *_, frame in video.frames(path, 150)]
    order = [*range(len(known)), *range(len(known) - 2, 0, -1)]
    for number in range(count):
        yield known[order[number % len(order)]]


def encode(path: Path, frames: Iterable[np.ndarray]) -> None:
    """Write frames as H.264 in a hurry."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "18", "preset": "ultrafast"}
        for frame in frames:
            if not stream.width:
                stream.width, stream.height = frame.shape[1], frame.shape[0]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def stretches(options: argparse.Namespace, detector: object) -> None:
    """Judge videos with a forged stretch, and the stretch alone; print what was found."""
    folder, rng = options.work / "forged", np.random.default_rng(0)
    if not folder.is_dir():
        own_videos.forge_folder(options.videos, folder, max_frames=150)
    table = indexing.scan("sample", folder)
    fakes = table[table["label"] == 1]
    fakes = fakes.sample(options.stretches, random_state=0, replace=len(fakes) < options.stretches)
    sources = dict(zip(table["video_id"], table["path"], strict=True))
    print("| forged | at s | alone | whole | called fake alone, whole | said |\n| --- | --- | --- | --- | --- | --- |")
    called = np.zeros(2, int)
    offsets, threshold = [], detector.config["threshold"]
    for row in bar(fakes.itertuples(), total=len(fakes), desc="stretches"):
        real = folder / sources[row.source_video]
        count, start = options.seconds * FPS, int(rng.integers(0, (options.seconds - STRETCH_S) * FPS))
        end = start + STRETCH_S * FPS
        both = enumerate(zip(frames_of(real, count), frames_of(folder / row.path, count), strict=True))
        mixed = (fake if start <= k < end else frame for k, (frame, fake) in both)
        alone = [fake for k, fake in enumerate(frames_of(folder / row.path, end)) if k >= start]
        encode(options.work / "whole.mp4", mixed)
        encode(options.work / "alone.mp4", alone)
        one = predict_video(options.work / "alone.mp4", detector, plan=WHOLE)
        whole = predict_video(options.work / "whole.mp4", detector, plan=WHOLE)
        found = [one.probability_fake >= threshold, whole.probability_fake >= threshold]
        called += found
        worst, begin = whole.worst, start / FPS
        said = f"{worst.start_s:.1f}-{worst.end_s:.1f}"
        if found[1]:
            offsets.append((worst.start_s - begin, worst.end_s - begin - STRETCH_S))
        print(
            f"| {row.method} {Path(row.path).stem} | {begin:.1f}-{begin + STRETCH_S:.1f} | {one.probability_fake:.3f} "
            f"| {whole.probability_fake:.3f} | {found[0]}, {found[1]} | {said} |",
            flush=True,
        )
    near = sum(max(map(abs, pair)) <= 1 for pair in offsets)
    print(f"\nCalled fake: {called[0]} alone, {called[1]} in whole videos; start and end within 1 s: {near}.\n")


def alarms(options: argparse.Namespace, detector: object) -> None:
    """Judge real clips one by one, and strung together; print how many are called fake."""
    clips = sorted(options.videos.glob("*.mp4"))
    threshold, rng = detector.config["threshold"], np.random.default_rng(0)
    single = [predict_video(path, detector, first=150).probability_fake for path in clips]
    print(f"{sum(score >= threshold for score in single)} of {len(clips)} single clips are called fake.", flush=True)
    known = {path: [fitted(frame) for frame in frames_of(path, 150)] for path in clips}
    scores = []
    for _ in bar(range(options.orders), desc="orders"):
        order = [frame for k in rng.permutation(len(clips)) for frame in known[clips[k]]]
        encode(options.work / "strung.mp4", order)
        verdict = predict_video(options.work / "strung.mp4", detector, plan=WHOLE)
        scores.append(verdict.probability_fake)
        print(
            f"{verdict.probability_fake:.3f}, {len(verdict.persons)} persons, {verdict.n_windows} windows", flush=True
        )
    print(f"{sum(score >= threshold for score in scores)} of {len(scores)} strung videos are called fake.")


def fitted(frame: np.ndarray, width: int = 640, height: int = 480) -> np.ndarray:
    """Return a frame scaled into a common size, on black."""
    scale = min(width / frame.shape[1], height / frame.shape[0])
    small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[:height, :width]
    canvas = np.zeros((height, width, 3), np.uint8)
    top, left = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
    canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    return canvas


def main() -> None:
    """Measure what is asked for, and print it."""
    parser = arguments.judging(__doc__)
    parser.add_argument("--seconds", type=int, default=120, help="length of the videos with a forged stretch")
    parser.add_argument("--stretches", type=int, default=20)
    parser.add_argument("--orders", type=int, default=20)
    options = parser.parse_args()
    detector = hub.load(options.model)
    if options.stretches:
        stretches(options, detector)
    if options.orders:
        alarms(options, detector)


if __name__ == "__main__":
    main()
