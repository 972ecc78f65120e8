"""Targets: which device is under test, as `--dut` says it, and the Python objects that a target names."""

from __future__ import annotations

import shlex
import string
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Literal

from msgspec import Struct

from tunlab.errors import DeviceError

Kind = Literal["kernel", "program", "fd", "object"]
_SYNTAX = "give kernel, fd:MODULE:CALLABLE, object:MODULE:CLASS or a command with {ifname} or {fd}"


class Target(Struct, frozen=True):
    """A device under test, as it was given.

    Attributes:
        text: The given text: "./my_stack {ifname} {address}".
        kind: How it is run.
        reference: "module:name" of an fd or object.
    """

    text: str
    kind: Kind
    reference: str = ""

    @classmethod
    def parse(cls, text: str) -> Target:
        """Return the target that a text describes. Raises DeviceError if it is not one."""
        if text == "kernel":
            return cls(text, "kernel")
        kind, colon, reference = text.partition(":")
        if colon and kind in ("fd", "object"):
            module, _, name = reference.partition(":")
            if not module or not name:
                raise DeviceError(repr(text), "does not name a Python object", remedy=f"write {kind}:MODULE:NAME")
            return cls(text, "fd" if kind == "fd" else "object", reference)
        try:
            fields = {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
        except ValueError as error:
            raise DeviceError(repr(text), f"is not a command: {error}", remedy=_SYNTAX) from None
        if not fields & {"ifname", "fd"}:
            raise DeviceError(repr(text), "does not tell the program which device to open", remedy=_SYNTAX)
        return cls(text, "program")

    def arguments(self, values: Mapping[str, object]) -> list[str]:
        """Return the command with its placeholders filled in. Raises DeviceError for an unknown placeholder."""
        try:
            return [word.format_map(values) for word in shlex.split(self.text)]
        except KeyError as error:
            names = ", ".join(f"{{{name}}}" for name in values)
            raise DeviceError(repr(self.text), f"has the unknown placeholder {{{error.args[0]}}}",
                              remedy=f"use {names}, or write {{{{ for a brace") from None  # fmt: skip

    def load(self) -> Any:
        """Import the object of `reference`. Raises DeviceError if there is none."""
        return load(self.reference, self.text)


def load(reference: str, name: str) -> Any:
    """Import "module:attribute.attribute". `name` is its name in errors. Raises DeviceError."""
    module_name, _, path = reference.partition(":")
    try:
        found: Any = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the device's module exists, but it imports a module that does not exist
        remedy = "check the name, and that pytest's `pythonpath` has its directory"
        raise DeviceError(name, f"cannot be imported: Python finds no module {error.name!r}", remedy=remedy) from None
    for each in path.split("."):
        try:
            found = getattr(found, each)
        except AttributeError:
            remedy = "check the spelling of the name"
            raise DeviceError(name, f"does not exist: {module_name} has no {path!r}", remedy=remedy) from None
    return found
