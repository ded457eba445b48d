"""Opens untrusted videos in a process of its own, which may crash without harming the service.

A file can be crafted to crash a video decoder or to keep it busy forever. Therefore a service never opens a video
itself: a few processes (`dfutils.serving.decoder_pool`) run this module, with limits on memory and time, and may not
write files. They return text and arrays of known types, never pickled objects. Nothing here imports torch or pandas, so
that a process starts quickly and stays small.
"""

import json
import os
import struct
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from dfutils.core.params import FaceSettings
from dfutils.faces.detection import detect, embedding, landmarks
from dfutils.faces.extraction import FaceClip, VideoFaces, find_faces
from dfutils.faces.video import VideoFacts

_TYPES = {"frames": "|u1", "indices": "<i8", "landmarks": "<f4"}  # all other arrays are <f8


def _arrays() -> list[str]:
    return [field.name for field in fields(FaceClip) if field.type is np.ndarray]


def pack(faces: VideoFaces) -> bytes:
    """Return the faces of a video as bytes: the length of a header (uint32), the header in JSON, and the arrays."""
    packed = [_pack_clip(clip) for clip in faces.clips]
    header = {
        "facts": faces.facts and asdict(faces.facts),
        "cut": faces.cut,
        "clips": [clip_header for clip_header, _ in packed],
    }
    text = json.dumps(header).encode()
    return struct.pack("<I", len(text)) + text + b"".join(data for _, data in packed)


def _pack_clip(clip: FaceClip) -> tuple[dict[str, Any], bytes]:
    arrays = {name: np.ascontiguousarray(getattr(clip, name), _TYPES.get(name, "<f8")) for name in _arrays()}
    clip_header = {
        "shapes": {name: array.shape for name, array in arrays.items()},
        "clip": {name: getattr(clip, name) for name in ("people", "n_read", "status", "reason")},
        "candidates": [[int(index), [float(side) for side in box], why] for index, box, why in clip.candidates[:500]],
    }
    return clip_header, b"".join(array.tobytes() for array in arrays.values())


def unpack(data: bytes) -> VideoFaces:
    """Return the faces from the bytes that `pack` returned.

    Raises:
        ValueError: if the bytes are anything else.
    """
    try:
        (length,) = struct.unpack_from("<I", data)
        header, offset, clips = json.loads(data[4 : 4 + length]), 4 + length, []
        for clip_header in header["clips"]:
            arrays = {}
            for name in _arrays():
                dtype, shape = np.dtype(_TYPES.get(name, "<f8")), tuple(map(int, clip_header["shapes"][name]))
                count = int(np.prod(shape, dtype=np.int64))
                arrays[name] = np.frombuffer(data, dtype, count, offset).reshape(shape).copy()
                offset += count * dtype.itemsize
            candidates = [
                (int(index), tuple(map(float, box)), str(why)) for index, box, why in clip_header["candidates"]
            ]
            clips.append(FaceClip(**arrays, **clip_header["clip"], candidates=candidates))
        facts = header["facts"] and VideoFacts(**header["facts"])
    except (struct.error, KeyError, TypeError) as error:
        raise ValueError(f"not an answer of a decoder: {error!r}") from None
    if not clips:
        raise ValueError("not an answer of a decoder: no clip")
    return VideoFaces(facts, tuple(clips), bool(header["cut"]))


def _limit_resources(memory: int) -> None:
    """Limit this process, as far as the system can: bytes of memory, no written files, no core dumps."""
    try:
        import resource
    except ImportError:  # Windows has no such limits; the pool's time limit holds there, too
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if sys.platform != "darwin":  # macOS cannot limit the address space
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def _limit_cpu(seconds: float) -> None:
    """Let the system kill this process after about two more seconds of CPU time for each of `seconds`."""
    try:
        import resource
    except ImportError:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime + 2 * seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def main(memory: int) -> None:
    """Answer requests, one line of JSON each on standard input, until it ends.

    An answer on standard output is its length (uint64) and the bytes of `pack`; an empty one says that the process is
    ready.
    """
    import cv2

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not corrupt an answer
    cv2.setNumThreads(1)
    _limit_resources(memory)
    blank = np.zeros((128, 128, 3), np.uint8)
    detect(blank)
    embedding(blank, landmarks(blank, (16.0, 16.0, 96.0, 96.0)))  # loads dlib's models
    answers.write(struct.pack("<Q", 0))
    answers.flush()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        _limit_cpu(request["seconds"])
        settings = FaceSettings(**request["settings"])
        data = pack(find_faces(Path(request["path"]), settings, request["max_duration"]))
        answers.write(struct.pack("<Q", len(data)) + data)
        answers.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
