"""Features from a network that is not trained."""

import numpy as np
import pytest

from dfutils.core.errors import InputError
from dfutils.detector import frozen_features
from dfutils.faces.strips import write_strip


@pytest.fixture
def strips(tmp_path):
    paths = {}
    for k in range(5):
        paths[f"v{k}"] = tmp_path / f"v{k}.png"
        crops = np.full((4, 32, 32, 3), 50 * k, np.uint8)
        crops[:, ::2] = np.random.default_rng(k).integers(0, 256, (4, 16, 32, 3), dtype=np.uint8)
        write_strip(crops, paths[f"v{k}"])
    return paths


def test_a_row_per_video_the_same_in_every_batch(strips, monkeypatch):
    features = frozen_features(strips, 32)
    assert features.shape == (5, 1280) and list(features.index) == sorted(strips)
    assert np.isfinite(features).all(axis=None) and not features.duplicated().any()
    monkeypatch.setattr("dfutils.detector.frozen._CLIPS", 2)
    np.testing.assert_allclose(frozen_features(strips, 32), features, atol=1e-4)


def test_of_many_videos_some_are_drawn_by_the_seed(strips):
    drawn = [tuple(frozen_features(strips, 32, most=2, frames=1, seed=seed).index) for seed in (0, 0, 1, 2)]
    assert drawn[0] == drawn[1] and len(set(drawn)) > 1 and all(len(names) == 2 for names in drawn)


def test_without_strips_there_are_no_features():
    assert frozen_features({}, 32).empty


def test_a_missing_strip_is_said_in_a_sentence(strips):
    strips["v3"].unlink()
    with pytest.raises(InputError, match="run notebook 02 again"):
        frozen_features(strips, 32)
