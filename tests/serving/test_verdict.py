"""One video to one verdict: the score of the notebooks, or none, and always a reason."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dfutils.core.errors import InputError
from dfutils.core.params import Indexed, PreprocessSettings
from dfutils.detector import network
from dfutils.detector.network import Detector
from dfutils.evaluation import scoring
from dfutils.faces import batch, video
from dfutils.faces.extraction import VideoFaces, find_faces, is_cut_short
from dfutils.reporting import wording
from dfutils.serving import commands, hub, verdict_html
from dfutils.serving import verdict as serving_verdict
from dfutils.serving.decoder_process import pack, unpack
from tests.support.detectors import untrained
from tests.support.pages import loads
from tests.support.served import small_detector

NAMES = ["d0", "d18", "short_hamilton_clip"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return small_detector(tmp_path_factory.mktemp("model") / "detector")


@pytest.fixture(scope="module")
def detector(folder) -> Detector:
    return hub.load(folder)


@pytest.fixture(scope="module")
def blank(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("blank") / "blank.mp4"
    video.write(path, [np.full((96, 128, 3), 90, np.uint8)] * 12)
    return path


@pytest.fixture(scope="module")
def seen(clips_dir, detector) -> VideoFaces:
    return find_faces(clips_dir / "d18.mp4", detector.face_settings)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_the_score_is_that_of_the_notebooks(clips_dir, detector, blank, tmp_path, temperature):
    detector.config["temperature"] = temperature
    root = tmp_path / "videos"
    root.mkdir()
    for name in NAMES:
        (root / f"{name}.mp4").symlink_to(clips_dir / f"{name}.mp4")
    (root / "blank.mp4").symlink_to(blank)
    ids = ["blank", *NAMES]
    table = pd.DataFrame({"video_id": ids, "path": [f"{name}.mp4" for name in ids], "status": "", "reason": ""})
    dataset = Indexed("mine", root, tmp_path / "mine", table)
    how = PreprocessSettings(**detector.face_settings.model_dump(), workers=1)
    made = batch.preprocess(dataset, how, progress=False)
    usable = made.videos[made.videos["status"] == "ok"]
    videos, frames = scoring.score(detector, usable, tmp_path, progress=False)
    wanted = videos.set_index("video_id")["probability_fake"]
    assert set(wanted.index) == set(NAMES)
    for name in ids:
        verdict = serving_verdict.predict_video(root / f"{name}.mp4", detector)
        assert verdict.status == made.videos.set_index("video_id").loc[name, "status"]
        if name == "blank":
            assert verdict.probability_fake is None
            continue
        assert verdict.probability_fake == pytest.approx(wanted[name], abs=1e-6)
        own = frames[frames["video_id"] == name].sort_values("position")["probability_fake"]
        np.testing.assert_allclose(verdict.frame_scores, own, atol=1e-6)
        assert verdict.label == ("fake" if verdict.probability_fake >= 0.5 else "real")
    detector.config["temperature"] = 1.0


def test_where_faces_were_found_otherwise_in_training_they_are_found_so(detector):
    plain = detector.face_settings
    assert plain.face_size == 64
    assert (plain.frames_per_video, plain.max_frames, plain.faces) == (4, 150, "one")
    other = plain.model_copy(update={"min_face_px": 80, "faces": "cropped"})
    detector.config["preprocessing"] = other.model_dump()
    assert detector.face_settings == other
    del detector.config["preprocessing"]


@pytest.mark.parametrize(
    ("content", "says"), [(b"", "is empty"), (b"some text", "is not a video"), (None, "does not exist")]
)
def test_no_verdict_is_made_up(detector, tmp_path, content, says):
    path = tmp_path / "it.mp4"
    if content is not None:
        path.write_bytes(content)
    verdict = serving_verdict.predict_video(path, detector)
    assert (verdict.status, verdict.label, verdict.probability_fake) == ("unreadable", None, None)
    assert says in verdict.reason
    json.dumps(verdict.to_dict(), allow_nan=False)


def test_a_detector_of_the_sample_says_so_and_one_of_unknown_origin_too(detector, seen):
    verdict = serving_verdict.judge(seen, detector, "x.mp4")
    assert "knows nothing of real videos" in " ".join(verdict.warnings)
    assert serving_verdict.warnings_of(untrained(backbone="resnet18", hidden_size=8)) == [
        serving_verdict.OF_NOTHING_KNOWN
    ]


def test_the_name_of_the_weights_follows_them(detector):
    before = serving_verdict.version_of(detector)
    assert before == serving_verdict.version_of(detector)
    other = untrained(backbone="resnet18", hidden_size=8, seed=4)
    assert serving_verdict.version_of(other) != before
    with network.torch.no_grad():
        other.linear.bias += 1
    assert serving_verdict.version_of(other) not in (before, "")


@pytest.mark.parametrize(
    ("probability", "says"),
    [
        (0.5, "cannot tell"),
        (0.7, "leans to fake"),
        (0.85, "fairly sure of fake"),
        (0.99, "very sure of fake"),
        (0.3, "leans to real"),
        (0.01, "very sure of real"),
        (None, "No verdict"),
    ],
)
def test_how_sure_in_words(probability, says):
    assert says in wording.certainty(probability, 0.5, np.array([0.2, 0.9]))


def test_threshold_zero_and_one_divide_by_nothing():
    assert "very sure of fake" in wording.certainty(1.0, 1e-12, np.array([0.2]))
    assert "real" in wording.certainty(0.2, 1.0, np.array([0.2]))


def test_what_a_decoder_finds_survives_the_way(seen):
    back = unpack(pack(seen))
    for name in ("frames", "indices", "times", "boxes", "scores", "landmarks", "pose"):
        np.testing.assert_array_equal(getattr(back.clip, name), getattr(seen.clip, name))
    assert (back.facts, back.cut, back.clip.status) == (seen.facts, seen.cut, seen.clip.status)
    for broken in (b"", b"\x05\x00\x00\x00{}", pack(seen)[:-100], b"\xff" * 50):
        with pytest.raises(ValueError, match=r"."):
            unpack(broken)


def test_a_file_that_breaks_off_is_known(clips_dir, tmp_path):
    whole = (clips_dir / "d18.mp4").read_bytes()
    assert not is_cut_short(clips_dir / "d18.mp4")
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    assert is_cut_short(tmp_path / "cut.mp4")
    (tmp_path / "text.mp4").write_text("no video at all")
    assert not is_cut_short(tmp_path / "text.mp4")


def test_a_report_is_one_file_that_asks_for_nothing(detector, seen, tmp_path):
    verdict = serving_verdict.judge(seen, detector, "<script>alert(1)</script>.mp4")
    heat = np.random.default_rng(0).random((4, 64, 64)).astype(np.float32)
    verdict_html.write(verdict, tmp_path / "one.html", heat)
    text = (tmp_path / "one.html").read_text(encoding="utf-8")
    assert loads(tmp_path / "one.html") == []
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert text.count("data:image/png") == 8  # each map in the strip and large
    for words in ("knows nothing of real videos", "never proof", "Grad-CAM", "480 × 480"):
        assert words in text


def test_a_video_without_a_verdict_has_a_report_too(detector, blank, tmp_path):
    verdict_html.write(serving_verdict.predict_video(blank, detector), tmp_path / "one.html")
    text = (tmp_path / "one.html").read_text(encoding="utf-8")
    assert "No verdict: no face was found" in text
    assert "Score over time" not in text


def judged(videos: list[str], folder: Path, **wishes: object) -> bool:
    wishes = {"as_json": False, "csv": None, "explain": None, **wishes}
    return commands.predict(videos, str(folder), **wishes)


def test_the_command_writes_a_line_a_video_and_tells_whether_all_were_scored(
    clips_dir, folder, blank, tmp_path, capsys
):
    words = [str(clips_dir / "d18.mp4"), str(blank.parent)]
    assert not judged(words, folder, as_json=True, csv=tmp_path / "t.csv", explain=tmp_path / "reports")
    out, err = capsys.readouterr()
    first, second = (json.loads(line) for line in out.splitlines())
    assert (first["status"], second["status"]) == ("ok", "no_face")
    assert first["model"]["name"] == "small"
    assert "1 of 2 videos could not be judged" in err
    assert "knows nothing of real videos" in err
    table = pd.read_csv(tmp_path / "t.csv")
    assert table["probability_fake"].isna().tolist() == [False, True]
    assert sorted(path.name for path in (tmp_path / "reports").iterdir()) == ["blank.html", "d18.html"]
    assert judged([str(clips_dir / "d1[8].mp4")], folder)
    assert capsys.readouterr().out.startswith(("FAKE", "REAL"))


def test_words_that_name_no_video_are_said_before_anything_is_loaded(tmp_path, folder):
    for words in ([str(tmp_path)], [str(tmp_path / "*.mp4")], [str(tmp_path / "x.mp4")]):
        with pytest.raises(InputError, match="is no video"):
            judged(words, folder)
    with pytest.raises(InputError, match="is no detector"):
        judged([__file__], tmp_path)


def test_a_folder_is_searched_through_and_what_is_hidden_or_no_file_is_passed_over(tmp_path):
    names = ("b/c.MP4", "b.mp4", ".trash/d.mp4", "b/._c.mp4", "__MACOSX/b.mp4", "b/notes.txt")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.mp4").mkdir()
    assert serving_verdict.find_videos([str(tmp_path)]) == [tmp_path / "b" / "c.MP4", tmp_path / "b.mp4"]
