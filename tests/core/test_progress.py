"""Tests of the progress bar."""

import io

from tqdm import tqdm

from dfutils.core import progress


def test_a_bar_outside_a_notebook_is_plain_text_and_passes_the_items_on(capsys):
    bar = progress.bar(iter("abc"), total=3, desc="letters", unit="letter")
    assert type(bar) is tqdm
    assert list(bar) == ["a", "b", "c"]
    printed = capsys.readouterr().err
    assert "letters" in printed
    assert "letter/s" in printed or "s/letter" in printed


def test_a_bar_updated_by_hand_counts():
    bar = progress.bar(total=2, desc="x")
    bar.fp = io.StringIO()
    bar.update(2)
    assert bar.n == 2
    bar.close()
