"""What readers are told in words."""

import numpy as np
import pandas as pd
import pytest
from IPython.lib.pretty import pretty

from dfutils.core import params, stages
from dfutils.core.params import Params
from dfutils.reporting.tables import or_none
from dfutils.reporting.wording import Text, caution, certainty


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(params, "ROOT", tmp_path)
    return tmp_path


def test_a_text_is_shown_without_quotes():
    assert pretty(Text("two\nlines")) == "two\nlines"


def test_an_empty_table_is_a_sentence():
    table = pd.DataFrame({"a": [1]})
    assert or_none(table) is table
    assert or_none(table.head(0)) == "None."
    assert repr(or_none(table.head(0), "There are no mistakes.")) == "There are no mistakes."


def test_the_few_clips_of_the_tiny_sample_are_warned_of(home):
    tiny = Params(experiment="tiny", dataset="tiny", layout="sample", sample_variants=8)
    assert "scores mean nothing" in caution(tiny)
    later = Params(experiment="tiny")
    assert caution(later) is None, "nothing is known of the data before notebook 01 has run"
    stages.finish(tiny, "download")
    assert caution(later) == caution(tiny)


@pytest.mark.parametrize(
    "values", [{"dataset": "sample", "sample_variants": 64}, {"dataset": "celeb_df_v2", "sample_variants": 8}]
)
def test_other_data_are_not_warned_of(home, values):
    given = Params(experiment="mine", **values)
    assert caution(given) is None
    stages.finish(given, "download")
    assert caution(Params(experiment="mine")) is None


@pytest.mark.parametrize(
    ("probability", "says"),
    [
        (0.5, "cannot tell"),
        (0.7, "leans to fake"),
        (0.85, "fairly sure of fake"),
        (0.99, "very sure of fake"),
        (0.3, "leans to real"),
        (0.01, "very sure of real"),
        (None, "No verdict"),
    ],
)
def test_how_sure_in_words(probability, says):
    assert says in certainty(probability, 0.5, np.array([0.2, 0.9]))


def test_threshold_zero_and_one_divide_by_nothing():
    assert "very sure of fake" in certainty(1.0, 1e-12, np.array([0.2]))
    assert "real" in certainty(0.2, 1.0, np.array([0.2]))
