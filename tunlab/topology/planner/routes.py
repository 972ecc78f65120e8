"""Computing the routes of a lab: the shortest path from each node to each network, over nodes that forward.

Of paths with equal length, the one by the first interface and its first neighbour wins. A NAT router forwards nothing
from its outside, so nodes outside have no routes to networks inside.
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
    """A destination network: on a segment, or local to one node.

    Attributes:
        network: the network.
        segment: the segment, if it is on links.
        owner: the node, if it is local to one.
        hidden: True if it is unreachable from that node's NAT outside.
    """

    network: Network
    segment: Segment | None = None
    owner: str = ""
    hidden: bool = False


def routes(spec: LabSpec, wiring: Wiring, version: Version) -> dict[str, list[RoutePlan]]:
    """Return the computed routes of each node, even if its lab file lists its own."""
    return _Router(spec, wiring, version).routes()


class _Router:
    def __init__(self, spec: LabSpec, wiring: Wiring, version: Version) -> None:
        self.nodes, self.wiring, self.version = spec.nodes, wiring, version
        # The forwarding ports on each segment.
        self.gateways = {
            id(segment): [port for port in segment.ports if self._passes_on(port)] for segment in wiring.segments
        }
        # Networks of TUNs and addresses of loopbacks.
        self.own = [_Target(*each) for name in spec.nodes for each in self._own(name)]
        self.owners = {target.owner for target in self.own}

    def _passes_on(self, port: Port) -> bool:
        return self.nodes[port.node].forward and self.wiring.outside.get(port.node) is not port

    def _own(self, name: str) -> Iterator[tuple[Network, None, str, bool]]:
        node = self.nodes[name]
        devices = [address for each in node.devices.values() for address in each]
        for address in (*devices, *node.loopback):
            own = ipaddress.ip_interface(address)
            if own.version == self.version:
                yield own.network, None, name, address in devices

    def routes(self) -> dict[str, list[RoutePlan]]:
        found: dict[str, list[RoutePlan]] = {node: [] for node in self.nodes}
        # A switch has no address and no routes.
        defaults = {name: self._default(name) for name, node in self.nodes.items() if node.kind != "switch"}
        lonely = {node for node, gateway in defaults.items() if gateway and self._is_lonely(node, gateway)}
        segments = [each for each in self.wiring.segments if each.ports and self.version in each.networks]
        for target in [_Target(each.networks[self.version], each) for each in segments] + self.own:
            distance = self._distances(target)
            for node, hops in distance.items():
                if not hops or node in lonely or node not in defaults:
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

    def _is_lonely(self, node: str, gateway: Port) -> bool:
        """Return True if the host needs no route but the default one."""
        if not self.owners - {node, gateway.node}:
            return True
        near = {port.node for own in self.wiring.ports[node] for port in self.wiring.segment(own).ports}
        return near.isdisjoint(self.owners - {node, gateway.node})

    def _ways(self, target: _Target, segment: Segment) -> list[Port]:
        """Return the ports by which a packet for the target may leave a segment."""
        ways = self.gateways[id(segment)]
        if not target.owner:
            return ways
        outside = self.wiring.outside.get(target.owner) if target.hidden else None
        own = [port for port in self.wiring.ports[target.owner] if self.wiring.segment(port) is segment]
        return ways + [port for port in own if port not in ways and port is not outside]

    def _distances(self, target: _Target) -> dict[str, int]:
        """Return the number of hops from each node to the target."""
        nodes = [port.node for port in target.segment.ports] if target.segment else [target.owner]
        distance = dict.fromkeys(nodes, 0)
        reached = {id(target.segment)}
        while nodes:
            further: list[str] = []
            for node in nodes:
                for own in self.wiring.ports[node]:
                    segment = self.wiring.segment(own)
                    if id(segment) in reached or own not in self._ways(target, segment):
                        continue
                    reached.add(id(segment))
                    for port in segment.ports:
                        if port.node not in distance:
                            distance[port.node] = distance[node] + 1
                            further.append(port.node)
            nodes = further
        return distance

    def _next_hop(self, target: _Target, distance: dict[str, int], node: str) -> Port:
        return next(
            port
            for own in self.wiring.ports[node]
            for port in self._ways(target, self.wiring.segment(own))
            if port is not own and distance.get(port.node) == distance[node] - 1
        )
