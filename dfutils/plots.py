"""One visual language for all notebooks.

Real and fake have the same two colours everywhere (blue and vermilion of Okabe and Ito, which colour-blind eyes tell
apart); nothing else has them. Titles say what is found, axes carry units, and every figure describes itself in words
(`figure.alt`) for those who cannot see it. Each figure brings its own white card, so that it reads the same on a light
page, on a dark one and in print, and its letters are large enough for half a page's width. Figures belong to no window:
nothing is drawn until `show` or `save`.
"""

import base64
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter
from PIL import Image
from sklearn.metrics import precision_recall_curve, roc_auc_score, roc_curve

from dfutils import metrics
from dfutils.files import atomic

REAL, FAKE = "#0072B2", "#D55E00"
COLORS = (REAL, FAKE)
"""By label."""

INK, QUIET, FAINT, GOOD = "#1D2430", "#5B6675", "#DDE1E7", "#00795A"  # text and detector, second lines, grid, the chosen
DPI = 150
SHOWN_PX_PER_INCH = 100  # on a page that is wide enough; narrower pages shrink the picture
MOST_BYTES = 150_000  # a picture above this that holds photographs is sent as JPEG

_WIDTH = 6.4  # inches; with letters of 10 to 12 points still read at 400 pixels
_STYLE = {
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "font.family": "DejaVu Sans",  # comes with matplotlib, so pictures are the same everywhere
    "font.size": 11,
    "text.color": INK,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 11,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#9AA3AF",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E8EBEF",
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 10.5,
    "lines.linewidth": 2,
}


def style() -> Any:
    """Return a context in which figures of one's own take the suite's style."""
    return mpl.rc_context(_STYLE)


@contextmanager
def _figure(width: float, height: float, title: str) -> Iterator[Figure]:
    """Give a figure with a title that says what is found; it belongs to no window and no notebook cell."""
    with style():
        figure = Figure(figsize=(width, height))
        FigureCanvasAgg(figure)
        if title:
            text = fill(title, int(8.2 * width))
            figure.suptitle(text, x=0.012, ha="left", fontsize=12.5, fontweight="bold", linespacing=1.25)
        figure.alt = title
        yield figure


def show(figure: Figure) -> HTML:
    """Return a figure as a picture with its description in words, for the last line of a cell or `display`.

    PNG; JPEG where photographs would make that large. It fills the page's width at most.
    """
    data = _png(figure)
    kind = "png"
    if len(data) > MOST_BYTES and getattr(figure, "photographs", False):
        data, kind = _encoded(figure, "JPEG", quality=85, subsampling=0, optimize=True), "jpeg"
    return _Picture(
        f'<img alt="{escape(figure.alt, quote=True)}" width="{figure.get_figwidth() * SHOWN_PX_PER_INCH:.0f}" '
        f'style="max-width:100%;height:auto;background:#fff;border-radius:6px" '
        f'src="data:image/{kind};base64,{base64.b64encode(data).decode()}">',
        figure.alt,
    )


class _Picture(HTML):
    """A picture in HTML; where only text can be shown, its description."""

    def __init__(self, data: str, alt: str) -> None:
        super().__init__(data)
        self._alt = alt

    def __repr__(self) -> str:
        return f"[Figure: {self._alt}]"


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_bytes(_png(figure))


def _png(figure: Figure) -> bytes:
    return _encoded(figure, "PNG", optimize=True)


def _encoded(figure: Figure, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    with style():
        figure.savefig(stream, format="raw", dpi=DPI)
        size = figure.canvas.get_width_height(physical=True)
    del size
    stream.seek(0)
    return b""
