"""The house: rooms import one way, what lies below the detector loads no torch, and nothing grows past reading."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "dfutils"
ROOMS = ["core", "metrics", "faces", "forgery", "splits", "data", "detector", "evaluation", "reporting", "serving"]
ORDER = [*ROOMS, "pipeline", "cli"]
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))


def name_of(module: Path) -> str:
    return ".".join(module.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def imports(module: Path) -> Iterator[str]:
    """Yield the full names that a module imports from the package, at its head or inside a function."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").partition(".")[0] == "dfutils":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] == "dfutils")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative imports hide which room is meant"


def room_of(name: str) -> str:
    return name.split(".")[1]


def test_every_module_stands_in_a_room():
    loose = {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py", "__main__.py"}
    assert loose == {"pipeline.py", "cli.py"}
    assert {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"} == set(ROOMS)


@pytest.mark.parametrize("module", [path for path in MODULES if path.name != "__main__.py"], ids=name_of)
def test_imports_between_rooms_run_one_way(module):
    if name_of(module) == "dfutils":
        assert not list(imports(module))
        return
    here = ORDER.index(room_of(name_of(module)))
    back = [name for name in imports(module) if room_of(name) in ORDER and ORDER.index(room_of(name)) > here]
    assert not back, f"{name_of(module)} imports {back}, which stand in later rooms"


def test_modules_of_a_room_import_each_other_without_a_circle():
    modules = {name_of(module) for module in MODULES}
    arrows = {
        name_of(module): {
            name if name in modules else name.rpartition(".")[0]
            for name in imports(module)
            if room_of(name) == room_of(name_of(module))
        }
        for module in MODULES
        if name_of(module).count(".") == 2
    }
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"circle: {' → '.join([*above, name])}"
        if name not in done:
            for other in sorted(arrows.get(name, ())):
                visit(other, (*above, name))
            done.add(name)

    for name in arrows:
        visit(name, ())


def loaded_by(statement: str, names: set[str]) -> set[str]:
    """Return which of the packages a fresh process has loaded after a statement."""
    code = f"import sys; {statement}; print(*({names!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_nothing_below_the_detector_loads_torch():
    below = [
        name_of(module)
        for module in MODULES
        if name_of(module).count(".") == 2 and room_of(name_of(module)) in ROOMS[: ROOMS.index("detector")]
    ]
    assert len(below) > 20
    assert loaded_by(f"import {', '.join(below)}", {"torch", "torchvision", "lightning"}) == set()


def test_the_runner_loads_no_torch():
    assert loaded_by("import dfutils.pipeline", {"torch"}) == set()


def test_a_decoder_process_loads_neither_kaggle_nor_papermill_nor_torch():
    unwanted = {"kaggle", "kagglesdk", "papermill", "torch", "fastapi"}
    assert loaded_by("from dfutils.serving import decoder_pool; import dfutils.faces.extraction", unwanted) == set()


def test_rooms_load_nothing_until_a_name_is_asked_for():
    code = f"import sys, {', '.join(f'dfutils.{room}' for room in ROOMS)}\n"
    code += "print(*[name for name in sys.modules if name.startswith('dfutils.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {f"dfutils.{room}" for room in ROOMS}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_in_one_sentence_what_it_is_for_and_has_what_it_exposes(room):
    module = importlib.import_module(f"dfutils.{room}")
    assert module.__doc__.strip().count(".") == 1
    assert module.__all__
    assert all(hasattr(module, name) for name in module.__all__)


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_modules_and_functions_can_be_read_at_one_sitting(module):
    text = module.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno >= 60
    ]
    assert not long, f"functions of more than 60 lines: {', '.join(long)}"


def test_the_order_is_that_of_the_map():
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = [text.find(f"\n| `{room}` |") for room in ROOMS]
    assert min(rows) >= 0, "the table of rooms lacks one"
    assert all(first < second for first, second in pairwise(rows))
