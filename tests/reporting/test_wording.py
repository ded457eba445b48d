"""What readers are told in words."""

import numpy as np
import pandas as pd
import pytest
from IPython.lib.pretty import pretty

from dfutils.core import params, stages
from dfutils.core.params import Params
from dfutils.reporting.table import or_none
from dfutils.reporting.wording import Text, caution, finding


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(params, "ROOT", tmp_path)
    return tmp_path


def test_a_text_is_shown_without_quotes():
    assert pretty(Text("two\nlines")) == "two\nlines"


def test_an_empty_table_is_a_sentence():
    table = pd.DataFrame({"a": [1]})
    assert or_none(table, "Mistakes").equals(table)
    assert or_none(table.head(0), "Mistakes") == "None."
    assert repr(or_none(table.head(0), "Mistakes", "There are no mistakes.")) == "There are no mistakes."


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
        (0.5, "Undecided: the score is next to the threshold; 1 of 3 frames are at or above the threshold."),
        (0.7, "Weak signs of forgery; 1 of 3 frames are at or above the threshold."),
        (0.85, "Signs of forgery; 1 of 3 frames are at or above the threshold."),
        (0.99, "Strong signs of forgery; 1 of 3 frames are at or above the threshold."),
        (0.48, "Undecided: the score is next to the threshold; 2 of 3 frames are below the threshold."),
        (0.3, "Some signs of forgery, too few to call the video fake; 2 of 3 frames are below the threshold."),
        (0.2, "No signs of a forgery of a known kind; 2 of 3 frames are below the threshold."),
        (0.01, "No signs of a forgery of a known kind; 2 of 3 frames are below the threshold."),
        (None, "No verdict"),
    ],
)
def test_what_was_found_in_words(probability, says):
    assert finding(probability, 0.5, np.array([0.2, 0.3, 0.9])).startswith(says)


@pytest.mark.parametrize(
    ("probability", "says"),
    [
        (0.29, "Some signs of forgery, too few to call the video fake; 2 of 3 frames are below the threshold."),
        (0.1, "No signs of a forgery of a known kind; 2 of 3 frames are below the threshold."),
        (0.3, "Some signs of forgery, as real and fake videos have them; 2 of 3 frames are below the threshold."),
        (0.69, "Some signs of forgery, as real and fake videos have them; 1 of 3 frames are at or above"),
        (0.7, "Weak signs of forgery; 1 of 3 frames are at or above the threshold."),
        (0.99, "Strong signs of forgery; 1 of 3 frames are at or above the threshold."),
    ],
)
def test_what_was_found_between_and_beyond_borders(probability, says):
    assert finding(probability, 0.5, np.array([0.2, 0.3, 0.9]), borders=(0.3, 0.7)).startswith(says)


@pytest.mark.parametrize(
    ("reals", "says"),
    [
        ([0.1, 0.2, 0.6999, 0.7, 0.9], "2 of 5 real validation videos look as suspicious or more so."),
        ([0.1, 0.2], "None of 2 real validation videos looks as suspicious."),
        ([], "How many real videos look as suspicious is not known"),
        (None, "How many real videos look as suspicious is not known"),
    ],
)
def test_a_score_stands_beside_those_of_real_validation_videos(reals, says):
    assert says in finding(0.69999, 0.5, np.array([0.9]), reals)


def test_threshold_zero_and_one_divide_by_nothing():
    assert "Strong signs of forgery" in finding(1.0, 1e-12, np.array([0.2]))
    assert "No signs" in finding(0.2, 1.0, np.array([0.2]))
