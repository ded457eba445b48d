"""The commands that the README and CONTRIBUTING.md show."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def blocks(document: str, kind: str) -> list[str]:
    """Return the code blocks of a kind, such as sh, in a document of the checkout."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def commands(document: str) -> list[str]:
    """Return every command of a document's shell blocks, without comments, and those joined by `&&` one by one."""
    lines = [line.split(" #")[0].strip() for block in blocks(document, "sh") for line in block.splitlines()]
    return [command.strip() for line in lines for command in line.split("&&") if command.strip()]


def works_here(command: str) -> bool:
    """Return whether a command needs nothing but the suite and finished runs, and no more than seconds."""
    if command.startswith("dfutils publish"):
        return "--dry-run" in command
    if command.startswith("dfutils run "):
        return "--only evaluate" in command
    return command.startswith(("dfutils predict", "dfutils compare", "dfutils params", "dfutils runs"))
