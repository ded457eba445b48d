"""Tests of the policy for videos without a face."""

import numpy as np
import pandas as pd
import pytest

from dfutils.core.errors import InputError
from dfutils.evaluation import coverage
from dfutils.metrics import figures as metrics_figures


def predictions() -> pd.DataFrame:
    rows = [
        ("r1", 0, "", "id0", "ok", 0.1),
        ("r2", 0, "", "id1", "ok", 0.7),
        ("r3", 0, "", "", "no_face", np.nan),
        ("r4", 0, "", "", "unreadable", np.nan),
        ("f1", 1, "swap", "id0", "ok", 0.9),
        ("f2", 1, "swap", "id1", "ok", 0.3),
        ("f3", 1, "blend", "id1", "few_faces", np.nan),
        ("f4", 1, "blend", "id2", "excluded", np.nan),
    ]
    table = pd.DataFrame(rows, columns=["video_id", "label", "method", "identity", "status", "probability_fake"])
    group = ("own: " + table["identity"]).where(table["identity"] != "", "own source " + table["video_id"])
    return table.assign(dataset="own", split="test", group=group)


def test_policies_count_the_videos_without_a_face_as_they_say():
    table = predictions()
    left_out = coverage.with_policy(table)
    assert list(left_out.table["video_id"]) == ["r1", "r2", "f1", "f2"]
    assert left_out.predicted.tolist() == [0, 1, 1, 0]
    assert left_out.groups.tolist() == ["own: id0", "own: id1", "own: id0", "own: id1"]
    assert left_out.coverage == pytest.approx(4 / 7)
    called = coverage.with_policy(table, "fake")
    assert list(called.table["video_id"]) == ["r1", "r2", "r3", "f1", "f2", "f3"]
    assert called.scores.tolist() == [0.1, 0.7, 1.0, 0.9, 0.3, 1.0] and called.groups[2] == "own source r3"
    assert metrics_figures.confusion(called.labels, called.predicted).tolist() == [[1, 2], [1, 2]]
    assert coverage.with_policy(table, "real").scores[2] == 0.0
    assert coverage.with_policy(table, threshold=0.2).predicted.tolist() == [0, 1, 1, 1]
    assert coverage.coverage(table) == {
        "videos": 7, "scored": 4, "share": pytest.approx(4 / 7), "real": 0.5, "fake": pytest.approx(2 / 3),
    }  # fmt: skip
    assert coverage.coverage(table.head(0)) == {"videos": 0, "scored": 0, "share": None, "real": None, "fake": None}
    assert len(coverage.with_policy(table.head(0)).labels) == 0


def test_policies_refuse_unknown_ones_and_scores_that_are_missing():
    with pytest.raises(InputError, match="abstain, real or fake"):
        coverage.with_policy(predictions(), "guess")
    broken = predictions()
    broken.loc[0, "probability_fake"] = np.nan
    with pytest.raises(InputError, match="1 of 8 videos have faces but no score"):
        coverage.with_policy(broken)


def test_a_table_of_an_earlier_version_is_grouped_by_person_or_refused():
    earlier = predictions().drop(columns="group")
    with pytest.raises(InputError, match=r"earlier version .* run notebook 04 again"):
        coverage.with_policy(earlier)
    known = earlier[earlier["identity"] != ""]
    assert len(set(coverage.with_policy(known).groups)) == 2
