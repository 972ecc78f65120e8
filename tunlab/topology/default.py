"""Lab files: TOML text → a frozen, checked spec. Pure; tunlab.lab makes it live.

    name = "lab"

    [nodes.stack]
    tun = "10.1.2.1/24"
    ifname = "tun0"
    mtu = 1500

Source: toml.io for the text, RFC 791 for the least MTU, dev_valid_name() in the kernel's net/core/dev.c for names.
Rule for editors: every key that a file may have is a field of a spec here; any other is an error that says which one
was meant.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from tunlab.errors import TopologyError

DEFAULT_NAME = "lab"
LONGEST_NAME = 15
LEAST_MTU, LARGEST_MTU = 68, 65_535
"""Octets: RFC 791 section 3.2 ("every internet module must be able to forward a datagram of 68 octets"), and what the
TUN driver takes."""

_LAB_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_IFNAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class NodeSpec(Struct, frozen=True):
    """A node: a network namespace with a TUN device.

    tun      the device's address and the prefix length of its network, "10.1.2.1/24"
    ifname   the device's name
    mtu      octets
    """

    tun: str = "10.1.2.1/24"
    ifname: str = "tun0"
    mtu: int = 1500


class LabSpec(Struct, frozen=True):
    """A lab: its name, and its nodes by theirs."""

    name: str = DEFAULT_NAME
    nodes: Mapping[str, NodeSpec] = field(default_factory=lambda: {"stack": NodeSpec()})

    @property
    def node(self) -> NodeSpec:
        """The lab's one node."""
        (node,) = self.nodes.values()
        return node

    def changed(
        self, *, name: str | None = None, tun: str | None = None, ifname: str | None = None, mtu: int | None = None
    ) -> LabSpec:
        """This lab with what is given in the place of what it has, checked. Raises TopologyError."""
        given = {"tun": tun, "ifname": ifname, "mtu": mtu}
        node = replace(self.node, **{key: value for key, value in given.items() if value is not None})
        check_node(node)
        name = self.name if name is None else check_lab_name(name)
        return replace(self, name=name, nodes=dict.fromkeys(self.nodes, node))


def parse_lab(text: str, file: str = "") -> LabSpec:
    """The lab that a lab file's text describes; what it leaves out is as in the default lab.

    file   its name, for the errors

    Raises TopologyError, with the file, the table and the key.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TopologyError(f"no TOML: {error}", file=file, hint="see https://toml.io") from None
    _check_keys(document, LabSpec, file, "")
    name = check_lab_name(document.get("name", DEFAULT_NAME), file=file)
    tables = document.get("nodes", {"stack": {}})
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise TopologyError("no tables", file=file, key="nodes", hint="write a node as [nodes.stack]")
    if len(tables) != 1:
        problem = f"a lab has one node, and there are {len(tables)} tables"
        raise TopologyError(problem, file=file, key="nodes", hint="write one, as [nodes.stack]")
    nodes = {node_name: _node(values, file, f"nodes.{node_name}") for node_name, values in tables.items()}
    return LabSpec(name, nodes)


def _node(values: dict[str, Any], file: str, table: str) -> NodeSpec:
    _check_keys(values, NodeSpec, file, table)
    node = NodeSpec(**values)
    check_node(node, file=file, table=table)
    return node


def _check_keys(values: Mapping[str, object], spec: type[Struct], file: str, table: str) -> None:
    known = spec.__struct_fields__
    for key in values:
        if key not in known:
            close = get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
            raise TopologyError("no such key", file=file, table=table, key=key, hint=hint)


def check_lab_name(name: object, *, file: str = "", key: str = "name") -> str:
    """`name` if a lab may be called so: 1 to 15 of a-z, 0-9 and "-", the first no "-". Raises TopologyError."""
    hint = f"take 1 to {LONGEST_NAME} of a-z, 0-9 and -"
    if not isinstance(name, str):
        problem = f"{name!r} is no text"
    elif not name:
        problem = "a lab needs a name"
    elif len(name) > LONGEST_NAME:
        problem = f"{name!r} has {len(name)} characters, and a lab's name has {LONGEST_NAME} at most"
    elif not _LAB_NAME.fullmatch(name):
        problem = f"a lab cannot be called {name!r}"
    else:
        return name
    raise TopologyError(problem, file=file, key=key, hint=hint)


def check_node(node: NodeSpec, *, file: str = "", table: str = "") -> None:
    """Nothing, if each field has a value that it can have. Raises TopologyError, which names the first other one."""
    for key, (problem, hint) in {
        "tun": _address_problem(node.tun),
        "ifname": _ifname_problem(node.ifname),
        "mtu": _mtu_problem(node.mtu),
    }.items():
        if problem:
            raise TopologyError(problem, file=file, table=table, key=key, hint=hint)


def _address_problem(text: object) -> tuple[str, str]:
    hint = 'give an IPv4 address and the prefix length of its network, as "10.1.2.1/24"'
    if not isinstance(text, str):
        return f"{text!r} is no text", hint
    try:
        address = ipaddress.IPv4Interface(text).ip
    except ValueError:
        return f"{text!r} is no address", hint
    if "/" not in text or not text.rpartition("/")[2].isdecimal():
        return f"{text!r} has no prefix length", hint
    if address.is_unspecified or address.is_multicast or address == ipaddress.IPv4Address("255.255.255.255"):
        return f"{text!r} is no address that a device can have", hint
    return "", ""


def _ifname_problem(name: object) -> tuple[str, str]:
    hint = 'give one like "tun0"'
    if not isinstance(name, str):
        return f"{name!r} is no text", hint
    if len(name) > LONGEST_NAME:
        return f"{name!r} has {len(name)} characters, and the kernel takes {LONGEST_NAME} at most", hint
    if not _IFNAME.fullmatch(name):
        return f"a device cannot be called {name!r}", f"take 1 to {LONGEST_NAME} of a-z, A-Z, 0-9, _, . and -"
    if name in ("lo", "all", "default"):  # the last two are sysctl's, net.ipv4.conf.all
        return f"{name!r} is taken in every namespace", hint
    return "", ""


def _mtu_problem(mtu: object) -> tuple[str, str]:
    # True is an int to Python, and no number to TOML.
    if type(mtu) is int and LEAST_MTU <= mtu <= LARGEST_MTU:
        return "", ""
    return f"{mtu!r} is no MTU", f"give a number of octets from {LEAST_MTU} to {LARGEST_MTU}"
