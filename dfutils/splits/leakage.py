"""What leaked between splits, and what gives labels away without a look at a face.

Three questions, each a pure function of tables. Do splits share people or source videos by name (`shared_people`)? Do
they share what the eye would call the same clip, or the same face (`shared_content`, `shared_faces`)? And how far does
one get without the face, from the container's facts, brightness and sharpness alone (`shortcuts`)? A detector whose
score is no better than that last one has proved nothing. `audit` asks them all.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import cdist

from dfutils.core.progress import bar
from dfutils.faces.detection import embedding
from dfutils.faces.strips import read_strip
from dfutils.splits.identities import content_keys, person_keys
from dfutils.splits.shortcuts import Shortcuts, in_words, shortcuts

HASHED_CROPS = 10  # crops of a strip that its hash is made of, evenly spread
NEAR = 0.12  # share of differing bits up to which two strips count as the same content
SAME_FACE = 0.5  # mean distance of dlib's face embeddings up to which faces are one person; see `face_people`
MOST_PAIRS = 2000  # rows listed of shared content, the closest pairs
_PAIRS = ["split", "other_split", "video_id", "other_video_id"]


@dataclass(frozen=True)
class Audit:
    """What splits share and what gives labels away; `content` and `faces` are None where they were not looked at.

    `people`, `content` and `faces` are the tables of `shared_people`, `shared_content` and `shared_faces`; `alarms` are
    sentences for the reader of a report, none where nothing was found.
    """

    people: pd.DataFrame
    content: pd.DataFrame | None
    faces: pd.DataFrame | None
    shortcuts: Shortcuts
    alarms: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain values for metrics.json; what is undefined or was not looked at is None."""
        kinds = self.people.drop_duplicates(["kind", "name"])["kind"]
        facts = self.shortcuts.facts[["fact", "auc", "importance"]].to_dict("records")
        interval = {"value": self.shortcuts.auc, "low": self.shortcuts.low, "high": self.shortcuts.high}
        return {
            "people_shared": int((kinds == "person").sum()),
            "source_videos_shared": int((kinds == "source video").sum()),
            "content_pairs": None if self.content is None else int(self.content.attrs["pairs"]),
            "people_by_face": None if self.faces is None else int(self.faces.attrs["people"]),
            "people_by_face_shared": None if self.faces is None else int(self.faces["person"].nunique()),
            "shortcut_auc": {name: _finite(value) for name, value in interval.items()},
            "shortcut_alarm": self.shortcuts.alarm,
            "shortcut_facts": [{name: _finite(value) for name, value in fact.items()} for fact in facts],
            "alarms": list(self.alarms),
        }


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value


def audit(
    videos: pd.DataFrame,
    strips: Mapping[str, Path] | None = None,
    frames: pd.DataFrame | None = None,
    embeddings: Mapping[str, np.ndarray] | None = None,
    seed: int = 0,
) -> Audit:
    """Look for everything that splits share and for shortcuts to the label.

    Args:
        videos: videos table with `split`; any names of splits will do, "" is none, `eval` is another dataset.
        strips: where each video's strip lies, by video id; without it, content is not compared.
        frames: frames table; without it, brightness and sharpness are not among the facts.
        embeddings: a vector of 128 a video, by video id (see `embed`); without it, faces are not compared.
        seed: of the cross-validation and its interval.
    """
    by_name = shared_people(videos)
    content = None if strips is None else shared_content(videos, strips)
    faces = None if embeddings is None else shared_faces(videos, embeddings)
    told = shortcuts(videos[videos["split"] != "eval"], frames, seed)  # what nothing is learnt from teaches no shortcut
    alarms = [
        f"{count} {kind}{'s' * (count > 1)} by name in more than one split, e.g. {rows['name'].iloc[0]}."
        for kind, rows in by_name.groupby("kind")
        if (count := rows["name"].nunique())
    ]
    if content is not None and len(content):
        pairs = content.attrs["pairs"]
        many = "pairs of videos in different splits have" if pairs > 1 else "pair of videos in different splits has"
        alarms.append(f"{pairs} {many} (nearly) the same content.")
    if faces is not None and len(faces):
        shared, known = faces["person"].nunique(), faces.attrs["people"]
        alarms.append(
            f"{shared} of {known} people told apart by face {'are' if shared > 1 else 'is'} in more than one split."
        )
    if told.alarm:
        facts = ", ".join(map(in_words, told.telling))
        alarms.append(
            f"Without a look at any face, facts such as {facts} tell fakes with an AUC of {told.auc:.2f} "
            f"({told.low:.2f} to {told.high:.2f}): a detector may have learnt that instead."
        )
    return Audit(by_name, content, faces, told, tuple(alarms))


