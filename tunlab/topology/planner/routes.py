"""Compute the routes of a lab: the shortest path from each node to each network, over nodes that forward packets.

Among equally short paths, the one through the node's first interface wins, then its first neighbour there. A NAT router
forwards no packets from outside, so nodes outside have no routes to networks inside.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from msgspec import Struct

from tunlab.topology.plan import RoutePlan
from tunlab.topology.planner.wiring import Port, Segment, Wiring
from tunlab.topology.spec import LabSpec
from tunlab.topology.values.names import Network, Version


class _Target(Struct, eq=False):
    """A destination network: that of a segment (broadcast domain), of a node's TUN, or of a loopback address.

    Attributes:
        network: the network.
        segment: the segment with this network; None for a TUN or a loopback address.
        owner: the node with the TUN or the loopback address; "" for the network of a segment.
        is_tun: True if it is the network of a TUN, which a NAT router hides from its outside.
    """

    network: Network
    segment: Segment | None = None
    owner: str = ""
    is_tun: bool = False


def routes(spec: LabSpec, wiring: Wiring, version: Version) -> dict[str, list[RoutePlan]]:
    """Return the computed routes of each node, including nodes for which the lab file lists routes."""
    return _Router(spec, wiring, version).routes()


class _Router:
    def __init__(self, spec: LabSpec, wiring: Wiring, version: Version) -> None:
        self.nodes, self.wiring, self.version = spec.nodes, wiring, version
        # `gateways` maps each segment to the ports of nodes that forward packets from it.
        self.gateways = {
            id(segment): [port for port in segment.ports if self._forwards(port)] for segment in wiring.segments
        }
        self.node_targets = [_Target(*each) for name in spec.nodes for each in self._node_networks(name)]
        self.owners = {target.owner for target in self.node_targets}

    def _forwards(self, port: Port) -> bool:
        return self.nodes[port.node].forward and self.wiring.outside.get(port.node) is not port

    def _node_networks(self, name: str) -> Iterator[tuple[Network, None, str, bool]]:
        node = self.nodes[name]
        tun_addresses = [address for each in node.devices.values() for address in each]
        for address in (*tun_addresses, *node.loopback):
            interface = ipaddress.ip_interface(address)
            if interface.version == self.version:
                yield interface.network, None, name, address in tun_addresses

    def routes(self) -> dict[str, list[RoutePlan]]:
        found: dict[str, list[RoutePlan]] = {node: [] for node in self.nodes}
        defaults = {name: self._default(name) for name, node in self.nodes.items() if node.kind != "switch"}
        default_only = {
            node for node, gateway in defaults.items() if gateway and self._needs_default_only(node, gateway)
        }
        segments = [each for each in self.wiring.segments if each.ports and self.version in each.networks]
        for target in [_Target(each.networks[self.version], each) for each in segments] + self.node_targets:
            distance = self._distances(target)
            for node, hops in distance.items():
                if not hops or node in default_only or node not in defaults:
                    continue
                via = self._next_hop(target, distance, node)
                gateway = defaults[node]
                if gateway is None or via.node != gateway.node:
                    found[node].append(RoutePlan(to=str(target.network), via=via.address(self.version)))
        for node, gateway in defaults.items():
            if gateway is not None:
                to = "default" if self.version == 4 else "default6"
                found[node].append(RoutePlan(to=to, via=gateway.address(self.version)))
        return found

    def _default(self, node: str) -> Port | None:
        """Return a host's default gateway: its only neighbour that forwards."""
        if self.nodes[node].forward:
            return None
        gateways = [port for own in self.wiring.ports[node] for port in self.gateways[id(self.wiring.segment(own))]]
        return gateways[0] if len({port.node for port in gateways}) == 1 else None

    def _needs_default_only(self, node: str, gateway: Port) -> bool:
        """Return True if the default route is the only route that the host needs."""
        if not self.owners - {node, gateway.node}:
            return True
        neighbours = {port.node for own in self.wiring.ports[node] for port in self.wiring.segment(own).ports}
        return neighbours.isdisjoint(self.owners - {node, gateway.node})

    def _next_hops(self, target: _Target, segment: Segment) -> list[Port]:
        """Return the ports on a segment that can be the next hop of a packet to the target network."""
        gateways = self.gateways[id(segment)]
        if not target.owner:
            return gateways
        outside = self.wiring.outside.get(target.owner) if target.is_tun else None
        owner_ports = [port for port in self.wiring.ports[target.owner] if self.wiring.segment(port) is segment]
        return gateways + [port for port in owner_ports if port not in gateways and port is not outside]

    def _distances(self, target: _Target) -> dict[str, int]:
        """Return the number of hops from each node to the target."""
        nodes = [port.node for port in target.segment.ports] if target.segment else [target.owner]
        distance = dict.fromkeys(nodes, 0)
        reached = {id(target.segment)}
        while nodes:
            next_nodes: list[str] = []
            for node in nodes:
                for own in self.wiring.ports[node]:
                    segment = self.wiring.segment(own)
                    if id(segment) in reached or own not in self._next_hops(target, segment):
                        continue
                    reached.add(id(segment))
                    for port in segment.ports:
                        if port.node not in distance:
                            distance[port.node] = distance[node] + 1
                            next_nodes.append(port.node)
            nodes = next_nodes
        return distance

    def _next_hop(self, target: _Target, distance: dict[str, int], node: str) -> Port:
        return next(
            port
            for own in self.wiring.ports[node]
            for port in self._next_hops(target, self.wiring.segment(own))
            if port is not own and distance.get(port.node) == distance[node] - 1
        )
