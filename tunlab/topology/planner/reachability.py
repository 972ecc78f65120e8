"""Predict which nodes of a plan can ping which others, by following its routes hop by hop.

`tunlab ping-all` compares the running lab with this prediction. This module does not
use the planner's code, so that it finds errors of the planner as well.
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
"""An address as a number; the numbers of IPv6 addresses are higher than those of IPv4 addresses."""
_IPV6 = 1 << 128

FORWARDING = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}


def reachable(plan: LabPlan, family: Family = "") -> dict[tuple[str, str], bool]:
    """Return {(from, to): True if a ping gets a reply} for each pair of nodes with addresses.

    Args:
        plan: the lab.
        family: the IP version of the pings: "ipv4", "ipv6", or "" if a reply over either is enough.
    """
    tracer = _PacketTracer(plan)
    names = [node.name for node in plan.nodes if tracer.addresses(node.name, family)]
    return {
        (one, other): any(tracer.replies(one, key) for _, key in tracer.addresses(other, family))
        for one in names
        for other in names
        if one != other
    }


def ping_target(plan: LabPlan, one: str, other: str, family: Family = "") -> str:
    """Return the address of `other` that `one` should ping: the first that replies, or the first if none replies.

    Returns "" for a node without an address. Raises KeyError for an unknown node.
    """
    return ping_targets(plan, family).get((plan.node(one).name, plan.node(other).name), "")


def ping_targets(plan: LabPlan, family: Family = "") -> dict[tuple[str, str], str]:
    """Return {(from, to): the address to ping, as in `ping_target`} for each pair of nodes with addresses."""
    tracer = _PacketTracer(plan)
    own = {node.name: tracer.addresses(node.name, family) for node in plan.nodes}
    return {
        (one, other): next((text for text, key in addresses if tracer.replies(one, key)), addresses[0][0])
        for one in own
        for other, addresses in own.items()
        if one != other and own[one] and addresses
    }


class _PacketTracer:
    """A simulation of routing: it follows a packet from node to node until one receives or drops it."""

    def __init__(self, plan: LabPlan) -> None:
        self._nodes = {node.name: node for node in plan.nodes}
        # `_owner` maps each address to its node and interface.
        self._owner: dict[Key, tuple[str, str]] = {}
        # `_addresses` maps each node to its addresses, as text and as number.
        self._addresses: dict[str, list[tuple[str, Key]]] = {}
        # `_source` maps (node, outgoing interface, IP version) to the source address: the interface's first address.
        self._source: dict[tuple[str, str, int], Key] = {}
        for node in plan.nodes:
            addresses = [(ifname, cidr.partition("/")[0]) for ifname, cidr in _addresses_in_order(node)]
            self._addresses[node.name] = [(text, _key(text)) for _, text in addresses]
            for ifname, text in addresses:
                self._owner[_key(text)] = (node.name, ifname)
                self._source.setdefault((node.name, ifname, _version(_key(text))), _key(text))
        self._forwarding = {
            (node.name, version) for node in plan.nodes for version in (4, 6) if _forwards(node, version)
        }
        self._segment = _segments(plan)
        self._table = {node.name: _table(node) for node in plan.nodes}

    def addresses(self, node: str, family: Family) -> list[tuple[str, Key]]:
        """Return a node's addresses, each as text and as number; addresses on links come first."""
        version = {"ipv4": 4, "ipv6": 6}.get(family)
        return [each for each in self._addresses[node] if version in (None, _version(each[1]))]

    def replies(self, node: str, to: Key) -> bool:
        """Return True if an echo request from a node reaches the address and the reply comes back."""
        # `translations` lists the NAT routers on the path, each with the source address that it replaced.
        translations: list[tuple[str, Key]] = []
        source: Key | None = None
        for hop, incoming, outgoing in self._path(node, to):
            if not outgoing:  # the packet has arrived
                return source is None or self._is_reply_received(hop, source, translations)
            interface_address = self._source.get((hop, outgoing, _version(to)))
            if source is None:
                source = interface_address
            elif outgoing == self._nodes[hop].outside != incoming:
                translations.append((hop, source))
                source = interface_address
            if source is None:
                return False
        return False

    def _is_reply_received(self, node: str, to: Key, translations: list[tuple[str, Key]]) -> bool:
        """Return True if the reply arrives; each NAT router on its path restores the address that it replaced."""
        while True:
            _, _, outgoing = self._path(node, to)[-1]
            if outgoing:
                return False
            if not translations:
                return True
            node, to = translations.pop()

    def _path(self, node: str, to: Key) -> list[tuple[str, str, str]]:
        """Return each node on a packet's path with its incoming and outgoing interface.

        The last outgoing interface is "" if the packet arrives, "dropped" if it is dropped.
        """
        owner, incoming = self._owner[to][0], ""
        path: list[tuple[str, str, str]] = []
        while node != owner:
            hop = self._hop(node, to) if not incoming or (node, _version(to)) in self._forwarding else None
            if hop is None or len(path) > 64:  # after 64 hops, the packet's TTL has expired
                return [*path, (node, incoming, "dropped")]
            path.append((node, incoming, hop[0]))
            _, node, incoming = hop
        return [*path, (node, incoming, "")]

    def _hop(self, node: str, to: Key) -> Hop | None:
        """Return the next hop; None if the node has no route, or the next hop is not on the link."""
        for host_bits, networks in self._table[node]:
            route = networks.get(to >> host_bits)
            if route is not None:
                ifname, via = route
                neighbour = self._owner.get(via or to, ("", ""))
                segment = self._segment.get((node, ifname))
                is_on_link = segment is not None and self._segment.get(neighbour) == segment
                return (ifname, *neighbour) if is_on_link else None
        return None


