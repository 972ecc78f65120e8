"""The parts of the reference that are generated: commands, lab-file keys, pytest settings, the Python API.

A reference page holds comments such as `<!-- generated: commands -->`; `fill_in` replaces each by its Markdown, so that
the reference cannot differ from the code.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_PLACE = re.compile(r"^<!-- generated: ([a-z_-]+)((?: \S+)*) -->$", re.MULTILINE)


def fill_in(app: object, page: str, source: list[str]) -> None:  # noqa: ARG001 - Sphinx's signature
    """Replace the comments of one page; a handler of Sphinx's `source-read` event."""
    source[0] = filled(source[0])


def filled(text: str) -> str:
    """Return a page's Markdown with its generated parts. Raises KeyError for an unknown generator."""
    return _PLACE.sub(lambda place: _GENERATORS[place[1]](*place[2].split()), text)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [[*head]]
    lines += [["---"] * len(lines[0]), *([*row] for row in rows)]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in lines
    )


# ---- the command line ------------------------------------------------------------------------------------------------


def commands() -> str:
    """Return a section for each command, from click's help."""
    import click

    from tunlab.cli.group import tunlab

    context = click.Context(tunlab, info_name="tunlab")
    parts = []
    for name in tunlab.list_commands(context):
        command = tunlab.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=f"tunlab {name}")
        usage = " ".join(command.collect_usage_pieces(inner))
        parts += [f"## {name}", f"`tunlab {name} {usage}`", *_help_paragraphs(command.help or "")]
        records = [record for each in command.get_params(inner) if (record := each.get_help_record(inner))]
        parts.append(
            _table(
                ("option", "meaning"),
                [(f"`{option}`", _escaped(text)) for option, text in records if option != "--help" and text],
            )
        )
    return "\n\n".join(parts)


def _help_paragraphs(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        if paragraph.startswith("\b"):  # click keeps its lines as they are
            yield "```text\n" + paragraph.lstrip("\b\n") + "\n```"
        elif paragraph.startswith("Example: "):
            yield "Example:\n\n```sh\n" + " ".join(paragraph.removeprefix("Example: ").split()) + "\n```"
        else:
            yield _escaped(" ".join(paragraph.split()))


def _escaped(text: str) -> str:
    """Return text in which options are code, and `[`, `<` and `*` outside of code stand for themselves."""
    text = re.sub(r"(?<![`\w-])--[a-z][\w-]*(?![`\w-])", r"`\g<0>`", text)
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if number % 2 else re.sub(r"([\[\]<*_])", r"\\\1", part) for number, part in enumerate(parts))


def exit_codes() -> str:
    """Return a table of the errors that end a command, with their exit codes."""
    errors = import_module("tunlab.errors")
    base = errors.TunlabError
    found = [
        value for value in vars(errors).values()
        if inspect.isclass(value) and issubclass(value, base) and value.__module__ == errors.__name__
    ]  # fmt: skip
    rows = [(str(error.exit_code), f"`{error.__name__}`", _first_line(error)) for error in found]
    return _table(("exit code", "error", "meaning"), sorted(rows, key=lambda row: int(row[0])))


