"""What can be moved where a kernel answers: a slider for the threshold, a browser through mistakes, a player of strips.

In a batch run there is no user, and a widget would remain as dead text. There each function gives the same at fixed
settings, as plain figures, so that a notebook calls it either way.

`ipywidgets.interact` draws into an output area, which is empty in tests and in saved notebooks and moves the page as it
is redrawn; pictures in an HTML widget do neither.
"""

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dfutils.core.progress import is_interactive
from dfutils.metrics import figures
from dfutils.reporting import image_plots, score_plots
from dfutils.reporting.figure import Picture, Pictures
from dfutils.reporting.table import Table
from dfutils.reporting.wording import Text


def is_live() -> bool:
    """Whether widgets would be answered: in a notebook's kernel that neither `dfutils run` nor papermill started."""
    if not is_interactive():
        return False
    history = sys.modules["IPython"].get_ipython().user_ns.get("In", [])
    return not any(cell.startswith("# Parameters\n") for cell in history)


def _following(control: Any, show: Callable[[Any], str]) -> Any:
    """Return what `show` makes of a control's value, as HTML that follows it."""
    import ipywidgets as widgets

    picture = widgets.HTML(show(control.value))

    def follow(change: dict[str, Any]) -> None:
        picture.value = "<p>Drawing …</p>"  # the last one's picture under this one's name would mislead
        picture.value = show(change["new"])

    control.observe(follow, "value")
    return picture


def threshold(labels: np.ndarray, scores: np.ndarray, chosen: float) -> Any:
    """Return a slider that moves the threshold, with the confusion matrix and rates there; in a batch run the rates
    against the threshold, as a figure."""
    if not is_live():
        return score_plots.rates(labels, scores, chosen)
    import ipywidgets as widgets

    slider = widgets.FloatSlider(
        value=chosen, min=0, max=1, step=0.005, description="Threshold", readout_format=".3f", continuous_update=False
    )
    slider.layout.width = "36rem"

    def show(value: float) -> str:
        matrix = figures.confusion(labels, (np.asarray(scores) >= value).astype(int))
        table = Table(figures.rates_from_confusion(matrix), f"At the threshold {value:.3f}")._repr_html_()
        return f'{score_plots.confusion(matrix).to_html()}<div class="jp-RenderedHTMLCommon">{table}</div>'

    back = widgets.Button(description=f"Back to {chosen:.3f}", tooltip="The threshold that validation chose")
    back.on_click(lambda _button: setattr(slider, "value", chosen))
    return widgets.VBox([widgets.HBox([slider, back]), _following(slider, show)])


def browse(mistakes: pd.DataFrame, draw: Callable[[Any], Picture], most: int) -> Any:
    """Return a browser through all mistakes; in a batch run the figures of the `most` surest, below each other.

    `draw` makes the figure of a row of `mistakes`.
    """
    rows = list(mistakes.itertuples())
    if not rows:
        return Text("There are none.")
    if not is_live():
        return Pictures(draw(row) for row in rows[:most])
    import ipywidgets as widgets

    names = [f"{place + 1} of {len(rows)}: {row.video_id}" for place, row in enumerate(rows)]
    chosen = widgets.Dropdown(options=[(name, place) for place, name in enumerate(names)], description="Mistake")
    chosen.layout.width = "36rem"
    buttons = [widgets.Button(description=text) for text in ("Previous", "Next")]
    for button, step in zip(buttons, (-1, 1), strict=True):
        button.on_click(lambda _button, step=step: setattr(chosen, "value", (chosen.value + step) % len(rows)))
    picture = _following(chosen, functools.cache(lambda place: draw(rows[place]).to_html()))
    return widgets.VBox([widgets.HBox([chosen, *buttons]), picture])


def player(frames: np.ndarray, scores: Sequence[float], limit: float, title: str, times: Sequence[float]) -> Any:
    """Return a player that steps through a strip with the score of each frame; in a batch run the strip as a figure.

    `frames` `(T, S, S, 3)` RGB, `scores` and `times` `(T,)`, `limit` the threshold.
    """
    if not is_live():
        return image_plots.strip(frames, scores, limit, title=title, times=times)
    import ipywidgets as widgets

    def show(k: int) -> str:
        name = f"frame {k + 1} of {len(frames)}"
        return image_plots.strip(frames[[k]], [scores[k]], limit, title=name, times=[times[k]]).to_html()

    play = widgets.Play(min=0, max=len(frames) - 1, interval=700)
    slider = widgets.IntSlider(min=0, max=len(frames) - 1, description="Frame")
    widgets.jslink((play, "value"), (slider, "value"))
    picture = _following(slider, [show(k) for k in range(len(frames))].__getitem__)
    return widgets.VBox([widgets.HTML(f"<b>{title}</b>"), widgets.HBox([play, slider]), picture])
