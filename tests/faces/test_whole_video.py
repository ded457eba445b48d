"""Whole videos: who is seen when, in windows that never cross a cut, and what is left out."""

import math
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from dfutils.core.params import FaceSettings
from dfutils.faces import whole_video
from dfutils.faces.search import MOST
from dfutils.faces.video import probe
from dfutils.faces.whole_video import Plan
from dfutils.faces.windows import VideoScan, joined
from tests.support.shots import FPS, SIDE, card, portrait, shot, write

SETTINGS = FaceSettings(frames_per_video=4, face_size=64)
COLLINS, HOPPER = portrait("collins"), portrait("hopper")


def scan(path: Path, plan: Plan | None = None) -> VideoScan:
    return whole_video.scan(path, SETTINGS, plan or Plan(budget=1e6))


def spans(found: VideoScan, person: int = 0) -> tuple[tuple[float, float], ...]:
    return joined([(window.start_s, window.end_s) for window in found.people[person].windows], 0.5)


def in_one_shot(found: VideoScan) -> bool:
    windows = [window for person in found.people for window in person.windows]
    return all(
        any(start - 0.01 <= window.clip.times[0] and window.clip.times[-1] < end for start, end in found.shots)
        for window in windows
    )


def test_one_shot_is_covered_by_windows_of_as_many_faces_as_the_detector_wants(tmp_path):
    found = scan(write(tmp_path / "a.mp4", shot(COLLINS, 12)))
    assert (len(found.people), found.main.people, found.shots, found.left_out) == (1, 1, ((0.0, 12.0),), ())
    windows = found.people[0].windows
    assert [len(window.clip.frames) for window in windows] == [4] * len(windows) and len(windows) == 3
    ((start, end),) = spans(found)
    assert start < 0.7 and end > 11.3
    for window in windows:
        assert window.clip.indices.tolist() == [round(time_s * FPS) for time_s in window.clip.times]
        assert window.end_s - window.start_s < 6


def test_two_side_by_side_are_two_people_seen_all_the_time(tmp_path):
    both = [np.hstack(pair) for pair in zip(shot(COLLINS, 8), shot(HOPPER, 8), strict=True)]
    found = scan(write(tmp_path / "a.mp4", both))
    assert len(found.people) == 2 and [person.may_be for person in found.people] == [(), ()]
    for person in (0, 1):
        ((start, end),) = spans(found, person)
        assert start < 1 and end > 7


def test_people_are_linked_across_shots_and_no_window_crosses_a_cut(tmp_path):
    shots = [shot(picture, 3) for picture in (COLLINS, HOPPER, COLLINS, HOPPER)]
    found = scan(write(tmp_path / "a.mp4", *shots))
    assert len(found.people) == 2 and in_one_shot(found)
    assert [round(start) for start, _ in found.shots] == [0, 3, 6, 9]
    seen = [[round(start) for start, _ in spans(found, person)] for person in (0, 1)]
    assert sorted(seen) == [[0, 6], [3, 9]]


def test_a_cut_at_every_second(tmp_path):
    found = scan(write(tmp_path / "a.mp4", *(shot((COLLINS, HOPPER)[k % 2], 1) for k in range(8))))
    assert len(found.shots) == 8 and in_one_shot(found)
    assert [len(person.windows) for person in found.people] == [4, 4]


def test_a_fade_through_black_is_the_border_of_two_shots(tmp_path):
    fall = [np.uint8(COLLINS * (1 - k / 30)) for k in range(31)]
    rise = [np.uint8(HOPPER * (k / 30)) for k in range(31)]
    black = [np.zeros((SIDE, SIDE, 3), np.uint8)] * 20
    found = scan(write(tmp_path / "a.mp4", shot(COLLINS, 4), fall, black, rise, shot(HOPPER, 4)))
    assert len(found.shots) == 2 and len(found.people) == 2 and in_one_shot(found)
    assert any(gap.reason == "the picture has one colour" for gap in found.left_out)


def test_a_title_card_before_the_face_is_said_and_hides_nothing(tmp_path):
    found = scan(write(tmp_path / "a.mp4", card(6), shot(COLLINS, 5)))
    ((start, end),) = spans(found)
    assert 5.9 < start < 6.7 and end > 10.3
    assert [(gap.start_s, round(gap.end_s), gap.reason) for gap in found.left_out] == [(0.0, 6, "no face was found")]


def test_a_face_of_half_a_second_is_judged_where_there_is_no_other_and_counted_where_there_is(tmp_path):
    alone = scan(write(tmp_path / "a.mp4", card(3), shot(COLLINS, 0.5), card(3)))
    assert len(alone.people) == 1 and 1 <= len(alone.people[0].windows[0].clip.frames) <= 5
    beside = scan(write(tmp_path / "b.mp4", shot(HOPPER, 4), shot(COLLINS, 0.5), card(3)))
    assert (len(beside.people), beside.main.people) == (1, 2)


