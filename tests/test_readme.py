"""What the README and CONTRIBUTING.md promise: their commands exist, and their words are those of engineers.

Commands that need no more than finished runs are carried out by `test_end_to_end.py`.
"""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest

from dfutils import cli
from dfutils.core.experiments import runs
from dfutils.serving import service
from tests.support.readme import ROOT, blocks, commands, works_here

ALL = [*commands("README.md"), *commands("CONTRIBUTING.md")]
OF_DFUTILS = [command for command in ALL if command.startswith("dfutils") and not works_here(command)]
OTHERS = [command for command in ALL if not command.startswith("dfutils")]


@pytest.fixture
def called(tmp_path, monkeypatch):
    """Stand in a folder with the parameter files, and note in place of doing what takes minutes or a network."""
    from dfutils import pipeline
    from dfutils.detector import experiment
    from dfutils.evaluation import imported, score_files
    from dfutils.reporting import score_page
    from dfutils.serving import hub, web_page

    shutil.copytree(ROOT / "params", tmp_path / "params")
    for name in ("FILE", "talks", "my_copy"):
        shutil.copyfile(ROOT / "params" / "tiny.yaml", tmp_path / "params" / f"{name}.yaml")
    notes = []
    for owner, name in ((pipeline, "run"), (pipeline, "run_seeds"), (experiment, "train"), (web_page, "serve")):
        monkeypatch.setattr(owner, name, lambda *given, _name=name, **more: notes.append((_name, given, more)))
    monkeypatch.setattr(score_files, "read", lambda *given: given)
    monkeypatch.setattr(imported, "import_scores", lambda *given, **more: imported.Import([], []))
    monkeypatch.setattr(score_page, "judge", lambda found: notes.append(("judge", found, {})) or [Path("report")])
    monkeypatch.setattr(hub, "prepare", lambda *given: Path("published"))
    monkeypatch.setattr(hub, "publish", lambda folder, repo, private: notes.append(("publish", (repo,), {})))
    monkeypatch.chdir(tmp_path)
    return notes


def test_there_are_commands_of_every_kind():
    assert len(OF_DFUTILS) > 8 and len(OTHERS) > 8
    assert sum(map(works_here, ALL)) > 5


@pytest.mark.parametrize("command", dict.fromkeys(OF_DFUTILS))
def test_a_command_that_takes_minutes_or_a_network_is_understood(command, called, monkeypatch):
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code in (0, None)
    assert len(called) == 1


@pytest.mark.parametrize("command", dict.fromkeys(OTHERS))
def test_a_command_of_another_program_fits_the_checkout(command, called, monkeypatch):
    words = shlex.split(command)
    if words[0] == "make":
        done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert words[1] not in ("run", "predict") or ". .venv/bin/activate" in done.stdout
    elif words[0] == "torchrun":
        assert words[words.index("-m") + 1 :][:2] == ["dfutils", "train"]
        monkeypatch.setattr(sys, "argv", words[words.index("-m") + 1 :])
        with pytest.raises(SystemExit):
            cli.main()
        assert called[0][0] == "train"
    elif words[0] == "curl":
        routes = {route.path for route in service.create(service.Service("model"), []).routes}
        assert f"/{words[-1].rpartition('/')[2]}" in routes and "file=@clip.mp4" in words
    elif words[:2] == ["docker", "build"]:
        assert (ROOT / "Dockerfile").is_file() and words[-1] == "."
    elif words[:2] == ["hf", "auth"]:
        program = Path(sys.executable).with_name("hf")
        assert subprocess.run([program, *words[1:], "--help"], capture_output=True, check=False).returncode == 0
    elif words[0] == "conda":
        assert words[1:4] == ["env", "create", "-f"] or words[1:] == ["activate", "dfutils"]
        assert (ROOT / "environment.yml").is_file()
    elif words[0] == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        wanted = re.findall(r"\[(\w+)\]", words[-1])
        assert set(wanted) <= set(extras["optional-dependencies"])
    else:
        assert words in ([".", ".venv/bin/activate"],), f"nothing tests the command {command}"


def test_the_windows_block_names_what_is_there():
    (block,) = blocks("README.md", "bat")
    assert "requirements.lock" in block and "params\\sample.yaml" in block
    assert all(line.startswith((".venv\\Scripts\\", "py -3.12")) for line in block.splitlines())


