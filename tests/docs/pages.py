"""What the pages show: fenced blocks with their places, and the commands in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("data/*.md"), *ROOT.glob("benchmarks/*.md")]
)

_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: the file.
        line: of its first line inside the fence.
        language: what the fence says, such as ``python``.
        text: what is inside.
    """

    page: Path
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        """For errors and names of tests: ``docs/frame.md:12``."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A command of a page with the output shown below it; empty if none is shown."""

    place: str
    line: str
    shown: str


def blocks(*languages: str) -> list[Block]:
    """Every block in one of these languages, page by page."""
    return [
        Block(page, text[: found.start(2)].count("\n") + 1, found[1], found[2])
        for page in PAGES
        for text in [page.read_text(encoding="utf-8")]
        for found in _FENCE.finditer(text)
        if found[1] in languages
    ]


def commands() -> Iterator[tuple[Block, Command]]:
    """Every command: a line after ``$ `` of a console block, any line of a sh block."""
    for block in blocks("console"):
        for piece in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            line, _, shown = piece.partition("\n")
            yield block, Command(block.place, _without_comment(line), shown)
    for block in blocks("sh"):
        for line in block.text.splitlines():
            for part in _without_comment(line).split("&&"):
                if part.strip():
                    yield block, Command(block.place, part.strip(), "")


def named_recipes(page: Path) -> dict[str, str]:
    """Recipes of a page that begin with their file's name: ``# first.yaml``."""
    found = {}
    for block in blocks("yaml"):
        name = re.match(r"# (\S+\.yaml)\n", block.text)
        if block.page == page and name:
            found[name[1]] = block.text
    return found


def _without_comment(line: str) -> str:
    return re.sub(r"\s+#.*", "", line).strip()
