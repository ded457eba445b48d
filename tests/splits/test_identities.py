"""Tests of the groups of videos that show one person."""

import pandas as pd

from dfutils.splits.identities import people
from tests.support.tables import table


def test_people_of_celeb_df_are_known_across_datasets() -> None:
    videos = pd.concat([table([("a", 0, "", "id3", "", "")], "v1"), table([("b", 0, "", "id3", "", "")], "v2")])
    assert people(videos)[0].tolist() == [0, 0]
    own = pd.concat([table([("a", 0, "", "ann", "", "")], "v1"), table([("b", 0, "", "ann", "", "")], "v2")])
    assert len(set(people(own)[0])) == 2
