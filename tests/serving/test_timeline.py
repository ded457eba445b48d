"""The timeline of a video, as a picture, as what can be clicked, and as a table."""

import re
from dataclasses import replace

import pytest

from dfutils.serving import timeline, verdict_html
from tests.support.verdicts import BORDERS, made, maps, two_people, window


def paths(svg: str) -> dict[str, str]:
    """The path of each class."""
    return dict(re.findall(r'<path class="([^"]+)" d="([^"]+)"/>', svg))


def test_each_window_is_a_bar_of_its_answer_as_high_as_its_score():
    found = paths(timeline.svg(two_people().to_dict()))
    lane, height = timeline.LANE, timeline.LANE - 4
    assert found["real"] == f"M0 {lane - 2}h250v-4H0zM250 {lane - 2}h250v-7H250z"
    assert found["unsure"] == f"M500 {lane - 2}h250v-14H500z"
    assert found["fake"] == f"M250 {2 * lane - 2}h250v-32H250z"
    assert found["fake ground"] == f"M250 {2 * lane - 2}h250v-{height}H250z"
    assert found["cut"] == f"M500 0v{2 * lane}"
    assert found["worst"] == f"M500 2H750M250 {lane + 2}H500"
    ends = [float(number) for number in re.findall(r"[ML](\d+)", found["unjudged"])]
    assert (min(ends), max(ends)) == (750, 1000)


def test_a_picture_of_a_video_has_no_text_no_style_and_no_address():
    svg = timeline.svg(two_people("<script>.mp4").to_dict())
    assert re.sub(r"<[^>]+>", "", svg) == ""
    assert "style" not in svg and "http" not in svg and "url(" not in svg and "script" not in svg


@pytest.mark.parametrize("verdict", [made("a.mp4"), made("a.jpg", [[window(0, 0.5, count=1)]], duration_s=0.0)])
def test_without_anybody_or_any_length_there_is_none(verdict):
    assert timeline.svg(verdict.to_dict()) == ""
    assert "<svg" in verdict_html.fragment(verdict) or not verdict.persons


def test_what_follows_the_first_frames_is_not_judged():
    values = made("a.mp4", [[window(0, 0.5)]]).to_dict()
    (rest,) = timeline.unjudged(values)
    assert (rest["start_s"], rest["end_s"]) == (5.0, 20.0) and "first frames" in rest["reason"]
    assert timeline.unjudged(made("a.mp4", [[window(0, 0.5)]], duration_s=5.2).to_dict()) == []
    assert timeline.unjudged(made("a.mp4").to_dict()) == []
    unknown = made("a.mp4", [[window(0, 0.5)]], duration_s=5)
    unknown = replace(unknown, facts=replace(unknown.facts, duration_s=float("nan")))
    assert timeline.length_s(unknown.to_dict()) == 5.0


@pytest.mark.parametrize(
    ("length", "texts"),
    [
        (0.9, ["0:00"]),
        (5.0, ["0:00", "0:01", "0:02", "0:03", "0:04", "0:05"]),
        (130.0, ["0:00", "0:30", "1:00", "1:30", "2:00"]),
        (7200.0, ["0:00", "20:00", "40:00", "1:00:00", "1:20:00", "1:40:00", "2:00:00"]),
    ],
)
def test_times_are_few_and_round(length, texts):
    assert [text for _, text in timeline.ticks(length)] == texts
    assert len(timeline.ticks(1e6)) <= 7


def test_every_face_has_one_place_in_the_timeline_and_one_button():
    html = verdict_html.fragment(two_people())
    buttons = re.findall(r'<input class="pick w\d+" type="radio" name="(\w+)" id="([\w-]+)"', html)
    assert len(buttons) == 16 and len({name for name, _ in buttons}) == 1
    targets = re.findall(r'<label for="([\w-]+)" class="t\d+"', html)
    assert sorted(targets) == sorted(id for _, id in buttons)
    assert html.count(" checked>") == 1
    assert re.search(r'aria-label="Person 2, frame \d, [\d.]+ s: 0.90" checked>', html)


def test_what_the_timeline_shows_stands_in_a_table_too():
    html = verdict_html.fragment(two_people())
    rows = [re.findall(r"<td>([^<]*)</td>", row) for row in re.findall(r"<tr><td>.*?</tr>", html)]
    assert rows == [
        ["Person 1", "0.0 s", "5.0 s", "0.10", "real"],
        ["Person 1", "5.0 s", "10.0 s", "0.20", "real"],
        ["Person 1", "10.0 s", "15.0 s", "0.40", "cannot tell (most suspicious)"],
        ["Person 2", "5.0 s", "10.0 s", "0.90", "fake (most suspicious)"],
        ["nobody", "15.0 s", "20.0 s", "", "not judged: the budget was spent"],
    ]
    assert f"{BORDERS[0]:.2f}, it says real" in html and f"{BORDERS[1]:.2f}, fake" in html


def test_a_stretch_across_two_windows_can_be_looked_at_as_well():
    verdict = two_people()
    first = verdict.persons[1]
    across = window(7.5, 0.95)
    verdict = replace(verdict, persons=(verdict.persons[0], replace(first, worst=across)))
    shown = verdict_html.stretches(verdict)
    assert [(s.person, s.start_s) for s in shown] == [(0, 0), (0, 5), (0, 10), (1, 5), (1, 7.5)]
    assert "Person 2, 7.5 to 12.5 s" in verdict_html.fragment(verdict)


def test_grad_cam_is_made_of_the_most_suspicious_stretches_of_everyone_first(monkeypatch):
    monkeypatch.setattr("dfutils.evaluation.saliency.gradcam_of_view", lambda *given: maps(len(given[1].frames)))
    monkeypatch.setattr(verdict_html, "EXPLAINED", 3)
    verdict = made("a.mp4", [[window(0, 0.8), window(5, 0.9)], [window(5, 0.1)], [window(0, 0.7), window(5, 0.6)]])
    found = verdict_html.heat(None, verdict)
    assert sorted(found) == [1, 2, 3]
    html = verdict_html.fragment(verdict, found)
    assert html.count("data:image/png") == 3 and html.count('class="heat"') == 3 * 4 * 2 + 3
    assert html.count("Grad-CAM was made for the most suspicious stretches only") == 2
    assert verdict_html.heat(None, made("a.mp4")) == {}