def test_a_slideshow_of_stills(tmp_path):
    found = scan(write(tmp_path / "a.mp4", *([still] * 30 for still in (COLLINS, HOPPER, card(1)[0], COLLINS))))
    assert len(found.people) == 2 and in_one_shot(found)
    assert [len(person.windows) for person in found.people] == [2, 1]


def test_of_a_crowd_the_largest_are_judged_and_the_others_counted(tmp_path):
    small = [portrait(name, 180) for name in ("collins", "hopper")]
    row = np.hstack([small[k % 2] for k in range(6)])
    found = scan(write(tmp_path / "a.mp4", shot(np.vstack([row, row[:, ::-1]]), 3)))
    assert len(found.people) <= MOST < found.main.people


def test_a_video_without_a_face_says_how_much_was_read(tmp_path):
    found = scan(write(tmp_path / "a.mp4", card(7)))
    assert (found.people, found.main.status) == ((), "no_face")
    assert found.main.reason == "no valid face was found in the 70 frames read."


def test_a_window_every_so_many_seconds(tmp_path):
    found = scan(write(tmp_path / "a.mp4", shot(COLLINS, 30)), Plan(every=12.0))
    assert [round(start / 12, 1) for start, _ in spans(found)] == [0, 1, 2]
    assert {gap.reason for gap in found.left_out} == {"one window every 12 s is looked at"}


def test_a_video_that_does_not_state_its_length_is_looked_at_whole(tmp_path):
    write(tmp_path / "a.mp4", shot(COLLINS, 14))
    with av.open(str(tmp_path / "a.mp4")) as source, av.open(str(tmp_path / "a.264"), "w", format="h264") as bare:
        stream = bare.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                bare.mux(packet)
    found = scan(tmp_path / "a.264", Plan(every=6.0))
    assert math.isnan(found.facts.duration_s) and len(found.people[0].windows) == 3


def test_what_a_file_that_was_cut_short_lacks_is_not_said_to_have_one_colour(tmp_path):
    path = write(tmp_path / "a.mp4", shot(COLLINS, 20))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 9 // 10])
    (left,) = scan(path).left_out
    assert left.end_s == 20 and left.reason == "no picture can be decoded there"


def test_a_damaged_length_of_a_day_does_not_keep_the_search_busy(tmp_path, monkeypatch):
    """As many stretches are put in order as there is time to visit."""
    monkeypatch.setattr(whole_video.video, "probe", lambda path: replace(probe(path), duration_s=86_400.0))
    path = write(tmp_path / "a.mp4", shot(COLLINS, 12))
    began = time.monotonic()
    found = scan(path, Plan(budget=2.0))
    assert time.monotonic() - began < 8 and found.people


def test_with_little_time_every_longer_shot_has_a_window_before_any_has_a_second(tmp_path, monkeypatch):
    """The clock shows three seconds for each of the first stretches, and then hardly moves."""
    path = write(tmp_path / "a.mp4", *(shot((COLLINS, HOPPER)[k % 2], 9) for k in range(6)))
    now = iter([0.0, 3.0, 6.0, *np.arange(9, 99, 0.01)])
    monkeypatch.setattr(whole_video, "time", SimpleNamespace(monotonic=lambda: float(next(now))))
    search = whole_video.VideoSearch(path, SETTINGS, Plan(budget=30.0))
    windows = [window for step in search.steps() for window in step.windows]
    first = [int(window.start_s // 9) for window in windows if window.start_s >= 9][:5]
    assert sorted(first) == [1, 2, 3, 4, 5] and len(windows) > 6
    found = search.result()
    assert len(found.shots) == 6 and in_one_shot(found)
    assert all(a.end_s <= b.start_s + 1e-9 for a, b in pairwise(found.left_out))


def test_when_time_is_used_up_it_is_said_what_was_not_looked_at(tmp_path):
    found = scan(write(tmp_path / "a.mp4", shot(COLLINS, 20)), Plan(budget=0.0))
    assert spans(found)[0][1] < 6
    (left,) = found.left_out
    assert left.start_s < 5.5 and left.end_s == 20 and left.reason == "the 0 s of computing were used up"


@pytest.mark.parametrize("content", [b"", b"no video"])
def test_what_is_no_video_is_unreadable(tmp_path, content):
    (tmp_path / "a.mp4").write_bytes(content)
    found = scan(tmp_path / "a.mp4")
    assert (found.facts, found.people, found.main.status) == (None, (), "unreadable") and found.main.reason


def test_a_longer_video_than_allowed_is_not_searched(tmp_path):
    path = write(tmp_path / "a.mp4", card(3))
    assert "at most 2 s" in whole_video.scan(path, SETTINGS, max_duration=2).main.reason
    assert math.isfinite(whole_video.default_budget(math.nan))
    assert [whole_video.default_budget(seconds) for seconds in (120, 600)] == [20, 50]
