"""One progress bar for everything that takes longer than a breath.

In JupyterLab it is a widget; in a terminal and in a batch run of a notebook it is plain text, because a widget would
leave dead text and outside addresses in the report. `dfutils run` reads the plain text and shows it in its own line.
"""

import os
import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

BATCH = "DFUTILS_BATCH"
"""Environment variable that `dfutils run` sets for the kernels it starts."""


def bar(items: Iterable[Any] | None = None, *, total: int | None = None, desc: str = "", unit: str = "it") -> tqdm:
    """Return a tqdm bar over `items` (or one to be moved by hand) with rate and remaining time."""
    kind: type[tqdm] = tqdm
    if watched():
        from tqdm.notebook import tqdm as kind
    return kind(items, total=total, desc=desc, unit=unit, mininterval=0.3, dynamic_ncols=True, leave=False)


def watched() -> bool:
    """Whether somebody sits before this notebook: it is one, and `dfutils run` did not start it."""
    return _in_notebook() and not os.environ.get(BATCH)


def _in_notebook() -> bool:
    """Whether this process is a notebook's kernel; asked of IPython, if it is loaded at all."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"
