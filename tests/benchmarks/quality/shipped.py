"""What a detector does on real videos that it has never met, and on swaps between them.

Takes a folder of real videos, forges them two by two with the suite's methods (kept in `--work`, so that it is done
once), and judges all of them as a user's video is judged. Prints, in Markdown, how many real videos are called fake,
ROC AUC of the forged ones by method with its 95% interval, and how long a warm verdict takes. Run from the checkout:

    python -m tests.benchmarks.quality.shipped --videos path/to/real_videos --work path/to/scratch [--model DIR]
"""

import statistics
import time
from pathlib import Path

import numpy as np
import torch

from dfutils.core import paths as core_paths
from dfutils.core.progress import bar
from dfutils.data import indexing
from dfutils.faces import video
from dfutils.forgery import dataset, own_videos
from dfutils.metrics import figures
from dfutils.serving import hub
from dfutils.serving.verdict import predict_video
from tests.benchmarks import arguments


def judge(paths: list[Path], detector: object) -> np.ndarray:
    """Return each video's probability of fake; NaN where the detector abstains."""
    with bar(total=len(paths), desc="judge", unit="video") as moving:
        scores = []
        for path in paths:
            scores.append(predict_video(path, detector).probability_fake)
            moving.update()
    return np.array([np.nan if score is None else score for score in scores])


def row(name: str, real: np.ndarray, fake: np.ndarray, threshold: float) -> str:
    """Return a line of the table: AUC against the real videos, and the share of fakes that is found."""
    fake, real = fake[np.isfinite(fake)], real[np.isfinite(real)]
    labels = np.r_[np.zeros(len(real), int), np.ones(len(fake), int)]
    auc = figures.summary(labels, np.r_[real, fake])["roc_auc"]
    found = int((fake >= threshold).sum())
    return f"| {name} | {len(fake)} | {auc['value']:.3f} [{auc['low']:.3f}, {auc['high']:.3f}] | {found} |"


def main() -> None:
    """Forge, judge and print."""
    parser = arguments.judging(__doc__)
    parser.add_argument("--frames", type=int, default=150)
    options = parser.parse_args()
    detector = hub.load(options.model)
    threshold = detector.config["threshold"]
    originals = [options.videos / name for name in dataset.list_sources(options.videos, core_paths.EXTENSIONS, "video")]
    own_videos.forge_folder(options.videos, options.work / "forged", max_frames=options.frames)
    table = indexing.scan("sample", options.work / "forged")
    scores = judge([options.work / "forged" / path for path in table["path"]], detector)
    first = judge(originals, detector)
    print(f"| real video | {' | '.join(path.stem for path in originals)} |\n{'| --- ' * (len(originals) + 1)}|")
    print(f"| probability of fake | {' | '.join(f'{score:.3f}' for score in first)} |\n")
    called = int((first >= threshold).sum())
    print(f"{called} of {len(first)} real videos are called fake at the threshold {threshold:.3f}.\n")
    print("| forged by | videos | ROC AUC | called fake |\n| --- | --- | --- | --- |")
    real = scores[(table["label"] == 0).to_numpy()]
    for method in sorted(set(table["method"]) - {""}):
        print(row(method, real, scores[(table["method"] == method).to_numpy()], threshold))
    swaps = ((table["label"] == 1) & (table["method"] != "self_blend")).to_numpy()
    print(row("all swaps", real, scores[swaps], threshold))
    largest = max(originals, key=lambda path: (video.probe(path).height == 720, video.probe(path).duration_s or 0))
    times = []
    for _ in range(6):
        start = time.perf_counter()
        predict_video(largest, detector)
        times.append(time.perf_counter() - start)
    facts = video.probe(largest)
    print(
        f"\nA warm verdict on {largest.name} ({facts.width}x{facts.height}, {facts.duration_s:.0f} s): "
        f"{statistics.median(times[1:]):.2f} s in the median of five, {torch.get_num_threads()} threads."
    )


if __name__ == "__main__":
    main()
