"""The one exception that speaks to the user.

Whoever runs a notebook or a command and gives it something it cannot work with reads one sentence that says what to do.
Everything else that is raised is a fault of the suite and keeps its traceback.
"""


class InputError(ValueError):
    """A user's mistake or an input that cannot be used; its text is one sentence that says what to do."""

    def _render_traceback_(self) -> list[str]:
        """Let IPython show the sentence alone (a hook of `InteractiveShell.showtraceback`)."""
        return [f"{type(self).__name__}: {self}"]
