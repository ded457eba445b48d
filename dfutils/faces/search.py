"""Search of a video for its people's faces, in as few frames and at as small a size as possible.

dlib's HOG detector searches a few evenly spaced frames: the whole frame at increasing sizes until a face is found, and
from then on only the region around the last face. A video without a face takes the longest. After some frames without a
detection only full size is searched, and the frames that are to be searched at double size, which finds the same faces
and smaller ones, are not searched at full size before. The sightings are grouped into people
(`dfutils.faces.tracking`); for a person with too few valid faces, frames in between are searched.
"""

from collections.abc import Callable, Iterable

import cv2
import numpy as np

from dfutils.core.params import FaceSettings
from dfutils.faces import detection, tracking, video
from dfutils.faces.detection import Box, crop, embedding, head_pose, landmarks
from dfutils.faces.tracking import Sighting

COARSE = 180  # smallest short side at which a whole frame is searched: finds faces from two fifths of it
LARGEST_SEARCH = 1440  # largest short side at which a whole frame is searched
TRIES = 3  # frames searched for a slot of the strip in the first round
PATIENCE = 2  # frames searched at every size without a detection before only full size is searched
MOST = 8  # faces of a frame that are followed where everybody is judged
WEAK = 0.3  # detections up to this much below `min_face_score` become candidates


class _WantedFrames:
    """The indices of the frames of a round: up to `TRIES` for each slot of the strip, until the slot is filled.

    `video.frames` tests each frame's index for membership; `n_read` is the number of frames tested so far.
    """

    def __init__(self, n_frames: int, settings: FaceSettings) -> None:
        self.stride = max(min(n_frames or settings.max_frames, settings.max_frames) / settings.frames_per_video, 1.0)
        self.slots: dict[int, tuple[int, int]] = {}  # index of a frame -> slot of the strip, attempt
        for slot in range(int(settings.max_frames / self.stride) + 1):  # the stated length may be too short
            for attempt in range(TRIES):
                self.slots.setdefault(int((slot + attempt / TRIES + 0.125) * self.stride), (slot, attempt))
        self.filled: set[int] = set()
        self.n_read = 0

    def __contains__(self, index: int) -> bool:
        self.n_read = index + 1
        return index in self.slots and self.slots[index][0] not in self.filled


def _sides(rgb: np.ndarray) -> list[float]:
    """Return the short sides at which a whole frame is searched, ascending; the last finds all that the others find."""
    short = min(*rgb.shape[:2], LARGEST_SEARCH)
    return [*(side for side in (COARSE, 2 * COARSE, 4 * COARSE) if side < 0.8 * short), short]