def test_the_answer_shown_is_in_the_words_of_the_suite():
    (text,) = blocks("README.md", "text")
    said = " ".join(text.split())
    shown = ("this detector CANNOT TELL", "frames are below the threshold.", "real validation videos look as")
    assert all(words in said for words in shown)
    from dfutils.serving.verdict import OF_A_DATASET

    assert OF_A_DATASET.partition("{")[0] in said and OF_A_DATASET.rpartition("}")[2] in said


def test_links_lead_somewhere():
    for document in ("README.md", "CONTRIBUTING.md", "notebooks/glossary.md", "reports/README.md"):
        path = ROOT / document
        text = path.read_text(encoding="utf-8")
        anchors = {
            re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in re.findall(r"^#+ (.+)$", text, re.M)
        }
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if target.startswith("#"):
                assert target[1:] in anchors, f"{document}: {target}"
            elif "://" not in target:
                assert (path.parent / target.partition("#")[0]).exists(), f"{document}: {target}"


REPLACED = {
    "one row a video": "one row per video",
    "a row a video": "one row per video",
    "a mistake in the words": "invalid arguments",
    "takes up training": "resumes training",
    "encoded anew": "re-encoded",
    "encoded again": "re-encoded",
    "obeys it": "applies it",
    "speaks for fake": "raised the score",
    "speaks most for": "raised the score most",
    "from the threshold on": "at or above the threshold",
    "called fake from": "called fake at or above",
    "a video fake from": "a video fake at or above",
    "should cover each other": "the distributions should overlap",
    "on the spot": "on the fly",
    "Not asked for.": "Skipped: `ablation` is false.",
    "asked for: `--only": "not part of a usual run",
    "sits before this notebook": "in an interactive session",
    "seed one": "the project by name, or nothing",
    "seed two": "the project by name, or nothing",
    "seed project": "the project by name, or nothing",
    "that this suite follows": "the project by name, or nothing",
    "very sure of": "what was found",
    "fairly sure of": "what was found",
    "leans to": "what was found",
    "images a second": "images per second",
    "frames a second": "frames per second",
    "a line an epoch": "one line per epoch",
    "lines a video": "lines per video",
    "valid faces a video": "valid faces per video",
    "bits a pixel": "bits per pixel",
    "of anybody else's making": "made by others",
    "held against": "compared with",
    "hold a score against": "compare a score with",
    "takes the same way": "goes through the same steps",
}
"""Phrases that newcomers stumble over, and what to write in place of each."""


def texts() -> dict[str, str]:
    """Return what readers read, by file: documents, notebooks' texts and comments, and the texts of the package."""
    documents = ["README.md", "CONTRIBUTING.md", "reports/README.md", "notebooks/glossary.md"]
    found = {name: (ROOT / name).read_text(encoding="utf-8") for name in documents}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        found[path.name] = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
    for folder, pattern in (("dfutils/reporting", "**/*"), ("dfutils/serving", "**/*"), ("params", "*.yaml")):
        for path in sorted((ROOT / folder).glob(pattern)):
            if path.suffix in {".py", ".j2", ".html", ".yaml", ".md", ".js"}:
                found[str(path.relative_to(ROOT))] = path.read_text(encoding="utf-8")
    for name in ("dfutils/evaluation", "dfutils/splits", "dfutils/core/params.py", "dfutils/cli.py", "reports/example"):
        path = ROOT / name
        for part in [path] if path.is_file() else sorted(path.glob("*.*")):
            if part.suffix in {".py", ".md"}:
                found[str(part.relative_to(ROOT))] = part.read_text(encoding="utf-8")
    return found


def test_the_example_is_no_run_of_this_machine():
    assert (ROOT / "reports" / "example" / "figures.json").is_file()
    assert "example" not in {run.name for run in runs()}


def test_no_replaced_phrase_is_left():
    left = [
        f"{name}: {phrase!r} → {better}"
        for name, text in texts().items()
        for phrase, better in REPLACED.items()
        if phrase.lower() in re.sub(r"[\s\"#•]+", " ", text).lower()
    ]
    assert not left, "\n".join(left)
