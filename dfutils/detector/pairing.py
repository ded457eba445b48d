"""Which fake follows which real clip in an epoch that shows both classes alike."""

import heapq

import numpy as np


def pairs(labels: np.ndarray, families: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return an order of as many clips as there are, real and fake in turn, `(n,)`: of one family where there is one.

    Real clips are drawn evenly, whether or not a fake was made from them. Those without a fake are followed by the
    fakes that have been drawn least, and so are a few others where fakes without a real clip would not get their share
    otherwise.

    Args:
        labels: of each clip, 0 real and 1 fake; there are both.
        families: the number of each clip's family: a real video and the fakes made from it.
        rng: makes all draws.
    """
    reals, fakes = (np.flatnonzero(labels == label) for label in (0, 1))
    half = -(-len(labels) // 2)
    drawn = np.concatenate([rng.permutation(reals) for _ in range(-(-half // len(reals)))])[:half]
    paired = np.isin(families[drawn], families[fakes])
    orphans = (~np.isin(families[fakes], families[reals])).mean()
    lacking = round(half * orphans) - int((~paired).sum())
    if lacking > 0:
        paired[rng.choice(np.flatnonzero(paired), lacking, replace=False)] = False
    chance = rng.permutation(len(labels))
    queues: dict[int, list[tuple[int, int, int]]] = {}  # of each family: times drawn, chance among equals, fake
    for fake in fakes:
        queues.setdefault(families[fake], []).append((0, chance[fake], fake))
    for queue in queues.values():
        heapq.heapify(queue)
    chosen = np.empty(half, dtype=int)
    for place in np.flatnonzero(paired):
        chosen[place] = _next(queues[families[drawn[place]]])
    everyone = [entry for queue in queues.values() for entry in queue]
    heapq.heapify(everyone)
    for place in np.flatnonzero(~paired):
        chosen[place] = _next(everyone)
    return np.stack([drawn, chosen], axis=1).ravel()[: len(labels)]


def _next(queue: list[tuple[int, int, int]]) -> int:
    """Return the clip that was drawn least, and count it as drawn once more."""
    times, chance, clip = queue[0]
    heapq.heapreplace(queue, (times + 1, chance, clip))
    return clip
