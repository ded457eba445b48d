"""Pictures out of videos: frames beside each other, strips of faces with their scores, boxes that were rejected.

Photographs are placed to the inch, so that a bar stands exactly below the face that it belongs to.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from dfutils.reporting.figure import COLORS, FAINT, INK, LINE, QUIET, TITLE, WIDTH, Picture, new_figure, wrapped

_EDGE, _GAP = 0.06, 0.08  # inches
_SMALL, _SMALL_LINE = 9.5, 0.165  # points of a caption, inches of its line
_BOX = "#F0E442"  # yellow, neither real nor fake


def frame_grid(images: Sequence[np.ndarray], captions: Sequence[str], title: str = "") -> Picture:
    """Draw pictures `(H, W, 3)` RGB beside each other, at most four a row, each above its caption.

    Raises:
        ValueError: if there are not as many captions as pictures.
    """
    with _grid(images, captions, min(4, max(len(images), 1)), 2.2, title) as (figure, _):
        figure.alt += f" Pictures: {'; '.join(' '.join(caption.split()) for caption in captions)}."
    return figure


def sheet(strips: Sequence[np.ndarray], captions: Sequence[str], title: str = "") -> Picture:
    """Draw strips `(T, S, S, 3)` RGB below each other, those of single crops three in a row, each above its caption.

    Raises:
        ValueError: if there are not as many captions as strips.
    """
    rows = [np.concatenate(list(frames), axis=1) for frames in strips]
    single = all(len(frames) == 1 for frames in strips)
    with _grid(rows, captions, 3 if single else 1, WIDTH, title) as (figure, _):
        figure.alt += f" {len(rows)} strips of faces: {'; '.join(captions)}."
    return figure


def review(pictures: Sequence[np.ndarray], boxes: Sequence[Sequence[tuple[Any, str]]], title: str = "") -> Picture:
    """Draw whole frames of a video, with a numbered box around whatever was taken for a face, and what became of it.

    Args:
        pictures: `(H, W, 3)` RGB.
        boxes: for each picture `((x, y, w, h), why)` in its pixels.
        title: above them.

    Raises:
        ValueError: if there are not as many lists of boxes as pictures.
    """
    captions = ["; ".join(f"{k} {why}" for k, (_, why) in enumerate(found, 1)) or "nothing found" for found in boxes]
    upright = all(picture.shape[0] > picture.shape[1] for picture in pictures)
    with _grid(pictures, captions, 3 if upright else 2, WIDTH, title) as (figure, axes):
        for place, found in zip(axes, boxes, strict=True):
            for k, ((x, y, w, h), _) in enumerate(found, 1):
                for color, line in (("black", 4.0), (_BOX, 2.0)):
                    place.add_patch(Rectangle((x, y), w, h, fill=False, edgecolor=color, linewidth=line))
                label = {"facecolor": _BOX, "edgecolor": "black", "linewidth": 1, "pad": 1.5}
                place.text(x, y, f"{k}", color="black", fontsize=10, fontweight="bold", bbox=label, clip_on=True)
        count = sum(len(found) for found in boxes)
        why = "; ".join(dict.fromkeys(why for found in boxes for _, why in found))
        found = f"{count} times something was taken for a face: {why}." if count else "No face was found."
        figure.alt += f" {len(pictures)} whole frames. {found}"
    return figure


def strip(
    frames: np.ndarray,
    scores: Sequence[float] | None = None,
    threshold: float | None = None,
    title: str = "",
    times: Sequence[float] | None = None,
) -> Picture:
    """Draw a clip's crops in time order, ten a row, and under each the bar of its probability of fake.

    Args:
        frames: `(T, S, S, 3)` RGB, or a strip `(S, T * S, 3)` of crops side by side.
        scores: `(T,)`, 0 to 1, NaN for a frame without one; None draws the crops alone.
        threshold: drawn as a line; bars that reach it have the colour of fakes. None is 0.5.
        title: above the strip.
        times: `(T,)` in seconds, written below.

    Raises:
        ValueError: if there are not as many scores or times as crops.
    """
    if frames.ndim == 3:
        frames = np.stack(np.split(frames, max(frames.shape[1] // frames.shape[0], 1), axis=1))
    count, line = len(frames), 0.5 if threshold is None else threshold
    scores, times = (None if values is None else np.asarray(values, dtype=float) for values in (scores, times))
    for values in (scores, times):
        if values is not None and len(values) != count:
            raise ValueError(f"{count} crops, but {len(values)} scores or times")
    columns = min(max(count, 5), 10)  # so that a few crops do not fill the page
    rows = [np.arange(start, min(start + columns, count)) for start in range(0, count, columns)]
    crop = (6.8 - 2 * _EDGE) / columns
    bars, written = 0.75 * (scores is not None), 0.2 * (times is not None)
    height = crop + bars + written + _GAP
    with _sheet(6.8, len(rows) * height, title) as (figure, top):
        for k, row in enumerate(rows):
            width, y = crop * len(row), top + k * height
            _picture(_place(figure, _EDGE, y, width, crop), np.concatenate(list(frames[row]), axis=1))
            if scores is not None:
                _bars(_place(figure, _EDGE, y + crop, width, bars), scores[row], line)
            for place, frame in enumerate(row if times is not None else []):
                x, below = _EDGE + (place + 0.5) * crop, y + crop + bars + 0.03
                _write(figure, x, below, f"{times[frame]:.1f} s", ha="center", color=QUIET)
        figure.alt += f" {count} face crops in time order."
        if scores is not None:
            known = scores[np.isfinite(scores)]
            words = ", ".join("none" if np.isnan(score) else f"{score:.2f}" for score in scores)
            figure.alt += f" {(known >= line).sum()} of {len(known)} score {line:.2f} or more. Frame by frame: {words}."
    return figure


def explained(
    frames: np.ndarray,
    maps: dict[str, np.ndarray],
    scores: Sequence[float],
    threshold: float,
    title: str = "",
    contributions: Sequence[float] | None = None,
) -> Picture:
    """Draw a clip's crops, below them each kind of heat map laid over them, and the scores of the frames.

    Args:
        frames: `(T, S, S, 3)` RGB; of more than ten, ten evenly spread ones are drawn.
        maps: by name `(T, S, S)`, 0 to 1: bright yellow is 1, and nothing is laid over 0.
        scores: `(T,)` probabilities of fake.
        threshold: drawn as a line.
        title: above.
        contributions: `(T,)`, what each frame adds to the clip's log-odds of fake, drawn as bars around zero.

    Raises:
        ValueError: if there are not as many maps or scores as crops.
    """
    scores = np.asarray(scores, dtype=float)
    if any(len(values) != len(frames) for values in (scores, *maps.values())):
        raise ValueError(f"{len(frames)} crops, but other numbers of maps or scores")
    rows = {"the crops": frames, **{name: _overlaid(frames, heat) for name, heat in maps.items()}}
    shown = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), 10)).round().astype(int))
    parts = np.zeros(0) if contributions is None else np.asarray(contributions, dtype=float)
    crop, below = (6.8 - 2 * _EDGE) / max(len(shown), 5), 0.24
    width, bars = crop * len(shown), 0.75
    height = len(rows) * (crop + below) + bars + below + (0.65 + below if len(parts) else 0)
    with _sheet(6.8, height, title) as (figure, y):
        for name, pictures in rows.items():
            _write(figure, _EDGE, y, name, color=QUIET)
            _picture(_place(figure, _EDGE, y + 0.2, width, crop), np.concatenate(list(pictures[shown]), axis=1))
            y += crop + below
        _write(figure, _EDGE, y, "each frame's probability of fake", color=QUIET)
        _bars(_place(figure, _EDGE, y + 0.2, width, bars), scores[shown], threshold)
        y += bars + below
        if len(parts):
            _write(figure, _EDGE, y, "what each frame adds to the clip's log-odds of fake", color=QUIET)
            _contributions(_place(figure, _EDGE, y + 0.2, width, 0.6), parts[shown])
        words = ", ".join(f"{score:.2f}" for score in scores)
        below_them = f", and below them {', '.join(maps)}" if maps else ""
        figure.alt += f" {len(frames)} face crops{below_them}. Frame by frame: {words}."
        if len(parts):
            added = ", ".join("unknown" if np.isnan(part) else f"{part:+.2f}" for part in parts)
            figure.alt += f" Added to the log-odds: {added}."
    return figure


def _overlaid(frames: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Return crops in grey under a heat map, the stronger the more of it; uint8."""
    grey = np.repeat(frames.mean(axis=3, keepdims=True), 3, axis=3)
    share = 0.75 * np.clip(heat, 0, 1)[..., None] ** 0.7
    color = 255 * colormaps["inferno"](np.clip(heat, 0, 1))[..., :3]
    return ((1 - share) * grey + share * color).round().astype(np.uint8)


