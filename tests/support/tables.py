"""Videos tables like those of published datasets."""

import numpy as np
import pandas as pd

COLUMNS = ["video_id", "label", "method", "identity", "donor", "source_video"]


def table(rows: list[tuple], dataset: str = "test") -> pd.DataFrame:
    """Return a videos table with the columns that splits use."""
    videos = pd.DataFrame(rows, columns=COLUMNS).astype({"label": np.int8})
    return videos.assign(path=videos["video_id"] + ".mp4", dataset=dataset, official_split="")


def pairs(count: int = 100, methods: str = "abc") -> pd.DataFrame:
    """Return videos as of FaceForensics++: people in pairs, each swapped with the other by every method."""
    rows: list[tuple] = [(f"{k:03d}", 0, "", f"{k:03d}", "", "") for k in range(count)]
    for method in methods:
        rows += [(f"{method}{k:03d}", 1, method, f"{k:03d}", f"{k ^ 1:03d}", f"{k:03d}") for k in range(count)]
    return table(rows)


def entangled(persons: int = 20, clips: int = 5, strangers: int = 40) -> pd.DataFrame:
    """Return videos as of Celeb-DF: everybody is swapped with everybody; and real videos of unknown people."""
    reals: list[tuple] = [(f"r{p}_{k}", 0, "", f"id{p}", "", "") for p in range(persons) for k in range(clips)]
    reals += [(f"y{k}", 0, "", "", "", "") for k in range(strangers)]
    fakes = [
        (f"f{p}_{d}_{k}", 1, "swap", f"id{p}", f"id{d}", f"r{p}_{k}")
        for p in range(persons)
        for d in range(persons)
        for k in range(clips)
        if p != d
    ]
    return table(reals + fakes)


def from_metadata(sources: int = 200) -> pd.DataFrame:
    """Return videos as of DFDC: nobody is named, but fakes name their source."""
    rows: list[tuple] = []
    for k in range(sources):
        rows.append((f"r{k}", 0, "", "", "", ""))
        rows += [(f"f{k}_{n}", 1, "DFDC", "", "", f"r{k}") for n in range(k % 7)]
    return table(rows)


def kaggle(celeb_fakes: int, seed: int = 0) -> pd.DataFrame:
    """Return videos with facts as of the Kaggle crops: all are 112 x 112 at 30 frames a second, but clips of one origin
    have similar bitrates and lengths, whether real or fake."""
    rng = np.random.default_rng(seed)
    origins = {  # real, fake, and the logarithm of the bitrate
        "celeb": (150, celeb_fakes, 11.6),
        "dfdc": (50, 55, 12.6),
        "ff": (100, 100, 12.9),
    }
    parts = []
    for origin, (reals, fakes, rate) in origins.items():
        count = reals + fakes
        label = np.repeat([0, 1], [reals, fakes])
        people_of = {"celeb": 59, "dfdc": 0, "ff": 100}[origin]
        names = [f"{origin}{k % people_of}" if people_of else "" for k in range(count)]
        part = table([(f"{origin}{k}", label[k], origin * label[k], names[k], "", "") for k in range(count)])
        frames = np.where(rng.random(count) < 0.8, 148, rng.integers(60, 148, count))
        part = part.assign(width=112.0, height=112.0, fps=30.0, n_frames=frames.astype(float), codec="mp4v")
        parts.append(part.assign(duration_s=frames / 30, bitrate=np.exp(rng.normal(rate, 0.25, count))))
    return pd.concat(parts, ignore_index=True)
