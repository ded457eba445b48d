"""The notebooks as they are committed: without outputs, with the defaults of params/tiny.yaml, and readable."""

import ast
from pathlib import Path

import nbformat
import papermill
import pytest
import yaml

from dfutils.core import params
from dfutils.core.stages import STAGES

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = [ROOT / "notebooks" / f"{name}.ipynb" for name in STAGES.values()]
FILES = sorted((ROOT / "params").glob("*.yaml"))


def cells(notebook: Path, kind: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == kind]


def tags(cell: nbformat.NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def declared(notebook: Path) -> dict[str, object]:
    """Names and defaults of a notebook's parameters cell."""
    (cell,) = [cell for cell in cells(notebook, "code") if "parameters" in tags(cell)]
    return {
        line.target.id: ast.literal_eval(line.value)
        for line in ast.parse(cell.source).body
        if isinstance(line, ast.AnnAssign)
    }


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
    for word in ("**Reads**", "**Writes**", "**Takes**", "?*"):
        assert word in first
    for cell in cells(notebook, "code"):
        assert len(cell.source.splitlines()) <= 15 or "parameters" in tags(cell), cell.source
    assert 15 <= len(nbformat.read(notebook, as_version=4).cells) <= 50


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_cells_defaults_are_those_of_tiny(notebook):
    tiny = yaml.safe_load((ROOT / "params" / "tiny.yaml").read_text(encoding="utf-8"))
    tiny["experiment"] = "tiny"
    mine = declared(notebook)
    resolved = params.resolve({name: tiny[name] for name in mine})
    assert {name: getattr(resolved, name) for name in mine} == mine


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_uses_only_parameters_it_declares(notebook):
    known = {"places", "eval_places", "run_folder", "report_folder", "model_fields", "model_fields_set"}
    for cell in cells(notebook, "code"):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "p":
                assert node.attr in known | set(declared(notebook)), node.attr


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_parameter_file_names_all_that_its_notebooks_declare(path):
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    wanted = {name for notebook in NOTEBOOKS for name in papermill.inspect_notebook(str(notebook))} - {"experiment"}
    assert wanted - set(values) == set()
    params.load_params(path)
