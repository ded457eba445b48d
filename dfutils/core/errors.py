"""The exceptions whose text is meant for the user.

Whoever gives a notebook or a command something it cannot work with reads one sentence that says what to do. Everything
else that is raised is a fault of the suite and keeps its traceback.
"""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """An input that cannot be used; the message is one sentence that says what to do."""

    def _render_traceback_(self) -> list[str]:
        """Return the message alone, without a traceback (a hook of IPython's `InteractiveShell.showtraceback`)."""
        return [f"{type(self).__name__}: {self}"]


class StageError(RuntimeError):
    """A notebook's cell failed; the text says which cell, why, and which notebook shows it."""


def closest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return the known name that a wrong one is most like, "" if it is like none.

    `cutoff`, 0 to 1, is how alike they must be (`difflib.get_close_matches`).
    """
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)), "")
