"""Tests of the bootstrap's resamples."""

import numpy as np
import pandas as pd
import pytest

from dfutils.metrics import figures, resampling
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


def test_the_resamples_behind_an_interval_can_be_had_row_by_row():
    rng = np.random.default_rng(5)
    labels, people = np.tile([0, 1, 1], 20), np.repeat([f"p{k}" for k in range(15)], 4).astype(object)
    scores = np.round(np.clip(labels * 0.3 + rng.normal(0.4, 0.2, 60), 0, 1), 2)
    for groups in (people, np.array([f"v{k}" for k in range(60)], dtype=object)):
        shuffled = rng.permutation(60)
        in_other_order = resampling.drawn_weights(labels[shuffled], scores[shuffled], groups[shuffled], 40, 7)
        weights = resampling.drawn_weights(labels, scores, groups, 40, 7)
        assert weights.shape == (40, 60) and (weights.sum(1) > 0).all()
        np.testing.assert_array_equal(in_other_order, weights[:, shuffled])
        found = figures.summary(labels, scores, groups=groups, resamples=40, seed=7)["roc_auc"]
        right = (scores[labels == 1][:, None] > scores[labels == 0]) + 0.5 * (
            scores[labels == 1][:, None] == scores[labels == 0]
        )
        assert found["value"] == pytest.approx(right.mean())
        fakes, reals = weights[:, labels == 1], weights[:, labels == 0]
        draws = ((fakes @ right) * reals).sum(1) / (fakes.sum(1) * reals.sum(1))
        sorted_labels, (sorted_scores,), numbers = resampling.check_inputs(labels, [scores], groups)
        prepared = resampling.sort_scores(sorted_labels, sorted_scores, 0.5)
        blocks = list(resampling.bootstrap_weights(sorted_labels, numbers, 40, 7))
        np.testing.assert_allclose(draws, resampling.roc_auc(prepared, np.concatenate(blocks)))
        of_one = pd.DataFrame(weights.T).groupby(groups).nunique()
        assert (of_one == 1).all(axis=None), "whole groups are drawn"