def _contributions(axes: Axes, parts: np.ndarray) -> None:
    """Draw bars around zero, to fake upwards and to real downwards, with the numbers."""
    most = max(np.abs(np.nan_to_num(parts)).max(initial=0), 1e-9)
    axes.set(xlim=(0, len(parts)), ylim=(-2.1 * most, 2.1 * most))
    axes.set_axis_off()
    axes.axhline(0, color=INK, linewidth=1)
    for place, part in enumerate(parts):
        if np.isnan(part):
            continue
        color, above = COLORS[int(part > 0)], part > 0
        axes.bar(place + 0.5, part, width=0.88, color=color)
        text = {"ha": "center", "va": "bottom" if above else "top", "fontsize": 9, "color": color}
        axes.text(place + 0.5, part + 0.12 * most * (1 if above else -1), f"{part:+.2f}", **text)


def _bars(axes: Axes, scores: np.ndarray, threshold: float) -> None:
    """Draw a bar for each score, on a faint one for all there could be, and the number over it."""
    places = np.arange(len(scores)) + 0.5
    axes.set(xlim=(0, len(scores)), ylim=(0, 1.45))
    axes.set_axis_off()
    axes.bar(places, 1, width=0.88, color=FAINT)
    colors = [COLORS[int(score >= threshold)] for score in scores]
    axes.bar(places, np.nan_to_num(scores), width=0.88, color=colors)
    axes.plot([0, len(scores)], [threshold, threshold], color=INK, linewidth=1.2, linestyle=(0, (3, 2)))
    for place, score, color in zip(places, scores, colors, strict=True):
        text, color = ("–", QUIET) if np.isnan(score) else (f"{score:.2f}", color)
        axes.text(place, 1.04, text, ha="center", va="bottom", fontsize=10, fontweight="bold", color=color)


