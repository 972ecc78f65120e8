"""Tests that links, anchors and paths in the README and the documentation exist."""

import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

import tunlab
from tests.docs.pages import PAGES, ROOT

PACKAGES = Path(tunlab.__file__).parents[1]
"""The directory that tunlab is imported from: ROOT, or site-packages in the suite's containers."""

PATH = re.compile(
    r"(?:tunlab|tests|lab|docs|examples|benchmarks|\.ci|\.github)/[\w./-]*\w/?|[A-Z]+\.md|pyproject\.toml|Makefile"
)
"""A file or folder of the project, as pages write it in backticks."""

NOT_HERE = re.compile(
    r"docs/_build/.*|tunlab/packet/transport/udp_lite\.py|tests/packet/test_udp_lite\.py|tunlab/tunlab/.*"
)
"""Paths that a page names though they are not in the repository: what is built, and the example of CONTRIBUTING.md."""

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def tokens_of(page):
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8")):
        yield token
        yield from token.children or []


def anchors_of(page):
    """Return the anchors that GitHub and MyST make for a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pages
def test_relative_link_target_exists(page):
    targets = [str(token.attrs[name]) for token in tokens_of(page) for name in ("href", "src") if name in token.attrs]
    missing = []
    for target in targets:
        file, _, anchor = target.partition("#")
        if re.match(r"\w+:", target):
            continue
        linked = (page.parent / file) if file else page
        if not linked.exists() or (anchor and anchor not in anchors_of(linked)):
            missing.append(target)
    assert missing == []


@pages
def test_path_in_backticks_exists(page):
    named = {token.content for token in tokens_of(page) if token.type == "code_inline"}
    paths = {name for name in named if PATH.fullmatch(name) and not NOT_HERE.fullmatch(name)}
    hidden = set() if (ROOT / ".github").exists() else {path for path in paths if path.startswith(".")}
    missing = {
        path for path in paths - hidden if not ((PACKAGES if path.startswith("tunlab/") else ROOT) / path).exists()
    }
    assert missing == set()


def test_architecture_page_names_every_package():
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    packages = [file.parent.relative_to(PACKAGES) for file in (PACKAGES / "tunlab").rglob("__init__.py")]
    assert [str(each) for each in packages if f"`{each}/" not in text and str(each) != "tunlab"] == []


def test_readme_has_less_than_200_lines():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 200
