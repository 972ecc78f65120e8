"""Predicting which nodes of a plan reach which, by following its routes hop by hop.

`tunlab ping-all` compares the running lab with it. It does not use the code that computes the routes.
"""

from __future__ import annotations

import ipaddress
from typing import Literal

from tunlab.topology.plan import LabPlan, NodePlan
from tunlab.topology.values.names import Network

Family = Literal["", "ipv4", "ipv6"]

Hop = tuple[str, str, str]
"""The outgoing interface, the next node, and its incoming interface."""

Key = int
"""An address as a number; IPv6 addresses are above all IPv4 ones."""
_IPV6 = 1 << 128

FORWARDING = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}


def reachable(plan: LabPlan, family: Family = "") -> dict[tuple[str, str], bool]:
    """Return {(from, to): True if a ping gets a reply} for each pair of nodes with addresses.

    Args:
        plan: the lab.
        family: "ipv4" or "ipv6" to use one alone; "" for either.
    """
    carrier = _Carrier(plan)
    names = [node.name for node in plan.nodes if carrier.addresses(node.name, family)]
    return {
        (one, other): any(carrier.answers(one, key) for _, key in carrier.addresses(other, family))
        for one in names
        for other in names
        if one != other
    }


def ping_target(plan: LabPlan, one: str, other: str, family: Family = "") -> str:
    """Return the second node's address to ping: the first that replies, else the first; "" without one.

    Raises KeyError for an unknown node.
    """
    return ping_targets(plan, family).get((plan.node(one).name, plan.node(other).name), "")


def ping_targets(plan: LabPlan, family: Family = "") -> dict[tuple[str, str], str]:
    """Return the address to ping for each pair of nodes with addresses."""
    carrier = _Carrier(plan)
    own = {node.name: carrier.addresses(node.name, family) for node in plan.nodes}
    return {
        (one, other): next((text for text, key in addresses if carrier.answers(one, key)), addresses[0][0])
        for one in own
        for other, addresses in own.items()
        if one != other and own[one] and addresses
    }


class _Carrier:
    """Follows packets by the routes of each node until one receives or drops them."""

    def __init__(self, plan: LabPlan) -> None:
        self._nodes = {node.name: node for node in plan.nodes}
        # The node and interface of each address.
        self._home: dict[Key, tuple[str, str]] = {}
        self._own: dict[str, list[tuple[str, Key]]] = {}
        # The source address by node, interface and IP version: the first one there.
        self._source: dict[tuple[str, str, int], Key] = {}
        for node in plan.nodes:
            own = [(ifname, cidr.partition("/")[0]) for ifname, cidr in _in_order(node)]
            self._own[node.name] = [(text, _key(text)) for _, text in own]
            for ifname, text in own:
                self._home[_key(text)] = (node.name, ifname)
                self._source.setdefault((node.name, ifname, _version(_key(text))), _key(text))
        self._forwarding = {
            (node.name, version) for node in plan.nodes for version in (4, 6) if _forwards(node, version)
        }
        self._segment = _segments(plan)
        self._table = {node.name: _table(node) for node in plan.nodes}

    def addresses(self, node: str, family: Family) -> list[tuple[str, Key]]:
        """Return a node's addresses as text and number, those of its links first."""
        version = {"ipv4": 4, "ipv6": 6}.get(family)
        return [each for each in self._own[node] if version in (None, _version(each[1]))]

    def answers(self, node: str, to: Key) -> bool:
        """Return True if an echo request reaches the address and the reply comes back."""
        hidden: list[tuple[str, Key]] = []
        source: Key | None = None
        for at, came_in, goes_out in self._way(node, to):
            if not goes_out:  # the packet has arrived
                return source is None or self._comes_back(at, source, hidden)
            here = self._source.get((at, goes_out, _version(to)))
            if source is None:
                source = here
            elif goes_out == self._nodes[at].outside != came_in:
                hidden.append((at, source))
                source = here
            if source is None:
                return False
        return False

    def _comes_back(self, node: str, to: Key, hidden: list[tuple[str, Key]]) -> bool:
        """Return True if the reply arrives, undoing each NAT on its way."""
        while True:
            _, _, goes_out = self._way(node, to)[-1]
            if goes_out:
                return False
            if not hidden:
                return True
            node, to = hidden.pop()

    def _way(self, node: str, to: Key) -> list[tuple[str, str, str]]:
        """Return each node on a packet's path with its incoming and outgoing interface.

        The last outgoing interface is "" if the packet arrives, "nowhere" if it is dropped.
        """
        home, came_in = self._home[to][0], ""
        way: list[tuple[str, str, str]] = []
        while node != home:
            hop = self._hop(node, to) if not came_in or (node, _version(to)) in self._forwarding else None
            if hop is None or len(way) > 64:  # the TTL
                return [*way, (node, came_in, "nowhere")]
            way.append((node, came_in, hop[0]))
            _, node, came_in = hop
        return [*way, (node, came_in, "")]

    def _hop(self, node: str, to: Key) -> Hop | None:
        """Return the next hop; None without a route or neighbour."""
        for shift, networks in self._table[node]:
            found = networks.get(to >> shift)
            if found is not None:
                ifname, via = found
                there = self._home.get(via or to, ("", ""))
                segment = self._segment.get((node, ifname))
                return (ifname, *there) if segment is not None and self._segment.get(there) == segment else None
        return None


