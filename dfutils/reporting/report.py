"""What a report shows is also written beside it: tables as CSV and LaTeX, figures as PDF and PNG."""

import functools
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

from dfutils.core.files import atomic
from dfutils.reporting.figure import Picture
from dfutils.reporting.table import Table


def keep(shown: Any, folder: Path, name: str) -> None:
    """Write a `Table` to `tables`, a `Picture` or several to `figures` of a folder, under a name; nothing else."""
    if isinstance(shown, Table):
        for ending, text in (("csv", shown.csv()), ("tex", shown.latex(name))):
            with atomic(folder / "tables" / f"{name}.{ending}") as temporary:
                temporary.write_text(text, encoding="utf-8")
    elif isinstance(shown, Picture):
        for ending in ("pdf", "png"):
            shown.save(folder / "figures" / f"{name}.{ending}")
    elif isinstance(shown, list):  # of pictures
        for number, picture in enumerate(shown, 1):
            keep(picture, folder, f"{name}_{number}")


class Report:
    """A report on an experiment: what its public methods return is also written to `folder`, under their names."""

    folder: Path

    def __init_subclass__(cls) -> None:
        """Let each public method keep what it returns."""
        for name, method in list(vars(cls).items()):
            if isinstance(method, FunctionType) and not name.startswith("_"):
                setattr(cls, name, _keeping(method))


def _keeping(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Report, *args: Any, **given: Any) -> Any:
        shown = method(self, *args, **given)
        keep(shown, self.folder, method.__name__)
        return shown

    return call
