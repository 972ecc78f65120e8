"""Read a [[links]] table of a lab file into a LinkSpec."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from msgspec.structs import replace

from tunlab.topology.lab_file.node_table import check_family
from tunlab.topology.plan import Impairment
from tunlab.topology.spec import EndSpec, Ip, LinkSpec, NodeSpec
from tunlab.topology.values import names, units
from tunlab.topology.values.problems import InvalidValueError, Problems, suggest

IMPAIRMENT_KEYS: Mapping[str, tuple[str, Callable[[object], Any]]] = {
    "rate": ("rate", units.rate),
    "delay": ("delay_us", units.delay),
    "jitter": ("jitter_us", units.delay),
    "loss": ("loss", units.share),
    "reorder": ("reorder", units.share),
    "duplicate": ("duplicate", units.share),
}
"""For each impairment key, its field of Impairment and its parser."""

END_KEYS = ("node", "ifname", "address", "address6", "mac", *IMPAIRMENT_KEYS)
LINK_KEYS = ("ends", "subnet", "subnet6", "mtu", *IMPAIRMENT_KEYS)
_ENDS = 'Write ends = ["client", "router:lan0"].'


def read_link(problems: Problems, table: str, values: object, nodes: Mapping[str, NodeSpec], ip: Ip) -> LinkSpec | None:
    """Read a [[links]] table and add its errors to `problems`; return None if an end is invalid."""
    if not isinstance(values, dict):
        problems.add(table, "", f"is {values!r}, which is not a table", "Write each link as [[links]].")
        return None
    problems.check_keys(table, values, LINK_KEYS)
    impairment = _impairment(problems, table, values, Impairment())
    subnet = problems.read(table, "subnet", lambda value: _subnet(value, 4, ip), values.get("subnet"), "")
    subnet6 = problems.read(table, "subnet6", lambda value: _subnet(value, 6, ip), values.get("subnet6"), "")
    mtu = problems.read(table, "mtu", partial(units.mtu, ipv6=ip != "ipv4"), values.get("mtu", 1500), 1500)
    given = values.get("ends", [])
    if not isinstance(given, list):
        problems.add(table, "ends", f"is {given!r}, which is not a list", _ENDS)
        return None
    if len(given) < 2:
        problems.add(table, "ends", f"has {('no end', 'one end')[len(given)]}", "Give two ends, or more for a bridge.")
        return None
    ends = [_end(problems, f"{table}.ends[{index}]", each, nodes, ip, impairment) for index, each in enumerate(given)]
    known = [end for end in ends if end is not None]
    if len(known) < len(ends):
        return None
    seen = [end.node for end in known]
    if duplicate := next((node for node in seen if seen.count(node) > 1), ""):
        problem = f"joins {duplicate} to itself" if len(set(seen)) == 1 else f"names {duplicate} twice"
        problems.add(table, "ends", problem, "Name each node once.")
        return None
    return LinkSpec(ends=tuple(known), subnet=subnet, subnet6=subnet6, mtu=mtu)


def _end(
    problems: Problems, table: str, given: object, nodes: Mapping[str, NodeSpec], ip: Ip, impairment: Impairment
) -> EndSpec | None:
    values: Mapping[str, Any]
    if isinstance(given, str):
        node, colon, ifname = given.partition(":")
        values = {"node": node, "ifname": ifname} if colon else {"node": node}
        node_table, _, node_key = table.rpartition(".")
    elif isinstance(given, dict):
        values, node_table, node_key = given, table, "node"
        problems.check_keys(table, values, END_KEYS)
        if "node" not in values:
            problems.add(table, "node", "is missing", 'Write { node = "client" }.')
    else:
        problems.add(table, "", f"is {given!r}, which is not an end", _ENDS)
        return None

    def read(key: str, parser: Callable[[Any], str]) -> str:
        if key not in values:
            return ""
        error_table, error_key = (node_table, node_key) if isinstance(given, str) else (table, key)
        return problems.read(error_table, error_key, parser, values[key], "")

    end = EndSpec(
        node=str(values.get("node", "")),
        ifname=read("ifname", names.ifname),
        address=read("address", lambda value: _address(value, 4, ip)),
        address6=read("address6", lambda value: _address(value, 6, ip)),
        mac=read("mac", names.hardware_address),
        impairment=_impairment(problems, table, values, impairment),
    )
    if "node" not in values:
        return None
    if end.node not in nodes:
        problems.add(
            node_table,
            node_key,
            f"is {end.node!r}, which is not a node of the lab",
            suggest(end.node, nodes) if nodes else "",
        )
        return None
    if nodes[end.node].kind == "switch" and (end.address or end.address6):
        problems.add(table, "address", f"is set on a port of switch {end.node}, which has no addresses", "Remove it.")
        return replace(end, address="", address6="")
    return end


def _impairment(problems: Problems, table: str, values: Mapping[str, Any], common: Impairment) -> Impairment:
    """Return the impairment in the table of a link or an end; `common` has the values of keys that are missing."""
    given: Collection[str] = [key for key in IMPAIRMENT_KEYS if key in values]
    for key in given:
        field, parser = IMPAIRMENT_KEYS[key]
        common = replace(common, **{field: problems.read(table, key, parser, values[key], 0)})
    for key in ("jitter", "reorder"):
        if key in given and getattr(common, IMPAIRMENT_KEYS[key][0]) and not common.delay_us and "delay" not in given:
            problems.add(table, key, "has no effect without a delay", 'Add delay = "10ms".')
    return common


def _subnet(value: object, version: names.Version, ip: Ip) -> str:
    if value is None:
        return ""
    network = names.subnet(value, version)
    check_family(version, ip)
    if not network.prefixlen:
        raise InvalidValueError(f"is {value!r}, the whole address space", "Write a smaller network.")
    if network.num_addresses < 2:
        raise InvalidValueError(f"is {value!r}, a single address; a link needs two", "Write a larger network.")
    return str(network)


def _address(value: object, version: names.Version, ip: Ip) -> str:
    """Check an interface address with or without prefix length. Raises InvalidValueError."""
    if isinstance(value, str) and "/" not in value:
        kind = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
        try:
            address = kind(value)
        except ValueError:
            raise InvalidValueError(
                f"is {value!r}, which is not an IPv{version} address", names.CIDR_HINTS[version]
            ) from None
        names.check_usable(address, value, names.CIDR_HINTS[version])
        check_family(version, ip)
        return str(address)
    interface = names.interface(value, version)
    check_family(version, ip)
    return str(interface)
