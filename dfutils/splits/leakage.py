"""Leakage between splits: people, source videos, near-identical clips and faces that several splits share.

`shared_people` compares splits by name, `shared_content` by perceptual hashes of strips, `shared_faces` by face
embeddings; `related_methods` says what methods left out of training share with it. `audit` combines them with
`shortcuts.shortcuts`, which measures how well container facts, brightness and sharpness alone predict the label; a
detector whose score is no better has not been shown to look at faces.
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
from dfutils.splits.shortcuts import Shortcuts, fact_name, shortcuts

HASHED_CROPS = 10
"""Number of evenly spread crops of a strip that its hash is computed from."""
NEAR = 0.12
"""Largest share of differing bits at which two strips count as the same content."""
SAME_FACE = 0.5
"""Largest mean distance of dlib's face embeddings at which faces count as one person; see `face_people`."""
MOST_PAIRS = 2000
"""Largest number of pairs in the table of shared content."""
_RELATIONS = ("kind", "group", "repository")
"""Attributes of videos that may relate one method of forgery to another."""
_FORMAT = ["width", "height", "fps", "codec"]
_PAIRS = ["split", "other_split", "video_id", "other_video_id"]


@dataclass(frozen=True)
class Audit:
    """Result of `audit`.

    Attributes:
        people: table of `shared_people`.
        content: table of `shared_content`; None if contents were not compared.
        faces: table of `shared_faces`; None if faces were not compared.
        shortcuts: how well the label is predicted without faces.
        methods: table of `related_methods`.
        alarms: sentences for the reader of a report; empty if nothing was found.
    """

    people: pd.DataFrame
    content: pd.DataFrame | None
    faces: pd.DataFrame | None
    shortcuts: Shortcuts
    methods: pd.DataFrame
    alarms: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain values for metrics.json; undefined and uncompared values are None."""
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
            "methods_left_out": {
                name: [shared for shared in rows["shared"] if shared] for name, rows in self.methods.groupby("method")
            },
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
    """Return everything that splits share, and how well the label is predicted without faces.

    Args:
        videos: videos table with `split`, of any names; videos whose split is "" are ignored, `eval` is another
            dataset.
        strips: path of each video's strip, by video id; without it, contents are not compared.
        frames: frames table; without it, brightness and sharpness are not among the facts.
        embeddings: face embedding `(128,)` of each video, by video id (see `embed`); without it, faces are not
            compared.
    """
    by_name = shared_people(videos)
    content = None if strips is None else shared_content(videos, strips)
    faces = None if embeddings is None else shared_faces(videos, embeddings)
    by_facts = shortcuts(videos[videos["split"] != "eval"], frames, seed)  # the detector does not learn from `eval`
    alarms = [*_leaking_lists(videos), *_alarms(by_name, content, faces, by_facts)]
    return Audit(by_name, content, faces, by_facts, related_methods(videos), tuple(alarms))


def _leaking_lists(videos: pd.DataFrame) -> list[str]:
    """Return a sentence for each dataset whose own lists name a test video in another split, too."""
    if "also_in_split" not in videos:
        return []
    leaking = videos[videos["also_in_split"] != ""]
    return [
        f"The lists of {dataset} leak: {len(rows)} of its test videos are named in "
        f"{' and '.join(sorted(set(rows['also_in_split'])))}, too, e.g. {rows['video_id'].iloc[0]}. Here they are in "
        "the test alone; figures of others on these lists are too good."
        for dataset, rows in leaking.groupby("dataset")
    ]


def _alarms(
    by_name: pd.DataFrame, content: pd.DataFrame | None, faces: pd.DataFrame | None, by_facts: Shortcuts
) -> list[str]:
    """Return one sentence for each kind of leakage or shortcut that was found."""
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
        shared, total = faces["person"].nunique(), faces.attrs["people"]
        alarms.append(
            f"{shared} of {total} people told apart by face {'are' if shared > 1 else 'is'} in more than one split."
        )
    if by_facts.alarm:
        facts = ", ".join(map(fact_name, by_facts.informative))
        alarms.append(
            f"Without a look at any face, facts such as {facts} tell fakes with an AUC of {by_facts.auc:.2f} "
            f"({by_facts.low:.2f} to {by_facts.high:.2f}): a detector may have learnt that instead."
        )
    return alarms


def _rows_in_splits(videos: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose split is not "", sorted by id."""
    return videos[videos["split"] != ""].sort_values("video_id").reset_index(drop=True)


def shared_people(videos: pd.DataFrame) -> pd.DataFrame:
    """Return the people and source videos that two splits share by name, one row per pair of splits.

    Columns: `kind` (`person`, as target or donor, or `source video`), `name`, `split`, `other_split`, `videos` and
    `other_videos` (number of videos in each), `video_id` and `other_video_id` (the first of each).
    """
    rows = _rows_in_splits(videos)
    keys = [("person", person_keys(rows, "identity")), ("person", person_keys(rows, "donor"))]
    keys.append(("source video", content_keys(rows)))
    appearances = pd.concat([rows[["split", "video_id"]].assign(kind=kind, name=names) for kind, names in keys])
    appearances = appearances[appearances["name"] != ""].drop_duplicates()
    counts = appearances.groupby(["kind", "name", "split"], sort=True).agg(
        videos=("video_id", "size"), video_id=("video_id", "min")
    )
    return _pair_splits(counts.reset_index(), ["kind", "name"], rows["split"])


