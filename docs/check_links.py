"""Check the built site: every link to one of its own pages leads to a page, and every anchor to an element.

    check_links.py docs/_build/html

Exit with 1 if one does not. `make docs` runs this after the build.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The links and anchors of one HTML page."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and name in {"href", "src"}:
                self.links.add(value)
            elif value and name == "id":
                self.anchors.add(value)


def broken_links(site: Path) -> list[str]:
    """Return each link that leads nowhere, after the page that has it."""
    pages = {file.resolve(): Page(file) for file in sorted(site.rglob("*.html"))}
    broken = []
    for file, page in pages.items():
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            missing_anchor = parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors
            if not target.exists() or missing_anchor:
                broken.append(f"{file.relative_to(site.resolve())}: {link}")
    return broken


def main(directory: str) -> int:
    broken = broken_links(Path(directory))
    print(*broken, sep="\n", end="\n" if broken else "")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
