"""The notebooks as they are committed: without outputs, with the parameters of params/tiny.yaml, and readable."""

import ast
import importlib
import re
from pathlib import Path

import nbformat
import pytest

from dfutils.core import params
from dfutils.core.experiments import from_notebook
from dfutils.core.parameter_files import load_params, read
from dfutils.core.stages import OWN, STAGES
from dfutils.reporting.html import write_glossary, write_page

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = [ROOT / "notebooks" / f"{name}.ipynb" for name in STAGES.values()]
ROOMS = {f"dfutils.{path.parent.name}" for path in (ROOT / "dfutils").glob("*/__init__.py")}
FILES = sorted((ROOT / "params").glob("*.yaml"))


def cells(notebook: Path, kind: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == kind]


def tags(cell: nbformat.NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def parameters_cell(notebook: Path) -> str:
    (cell,) = [cell for cell in cells(notebook, "code") if "parameters" in tags(cell)]
    return cell.source


def stage_of(notebook: Path) -> str:
    return next(stage for stage, name in STAGES.items() if name == notebook.stem)


def test_there_is_a_notebook_a_stage_and_no_other():
    assert sorted((ROOT / "notebooks").glob("*.ipynb")) == sorted(NOTEBOOKS)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_only_compared_cells_keep_outputs(notebook):
    for cell in cells(notebook, "code"):
        if "keep_output" in tags(cell):
            assert cell.outputs, "a kept output is missing: it is what nbval compares with"
            assert cell.execution_count is not None
            assert "nbval-check-output" in tags(cell)
        else:
            assert not cell.outputs
    assert "widgets" not in nbformat.read(notebook, as_version=4).metadata


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_reads_like_a_paper(notebook):
    first = cells(notebook, "markdown")[0].source
    assert first.startswith("# 0")
    for word in ("**Shows**", "**Reads**", "**Writes**", "**Takes**", "on two cores", "**Read before**", "?*"):
        assert word in first
    for cell in cells(notebook, "code"):
        assert len(cell.source.splitlines()) <= 15 or "parameters" in tags(cell), cell.source
    assert 20 <= len(nbformat.read(notebook, as_version=4).cells) <= 55  # the lessons by hand among them
    last = nbformat.read(notebook, as_version=4).cells[-1]
    learnt, _, changes = last.source.partition("## Try this\n")
    assert learnt.startswith("## What we learnt\n") and len(learnt) > 150
    assert re.findall(r"^(\d)\. ", changes, flags=re.MULTILINE) == ["1", "2", "3"]


def test_terms_are_explained_with_a_reference():
    text = (ROOT / "notebooks" / "glossary.md").read_text(encoding="utf-8")
    known = re.findall(r'<a id="([^"]+)"></a>\*\*', text)
    assert len(known) == len(set(known)) > 30
    linked = {
        name
        for notebook in NOTEBOOKS
        for cell in cells(notebook, "markdown")
        for name in re.findall(r"\(glossary\.md#([^)]+)\)", cell.source)
    }
    assert linked <= set(known) and len(linked) > 15
    assert len(re.findall(r"(?:19|20)\d\d\b", text)) > 20


def test_the_glossary_goes_with_the_pages(tmp_path):
    """Its terms can be reached from a page without the checkout beside it."""
    write_glossary(tmp_path / "glossary.html", [{"title": "Summary", "href": "index.html"}])
    page = (tmp_path / "glossary.html").read_text(encoding="utf-8")
    assert 'id="roc-auc"' in page and 'href="index.html"' in page and "<script" not in page
    write_page(NOTEBOOKS[3], tmp_path / "04.html", [])
    text = (tmp_path / "04.html").read_text(encoding="utf-8")
    assert 'href="glossary.html#roc-auc"' in text and "glossary.md" not in text


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_parameters_cell_names_a_file_and_at_most_ten_parameters_of_its_stage(notebook):
    file, experiment, *others = parameters_cell(notebook).splitlines()
    assert file.startswith('params_file = "params/tiny.yaml"  # ')
    assert experiment.startswith("experiment = None  # ")
    assert 1 <= len(others) <= 10
    for line in (file, experiment, *others):
        assert len(line) <= 120
    for line in (experiment, *others):
        name, meaning = re.fullmatch(r"(\w+) = None  # (.+); None: from the file", line).groups()
        assert name in OWN[stage_of(notebook)] | {"experiment"} and meaning


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_without_a_change_a_notebook_has_the_parameters_of_tiny(notebook, tmp_path, monkeypatch):
    monkeypatch.setattr(params, "ROOT", tmp_path)
    namespace = {"In": ["", parameters_cell(notebook)]}
    assert from_notebook(namespace, stage_of(notebook)) == load_params(ROOT / "params" / "tiny.yaml")


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_uses_only_parameters_of_its_stage(notebook):
    known = {"experiment", "places", "eval_places", "run_folder", "report_folder", "face_settings"}
    for cell in cells(notebook, "code"):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "p":
                assert node.attr in known | OWN[stage_of(notebook)], node.attr


def names_of_rooms(notebook: Path) -> set[str]:
    """Return what a notebook uses of the package: the names it imports, and every attribute of such a name."""
    first, *others = [ast.parse(cell.source) for cell in cells(notebook, "code")]
    imports = [node for node in ast.walk(first) if isinstance(node, ast.ImportFrom) and node.module]
    rooms = [node for node in imports if node.module.partition(".")[0] == "dfutils"]
    for node in rooms:
        assert node.module in ROOMS, f"{node.module} is no room"
    for tree in (first, *others):
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert not any(alias.name.partition(".")[0] == "dfutils" for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node not in rooms:
                assert (node.module or "").partition(".")[0] != "dfutils", "imported after the first code cell"
    aliases = {alias.asname or alias.name: f"{node.module}.{alias.name}" for node in rooms for alias in node.names}
    for name in aliases.values():
        room, _, attribute = name.rpartition(".")
        assert attribute in importlib.import_module(room).__all__, f"{name} is not what its room exposes"
    used = {
        f"{aliases[node.value.id]}.{node.attr}"
        for tree in (first, *others)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases
    }
    return used | set(aliases.values())


def test_notebooks_use_at_most_forty_names_that_the_rooms_expose():
    used = set().union(*map(names_of_rooms, NOTEBOOKS))
    assert len(used) <= 40, "\n".join(sorted(used))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_notebook_defines_a_function_and_every_one_opens_with_a_caution(notebook):
    sources = [cell.source for cell in cells(notebook, "code")]
    assert sources[2].splitlines()[:2] == [
        f'p = from_notebook(globals(), "{stage_of(notebook)}")',
        "print(headline(p))",
    ]
    assert not any(isinstance(node, ast.FunctionDef) for text in sources for node in ast.walk(ast.parse(text)))
    assert sources[2].splitlines()[-1] == "caution(p)", "the first cell after the parameters checks them"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_parameter_file_sets_params_file_to_itself(path):
    """So that `papermill -f` works on any single notebook."""
    named = read(path)["params_file"]
    assert ROOT / named == path
    assert load_params(path).params_file == named
