"""Tests of the bootstrap's resamples."""

import numpy as np

from dfutils.metrics import resampling
from tests.support.scores import simulated


def test_roc_auc_alone_equals_the_figures_column_and_threads_change_nothing():
    labels, scores = simulated(2500)
    sample = resampling.sort_scores(labels, scores, 0.5)
    weights = next(resampling.bootstrap_weights(labels, None, 40, 0))
    alone = resampling.roc_auc(sample, weights)
    assert np.allclose(alone, resampling.figures(sample, weights)[0][:, resampling.NAMES.index("roc_auc")], atol=1e-12)
    one = [resampling.roc_auc(sample, block) for block in resampling.bootstrap_weights(labels, None, 2000, 0)]
    many = list(resampling.map_resamples(lambda block: resampling.roc_auc(sample, block), labels, None, 2000, 0))
    assert len(many) > 1
    assert np.array_equal(np.concatenate(one), np.concatenate(many))
