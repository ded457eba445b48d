"""Extraction of strips: evenly spaced crops of the face of each wanted person of a video.

Most pipelines run a detector at full size on every frame. Here a video is decoded once and only a few of its frames are
searched (`dfutils.faces.search`). The main person is the one who is seen longest and largest; among the frames with a
valid face of a person, those are chosen that lie evenly over the video.
"""

import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from dfutils.core.params import FaceSettings, split_list
from dfutils.faces import pictures, tracking, video, views
from dfutils.faces.detection import Box, landmarks
from dfutils.faces.search import FaceSearch, find_people, make_sighting, valid_sightings, whole_frame
from dfutils.faces.tracking import Sighting
from dfutils.faces.video import VideoFacts


@dataclass(frozen=True, eq=False)
class FaceClip:
    """The chosen faces of one person in a video, T of them in time order; T = 0 if there is none.

    Attributes:
        frames: crops, uint8 RGB `(T, S, S, 3)`.
        indices: indices of the frames in the video, int64 `(T,)`.
        times: seconds from the start, `(T,)`.
        boxes: x, y, w, h in source pixels, `(T, 4)`.
        scores: dlib's detection scores, `(T,)`; NaN where nothing was detected.
        landmarks: in crop pixels, `(T, 68, 2)`; NaN where nothing was detected.
        sharpness: variance of the Laplacian of the grey crop at 112 pixels, `(T,)`.
        brightness: mean luma of the crop, 0 to 255, `(T,)`.
        face_px: side of the box in source pixels, `(T,)`.
        pose: yaw, pitch, roll in degrees, `(T, 3)`; see `head_pose`.
        people: number of people seen in at least two frames.
        n_read: number of frames decoded, up to the last that was needed.
        status: ok, few_faces, no_face or unreadable.
        reason: a sentence if the status is not ok.
        candidates: detections that were rejected, `(frame index, box, reason)`.
        views: crops of the further views that are wanted and possible (`dfutils.faces.views`), by their name.
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
    views: dict[str, np.ndarray] = field(default_factory=dict, repr=False)


def _clip(search: FaceSearch, person: list[Sighting], people: list[list[Sighting]], bystanders: int = 0) -> FaceClip:
    """Return the clip of a person: evenly spaced valid faces, or the status and reason of a video with too few."""
    wanted = search.settings.frames_per_video
    valid = valid_sightings(person)
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
        faces = "1 valid face was" if len(valid) == 1 else f"{len(valid)} valid faces were"
        reason = f"{faces} found in {read} read, {wanted} are needed"
    if reason and candidates:
        kinds = Counter(why.split()[0] for _, _, why in candidates)
        names = {"score": "uncertain", "side": "too small", "sharpness": "blurred", "another": "of another person"}
        reason += "; rejected: " + ", ".join(f"{count} {names[kind]}" for kind, count in sorted(kinds.items()))
    n_people = sum(len(other) > 1 for other in people) or min(len(people), 1)
    n_people += bystanders
    reason = reason and f"{reason}."
    return face_clip(
        chosen, search.settings.face_size, n_people, search.n_read, status, reason, sorted(set(candidates))
    )


def face_clip(
    chosen: list[Sighting],
    size: int,
    people: int,
    n_read: int,
    status: str,
    reason: str,
    candidates: list[tuple[int, Box, str]],
) -> FaceClip:
    """Return the clip of the `chosen` sightings, with crops of `size` pixels; the rest is as in `FaceClip`."""
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
    return face_clip([], face_size, 0, 0, "unreadable", reason, [])


def extract(
    path: Path | str, settings: FaceSettings, box: Box | None = None, bystanders: bool = False
) -> list[FaceClip]:
    """Return one clip per wanted person of a video, at least one.

    With `faces: one` it is the clip of the main person, who is seen longest and largest in the first frames. With `all`
    it is one clip for everybody with enough valid faces, the main person first. With `cropped`, every frame is taken as
    a face.

    Args:
        box: x, y, w, h in source pixels of a face that a user has marked; no face is searched for then.
        bystanders: count people whose faces are too small to be the main person's, too; up to 0.5 s more.

    Returns:
        The clips. If nobody has enough valid faces there is one, with the status `few_faces` (and all valid faces of
        the main person) or `no_face`; the status of a video that cannot be used is `unreadable`. The reason explains
        it.
    """
    try:
        if settings.faces == "cropped" and box is None:
            return [_extract_cropped(path, settings)]
        clips = [_extract_box(path, settings, box)] if box else _extract_people(path, settings, bystanders)
        if settings.views == "face" or clips[0].status != "ok":
            return clips
        cuts = [(clip.indices.tolist(), clip.boxes) for clip in clips]
        found = views.read(path, cuts, split_list(settings.views), settings.max_frames)
        return [replace(clip, views=crops) for clip, crops in zip(clips, found, strict=True)]
    except video.VideoError as error:
        return [unreadable(str(error), settings.face_size)]


def _extract_people(path: Path | str, settings: FaceSettings, bystanders: bool) -> list[FaceClip]:
    """Return the clip of the main person, or with `faces: all` of each person with enough valid faces, main one first.

    If nobody has enough, return the clip of the main person, with its status.
    """
    everyone = settings.faces == "all"
    search, people = find_people(video.VideoFile(path), settings, everyone)
    enough = [person for person in people if everyone and len(valid_sightings(person)) >= settings.frames_per_video]
    more = search.bystanders() if bystanders else 0
    return [_clip(search, person, people, more) for person in enough or people[:1] or [[]]]


def _extract_cropped(path: Path | str, settings: FaceSettings) -> FaceClip:
    """Return evenly spaced frames of a video of which every frame is a cropped face.

    The box is the whole frame, made square by repeating its border, without a margin. Score, landmarks and pose are
    dlib's, NaN in frames in which it finds no face. Landmarks that lie beside a folder of frames are used instead.
    """
    settings = settings.model_copy(update={"face_margin": 0.0, "align": False})
    known = pictures.landmarks(path)

    def sighting_in(index: int, time_s: float, rgb: np.ndarray) -> Sighting:
        return whole_frame(index, time_s, rgb, settings, known.get(index))

    return _extract_fixed(path, settings, sighting_in)


def _extract_box(path: Path | str, settings: FaceSettings, box: Box) -> FaceClip:
    """Return evenly spaced crops of the face in a box of source pixels that a user has marked.

    Landmarks are fitted inside the box. No face is detected, so scores are NaN, and size and sharpness are not tested.
    If the centre of the box is outside the frame, the status is `no_face`.
    """
    settings = settings.model_copy(update={"min_face_px": 0, "min_sharpness": 0.0})
    box = tuple(map(float, box))
    facts = video.probe(path)
    if not (0 <= box[0] + box[2] / 2 < facts.width and 0 <= box[1] + box[3] / 2 < facts.height):
        text = " ".join(f"{value:g}" for value in box)
        reason = f"The box {text} is not in the {facts.width}x{facts.height} frame."
        return face_clip([], settings.face_size, 0, 1, "no_face", reason, [])

    def sighting_in(index: int, time_s: float, rgb: np.ndarray) -> Sighting:
        return make_sighting(index, time_s, rgb, box, np.nan, landmarks(rgb, box), settings)

    return _extract_fixed(path, settings, sighting_in)


def _extract_fixed(
    path: Path | str, settings: FaceSettings, sighting_in: Callable[[int, float, np.ndarray], Sighting]
) -> FaceClip:
    """Return the clip of a face that is not searched for: `sighting_in` returns the face of a frame."""
    search = FaceSearch(video.VideoFile(path), settings)
    search.fixed_round(search.source.n_frames, sighting_in)
    if len(valid_sightings(search.sightings)) < settings.frames_per_video:
        search.fixed_round(search.n_read, sighting_in)  # the video is shorter than it states
    person = sorted(search.sightings, key=lambda sighting: sighting.index)
    return _clip(search, person, [person])


@dataclass(frozen=True, eq=False)
class VideoFaces:
    """The container facts of a video and the clips of its people.

    Attributes:
        facts: None if the video cannot be read.
        clips: one clip per person, the main person first; if there is no face, one clip with the reason.
        cut: whether the file ends before its container says so.
    """

    facts: VideoFacts | None
    clips: tuple[FaceClip, ...]
    cut: bool

    @property
    def clip(self) -> FaceClip:
        """The clip of the main person."""
        return self.clips[0]


def find_faces(path: Path, settings: FaceSettings, max_duration: float = float("inf")) -> VideoFaces:
    """Return the container facts and the faces of a video; the status of one longer than `max_duration` seconds is
    `unreadable`."""
    try:
        facts = video.probe(path)
        if facts.duration_s > max_duration:
            text = f"{Path(path).name} is {facts.duration_s:,.0f} s long; at most {max_duration:,.0f} s are taken."
            raise video.VideoError(text)
    except video.VideoError as error:
        return VideoFaces(None, (unreadable(str(error), settings.face_size),), False)
    return VideoFaces(facts, tuple(extract(path, settings, bystanders=True)), is_cut_short(path))


def is_cut_short(path: Path) -> bool:
    """Return whether the last box of an MP4 or MOV, or the only chunk of an AVI, extends beyond the end of the file."""
    if Path(path).is_dir():  # of pictures
        return False
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
            if length < 8:  # 0 means up to the end of the file; other values are invalid and left to the decoder
                return False
            offset += length
            if offset >= size:
                return offset > size
    return False
