"""Verdicts on whole videos: the most suspicious stretch of the most suspicious person, and what was left out."""

import json

import numpy as np
import pandas as pd
import pytest

from dfutils.core.errors import InputError
from dfutils.core.params import EvaluationSettings
from dfutils.faces.extraction import FaceClip, find_faces
from dfutils.faces.whole_video import Plan
from dfutils.serving import commands, judging, verdict_html, verdict_text, whole_videos
from dfutils.serving import verdict as serving_verdict
from tests.support.shots import FPS, card, portrait, shot, write

WHOLE = Plan(budget=1e6)
COLLINS, HOPPER = portrait("collins"), portrait("hopper")


@pytest.fixture
def by_brightness(monkeypatch):
    """Let brightness be what makes a face look fake: a dark one is real, one that is lit up is not."""

    def score(clip: FaceClip, detector: object) -> tuple[float, np.ndarray, dict[str, float]]:
        logits = (clip.frames.mean((1, 2, 3)) - 150) / 10
        return float(1 / (1 + np.exp(-logits.mean()))), 1 / (1 + np.exp(-logits)), {}

    monkeypatch.setattr(judging, "score", score)


def lit(frames: list[np.ndarray], start_s: float, end_s: float) -> list[np.ndarray]:
    """Return frames of which those of a stretch are brighter."""
    return [
        np.uint8(np.clip(frame * 0.5 + (130 if start_s <= k / FPS < end_s else 0), 0, 255))
        for k, frame in enumerate(frames)
    ]


@pytest.mark.parametrize("start", [7.5, 10.0, 3.0])
def test_a_stretch_across_two_windows_is_found_whole_with_its_start_and_end(detector, tmp_path, by_brightness, start):
    path = write(tmp_path / "a.mp4", lit(shot(COLLINS, 20), start, start + 5))
    verdict = serving_verdict.predict_video(path, detector, plan=WHOLE)
    alone = write(tmp_path / "b.mp4", lit(shot(COLLINS, 5), 0, 5))
    assert verdict.label == "fake" == serving_verdict.predict_video(alone, detector, plan=WHOLE).label
    assert verdict.worst.start_s == pytest.approx(start, abs=1.3) and verdict.worst.end_s == pytest.approx(
        start + 5, abs=1.3
    )
    values = verdict.to_dict()
    assert (values["start_s"], values["end_s"]) == (round(verdict.worst.start_s, 3), round(verdict.worst.end_s, 3))
    assert values["windows"] == len(values["persons"][0]["windows"]) == verdict.n_windows
    assert len(verdict.frame_scores) == len(verdict.strip) == 4


def test_the_verdict_is_that_of_the_most_suspicious_person(detector, tmp_path, by_brightness):
    bright = [np.uint8(np.clip(HOPPER * 0.5 + 130, 0, 255))]
    path = write(tmp_path / "a.mp4", lit(shot(COLLINS, 8), 99, 99), bright * 40)
    verdict = serving_verdict.predict_video(path, detector, plan=WHOLE)
    assert (len(verdict.persons), verdict.person) == (2, 1)
    assert verdict.probability_fake == verdict.persons[1].probability > 0.5 > verdict.persons[0].probability
    assert verdict.persons[1].seen[0][0] >= 7.9 and verdict.worst.end_s <= 12
    assert verdict.n_windows > 1
    told = serving_verdict.LARGEST_OF_MANY.format(count=verdict.n_windows)
    assert told in verdict.to_dict()["warnings"] and told in verdict_html.fragment(verdict)
    assert told in verdict_text.text(verdict.to_dict(), serving_verdict.warnings_of(detector))
    text = verdict_text.text(verdict.to_dict() | {"file": "a.mp4"}, verdict.warnings)
    first, header, one, two, looked, *left = text.splitlines()
    assert all("no face was found" in line for line in left)
    assert "looks FAKE" in first and header.split()[:3] == ["person", "seen", "face"]
    assert one.split()[1].startswith("0:00-") and two.split()[1].startswith("0:08-")
    assert (
        looked.strip()
        == f"{verdict.n_windows} windows were looked at. The verdict is that on the most suspicious person."
    )


