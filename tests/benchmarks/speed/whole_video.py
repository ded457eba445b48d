"""What a verdict on a whole video costs, beside decoding it. Run by hand, on an idle machine:

    python -m tests.benchmarks.speed.whole_video --videos path/to/real_videos --work path/to/scratch --seconds 120

Two people beside each other, then each alone, in shots of eight seconds at 720p, are put together from the two first
clips (kept in `--work`). Prints seconds of the clock and of the processors, memory, windows and what was left out; with
`--budget` for another budget than the default.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from dfutils.faces import footage
from tests.benchmarks import arguments
from tests.benchmarks.quality.whole_video import FPS, encode, frames_of

PREDICT = """
import json, resource, sys, time
from dfutils.faces.whole_video import Plan
from dfutils.serving import hub, verdict
detector, began, used = hub.load(sys.argv[2]), time.monotonic(), time.process_time()
found = verdict.predict_video(sys.argv[1], detector, plan=Plan(json.loads(sys.argv[3])))
shots, windows = found.shots, [w for p in found.persons for w in p.windows]
longer = [s for s in shots if s[1] - s[0] > 3]
print(json.dumps({
    "clock_s": time.monotonic() - began, "processors_s": time.process_time() - used,
    "memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "windows": found.n_windows,
    "people": [len(p.windows) for p in found.persons], "shots_over_3_s": len(longer),
    "of_these_with_a_window": sum(any(w.start_s < b and w.end_s > a for w in windows) for a, b in longer),
    "left_out_s": sum(stretch.end_s - stretch.start_s for stretch in found.left_out),
}))
"""


def two_people(first: Path, second: Path, count: int) -> Iterator[np.ndarray]:
    """Yield frames of 720p: both, the one, the other, for eight seconds each."""
    for k, pair in enumerate(zip(frames_of(first, count), frames_of(second, count), strict=True)):
        one, other = (cv2.resize(frame, (600, 600)) for frame in pair)
        canvas = np.full((720, 1280, 3), 80, np.uint8)
        scene = k // (8 * FPS) % 3
        if scene == 0:
            canvas[60:660, 20:620], canvas[60:660, 660:1260] = one, other
        else:
            canvas[60:660, 340:940] = one if scene == 1 else other
        yield canvas


def main() -> None:
    """Make the video, decode it, judge it, and print."""
    parser = arguments.judging(__doc__)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--budget", type=float, default=None)
    options = parser.parse_args()
    path = options.work / f"two_people_{options.seconds}.mp4"
    if not path.is_file():
        encode(path, two_people(*sorted(options.videos.glob("*.mp4"))[2:4], options.seconds * FPS))
    began, used = time.monotonic(), time.process_time()
    with footage.reader(path) as reader:
        for _ in reader.stretches(5.0):
            pass
    print(f"decoding alone: {time.monotonic() - began:.1f} s, of processors {time.process_time() - used:.1f} s")
    words = [sys.executable, "-c", PREDICT, str(path), options.model, json.dumps(options.budget)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    for name, value in json.loads(done.stdout).items():
        print(f"{name}: {round(value, 1) if isinstance(value, float) else value}")


if __name__ == "__main__":
    main()