def _placed(videos: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that are in a split, in an order that depends on nothing else."""
    return videos[videos["split"] != ""].sort_values("video_id").reset_index(drop=True)


def shared_people(videos: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each person or source video that two splits share, by name.

    Columns: `kind` (`person`, as target or donor, or `source video`), `name`, `split`, `other_split`, `videos` and
    `other_videos` (how many show it in each), `video_id` and `other_video_id` (the first of each).
    """
    rows = _placed(videos)
    keys = [("person", person_keys(rows, "identity")), ("person", person_keys(rows, "donor"))]
    keys.append(("source video", content_keys(rows)))
    shown = pd.concat([rows[["split", "video_id"]].assign(kind=kind, name=names) for kind, names in keys])
    shown = shown[shown["name"] != ""].drop_duplicates()
    held = shown.groupby(["kind", "name", "split"], sort=True).agg(
        videos=("video_id", "size"), video_id=("video_id", "min")
    )
    return _split_pairs(held.reset_index(), ["kind", "name"], rows["split"])


def _split_pairs(held: pd.DataFrame, same: list[str], splits: pd.Series) -> pd.DataFrame:
    """Join rows (what is held by one split) that agree in `same` into rows for two splits."""
    rank = {name: place for place, name in enumerate(_order(splits))}
    both = held.merge(held.add_prefix("other_").rename(columns={f"other_{name}": name for name in same}), on=same)
    both = both[both["split"].map(rank) < both["other_split"].map(rank)]
    columns = [*same, "split", "other_split", "videos", "other_videos", "video_id", "other_video_id"]
    return both[columns].sort_values([*same, "split", "other_split"]).reset_index(drop=True)


def _order(splits: Iterable[str]) -> list[str]:
    """Return the names of splits: train, val, test, then others by name."""
    known = ["train", "val", "test"]
    return sorted(set(splits), key=lambda name: (known.index(name) if name in known else len(known), name))


def perceptual_hash(strip: np.ndarray) -> np.ndarray:
    """Return the hash of a strip, bool `(HASHED_CROPS * 64,)`; near-identical pictures differ in few bits.

    Args:
        strip: uint8 `(S, T * S)` grey, or `(S, T * S, 3)`, crops side by side.

    Each chosen crop is shrunk to 32 x 32, and its 64 bits say which of its 8 x 8 lowest frequencies (DCT) are above
    their median ("pHash", Zauner 2010, section 3.2.1). Of strips of eleven real videos, copies at CRF 40 or 20%
    brighter differed in at most 10% of the bits, copies of half the size (whose faces are framed differently) in up to
    30%, and different videos in 29% or more.
    """
    grey = strip if strip.ndim == 2 else cv2.cvtColor(strip, cv2.COLOR_RGB2GRAY)
    side = grey.shape[0]
    crops = max(grey.shape[1] // side, 1)
    bits = []
    for crop in np.linspace(0, crops - 1, HASHED_CROPS).round().astype(int):
        small = cv2.resize(grey[:, crop * side : (crop + 1) * side], (32, 32), interpolation=cv2.INTER_AREA)
        low = cv2.dct(small.astype(np.float32))[:8, :8].ravel()
        bits.append(low > np.median(low[1:]))
    return np.concatenate(bits)


def shared_content(videos: pd.DataFrame, strips: Mapping[str, Path], near: float = NEAR) -> pd.DataFrame:
    """Return the pairs of videos in different splits whose strips are (nearly) the same, the closest first.

    Columns: `split`, `other_split`, `video_id`, `other_video_id`, `distance` (share of differing bits of their
    perceptual hashes, 0 to `near`), `label`, `other_label`. At most `MOST_PAIRS` rows; `attrs["pairs"]` counts all.
    A fake and its source are such a pair where the forgery is small. Videos without a readable strip are left out.
    """
    rows = _placed(videos)
    hashes = [_strip_hash(strips.get(video_id)) for video_id in rows["video_id"]]
    readable = np.array([found is not None for found in hashes], dtype=bool)
    rows = rows[readable].reset_index(drop=True)
    if rows.empty:
        pairs, total = np.empty((0, 2), dtype=int), 0
        distances = np.empty(0)
    else:
        bits = np.stack([found for found in hashes if found is not None])
        pairs, distances, total = _near_pairs(bits, rows["split"].to_numpy(), near)
    table = pd.DataFrame({"distance": distances})
    for prefix, side in (("", 0), ("other_", 1)):
        for column in ("split", "video_id", "label"):
            table[prefix + column] = rows[column].to_numpy()[pairs[:, side]]
    table = table[[*_PAIRS, "distance", "label", "other_label"]]
    table.attrs["pairs"] = total
    return table


def _strip_hash(path: Path | None) -> np.ndarray | None:
    strip = None if path is None else read_strip(path, grey=True)
    return None if strip is None else perceptual_hash(strip)


def _near_pairs(bits: np.ndarray, splits: np.ndarray, near: float) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the closest pairs across splits `(N, 2)`, their distances, and how many there are.

    Bits as ±1 make the number of differing ones a product of matrices: 6,500 strips take a second.
    """
    signs = np.where(bits, 1, -1).astype(np.float32)
    names = _order(splits)
    found = []
    for place, name in enumerate(names):
        mine = np.flatnonzero(splits == name)
        others = np.flatnonzero(np.isin(splits, names[place + 1 :]))
        for start in range(0, len(mine), 512):
            block = mine[start : start + 512]
            distance = (1 - signs[block] @ signs[others].T / bits.shape[1]) / 2
            one, other = np.nonzero(distance <= near + 1e-6)
            found.append((block[one], others[other], distance[one, other]))
    one, other, distance = (np.concatenate(parts) for parts in zip(*found, strict=True))
    closest = np.lexsort((other, one, distance.round(6)))[:MOST_PAIRS]
    return np.stack([one, other], axis=1)[closest], distance[closest].round(6).astype(float), len(one)


def embed(
    videos: pd.DataFrame,
    strips: Mapping[str, Path],
    frames: pd.DataFrame,
    most: int = 240,
    crops: int = 2,
    progress: bool = True,
) -> dict[str, np.ndarray]:
    """Return dlib's face embedding, float `(128,)`, of strips by video id: the mean over a few crops of each.

    At most `most` videos are taken, by their ids and evenly from splits and classes: a crop takes a core about 0.15 s.
    Strips that are missing or have no frames are left out.
    """
    rows = _placed(videos)
    rows = rows[rows["video_id"].isin(list(strips))]
    chance = rows["video_id"].map(lambda name: hashlib.sha256(name.encode()).hexdigest())
    turn = chance.groupby([rows["split"], rows["label"]]).rank()
    chosen = sorted(rows.assign(turn=turn).sort_values(["turn", "video_id"])["video_id"].head(most))
    marks = {name: part["landmarks"].tolist() for name, part in frames[frames["person"] == 0].groupby("video_id")}
    jobs = [(strips[name], marks[name]) for name in chosen if name in marks]
    names = [name for name in chosen if name in marks]
    calls = (delayed(_embed_one)(path, landmarks, crops) for path, landmarks in jobs)
    workers = -1 if len(jobs) > 20 else 1  # a process needs seconds to start
    vectors: Iterable[np.ndarray | None] = Parallel(n_jobs=workers, return_as="generator")(calls)
    if progress:
        vectors = bar(vectors, total=len(jobs), desc="faces known", unit="video")
    return {name: vector for name, vector in zip(names, vectors, strict=True) if vector is not None}


def _embed_one(path: Path, landmarks: list[np.ndarray], crops: int) -> np.ndarray | None:
    strip = read_strip(path)
    if strip is None or strip.shape[1] < strip.shape[0] * len(landmarks):
        return None
    side = strip.shape[0]
    places = np.unique(np.linspace(0, len(landmarks) - 1, crops).round().astype(int))
    vectors = [
        embedding(
            np.ascontiguousarray(strip[:, k * side : (k + 1) * side]),
            np.asarray(landmarks[k], dtype=float).reshape(68, 2),
        )
        for k in places
    ]
    return np.mean(vectors, axis=0)


def face_people(embeddings: np.ndarray, distance: float = SAME_FACE) -> np.ndarray:
    """Return the number of the person, from 0, of each embedding `(N, 128)`.

    Average linkage: two groups are one person while the mean distance between their faces is at most `distance`. The
    default is below dlib's own 0.6, which is for one pair of faces: of 500 portraits of 500 people 0.5 made 428 people
    and 0.6 made 281; of 268 web photographs of 77 people it made 65 and 11. Look at the pairs before believing them.
    """
    if len(embeddings) < 2:
        return np.zeros(len(embeddings), dtype=int)
    return fcluster(linkage(embeddings, method="average"), distance, criterion="distance") - 1


def shared_faces(
    videos: pd.DataFrame, embeddings: Mapping[str, np.ndarray], distance: float = SAME_FACE
) -> pd.DataFrame:
    """Return a row for each person, told by face, that two splits share, with the pair of videos that is closest.

    People are told apart on real videos; a fake counts for the person whose faces are nearest to its own, if they are
    within `distance` in the mean, else for nobody: a forged face may be a mixture of two.

    Columns: `person` (a number), `split`, `other_split`, `videos`, `other_videos`, `video_id`, `other_video_id`,
    `distance` (Euclidean, of the pair's embeddings). `attrs["people"]` says how many people the faces are in all.
    """
    rows = _placed(videos)
    rows = rows[rows["video_id"].isin(list(embeddings))].reset_index(drop=True)
    vectors = np.array([embeddings[name] for name in rows["video_id"]], dtype=float).reshape(len(rows), -1)
    real = rows["label"].to_numpy() == 0
    person = np.full(len(rows), -1)
    person[real] = face_people(vectors[real], distance)
    members = person[real] == np.arange(person.max(initial=-1) + 1)[:, None]
    if len(members):
        apart = members @ cdist(vectors[real], vectors[~real]) / members.sum(axis=1, keepdims=True)
        person[~real] = np.where(apart.min(axis=0) <= distance, apart.argmin(axis=0), -1)
    found = []
    for number in range(len(members)):
        places = {
            split: np.flatnonzero((person == number) & (rows["split"] == split)) for split in _order(rows["split"])
        }
        for split, other in combinations([split for split, here in places.items() if len(here)], 2):
            apart = cdist(vectors[places[split]], vectors[places[other]])
            one, two = np.unravel_index(apart.argmin(), apart.shape)
            ids = rows["video_id"].iloc[[places[split][one], places[other][two]]]
            found.append((number, split, other, *apart.shape, *ids, float(apart.min())))
    columns = ["person", "split", "other_split", "videos", "other_videos", "video_id", "other_video_id", "distance"]
    table = pd.DataFrame(found, columns=columns)
    table.attrs["people"] = len(members)
    return table
