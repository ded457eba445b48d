"""The experiment that a notebook or a command works on: its parameters, its name, and what it takes from others.

Everything that an experiment has made lies in its own folders, `runs/<experiment>` and `reports/<experiment>`. Where
other parameters would overwrite it, the work goes to an experiment of another name. Finished stages that do not depend
on what was changed are taken over from the experiment that has them, as hard links: each folder is complete, deleting
one harms no other, and files that are written anew replace the link, not the file that others see.
"""

import ast
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from dfutils.core import detectors, foreign
from dfutils.core import params as parameters
from dfutils.core.errors import InputError, closest
from dfutils.core.files import atomic, file_digest, read_json, write_json
from dfutils.core.parameter_files import differences, find, load_params, named_after, read, with_overrides
from dfutils.core.params import Params, lasting
from dfutils.core.stages import BEGUN, OWN, STAGES, before, depends, path_of

_INJECTED = "# Parameters\n"
"""How papermill begins the cell that it adds to a notebook."""

_PLAIN = str | int | float
"""Types of a parameter's value."""

_FILES = {"preprocess": ("videos.parquet", "frames.parquet"), "train": ("detector", "training*")}
"""What a stage leaves in `runs/<experiment>` for later ones, beside its record."""

_PAGES = {"run.json", "index.html", *(f"{name}{end}" for name in STAGES.values() for end in (".ipynb", ".html"))}
"""Files of a report that are not results of notebook 04."""


def from_notebook(namespace: Mapping[str, Any], stage: str) -> Params:
    """Return the parameters of a running notebook, ready to work on: see `claim`. Pass `globals()`.

    What its parameters cell, papermill, or a cell that was added sets to anything but None wins over `params_file`;
    what papermill sets without a `params_file` begins at the defaults. Where `experiment` names a run that there is,
    the parameters of that run win over the file. Parameters of later stages are ignored.

    Raises:
        InputError: for a wrong name or value, if the parameters cell was not run in this kernel, or if a notebook after
            training names nothing but a run that there is not.
    """
    given = _given(namespace)
    file = str(given.get("params_file", ""))
    base = {"experiment": Path(file).stem, **read(find(file)), "params_file": file} if file else {}
    if "experiment" in given:
        known = recorded(str(given["experiment"]))
        if not known and "train" in before(stage) and given.keys() <= {"experiment", "params_file"}:
            raise _no_run(str(given["experiment"]))  # not a new name for what another run has finished
        base |= known
    names = {*depends(stage), "experiment", "params_file"}
    return claim(with_overrides(base, {name: value for name, value in given.items() if name in names}), stage)


