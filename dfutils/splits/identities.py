"""Groups of videos that show the same person or have the same source video.

Two videos show one person if they name the same target, or if one is a fake made from the other; a fake also connects
its target with its donor. An unnamed person counts as a person of its own. `policies` splits by these groups, and
`leakage` looks for groups that several splits share.
"""

import re
from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

# Names of people that several datasets share: `id0` of Celeb-DF v1 and of v2 count as one person. If they are two, a
# split is stricter than necessary.
_SHARED = {r"id\d+": "Celeb-DF", r"\d{3}": "FaceForensics++"}


def person_keys(videos: pd.DataFrame, column: str = "identity") -> np.ndarray:
    """Return the name in `column` (`identity` or `donor`) of each row as `<dataset>: <name>`, "" if unknown: `(n,)`."""
    keys = {}
    for dataset, name in set(zip(videos["dataset"], videos[column], strict=True)):
        family = next((family for pattern, family in _SHARED.items() if re.fullmatch(pattern, name)), dataset)
        keys[dataset, name] = f"{family}: {name}" if name else ""
    return np.array([keys[pair] for pair in zip(videos["dataset"], videos[column], strict=True)], dtype=object)


def content_keys(videos: pd.DataFrame) -> np.ndarray:
    """Return for each row the id of the real video that it shows: its source, or itself. `(n,)`.

    The compressions of a video of FaceForensics++ have one key.
    """
    ids = videos["source_video"].where(videos["source_video"] != "", videos["video_id"])
    return np.array([re.sub(r"__(?:raw|c0|c23|c40)__", "__*__", name) for name in ids], dtype=object)


def _sources(videos: pd.DataFrame) -> np.ndarray:
    """Return for each row a name of `content_keys` that no other dataset has."""
    return np.array(
        [f"{a} source {b}" for a, b in zip(videos["dataset"], content_keys(videos), strict=True)], dtype=object
    )


def own_names(videos: pd.DataFrame, ids: Iterable[str]) -> list[str]:
    """Return `<dataset>: <id>` for the id of each row, as it is in its own dataset, without the prefix of pooling."""
    pooled = {
        dataset: f"{dataset}__" if rows.str.startswith(f"{dataset}__").all() else ""
        for dataset, rows in videos.groupby("dataset")["video_id"]
    }
    pairs = zip(videos["dataset"], ids, strict=True)
    return [f"{dataset}: {name.removeprefix(pooled[dataset])}" for dataset, name in pairs]


def people(videos: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers, from 0, of each row's target person and of its donor (of the target if it has none): `(n,)`.

    Videos of one target share a number, and so do a fake and its source. Each unknown person has a number of its own.
    """
    count = len(videos)
    target, donor = person_keys(videos, "identity"), person_keys(videos, "donor")
    codes, _ = pd.factorize(np.concatenate([target, _sources(videos), donor]))
    rows, nodes = np.arange(count), count + codes.reshape(3, count)
    named = target != ""
    labels = components(count + len(codes), (rows[named], nodes[0, named]), (rows, nodes[1]))
    both = np.stack([labels[:count], np.where(donor == "", labels[:count], labels[nodes[2]])])
    target, donor = np.unique(both, return_inverse=True)[1].reshape(2, count)
    return target, donor


def group_names(videos: pd.DataFrame) -> np.ndarray:
    """Return for each row the name of what it belongs to, the unit of every interval and test, as text `(n,)`.

    The person, as `person_keys` writes it, where one is known of the video, of its source or of another video of that
    source (the first by name, where the names of several are joined); else the source, else the video itself, as
    `<dataset> source <id>`. A column that the table lacks counts as unknown.
    """
    unknown = dict.fromkeys({"dataset", "identity", "donor", "source_video"} - set(videos), "")
    videos = videos.assign(**unknown)
    target, _ = people(videos)
    keys = person_keys(videos)
    names = pd.Series(np.where(keys == "", _sources(videos), keys), dtype=object)
    first = pd.DataFrame({"target": target, "unnamed": keys == "", "name": names}).sort_values(["unnamed", "name"])
    return first.drop_duplicates("target").set_index("target")["name"].reindex(target).to_numpy(dtype=object)


def components(nodes: int, *edges: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return the number of the connected component of each of `nodes` nodes; `edges` are pairs of arrays of nodes."""
    first, second = (np.concatenate(ends) for ends in zip(*edges, strict=True))
    graph = coo_matrix((np.ones(len(first), dtype=np.int8), (first, second)), shape=(nodes, nodes))
    return connected_components(graph, directed=False)[1]
