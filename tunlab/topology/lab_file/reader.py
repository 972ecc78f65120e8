"""Read a lab file: convert TOML text to a LabSpec, or raise an exception with every error in the text.

    name = "router"

    [nodes]
    client = {}
    router = { forward = true }

    [[links]]
    ends = ["client", "router"]

The functions here do not stop at an error: they add it to the problems and read on as if the key were missing.
Source: toml.io.
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
from tunlab.topology.planner.start_order import check_start_order
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
from tunlab.topology.values.problems import InvalidValueError, Problems, suggest

MachineCheck: TypeAlias = Callable[[Mapping[str, NodeSpec]], Iterable[Problem]]
"""A function that returns errors about this machine: programs and files that the nodes need and it does not have."""

_IPS = ("ipv4", "ipv6", "both")


def parse_lab(text: str, file: str = "", machine_check: MachineCheck | None = None) -> LabSpec:
    """Read the text of a lab file.

    Args:
        text: the TOML text.
        file: the file name to show in errors; also the lab's name, if the text has none.
        machine_check: a function that returns further errors of the nodes, to report with those of the text.

    Raises:
        TopologyError: with every error in the text.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TopologyError(f"not valid TOML: {error}", file=file, hint="See https://toml.io.") from None
    except RecursionError:
        raise TopologyError(
            "has too many levels of lists or tables", file=file, hint="Nest them less deeply."
        ) from None
    except ValueError:  # Python converts no integer of more than 4300 digits.
        raise TopologyError("has a number with too many digits", file=file, hint="Write a shorter number.") from None
    return parse_tables(document, file, machine_check)


def parse_tables(document: Mapping[str, Any], file: str = "", machine_check: MachineCheck | None = None) -> LabSpec:
    """Read a lab file's tables from a dict, in which tuples count as lists. Raises TopologyError like `parse_lab`."""
    document = tuples_to_lists(document)
    problems = Problems(file)
    problems.check_keys("", document, LabSpec.__struct_fields__)
    name = problems.read("", "name", names.lab_name, document.get("name", lab_name_from_file(file)), DEFAULT_NAME)
    node_tables = document.get("nodes", {"stack": {}})
    default = _default_ip(node_tables)
    ip = problems.read("", "ip", _ip, document.get("ip", default), default)
    lab = LabSpec(
        name=name,
        nodes={},
        ip=ip,
        subnets=_pool(problems, document, "subnets", DEFAULT_SUBNETS),
        subnets6=_pool(problems, document, "subnets6", DEFAULT_SUBNETS6),
    )
    nodes = _nodes(problems, node_tables, ip)
    tables = document.get("links", [])
    if not isinstance(tables, list):
        problems.add("", "links", "is not a list of tables", "Write each link as [[links]].")
        tables = []
    if not tables and len(nodes) == 1:
        nodes = {node_name: _add_default_tun(node, ip) for node_name, node in nodes.items()}
    _check_tun_keys(problems, document, nodes)
    _check_containers(problems, nodes)
    check_start_order(problems, nodes)
    # Leave out links with an unknown end, because they would cause further, misleading errors.
    links = [read_link(problems, f"links[{index}]", table, nodes, ip) for index, table in enumerate(tables)]
    lab = replace(lab, nodes=nodes, links=tuple(link for link in links if link is not None))
    wire(lab, problems, link_indexes=[index for index, link in enumerate(links) if link is not None])
    if machine_check is not None:
        problems.found += machine_check(nodes)
    problems.raise_if_any()
    return lab


def tuples_to_lists(value: Any) -> Any:
    """Return a copy of the value in which tuples are lists, the type that tomllib returns."""
    if isinstance(value, Mapping):
        return {key: tuples_to_lists(each) for key, each in value.items()}
    return [tuples_to_lists(each) for each in value] if isinstance(value, list | tuple) else value


def lab_name_from_file(file: str) -> str:
    """Return a lab name from a file name, with "-" for invalid characters."""
    stem = re.split(r"[/\\]", file)[-1].removesuffix(".toml").lower()
    return re.sub(r"[^a-z0-9]+", "-", stem).strip("-")[: names.LONGEST_NAME].strip("-") or DEFAULT_NAME


