"""Division of an experiment's videos: methods and sources that stand in the test alone."""

import numpy as np
import pandas as pd
import pytest

from dfutils.core.errors import InputError
from dfutils.core.params import SplitSettings
from dfutils.splits import policies
from dfutils.splits.division import divide
from tests.splits.test_policies import assert_no_person_on_two_sides
from tests.support.tables import pairs, table


def left_out(videos: pd.DataFrame, **named: str) -> pd.DataFrame:
    return divide(videos, SplitSettings(split_policy="method", **named), 0)


def test_a_method_left_out_stands_in_the_test_alone_and_shows_nobody_of_training() -> None:
    split = left_out(pairs(), test_methods="b")
    assert_no_person_on_two_sides(split)
    assert set(split.loc[split["method"] == "b", "split"]) == {"test", ""}
    assert set(split.loc[split["method"] != "b", "split"]) == {"train", "val", "test"}
    others = pairs(methods="ac")
    alone = policies.assign(others, "identity").set_index("video_id")["split"]
    assert split.set_index("video_id")["split"][others["video_id"]].equals(alone), "the others as without the method"
    assert split.attrs["dropped"] == ((split["split"] == "") & (split["method"] == "b")).sum() > 0
    tested = split[split["split"] == "test"]
    assert tested["method"].value_counts()["b"] == tested["method"].value_counts()["a"]


def test_a_source_left_out_takes_its_fakes_along() -> None:
    videos = pairs()
    videos["part"] = np.where(videos["label"] == 1, "fake", np.where(videos["identity"] < "020", "tv", "web"))
    split = left_out(videos, test_sources="TV")
    assert_no_person_on_two_sides(split)
    assert (split.loc[split["identity"] < "020", "split"] == "test").all()
    other = table([(f"x{k}", k % 2, "a" * (k % 2), f"stranger{k}", "", "") for k in range(8)], "other")
    whole = left_out(pd.concat([pairs(), other]), test_sources="other")
    assert (whole.loc[whole["dataset"] == "other", "split"] == "test").all()


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ({"test_methods": "d"}, "test_methods: the videos have no 'd'; what they have: a, b, c"),
        ({"test_sources": "tv"}, "test_sources: the videos have no 'tv'; what they have: test"),
        ({"test_methods": "each"}, "each is for `dfutils run` alone; name methods here: a, b, c"),
        ({"test_methods": "a,b,c"}, "leave no fakes to training"),
        ({"test_sources": "test"}, "leave no fakes to training"),
    ],
)
def test_methods_that_cannot_be_left_out_are_said(named: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        left_out(pairs(), **named)


def test_a_method_whose_people_all_are_in_training_is_said() -> None:
    videos = pairs(12, methods="a")
    one = videos[videos["label"] == 1].head(1).assign(video_id="x", method="b")
    split = policies.assign(videos, "identity")
    learnt = split.loc[split["split"] == "train", "identity"].iloc[0]
    one = one.assign(identity=learnt, source_video=learnt, donor=f"{int(learnt) ^ 1:03d}")
    with pytest.raises(InputError, match="show people or sources of the training videos"):
        left_out(pd.concat([videos, one]), test_methods="b")


def test_where_a_detector_is_judged_all_videos_or_an_official_list_are_the_test() -> None:
    videos = pairs()
    whole = divide(videos, SplitSettings(split_policy="test"), 0)
    assert (whole["split"] == "test").all() and whole.attrs["dropped"] == 0
    listed = videos.assign(official_split=["test", ""] * (len(videos) // 2))
    chosen = divide(listed, SplitSettings(split_policy="test"), 0)
    assert (chosen["split"] == "test").tolist() == (listed["official_split"] == "test").tolist()
    assert (divide(listed, SplitSettings(split_policy="test", eval_videos="all"), 0)["split"] == "test").all()
    excluded = divide(
        videos.assign(status=["excluded"] + ["ok"] * (len(videos) - 1)), SplitSettings(split_policy="test"), 0
    )
    assert (excluded["split"] == "").sum() == 1
