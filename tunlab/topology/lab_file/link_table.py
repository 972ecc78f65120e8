"""A table of [[links]] → the link's spec."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Mapping
from typing import Any

from msgspec.structs import replace

from tunlab.topology.lab_file.node_table import spoken
from tunlab.topology.plan import Impairment
from tunlab.topology.spec import EndSpec, Ip, LinkSpec, NodeSpec
from tunlab.topology.values import names, units
from tunlab.topology.values.problems import InvalidValueError, Problems, meant

IMPAIRMENT_KEYS: Mapping[str, tuple[str, Callable[[object], Any]]] = {
    "rate": ("rate", units.rate),
    "delay": ("delay_us", units.delay),
    "jitter": ("jitter_us", units.delay),
    "loss": ("loss", units.share),
    "reorder": ("reorder", units.share),
    "duplicate": ("duplicate", units.share),
}
"""The keys for what a link does to packets: the field of an Impairment, and what reads the value."""

END_KEYS = ("node", "ifname", "address", "address6", "mac", *IMPAIRMENT_KEYS)
LINK_KEYS = ("ends", "subnet", "subnet6", "mtu", *IMPAIRMENT_KEYS)
_ENDS = 'write ends = ["client", "router:lan0"]'


def read_link(problems: Problems, table: str, values: object, nodes: Mapping[str, NodeSpec], ip: Ip) -> LinkSpec | None:
    """The link that a table describes, its problems noted; None where an end of it is not known."""
    if not isinstance(values, dict):
        problems.add(table, "", f"{values!r} is no table", "write each link as [[links]]")
        return None
    problems.unknown_keys(table, values, LINK_KEYS)
    impairment = _impairment(problems, table, values, Impairment())
    subnet = problems.take(table, "subnet", lambda value: _subnet(value, 4, ip), values.get("subnet"), "")
    subnet6 = problems.take(table, "subnet6", lambda value: _subnet(value, 6, ip), values.get("subnet6"), "")
    mtu = problems.take(table, "mtu", units.mtu, values.get("mtu", 1500), 1500)
    if ip != "ipv4" and mtu < units.LEAST_MTU_IPV6:
        problem = f"{mtu} is no MTU for IPv6 (RFC 8200 section 5)"
        problems.add(table, "mtu", problem, f"give {units.LEAST_MTU_IPV6} at least")
    given = values.get("ends", [])
    if not isinstance(given, list):
        problems.add(table, "ends", f"{given!r} is no list", _ENDS)
        return None
    if len(given) < 2:
        problems.add(
            table, "ends", f"a link with {('no end', 'one end')[len(given)]}", "give it two, or more for a bridge"
        )
        return None
    ends = [_end(problems, f"{table}.ends[{at}]", each, nodes, ip, impairment) for at, each in enumerate(given)]
    known = [end for end in ends if end is not None]
    if len(known) < len(ends):
        return None
    seen = [end.node for end in known]
    if twice := next((node for node in seen if seen.count(node) > 1), ""):
        problem = f"a link from {twice} to itself" if len(set(seen)) == 1 else f"{twice} stands there twice"
        problems.add(table, "ends", problem, "name each node once")
        return None
    return LinkSpec(ends=tuple(known), subnet=subnet, subnet6=subnet6, mtu=mtu)


def _end(
    problems: Problems, table: str, given: object, nodes: Mapping[str, NodeSpec], ip: Ip, impairment: Impairment
) -> EndSpec | None:
    values: Mapping[str, Any]
    if isinstance(given, str):
        node, colon, ifname = given.partition(":")
        values = {"node": node, "ifname": ifname} if colon else {"node": node}
        where, key = table.rpartition(".")[0], table.rpartition(".")[2]
    elif isinstance(given, dict):
        values, where, key = given, table, "node"
        problems.unknown_keys(table, values, END_KEYS)
        if "node" not in values:
            problems.add(table, "node", "an end without a node", 'write { node = "client" }')
    else:
        problems.add(table, "", f"{given!r} is no end", _ENDS)
        return None

    def take(key: str, read: Callable[[Any], str]) -> str:
        if key not in values:
            return ""
        at = (where, table.rpartition(".")[2]) if isinstance(given, str) else (table, key)
        return problems.take(*at, read, values[key], "")

    end = EndSpec(
        node=str(values.get("node", "")),
        ifname=take("ifname", names.ifname),
        address=take("address", lambda value: _address(value, 4, ip)),
        address6=take("address6", lambda value: _address(value, 6, ip)),
        mac=take("mac", names.hardware_address),
        impairment=_impairment(problems, table, values, impairment),
    )
    if "node" not in values:
        return None
    if end.node not in nodes:
        problems.add(where, key, f"there is no node {end.node!r}", meant(end.node, nodes) if nodes else "")
        return None
    if nodes[end.node].kind == "switch" and (end.address or end.address6):
        problems.add(table, "address", f"{end.node} is a switch, and its ports have no address", "leave it out")
        return replace(end, address="", address6="")
    return end


def _impairment(problems: Problems, table: str, values: Mapping[str, Any], common: Impairment) -> Impairment:
    """What the values say, in the place of what is said for the link as a whole."""
    given: Collection[str] = [key for key in IMPAIRMENT_KEYS if key in values]
    for key in given:
        field, read = IMPAIRMENT_KEYS[key]
        common = replace(common, **{field: problems.take(table, key, read, values[key], 0)})
    for key in ("jitter", "reorder"):
        if key in given and getattr(common, IMPAIRMENT_KEYS[key][0]) and not common.delay_us and "delay" not in given:
            problems.add(table, key, f"{key} without a delay", 'give delay = "10ms" too')
    return common


def _subnet(value: object, version: names.Version, ip: Ip) -> str:
    if value is None:
        return ""
    network = names.subnet(value, version)
    spoken(version, ip)
    if not network.prefixlen:
        raise InvalidValueError(f"{value!r} is all there is", "give a smaller network")
    if network.num_addresses < 2:
        raise InvalidValueError(f"{value!r} is a single address, and a link has two", "give a larger network")
    return str(network)


def _address(value: object, version: names.Version, ip: Ip) -> str:
    """With the prefix length where there is one."""
    if isinstance(value, str) and "/" not in value:
        kind = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
        try:
            address = kind(value)
        except ValueError:
            raise InvalidValueError(f"{value!r} is no IPv{version} address", names.CIDR_HINTS[version]) from None
        names.station(address, value, names.CIDR_HINTS[version])
        spoken(version, ip)
        return str(address)
    own = names.interface(value, version)
    spoken(version, ip)
    return str(own)
