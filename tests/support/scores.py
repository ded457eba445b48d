"""Simulated labels and scores."""

import numpy as np


def simulated(n: int = 80, seed: int = 1, shift: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and scores `(n,)`: half the videos are fake, and their log-odds are larger by `shift`."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    return labels, 1 / (1 + np.exp(-rng.normal(size=n) - shift * (labels - 0.5)))