def _key(address: str) -> Key:
    parsed = ipaddress.ip_address(address)
    return int(parsed) if parsed.version == 4 else int(parsed) + _IPV6


def _version(key: Key) -> int:
    return 6 if key >= _IPV6 else 4


def _segments(plan: LabPlan) -> dict[tuple[str, str], int]:
    """Return the number of its segment (broadcast domain) for each interface on a link."""
    # Union-find: `parent` maps each link to a link of the same segment with a lower number, or to itself.
    parent = list(range(len(plan.links)))

    def root(link: int) -> int:
        while parent[link] != link:
            link = parent[link]
        return link

    for node in plan.nodes:
        if node.bridge:
            roots = [root(each.link) for each in node.interfaces]
            for each in roots:
                parent[each] = min(roots)
    return {end: root(number) for number, link in enumerate(plan.links) for end in link.ends}


def _table(node: NodePlan) -> list[tuple[int, dict[Key, tuple[str, Key | None]]]]:
    """Return a routing table as a list of (number of host bits, {prefix: (ifname, next hop)}), longest prefix first."""
    connected = [
        (ipaddress.ip_interface(cidr).network, interface.ifname, None)
        for interface in node.interfaces
        for cidr in interface.addresses
    ]
    table: dict[int, dict[Key, tuple[str, Key | None]]] = {}

    def add(network: Network, ifname: str, via: Key | None) -> None:
        host_bits = network.max_prefixlen - network.prefixlen
        key = _key(str(network.network_address)) >> host_bits
        table.setdefault(host_bits, {}).setdefault(key, (ifname, via))

    for each in connected:
        add(*each)
    for route in node.routes:
        to = {"default": "0.0.0.0/0", "default6": "::/0"}.get(route.to, route.to)
        via = ipaddress.ip_address(route.via)
        ifname = next((ifname for network, ifname, _ in connected if via in network), "")
        add(ipaddress.ip_network(to), ifname, _key(route.via))
    return sorted(table.items())


def _addresses_in_order(node: NodePlan) -> list[tuple[str, str]]:
    """Return (ifname, address) in the order of /etc/hosts: links, loopback, TUNs."""

    def addresses(*, tun: bool) -> list[tuple[str, str]]:
        return [(each.ifname, cidr) for each in node.interfaces if (each.link < 0) == tun for cidr in each.addresses]

    return [*addresses(tun=False), *(("lo", cidr) for cidr in node.loopback), *addresses(tun=True)]


def _forwards(node: NodePlan, version: int) -> bool:
    """Return True if the node forwards packets. If a sysctl is set twice, the last value counts."""
    return dict(node.sysctls).get(FORWARDING[version]) == "1"
