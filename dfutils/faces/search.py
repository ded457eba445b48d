"""What is seen of a video: a few of its frames, searched for faces.

dlib's HOG detector sees only a few frames, evenly spread: the whole frame at a reduced size, coarse to fine and full
size only where nothing was found, and from then on the surroundings of the last place. A video without a face costs
the most: after some frames in vain only full size is tried, and the frames that will be searched at double size, which
finds as much, are kept and not searched at full size before. What was sighted is sorted into people
(`dfutils.faces.tracking`), and where some of a person's frames are not good enough, frames in between are tried.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np

from dfutils.core.params import FaceSettings
from dfutils.faces import detection, tracking, video
from dfutils.faces.detection import Box, crop, embedding, head_pose, landmarks
from dfutils.faces.tracking import Sighting

COARSE = 180  # short side of the first look at a whole frame: finds faces from two fifths of it
LARGEST_SEARCH = 1440  # short side of the finest look at a whole frame
TRIES = 3  # frames tried for a place in the strip before it is left to the second round
PATIENCE = 2  # frames searched in vain at every size before only full size is tried
WEAK = 0.3  # detections this far below the least score are noted as candidates


class _Slots:
    """The frames of a round, as `video.frames` asks for them: some for each place in the strip, until one is good.

    It also notes how many frames went by.
    """

    def __init__(self, n_frames: int, settings: FaceSettings) -> None:
        self.stride = max(min(n_frames or settings.max_frames, settings.max_frames) / settings.frames_per_video, 1.0)
        self.slots: dict[int, tuple[int, int]] = {}  # frame's index -> slot of the strip, attempt
        for slot in range(int(settings.max_frames / self.stride) + 1):  # the stated length may be too short
            for attempt in range(TRIES):
                self.slots.setdefault(int((slot + attempt / TRIES + 0.125) * self.stride), (slot, attempt))
        self.done: set[int] = set()
        self.n_read = 0

    def __contains__(self, index: int) -> bool:
        self.n_read = index + 1
        return index in self.slots and self.slots[index][0] not in self.done


def _sides(rgb: np.ndarray) -> list[float]:
    """Return the sizes at which to look at a whole frame, coarse to fine; the finest finds what all others find."""
    short = min(*rgb.shape[:2], LARGEST_SEARCH)
    return [*(side for side in (COARSE, 2 * COARSE, 4 * COARSE) if side < 0.8 * short), short]


def _rescuers(settings: FaceSettings) -> set[int]:
    """Return the places in the strip whose frames are kept for a search at double size; none if places are few."""
    return {(2 * k + 1) * settings.frames_per_video // 6 for k in range(3)} if settings.frames_per_video >= 6 else set()


def _rival_side(rgb: np.ndarray, last: list[Sighting]) -> float:
    """Return the size at which faces can be seen that are not much smaller than the largest seen last."""
    smallest = max(0.7 * max(sighting.box[2] for sighting in last), detection.SMALLEST)
    return min(rgb.shape[:2]) * detection.SMALLEST / smallest


class FaceSearch:
    """What has been seen of one video so far."""

    def __init__(self, path: Path | str, settings: FaceSettings) -> None:
        self.path, self.settings = path, settings
        self.sightings: list[Sighting] = []
        self.candidates: list[tuple[int, Box, str]] = []
        self.looked: set[int] = set()
        self.n_read, self.stride = 0, 1.0
        self._embeddings: dict[tuple[int, Box], np.ndarray] = {}
        self._kept: list[tuple[int, float, np.ndarray]] = []

    def first_round(self, everyone: bool) -> None:
        """Look at a few frames for each place in the strip, following what was found last."""
        settings = self.settings
        wanted = _Slots(video.probe(self.path).n_frames, settings)
        self.stride = wanted.stride
        sweeps = {(k * settings.frames_per_video) // 3 for k in (1, 2)}  # whole frames, for people who come later
        last: list[Sighting] = []
        in_vain = 0
        for index, time_s, rgb in video.frames(self.path, settings.max_frames, wanted):
            slot, attempt = wanted.slots[index]
            sides, sweep = _sides(rgb), []
            if last and attempt == 0 and slot in sweeps:
                sweep = sides if everyone else [_rival_side(rgb, last)]
            kept = not last and slot in _rescuers(settings) and min(rgb.shape[:2]) <= LARGEST_SEARCH
            thorough = sides if in_vain < PATIENCE else sides[-1:]
            seen = self._look(index, time_s, rgb, last, sweep, sides[:1] if attempt or kept else thorough)
            last = seen or last
            if last:
                self._kept.clear()
            elif kept and attempt == 0:
                self._kept.append((index, time_s, rgb))
            in_vain = 0 if seen else in_vain + (attempt == 0 and not kept)
            if any(not sighting.flaw for sighting in seen):
                wanted.done.add(slot)
            if len(wanted.done) == settings.frames_per_video:
                break
        self.n_read = wanted.n_read

    def rescue(self, count: int = 3) -> None:
        """Look at a few frames at double size."""
        looked_at: Iterable[tuple[int, float, np.ndarray]] = self._kept
        if len(self._kept) < count:  # the video is shorter than it says
            wanted = {int((k + 0.5) / count * self.n_read) for k in range(count)}
            looked_at = video.frames(self.path, self.n_read, wanted)
        for index, time_s, rgb in looked_at:
            if min(rgb.shape[:2]) <= LARGEST_SEARCH:
                self._note(index, time_s, rgb, detection.search_tiles(rgb, self.settings.min_face_score - WEAK))
        self._kept.clear()

    def next_round(self, people: list[list[Sighting]], most: int) -> None:
        """Look for these people in at most `most` frames near a sighting of them that were not yet looked at."""
        step = max(1, round(self.stride / 15))
        open_ones = [index for index in range(0, self.n_read, step) if index not in self.looked]
        near = {index: hints for index in open_ones if (hints := self._hints(index, people))}
        wanted = set(tracking.between(list(near), self.looked, most))
        if wanted:
            for index, time_s, rgb in video.frames(self.path, max(wanted) + 1, wanted):
                self._look(index, time_s, rgb, near[index], [], [])

    def fixed_round(self, n_frames: int, take: Callable[[int, float, np.ndarray], Sighting]) -> None:
        """Let `take` say what the face is in each frame, without a search: one frame for each place in the strip."""
        wanted = _Slots(n_frames, self.settings)
        for index, time_s, rgb in video.frames(self.path, self.settings.max_frames, wanted):
            if index not in self.looked:
                self.looked.add(index)
                self.sightings.append(take(index, time_s, rgb))
                if not self.sightings[-1].flaw:
                    wanted.done.add(wanted.slots[index][0])
            if len(wanted.done) == self.settings.frames_per_video:
                break
        self.n_read = wanted.n_read

    def _hints(self, index: int, people: list[list[Sighting]]) -> list[Sighting]:
        """Return each person's last sighting before a frame and first one after it, as far as they are near in time."""
        hints = []
        for person in people:
            before = [s for s in person if index - 1.5 * self.stride < s.index < index]
            after = [s for s in person if index < s.index < index + 1.5 * self.stride]
            hints += before[-1:] + after[:1]
        return hints

    def _look(
        self,
        index: int,
        time_s: float,
        rgb: np.ndarray,
        hints: list[Sighting],
        extra: list[float],
        otherwise: list[float],
    ) -> list[Sighting]:
        """Search a frame near the hints and whole at the `extra` sizes; if in vain, whole at those of `otherwise`."""
        least = self.settings.min_face_score - WEAK
        boxes = detection.distinct([(hint.box, 0.0) for hint in hints])
        detections = [face for box, _ in boxes for face in detection.search_near(rgb, box, least)]
        detections += [face for side in extra for face in detection.search_whole(rgb, side, least)]
        for side in otherwise:
            if any(score >= self.settings.min_face_score for _, score in detections):
                break
            if side not in extra:
                detections += detection.search_whole(rgb, side, least)
        seen = self._note(index, time_s, rgb, detections)
        if hints or seen:  # a frame seen in vain before anybody was known is worth a second look
            self.looked.add(index)
        return seen

    def _note(self, index: int, time_s: float, rgb: np.ndarray, detections: list[tuple[Box, float]]) -> list[Sighting]:
        """Keep the detections of a frame: sightings, and candidates with what they lack."""
        settings, seen = self.settings, []
        strong = [face for face in detections if face[1] >= settings.min_face_score]
        for box, score in detection.distinct(strong + detections):
            if score < settings.min_face_score:
                self.candidates.append((index, box, f"score {score:.2f} is below {settings.min_face_score:g}"))
            else:
                points = landmarks(rgb, box)
                seen.append(sight(index, time_s, rgb, detection.steady_box(box, points), score, points, settings))
        self.sightings += seen
        return seen

    def people(self, trusting: bool = False) -> list[list[Sighting]]:
        """Return the sightings of each person, who is seen longest and largest first.

        If `trusting`, a face that takes the place of another one is that of the same person unless it surely is not.
        """

        def recognised(one: Sighting, other: Sighting) -> bool:
            return trusting or self._distance(one, other) < 0.6

        linked = tracking.link(self.sightings, 3 * self.stride, recognised)
        return tracking.people(linked, self.stride, self._distance)

    def _distance(self, one: Sighting, other: Sighting) -> float:
        return float(np.linalg.norm(self._embedding(one) - self._embedding(other)))

    def _embedding(self, sighting: Sighting) -> np.ndarray:
        key = (sighting.index, sighting.box)
        if key not in self._embeddings:
            self._embeddings[key] = embedding(sighting.crop, sighting.landmarks)
        return self._embeddings[key]