def _first_line(thing: object) -> str:
    return _escaped(" ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split()))


# ---- lab files -------------------------------------------------------------------------------------------------------


def lab_keys() -> str:
    """Return a table for each table of a lab file, from lab.schema.json."""
    schema = json.loads((ROOT / "lab/lab.schema.json").read_text(encoding="utf-8"))
    parts = ["## The file", _keys(schema["properties"])]
    for title, definition in (("`[nodes]`", "node"), ("`[[links]]`", "link")):
        parts += [f"## {title}", schema["definitions"][definition]["description"]]
        parts.append(_keys(schema["definitions"][definition]["properties"]))
    return "\n\n".join(parts)


def _keys(properties: Mapping[str, Any], prefix: str = "") -> str:
    rows = list(_rows(properties, prefix))
    return _table(("key", "meaning", "values"), rows)


def _rows(properties: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, value in properties.items():
        yield f"`{prefix}{name}`", value.get("description", ""), "; ".join(_values(value))
        for shape in _shapes(value):
            item = shape.get("items", {})
            for table in (shape, *_shapes(item)):
                if "properties" in table:
                    inner = f"{prefix}{name}[]." if item else f"{prefix}{name}."
                    yield from _rows(table["properties"], inner)


def _shapes(value: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(value.get("anyOf", [value]))


def _values(value: Mapping[str, Any]) -> Iterator[str]:
    if "enum" in value:
        yield ", ".join(f"`{json.dumps(each)}`" for each in value["enum"])
    elif "examples" in value:
        yield "for example " + ", ".join(f"`{_toml(each)}`" for each in value["examples"])
    elif "minimum" in value:
        yield f"{value['minimum']} to {value['maximum']}" if "maximum" in value else f"from {value['minimum']}"
    elif value.get("type") == "boolean":
        yield "`true`, `false`"
    elif "anyOf" in value:
        examples = [text for each in value["anyOf"] if "examples" in each for text in _values(each)]
        yield from examples or [" or ".join(dict.fromkeys(_kind(each) for each in value["anyOf"]))]
    elif "$ref" not in value:
        yield _kind(value)
    if "default" in value:
        yield f"default `{_toml(value['default'])}`"


_KINDS = {"object": "table", "array": "list", "string": "text", "integer": "whole number", "number": "number"}


def _kind(value: Mapping[str, Any]) -> str:
    return _KINDS.get(value.get("type", ""), "")


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f'"{key}" = {_toml(each)}' for key, each in value.items()) + " }"
    return json.dumps(value)


# ---- pytest ----------------------------------------------------------------------------------------------------------


class _RecordingParser:
    """A parser of pytest's kind that keeps what a plugin declares."""

    def __init__(self) -> None:
        self.options: list[tuple[str, str]] = []
        self.settings: list[tuple[str, str, str, str]] = []

    def getgroup(self, name: str, description: str = "", after: str | None = None) -> _RecordingParser:
        return self

    def addoption(self, *names: str, **keys: Any) -> None:
        argument = keys.get("metavar") or ("|".join(keys["choices"]) if keys.get("choices") else "")
        self.options.append((names[-1] + (f"={argument}" if argument else ""), keys.get("help", "")))

    def addini(self, name: str, help: str, type: str | None = None, default: object = "", **_: Any) -> None:  # noqa: A002
        self.settings.append((name, help, type or "string", "" if default is None else str(default)))


def _declared() -> _RecordingParser:
    parser = _RecordingParser()
    for name in import_module("tunlab.pytest_plugin").pytest_plugins:
        if declare := getattr(import_module(name), "pytest_addoption", None):
            declare(parser)
    return parser


def pytest_options() -> str:
    """Return a table of the command line options that the plugin adds to pytest."""
    return _table(("option", "meaning"), [(f"`{option}`", _escaped(text)) for option, text in _declared().options])


def pytest_settings() -> str:
    """Return a table of the ini options that the plugin adds to pytest."""
    rows = [
        (f"`{name}`", _escaped(text), kind, f"`{default}`" if default else "")
        for name, text, kind, default in _declared().settings
    ]
    return _table(("ini option", "meaning", "type", "default"), rows)


def pytest_markers() -> str:
    """Return a definition for each marker that the plugin registers."""
    options = import_module("tunlab.pytest_plugin.options")
    texts = [value for name, value in vars(options).items() if name.endswith("MARKER")]
    return "\n\n".join(
        "`@pytest.mark.{}{}`\n: {}".format(*re.fullmatch(r"(\w+)(\(.*?\)): (.*)", text, re.DOTALL).groups())
        for text in texts
    )


def pytest_fixtures() -> str:
    """Return a definition for each fixture, from its docstring."""
    found = {}
    for name in import_module("tunlab.pytest_plugin").pytest_plugins:
        for attribute, value in vars(import_module(name)).items():
            if type(value).__name__ == "FixtureFunctionDefinition" and not attribute.startswith("_"):
                found[attribute] = inspect.getdoc(value) or ""
    return "\n\n".join(
        f"`{name}`\n" + textwrap.indent(text, "  ").replace("  ", ": ", 1) for name, text in found.items()
    )


# ---- the Python API --------------------------------------------------------------------------------------------------


def api(package: str, *first: str) -> str:
    """Return the documentation of the public names of `tunlab` that live in a package, by autodoc; `first` lead."""
    tunlab = import_module("tunlab")
    names = [name for name in tunlab.__all__ if _home(tunlab, name).startswith(package)]
    names.sort(key=lambda name: (first.index(name) if name in first else len(first), name))
    assert names, package
    return "\n\n".join(_autodoc("tunlab", name, "##") for name in names)


def _home(module: object, name: str) -> str:
    value = getattr(module, name)
    return value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", "")


def packet_api(kind: str) -> str:
    """Return the documentation of `tunlab.packet`: its "headers", "functions" or other "classes"."""
    packet = import_module("tunlab.packet")
    names = [name for name in packet.__all__ if _packet_kind(packet, name) == kind]
    assert names, kind
    return "\n\n".join(_autodoc("tunlab.packet", name, "###") for name in names)


def _packet_kind(packet: Any, name: str) -> str:
    value = getattr(packet, name)
    if inspect.isclass(value):
        return "headers" if issubclass(value, packet.Header) else "classes"
    return "options" if inspect.ismodule(value) else "functions"


def _autodoc(module: str, name: str, heading: str) -> str:
    value = getattr(import_module(module), name)
    if inspect.ismodule(value):
        directive, options = "automodule", [":members:"]
    elif inspect.isclass(value):
        directive, options = "autoclass", [":members:"]
        if issubclass(value, Exception):
            options.append(":show-inheritance:")
        elif any(_is_unlisted_base(base) for base in value.__mro__[1:]):
            options.append(":inherited-members: Closeable")
    elif callable(value):
        directive, options = "autofunction", list[str]()
    else:
        return "\n".join([f"{heading} {name}", "", "```{eval-rst}", *_type_alias(module, name), "```"])
    target = value.__name__ if directive == "automodule" else f"{module}.{name}"
    lines = [f".. {directive}:: {target}", *(f"   {option}" for option in options)]
    return "\n".join([f"{heading} {name}", "", "```{eval-rst}", *lines, "```"])


def _type_alias(module: str, name: str) -> list[str]:
    """Return the documentation of a type alias. autodoc would show the docstring of `types.UnionType`."""
    for source in (each for each in sorted(sys.modules) if each.startswith(f"{module}.")):
        body = ast.parse(inspect.getsource(sys.modules[source])).body
        for statement, docstring in pairwise(body):
            match statement, docstring:
                case ast.AnnAssign(target=ast.Name(id=alias)), ast.Expr(ast.Constant(str(text))) if alias == name:
                    value = re.sub(r"\b[a-z][\w.]*\.", "", str(getattr(import_module(module), name)))
                    return [f".. py:data:: {module}.{name}", f"   :value: {value}", "", f"   {text}"]
    raise LookupError(f"{name} has no docstring in a module of {module}. Write one below its definition.")


def _is_unlisted_base(base: type) -> bool:
    """Return True for a base class whose methods are documented nowhere else."""
    return base.__module__.startswith(("tunlab.kernel.", "tunlab.traffic.")) and base.__name__ not in {
        "Closeable",
        *import_module("tunlab").__all__,
    }


_GENERATORS = {
    "commands": commands,
    "exit-codes": exit_codes,
    "lab-keys": lab_keys,
    "pytest-options": pytest_options,
    "pytest-settings": pytest_settings,
    "pytest-markers": pytest_markers,
    "pytest-fixtures": pytest_fixtures,
    "api": api,
    "packet-api": packet_api,
}
