"""Tests that the generated pages of the reference are complete."""

import importlib.util
import json
import re

import pytest

import tunlab
import tunlab.packet
import tunlab.pytest_plugin
from tests.docs.pages import ROOT
from tunlab.cli.group import tunlab as command_group


@pytest.fixture(scope="module")
def fixtures():
    """Return the names of the fixtures that the plugin defines."""
    modules = [importlib.import_module(name) for name in tunlab.pytest_plugin.pytest_plugins]
    found = {name: value for module in modules for name, value in vars(module).items() if not name.startswith("_")}
    return {name for name, value in found.items() if type(value).__name__ == "FixtureFunctionDefinition"}


def test_page_about_own_fixtures_names_every_fixture(fixtures):
    page = (ROOT / "docs/how-to/own-fixtures.md").read_text(encoding="utf-8")
    assert {"tun", "tap", "make_dut"} < fixtures
    assert set(re.findall(r"`(\w+)`", page.partition("A project's own")[0])) == fixtures


@pytest.fixture(scope="module")
def reference():
    """Return all reference pages as one text, with their generated parts."""
    spec = importlib.util.spec_from_file_location("generated", ROOT / "docs/generated.py")
    generated = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generated)
    pages = sorted((ROOT / "docs/reference").glob("*.md"))
    return "\n".join(generated.filled(page.read_text(encoding="utf-8")) for page in pages)


def test_reference_has_no_unfilled_placeholder(reference):
    assert "<!--" not in reference


@pytest.mark.parametrize("module", [tunlab, tunlab.packet], ids=lambda module: module.__name__)
def test_reference_has_every_public_name(module, reference):
    assert [name for name in module.__all__ if not re.search(rf"^##+ {name}$", reference, re.MULTILINE)] == []


def test_reference_has_every_command_and_option(reference):
    for name in command_group.list_commands(None):
        command = command_group.get_command(None, name)
        assert f"## {name}\n" in reference
        options = [option for parameter in command.params for option in parameter.opts if option.startswith("--")]
        assert [option for option in options if option not in reference] == []


def test_reference_has_every_lab_file_key(reference):
    schema = json.loads((ROOT / "lab/lab.schema.json").read_text(encoding="utf-8"))
    tables = [schema, *schema["definitions"].values()]
    assert [key for table in tables for key in table["properties"] if f"`{key}`" not in reference] == []


def test_reference_has_every_fixture_marker_and_setting(pytestconfig, fixtures, reference):
    settings = [name for name in pytestconfig._parser._inidict if name.startswith("tunlab_")]
    assert settings
    assert [name for name in [*fixtures, *settings] if f"`{name}`" not in reference] == []
    assert "`@pytest.mark.tun(" in reference
    assert "`@pytest.mark.lab(" in reference


def test_docstring_of_create_describes_every_option_of_devices():
    described = set(re.findall(r"^ +(\w+): ", tunlab.Tun.create.__doc__, re.MULTILINE))
    assert {"multi_queue", "owner", "group", *tunlab.Tap.OPTIONS} - described == set()