def related_methods(videos: pd.DataFrame) -> pd.DataFrame:
    """Return what the methods left out share with fakes of training, one row per method and what is shared.

    A method is left out if the test has fakes of it, and training and validation have none. Columns: `method`, `videos`
    (its fakes in the test), `shared` (`kind`, `group` or `repository`, where the dataset has attributes of these names,
    or `format`: width, height, frame rate and codec together, where no real video of training has the same), `sharing`
    (how many of `videos` share it) and `methods` (of the fakes of training that share it, by name). A method that
    shares nothing has one row, with "" and 0; without training there are no rows.
    """
    videos = _rows_in_splits(videos)
    fake, learnt = videos["label"] == 1, videos["split"].isin(["train", "val"])
    known = videos[fake & learnt]
    new = fake & (videos["split"] == "test") & ~videos["method"].isin(["", *known["method"]])
    marks = {name: videos[f"attribute_{name}"] for name in _RELATIONS if f"attribute_{name}" in videos}
    if set(_FORMAT) <= set(videos):
        formats = videos[_FORMAT].round(2).groupby(_FORMAT).ngroup().astype(str)
        unknown = videos[_FORMAT].isna().any(axis=1) | (videos["codec"] == "")
        marks["format"] = formats.mask(unknown | formats.isin(formats[learnt & ~fake]), "")
    rows = []
    for method, own in videos[new & learnt.any()].groupby("method"):
        found = []
        for name, values in marks.items():
            mine, theirs = values[own.index], values[known.index]
            sharing = mine[(mine != "") & mine.isin(theirs)]
            others = sorted({*known["method"][theirs.isin(sharing)]} - {""})
            found += [(method, len(own), name, len(sharing), ", ".join(others))] if len(sharing) else []
        rows += found or [(method, len(own), "", 0, "")]
    return pd.DataFrame(rows, columns=["method", "videos", "shared", "sharing", "methods"])


def _pair_splits(counts: pd.DataFrame, keys: list[str], splits: pd.Series) -> pd.DataFrame:
    """Join rows of one split each that agree in `keys` into rows of two splits."""
    rank = {name: k for k, name in enumerate(_sort_splits(splits))}
    both = counts.merge(counts.add_prefix("other_").rename(columns={f"other_{name}": name for name in keys}), on=keys)
    both = both[both["split"].map(rank) < both["other_split"].map(rank)]
    columns = [*keys, "split", "other_split", "videos", "other_videos", "video_id", "other_video_id"]
    return both[columns].sort_values([*keys, "split", "other_split"]).reset_index(drop=True)


def _sort_splits(splits: Iterable[str]) -> list[str]:
    """Return the distinct names of splits: train, val, test, then others by name."""
    standard = ["train", "val", "test"]
    return sorted(set(splits), key=lambda name: (standard.index(name) if name in standard else len(standard), name))


def perceptual_hash(strip: np.ndarray) -> np.ndarray:
    """Return the perceptual hash of a strip, bool `(HASHED_CROPS * 64,)`; near-identical images differ in few bits.

    Each chosen crop is resized to 32 x 32, and its 64 bits say which of its 8 x 8 lowest frequencies (DCT) are above
    their median ("pHash", Zauner 2010, section 3.2.1). Of strips of eleven real videos, copies at CRF 40 or 20%
    brighter differed in at most 10% of the bits, copies of half the size (whose faces are framed differently) in up to
    30%, and different videos in 29% or more.

    Args:
        strip: uint8 `(S, T * S)` grey, or `(S, T * S, 3)` RGB, crops side by side.
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
    perceptual hashes, 0 to `near`), `label`, `other_label`. At most `MOST_PAIRS` rows; `attrs["pairs"]` is the number
    of all pairs. A fake and its source are such a pair if the forgery is small. Videos without a readable strip are
    left out.
    """
    rows = _rows_in_splits(videos)
    hashes = [_strip_hash(strips.get(video_id)) for video_id in rows["video_id"]]
    readable = np.array([bits is not None for bits in hashes], dtype=bool)
    rows = rows[readable].reset_index(drop=True)
    if rows.empty:
        pairs, total = np.empty((0, 2), dtype=int), 0
        distances = np.empty(0)
    else:
        hashes = np.stack([bits for bits in hashes if bits is not None])
        pairs, distances, total = _near_pairs(hashes, rows["split"].to_numpy(), near)
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
    """Return the closest pairs across splits `(N, 2)`, their distances `(N,)`, and the number of all pairs.

    With bits as ±1, the numbers of differing bits are a matrix product: 6,500 strips take a second.
    """
    signs = np.where(bits, 1, -1).astype(np.float32)
    names = _sort_splits(splits)
    blocks = []
    for k, name in enumerate(names):
        members = np.flatnonzero(splits == name)
        others = np.flatnonzero(np.isin(splits, names[k + 1 :]))
        for start in range(0, len(members), 512):
            block = members[start : start + 512]
            distance = (1 - signs[block] @ signs[others].T / bits.shape[1]) / 2
            first, second = np.nonzero(distance <= near + 1e-6)
            blocks.append((block[first], others[second], distance[first, second]))
    first, second, distance = (np.concatenate(arrays) for arrays in zip(*blocks, strict=True))
    closest = np.lexsort((second, first, distance.round(6)))[:MOST_PAIRS]
    return np.stack([first, second], axis=1)[closest], distance[closest].round(6).astype(float), len(first)


