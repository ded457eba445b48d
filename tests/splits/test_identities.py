"""Tests of the groups of videos that show one person."""

import pandas as pd

from dfutils.splits.identities import group_names, people
from tests.support.tables import table


def test_people_of_celeb_df_are_known_across_datasets() -> None:
    videos = pd.concat([table([("a", 0, "", "id3", "", "")], "v1"), table([("b", 0, "", "id3", "", "")], "v2")])
    assert people(videos)[0].tolist() == [0, 0]
    own = pd.concat([table([("a", 0, "", "ann", "", "")], "v1"), table([("b", 0, "", "ann", "", "")], "v2")])
    assert len(set(people(own)[0])) == 2


def test_a_group_is_the_person_else_the_source_else_the_video() -> None:
    rows = [
        ("a", 0, "", "ann", "", ""),
        ("b", 1, "m", "", "", "a"),
        ("c", 0, "", "", "", ""),
        ("d", 1, "m", "", "", "c"),
    ]
    rows += [("e", 1, "n", "", "", "c"), ("f", 0, "", "", "", "")]
    videos = table(rows, "own")
    expected = ["own: ann", "own: ann", "own source c", "own source c", "own source c", "own source f"]
    assert group_names(videos).tolist() == expected
    shuffled = videos.iloc[[5, 3, 1, 4, 2, 0]]
    assert group_names(shuffled).tolist() == [expected[k] for k in (5, 3, 1, 4, 2, 0)]
    assert group_names(videos.head(0)).tolist() == []
    assert group_names(videos.drop(columns=["donor", "source_video"])).tolist()[1] == "own source b"
