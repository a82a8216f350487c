"""The blocks and links of our Markdown files, for the tests that hold them to what they say."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.deployment import ROOT

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@dataclass(frozen=True)
class Block:
    """A fenced block that names its language."""

    language: str
    text: str


def blocks(path: str) -> list[Block]:
    return [Block(*found) for found in FENCE.findall((ROOT / path).read_text())]


def pages() -> list[Path]:
    """Every page that we wrote."""
    return [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(
        (ROOT / "docs").rglob("*.md")
    )


def links(page: Path) -> Iterator[Path]:
    """The files that a page links to."""
    for target in LINK.findall(page.read_text()):
        if "://" not in target:
            yield page.parent / target
