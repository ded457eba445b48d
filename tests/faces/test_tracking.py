"""Grouping of faces into people by geometry, colours, cuts and recognition; and evenly spaced choices."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfutils.faces import tracking
from dfutils.faces.tracking import Sighting


def sighting(index: int, x: float = 100, side: float = 80, colour: int = 0, scene: float = 0) -> Sighting:
    """Return a face of one colour; its pattern is that of the colour."""
    colours, pattern = np.zeros(8), np.zeros(8)
    colours[colour] = pattern[colour] = 1
    return Sighting(
        index, index / 25, (x, 50, side, side), 1.0, np.zeros((4, 4, 3), np.uint8), np.zeros((68, 2)), 9.0, 9.0,
        (0, 0, 0), colours, pattern, np.full((4, 4), float(scene)),
    )  # fmt: skip


def changed(of: Sighting, **values: Any) -> Sighting:
    return Sighting(**{**vars(of), **values})


def by_colour(one: Sighting, other: Sighting) -> float:
    """Return a distance that is small between faces of one colour."""
    return 0.3 if one.colours.argmax() == other.colours.argmax() else 0.9


def by_place(one: Sighting, other: Sighting) -> float:
    return 0.0 if one.box[0] == other.box[0] else 1.0


def never(one: Sighting, other: Sighting) -> bool:
    raise AssertionError("asked to recognise somebody")


def test_overlap_of_known_boxes():
    assert tracking.overlap((0, 0, 10, 10), (0, 0, 10, 10)) == 1
    assert tracking.overlap((0, 0, 10, 10), (5, 0, 10, 10)) == pytest.approx(1 / 3)
    assert tracking.overlap((0, 0, 10, 10), (10, 10, 5, 5)) == 0
    assert tracking.overlap((0, 0, 10, 10), (2, 2, 5, 5)) == 0.25


def test_a_moving_face_is_one_track():
    moving = [sighting(10 * k, x=100 + 30 * k) for k in range(8)]
    assert tracking.link(moving[::-1], 40, never) == [moving]


@pytest.mark.parametrize("change", [{"x": 300}, {"side": 200}, {"colour": 1}])
def test_a_jump_ends_a_track(change):
    assert len(tracking.link([sighting(0), sighting(10), sighting(20, **change)], 40, never)) == 2


def test_after_a_change_of_scene_open_cases_are_recognised():
    similar = np.array([0.7, 0.3, 0, 0, 0, 0, 0, 0])
    still = changed(sighting(10), colours=similar, pattern=np.eye(8)[1])
    cut = changed(still, scene=np.full((4, 4), 90.0))
    assert len(tracking.link([sighting(0), still], 40, never)) == 1
    assert len(tracking.link([sighting(0), cut], 40, lambda one, other: True)) == 1
    assert len(tracking.link([sighting(0), cut], 40, lambda one, other: False)) == 2
    assert len(tracking.link([sighting(0), sighting(10, scene=90)], 40, never)) == 1  # the same face, another light


def test_one_odd_frame_does_not_end_a_track():
    odd = sighting(10, colour=1)
    assert [len(track) for track in tracking.link([sighting(0), odd, sighting(20)], 40, never)] == [2, 1]


def test_a_long_absence_ends_a_track():
    assert len(tracking.link([sighting(0), sighting(60)], 40, never)) == 2


def test_two_faces_side_by_side_never_mix():
    both = [s for k in range(5) for s in (sighting(k, x=100 + 5 * k), sighting(k, x=180 - 5 * k))]
    tracks = tracking.link(both, 10, never)
    assert sorted(len(track) for track in tracks) == [5, 5]
    for track in tracks:
        assert len({s.index for s in track}) == len(track)


def test_longest_and_largest_wins():
    small_long = [sighting(k, x=100, side=40) for k in range(0, 100, 10)]
    large_short = [sighting(k, x=500, side=150) for k in range(0, 20, 10)]
    large = [sighting(k, x=500, side=60) for k in range(0, 100, 10)]
    assert tracking.people([small_long, large_short], 10, by_place)[0] == small_long
    assert tracking.people([small_long, large], 10, by_place)[0] == large


def test_looking_often_is_no_weight():
    often = [sighting(k) for k in range(20)]
    assert tracking.weight(often, 20) == tracking.weight(often[:1], 20) == 80


def test_people_are_joined_over_cuts_by_recognition():
    a1 = [sighting(k) for k in (0, 10, 20)]
    b = [sighting(k, colour=1) for k in (30, 40, 50, 60)]
    a2 = [sighting(k, x=300) for k in (70, 80)]
    people = tracking.people([a1, b, a2], 10, by_colour)
    assert people == [a1 + a2, b]


def test_twins_in_one_frame_are_two():
    a = [sighting(k) for k in (0, 10, 20)]
    twin = [sighting(k, x=300) for k in (0, 10, 20)]
    assert len(tracking.people([a, twin], 10, by_colour)) == 2


def test_one_track_needs_no_recognition():
    one = [sighting(0)]
    assert tracking.people([one], 10, never) == [one]
    assert tracking.people([], 10, never) == []


def test_recognition_is_asked_for_the_weightiest_only():
    asked = []

    def count(one, other):
        asked.append(1)
        return 1.0

    crowd = [[sighting(0, x=200 * k, side=40 + k)] for k in range(3)] + [
        [sighting(10 * k, x=9000 + 200 * k, side=40)] for k in range(1, 30)
    ]
    assert len(tracking.people(crowd, 10, count, most=4)) == 32
    assert len(asked) <= 6


@given(st.sets(st.integers(0, 500), min_size=1), st.integers(1, 40))
def test_spread_is_even_ascending_and_whole(indices, count):
    ordered = sorted(indices)
    chosen = tracking.spread(ordered, count)
    assert len(chosen) == min(count, len(ordered))
    assert chosen == sorted(set(chosen)) and chosen[-1] < len(ordered)
    if count > 1:
        assert chosen[0] == 0 and chosen[-1] == len(ordered) - 1


@given(st.sets(st.integers(0, 200), min_size=1), st.integers(1, 10))
def test_no_choice_is_more_even(indices, count):
    ordered = sorted(indices)
    chosen = [ordered[k] for k in tracking.spread(ordered, count)]
    if 1 < len(chosen) < len(ordered):
        least = min(np.diff(chosen))
        fitting, last = 1, ordered[0]
        for index in ordered:  # how many indices a larger gap allows
            if index >= last + least + 1:
                fitting, last = fitting + 1, index
        assert fitting < count


def test_between_fills_the_largest_gaps_first():
    assert tracking.between(range(100), {0, 40, 99}, 1) == [69]
    assert tracking.between(range(100), {0, 40, 99}, 2) == [20, 69]
    assert tracking.between([5, 6], {1}, 5) == [5, 6] and tracking.between([], {1}, 5) == []


def test_spread_of_a_full_grid_is_exactly_even():
    assert tracking.spread(range(0, 91), 10) == list(range(0, 91, 10))
