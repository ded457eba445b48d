"""Renders a verdict as HTML: the fragment on the web page and in notebook 06, and the one-file report.

The HTML holds its images and needs no script, so that it also works as a mail attachment: radio buttons select the
face that is shown large, and with it the person and the stretch of the video whose faces are shown, by mouse, touch or
keyboard.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from dfutils.core.errors import InputError
from dfutils.core.files import atomic, digest
from dfutils.detector.fusion import spoke_most
from dfutils.detector.network import Detector
from dfutils.metrics import answers
from dfutils.reporting.wording import ANSWERS
from dfutils.serving import timeline
from dfutils.serving.person import JudgedWindow
from dfutils.serving.verdict import LIMITS, Verdict

FOLDER = Path(__file__).parent / "templates"
TEMPLATES = Environment(loader=FileSystemLoader(FOLDER), autoescape=True)
HEADLINES = {
    "no_face": "No verdict: no face was found",
    "unreadable": "No verdict: the video cannot be read",
}
EXPLAINED = 12
"""Stretches of a video with Grad-CAM, which takes as long for each as its score or longer: the most suspicious ones."""


@dataclass(frozen=True, eq=False)
class Stretch:
    """T faces of one person in a stretch of a video, in time order; without a verdict scores are None and `(0,)`.

    `person` is the position in `Verdict.persons`, `probability` that of fake, `frame_scores` those of the faces; all of
    it is of `window`, if it was judged.
    """

    person: int
    start_s: float
    end_s: float
    probability: float | None
    frame_scores: np.ndarray
    frames: np.ndarray
    times: np.ndarray
    indices: np.ndarray
    window: JudgedWindow | None = None


def stretches(verdict: Verdict) -> list[Stretch]:
    """Return all that can be looked at: person by person, the windows in time order and the most suspicious stretch."""
    found = []
    for k, person in enumerate(verdict.persons):
        across = [person.worst] * all(window.clip is not person.worst.clip for window in person.windows)
        for w in sorted([*person.windows, *across], key=lambda window: window.start_s):
            faces = w.clip.frames, w.clip.times, w.clip.indices
            found.append(Stretch(k, w.start_s, w.end_s, w.probability, w.frame_scores, *faces, w))
    if not found and len(verdict.strip):
        seen = float(verdict.times[0]), float(verdict.times[-1])
        found.append(Stretch(0, *seen, None, np.empty(0), verdict.strip, verdict.times, verdict.indices))
    return found


def heat(detector: Detector, verdict: Verdict) -> dict[int, np.ndarray]:
    """Return Grad-CAM of the most suspicious `EXPLAINED` of the `stretches`, float32 `(T, S, S)`, 0 to 1, by position.

    Those of different people come first; each is of the view that spoke most. Empty if the detector abstains, or its
    backbone has no map that is fine enough (an `InputError` of `gradcam`).
    """
    if verdict.probability_fake is None:
        return {}
    from dfutils.evaluation import saliency  # imports scipy, which nothing else here needs

    shown = stretches(verdict)
    order = sorted(range(len(shown)), key=lambda k: -(shown[k].probability or 0.0))
    firsts = {shown[k].person: k for k in reversed(order)}.values()
    order.sort(key=lambda k: k not in firsts)

    def of(window: JudgedWindow) -> np.ndarray:
        return saliency.gradcam_of_view(detector, window.clip, spoke_most(window.views, window.probability))

    try:
        return {k: of(shown[k].window) for k in order[:EXPLAINED]}
    except InputError:
        return {}


def fragment(verdict: Verdict, heat: Mapping[int, np.ndarray] | None = None, nonce: str = "") -> str:
    """Return a verdict as an HTML fragment; file names and texts in it are escaped.

    Args:
        verdict: a verdict.
        heat: as `heat` returns it; a switch in the fragment overlays it on the faces.
        nonce: by which the content security policy of the page allows the fragment's style; "" where there is none.
    """
    values, heat = verdict.to_dict(), heat or {}
    panels = _panels(verdict, heat)
    length = timeline.length_s(values)
    return TEMPLATES.get_template("verdict.html.j2").render(
        v=verdict,
        id="v" + digest([values, sorted(heat)])[:10],
        style=Markup((FOLDER / "verdict.css").read_text(encoding="utf-8")),
        nonce=nonce,
        headline=ANSWERS[verdict.decision] if verdict.decision else HEADLINES.get(verdict.status, ANSWERS[None]),
        two=verdict.borders[0] == verdict.borders[1],
        panels=panels,
        faces=[face for panel in panels for face in panel["faces"]],
        people=_people(verdict, panels),
        timeline=timeline.svg(values),
        targets=_targets(panels, length),
        ticks=timeline.ticks(length) if length > 0 else [],
        unjudged=timeline.unjudged(values),
        shots=len(verdict.shots),
        heat=bool(heat and panels),
        details=_details(verdict),
        limits=LIMITS,
        number=lambda value: f"{value:.2f}",
        percent=lambda value: f"{100 * value:.1f}%",
        place=lambda share: f"{100 * share:.6g}%",
    )


def page(verdict: Verdict, heat: Mapping[int, np.ndarray] | None = None) -> str:
    """Return a verdict as a whole HTML page, which loads nothing."""
    return TEMPLATES.get_template("report.html.j2").render(
        file=verdict.file,
        verdict=Markup(fragment(verdict, heat)),
        when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def write(verdict: Verdict, path: Path, heat: Mapping[int, np.ndarray] | None = None) -> None:
    """Write the `page` of a verdict, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(page(verdict, heat), encoding="utf-8")


