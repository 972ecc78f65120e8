"""Tests that the map in docs/architecture.md names every module, in a section of its folder."""

import re
from pathlib import Path

import pytest

import tunlab
from tests.docs.pages import ROOT
from tunlab.cli.group import tunlab as command_group

PACKAGES = Path(tunlab.__file__).parents[1]
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
SECTIONS = re.findall(r"^### (.*)\n((?:(?!##).*\n)*)", ARCHITECTURE.partition("\n## The map\n")[2], re.MULTILINE)
MODULES = sorted(path for path in (PACKAGES / "tunlab").rglob("*") if path.suffix in {".py", ".js", ".css", ".html"})


def is_named_by_rule(path):
    """Return True for a command and a protocol: for these, the map has one row with the folder."""
    if path.parent.name == "cli":
        return path.stem.replace("_", "-") in command_group.list_commands(None)
    return "\n    LAYOUT: ClassVar" in path.read_text(encoding="utf-8")


def test_map_names_every_module():
    modules = [path for path in MODULES if path.name not in {"__init__.py", "__main__.py"}]
    assert len(modules) > 200
    unnamed = [str(path.relative_to(PACKAGES)) for path in modules if not is_named_by_rule(path)]
    assert [name for name in unnamed if f"`{name}`" not in ARCHITECTURE] == []


@pytest.mark.parametrize(("heading", "text"), SECTIONS[:-1], ids=[heading for heading, _ in SECTIONS[:-1]])
def test_each_row_names_a_file_in_a_folder_of_its_section(heading, text):
    folders = tuple(re.findall(r"`(tunlab/\w+/)`", heading))
    rows = [row for row in text.splitlines() if row.startswith("|")][2:]
    assert rows
    wanted = (*folders, "lab/") if "tunlab/lab/" in folders else folders  # lab/ has the ready labs.
    files = {row: re.findall(r"`((?:tunlab|lab)/[^`]*)`", row) for row in rows}
    assert [row for row, named in files.items() if not any(file.startswith(wanted) for file in named)] == []
