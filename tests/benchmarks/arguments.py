"""The arguments of benchmarks in which a detector judges real videos."""

import argparse
from pathlib import Path

from dfutils.core import detectors


def judging(about: str) -> argparse.ArgumentParser:
    """Return a parser with `--videos` (a folder), `--work` (a folder for what is made) and `--model`.

    The first line of `about`, a module's docstring, describes the benchmark.
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--videos", required=True, type=Path)
    parser.add_argument("--work", required=True, type=Path)
    parser.add_argument("--model", default=str(detectors.SHIPPED))
    return parser