def _ip(value: object) -> Ip:
    if value not in _IPS:
        hint = suggest(value, _IPS) if isinstance(value, str) else f"Choose from {', '.join(_IPS)}."
        raise InvalidValueError(f"is {value!r}, which is not an IP version", hint)
    return cast("Ip", value)


def _default_ip(tables: object) -> Ip:
    """Return the IP versions of a lab whose file has no `ip`: both if a TUN has an IPv6 address, else IPv4."""
    nodes = [each for each in tables.values() if isinstance(each, dict)] if isinstance(tables, dict) else []
    given = [each.get("tun") for each in nodes]
    given += [addresses for each in nodes if isinstance(each.get("tuns"), dict) for addresses in each["tuns"].values()]
    addresses = [address for each in given for address in (each if isinstance(each, list) else [each])]
    return "both" if any(isinstance(each, str) and ":" in each for each in addresses) else "ipv4"


def _pool(problems: Problems, document: Mapping[str, Any], key: str, default: str) -> str:
    version, longest = (4, 24) if key == "subnets" else (6, 64)

    def parse(value: object) -> str:
        network = names.subnet(value, cast("names.Version", version))
        if network.prefixlen > longest:
            raise InvalidValueError(
                f"is {value!r}; each link gets a /{longest} of it", f"Write a /{longest} or larger."
            )
        if not network.prefixlen:
            raise InvalidValueError(f"is {value!r}, the whole address space", "Write a smaller network.")
        return str(network)

    return problems.read("", key, parse, document.get(key, default), default)


def _nodes(problems: Problems, tables: object, ip: Ip) -> dict[str, NodeSpec]:
    if not isinstance(tables, dict):
        problems.add("", "nodes", "is not a table", "Write a node as [nodes.stack].")
        return {}
    if not tables:
        problems.add("", "nodes", "is empty", "Add a node such as [nodes.stack].")
    nodes = {}
    for node_name, values in tables.items():
        table = f"nodes.{node_name}"
        problems.read(table, "", names.node_name, node_name, "")
        if not isinstance(values, dict):
            problems.add(table, "", f"is {values!r}, which is not a table", f"Write [{table}] or {node_name} = {{}}.")
            values = {}
        # Keep a node whose name is invalid, so that links to it are not reported as further errors.
        nodes[node_name] = read_node(problems, table, values, ip)
    return nodes


def _check_tun_keys(problems: Problems, document: Mapping[str, Any], nodes: Mapping[str, NodeSpec]) -> None:
    """Add an error for `ifname` and `mtu` in a node without a TUN, where they have no effect."""
    for name, node in nodes.items():
        given = document.get("nodes", {"stack": {}})[name]
        if not isinstance(given, dict):
            continue
        if node.kind != "switch" and not node.devices and not {"tun", "tuns"} & set(given):
            for key in ("ifname", "mtu"):
                if key in given:
                    hint = "Set it on the link, or give the node a tun."
                    problems.add(f"nodes.{name}", key, "applies to a TUN, and the node has none", hint)


def _check_containers(problems: Problems, nodes: Mapping[str, NodeSpec]) -> None:
    """Add an error if two nodes use the same container, which has only one network namespace."""
    used: dict[str, str] = {}
    for name, node in nodes.items():
        if node.container and (other := used.setdefault(node.container, name)) != name:
            problem = f"is {node.container!r}, which is already node {other}"
            problems.add(f"nodes.{name}", "container", problem, f"Remove this node and use {other} in its links.")


def _add_default_tun(node: NodeSpec, ip: Ip) -> NodeSpec:
    """Add the default TUN to the only node of a lab if the node can have a TUN and has none; return the node."""
    if node.kind in ("switch", "container") or node.devices:
        return node
    defaults: dict[Ip, tuple[str, ...]] = {"ipv4": (DEFAULT_TUN,), "ipv6": (DEFAULT_TUN6,)}
    return replace(node, tun=defaults.get(ip, (DEFAULT_TUN, DEFAULT_TUN6)))
