"""TOML text → a lab's spec, or every problem that the text has.

    name = "router"

    [nodes]
    client = {}
    router = { forward = true }

    [[links]]
    ends = ["client", "router"]

Source: toml.io. Rule for editors: no function here stops at the first problem; a value that cannot be is noted, and
stands as if it had not been written.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, cast

from msgspec.structs import replace

from tunlab.errors import Problem, TopologyError
from tunlab.topology.lab_file.link_table import read_link
from tunlab.topology.lab_file.node_table import read_node
from tunlab.topology.planner.wiring import wire
from tunlab.topology.spec import (
    DEFAULT_NAME,
    DEFAULT_SUBNETS,
    DEFAULT_SUBNETS6,
    DEFAULT_TUN,
    DEFAULT_TUN6,
    Ip,
    LabSpec,
    NodeSpec,
)
from tunlab.topology.values import names
from tunlab.topology.values.problems import InvalidValueError, Problems, meant

MachineCheck: TypeAlias = Callable[[Mapping[str, NodeSpec]], Iterable[Problem]]
"""What is wrong with nodes that only the machine knows of: programs and files that it has not."""

_IPS = ("ipv4", "ipv6", "both")


def parse_lab(text: str, file: str = "", look: MachineCheck | None = None) -> LabSpec:
    """The lab that a lab file's text describes; what it leaves out is as in the default lab.

    file   its name, for the errors, and for the lab's name where the text has none
    look   asked for more that is wrong with its nodes, so that all is said at once

    Raises TopologyError with all that is wrong, each with the file, the table and the key.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TopologyError(f"no TOML: {error}", file=file, hint="see https://toml.io") from None
    return parse_tables(document, file, look)


def parse_tables(document: Mapping[str, Any], file: str = "", look: MachineCheck | None = None) -> LabSpec:
    """The lab that the tables of a lab file describe, tuples being lists. Raises TopologyError as parse_lab does."""
    document = plain(document)
    problems = Problems(file)
    problems.unknown_keys("", document, LabSpec.__struct_fields__)
    name = problems.take("", "name", names.lab_name, document.get("name", name_from(file)), DEFAULT_NAME)
    ipv4: Ip = "ipv4"
    ip = problems.take("", "ip", _ip, document.get("ip", ipv4), ipv4)
    lab = LabSpec(
        name=name,
        nodes={},
        ip=ip,
        subnets=_pool(problems, document, "subnets", DEFAULT_SUBNETS),
        subnets6=_pool(problems, document, "subnets6", DEFAULT_SUBNETS6),
    )
    nodes = _nodes(problems, document.get("nodes", {"stack": {}}), ip)
    tables = document.get("links", [])
    if not isinstance(tables, list):
        problems.add("", "links", "no list of tables", "write each link as [[links]]")
        tables = []
    if not tables and len(nodes) == 1:
        nodes = {node_name: _with_tun(node, ip) for node_name, node in nodes.items()}
    _without_tun(problems, document, nodes)
    _one_each(problems, nodes)
    # A link of which an end is missing says nothing about the others: nothing is worked out from it.
    links = [read_link(problems, f"links[{place}]", table, nodes, ip) for place, table in enumerate(tables)]
    lab = replace(lab, nodes=nodes, links=tuple(link for link in links if link is not None))
    wire(lab, problems, places=[place for place, link in enumerate(links) if link is not None])
    if look is not None:
        problems.found += look(nodes)
    problems.settle()
    return lab


def plain(value: Any) -> Any:
    """Only what TOML has: a tuple is a list there."""
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def name_from(file: str) -> str:
    """What a lab is called whose file does not say it: the file's stem, with "-" for what no name may contain."""
    stem = re.split(r"[/\\]", file)[-1].removesuffix(".toml").lower()
    return re.sub(r"[^a-z0-9]+", "-", stem).strip("-")[: names.LONGEST_NAME].strip("-") or DEFAULT_NAME


def _ip(value: object) -> Ip:
    if value not in _IPS:
        hint = meant(value, _IPS) if isinstance(value, str) else f"there are {', '.join(_IPS)}"
        raise InvalidValueError(f"{value!r} is nothing that a lab can speak", hint)
    return cast("Ip", value)


def _pool(problems: Problems, document: Mapping[str, Any], key: str, instead: str) -> str:
    version, longest = (4, 24) if key == "subnets" else (6, 64)

    def read(value: object) -> str:
        network = names.subnet(value, cast("names.Version", version))
        if network.prefixlen > longest:
            raise InvalidValueError(
                f"{value!r} is too small: each link gets a /{longest} of it", f"give a /{longest} or larger"
            )
        if not network.prefixlen:
            raise InvalidValueError(f"{value!r} is all there is", "give a smaller network")
        return str(network)

    return problems.take("", key, read, document.get(key, instead), instead)


def _nodes(problems: Problems, tables: object, ip: Ip) -> dict[str, NodeSpec]:
    if not isinstance(tables, dict):
        problems.add("", "nodes", "no tables", "write a node as [nodes.stack]")
        return {}
    if not tables:
        problems.add("", "nodes", "a lab without a node", "write one, as [nodes.stack]")
    nodes = {}
    for node_name, values in tables.items():
        table = f"nodes.{node_name}"
        problems.take(table, "", names.node_name, node_name, "")
        if not isinstance(values, dict):
            problems.add(table, "", f"{values!r} is no table", f"write [{table}], or {node_name} = {{}}")
            values = {}
        # Kept under its own name: links that name it have no problem of their own.
        nodes[node_name] = read_node(problems, table, values, ip)
    return nodes


def _without_tun(problems: Problems, document: Mapping[str, Any], nodes: Mapping[str, NodeSpec]) -> None:
    """What is said of a TUN that is not there would be lost without a word."""
    for name, node in nodes.items():
        given = document.get("nodes", {"stack": {}})[name]
        if not isinstance(given, dict):
            continue
        if node.kind != "switch" and not node.devices and not {"tun", "tun6", "tuns"} & set(given):
            for key in ("ifname", "mtu"):
                if key in given:
                    hint = "give it to the link, or the node a tun"
                    problems.add(f"nodes.{name}", key, "it is the TUN's, and there is none", hint)


def _one_each(problems: Problems, nodes: Mapping[str, NodeSpec]) -> None:
    """A container has one namespace, and so is one node."""
    taken: dict[str, str] = {}
    for name, node in nodes.items():
        if node.container and (other := taken.setdefault(node.container, name)) != name:
            problem = f"{node.container!r} is node {other} already"
            problems.add(f"nodes.{name}", "container", problem, f"leave the node out, and give its links to {other}")


def _with_tun(node: NodeSpec, ip: Ip) -> NodeSpec:
    """A lab of one node and no link is there for its TUN."""
    if node.kind in ("switch", "container") or node.devices:
        return node
    return replace(node, tun=DEFAULT_TUN if ip != "ipv6" else "", tun6=DEFAULT_TUN6 if ip != "ipv4" else "")
