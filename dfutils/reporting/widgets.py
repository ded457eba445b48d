"""What can be moved where a kernel answers: a slider for the threshold, a browser through mistakes, a player of strips.

In a batch run there is no user, and a widget would remain as dead text. There each function gives the same at fixed
settings, as plain figures, so that a notebook calls it either way.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dfutils.core.progress import is_interactive
from dfutils.metrics import figures
from dfutils.reporting import image_plots, score_plots
from dfutils.reporting.figure import Picture, Pictures
from dfutils.reporting.wording import Text


def is_live() -> bool:
    """Whether widgets would be answered: in a notebook's kernel that neither `dfutils run` nor papermill started."""
    if not is_interactive():
        return False
    history = sys.modules["IPython"].get_ipython().user_ns.get("In", [])
    return not any(cell.startswith("# Parameters\n") for cell in history)


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
    picture = widgets.HTML()

    def draw(_change: Any = None) -> None:
        matrix = figures.confusion(labels, (np.asarray(scores) >= slider.value).astype(int))
        table = figures.rates_from_confusion(matrix).to_html(na_rep="–", float_format="{:.3f}".format, border=0)
        picture.value = f'{score_plots.confusion(matrix).to_html()}<div class="jp-RenderedHTMLCommon">{table}</div>'

    back = widgets.Button(description=f"Back to {chosen:.3f}", tooltip="The threshold that validation chose")
    back.on_click(lambda _button: setattr(slider, "value", chosen))
    slider.observe(draw, "value")
    draw()
    return widgets.VBox([widgets.HBox([slider, back]), picture])


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
    picture = widgets.HTML()
    known: dict[int, str] = {}

    def update(_change: Any = None) -> None:
        if chosen.value not in known:
            picture.value = "<p>Drawing …</p>"  # the last one's picture under this one's name would mislead
            known[chosen.value] = draw(rows[chosen.value]).to_html()
        picture.value = known[chosen.value]

    def step(by: int) -> Callable[[Any], None]:
        return lambda _button: setattr(chosen, "value", (chosen.value + by) % len(rows))

    buttons = [widgets.Button(description=text) for text in ("Previous", "Next")]
    for button, by in zip(buttons, (-1, 1), strict=True):
        button.on_click(step(by))
    chosen.observe(update, "value")
    update()
    return widgets.VBox([widgets.HBox([chosen, *buttons]), picture])


def player(frames: np.ndarray, scores: Sequence[float], limit: float, title: str, times: Sequence[float]) -> Any:
    """Return a player that steps through a strip with the score of each frame; in a batch run the strip as a figure.

    `frames` `(T, S, S, 3)` RGB, `scores` and `times` `(T,)`, `limit` the threshold.
    """
    if not is_live():
        return image_plots.strip(frames, scores, limit, title=title, times=times)
    import ipywidgets as widgets

    pictures = [
        image_plots.strip(
            frames[[k]], [scores[k]], limit, title=f"frame {k + 1} of {len(frames)}", times=[times[k]]
        ).to_html()
        for k in range(len(frames))
    ]
    play = widgets.Play(min=0, max=len(frames) - 1, interval=700)
    slider = widgets.IntSlider(min=0, max=len(frames) - 1, description="Frame")
    widgets.jslink((play, "value"), (slider, "value"))
    picture = widgets.HTML(pictures[0])
    slider.observe(lambda change: setattr(picture, "value", pictures[change["new"]]), "value")
    heading = widgets.HTML(f"<b>{title}</b>")
    return widgets.VBox([heading, widgets.HBox([play, slider]), picture])
