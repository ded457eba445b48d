"""The verdict as one HTML file."""

import numpy as np

from dfutils.serving import verdict as serving_verdict
from dfutils.serving import verdict_html
from tests.support.pages import loads


def test_a_report_is_one_file_that_asks_for_nothing(detector, seen, tmp_path):
    verdict = serving_verdict.judge(seen, detector, "<script>alert(1)</script>.mp4")
    heat = np.random.default_rng(0).random((4, 64, 64)).astype(np.float32)
    verdict_html.write(verdict, tmp_path / "one.html", {0: heat})
    text = (tmp_path / "one.html").read_text(encoding="utf-8")
    assert loads(tmp_path / "one.html") == []
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert text.count("data:image/png") == 1  # one picture of four maps, which each place shows a part of
    assert text.count('class="heat"') == 9  # each map in the strip and large, and one at the head of the lane
    assert text.count("data:image/jpeg") == 1
    for words in ("knows nothing of real videos", "never proof", "Grad-CAM", "480 × 480"):
        assert words in text


def test_a_video_without_a_verdict_has_a_report_too(detector, blank, tmp_path):
    verdict_html.write(serving_verdict.predict_video(blank, detector), tmp_path / "one.html")
    text = (tmp_path / "one.html").read_text(encoding="utf-8")
    assert "No verdict: no face was found" in text
    assert "Score over time" not in text