def test_a_verdict_on_a_whole_video_follows_what_was_chosen_for_such(detector, tmp_path):
    path = write(tmp_path / "a.mp4", shot(COLLINS, 4))
    detector.config["whole"] = {"threshold": 0.97, "borders": [0.0, 0.98], "validation_reals": [0.1, 0.2, 1.0]}
    verdict = serving_verdict.predict_video(path, detector, plan=WHOLE)
    assert (verdict.threshold, verdict.borders, verdict.decision) == (0.97, (0.0, 0.98), "cannot tell")
    assert verdict.rank == (1, 3)
    first = serving_verdict.predict_video(path, detector, first=150)
    assert (first.threshold, first.rank) == (0.5, None)
    del detector.config["whole"]


def test_threshold_and_borders_of_whole_videos_are_chosen_by_their_most_suspicious_stretch(
    detector, tmp_path, by_brightness
):
    dark, bright = lit(shot(COLLINS, 10), 99, 99), lit(shot(COLLINS, 10), 0, 99)
    labels = {}
    for name, frames, label in (
        ("calm", dark, 0),
        ("flash", lit(shot(COLLINS, 10), 5, 10), 0),  # dark in its first frames: only the whole video is suspicious
        ("forged", lit(shot(COLLINS, 10), 5, 10), 1),
        ("all", bright, 1),
        ("nobody", card(10), 1),
    ):
        labels[write(tmp_path / f"{name}.mp4", frames)] = label
    scores = {path.stem: serving_verdict.predict_video(path, detector, plan=WHOLE).probability_fake for path in labels}
    found = whole_videos.choose(labels, detector, EvaluationSettings(threshold="recall", target_recall=1.0))
    assert found["videos"] == 4 and found["validation_reals"] == sorted(round(scores[n], 4) for n in ("calm", "flash"))
    assert scores["calm"] < found["threshold"] <= min(scores["forged"], scores["all"])
    with pytest.raises(InputError, match="nothing to choose a threshold by"):
        whole_videos.choose({tmp_path / "nobody.mp4": 1}, detector, EvaluationSettings())


def test_the_first_frames_are_one_person_with_one_window_whose_score_is_the_verdict(detector, tmp_path):
    path = write(tmp_path / "a.mp4", shot(COLLINS, 20), shot(HOPPER, 3))
    verdict = serving_verdict.predict_video(path, detector, first=150)
    clip = find_faces(path, detector.face_settings).clip
    (person,) = verdict.persons
    (window,) = person.windows
    assert window.probability == verdict.probability_fake == pytest.approx(judging.score(clip, detector)[0], abs=1e-6)
    np.testing.assert_array_equal(window.clip.frames, clip.frames)
    assert (verdict.shots, verdict.left_out, verdict.n_windows) == ((), (), 1)
    assert verdict.indices.max() < 150


def test_an_interrupt_keeps_what_was_judged(detector, folder, tmp_path, monkeypatch, capsys):
    path = write(tmp_path / "a.mp4", shot(COLLINS, 30))
    calls = []

    def interrupt(done: float) -> None:
        calls.append(done)
        if len(calls) == 2:
            raise KeyboardInterrupt

    verdict = serving_verdict.predict_video(path, detector, plan=WHOLE, on_progress=interrupt)
    assert verdict.stopped and verdict.status == "ok" and verdict.n_windows < 4
    assert calls == sorted(calls) and calls[-1] < 0.5
    assert [stretch.reason for stretch in verdict.left_out] == ["the search was stopped"]
    monkeypatch.setattr(serving_verdict, "predict_video", lambda *_: verdict)
    wishes = {"as_json": False, "csv": tmp_path / "t.csv", "explain": None}
    with pytest.raises(KeyboardInterrupt):
        commands.predict([str(path), str(path.parent / "a*")], str(folder), **wishes)
    assert "Not judged: 0:1" in capsys.readouterr().out
    row = pd.read_csv(tmp_path / "t.csv").iloc[0]
    assert (row["windows"], row["persons"]) == (verdict.n_windows, 1) and row["end_s"] > row["start_s"]


def test_an_interrupt_before_the_first_window_gives_no_verdict(detector, tmp_path):
    path = write(tmp_path / "a.mp4", card(12))

    def interrupt(done: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        serving_verdict.predict_video(path, detector, plan=WHOLE, on_progress=interrupt)


def test_the_options_say_how_much_is_looked_at(folder, tmp_path, capsys):
    path = write(tmp_path / "a.mp4", shot(COLLINS, 24))
    wishes = {"as_json": True, "csv": None, "explain": None}
    for more, windows in (({"first": 150}, 1), ({"every": 10.0}, 3), ({"budget": 1e6}, 5)):
        assert commands.predict([str(path)], str(folder), **wishes, **more)
        values = json.loads(capsys.readouterr().out)
        assert values["windows"] == windows, more
