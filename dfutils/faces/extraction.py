"""From a video to a strip of one person's face.

The field's usual way runs a detector at full size on every frame. Here a video is decoded once and only a few of its
frames are searched (`dfutils.faces.search`). The person who is seen longest and largest is the person of the strip,
and of the frames in which their face is good enough, some are taken that lie evenly over the clip.
"""

import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dfutils.core.params import FaceSettings
from dfutils.faces import tracking, video
from dfutils.faces.detection import Box, landmarks
from dfutils.faces.search import FaceSearch, find_people, sight, valid_ones, whole_frame
from dfutils.faces.tracking import Sighting
from dfutils.faces.video import VideoFacts


@dataclass(frozen=True, eq=False)
class FaceClip:
    """The chosen faces of one person in a video, T of them in time order; T = 0 if there is none.

    Attributes:
        frames: crops, uint8 RGB `(T, S, S, 3)`.
        indices: which frame of the video each is, int `(T,)`.
        times: seconds from the start, `(T,)`.
        boxes: x, y, w, h in source pixels, `(T, 4)`.
        scores: dlib's detection scores, `(T,)`; NaN where nothing was detected.
        landmarks: in crop pixels, `(T, 68, 2)`; NaN where nothing was detected.
        sharpness: variance of the Laplacian of the grey crop at 112 pixels, `(T,)`.
        brightness: mean luma of the crop, 0 to 255, `(T,)`.
        face_px: side of the box in source pixels, `(T,)`.
        pose: yaw, pitch, roll in degrees, `(T, 3)`; see `head_pose`.
        people: how many people were seen (in two frames at least).
        n_read: how many frames were decoded, up to the last that was needed.
        status: ok, few_faces, no_face or unreadable.
        reason: a sentence if the status is not ok.
        candidates: detections that were not used, `(frame index, box, why)`.
    """

    frames: np.ndarray = field(repr=False)
    indices: np.ndarray
    times: np.ndarray
    boxes: np.ndarray = field(repr=False)
    scores: np.ndarray = field(repr=False)
    landmarks: np.ndarray = field(repr=False)
    sharpness: np.ndarray = field(repr=False)
    brightness: np.ndarray = field(repr=False)
    face_px: np.ndarray = field(repr=False)
    pose: np.ndarray = field(repr=False)
    people: int
    n_read: int
    status: str
    reason: str
    candidates: list[tuple[int, Box, str]] = field(default_factory=list, repr=False)


def _clip(search: FaceSearch, person: list[Sighting], people: list[list[Sighting]]) -> FaceClip:
    """Choose the faces of a person's strip."""
    wanted = search.settings.frames_per_video
    valid = valid_ones(person)
    chosen = [valid[k] for k in tracking.spread([s.index for s in valid], wanted)]
    candidates = list(search.candidates)
    candidates += [(s.index, s.box, s.flaw) for s in person if s.flaw]
    candidates += [(s.index, s.box, "another person") for other in people if other is not person for s in other]
    status, reason = "ok", ""
    read = "the one frame" if search.n_read == 1 else f"the {search.n_read} frames"
    if not valid:
        status, reason = "no_face", f"no valid face was found in {read} read"
    elif len(valid) < wanted:
        status = "few_faces"
        some = "1 valid face was" if len(valid) == 1 else f"{len(valid)} valid faces were"
        reason = f"{some} found in {read} read, {wanted} are needed"
    if reason and candidates:
        kinds = Counter(why.split()[0] for _, _, why in candidates)
        names = {"score": "uncertain", "side": "too small", "sharpness": "blurred", "another": "of another person"}
        reason += "; rejected: " + ", ".join(f"{count} {names[kind]}" for kind, count in sorted(kinds.items()))
    n_people = sum(len(other) > 1 for other in people) or min(len(people), 1)
    reason = reason and f"{reason}."
    return _make(chosen, search.settings.face_size, n_people, search.n_read, status, reason, sorted(set(candidates)))


def _make(
    chosen: list[Sighting],
    size: int,
    people: int,
    n_read: int,
    status: str,
    reason: str,
    candidates: list[tuple[int, Box, str]],
) -> FaceClip:
    count = len(chosen)
    return FaceClip(
        frames=np.array([s.crop for s in chosen], np.uint8).reshape(count, size, size, 3),
        indices=np.array([s.index for s in chosen], np.int64),
        times=np.array([s.time_s for s in chosen], np.float64),
        boxes=np.array([s.box for s in chosen], np.float64).reshape(count, 4),
        scores=np.array([s.score for s in chosen], np.float64),
        landmarks=np.array([s.landmarks for s in chosen], np.float32).reshape(count, 68, 2),
        sharpness=np.array([s.sharpness for s in chosen], np.float64),
        brightness=np.array([s.brightness for s in chosen], np.float64),
        face_px=np.array([s.box[2] for s in chosen], np.float64),
        pose=np.array([s.pose for s in chosen], np.float64).reshape(count, 3),
        people=people,
        n_read=n_read,
        status=status,
        reason=reason,
        candidates=candidates,
    )


def unreadable(reason: str, face_size: int) -> FaceClip:
    """Return the clip, without a face, of a video that cannot be used; the reason is a sentence."""
    return _make([], face_size, 0, 0, "unreadable", reason, [])


