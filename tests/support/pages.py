"""What a page of a report loads from anywhere."""

import re
from html.parser import HTMLParser
from pathlib import Path


class Loads(HTMLParser):
    """Collects everything that a page would fetch by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        for name in ("src", "srcset", "data", "poster", "background"):
            if given.get(name) and not given[name].startswith("data:"):
                self.found.append(f"{tag} {name}={given[name]}")
        if tag == "link" and not (given.get("href") or "").startswith("data:"):
            self.found.append(f"link {given.get('href')}")
        if tag in ("script", "iframe", "object", "embed"):
            self.found.append(tag)


def loads(page: Path) -> list[str]:
    """Return what a page fetches from anywhere, its style sheets included."""
    text = page.read_text(encoding="utf-8")
    reader = Loads()
    reader.feed(text)
    return reader.found + re.findall(r"@import[^;]*|url\(\s*['\"]?(?!data:)[^)]*\)", text)
