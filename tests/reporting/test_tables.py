"""How tables reach the reader: captions, alignment, escaped texts, no row numbers; and what is kept beside a report."""

import re
from pathlib import Path

import pandas as pd
import pytest

from dfutils.reporting import score_plots
from dfutils.reporting.figure import Picture, Pictures
from dfutils.reporting.report import Report
from dfutils.reporting.table import Table


@pytest.fixture
def html() -> str:
    shown = pd.DataFrame(
        {"auc": [0.51234, None], "reason": ["-3 is too <small>", ""], "n": ["1,200", "85%"], "videos": [5639, 2]}
    )
    return Table(shown, "Videos & faces")._repr_html_()


def test_words_are_read_from_the_left_and_numbers_stand_under_each_other(html):
    assert re.findall(r"#T_\w+ \.(col\d) \{[^}]*text-align: left", html) == ["col1"]
    assert ">0.512<" in html and ">5,639<" in html and ">1,200<" in html and ">–<" in html


def test_a_table_has_a_caption_and_no_row_numbers_and_no_text_is_markup(html):
    assert "<caption>Videos &amp; faces</caption>" in html
    assert "row_heading" not in html
    assert "-3 is too &lt;small&gt;" in html


def test_names_of_rows_stay_and_what_is_computed_is_a_plain_table():
    rows = {"videos": [3, 4, 5], "why": ["0 – 1", "b", "c"]}
    table = Table(pd.DataFrame(rows, index=pd.Index(["<b>", "b", "<b>"], name="class")), "Videos")
    assert "&lt;b&gt;" in table._repr_html_() and "row_heading" in table._repr_html_()
    assert type(table.head(1)) is pd.DataFrame and table.loc["b", "videos"] == 4
    assert table._repr_html_() == table._repr_html_() and "0\u00a0–\u00a01" in table._repr_html_()
    grouped = pd.DataFrame([["0 – 1", 2]], columns=pd.MultiIndex.from_tuples([("test", "all"), ("test", "swap")]))
    assert "0\u00a0–\u00a01" in Table(grouped, "By method")._repr_html_()
    assert "By method" in Table(grouped.head(0), "By method")._repr_html_()


def test_texts_longer_than_a_column_may_be_broken():
    shown = Table(pd.DataFrame({"why": ["word " * 20], "interval": ["0.1 – 0.2"]}), "Reasons")._repr_html_()
    assert "overflow-wrap" in shown.split("td.col1")[0] and "nowrap" in shown.split("td.col1")[1]


class Shown(Report):
    """A report of two runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def runs(self) -> Table:
        shown = {"run_id": ["a & b", "ü"], "AUC": ["0.9 (0.8 – 1.0)", "50%"], "videos": [1200, 3]}
        return Table(pd.DataFrame(shown), "95% of all")

    def confusion(self) -> Picture:
        return score_plots.confusion([[3, 1], [2, 4]])

    def strips(self, most: int) -> Pictures:
        return Pictures([self._one()] * most)

    def finding(self) -> str:
        return "Nothing."

    def _one(self) -> Picture:
        return score_plots.confusion([[1, 1], [1, 1]])


def test_what_a_report_shows_is_kept_as_csv_latex_pdf_and_png(tmp_path):
    report = Shown(tmp_path)
    assert report.finding() == "Nothing." and not list(tmp_path.iterdir())
    assert report.runs().caption == "95% of all" and len(report.strips(2)) == 2
    assert pd.read_csv(tmp_path / "tables" / "runs.csv").equals(pd.DataFrame(report.runs()))
    written = (tmp_path / "tables" / "runs.tex").read_text(encoding="utf-8")
    for part in (r"\toprule", r"\caption{95\% of all}", r"\label{tab:runs}", r"run\_id & AUC & videos \\"):
        assert part in written
    assert "0.9 (0.8\u00a0–\u00a01.0)" in report.runs()._repr_html_(), "an interval is not broken over two lines"
    assert r"a \& b & 0.9 (0.8 – 1.0) & 1,200 \\" in written.replace("\u00a0", " ") and r"ü & 50\% & 3 \\" in written
    names = ["strips_1.pdf", "strips_1.png", "strips_2.pdf", "strips_2.png"]
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == names
    for _ in range(2):
        report.confusion()
        pdf, png = ((tmp_path / "figures" / f"confusion.{ending}").read_bytes() for ending in ("pdf", "png"))
        assert pdf.startswith(b"%PDF") and png.startswith(b"\x89PNG") and b"CreationDate" not in pdf
    assert png == (Shown(tmp_path / "again").confusion() and (tmp_path / "again/figures/confusion.png").read_bytes())
    assert pdf == (tmp_path / "again/figures/confusion.pdf").read_bytes()
