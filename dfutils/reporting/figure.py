"""What all figures share: colours, fonts, and how they get to the page.

Real and fake have the same two colours everywhere (blue and vermilion of Okabe and Ito, which colour-blind eyes tell
apart); nothing else has them. Each figure has a white background, so that it reads the same on a light page, on a
dark one and in print. Figures belong to no window and no notebook cell: nothing appears until a notebook shows
a `Picture` or `save` writes it. No setting of the user's matplotlib changes a figure. Seaborn takes the theme from here
(`style`); it is imported only where it draws, so that verdicts with pictures start without it.
"""

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from html import escape
from pathlib import Path
from textwrap import fill

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from PIL import Image

from dfutils.core.files import atomic

REAL, FAKE = "#0072B2", "#D55E00"
COLORS = (REAL, FAKE)
"""By label."""

INK, QUIET, FAINT, GOOD, OTHER = "#1D2430", "#5B6675", "#ECEEF1", "#00795A", "#A0468C"
"""The detector and all text; the background; an empty bar; what was chosen; a second quantity beside the detector's."""

WIDTH = 6.4
"""Inches of a usual figure. Its letters of 10 to 12 points are still read where the page has only 400 pixels for it."""

TITLE = {"x": 0.012, "ha": "left", "fontsize": 12.5, "fontweight": "bold"}
LINE = 0.25  # inches of a line of the title

_DPI = 150
_SHOWN = 100  # pixels an inch on a page that has them, so that pictures stay sharp on dense screens
_MOST = 150_000  # bytes; a larger picture that holds photographs is sent as JPEG
_STYLE = {
    "figure.dpi": _DPI,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture on every machine
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
    "pdf.fonttype": 42,  # text that a reader can search
}


class Picture(Figure):
    """A figure that a notebook shows by itself: as wide as the page at most, with its description in words.

    `alt` is that description. `photographs` says that it holds photographs: then it is shown as JPEG where a PNG would
    be large.
    """

    alt = ""
    photographs = False

    def to_html(self) -> str:
        """Return the figure as an `<img>` that holds its pixels."""
        data, kind = self._png, "png"
        if len(data) > _MOST and self.photographs:
            stream = io.BytesIO()
            self._pixels.save(stream, "jpeg", quality=85, subsampling=0, optimize=True)
            data, kind = stream.getvalue(), "jpeg"
        source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
        layout = "max-width:100%;height:auto;background:#fff;border-radius:6px"
        width = round(self.get_figwidth() * _SHOWN)
        return f'<img alt="{escape(self.alt, quote=True)}" width="{width}" style="{layout}" src="{source}">'

    def _repr_html_(self) -> str:
        return self.to_html()

    def __repr__(self) -> str:
        """Return the description, for where only text can be shown."""
        return f"[Picture: {self.alt}]"

    def save(self, path: Path) -> None:
        """Write the figure as PDF or PNG, by the name's ending, whole or not at all."""
        with atomic(path) as temporary:
            if path.suffix == ".png":
                temporary.write_bytes(self._png)
                return
            with style():
                self.savefig(temporary, metadata={"CreationDate": None})  # equal figures are equal files

    @cached_property
    def _pixels(self) -> Image.Image:
        """The figure as it was drawn first: a page and a file show the same, and drawing takes a tenth of a second."""
        with style():
            canvas = FigureCanvasAgg(self)
            canvas.draw()
        return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")

    @cached_property
    def _png(self) -> bytes:
        pixels, stream = self._pixels, io.BytesIO()
        if not self.photographs:  # 256 colours are all that a chart has
            pixels = pixels.quantize(256, dither=Image.Dither.NONE)
        # Optimising makes photographs a hundredth smaller, and takes twice the time.
        pixels.save(stream, "png", optimize=not self.photographs)
        return stream.getvalue()


class Pictures(list[Picture]):
    """Figures that a notebook shows below each other."""

    def to_html(self) -> str:
        """Return all figures as `<img>` elements."""
        return "".join(picture.to_html() for picture in self)

    def _repr_html_(self) -> str:
        return self.to_html()

    def __repr__(self) -> str:
        """Return the descriptions, one per line."""
        return "\n".join(map(repr, self))


@contextmanager
def style() -> Iterator[None]:
    """Give a context in which figures take the suite's style, whatever the user's matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def wrapped(title: str, width: float) -> str:
    """Return a title in lines that fit a figure `width` inches wide."""
    return "\n".join(fill(line, round(9.3 * width)) for line in title.split("\n"))


@contextmanager
def new_figure(width: float, height: float, title: str) -> Iterator[Picture]:
    """Give a figure in the suite's style, `width` x `height` inches and a title above.

    The title is the beginning of `figure.alt`, to which whoever draws adds what is seen, with the main numbers.
    """
    with style():
        text = wrapped(title, width)
        lines = text.count("\n") + 1 if text else 0
        figure = Picture(figsize=(width, height + LINE * lines))
        if text:
            figure.suptitle(text, **TITLE)
        figure.alt = title if title.endswith((".", "?", "!")) or not title else f"{title}."
        yield figure


def panels(figure: Figure, count: int, columns: int) -> list[Axes]:
    """Return `count` axes in rows of `columns`; what is left of the last row stays empty."""
    lines = -(-max(count, 1) // columns)
    made = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in made[count:]:
        axes.set_axis_off()
    return list(made[:count])


def in_percent(axes: Axes, which: str) -> None:
    """Write the ticks of the axes named, `x`, `y` or `xy`, as percent of 1."""
    for name in which:
        getattr(axes, f"{name}axis").set_major_formatter(PercentFormatter(1, decimals=0))
