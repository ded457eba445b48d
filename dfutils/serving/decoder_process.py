"""A stranger's video, opened in a process that may die of it.

Decoders are large and old, and a file may be made to crash one, or to keep it busy for ever. So a service never opens
a video itself: it asks one of a few processes (`dfutils.serving.decoder_pool`) that run this module, with bounds on
memory and time and no leave to write files. What goes back is text and arrays of known types, never pickled code.
Nothing here imports torch, so that such a process starts in two seconds and stays small.
"""

import json
import os
import struct
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from dfutils.faces.detection import detect, embedding, landmarks
from dfutils.faces.extraction import FaceClip, VideoFaces, find_faces
from dfutils.faces.video import VideoFacts

_TYPES = {"frames": "|u1", "indices": "<i8", "landmarks": "<f4"}  # all other arrays are <f8


def _arrays() -> list[str]:
    return [field.name for field in fields(FaceClip) if field.type is np.ndarray]


def pack(found: VideoFaces) -> bytes:
    """Return what was found as bytes: a header in JSON, its length before it, and the arrays after it."""
    packed = [_pack_clip(clip) for clip in found.clips]
    header = {
        "facts": found.facts and asdict(found.facts),
        "cut": found.cut,
        "clips": [about for about, _ in packed],
    }
    text = json.dumps(header).encode()
    return struct.pack("<I", len(text)) + text + b"".join(data for _, data in packed)


def _pack_clip(clip: FaceClip) -> tuple[dict[str, Any], bytes]:
    arrays = {name: np.ascontiguousarray(getattr(clip, name), _TYPES.get(name, "<f8")) for name in _arrays()}
    about = {
        "shapes": {name: array.shape for name, array in arrays.items()},
        "clip": {name: getattr(clip, name) for name in ("people", "n_read", "status", "reason")},
        "candidates": [[int(index), [float(side) for side in box], why] for index, box, why in clip.candidates[:500]],
    }
    return about, b"".join(array.tobytes() for array in arrays.values())


def unpack(data: bytes) -> VideoFaces:
    """Return what `pack` wrote.

    Raises:
        ValueError: if it is anything else.
    """
    try:
        (length,) = struct.unpack_from("<I", data)
        header, place, clips = json.loads(data[4 : 4 + length]), 4 + length, []
        for about in header["clips"]:
            arrays = {}
            for name in _arrays():
                kind, shape = np.dtype(_TYPES.get(name, "<f8")), tuple(int(side) for side in about["shapes"][name])
                count = int(np.prod(shape, dtype=np.int64))
                arrays[name] = np.frombuffer(data, kind, count, place).reshape(shape).copy()
                place += count * kind.itemsize
            candidates = [(int(index), tuple(map(float, box)), str(why)) for index, box, why in about["candidates"]]
            clips.append(FaceClip(**arrays, **about["clip"], candidates=candidates))
        facts = header["facts"] and VideoFacts(**header["facts"])
    except (struct.error, KeyError, TypeError) as error:
        raise ValueError(f"not an answer of a decoder: {error!r}") from None
    if not clips:
        raise ValueError("not an answer of a decoder: no clip")
    return VideoFaces(facts, tuple(clips), bool(header["cut"]))


def _bound(memory: int) -> None:
    """Bound what this process may take, as far as the system can: memory, no new files, no dumps."""
    try:
        import resource
    except ImportError:  # Windows has no such bounds; the time limit holds there, too
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if sys.platform != "darwin":  # which refuses to bound the address space
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def _allow_seconds(seconds: float) -> None:
    """Let this process compute for so many seconds more; then the system kills it, even if nobody else does."""
    try:
        import resource
    except ImportError:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime + 2 * seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def main(memory: int) -> None:
    """Answer one request a line on standard input, until it ends."""
    import cv2

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not spoil an answer
    cv2.setNumThreads(1)
    _bound(memory)
    blank = np.zeros((128, 128, 3), np.uint8)
    detect(blank)
    embedding(blank, landmarks(blank, (16.0, 16.0, 96.0, 96.0)))  # dlib's models are loaded at their first use
    answers.write(struct.pack("<Q", 0))
    answers.flush()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        _allow_seconds(request["seconds"])
        data = pack(find_faces(Path(request["path"]), request["settings"], request["max_duration"]))
        answers.write(struct.pack("<Q", len(data)) + data)
        answers.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
