"""The page of a folder of videos: what it lists, how large it is, and what stays when a run is broken off."""

import errno
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dfutils.core.errors import InputError
from dfutils.faces.windows import LeftOut
from dfutils.serving import commands, triage, verdict_html
from dfutils.serving import verdict as verdicts
from tests.support.pages import Loads
from tests.support.verdicts import made, two_people, window, written


def listed(folder: Path) -> list[tuple[str, str]]:
    """Answer and name of each video on the page, in its order."""
    return re.findall(r'<li data-answer="([^"]+)">.*?<a href="[^"]+">([^<]+)</a>', written(folder / "index.html"), re.S)


def add(folder: Path, *judged: verdicts.Verdict) -> None:
    with triage.opened(folder) as page:
        for verdict in judged:
            page.add(folder.parent / verdict.file, verdict, {})


def one(file: str, score: float) -> verdicts.Verdict:
    return made(file, [[window(0, score)]])


def test_videos_stand_by_suspicion_and_those_without_a_verdict_at_the_end(tmp_path):
    add(tmp_path / "d", one("a.mp4", 0.1), made("b.mp4", reason="Nobody & nothing."), two_people(), one("c.mp4", 0.5))
    names = [(answer, Path(name).name) for answer, name in listed(tmp_path / "d")]
    assert names == [("fake", "two.mp4"), ("cannot tell", "c.mp4"), ("real", "a.mp4"), ("none", "b.mp4")]
    text = written(tmp_path / "d" / "index.html")
    assert "4 videos: real or fake?" in text and "Nobody &amp; nothing." in text
    assert "fake: <b>1</b>" in text and "cannot tell: <b>1</b>" in text and "not judged: <b>1</b>" in text
    assert "0 of 5 real videos score as high" in text and "most suspicious 0:05 to 0:10" in text
    assert text.count("Made for a test.") == 1  # what holds for all stands once
    assert text.count("data:image/jpeg") == 3 and text.count('<svg class="lanes"') == 3
    for link in re.findall(r'<a href="([^"]+)"', text):
        assert written(tmp_path / "d" / link).startswith("<!DOCTYPE html>")
    reader = Loads()
    reader.feed(text)
    assert reader.found == ["script"] and "http" not in text


def test_five_hundred_videos_are_one_page_under_20_mib(tmp_path):
    """Two minutes of two people each, with faces of noise, which no picture format makes small."""
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    scores = np.random.default_rng(1).random((500, 48)).tolist()
    rows = []
    for k, row in enumerate(scores):
        lanes = [[window(5.0 * w, row[24 * p + w], size=8) for w in range(24)] for p in (0, 1)]
        verdict = made(f"{'long name ' * 5}{k}.mp4", lanes, duration_s=125, left_out=[LeftOut(120.0, 125.0, "x")])
        face = triage._thumbnail(replace(verdict, strip=np.roll(noise, k)[None], frame_scores=np.ones(1)))
        rows.append({"key": str(k), "report": f"{k}.html", "thumbnail": face, "verdict": verdict.to_dict()})
    rows = json.loads(json.dumps(rows))
    text = triage.page(rows)
    assert text.count("<li data-answer") == 500
    assert 2 * 2**20 < len(text.encode()) < 20 * 2**20


def test_a_second_run_adds_to_the_page_and_replaces_what_is_judged_again(tmp_path):
    add(tmp_path / "d", one("a.mp4", 0.9), one("b.mp4", 0.8))
    add(tmp_path / "d", one("b.mp4", 0.1), one("sub/a.mp4", 0.5))
    found = [(answer, Path(name).name, Path(name).parent.name) for answer, name in listed(tmp_path / "d")]
    assert [row[:2] for row in found] == [("fake", "a.mp4"), ("cannot tell", "a.mp4"), ("real", "b.mp4")]
    reports = sorted(path.name for path in (tmp_path / "d" / "reports").iterdir())
    assert len(reports) == 3 and {"a.html", "b.html"} < set(reports)  # the other a.mp4 has a name of its own
    assert "0.10" in written(tmp_path / "d" / "reports" / "b.html")