@contextmanager
def _sheet(width: float, height: float, title: str) -> Iterator[tuple[Picture, float]]:
    """Give a figure that holds photographs, and how many inches from its top they begin. Places are counted by hand."""
    with new_figure(width, max(height, 0.3) + _EDGE, title) as figure:
        figure.set_layout_engine("none")
        figure.photographs = True
        text = wrapped(title, width)
        if text:
            figure.suptitle(text, y=1 - 0.04 / figure.get_figheight(), va="top", **TITLE)
        lines = text.count("\n") + 1 if text else 0
        if height == 0:
            _write(figure, _EDGE, LINE * lines + _EDGE, "no pictures")
        yield figure, _EDGE + LINE * lines


@contextmanager
def _grid(
    images: Sequence[np.ndarray], captions: Sequence[str], columns: int, widest: float, title: str
) -> Iterator[tuple[Picture, list[Axes]]]:
    """Give a sheet with all pictures on it, in rows, a caption below each."""
    if len(images) != len(captions):
        raise ValueError(f"{len(images)} pictures, but {len(captions)} captions")
    side = min((WIDTH - 2 * _EDGE + _GAP) / columns - _GAP, widest)
    texts = ["\n".join(fill(line, round(side * 12.5)) for line in caption.split("\n")) for caption in captions]
    rows = [range(start, min(start + columns, len(images))) for start in range(0, len(images), columns)]
    tall = [max(side * images[k].shape[0] / images[k].shape[1] for k in row) for row in rows]
    below = [max(texts[k].count("\n") + 1 for k in row) * _SMALL_LINE + 2 * _GAP for row in rows]
    width = max(columns * (side + _GAP) - _GAP + 2 * _EDGE, 4.0)
    with _sheet(width, sum(tall) + sum(below), title) as (figure, y):
        axes = []
        for row, high, caption in zip(rows, tall, below, strict=True):
            for place, k in enumerate(row):
                x, own = _EDGE + place * (side + _GAP), side * images[k].shape[0] / images[k].shape[1]
                axes.append(_place(figure, x, y + high - own, side, own))
                _picture(axes[-1], images[k])
                _write(figure, x, y + high + 0.03, texts[k])
            y += high + caption
        yield figure, axes


def _place(figure: Picture, x: float, y: float, width: float, height: float) -> Axes:
    """Return axes at inches from the upper left corner."""
    all_width, all_height = figure.get_size_inches()
    return figure.add_axes((x / all_width, 1 - (y + height) / all_height, width / all_width, height / all_height))


def _write(figure: Picture, x: float, y: float, text: str, **look: Any) -> None:
    width, height = figure.get_size_inches()
    figure.text(x / width, 1 - y / height, text, fontsize=_SMALL, va="top", **look)


def _picture(axes: Axes, image: np.ndarray) -> None:
    axes.imshow(image, aspect="auto")
    axes.set_axis_off()