def _given(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that cells have set to anything but None.

    The cells are the last parameters cell that was run (the one that sets `params_file`), papermill's after it, and
    whatever else was run since then. Where a kernel keeps no history, as under nbval, and in a notebook that was made a
    script, every parameter's name counts.

    Raises:
        InputError: for a name in the first two that no stage knows (without a history, for one that resembles a
            parameter's), or if the parameters cell was not run.
    """
    cells = [cell for cell in namespace.get("In", ()) if cell]
    own = [k for k, cell in enumerate(cells) if "params_file" in _assigned(cell) and not cell.startswith(_INJECTED)]
    if not own and (cells or "params_file" not in namespace):
        raise InputError("This kernel has not run the parameters cell, which sets params_file: run it first.")
    if not cells:
        after = list(namespace)[list(namespace).index("params_file") :]  # names are in the order of their assignment
        for name in after:
            if isinstance(namespace[name], _PLAIN | None) and closest(name, Params.model_fields):
                Params.check_name(name)
        names = Params.model_fields.keys() & namespace.keys()
        return {name: namespace[name] for name in names if isinstance(namespace[name], _PLAIN)}
    given = {}
    for number, cell in enumerate(cells[own[-1] :]):
        assigned = _assigned(cell)
        if number == 0 or cell.startswith(_INJECTED):
            for name in assigned:
                Params.check_name(name)
            given |= {"params_file": None} if number else {}
            given |= {name: namespace[name] if value is ... else value for name, value in assigned.items()}
        else:  # notebooks have variables of the same names, which are no plain values
            given |= {
                name: value for name, value in assigned.items() if name in Params.model_fields and value is not ...
            }
    return {name: value for name, value in given.items() if value is not None}


def _assigned(cell: str) -> dict[str, Any]:
    """Return the names that a cell assigns at its top level, with the values that it spells out; `...` stands for any
    other, which later cells may have changed."""
    try:
        lines = ast.parse(cell).body
    except SyntaxError:
        return {}
    found = {}
    for line in lines:
        for target in line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", None)]:
            if isinstance(target, ast.Name) and isinstance(line, ast.Assign | ast.AnnAssign) and line.value:
                try:
                    value = ast.literal_eval(line.value)
                except ValueError:
                    value = ...
                found[target.id] = value if isinstance(value, _PLAIN | None) else ...
    return found


def recorded(experiment: str) -> dict[str, Any]:
    """Return the parameters that the finished stages of an experiment have recorded, or an interrupted training, of the
    later one where they differ; empty if there are none."""
    known: dict[str, Any] = {}
    for stage in STAGES:
        known |= _recorded(experiment, stage)
    return {name: value for name, value in known.items() if name in Params.model_fields}


def _recorded(experiment: str, stage: str) -> dict[str, Any]:
    folder = parameters.ROOT / "runs" / experiment
    if (folder / f"{stage}.json").exists():
        return read_json(folder / f"{stage}.json")["parameters"]
    begun = folder / "training" / BEGUN
    interrupted = stage == "train" and begun.exists() and (folder / "training" / "last.ckpt").exists()
    return read_json(begun) if interrupted else {}


def claim(params: Params, *stages: str) -> Params:
    """Return the parameters with the name of an experiment that these stages may write to, and prepare its folder.

    Where a stage, or one before it, is finished in this experiment with other values of the parameters that were given
    (in a cell or a file), or a training with other values was interrupted, the experiment gets another name, which
    says what is different. What the first stage reads is then taken over from another experiment, where this one lacks
    it, and so is the detector that is to be judged.

    Raises:
        InputError: if training is asked for where a detector is to be judged, or there is no such detector.
    """
    if params.detector and stages == ("train",):
        raise InputError(
            f"detector = {params.detector!r} is judged as it is, and nothing is trained: go on with notebook 04, or "
            "leave detector out."
        )
    changed: dict[str, tuple[Any, Any]] = {}
    while conflicts := _conflicts(params, stages):
        params = params.model_copy(update={"experiment": named_after(params.experiment, conflicts)})
        changed |= conflicts
    if params.detector and set(stages) - {"download", "preprocess"}:
        params = _bring_detector(params)
    _check_network(params, stages)
    about = params.run_folder / "experiment.json"
    if not about.exists():
        write_json({"params_file": params.params_file, "changed": changed}, about)
    take_over(params, *before(stages[0]))
    return params


def _check_network(params: Params, stages: tuple[str, ...]) -> None:
    """Make sure that stages that run or train a network have none but imported scores before them."""
    path = params.run_folder / "detector" / "config.json"
    if set(stages) & {"train", "demo", "robustness"} and path.exists() and "imported" in read_json(path):
        raise InputError(
            f"The experiment {params.experiment} holds imported scores, and no network: only notebooks 04 and 05 judge "
            "them (--only evaluate, --only errors)."
        )


def _conflicts(params: Params, stages: tuple[str, ...]) -> dict[str, tuple[Any, Any]]:
    """Return the given parameters that differ from those that this experiment has recorded: recorded and given value.

    The seed of an earlier stage may differ: several seeds can share their splits.
    """
    given = lasting(params, sorted(params.model_fields_set))
    found = {}
    for stage in stages:
        for name in (*before(stage), stage):
            known = _recorded(params.experiment, name)
            compared = depends(name) & depends(stage) & known.keys() & given.keys()
            compared = compared if name == stage else compared - {"seed"}
            found |= {key: (known[key], given[key]) for key in compared if known[key] != given[key]}
    return found


def _bring_detector(params: Params) -> Params:
    """Link the detector that is to be judged into the experiment's folder.

    If this experiment has judged another of the same name, such as one that was trained again since, the returned
    parameters name an experiment of its own.
    """
    source, target = detectors.folder_of(params.detector), params.run_folder / "detector"
    weights = [folder / "model.safetensors" for folder in (source, target)]
    if weights[1].exists() and not os.path.samefile(*weights):
        mark, judged = map(file_digest, weights)
        if mark != judged and path_of(params, "evaluate").exists():
            return _bring_detector(params.model_copy(update={"experiment": f"{params.experiment}-{mark[:8]}"}))
        if mark == judged:
            return params
    if not weights[1].exists() or not os.path.samefile(*weights):
        _link(source, target)
        config = read_json(target / "config.json")
        if foreign.kind(target, config):
            write_json(foreign.adopted(target, config, params), target / "config.json")
    return params


def changes(params: Params) -> dict[str, tuple[Any, Any]]:
    """Return what distinguishes an experiment from its parameter file as it is, or was when the experiment began: the
    value there, and the experiment's, by name."""
    about = params.run_folder / "experiment.json"
    begun = {name: (old, new) for name, (old, new) in read_json(about)["changed"].items()} if about.exists() else {}
    if params.params_file:
        with suppress(InputError):  # the file is gone, or holds something else by now
            begun |= differences(load_params(find(params.params_file)), params, params.model_fields_set)
    return begun


def headline(params: Params) -> str:
    """Return in one line which experiment this is: its name, its parameter file, what was changed, and what it has
    taken over from others."""
    origin = _origin(params)
    taken: dict[str, list[str]] = {}
    for stage in STAGES:
        path = path_of(params, stage)
        if path.exists() and (source := read_json(path).get("taken_from")):
            taken.setdefault(source, []).append(stage)
    others = "".join(f" Taken over from {source}: {', '.join(names)}." for source, names in taken.items())
    return f"Experiment {params.experiment}{f': {origin}' if origin else ''}.{others}"


def _origin(params: Params) -> str:
    """Return in words what distinguishes an experiment: its parameter file, and what was changed."""
    pairs = sorted(changes(params).items())
    changed = ", ".join(f"{name} {_shown(new)} instead of {_shown(old)}" for name, (old, new) in pairs)
    return " with ".join(part for part in (params.params_file, changed) if part)


def _shown(value: Any) -> str:
    return "none" if value == "" else str(value)


def take_over(params: Params, *stages: str) -> str:
    """Link the results of stages that this experiment lacks from another one that has finished them with the same
    parameters, as many of them as there are together; return its name, or "" if there is none."""
    missing = [stage for stage in stages if not path_of(params, stage).exists()]
    if "evaluate" in missing and "train" in stages and "train" not in missing:
        missing.remove("evaluate")  # it has judged another detector
    for count in range(len(missing), 0, -1):
        for source in _others(params):
            wanted = [stage for stage in missing[:count] if path_of(source, stage).exists()]
            if missing[count - 1] in wanted and all(_has(source, params, stage) for stage in wanted):
                for stage in wanted:
                    _link_stage(source, params, stage)
                return source.experiment
    return ""


def _others(params: Params) -> Iterator[Params]:
    """Yield this experiment's parameters with the name of each other experiment."""
    for folder in sorted(params.run_folder.parent.iterdir()):
        if folder.is_dir() and not folder.is_symlink() and folder.name != params.experiment:
            yield params.model_copy(update={"experiment": folder.name})


def _has(source: Params, params: Params, stage: str) -> bool:
    """Return whether another experiment has finished a stage, and those before it, with these parameters."""
    given = lasting(params)
    for name in (*before(stage), stage):
        path = path_of(source, name)
        if name == "download" and not path.exists():  # another experiment may have indexed the dataset
            continue
        if not path.exists():
            return False
        known = {key: Params.model_fields[key].default for key in OWN[name]} | read_json(path)["parameters"]
        compared = depends(name) & depends(stage) & known.keys() & given.keys()
        if any(known[key] != given[key] for key in compared):
            return False
    splits = [path_of(p, "preprocess") for p in (source, params)]
    if stage == "train" and splits[1].exists():
        theirs, mine = (read_json(path).get("own_splits") for path in splits)
        return theirs == mine is not None
    return True


def _link_stage(source: Params, params: Params, stage: str) -> None:
    """Link what another experiment's stage has written, its record last."""
    for pattern in _FILES.get(stage, ()):
        for path in source.run_folder.glob(pattern):
            _link(path, params.run_folder / path.name)
    if stage == "evaluate":
        for path in source.report_folder.iterdir():
            if path.name not in _PAGES and not path.name.startswith("."):
                _link(path, params.report_folder / path.name)
    record = read_json(path_of(source, stage))
    write_json({**record, "taken_from": source.experiment}, path_of(params, stage))


def _link(source: Path, target: Path) -> None:
    """Give a file, or each file of a folder, a second name; a copy where the file system has no hard links."""
    with atomic(target) as temporary:
        if source.is_dir():
            shutil.copytree(source, temporary, copy_function=_link_file, ignore=shutil.ignore_patterns(".*"))
        else:
            _link_file(source, temporary)


def _link_file(source: str | Path, target: str | Path) -> None:
    try:
        os.link(os.path.realpath(source), target)  # the hub's cache holds links of its own
    except OSError:
        shutil.copyfile(source, target)


class Run(NamedTuple):
    """What an experiment has left: its finished stages, the bytes of its files in `runs/` and `reports/`, how many of
    them other experiments share, and what was changed against its parameter file, in words."""

    name: str
    finished: list[str]
    size: int
    shared: int
    about: str


def runs() -> list[Run]:
    """Return all experiments of this machine, by name."""
    folders = [parameters.ROOT / "runs", parameters.ROOT / "reports"]
    found = []
    for name in _names():
        p = Params.model_construct(experiment=name, **recorded(name))
        about = p.run_folder / "experiment.json"
        p = p.model_copy(update={"params_file": read_json(about)["params_file"] if about.exists() else ""})
        facts = [path.stat() for folder in folders for path in (folder / name).rglob("*") if path.is_file()]
        shared = sum(fact.st_size for fact in facts if fact.st_nlink > 1)
        finished = [stage for stage in STAGES if path_of(p, stage).exists()]
        found.append(Run(name, finished, sum(fact.st_size for fact in facts), shared, _origin(p)))
    return found


def _names() -> list[str]:
    """Return the names of the folders in `runs/`, and of the reports that `dfutils run` or notebook 04 has written."""
    root = parameters.ROOT
    names = {path.name for path in root.glob("runs/*") if path.is_dir()}
    return sorted(
        names.union(path.parent.name for file in ("run", "metrics") for path in root.glob(f"reports/*/{file}.json"))
    )


def _no_run(experiment: str) -> InputError:
    """Return the error for a name without a run, with the one that it is most like."""
    close = closest(experiment, _names())
    hint = f": did you mean {close!r}?" if close else "; `dfutils runs` lists them."
    return InputError(f"There is no run {experiment!r} on this machine{hint}")


def delete(experiment: str) -> None:
    """Delete what an experiment has made: its folders in `runs/` and `reports/`; strips and videos stay.

    Raises:
        InputError: if there is no such experiment.
    """
    if experiment not in _names():
        raise _no_run(experiment)
    for folder in ("runs", "reports"):
        path = parameters.ROOT / folder / experiment
        if path.is_symlink():
            path.unlink()
        elif path.is_dir():
            shutil.rmtree(path)
