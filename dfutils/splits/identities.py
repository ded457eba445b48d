"""Which videos belong together: the same person, the same source video.

Names tell most of it. Two videos show one person if they name the same target, or if one is a fake made from the other;
a fake ties its target to its donor besides. What has no name is a person of its own. Splits are made from these groups,
and audits hold splits against them.
"""

import re

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

# People whose names several datasets share: pooled, `id0` of Celeb-DF v1 and of v2 count as one (if they are two, a
# split is stricter than need be).
_SHARED = {r"id\d+": "Celeb-DF", r"\d{3}": "FaceForensics++"}


def person_keys(videos: pd.DataFrame, column: str = "identity") -> np.ndarray:
    """Return for each row the name in `column` (`identity` or `donor`) as `<dataset>: <name>`; "" where unknown."""
    keys = {}
    for dataset, name in set(zip(videos["dataset"], videos[column], strict=True)):
        family = next((family for form, family in _SHARED.items() if re.fullmatch(form, name)), dataset)
        keys[dataset, name] = f"{family}: {name}" if name else ""
    return np.array([keys[pair] for pair in zip(videos["dataset"], videos[column], strict=True)], dtype=object)


def content_keys(videos: pd.DataFrame) -> np.ndarray:
    """Return for each row the id of the real video behind it: its source, or itself. A video's compressions are one."""
    ids = videos["source_video"].where(videos["source_video"] != "", videos["video_id"])
    return np.array([re.sub(r"__(?:raw|c0|c23|c40)__", "__*__", name) for name in ids], dtype=object)


def people(videos: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the number, from 0, of each row's target person, and of its donor (the target's again where it has none).

    Videos of one target share a number, and so do a fake and its source. Unknown people have one each.
    """
    count = len(videos)
    target, donor = person_keys(videos, "identity"), person_keys(videos, "donor")
    codes, _ = pd.factorize(np.concatenate([target, "video " + content_keys(videos), donor]))
    rows, nodes = np.arange(count), count + codes.reshape(3, count)
    named = target != ""
    labels = components(count + len(codes), (rows[named], nodes[0, named]), (rows, nodes[1]))
    both = np.stack([labels[:count], np.where(donor == "", labels[:count], labels[nodes[2]])])
    target, donor = np.unique(both, return_inverse=True)[1].reshape(2, count)
    return target, donor


def components(nodes: int, *edges: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return the number of the connected component of each of `nodes` nodes, given pairs of arrays of edges' ends."""
    one, other = (np.concatenate(ends) for ends in zip(*edges, strict=True))
    graph = coo_matrix((np.ones(len(one), dtype=np.int8), (one, other)), shape=(nodes, nodes))
    return connected_components(graph, directed=False)[1]
