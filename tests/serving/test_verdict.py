"""One video to one verdict: the score of the notebooks, or none, and always a reason."""

import json

import cv2
import numpy as np
import pandas as pd
import pytest
import skimage.data
from PIL import Image

from dfutils.core.params import Indexed, PreprocessSettings
from dfutils.detector import network
from dfutils.evaluation import scoring
from dfutils.faces import batch, video
from dfutils.faces.extraction import extract, find_faces
from dfutils.serving import commands, hub, service, verdict_html
from dfutils.serving import verdict as serving_verdict
from tests.support.detectors import untrained

NAMES = ["d0", "d18", "short_hamilton_clip"]


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (0.4, -0.7)])
def test_the_score_is_that_of_the_notebooks(clips_dir, detector, blank, tmp_path, slope, offset):
    detector.config |= {"slope": slope, "offset": offset}
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
        verdict = serving_verdict.predict_video(root / f"{name}.mp4", detector, first=150)
        assert verdict.status == made.videos.set_index("video_id").loc[name, "status"]
        if name == "blank":
            assert verdict.probability_fake is None
            continue
        assert verdict.probability_fake == pytest.approx(wanted[name], abs=1e-6)
        own = frames[frames["video_id"] == name].sort_values("position")["probability_fake"]
        np.testing.assert_allclose(verdict.frame_scores, own, atol=1e-6)
        assert verdict.label == ("fake" if verdict.probability_fake >= 0.5 else "real")
    detector.config |= {"slope": 1.0, "offset": 0.0}


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


def test_a_verdict_never_stands_on_a_bare_number(detector, seen):
    detector.config |= {"validation_reals": [0.0, 0.0, 1.0], "measured_on": ["a", "b"]}
    training = detector.config["training"]
    for layouts, limit in (
        (["sample"], "never measured"),
        (["stills"], "never measured"),
        (["folder"], "of a, b and on no"),
    ):
        detector.config["training"] = {**training, "layouts": layouts}
        verdict = serving_verdict.judge(seen, detector, "x.mp4")
        values = verdict.to_dict()
        assert "frames are" in values["sure"] and "1 of 3 real validation videos look as suspicious" in values["sure"]
        assert any(limit in warning for warning in values["warnings"])
        for html in (verdict_html.fragment(verdict), verdict_html.page(verdict)):
            assert values["sure"] in html and limit in html
    detector.config["training"] = training
    del detector.config["validation_reals"], detector.config["measured_on"]


@pytest.mark.parametrize(
    ("borders", "decision", "words"),
    [
        ((-0.2, -0.1), "fake", "Looks fake to this detector"),
        ((0.1, 0.2), "real", "Looks real to this detector"),
        ((-0.1, 0.1), "cannot tell", "This detector cannot tell whether it is real or fake"),
        (None, None, None),
    ],
)
def test_the_answer_is_the_same_everywhere(folder, clips_dir, tmp_path, capsys, borders, decision, words):
    """In JSON, text, table, page, report and the service's answer."""
    detector = hub.load(folder)
    path = clips_dir / "d18.mp4"
    score = serving_verdict.predict_video(path, detector).probability_fake
    more = {"borders": [score + border for border in borders]} if borders else {}
    reals = [0.0, 0.0, 1.0]
    detector.save(
        tmp_path / "d", threshold=score + (sum(borders) / 2 if borders else 0), validation_reals=reals, **more
    )
    detector = hub.load(tmp_path / "d")
    verdict = serving_verdict.predict_video(path, detector)
    if not borders:  # an older detector has two answers
        decision, words = verdict.label, "Looks fake to this detector"
    values = verdict.to_dict()
    assert (values["decision"], values["rank"]) == (decision, {"as_high": 1, "of": 3})
    assert "1 of 3 real validation videos" in values["sure"]
    assert (values["prediction"] == "FAKE") == (score >= values["threshold"])
    assert service.Answer(**service.answer(verdict)).decision == decision
    for html in (verdict_html.fragment(verdict), verdict_html.page(verdict)):
        assert f">{words}</h2>" in html
        assert ("cannot tell: there lie" in html) == bool(borders)
    wishes = {"as_json": False, "csv": tmp_path / "t.csv", "explain": None}
    commands.predict([str(path)], str(tmp_path / "d"), **wishes)
    assert f": {words[0].lower()}{words[1:]}. ".lower() in capsys.readouterr().out.lower()
    row = pd.read_csv(tmp_path / "t.csv").iloc[0]
    assert (row["decision"], row["rank"]) == (decision, "1 of 3")


def test_a_verdict_states_the_share_of_fakes_that_its_probability_is_for(detector, seen):
    unstated = serving_verdict.judge(seen, detector, "x.mp4")
    assert unstated.to_dict()["prior_fake"] is None and not unstated.calibrated
    detector.config |= {"slope": 0.5, "offset": 0.1, "prior_fake": 0.1}
    stated = serving_verdict.judge(seen, detector, "x.mp4")
    detector.config |= {"slope": 1.0, "offset": 0.0, "prior_fake": None}
    assert stated.to_dict()["prior_fake"] == 0.1 and stated.calibrated
    assert "where 10.0% of all videos are; where fakes are rarer, fewer" in verdict_html.fragment(stated)
    assert "rarer" not in verdict_html.fragment(unstated)


def test_the_name_of_the_weights_follows_them(detector):
    before = serving_verdict.version_of(detector)
    assert before == serving_verdict.version_of(detector)
    other = untrained(backbone="resnet18", hidden_size=8, seed=4)
    assert serving_verdict.version_of(other) != before
    with network.torch.no_grad():
        other.linear.bias += 1
    assert serving_verdict.version_of(other) not in (before, "")