def extract(path: Path | str, settings: FaceSettings, box: Box | None = None) -> list[FaceClip]:
    """Return a clip for each person of a video whose strip is wanted; there is always at least one.

    With `faces: one` this is the person who is seen longest and largest in the first frames. With `all` it is everybody
    with enough valid faces, the main person first. With `cropped`, every frame is taken for a face.

    Args:
        path: a video.
        settings: how faces are found and cut out.
        box: x, y, w, h in source pixels, where somebody said that the face is; nothing is searched for then.

    Returns:
        The strips. With too few valid faces the status of the only one is `few_faces` (all that there are) or
        `no_face`; a video that cannot be used gives `unreadable`; the reason says more.
    """
    try:
        if box is not None:
            return [_extract_box(path, settings, box)]
        if settings.faces == "cropped":
            return [_extract_cropped(path, settings)]
        return _extract_people(path, settings)
    except video.VideoError as error:
        return [unreadable(str(error), settings.face_size)]


def _extract_people(path: Path | str, settings: FaceSettings) -> list[FaceClip]:
    """Return a strip for the main person, or for each with enough valid faces, who is seen longest and largest first.

    If nobody has enough, the one clip of the main person, with its status.
    """
    everyone = settings.faces == "all"
    search, people = find_people(path, settings, everyone)
    enough = [person for person in people if everyone and len(valid_ones(person)) >= settings.frames_per_video]
    return [_clip(search, person, people) for person in enough or people[:1] or [[]]]


def _extract_cropped(path: Path | str, settings: FaceSettings) -> FaceClip:
    """Return frames, evenly spread, of a video whose every frame is already a face.

    The box is the whole frame, made square by repeating its border, without a margin. Where dlib finds the face in it,
    score, landmarks and pose say so; elsewhere they are NaN.
    """
    settings = settings.model_copy(update={"face_margin": 0.0, "align": False})
    return _fixed(path, settings, lambda index, time_s, rgb: whole_frame(index, time_s, rgb, settings))


def _extract_box(path: Path | str, settings: FaceSettings, box: Box) -> FaceClip:
    """Return the face that somebody pointed at: in one box of source pixels, in frames evenly spread.

    Landmarks are fitted inside the box; nothing is detected, so scores are NaN, and no face is too small, too blurred
    or too uncertain. A box whose centre is not in the picture is `no_face`.
    """
    settings = settings.model_copy(update={"min_face_px": 0, "min_sharpness": 0.0})
    box = tuple(map(float, box))
    facts = video.probe(path)
    if not (0 <= box[0] + box[2] / 2 < facts.width and 0 <= box[1] + box[3] / 2 < facts.height):
        text = " ".join(f"{value:g}" for value in box)
        reason = f"The box {text} is not in the {facts.width}x{facts.height} frame."
        return _make([], settings.face_size, 0, 1, "no_face", reason, [])

    def take(index: int, time_s: float, rgb: np.ndarray) -> Sighting:
        return sight(index, time_s, rgb, box, np.nan, landmarks(rgb, box), settings)

    return _fixed(path, settings, take)


def _fixed(path: Path | str, settings: FaceSettings, take: Callable[[int, float, np.ndarray], Sighting]) -> FaceClip:
    """Return the strip of a face that is not searched for: `take` makes a sighting of a frame."""
    search = FaceSearch(path, settings)
    search.fixed_round(video.probe(path).n_frames, take)
    if len(valid_ones(search.sightings)) < settings.frames_per_video:
        search.fixed_round(search.n_read, take)  # the stated length was too long
    person = sorted(search.sightings, key=lambda sighting: sighting.index)
    return _clip(search, person, [person])


@dataclass(frozen=True, eq=False)
class VideoFaces:
    """What was found in a video: the facts of its container (None if it cannot be read), and its faces."""

    facts: VideoFacts | None
    clips: tuple[FaceClip, ...]
    """A clip a person, the main one first; one, which says why, if there is no face."""
    cut: bool
    """Whether the file ends before its container says so."""

    @property
    def clip(self) -> FaceClip:
        """The person who is seen longest and largest."""
        return self.clips[0]


def find_faces(path: Path, settings: FaceSettings, max_duration: float = float("inf")) -> VideoFaces:
    """Return what is found in a video.

    Args:
        path: a video.
        settings: how faces are found and cut out.
        max_duration: seconds; a longer video is not looked at.
    """
    try:
        facts = video.probe(path)
        if facts.duration_s > max_duration:
            text = f"{Path(path).name} is {facts.duration_s:,.0f} s long; at most {max_duration:,.0f} s are taken."
            raise video.VideoError(text)
    except video.VideoError as error:
        return VideoFaces(None, (unreadable(str(error), settings.face_size),), False)
    return VideoFaces(facts, tuple(extract(path, settings)), is_cut_short(path))


def is_cut_short(path: Path) -> bool:
    """Whether the last box of an MP4 or MOV, or the only chunk of an AVI, is longer than what is left of the file."""
    size = Path(path).stat().st_size
    with Path(path).open("rb") as file:
        head = file.read(12)
        if head[:4] == b"RIFF":
            return struct.unpack("<I", head[4:8])[0] + 8 > size
        if head[4:8] != b"ftyp":
            return False
        offset = 0
        for _ in range(10_000):
            file.seek(offset)
            head = file.read(16)
            if len(head) < 8:
                return len(head) > 0
            length = struct.unpack(">I", head[:4])[0]
            if length == 1 and len(head) == 16:
                length = struct.unpack(">Q", head[8:16])[0]
            if length < 8:  # 0: to the end of the file; anything else is broken, and the decoder's business
                return False
            offset += length
            if offset >= size:
                return offset > size
    return False