def test_a_run_that_is_broken_off_leaves_a_page_of_what_was_judged(tmp_path):
    with pytest.raises(KeyboardInterrupt), triage.opened(tmp_path / "d") as page:
        page.add(tmp_path / "a.mp4", one("a.mp4", 0.9), {})
        page.add(tmp_path / "b.mp4", one("b.mp4", 0.1), {})
        assert len(listed(tmp_path / "d")) == 1  # the page is written now and then
        raise KeyboardInterrupt
    assert len(listed(tmp_path / "d")) == 2
    log = tmp_path / "d" / "verdicts.jsonl"
    log.write_bytes(log.read_bytes()[:-40])  # as if it had been killed while writing
    add(tmp_path / "d", one("c.mp4", 0.5))
    assert [Path(name).name for _, name in listed(tmp_path / "d")] == ["a.mp4", "c.mp4"]
    add(tmp_path / "d", one("d.mp4", 0.4))
    assert len(listed(tmp_path / "d")) == 3


def test_names_are_shown_and_never_run(tmp_path):
    name = "<img src=x onerror=alert(1)> {{x}} 50%#1?.mp4"
    add(tmp_path / "d", one(name, 0.5))
    text = written(tmp_path / "d" / "index.html")
    assert "<img src=x" not in text and "&lt;img src=x onerror=alert(1)&gt; {{x}} 50%#1?.mp4" in text
    (link,) = re.findall(r'<a href="([^"]+)"', text)
    assert (tmp_path / "d" / link).is_file()


def test_scores_of_several_detectors_are_said_not_to_compare(tmp_path):
    add(tmp_path / "d", one("a.mp4", 0.5), replace(one("b.mp4", 0.5), version="1" * 16))
    assert "Scores of different detectors cannot be compared" in written(tmp_path / "d" / "index.html")


def test_a_folder_that_cannot_be_one_is_told_in_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("mine")
    for name, says in (
        ("file", "a file is in the way"),
        ("file/below", "a file is in the way"),
        ("site", "no page of"),
    ):
        with pytest.raises(InputError, match=says), triage.opened(tmp_path / name):
            pytest.fail("it was opened")
    assert (tmp_path / "site" / "index.html").read_text() == "mine"
    with (
        triage.opened(tmp_path / "d"),
        pytest.raises(InputError, match="Another run is writing into"),
        triage.opened(tmp_path / "d"),
    ):
        pytest.fail("it was opened twice")


def test_a_full_disk_keeps_what_was_judged(tmp_path, monkeypatch):
    add(tmp_path / "d", one("a.mp4", 0.9))
    before = written(tmp_path / "d" / "index.html")

    def full(*_given: object, **_more: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(InputError, match=r"disk is full|No space left"):
        patched.setattr(Path, "write_text", full)
        add(tmp_path / "d", one("b.mp4", 0.1))
    assert written(tmp_path / "d" / "index.html") == before
    add(tmp_path / "d", one("c.mp4", 0.1))
    assert [Path(name).name for _, name in listed(tmp_path / "d")] == ["a.mp4", "c.mp4"]


def test_the_command_lists_the_three_videos_among_ten_thousand_files(folder, blank, tmp_path, monkeypatch, capsys):
    for k in range(100):
        (tmp_path / "many" / str(k)).mkdir(parents=True)
        for j in range(100):
            (tmp_path / "many" / str(k) / f"{j}.txt").write_text("x")
    for k in (3, 50, 99):
        shutil.copy(blank, tmp_path / "many" / str(k) / "clip.mp4")
    wishes = {"as_json": False, "csv": None, "explain": None, "report": tmp_path / "d"}
    assert not commands.predict([str(tmp_path / "many")], str(folder), **wishes)
    assert len(listed(tmp_path / "d")) == 3 and {answer for answer, _ in listed(tmp_path / "d")} == {"none"}
    assert len(set((tmp_path / "d" / "reports").iterdir())) == 3
    assert verdict_html.HEADLINES["no_face"].removeprefix("No verdict: ") in written(tmp_path / "d" / "index.html")
    monkeypatch.setattr(verdicts, "predict_video", lambda *_, **__: pytest.fail("a video was judged"))
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="a file is in the way"):
        commands.predict([str(blank)], str(folder), **{**wishes, "report": tmp_path / "file"})
