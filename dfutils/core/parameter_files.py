"""Parameters out of a YAML file, the name of the experiment that they make, and a listing for the terminal."""

import json
import os
import re
import textwrap
from collections.abc import Collection, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic.fields import FieldInfo

from dfutils.core import detectors
from dfutils.core import params as parameters
from dfutils.core.errors import InputError, closest
from dfutils.core.files import decode, digest
from dfutils.core.params import GROUPS, SAFE_NAME, Params, lasting

_COLUMNS = {"name": 22, "value": 18, "range": 18, "from": 12, "meaning": 42}
"""Of a listing, with their widths: 120 characters with two between columns."""

_NAME = 60
"""Characters of an experiment's name from which on changed values are named by their digest."""

_LIMITS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "multiple_of": "a multiple of"}
"""How a listing writes the limits of a number, by their names in pydantic."""


def load_params(path: str | os.PathLike[str], /, **overrides: Any) -> Params:
    """Return the parameters of an experiment's YAML file, all of them given: what it does not name has its default.

    `overrides` win over the file. The experiment is named by the file's stem, unless the file or `overrides` names it;
    where an override changes results, the name says so: `sample-epochs_3`.

    Raises:
        InputError: if the file is missing, is not a flat mapping, names a parameter twice, or holds a wrong name or
            value.
    """
    path = Path(path)
    return with_overrides({"experiment": path.stem, **read(path), "params_file": _relative(path)}, overrides)


def with_overrides(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> Params:
    """Return the defaults, changed as `base` says and then as `overrides` says, which name the experiment.

    What judging a `detector` implies (`detectors.implied`) wins over `base`.

    Raises:
        InputError: for a wrong name or value, or one that contradicts the detector.
    """
    defaults = {name: field.default for name, field in Params.model_fields.items()}
    before, after = Params(**{**defaults, **base}), Params(**{**defaults, **base, **overrides})
    if after.detector:
        implied = detectors.implied(after.detector)
        for name in implied.keys() & differences(before, after, overrides):
            if getattr(after, name) != implied[name]:
                raise InputError(
                    f"{name} = {overrides[name]!r} is not possible with detector = {after.detector!r}, which takes "
                    f"{implied[name]!r}: leave {name} out."
                )
        before, after = before.model_copy(update=implied), Params(**{**after.model_dump(), **implied})
    if "experiment" in overrides:
        return after
    return after.model_copy(update={"experiment": named_after(before.experiment, differences(before, after))})


def differences(before: Params, after: Params, names: Collection[str] | None = None) -> dict[str, tuple[Any, Any]]:
    """Return both values of each parameter (of `names`, or any) that changes results and differs."""
    pairs = {name: (value, getattr(after, name)) for name, value in lasting(before).items() if name != "experiment"}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1] and (names is None or name in names)}


def named_after(experiment: str, changed: Mapping[str, tuple[Any, Any]]) -> str:
    """Return the name of an experiment that differs from another in `changed`, by name its value before and after.

    `sample-epochs_3-seed_1`, or with a digest of the changes where that would be long or no name of a folder.
    """
    if not changed:
        return experiment
    values = {name: after for name, (_, after) in sorted(changed.items())}
    name = "-".join([experiment, *(f"{name}_{_text(value)}" for name, value in values.items())])
    if len(name) <= _NAME and re.fullmatch(SAFE_NAME, name):
        return name
    return f"{experiment[:_NAME]}-{digest(values)[:8]}"


def find(name: str) -> Path:
    """Return where a parameter file lies that a notebook names: in the project's folder, or in the suite's own.

    Raises:
        InputError: if it is in neither.
    """
    places = [folder / Path(name).expanduser() for folder in (parameters.ROOT, Path(__file__).resolve().parents[2])]
    return next((path for path in places if path.exists()), places[0])


def _relative(path: Path) -> str:
    """Return a parameter file as `find` finds it again: from the project's folder or the suite's own, or absolute."""
    path = path.resolve()
    for folder in (parameters.ROOT.resolve(), Path(__file__).resolve().parents[2]):
        if path.is_relative_to(folder):
            return path.relative_to(folder).as_posix()
    return path.as_posix()


def read(path: Path) -> dict[str, Any]:
    """Return what a parameter file names, as it stands there.

    Raises:
        InputError: if it is missing, is not a flat mapping, or names a parameter twice.
    """
    try:
        content = path.read_bytes()
        text = decode(content)
        values = yaml.safe_load(text)
        _check_names(path, yaml.compose(text, yaml.SafeLoader))
    except FileNotFoundError:
        raise InputError(f"There is no parameter file {path}{_neighbours(path)}.") from None
    except IsADirectoryError:
        raise InputError(
            f"The parameter file {path} cannot be read: it is a folder; name a file in it, such as sample.yaml."
        ) from None
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
    close = closest(path.name, names)
    return f": did you mean {path.parent / close}?" if close else ""


def listing(path: Path, /, **overrides: Any) -> str:
    """Return a table of every parameter in lines of at most 120 characters, grouped by stage.

    It says of each its value, its range, where the value comes from (the default, the file, the command line) and what
    it means.

    Raises:
        InputError: as `load_params`.
    """
    params, named = load_params(path, **overrides), read(path)
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