def _double_size_slots(settings: FaceSettings) -> set[int]:
    """Return the slots whose frames are kept for a search at double size; none if the strip has fewer than 6."""
    return {(2 * k + 1) * settings.frames_per_video // 6 for k in range(3)} if settings.frames_per_video >= 6 else set()


def _rival_side(rgb: np.ndarray, last: list[Sighting]) -> float:
    """Return the short side at which faces of 0.7 times the largest of the `last` sightings are found."""
    smallest = max(0.7 * max(sighting.box[2] for sighting in last), detection.SMALLEST)
    return min(rgb.shape[:2]) * detection.SMALLEST / smallest


class FaceSearch:
    """The search of one video, or of one stretch of it.

    Attributes:
        source: its frames, as `video.VideoFile` gives them.
        sightings: the faces found so far.
        candidates: detections below `min_face_score`: frame index, box, reason.
        searched: indices of the frames that are not searched again.
        n_read: number of frames decoded.
        stride: number of frames per slot of the strip.
    """

    def __init__(self, source: video.Source, settings: FaceSettings) -> None:
        self.source, self.settings = source, settings
        self.sightings: list[Sighting] = []
        self.candidates: list[tuple[int, Box, str]] = []
        self.searched: set[int] = set()
        self.n_read, self.stride = 0, 1.0
        self._embeddings: dict[tuple[int, Box], np.ndarray] = {}
        self._double_size_frames: list[tuple[int, float, np.ndarray]] = []
        self._swept: tuple[int, np.ndarray] | None = None

    def first_round(self, everyone: bool) -> None:
        """Search a few frames for each slot of the strip: around the last faces, or the whole frame."""
        settings = self.settings
        wanted = _WantedFrames(self.source.n_frames, settings)
        self.stride = wanted.stride
        sweeps = {(k * settings.frames_per_video) // 3 for k in (1, 2)}  # whole frames, for people who appear later
        last: list[Sighting] = []
        misses = 0
        for index, time_s, rgb in self.source.frames(settings.max_frames, wanted):
            slot, attempt = wanted.slots[index]
            sides, sweep = _sides(rgb), []
            if last and attempt == 0 and slot in sweeps:
                sweep = sides if everyone else [_rival_side(rgb, last)]
                self._swept = index, rgb
            keep = not last and slot in _double_size_slots(settings) and min(rgb.shape[:2]) <= LARGEST_SEARCH
            thorough = sides if misses < PATIENCE else sides[-1:]
            new = self._search_frame(index, time_s, rgb, last, sweep, sides[:1] if attempt or keep else thorough)
            last = new or last
            if last:
                self._double_size_frames.clear()
            elif keep and attempt == 0:
                self._double_size_frames.append((index, time_s, rgb))
            misses = 0 if new else misses + (attempt == 0 and not keep)
            if any(not sighting.flaw for sighting in new):
                wanted.filled.add(slot)
            if len(wanted.filled) == settings.frames_per_video:
                break
        self.n_read = wanted.n_read

    def quick_round(self, last: list[Sighting]) -> None:
        """Search a few frames for each slot around the last faces, and a few whole frames for people who are new.

        `last` are faces that were seen just before; at most `MOST` faces of a frame are followed. Once the first whole
        frame has shown faces, the middle one is searched for people as large as them.
        """
        count = self.settings.frames_per_video
        wanted = _WantedFrames(self.source.n_frames, self.settings)
        self.stride = wanted.stride
        continued, looks = bool(last), {0, count // 2, count - 1}
        for index, time_s, rgb in self.source.frames(self.settings.max_frames, wanted):
            slot, attempt = wanted.slots[index]
            whole: list[float] = []
            if attempt == 0 and (slot == count // 2 or (not last and slot in looks)):
                whole = [_rival_side(rgb, last)] if last and not continued else _sides(rgb)[-1:]
            if last or whole:
                new = self._search_frame(index, time_s, rgb, last, whole, [])
                last = sorted(new, key=lambda sighting: -sighting.box[2])[:MOST] or last
                if any(not sighting.flaw for sighting in new):
                    wanted.filled.add(slot)
        self.n_read = wanted.n_read

    def double_size_round(self, count: int = 3) -> None:
        """Search `count` frames at double size."""
        frames: Iterable[tuple[int, float, np.ndarray]] = self._double_size_frames
        if len(self._double_size_frames) < count:  # none were kept, or the video is shorter than it states
            wanted = {int((k + 0.5) / count * self.n_read) for k in range(count)}
            frames = self.source.frames(self.n_read, wanted)
        for index, time_s, rgb in frames:
            if min(rgb.shape[:2]) > LARGEST_SEARCH:
                continue
            detections = detection.search_tiles(rgb, self.settings.min_face_score - WEAK)
            if self._add(index, time_s, rgb, detections):  # a second search would find the same faces once more
                self.searched.add(index)
        self._double_size_frames.clear()

    def next_round(self, people: list[list[Sighting]], most: int) -> None:
        """Search for these people in at most `most` new frames, each near one of their sightings."""
        step = max(1, round(self.stride / 15))
        unsearched = [index for index in range(0, self.n_read, step) if index not in self.searched]
        near = {index: hints for index in unsearched if (hints := self._hints(index, people))}
        wanted = set(tracking.between(list(near), self.searched, most))
        if wanted:
            for index, time_s, rgb in self.source.frames(max(wanted) + 1, wanted):
                self._search_frame(index, time_s, rgb, near[index], [], [])

    def fixed_round(self, n_frames: int, sighting_in: Callable[[int, float, np.ndarray], Sighting]) -> None:
        """Fill the slots of the strip without a search: `sighting_in` returns the face of a frame."""
        wanted = _WantedFrames(n_frames, self.settings)
        for index, time_s, rgb in self.source.frames(self.settings.max_frames, wanted):
            if index not in self.searched:
                self.searched.add(index)
                self.sightings.append(sighting_in(index, time_s, rgb))
                if not self.sightings[-1].flaw:
                    wanted.filled.add(wanted.slots[index][0])
            if len(wanted.filled) == self.settings.frames_per_video:
                break
        self.n_read = wanted.n_read

    def _hints(self, index: int, people: list[list[Sighting]]) -> list[Sighting]:
        """Return each person's last sighting before and first one after a frame, if less than 1.5 strides away."""
        hints = []
        for person in people:
            before = [s for s in person if index - 1.5 * self.stride < s.index < index]
            after = [s for s in person if index < s.index < index + 1.5 * self.stride]
            hints += before[-1:] + after[:1]
        return hints

    def _search_frame(
        self,
        index: int,
        time_s: float,
        rgb: np.ndarray,
        hints: list[Sighting],
        extra: list[float],
        otherwise: list[float],
    ) -> list[Sighting]:
        """Return the new sightings in a frame.

        It is searched around the `hints` and whole at the `extra` sizes; then, until a face is found, whole at the
        sizes of `otherwise`.
        """
        least = self.settings.min_face_score - WEAK
        boxes = detection.distinct([(hint.box, 0.0) for hint in hints])
        detections = [face for box, _ in boxes for face in detection.search_near(rgb, box, least)]
        detections += [face for side in extra for face in detection.search_whole(rgb, side, least)]
        for side in otherwise:
            if any(score >= self.settings.min_face_score for _, score in detections):
                break
            if side not in extra:
                detections += detection.search_whole(rgb, side, least)
        new = self._add(index, time_s, rgb, detections)
        if hints or new:  # a frame without a face may be searched again when somebody's position is known
            self.searched.add(index)
        return new

    def _add(self, index: int, time_s: float, rgb: np.ndarray, detections: list[tuple[Box, float]]) -> list[Sighting]:
        """Add the detections of a frame to the sightings and candidates; return the new sightings."""
        settings, new = self.settings, []
        strong = [face for face in detections if face[1] >= settings.min_face_score]
        for box, score in detection.distinct(strong + detections):
            if score < settings.min_face_score:
                self.candidates.append((index, box, f"score {score:.2f} is below {settings.min_face_score:g}"))
            else:
                points = landmarks(rgb, box)
                box = detection.steady_box(box, points)
                new.append(make_sighting(index, time_s, rgb, box, score, points, settings))
        self.sightings += new
        return new

    def people(self, lenient: bool = False) -> list[list[Sighting]]:
        """Return the sightings of each person; the person who is seen longest and largest is first.

        If `lenient`, tracks are linked without face recognition wherever `tracking.likeness` is undecided.
        """

        def recognised(one: Sighting, other: Sighting) -> bool:
            return lenient or self._distance(one, other) < tracking.MAYBE

        linked = tracking.link(self.sightings, 3 * self.stride, recognised)
        return tracking.people(linked, self.stride, self._distance)

    def bystanders(self) -> int:
        """Return how many further faces, smaller than those that can be the main person's, are seen in one frame.

        It is the last frame that was searched for people who appear later, at double size: faces of 40 pixels are
        found, but none below `min_face_px`, for 0.2 s of processor time at 720p and 0.4 s at 1080p; in frames whose
        short side is above `LARGEST_SEARCH`, faces of 80 pixels after reducing it to that. A strip does not depend on
        them. In 40 frames of videos of one person each, no detection beside the face reached a score of -0.3.
        """
        if self._swept is None:
            return 0
        index, rgb = self._swept
        if min(rgb.shape[:2]) <= LARGEST_SEARCH:
            faces = detection.search_tiles(rgb, self.settings.min_face_score)
        else:
            faces = detection.search_whole(rgb, LARGEST_SEARCH, self.settings.min_face_score)
        known = [(sighting.box, 0.0) for sighting in self.sightings if abs(sighting.index - index) <= self.stride]
        large = [face for face in faces if face[0][2] >= self.settings.min_face_px]
        return len(detection.distinct(known + large)) - len(detection.distinct(known))

    def _distance(self, one: Sighting, other: Sighting) -> float:
        return float(np.linalg.norm(self._embedding(one) - self._embedding(other)))

    def _embedding(self, sighting: Sighting) -> np.ndarray:
        key = (sighting.index, sighting.box)
        if key not in self._embeddings:
            self._embeddings[key] = embedding(sighting.crop, sighting.landmarks)
        return self._embeddings[key]


def make_sighting(
    index: int, time_s: float, rgb: np.ndarray, box: Box, score: float, points: np.ndarray, settings: FaceSettings
) -> Sighting:
    """Return the sighting of the face in a box of a frame, with `points`, its landmarks in pixels of the frame."""
    face_crop, crop_points = crop(rgb, box, points, settings.face_size, settings.face_margin, settings.align)
    sharpness, brightness = detection.quality(face_crop)
    small = cv2.resize(face_crop, (32, 32), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)
    colours = cv2.calcHist([lab], [0, 1, 2], None, [6, 16, 16], [0, 256] * 3).ravel() / 32**2
    pattern = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(float)
    pattern -= pattern.mean()
    sample = cv2.resize(rgb, (128, 128), interpolation=cv2.INTER_NEAREST)
    scene = cv2.resize(cv2.cvtColor(sample, cv2.COLOR_RGB2GRAY), (16, 16), interpolation=cv2.INTER_AREA).astype(float)
    flaw = ""
    if box[2] < settings.min_face_px:
        flaw = f"side of {box[2]:.1f} px is below {settings.min_face_px:g}"
    elif sharpness < settings.min_sharpness:
        flaw = f"sharpness {sharpness:.2f} is below {settings.min_sharpness:g}"
    return Sighting(
        index=index,
        time_s=time_s,
        box=box,
        score=score,
        crop=face_crop,
        landmarks=crop_points,
        sharpness=sharpness,
        brightness=brightness,
        pose=head_pose(points),
        colours=colours,
        pattern=pattern / max(float(np.linalg.norm(pattern)), 1e-9),
        scene=scene,
        flaw=flaw,
    )


def whole_frame(
    index: int, time_s: float, rgb: np.ndarray, settings: FaceSettings, points: np.ndarray | None = None
) -> Sighting:
    """Return the sighting of a face whose box is the whole frame.

    Score and landmarks are those of the largest detection in the frame, NaN if there is none. Where its landmarks are
    known (`points`, in pixels of the frame), nothing is detected.
    """
    height, width = rgb.shape[:2]
    box = (0.0, 0.0, float(width), float(height))
    if points is not None:
        return make_sighting(index, time_s, rgb, box, np.nan, points, settings)
    # The face may fill the frame, and the detector needs some space around it.
    pad = max(height, width) // 4
    padded = cv2.copyMakeBorder(rgb, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
    side = min(padded.shape[:2])
    times = int(np.floor(np.log(side / 250) / -np.log(detection.STEP)))
    detections = detection.search(padded, (0, 0, padded.shape[1], padded.shape[0]), times, settings.min_face_score)
    score, points = np.nan, np.full((68, 2), np.nan)
    if detections:
        largest, score = max(detections, key=lambda face: (face[0][2], face[1]))
        points = landmarks(padded, largest) - pad
    return make_sighting(index, time_s, rgb, box, score, points, settings)


def valid_sightings(person: list[Sighting]) -> list[Sighting]:
    """Return the sightings without a flaw."""
    return [sighting for sighting in person if not sighting.flaw]


def find_people(
    source: video.Source, settings: FaceSettings, everyone: bool
) -> tuple[FaceSearch, list[list[Sighting]]]:
    """Return the search of a video and the sightings of its people; the person seen longest and largest is first.

    Frames are searched until the main person (or `everyone` who is seen twice) has enough valid faces for a strip, or
    no further frame is near one of their sightings, three rounds at most after the first.

    Raises:
        VideoError: if the video cannot be read.
    """
    search = FaceSearch(source, settings)
    search.first_round(everyone)
    if not search.sightings:
        search.double_size_round()
    for frames_per_face in (2, 5, 15):
        # Face recognition is expensive, so it is used only when there are enough faces without it.
        people = search.people(lenient=True)
        if not _missing_faces(people, settings, everyone):
            people = search.people()
        missing = _missing_faces(people, settings, everyone)
        before = len(search.searched)
        if missing:
            search.next_round([people[k] for k in missing], frames_per_face * max(missing.values()))
        if len(search.searched) == before:
            break
    return search, search.people()


def _missing_faces(people: list[list[Sighting]], settings: FaceSettings, everyone: bool) -> dict[int, int]:
    """Return how many valid faces a strip still needs, by position of the person; without people who need none.

    This is asked of the first person, or, with `everyone`, of each who is seen twice.
    """
    positions = [k for k, person in enumerate(people) if (len(person) > 1 if everyone else k == 0)]
    missing = {k: settings.frames_per_video - len(valid_sightings(people[k])) for k in positions}
    return {k: count for k, count in missing.items() if count > 0}