def furthest(scores: np.ndarray, threshold: float) -> int:
    """Return the position of the face whose score lies furthest from the threshold, 0 without scores."""
    return int(np.argmax(np.abs(scores - threshold))) if len(scores) else 0


def _panels(verdict: Verdict, heat: Mapping[int, np.ndarray]) -> list[dict[str, Any]]:
    """Return what the template shows of each stretch; faces are numbered throughout."""
    panels, number = [], 0
    for k, stretch in enumerate(stretches(verdict)):
        answer = answers.decide(stretch.probability, verdict.borders)
        faces = [_face(verdict, stretch, j, number + j) for j in range(len(stretch.frames))]
        number += len(faces)
        worst = stretch.window is None or stretch.window.clip is verdict.persons[stretch.person].worst.clip
        panels.append(
            {
                "person": stretch.person,
                "name": _name(verdict, stretch.person),
                "start": stretch.start_s,
                "end": stretch.end_s,
                "when": f"{stretch.start_s:.1f} to {stretch.end_s:.1f} s",
                "score": stretch.probability,
                "answer": answer or "",
                "side": timeline.CLASSES[answer] if answer else "",
                "worst": worst,
                "faces": faces,
                "first": faces[furthest(stretch.frame_scores, verdict.threshold)]["n"],
                "crops": as_uri(np.concatenate(list(stretch.frames), axis=1), ".jpg"),
                "heat": as_uri(np.concatenate([_colours(part) for part in heat[k]], axis=1), ".png")
                if k in heat
                else "",
            }
        )
    return panels


def _name(verdict: Verdict, person: int) -> str:
    return f"Person {person + 1}" if len(verdict.persons) > 1 else "The person"


def _face(verdict: Verdict, stretch: Stretch, k: int, number: int) -> dict[str, Any]:
    """Return what the template shows of a face: its number, time, score, and place in the chart in percent."""
    times, scores = stretch.times, stretch.frame_scores
    length = max(float(np.ptp(times)), 1e-9)
    score = float(scores[k]) if len(scores) else None
    position = f"frame {stretch.indices[k]}, {times[k]:.2f} s"
    return {
        "n": number,
        "k": k,
        "score": score,
        "side": "fake" if score is not None and score >= verdict.threshold else "real",
        "time": float(times[k]),
        "x": round(100 * float(times[k] - times[0]) / length, 2),
        "y": round(100 * (score or 0.0), 2),
        "caption": position if score is None else f"{position}: {score:.2f}",
    }


