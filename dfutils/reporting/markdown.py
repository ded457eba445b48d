"""A report as Markdown with pictures, to be read where the repository is, without running anything.

python -m dfutils.reporting.markdown reports/sample reports/example            writes the report
python -m dfutils.reporting.markdown reports/sample reports/example --check    compares its figures with a new run
"""

import argparse
import base64
import html
import math
import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbconvert import MarkdownExporter

from dfutils.core.errors import InputError
from dfutils.core.files import atomic, digest, make_folder, read_json, write_json
from dfutils.core.stages import STAGES

SHOWN = ("preprocess", "evaluate", "errors")
"""Stages whose notebooks are in the report."""

FIGURES = "figures.json"
"""File of the report's figures; not `metrics.json`, which would make it one of this machine's runs."""

_PICTURE = re.compile(r'<img alt="([^"]*)"[^>]*src="data:image/(\w+);base64,([^"]+)"[^>]*>')
_TABLE = re.compile(r"(?:<div>\s*)?(?:<style.*?</style>\s*)?<table.*?</table>(?:\s*</div>)?", re.DOTALL)
_COMPARED = ("threshold", "calibration", "test", "by_method", "baselines")  # of metrics.json


def write(report: Path, folder: Path) -> None:
    """Write a report's notebooks of `SHOWN` as Markdown, their pictures and its figures, `figures.json`, into a folder.

    Raises:
        InputError: if a notebook or the figures are missing.
    """
    make_folder(folder / "pictures")
    for old in [*folder.glob("*.md"), *folder.glob("pictures/*")]:
        old.unlink()
    for stage in SHOWN:
        path = report / f"{STAGES[stage]}.ipynb"
        if not path.is_file():
            raise InputError(f"{path} is missing: run its experiment first.")
        source = f"[Notebook {STAGES[stage][:2]}](../../notebooks/{path.name})"
        about = f"> {source} of the experiment `{report.name}`, executed; its code is left out.\n\n"
        text = about + _markdown(nbformat.read(path, as_version=4), folder, STAGES[stage])
        with atomic(folder / f"{STAGES[stage]}.md") as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")
    figures = read_json(report / "metrics.json")
    write_json({**{name: figures[name] for name in _COMPARED}, "processor": processor()}, folder / FIGURES)


def processor() -> str:
    """Return the kind of this machine's processor: its name, instructions and cores; on another, sums are rounded
    otherwise."""
    cores = f"{os.cpu_count()} cores"
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return f"{platform.processor() or platform.machine()}, {cores}"
    facts = dict(re.findall(r"^(model name|model|flags)\s*: (.+)$", text, flags=re.MULTILINE))
    return f"{facts.get('model name', platform.machine())}, {digest(facts)[:8]}, {cores}"


def differences(report: Path, folder: Path, digits: int = 3) -> list[str]:
    """Return the figures of a written report that a new run of its experiment does not confirm, one text each.

    On the same kind of processor all figures must agree to `digits`; on another, training is rounded otherwise and ends
    elsewhere, so that each figure with an interval must lie in the other's.
    """
    written, found = read_json(folder / FIGURES), read_json(report / "metrics.json")
    differing = []
    if written["processor"] == processor():
        old, new = (dict(_numbers({name: values[name] for name in _COMPARED})) for values in (written, found))
        for name in sorted(old.keys() | new.keys()):
            one, other = old.get(name, math.nan), new.get(name, math.nan)
            if not math.isclose(one, other, abs_tol=10**-digits):
                differing.append(f"{name}: {one:.{digits}f} in {folder}, {other:.{digits}f} now")
        return differing
    for name, one in written["test"]["video"].items():
        other = found["test"]["video"][name]["value"]
        if one["low"] is not None and other is not None and not one["low"] <= other <= one["high"]:
            differing.append(f"{name}: {one['low']:.3f} to {one['high']:.3f} in {folder}, {other:.3f} now")
    return differing


def _numbers(value: Any, name: str = "") -> list[tuple[str, float]]:
    """Return the numbers in nested mappings and lists, each with its path."""
    if isinstance(value, dict):
        return [pair for key, inner in value.items() for pair in _numbers(inner, f"{name}.{key}".lstrip("."))]
    if isinstance(value, list):
        return [pair for key, inner in enumerate(value) for pair in _numbers(inner, f"{name}.{key}")]
    return [(name, float(value))] if isinstance(value, int | float) else []


def _markdown(document: nbformat.NotebookNode, folder: Path, name: str) -> str:
    """Return an executed notebook as Markdown without its code, and write its pictures into the folder."""
    for cell in document.cells:
        outputs = cell.get("outputs", [])
        cell["outputs"] = [o for o in outputs if o.output_type != "stream" or o.get("name") == "stdout"]
    exporter = MarkdownExporter(exclude_input=True)
    text, _ = exporter.from_notebook_node(document)
    pictures = iter(range(1, 1000))

    def picture(found: re.Match[str]) -> str:
        kind = found[2].replace("jpeg", "jpg")
        path = folder / "pictures" / f"{name}-{next(pictures):02d}.{kind}"
        path.write_bytes(base64.b64decode(found[3]))
        alt = html.unescape(found[1]).replace("\n", " ").replace("]", ")").replace("[", "(")
        return f"\n![{alt}](pictures/{path.name})\n"

    text = _PICTURE.sub(picture, text)
    text = _TABLE.sub(lambda found: _table(found[0]), text)
    text = text.replace("(glossary.md#", "(../../notebooks/glossary.md#")
    text = "\n".join(line.rstrip() for line in re.sub(r"</?div[^>]*>", "", text).splitlines())
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _table(source: str) -> str:
    """Return an HTML table as one of Markdown: its caption above, the rows of its head joined to one."""
    caption = re.search(r"<caption>(.*?)</caption>", source, re.DOTALL)
    head, _, body = source.partition("</thead>")
    rows = [[_cells(row) for row in re.findall(r"<tr.*?</tr>", part, re.DOTALL)] for part in (head, body)]
    if not rows[1]:
        return ""
    width = max(map(len, rows[1]))
    above = [([""] * width + row)[-width:] for row in rows[0]] or [[""] * width]
    names = [" ".join(dict.fromkeys(filter(None, texts))) for texts in zip(*above, strict=True)]
    lines = [names, ["---"] * width, *([""] * (width - len(row)) + row for row in rows[1])]
    above_it = f"*{html.unescape(caption[1]).strip()}*\n\n" if caption else ""
    return f"\n\n{above_it}" + "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n\n"


def _cells(row: str) -> list[str]:
    """Return the texts of a row's cells."""
    found = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)
    return [
        html.unescape(re.sub(r"<[^>]+>", "", text)).strip().replace("|", "\\|").replace("\n", " ") for text in found
    ]


def main() -> None:
    """Write a report, or check one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if not options.check:
        write(options.report, options.folder)
        return
    differing = differences(options.report, options.folder)
    sys.stderr.writelines(f"{text}\n" for text in differing)
    sys.exit(f"{len(differing)} figures differ: make example writes the report again." if differing else 0)


if __name__ == "__main__":
    main()
