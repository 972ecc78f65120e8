"""The project's Markdown pages and their code blocks, for the tests of the documentation."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "lab/README.md"]
    + [page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts]
)
LANGUAGES = {"python", "console", "toml", "sh", "text", "yaml"}


@dataclass(frozen=True)
class Block:
    """A code block of a Markdown page.

    Attributes:
        page: The page's path, relative to the project.
        line: Number of the line with the opening ```, from 1.
        language: The first word after the opening ```: "python".
        roles: The other words after the opening ```: {"fails"}.
        text: The code.
        earlier: The code blocks above this one on the page.
    """

    page: str
    line: int
    language: str
    roles: frozenset[str]
    text: str
    earlier: list[Block] = field(repr=False)

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str:
        """The name of the file in which readers save this block, from a comment in its first line; else ""."""
        named = re.match(r"# ([\w./-]+\.(?:py|toml|sh))\n", self.text)
        return named[1] if named else ""

    def files(self) -> dict[str, str]:
        """Return the texts, by file name, of the files that the blocks above this one define."""
        return {each.file: each.text for each in self.earlier if each.file}


def blocks_of(page: Path) -> list[Block]:
    """Return the code blocks of a page in order. An indented block has the language ""."""
    found: list[Block] = []
    for token in MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8")):
        if token.type in {"fence", "code_block"}:
            language, *roles = token.info.split() or [""]
            line = token.map[0] + 1
            found.append(Block(str(page.relative_to(ROOT)), line, language, frozenset(roles), token.content, found[:]))
    return found


BLOCKS = [block for page in PAGES if page.exists() for block in blocks_of(page)]
