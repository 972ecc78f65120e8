"""Topology: a lab built in code with the keys of a lab file.

lab = Topology("router")
lab.node("client")
lab.node("router", forward=True)
lab.link("client", "router", delay="20ms")
spec = lab.spec()
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tunlab.topology.lab_file.reader import parse_tables, tuples_to_lists
from tunlab.topology.spec import DEFAULT_NAME, LabSpec

End = str | Mapping[str, Any]


class Topology:
    """A lab that is defined in code. Keyword arguments are the keys of a lab file; `spec` checks them."""

    def __init__(self, name: str = DEFAULT_NAME, **keys: object) -> None:
        self._document: dict[str, Any] = {"name": name, **keys, "nodes": {}, "links": []}

    def node(self, name: str, **keys: object) -> str:
        """Add a node with the keys of its table; return its name for use in `link`. Raises ValueError if it exists."""
        if name in self._document["nodes"]:
            raise ValueError(f"there is a node {name!r} already. Choose another name.")
        self._document["nodes"][name] = tuples_to_lists(keys)
        return name

    def link(self, *ends: End, **keys: object) -> None:
        """Add a link with the keys of its table; each end is "node", "node:ifname" or a table."""
        self._document["links"].append({"ends": [tuples_to_lists(end) for end in ends], **tuples_to_lists(keys)})

    def spec(self) -> LabSpec:
        """Return the checked lab. Raises TopologyError with every error."""
        return parse_tables(self._document)

    @property
    def text(self) -> str:
        """The lab in TOML, as the text of a lab file."""
        return _text(self._document)


def _text(document: Mapping[str, Any]) -> str:
    lines = [f"{_key(key)} = {_value(value)}" for key, value in document.items() if key not in ("nodes", "links")]
    lines += ["", "[nodes]"] + [f"{_key(name)} = {_value(values)}" for name, values in document["nodes"].items()]
    for link in document["links"]:
        lines += ["", "[[links]]"] + [f"{_key(key)} = {_value(value)}" for key, value in link.items()]
    return "\n".join(lines) + "\n"


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _value(key)


def _value(value: object) -> str:
    """Return a value as TOML. A value of a type that TOML does not have becomes a string, which `spec` rejects."""
    if isinstance(value, Mapping):
        return (
            "{ " + ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items()) + " }" if value else "{}"
        )
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    # JSON's escapes are valid in TOML, but TOML requires an escape for DEL, and JSON does not.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
