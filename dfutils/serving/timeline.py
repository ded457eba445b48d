"""The timeline of a video as inline SVG: a lane for each person, on the page, in reports and on the triage page.

It is drawn from a verdict's plain values (`Verdict.to_dict`), in units that a page stretches to its width, so that it
holds no text, no style and no address; colours come from the page by the classes `real`, `unsure`, `fake`, `unjudged`
and `cut`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from markupsafe import Markup

from dfutils.metrics import answers

WIDTH, LANE = 1000, 40
"""Units of the whole length, and of a lane's height."""

CLASSES = {"real": "real", "cannot tell": "unsure", "fake": "fake"}
"""The class by which a page colours each answer."""

_GAP, _HATCH = 4, 12


def length_s(values: Mapping[str, Any]) -> float:
    """Return the seconds that a timeline spans: to the end of the video, or of what was judged if that is later."""
    ends = [values["video"].get("duration_s") or 0.0, *(stretch["end_s"] for stretch in unjudged(values))]
    ends += [window["end_s"] for person in values["persons"] for window in person["windows"]]
    return float(max(ends))


def unjudged(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the stretches that were not judged, `start_s`, `end_s` and `reason`.

    Where only the first frames were looked at, that is all that follows them.
    """
    if values["left_out"] or values["shots"] or not values["persons"]:
        return list(values["left_out"])
    end, known = max(person["seen"][-1][1] for person in values["persons"]), values["video"].get("duration_s") or 0.0
    reason = "only the first frames were looked at"
    return [{"start_s": end, "end_s": known, "reason": reason}] if known - end >= 0.5 else []


def svg(values: Mapping[str, Any]) -> Markup:
    """Return the timeline of a verdict, "" if there is nobody in it or it lasts no time, as a picture.

    Each window is a bar, coloured by its answer and as high as its score. A line above it marks each person's most
    suspicious stretch; what was not judged is hatched, and upright lines mark where a shot ends.
    """
    lanes, length = values["persons"], length_s(values)
    if not lanes or not length > 0:
        return Markup()
    height = LANE * len(lanes)

    def x(second: float) -> int:
        return round(WIDTH * min(max(second / length, 0.0), 1.0))

    grounds: dict[str, list[str]] = {name: [] for name in CLASSES.values()}
    bars: dict[str, list[str]] = {name: [] for name in CLASSES.values()}
    marks = []
    for lane, person in enumerate(lanes):
        bottom = (lane + 1) * LANE - _GAP // 2
        marks.append(f"M{x(person['start_s'])} {lane * LANE + 2}H{x(person['end_s'])}")
        for window in person["windows"]:
            left, right, score = x(window["start_s"]), x(window["end_s"]), window["probability_fake"]
            answer = CLASSES[answers.decide(score, values["borders"]) or ""]
            across = f"M{left} {bottom}h{max(right - left, 2)}v-"
            grounds[answer].append(f"{across}{LANE - _GAP}H{left}z")
            bars[answer].append(f"{across}{max(round((LANE - _GAP) * score), 2)}H{left}z")
    drawn = [_path(f"{name} ground", parts) for name, parts in grounds.items()]
    drawn += [_path(name, parts) for name, parts in bars.items()]
    drawn.append(_path("worst", marks))
    drawn.append(_path("unjudged", (_hatch(x(s["start_s"]), x(s["end_s"]), height) for s in unjudged(values))))
    drawn.append(_path("cut", (f"M{x(end)} 0v{height}" for _, end in values["shots"][:-1])))
    return Markup(
        f'<svg class="lanes" viewBox="0 0 {WIDTH} {height}" preserveAspectRatio="none" aria-hidden="true">'
        f"{''.join(drawn)}</svg>"
    )


def _path(name: str, parts: Iterable[str]) -> str:
    shape = "".join(parts)
    return f'<path class="{name}" d="{shape}"/>' if shape else ""


def _hatch(left: int, right: int, height: int) -> str:
    """Return the path of lines that rise across a stretch, from its bottom to its top."""
    ends = ((start, min(start + _HATCH, right)) for start in range(left, max(right, left + 1), _HATCH))
    return "".join(f"M{start} {height}L{end} {round(height * (1 - (end - start) / _HATCH))}" for start, end in ends)


def ticks(length: float, most: int = 6) -> list[tuple[float, str]]:
    """Return where to write the time on the axis: the share of the length, 0 to 1, and the time as text."""
    steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600]
    step = next((step for step in steps if length / step <= most), 7200 * (int(length / 7200 / most) + 1))
    return [(second / length, clock(second)) for second in range(0, int(length) + 1, step)]


def clock(seconds: float) -> str:
    """Return a moment, to the nearest second, as minutes and seconds, after hours in long videos: 1:05, 1:00:05."""
    minutes, seconds = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