def _key(address: str) -> Key:
    parsed = ipaddress.ip_address(address)
    return int(parsed) if parsed.version == 4 else int(parsed) + _IPV6


def _version(key: Key) -> int:
    return 6 if key >= _IPV6 else 4


def _segments(plan: LabPlan) -> dict[tuple[str, str], int]:
    """Return a segment number for each interface on a link."""
    number = list(range(len(plan.links)))

    def root(place: int) -> int:
        while number[place] != place:
            place = number[place]
        return place

    for node in plan.nodes:
        if node.bridge:
            places = [root(each.link) for each in node.interfaces]
            for place in places:
                number[place] = min(places)
    return {end: root(place) for place, link in enumerate(plan.links) for end in link.ends}


def _table(node: NodePlan) -> list[tuple[int, dict[Key, tuple[str, Key | None]]]]:
    """Return a routing table, longest prefix first: (host bits, {prefix: (ifname, next hop)})."""
    connected = [
        (ipaddress.ip_interface(cidr).network, interface.ifname, None)
        for interface in node.interfaces
        for cidr in interface.addresses
    ]
    table: dict[int, dict[Key, tuple[str, Key | None]]] = {}

    def add(network: Network, ifname: str, via: Key | None) -> None:
        shift = network.max_prefixlen - network.prefixlen
        key = _key(str(network.network_address)) >> shift
        table.setdefault(shift, {}).setdefault(key, (ifname, via))

    for each in connected:
        add(*each)
    for route in node.routes:
        to = {"default": "0.0.0.0/0", "default6": "::/0"}.get(route.to, route.to)
        via = ipaddress.ip_address(route.via)
        ifname = next((ifname for network, ifname, _ in connected if via in network), "")
        add(ipaddress.ip_network(to), ifname, _key(route.via))
    return sorted(table.items())


def _in_order(node: NodePlan) -> list[tuple[str, str]]:
    """Return (ifname, address) in the order of the hosts file: links, loopback, TUNs."""

    def of(tun: bool) -> list[tuple[str, str]]:
        return [(each.ifname, cidr) for each in node.interfaces if (each.link < 0) == tun for cidr in each.addresses]

    return [*of(tun=False), *(("lo", cidr) for cidr in node.loopback), *of(tun=True)]


def _forwards(node: NodePlan, version: int) -> bool:
    """Return True if the node forwards; the last value of a sysctl counts."""
    return dict(node.sysctls).get(FORWARDING[version]) == "1"
