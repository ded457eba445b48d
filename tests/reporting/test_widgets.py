"""Widgets where a kernel answers, plain figures where none does."""

import ipywidgets
import numpy as np
import pandas as pd
import pytest

from dfutils.reporting import image_plots, widgets

LABELS, SCORES = np.array([0, 0, 1, 1]), np.array([0.1, 0.6, 0.4, 0.9])
MISTAKES = pd.DataFrame({"video_id": ["a", "b", "c"], "probability_fake": [0.1, 0.2, 0.3]})
CROPS = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)


def draw(row):
    return image_plots.strip(CROPS, [row.probability_fake] * 3, 0.5, title=f"video {row.video_id}")


def test_outside_a_notebook_everything_is_a_plain_figure():
    assert not widgets.is_live()
    made = [
        widgets.threshold(LABELS, SCORES, 0.5),
        widgets.browse(MISTAKES, draw, 2),
        widgets.player(CROPS, [0.1, 0.5, 0.9], 0.5, "a clip", [0, 1, 2]),
    ]
    for html in made:
        assert "<img" in html._repr_html_()
        assert not isinstance(html, ipywidgets.Widget)
    assert made[1]._repr_html_().count("<img") == 2
    assert "none" in repr(widgets.browse(MISTAKES.head(0), draw, 2))


@pytest.fixture
def answered(monkeypatch):
    monkeypatch.setattr(widgets, "is_live", lambda: True)


def test_the_slider_moves_the_confusion_matrix(answered):
    box = widgets.threshold(LABELS, SCORES, 0.5)
    (slider, back), picture = box.children[0].children, box.children[1]
    assert "1 of 2 fakes caught, 1 of 2 reals accused" in picture.value
    slider.value = 0.3
    assert "2 of 2 fakes caught" in picture.value
    back.click()
    assert slider.value == 0.5


def test_the_browser_goes_round_and_the_player_steps(answered):
    box = widgets.browse(MISTAKES, draw, 2)
    (chosen, previous, following), picture = box.children[0].children, box.children[1]
    assert "video a" in picture.value
    previous.click()
    assert "video c" in picture.value
    following.click()
    assert chosen.value == 0
    box = widgets.player(CROPS, [0.1, 0.5, 0.9], 0.5, "a clip", [0, 1, 2])
    slider = box.children[1].children[1]
    slider.value = 2
    assert "frame 3 of 3" in box.children[2].value