def embed(
    videos: pd.DataFrame,
    strips: Mapping[str, Path],
    frames: pd.DataFrame,
    most: int = 240,
    crops: int = 2,
) -> dict[str, np.ndarray]:
    """Return dlib's face embedding, float `(128,)`, of videos by id: the mean over `crops` crops of each strip.

    At most `most` videos are embedded, chosen by a hash of their ids and evenly from splits and classes, because a crop
    takes about 0.15 s. Videos without a strip, or without landmarks in a frame, are left out.
    """
    rows = _rows_in_splits(videos)
    rows = rows[rows["video_id"].isin(list(strips))]
    hashes = rows["video_id"].map(lambda name: hashlib.sha256(name.encode()).hexdigest())
    rank = hashes.groupby([rows["split"], rows["label"]]).rank()
    chosen = sorted(rows.assign(rank=rank).sort_values(["rank", "video_id"])["video_id"].head(most))
    landmarks = {name: group["landmarks"].tolist() for name, group in frames[frames["person"] == 0].groupby("video_id")}
    names = [name for name in chosen if name in landmarks]
    calls = (delayed(_embed_one)(strips[name], landmarks[name], crops) for name in names)
    workers = -1 if len(names) > 20 else 1  # starting processes takes seconds
    vectors = bar(
        Parallel(n_jobs=workers, return_as="generator")(calls), total=len(names), desc="embedding faces", unit="video"
    )
    return {name: vector for name, vector in zip(names, vectors, strict=True) if vector is not None}


def _embed_one(path: Path, landmarks: list[np.ndarray], crops: int) -> np.ndarray | None:
    """Return the mean embedding of evenly spread crops of a strip with landmarks; None if there is none, or the strip
    is missing or too short."""
    strip = read_strip(path)
    if strip is None or strip.shape[1] < strip.shape[0] * len(landmarks):
        return None
    side, known = strip.shape[0], [k for k, points in enumerate(landmarks) if len(points)]
    if not known:
        return None
    chosen = np.array(known)[np.unique(np.linspace(0, len(known) - 1, crops).round().astype(int))]
    vectors = [
        embedding(
            np.ascontiguousarray(strip[:, k * side : (k + 1) * side]),
            np.asarray(landmarks[k], dtype=float).reshape(68, 2),
        )
        for k in chosen
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
    """Return the people that two splits share by face, one row per pair of splits, with the closest pair of videos.

    People are clustered on real videos only, because a forged face may be a mixture of two. A fake is assigned to the
    person whose faces are nearest to its own, if their mean distance is at most `distance`, else to nobody.

    Columns: `person` (a number), `split`, `other_split`, `videos`, `other_videos`, `video_id`, `other_video_id`,
    `distance` (Euclidean, of the pair's embeddings). `attrs["people"]` is the number of all people.
    """
    rows = _rows_in_splits(videos)
    rows = rows[rows["video_id"].isin(list(embeddings))].reset_index(drop=True)
    vectors = np.array([embeddings[name] for name in rows["video_id"]], dtype=float).reshape(len(rows), -1)
    real = rows["label"].to_numpy() == 0
    person = np.full(len(rows), -1)
    person[real] = face_people(vectors[real], distance)
    members = person[real] == np.arange(person.max(initial=-1) + 1)[:, None]
    if len(members):
        to_people = members @ cdist(vectors[real], vectors[~real]) / members.sum(axis=1, keepdims=True)
        person[~real] = np.where(to_people.min(axis=0) <= distance, to_people.argmin(axis=0), -1)
    shared = []
    for number in range(len(members)):
        indices = {
            split: np.flatnonzero((person == number) & (rows["split"] == split))
            for split in _sort_splits(rows["split"])
        }
        for split, other in combinations([split for split, inside in indices.items() if len(inside)], 2):
            distances = cdist(vectors[indices[split]], vectors[indices[other]])
            first, second = np.unravel_index(distances.argmin(), distances.shape)
            ids = rows["video_id"].iloc[[indices[split][first], indices[other][second]]]
            shared.append((number, split, other, *distances.shape, *ids, float(distances.min())))
    columns = ["person", "split", "other_split", "videos", "other_videos", "video_id", "other_video_id", "distance"]
    table = pd.DataFrame(shared, columns=columns)
    table.attrs["people"] = len(members)
    return table
