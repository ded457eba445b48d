"""The detector that comes with the suite: there, small, honest about itself, and used where no other is named."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from dfutils import cli
from dfutils.core import detectors
from dfutils.core.files import read_json
from dfutils.serving import hub
from dfutils.serving import verdict as serving_verdict

MEASURED = serving_verdict.OF_A_DATASET.format(datasets="recent demonstrations, DFDC, FaceForensics++")


@pytest.fixture(scope="module")
def detector():
    return hub.load(detectors.SHIPPED)


def test_it_is_small_and_in_half_precision():
    path = detectors.SHIPPED / "model.safetensors"
    assert path.stat().st_size < 24 * 2**20
    with safe_open(path, "pt") as weights:
        kinds = {name: weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118 (no mapping)
        shapes = {name: weights.get_slice(name).get_shape() for name in kinds}
    assert {kind for name, kind in kinds.items() if len(shapes[name]) > 1} == {"F16"}
    assert "F16" not in {kind for name, kind in kinds.items() if len(shapes[name]) < 2}


def test_its_folder_says_what_it_is(detector):
    config = read_json(detectors.SHIPPED / "config.json")
    assert config["labels"] == ["real", "fake"]
    assert config["training"]["layouts"] == ["listed", "deepfake_faces", "ffpp"]
    assert list(detector.networks) == ["face", "native", "recent"]
    assert detector.face_settings.views == "face,native"
    assert [config["fusion"][name]["weight"] for name in detector.networks] == [0.5, 1, 1]
    assert 0 < config["threshold"] < 1
    card = (detectors.SHIPPED / "README.md").read_text(encoding="utf-8")
    for words in ("never proof", "What limits it", "non-commercial", "Figures", "95%", "Poisson", "blended", "accused"):
        assert words in card, words
    assert MEASURED in serving_verdict.warnings_of(detector)
    assert serving_verdict.OF_THE_SAMPLE not in serving_verdict.warnings_of(detector)
    assert serving_verdict.is_calibrated(detector)
    reals = detector.config["validation_reals"]
    assert len(reals) == 98 and min(reals) >= 0 and max(reals) <= 1
    assert sum(score >= config["threshold"] for score in reals) == 5
    lower, upper = config["borders"]
    assert lower < upper == config["threshold"]


def test_it_is_used_where_no_other_is_named(clips_dir, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["dfutils", "predict", str(clips_dir / "d0.mp4"), "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    assert not ended.value.code, said.err
    verdict = json.loads(said.out)
    assert verdict["status"] == "ok"
    assert verdict["model"]["name"] == "three"
    assert 0 <= verdict["probability_fake"] <= 1
    assert "of 98 real validation videos look" in verdict["sure"]
    assert MEASURED in said.err
    assert verdict["views"].keys() == {"face", "native", "recent"}


def test_the_readme_shows_what_it_says_of_a_real_video(detector, clips_dir):
    readme = Path(__file__).resolve().parents[2].joinpath("README.md").read_text(encoding="utf-8")
    verdict = serving_verdict.predict_video(clips_dir / "s18.mp4", detector)
    assert verdict.sure in " ".join(readme.split())


def test_real_videos_are_called_real(detector, clips_dir):
    """By their first frames, as validation videos were judged: its threshold was chosen for one window."""
    first = detector.face_settings.max_frames
    verdicts = [serving_verdict.predict_video(path, detector, first) for path in sorted(clips_dir.glob("*.mp4"))]
    assert len(verdicts) == 12
    assert all(verdict.status == "ok" for verdict in verdicts)
    assert sum(verdict.label == "fake" for verdict in verdicts) <= 1
    assert np.median([verdict.probability_fake for verdict in verdicts]) < detector.config["threshold"]