def _people(verdict: Verdict, panels: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what the template shows at the head of each lane, of the most suspicious stretch, in `panels[panel]`."""
    found = []
    for k, person in enumerate(verdict.persons):
        panel = next(j for j, shown in enumerate(panels) if shown["person"] == k and shown["worst"])
        alike = " and ".join(str(other + 1) for other in person.may_be)
        when = f"{person.worst.start_s:.1f} to {person.worst.end_s:.1f} s"
        found.append(panels[panel] | {"panel": panel, "when": when, "may_be": alike and f"may be the same as {alike}"})
    return found


def _targets(panels: Sequence[dict[str, Any]], length: float) -> list[dict[str, Any]]:
    """Return where in the timeline a click shows each face: its lane, and left and width as shares of the length.

    Each face stands for the time up to the middle between it and its neighbours.
    """
    found = []
    for panel in panels if length > 0 else []:
        times = [face["time"] for face in panel["faces"]]
        middles = [(a + b) / 2 for a, b in pairwise(times)]
        edges = [min(panel["start"], times[0]), *middles, max(panel["end"], times[-1])]
        for face, (left, right) in zip(panel["faces"], pairwise(edges), strict=True):
            title = f"{panel['name']}, {face['caption']}"
            place = {"lane": panel["person"], "left": left / length, "width": max(right - left, 0) / length}
            found.append({"n": face["n"], "title": title, **place})
    return found


def as_uri(picture: np.ndarray, kind: str, quality: int = 88) -> str:
    """Return a picture as a data URI: RGB as .jpg, RGBA as .png."""
    order = cv2.COLOR_RGB2BGR if picture.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    options: Sequence[int] = [cv2.IMWRITE_JPEG_QUALITY, quality] if kind == ".jpg" else []
    data = cv2.imencode(kind, cv2.cvtColor(picture, order), options)[1].tobytes()
    return f"data:image/{'jpeg' if kind == '.jpg' else 'png'};base64,{base64.b64encode(data).decode()}"


def _colours(heat: np.ndarray) -> np.ndarray:
    """Return a map as an RGBA image `(40, 40, 4)` to overlay on a face: colour and opacity increase with its values.

    The map is smooth, so a small image is enough.
    """
    small = cv2.resize(np.clip(heat, 0, 1).astype(np.float32), (40, 40), interpolation=cv2.INTER_AREA)
    grey = np.round(255 * small).astype(np.uint8)
    colour = cv2.cvtColor(cv2.applyColorMap(grey, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    return np.dstack([colour, np.round(0.75 * grey).astype(np.uint8)])


def _details(verdict: Verdict) -> list[tuple[str, str]]:
    """Return the rows of the table of details: name and value."""
    rows = []
    facts = verdict.facts
    if facts:
        known = facts.duration_s == facts.duration_s
        length = f"{facts.duration_s:.1f} s, {facts.n_frames:,} frames" if known else "not stated"
        rate = f"{facts.fps:g} frames per second" if facts.fps == facts.fps else "not stated"
        bits = f", {facts.bitrate / 1000:,.0f} kbit/s" if facts.bitrate == facts.bitrate else ""
        rows += [
            ("Picture", f"{facts.width} × {facts.height} pixels, {rate}"),
            ("Length", length),
            ("Encoded as", f"{facts.codec or 'unknown'}{bits}"),
        ]
    shown = stretches(verdict)
    count, several = sum(len(stretch.frames) for stretch in shown), len(shown) > 1
    seen = {0: "nobody", 1: "one person"}.get(verdict.people, f"{verdict.people} people")
    rows.append(("Faces", f"{count} looked at{f' in {len(shown)} stretches' if several else ''}; {seen} seen"))
    if len(verdict.strip):
        rows.append(("Size of the faces", f"{verdict.boxes[:, 2].min():.0f} to {verdict.boxes[:, 2].max():.0f} pixels"))
    if by_view := verdict.worst.views if verdict.worst else {}:
        most = spoke_most(by_view, verdict.probability_fake)
        said = ", ".join(f"{view} {value:.2f}" for view, value in by_view.items())
        rows.append(("By each view alone", f"{said}; {most} spoke most clearly, and is what the colours show"))
    rows.append(("Detector", f"{verdict.model}, weights {verdict.version}"))
    return rows
