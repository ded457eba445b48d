"""Forged seconds of videos: how they are written, and how well found stretches agree with them."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from dfutils.core.errors import InputError

Span = tuple[float, float]
"""Start and end, in seconds from the start of a video."""

Found = tuple[float, float, float]
"""Start and end of a stretch that was called fake, in seconds, and its score."""

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*-\s*(\d+(?:\.\d+)?)")


def parse(text: str) -> list[Span]:
    """Return the stretches of text such as `1.5-3.0;7-8`, in time order; none for empty text.

    Raises:
        InputError: if the text is none such, or a stretch does not end after it begins.
    """
    spans = []
    for part in filter(None, map(str.strip, text.split(";"))):
        match = _SPAN.fullmatch(part)
        if not match or float(match[1]) >= float(match[2]):
            raise InputError(f"{text!r} are no forged seconds: write them as 1.5-3.0;7-8, start before end.")
        spans.append((float(match[1]), float(match[2])))
    return sorted(spans)


def of_frames(times: Sequence[float], scores: Sequence[float], threshold: float) -> list[Found]:
    """Return the runs of frames with scores at or above a threshold, with the mean of their scores.

    A frame stands for the time to half-way to its neighbours; the first and the last one for as much on either side.

    Args:
        times: seconds, ascending, `(T,)`.
        scores: probability of fake of each frame, `(T,)`.
        threshold: of a fake frame.
    """
    times, scores = np.asarray(times, dtype=float), np.asarray(scores, dtype=float)
    if not len(times):
        return []
    middles = (times[1:] + times[:-1]) / 2
    first, last = (middles[0] - times[0], times[-1] - middles[-1]) if len(middles) else (0.0, 0.0)
    edges = np.concatenate([[max(times[0] - first, 0.0)], middles, [times[-1] + last]])
    called = np.concatenate([[False], scores >= threshold, [False]])
    begins, ends = np.flatnonzero(called[1:] & ~called[:-1]), np.flatnonzero(called[:-1] & ~called[1:])
    return [
        (float(edges[start]), float(edges[end]), float(scores[start:end].mean()))
        for start, end in zip(begins, ends, strict=True)
    ]


def average_precision(
    truth: Mapping[str, Sequence[Span]], found: Mapping[str, Sequence[Found]], least_iou: float = 0.5
) -> float | None:
    """Return the average precision of found stretches, 0 to 1; None if nothing was forged.

    The found stretches of all videos are taken by falling score. One is right if its overlap with a forged stretch of
    its video that is not found yet, intersection over union, is at least `least_iou`; the largest counts. Precision is
    interpolated as in ActivityNet (Heilbron et al., CVPR 2015): at each recall, the largest at that or a higher one.

    Args:
        truth: forged stretches by video; a real video has none.
        found: stretches that were called fake, by video.
        least_iou: overlap from which on a stretch is found.
    """
    count = sum(map(len, truth.values()))
    if not count:
        return None
    ranked = sorted(
        ((score, video, (start, end)) for video in found for start, end, score in found[video]), reverse=True
    )
    open_spans, right = {video: list(spans) for video, spans in truth.items()}, []
    for _, video, span in ranked:
        overlaps = [_iou(span, other) for other in open_spans.get(video, [])]
        best = int(np.argmax(overlaps)) if overlaps else -1
        right.append(best >= 0 and overlaps[best] >= least_iou)
        if right[-1]:
            del open_spans[video][best]
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((envelope * np.asarray(right)).sum() / count) if right else 0.0


def _iou(one: Span, other: Span) -> float:
    shared = max(0.0, min(one[1], other[1]) - max(one[0], other[0]))
    return shared / (one[1] - one[0] + other[1] - other[0] - shared)
