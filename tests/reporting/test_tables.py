"""How tables reach the reader: captions, alignment, escaped texts, no row numbers."""

import re

import pandas as pd
import pytest

from dfutils.reporting.tables import Table


@pytest.fixture
def html() -> str:
    shown = pd.DataFrame(
        {"auc": [0.51234, None], "reason": ["-3 is too <small>", ""], "n": ["1,200", "85%"], "videos": [5639, 2]}
    )
    return Table(shown, "Videos & faces")._repr_html_()


def test_words_are_read_from_the_left_and_numbers_stand_under_each_other(html):
    assert re.findall(r"#T_\w+ \.(col\d) \{\s+text-align: left", html) == ["col1"]
    assert ">0.512<" in html and ">5,639<" in html and ">1,200<" in html and ">–<" in html


def test_a_table_has_a_caption_and_no_row_numbers_and_no_text_is_markup(html):
    assert "<caption>Videos &amp; faces</caption>" in html
    assert "row_heading" not in html
    assert "-3 is too &lt;small&gt;" in html


def test_names_of_rows_stay_and_what_is_computed_is_a_plain_table():
    table = Table(pd.DataFrame({"videos": [3, 4, 5]}, index=pd.Index(["<b>", "b", "<b>"], name="class")), "Videos")
    assert "&lt;b&gt;" in table._repr_html_() and "row_heading" in table._repr_html_()
    assert type(table.head(1)) is pd.DataFrame and table.loc["b", "videos"] == 4
    assert table._repr_html_() == table._repr_html_()


def test_texts_longer_than_a_column_may_be_broken():
    shown = Table(pd.DataFrame({"why": ["word " * 20], "interval": ["0.1 – 0.2"]}), "Reasons")._repr_html_()
    assert "overflow-wrap" in shown.split(".col1")[0] and "nowrap" in shown.split(".col1")[1]
