"""The bar shows what is done, in a terminal as plain text."""

import io

from tqdm import tqdm

from dfutils.core import progress


def test_a_bar_outside_a_notebook_is_plain_text_and_passes_the_items_on(capsys):
    made = progress.bar(iter("abc"), total=3, desc="letters", unit="letter")
    assert type(made) is tqdm
    assert list(made) == ["a", "b", "c"]
    shown = capsys.readouterr().err
    assert "letters" in shown
    assert "letter/s" in shown or "s/letter" in shown


def test_a_bar_moved_by_hand_counts():
    made = progress.bar(total=2, desc="x")
    made.fp = io.StringIO()
    made.update(2)
    assert made.n == 2
    made.close()