def test_a_folder_is_searched_through_and_what_is_hidden_or_no_file_is_passed_over(tmp_path):
    names = ("b/c.MP4", "b.mp4", ".trash/d.mp4", "b/._c.mp4", "__MACOSX/b.mp4", "b/notes.txt")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.mp4").mkdir()
    assert commands.find_videos([str(tmp_path)]) == [tmp_path / "b" / "c.MP4", tmp_path / "b.mp4"]


def test_pictures_are_found_in_folders_and_three_videos_among_thousands_of_files(tmp_path):
    for k in range(10_000):
        (tmp_path / f"{k}.log").write_text("x")
    for name in ("7.mp4", "8.mov", "9.webm", "a.JPG"):
        (tmp_path / name).touch()
    found = commands.find_videos([str(tmp_path)])
    assert [path.name for path in found] == ["7.mp4", "8.mov", "9.webm", "a.JPG"]


@pytest.mark.parametrize("count", [1, 3])
def test_a_clip_of_fewer_frames_is_judged_whole_and_by_its_first_frames_alike(clips_dir, detector, tmp_path, count):
    video.write(tmp_path / "short.mp4", [frame for *_, frame in video.frames(clips_dir / "d18.mp4", count)])
    whole, first = (serving_verdict.predict_video(tmp_path / "short.mp4", detector, first=k) for k in (None, 150))
    for verdict in (whole, first):
        assert (verdict.status, len(verdict.strip)) == ("ok", count)
        assert any("found, where the detector was trained on 4" in warning for warning in verdict.warnings)
    assert whole.probability_fake == pytest.approx(first.probability_fake, abs=0.02)


def test_a_photograph_is_judged_by_its_one_face_and_the_verdict_says_what_that_costs(detector, tmp_path):
    path = tmp_path / "me.jpg"
    Image.fromarray(skimage.data.astronaut()).save(path, quality=95)
    verdict = serving_verdict.predict_video(path, detector)
    assert (verdict.status, verdict.reason, len(verdict.frame_scores)) == ("ok", "", 1)
    assert verdict.label in ("real", "fake")
    expected = network.logits(detector, network.clip_tensor(detector, verdict.strip))[0]
    assert verdict.probability_fake == pytest.approx(float(detector.scaling.probability(expected)[0]), abs=1e-6)
    assert "Only one face was found, where the detector was trained on 4" in verdict.warnings[-1]
    assert "were not measured" in verdict.warnings[-1]
    shares = {"reals": 20, "fakes": 30, "misses": {"value": 0.3}}
    detector.config["frames_error_rates"] = [
        {"frames": 1, "false_alarms": {"value": 0.2}, **shares}, {"frames": 4, "false_alarms": {"value": 0.1}, **shares}
    ]  # fmt: skip
    verdict = serving_verdict.predict_video(path, detector)
    del detector.config["frames_error_rates"]
    told = "With 1 frame it called 20% of 20 real validation videos fake and 30% of 30 fakes real; with 4, 10% and 30%."
    assert verdict.warnings[-1].endswith(told)
    page = verdict_html.page(verdict)
    assert told in page and "1 looked at" in page and "nan" not in page
    values = json.loads(json.dumps(verdict.to_dict(), allow_nan=False))
    assert (values["video"]["n_frames"], values["video"]["fps"]) == (1, None)


def test_a_second_much_smaller_person_is_told_and_changes_no_strip(clips_dir, detector, tmp_path):
    large = [frame for *_, frame in video.frames(clips_dir / "d18.mp4", 40)]
    small = [
        cv2.resize(frame, (100, 100), interpolation=cv2.INTER_AREA)
        for *_, frame in video.frames(clips_dir / "d0.mp4", 40)
    ]  # a face of 47 pixels
    together, alone = [], []
    for one, other in zip(large, small, strict=True):
        frame = np.full((600, 900, 3), 90, np.uint8)
        frame[60:540, 40:520] = one
        alone.append(frame.copy())
        frame[300:400, 640:740] = other
        together.append(frame)
    for name, frames in (("one.mp4", alone), ("two.mp4", together)):
        video.write(tmp_path / name, frames)
    faces = find_faces(tmp_path / "two.mp4", detector.face_settings)
    strip = extract(tmp_path / "two.mp4", detector.face_settings)[0]
    np.testing.assert_array_equal(faces.clip.frames, strip.frames)
    assert (strip.people, faces.clip.people) == (1, 2)
    told = "2 people were seen; the larger or longer seen was judged."
    assert told in serving_verdict.judge(faces, detector, "two.mp4").warnings
    assert told in verdict_html.fragment(serving_verdict.judge(faces, detector, "two.mp4"))
    assert serving_verdict.predict_video(tmp_path / "one.mp4", detector).people == 1


def test_a_video_that_goes_on_where_nothing_was_seen_says_so(detector, tmp_path):
    video.write(tmp_path / "long.mp4", [np.full((96, 128, 3), 90, np.uint8)] * 250, fps=25)
    verdict = serving_verdict.predict_video(tmp_path / "long.mp4", detector, first=150)
    told = "No face was seen in the first 6 s: the video goes on for 4 s more, which are not looked at."
    assert (verdict.status, verdict.warnings[-1]) == ("no_face", told)
    video.write(tmp_path / "short.mp4", [np.full((96, 128, 3), 90, np.uint8)] * 150, fps=25)
    assert told not in serving_verdict.predict_video(tmp_path / "short.mp4", detector, first=150).warnings
    whole = serving_verdict.predict_video(tmp_path / "long.mp4", detector)
    assert whole.reason == "no valid face was found in the 250 frames read." and told not in whole.warnings
