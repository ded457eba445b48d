"""A verdict as lines of text, from the values of `Verdict.to_dict`."""

from collections.abc import Sequence
from typing import Any

from dfutils.reporting.wording import ANSWERS
from dfutils.serving.timeline import clock


def text(values: dict[str, Any], limits: Sequence[str]) -> str:
    """Return a verdict in words, without those warnings that hold for every verdict of its detector (`limits`).

    The first line is the verdict. If the whole video was looked at, a row per person follows, and what was left out.
    """
    return "\n".join([_headline(values, limits), *_people(values), *_left_out(values)])


def _headline(values: dict[str, Any], limits: Sequence[str]) -> str:
    own = "".join(f" {warning}" for warning in values["warnings"] if warning not in limits)
    if values["probability_fake"] is None:
        return f"{values['file']}: no verdict ({values['status']}). {values['reason']}{own}"
    answer = ANSWERS[values["decision"]].replace(values["decision"], values["decision"].upper())
    lower, upper = values["borders"]
    called = f"the threshold {upper:.3f}" if lower == upper else f"real is below {lower:.3f}, fake from {upper:.3f} on"
    return (
        f"{values['file']}: {answer[0].lower()}{answer[1:]}. {values['sure']} Its score is "
        f"{values['probability_fake']:.3f}, {called}.{own}"
    )


def _people(values: dict[str, Any]) -> list[str]:
    """Return a row per person: when seen, size of the face, windows, highest score and where it is."""
    persons = values["persons"]
    if not values["shots"] or not persons:
        return []
    rows = [("person", "seen", "face", "windows", "highest score", "")]
    for number, person in enumerate(persons):
        same = " or ".join(str(other + 1) for other in person["may_be"])
        rows.append(
            (
                str(number + 1),
                _spans(person["seen"]),
                f"{person['face_px']:.0f} px",
                str(len(person["windows"])),
                f"{person['probability_fake']:.3f} at {clock(person['start_s'])}-{clock(person['end_s'])}",
                same and f"may be the same person as {same}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  " + "  ".join(f"{cell:{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    count = values["windows"]
    looked = "1 window was" if count == 1 else f"{count} windows were"
    whose = "" if len(persons) == 1 else " The verdict is that on the most suspicious person."
    return [*lines, f"  {looked} looked at.{whose}"]


def _left_out(values: dict[str, Any], most: int = 3) -> list[str]:
    """Return one line per reason why stretches were not judged."""
    reasons: dict[str, list[list[float]]] = {}
    for stretch in values["left_out"]:
        reasons.setdefault(stretch["reason"], []).append([stretch["start_s"], stretch["end_s"]])
    return [f"  Not judged: {_spans(spans, most)}: {reason}." for reason, spans in reasons.items()]


def _spans(spans: Sequence[Sequence[float]], most: int = 3) -> str:
    """Return stretches such as 0:00-0:31, and how long the others are if there are more than `most`."""
    shown = ", ".join(f"{clock(start)}-{clock(end)}" for start, end in spans[:most])
    rest = sum(end - start for start, end in spans[most:])
    return f"{shown} and {clock(rest)} more" if len(spans) > most else shown
