"""Parameters out of a YAML file or a running notebook, and a listing of them for the terminal."""

import difflib
import json
import os
import re
import textwrap
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic.fields import FieldInfo

from dfutils.core.errors import InputError
from dfutils.core.files import decode
from dfutils.core.params import GROUPS, Params

_COLUMNS = {"name": 22, "value": 18, "range": 18, "from": 12, "meaning": 42}
"""Of a listing, with their widths: 120 characters with two between columns."""

_LIMITS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "multiple_of": "a multiple of"}
"""How a listing writes the limits of a number, by their names in pydantic."""


def load_params(path: str | os.PathLike[str], /, **overrides: Any) -> Params:
    """Return the parameters of an experiment's YAML file, all of them given: what it does not name has its default.

    `overrides` win over the file, and its stem is the default name of the experiment.

    Raises:
        InputError: if the file is missing, is not a flat mapping, or holds a wrong name or value.
    """
    defaults = {name: field.default for name, field in Params.model_fields.items()}
    return Params(**{**defaults, "experiment": Path(path).stem, **_read(Path(path)), **overrides})


def _read(path: Path) -> dict[str, Any]:
    """Return what a parameter file names, as it stands there."""
    try:
        content = path.read_bytes()
        text = decode(content)
        values = yaml.safe_load(text)
        _check_names(path, yaml.compose(text, yaml.SafeLoader))
    except FileNotFoundError:
        raise InputError(f"There is no parameter file {path}{_neighbours(path)}.") from None
    except OSError as error:
        raise InputError(f"The parameter file {path} cannot be read: {error}.") from None
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(f"{path}, line {line}, cannot be read: save the file as UTF-8.") from None
    except yaml.YAMLError as error:
        raise InputError(_not_yaml(path, error)) from None
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise InputError(f"{path} must hold lines of the form 'name: value', not a {type(values).__name__}.")
    for name, value in values.items():
        if isinstance(value, list | dict):
            raise InputError(f"{path}: {name} must be a single value; several are one comma-separated text.")
    return {str(name): value for name, value in values.items()}


def _check_names(path: Path, node: yaml.Node | None) -> None:
    """Check that no name stands in a file twice; YAML would take the last one."""
    lines: dict[str, int] = {}
    for key, _ in node.value if isinstance(node, yaml.MappingNode) else []:
        line = key.start_mark.line + 1
        if lines.setdefault(str(key.value), line) != line:
            raise InputError(f"{path}, line {line}: {key.value} stands in line {lines[key.value]}, too; delete one.")


def _not_yaml(path: Path, error: yaml.YAMLError) -> str:
    """Return in a sentence with the line why a file is not YAML."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    where = f"{path}, line {mark.line + 1}," if mark else str(path)
    hint = ""
    if "\\t" in str(problem):
        hint = ": put blanks in place of the tab"
    elif "double-quoted" in str(error):
        hint = ": put a text with backslashes in single quotes, or write slashes"
    return f"{where} is not YAML ({problem or ' '.join(str(error).split())}){hint}."


def _neighbours(path: Path) -> str:
    """Suggest the parameter file that a wrong name is most like."""
    names = sorted(other.name for other in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, names, n=1)
    return f": did you mean {path.parent / close[0]}?" if close else ""


def from_notebook(namespace: Mapping[str, Any]) -> Params:
    """Check a running notebook's parameters: the annotated names of its parameters cell, and those papermill injected.

    papermill only warns of a parameter that a notebook does not know, so the names in its injected cell are read from
    the kernel's input history and checked like the others. Pass `globals()`.

    Raises:
        InputError: for a wrong name or value.
    """
    declared = [name for name in namespace.get("__annotations__", {}) if not name.startswith("_")]
    injected = [
        name
        for cell in namespace.get("In", [])
        if cell.startswith("# Parameters\n")
        for name in re.findall(r"^([A-Za-z_]\w*)\s*(?::[^=]*)?=", cell, flags=re.MULTILINE)
    ]
    for name in injected:
        if name not in declared:
            close = difflib.get_close_matches(name, declared, n=1, cutoff=0.5)
            hint = f": did you mean {close[0]!r}?" if close else "; its parameters cell lists them."
            raise InputError(f"This notebook takes no parameter {name!r}{hint}")
    return Params(**{name: namespace[name] for name in declared})


def listing(path: Path, /, **overrides: Any) -> str:
    """Return a table of every parameter in lines of at most 120 characters, grouped by stage.

    It says of each its value, its range, where the value comes from (the default, the file, the command line) and what
    it means.

    Raises:
        InputError: as `load_params`.
    """
    params, named = load_params(path, **overrides), _read(path)
    listed: set[str] = set()
    lines = [*_row(dict(zip(_COLUMNS, _COLUMNS, strict=True)))]
    for group in GROUPS:
        lines += ["", (group.__doc__ or "").splitlines()[0].rstrip(".")]
        for name, field in group.model_fields.items():
            if name in listed:  # the seed is in several groups
                continue
            listed.add(name)
            source = "command line" if name in overrides else "file" if name in named else "default"
            if source == "default" and name == "experiment":
                source = "file's name"
            value = getattr(params, name)
            cells = {"name": name, "value": _text(value), "range": _range(field), "from": source}
            lines += _row({**cells, "meaning": field.description or ""})
    return "\n".join(lines)


def _row(cells: Mapping[str, str]) -> list[str]:
    """Return the lines of a table's row; a cell that is too wide goes on below."""
    wrapped = [textwrap.wrap(cells[name], width) or [""] for name, width in _COLUMNS.items()]
    return [
        "  ".join(part.ljust(width) for part, width in zip(parts, _COLUMNS.values(), strict=True)).rstrip()
        for parts in zip_longest(*wrapped, fillvalue="")
    ]


def _text(value: Any) -> str:
    """Return a value as a parameter file has it."""
    return json.dumps(value) if isinstance(value, bool) or value == "" else str(value)


def _range(field: FieldInfo) -> str:
    """Return in words which values a parameter may have."""
    if field.annotation is bool:
        return "true, false"
    if field.annotation is str:
        return "text"
    limits = [
        f"{word} {getattr(limit, attribute):.10g}"
        for attribute, word in _LIMITS.items()
        for limit in field.metadata
        if hasattr(limit, attribute)
    ]
    return ", ".join(limits) or ", ".join(get_args(field.annotation))