def sight(
    index: int, time_s: float, rgb: np.ndarray, box: Box, score: float, points: np.ndarray, settings: FaceSettings
) -> Sighting:
    """Take from a frame all that is needed of a face in it."""
    picture, in_crop = crop(rgb, box, points, settings.face_size, settings.face_margin, settings.align)
    sharpness, brightness = detection.quality(picture)
    small = cv2.resize(picture, (32, 32), interpolation=cv2.INTER_AREA)
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
        crop=picture,
        landmarks=in_crop,
        sharpness=sharpness,
        brightness=brightness,
        pose=head_pose(points),
        colours=colours,
        pattern=pattern / max(float(np.linalg.norm(pattern)), 1e-9),
        scene=scene,
        flaw=flaw,
    )


def whole_frame(index: int, time_s: float, rgb: np.ndarray, settings: FaceSettings) -> Sighting:
    """Take a whole frame as a face; look for it in the frame for its score and landmarks."""
    height, width = rgb.shape[:2]
    # The face may fill the frame, and the detector wants some room around it.
    pad = max(height, width) // 4
    wide = cv2.copyMakeBorder(rgb, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
    side = min(wide.shape[:2])
    times = int(np.floor(np.log(side / 250) / -np.log(detection.STEP)))
    detections = detection.search(wide, (0, 0, wide.shape[1], wide.shape[0]), times, settings.min_face_score)
    score, points = np.nan, np.full((68, 2), np.nan)
    if detections:
        box, score = max(detections, key=lambda face: (face[0][2], face[1]))
        points = landmarks(wide, box) - pad
    return sight(index, time_s, rgb, (0.0, 0.0, float(width), float(height)), score, points, settings)


def valid_ones(person: list[Sighting]) -> list[Sighting]:
    """Return the sightings that pass every threshold."""
    return [sighting for sighting in person if not sighting.flaw]


def find_people(path: Path | str, settings: FaceSettings, everyone: bool) -> tuple[FaceSearch, list[list[Sighting]]]:
    """Look at a video until the person of the strip (or `everyone` who is seen twice) has enough valid faces.

    Give up when further frames bring no more.
    """
    search = FaceSearch(path, settings)
    search.first_round(everyone)
    if not search.sightings:
        search.rescue()
    for generosity in (2, 5, 15):
        # Recognising faces is expensive: it waits until there are faces enough.
        people = search.people(trusting=True)
        if not _lack(people, settings, everyone):
            people = search.people()
        lack = _lack(people, settings, everyone)
        before = len(search.looked)
        if lack:
            search.next_round([people[k] for k in lack], generosity * max(lack.values()))
        if len(search.looked) == before:
            break
    return search, search.people()


def _lack(people: list[list[Sighting]], settings: FaceSettings, everyone: bool) -> dict[int, int]:
    """Return how many valid faces the first person, or each who is seen twice, lacks, if any."""
    asked = [k for k, person in enumerate(people) if (len(person) > 1 if everyone else k == 0)]
    lack = {k: settings.frames_per_video - len(valid_ones(people[k])) for k in asked}
    return {k: count for k, count in lack.items() if count > 0}
