"""Publishing and fetching, by the real client, against a hub on loopback."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from huggingface_hub import close_session, constants

from dfutils import cli
from dfutils.core import files
from dfutils.core.errors import InputError
from dfutils.detector.network import Detector
from dfutils.evaluation import metrics_json, robustness
from dfutils.serving import hub, model_card
from tests.support import hub_server
from tests.support.detectors import untrained
from tests.support.served import small_detector


def figure(value: float | None, low: float | None = None, high: float | None = None) -> dict:
    return {"value": value, "low": low, "high": high, "method": "bootstrap"}


METRICS = {
    "schema": 1,
    "experiment": "small",
    "verdict": "On 10 real and 12 fake test videos the detector's ROC AUC is 0.900.",
    "caveats": ["These fakes were made by this suite."],
    "threshold": {"value": 0.4321, "rule": "balanced", "validation_videos": 9},
    "no_face": "abstain",
    "test": {
        "counts": {"real": 10, "fake": 12, "coverage": {"videos": 22, "scored": 22}},
        "confusion": [[8, 2], [1, 11]],
        "video": {"roc_auc": figure(0.9, 0.8, 0.97), "balanced_accuracy": figure(0.86), "brier": figure(None)},
        "frame": {},
    },
    "baselines": {"container facts": {"roc_auc": figure(0.61, 0.5, 0.7)}},
    "eval": {"other": {"video": {"roc_auc": figure(0.55, 0.4, 0.7)}}},
    "audit": {"alarms": ["Two splits share a face."]},
    "fingerprints": {"data and splits": "abc", "detector": "def"},
    "made_by": {"dfutils": "0.1.0", "torch": "2", "platform": "secret-machine"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return small_detector(tmp_path_factory.mktemp("model") / "detector", parameters={"epochs": 3})


@pytest.fixture
def figures(folder, tmp_path) -> Path:
    files.write_json(figures_of(folder), tmp_path / "metrics.json")
    return tmp_path / "metrics.json"


def figures_of(folder: Path) -> dict:
    """Figures that are of the detector in a folder."""
    return {
        **METRICS,
        "fingerprints": {"data and splits": "abc", "detector": metrics_json.fingerprint(hub.load(folder))},
    }


@pytest.fixture(scope="module")
def server():
    with hub_server.running() as found:
        yield found


@pytest.fixture
def site(server):
    """An empty hub, whatever tests ran before."""
    server.files.clear()
    return server


@pytest.fixture
def connect(site, tmp_path, monkeypatch):
    """Return a call that points the real client at the hub, with a cache in a folder of the test.

    The client reads its settings when it is imported; they are set in place, as importing PyTorch in a process of its
    own takes seconds. `test_published_and_fetched_again` has one that reads them itself.
    """

    def point(home: str = "home", address: str = "") -> None:
        found = address or site.address
        monkeypatch.setattr(constants, "ENDPOINT", found)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{found}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / home))
        close_session()  # it keeps the proxies that it began with

    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    point()
    yield point
    close_session()


def command(capsys, monkeypatch, *words: str) -> tuple[int, str, str]:
    """Call the command in this process; return its exit status, and what it wrote to stdout and stderr."""
    monkeypatch.setattr(sys, "argv", ["dfutils", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    return ended.value.code or 0, said.out, said.err


NOWHERE = "http://127.0.0.1:9"
"""An address where nobody answers."""


def test_a_card_states_the_three_answers_with_intervals(folder, figures, tmp_path):
    worth = {name: figure(0.04, 0.01, 0.11) for name in ("reals_called_fake", "fakes_called_real", "answered", "right")}
    document = figures_of(folder)
    document["borders"] = {"lower": 0.25, "upper": 0.75, "validation": worth}
    document["test"] = {**document["test"], "answers": worth | {"right": figure(0.961, 0.9, 0.99)}}
    files.write_json(document, tmp_path / "metrics.json")
    card = (hub.prepare(folder, tmp_path / "metrics.json", tmp_path / "out", "a/b") / "README.md").read_text()
    assert "Its answers: *real* below 0.250, *cannot tell* from 0.250 up to 0.750, *fake* from there on." in card
    assert "Of the validation videos' reals 0.040 (0.010 – 0.110) are answered *fake*" in card
    assert "of which 0.961 (0.900 – 0.990) are right" in card


def sum_of(detector: Detector) -> float:
    return float(sum(weight.double().sum() for weight in detector.parameters()))


def test_a_dry_run_writes_the_folder_and_its_card(folder, figures, tmp_path):
    out = hub.prepare(folder, figures, tmp_path / "out", "someone/small")
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md", "config.json", "metrics.json", "model.safetensors",
    ]  # fmt: skip
    card = (out / "README.md").read_text(encoding="utf-8")
    _, header, text = card.split("---\n", 2)
    header = yaml.safe_load(header)
    assert header["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.9
    for words in (
        "never proof",
        "made by this suite",
        "Two splits share a face",
        "0.800 – 0.970",
        "| real | 8 | 2 |",
        "reaches a ROC AUC of 0.610",
        "On other, which it was not trained on",
        "undefined",
        "--model hf://someone/small",
        "0.432",
        "blur and noise was not measured",
        '"epochs": 3',
    ):
        assert words in text
    assert text.index("never proof") < text.index("## Figures")
    assert "secret-machine" not in text
    assert sum_of(hub.load(out)) == sum_of(hub.load(folder))


def test_half_precision_keeps_the_scores(folder, figures, tmp_path):
    whole = hub.prepare(folder, figures, tmp_path / "whole", "someone/small")
    half = hub.prepare(folder, figures, tmp_path / "half", "someone/small", half=True)
    sizes = [(out / "model.safetensors").stat().st_size for out in (whole, half)]
    assert sizes[1] < 0.52 * sizes[0]
    one, two = hub.load(whole), hub.load(half)
    frames = torch.randint(0, 256, (4, 3, 3, 64, 64), generator=torch.manual_seed(0), dtype=torch.uint8)
    with torch.inference_mode():
        scores = [torch.softmax(detector(detector.normalise(frames)), 1)[:, 1] for detector in (one, two)]
    assert torch.allclose(*scores, atol=1e-3)
    assert {tensor.dtype for tensor in two.state_dict().values()} <= {torch.float32, torch.int64}


def test_robustness_is_on_the_card_if_it_is_this_detectors(folder, tmp_path):
    rows = [("undisturbed", 0, 20, 0.0, 0.9, 0.8, 0.97, 0.0, 0.0, 0.0), ("noise", 4, 5, 0.75, *[np.nan] * 6)]
    names = "perturbation level scored lost roc_auc low high change change_low change_high"
    measured = robustness.document(pd.DataFrame(rows, columns=names.split()), hub.load(folder))
    files.write_json(measured, tmp_path / "robustness.json")
    files.write_json(METRICS, tmp_path / "metrics.json")
    with pytest.raises(InputError, match="are of two detectors"):
        hub.prepare(folder, tmp_path / "metrics.json", tmp_path / "out", "someone/small")
    files.write_json(figures_of(folder), tmp_path / "metrics.json")
    out = hub.prepare(folder, tmp_path / "metrics.json", tmp_path / "out", "someone/small")
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "not measured" not in card
    assert "20 test videos, disturbed" in card
    assert "| undisturbed | 0 | 0% | 0.900 (0.800 – 0.970) |  |" in card
    assert "| noise | 4 | 75% | undefined | undefined |" in card
    assert files.read_json(out / "robustness.json") == measured


def test_figures_of_another_calibration_are_not_published(figures, tmp_path):
    other = small_detector(tmp_path / "detector", parameters={"epochs": 3})
    hub.prepare(other, figures, tmp_path / "out", "someone/small")
    files.write_json({**files.read_json(other / "config.json"), "slope": 20.0}, other / "config.json")
    with pytest.raises(InputError, match="figures of another detector or calibration: run notebook 04 again"):
        hub.prepare(other, figures, tmp_path / "other", "someone/small")
    assert not (tmp_path / "other").exists()


def test_no_figures_no_publication(folder, tmp_path):
    with pytest.raises(InputError, match="not published without them"):
        hub.prepare(folder, tmp_path / "none.json", tmp_path / "out", "someone/small")
    with pytest.raises(InputError, match="no detector"):
        hub.prepare(tmp_path, tmp_path / "none.json", tmp_path / "out", "someone/small")
    assert not (tmp_path / "out").exists()


def test_published_and_fetched_again(site, connect, folder, figures, tmp_path, monkeypatch, capsys):
    words = ["publish", "--model", str(folder), "--metrics", str(figures), "--repo", "someone/small"]
    status, out, said = command(capsys, monkeypatch, *words, "--dry-run")
    assert status == 0, said
    assert "not yet" in out
    assert site.files == {}
    settings = {"HF_ENDPOINT": site.address, "HF_HOME": str(tmp_path / "user"), "HF_HUB_DISABLE_XET": "1"}
    environment = {**os.environ, **settings, "HF_HUB_DISABLE_TELEMETRY": "1"}
    process = [sys.executable, "-m", "dfutils", *words]
    done = subprocess.run(process, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "hf://someone/small" in done.stdout
    assert site.files["someone/small"]["config.json"] == (folder / "config.json").read_bytes()
    assert site.files["someone/small"]["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    connect("other")
    detector = hub.load("hf://someone/small")
    assert detector.config["face_size"] == 64
    assert sum_of(detector) == sum_of(hub.load(folder))
    asked = len(site.asked)
    connect("other", NOWHERE)  # no network: what was fetched will do
    assert hub.load("hf://someone/small").config["face_size"] == 64
    assert len(site.asked) == asked


def test_the_seeds_published_weights_load_by_name(site, connect, tmp_path):
    original = untrained(hidden_size=2048, seed=1)
    weights = {}
    names = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"]
    for key, tensor in original.state_dict().items():
        first, _, rest = key.partition(".")
        if first == "backbone":
            layer, _, inner = rest.partition(".")
            weights[f"model.{names.index(layer)}.{inner}"] = tensor
        elif first == "linear":
            weights[f"linear1.{rest}"] = tensor.flip(0)
        elif "bias" not in key:
            weights[key] = tensor
    (tmp_path / "repo").mkdir()
    torch.save(weights, tmp_path / "repo" / "model_weights.pt")
    site.add("maddy08/deepfake-video-detection", tmp_path / "repo")
    assert hub.load("hf://maddy08/deepfake-video-detection").config["face_size"] == 224


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("hf://nobody/nothing", "cannot be fetched"),
        ("hf://nothing", "write hf://owner/name"),
        ("hf://../../x", "write hf://owner/name"),
    ],
)
def test_what_cannot_be_fetched_is_said(connect, name, says):
    with pytest.raises(InputError, match=says):
        hub.load(name)


def test_a_repository_without_a_detector(site, connect):
    site.files["someone/text"] = {"README.md": b"text"}
    with pytest.raises(InputError, match="holds no detector"):
        hub.load("hf://someone/text")


def test_of_several_checkpoints_one_is_chosen_by_name_and_never_a_state_of_training(site, connect):
    weights = io.BytesIO()
    torch.save({"a": torch.ones(1)}, weights)
    names = ["epoch_1.pt", "epoch_2.pt", "optimizer.pt", "scheduler.pt", "rng_state_0.pth"]
    site.files["someone/several"] = dict.fromkeys(names, weights.getvalue())
    choice = "several files of weights (epoch_1.pt, epoch_2.pt): choose one, as in hf://someone/several/epoch_1.pt."
    with pytest.raises(InputError, match=re.escape(choice)):
        hub.load("hf://someone/several")
    site.files["someone/states"] = dict.fromkeys(names[2:], weights.getvalue())
    with pytest.raises(InputError, match="holds no detector"):
        hub.load("hf://someone/states")
    with pytest.raises(InputError, match=r"epoch_2\.pt \(as published weights"):  # fetched; of another architecture
        hub.load("hf://someone/several/epoch_2.pt")
    with pytest.raises(InputError, match="holds no detector"):
        hub.load("hf://someone/several/optimizer.pt")


def test_no_permission_and_no_network(site, connect, folder, figures, monkeypatch, capsys):
    words = ["publish", "--model", str(folder), "--metrics", str(figures), "--repo", "other/small"]
    site.forbidden = True
    status, _, said = command(capsys, monkeypatch, *words)
    site.forbidden = False
    assert status == 2, said
    assert "hf auth login" in said
    connect("home", NOWHERE)
    status, _, said = command(capsys, monkeypatch, *words)
    assert status == 2, said
    assert "cannot be reached" in said
    assert "Traceback" not in said


def test_the_card_warns_of_harmful_calibration_and_unequal_coverage_in_reports_of_any_version(
    folder, figures, tmp_path
):
    harm = {"before": {"ece": 0.046, "log_loss": 0.183}, "after": {"ece": 0.069, "log_loss": 0.269}}
    test = {**METRICS["test"], "counts": {"real": 10, "fake": 12, "coverage": {"real": 0.99, "fake": 0.945}}}
    for key, config in (("temperature", {"temperature": 0.43}), ("calibration", {"slope": 2.3, "offset": -0.1})):
        written = model_card.card(
            {**files.read_json(folder / "config.json"), "prior_fake": 0.5, **config},
            {**METRICS, key: harm, "test": test, "prior_fake": 0.5},
            "someone/small",
        )
        assert "calibration made scores worse as probabilities" in written
        assert "94.5% of the fake and 99.0% of the real test videos have a score" in written
        assert written.index("made scores worse") < written.index("## Figures")
        assert "as if 50% were fake" in written
    assert "calibrated for 50% fakes" in written
