"""Progress bars: a widget in JupyterLab, plain text in a terminal and in notebooks that `dfutils run` executes.

A widget in a report would be dead text with addresses outside. `dfutils run` reads the plain text and shows it in a
line of its own.
"""

import os
import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

BATCH = "DFUTILS_BATCH"
"""Environment variable that `dfutils run` sets for the kernels it starts."""


def bar(items: Iterable[Any] | None = None, *, total: int | None = None, desc: str = "", unit: str = "it") -> tqdm:
    """Return a tqdm bar over `items`, or one to be updated by hand, with rate and remaining time."""
    bar_class: type[tqdm] = tqdm
    if is_interactive():
        from tqdm.notebook import tqdm as bar_class
    return bar_class(items, total=total, desc=desc, unit=unit, mininterval=0.3, dynamic_ncols=True, leave=False)


def is_interactive() -> bool:
    """Return whether this process is the kernel of a notebook that `dfutils run` did not start.

    IPython is not imported for it.
    """
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell" and not os.environ.get(BATCH)
