"""A video gets the verdict of its twin, whatever its form: what a player shows is judged."""

from pathlib import Path

import av
import pytest

from dfutils.core import detectors
from dfutils.serving import hub
from dfutils.serving import verdict as serving_verdict
from tests.conftest import SHARED

# File, twin, seconds of the twin, largest difference of the scores. black_first.mp4 has no face in the frames read.
TWINS = [
    ("interlaced_h264.mts", "interlaced_twin.mp4", 3, 0.05),
    ("interlaced_mpeg2.ts", "interlaced_twin.mp4", 3, 0.05),
    ("av1.mp4", "upright.mp4", 3, 0.1),
    ("anamorphic_4_3.mp4", "upright.mp4", 5, 0.05),
    ("selfie_mirrored.mov", "upright.mp4", 5, 0.05),
    ("phone_portrait.mov", "upright.mp4", 5, 0.05),
    ("120fps.mp4", "upright.mp4", 5, 0.05),
    ("animated.gif", "upright.mp4", 3, 0.1),
]


@pytest.fixture(scope="module")
def score(tmp_path_factory):
    if not (SHARED / "forms").is_dir():
        pytest.skip("forms: the shared folder of real media is not beside this checkout")
    detector = hub.load(detectors.SHIPPED)
    folder = tmp_path_factory.mktemp("cut")

    def of(name: str, seconds: float = 60) -> float:
        path = cut(SHARED / "forms" / name, folder / f"{seconds}{name}", seconds)
        verdict = serving_verdict.predict_video(path, detector)
        assert verdict.status == "ok", verdict.reason
        return verdict.probability_fake

    return of


def cut(source: Path, path: Path, seconds: float) -> Path:
    """Copy the first seconds of a video without encoding it again; return the source if it is not longer."""
    with av.open(str(source)) as given:
        if given.duration / av.time_base <= seconds:
            return source
        with av.open(str(path), "w") as made:
            stream = made.add_stream_from_template(given.streams.video[0])
            for packet in given.demux(video=0):
                if packet.pts is not None and packet.pts * packet.time_base < seconds:
                    packet.stream = stream
                    made.mux(packet)
    return path


@pytest.mark.parametrize(("name", "twin", "seconds", "difference"), TWINS)
def test_the_score_is_that_of_the_twin(score, name, twin, seconds, difference):
    assert score(name) == pytest.approx(score(twin, seconds), abs=difference)


def test_the_score_is_the_same_after_another_video(score):
    names = [name for name, *_ in TWINS[:2]]
    alone = [score(name) for name in names]
    assert [score(name) for name in reversed(names)] == alone[::-1]
