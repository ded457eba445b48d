"""Renders a verdict as HTML: the fragment on the web page and in notebook 06, and the one-file report.

The HTML holds its images and needs no script, so that it also works as a mail attachment: radio buttons select the
frame that is shown large, by mouse, touch or keyboard.
"""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
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
from dfutils.reporting.wording import ANSWERS
from dfutils.serving.verdict import LIMITS, Verdict

_FOLDER = Path(__file__).parent / "templates"
_TEMPLATES = Environment(loader=FileSystemLoader(_FOLDER), autoescape=True)
_HEADLINES = {
    "no_face": "No verdict: no face was found",
    "unreadable": "No verdict: the video cannot be read",
}


def fragment(verdict: Verdict, heat: np.ndarray | None = None, nonce: str = "") -> str:
    """Return a verdict as an HTML fragment; file names and texts in it are escaped.

    Args:
        verdict: a verdict.
        heat: Grad-CAM of each frame, `(T, S, S)`, 0 to 1; a switch in the fragment overlays it on the faces.
        nonce: by which the content security policy of the page allows the fragment's style; "" where there is none.
    """
    scored = len(verdict.frame_scores) > 0
    frames = _frames(verdict, heat)
    return _TEMPLATES.get_template("verdict.html.j2").render(
        v=verdict,
        id="v" + digest([verdict.to_dict(), heat is None])[:10],
        style=Markup((_FOLDER / "verdict.css").read_text(encoding="utf-8")),
        nonce=nonce,
        headline=ANSWERS[verdict.decision] if verdict.decision else _HEADLINES.get(verdict.status, ANSWERS[None]),
        frames=frames,
        scored=scored,
        two=verdict.borders[0] == verdict.borders[1],
        heat=heat is not None and bool(frames),
        start=float(verdict.times.min()) if frames else 0.0,
        end=float(verdict.times.max()) if frames else 0.0,
        details=_details(verdict),
        limits=LIMITS,
        number=lambda value: f"{value:.2f}",
        percent=lambda value: f"{100 * value:.1f}%",
    )


def page(verdict: Verdict, heat: np.ndarray | None = None) -> str:
    """Return a verdict as a whole HTML page, which loads nothing."""
    return _TEMPLATES.get_template("report.html.j2").render(
        file=verdict.file,
        verdict=Markup(fragment(verdict, heat)),
        when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def write(verdict: Verdict, path: Path, heat: np.ndarray | None = None) -> None:
    """Write the `page` of a verdict, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(page(verdict, heat), encoding="utf-8")


def _frames(verdict: Verdict, heat: np.ndarray | None) -> list[dict[str, Any]]:
    times, scores = verdict.times, verdict.frame_scores
    length = max(float(np.ptp(times)), 1e-9) if len(times) else 1.0
    largest = int(np.argmax(np.abs(scores - verdict.threshold))) if len(scores) else 0
    frames = []
    for k, crop in enumerate(verdict.strip):
        score = float(scores[k]) if len(scores) else None
        position = f"frame {verdict.indices[k]}, {times[k]:.2f} s"
        frames.append(
            {
                "crop": _uri(crop, ".jpg"),
                "heat": None if heat is None else _uri(_colours(heat[k]), ".png"),
                "score": score,
                "side": "fake" if score is not None and score >= verdict.threshold else "real",
                "time": float(times[k]),
                "x": round(100 * float(times[k] - times[0]) / length, 2),
                "y": round(100 * (score or 0.0), 2),
                "caption": position if score is None else f"{position}: {score:.2f}",
                "first": k == largest,
            }
        )
    return frames


def _uri(picture: np.ndarray, kind: str) -> str:
    order = cv2.COLOR_RGB2BGR if picture.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    options: Sequence[int] = [cv2.IMWRITE_JPEG_QUALITY, 92] if kind == ".jpg" else []
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
    count = len(verdict.strip)
    seen = {0: "nobody", 1: "one person"}.get(verdict.people, f"{verdict.people} people")
    rows.append(("Faces", f"{count} looked at; {seen} seen"))
    if count:
        rows.append(("Size of the faces", f"{verdict.boxes[:, 2].min():.0f} to {verdict.boxes[:, 2].max():.0f} pixels"))
    if by_view := verdict.worst.views if verdict.worst else {}:
        most = spoke_most(by_view, verdict.label)
        said = ", ".join(f"{view} {value:.2f}" for view, value in by_view.items())
        rows.append(("By each view alone", f"{said}; {most} spoke most clearly, and is what the colours show"))
    rows.append(("Detector", f"{verdict.model}, weights {verdict.version}"))
    return rows


def heat(detector: Detector, verdict: Verdict) -> np.ndarray | None:
    """Return Grad-CAM of the frames of a verdict, float32 `(T, S, S)`, 0 to 1, of the view that spoke most.

    None if the detector abstains, or its backbone has no map that is fine enough (an `InputError` of `gradcam`).
    """
    if verdict.probability_fake is None:
        return None
    from dfutils.evaluation import saliency  # imports scipy, which nothing else here needs

    try:
        return saliency.gradcam_of_view(detector, verdict.worst.clip, spoke_most(verdict.worst.views, verdict.label))
    except InputError:
        return None
