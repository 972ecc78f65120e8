"""Connecting a lab's nodes: interfaces, MAC addresses, networks and addresses, and their errors.

A segment is an Ethernet broadcast domain: a link, or several joined by switches. Its ports share one network.
Source: RFC 3021 for networks of two addresses; RFC 4291 section 2.6.1 for the reserved first IPv6 address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

from msgspec import Struct, field

from tunlab.topology.planner.allocation import Pool, places
from tunlab.topology.spec import EndSpec, LabSpec, NodeSpec
from tunlab.topology.values.names import Interface, Network, Version
from tunlab.topology.values.problems import Problems, suggest

BRIDGE = "br0"
"""The interface name of a switch's bridge."""

# Errors in these keys of a link do not cause further errors elsewhere.
_ALONE = frozenset({"mtu", "mac", "rate", "delay", "jitter", "loss", "reorder", "duplicate"})


class Port(Struct, eq=False):
    """An interface on a link: end `end` of link `link`, both counted from 0."""

    node: str
    link: int
    end: int
    spec: EndSpec
    mtu: int
    ifname: str = ""
    mac: str = ""
    addresses: dict[Version, Interface] = field(default_factory=dict)

    def address(self, version: Version) -> str:
        """Return the address without prefix length; "" for none."""
        return str(self.addresses[version].ip) if version in self.addresses else ""


class Segment(Struct, eq=False):
    """Links joined by switches, and their ports that have addresses."""

    links: list[int]
    ports: list[Port] = field(default_factory=list)
    networks: dict[Version, Network] = field(default_factory=dict)


class Wiring(Struct, eq=False):
    """The ports of each node and the segment of each port, in the order of the lab file."""

    segments: list[Segment]
    links: list[list[Port]]
    ports: dict[str, list[Port]]
    outside: dict[str, Port] = field(default_factory=dict)
    on: dict[int, Segment] = field(default_factory=dict)

    def segment(self, port: Port) -> Segment:
        """Return the segment of a port."""
        return self.on[port.link]


def versions(spec: LabSpec) -> tuple[Version, ...]:
    """Return the IP versions of a lab."""
    both: tuple[Version, ...] = (4, 6)
    return both if spec.ip == "both" else (cast("Version", int(spec.ip[-1])),)


def wire(spec: LabSpec, problems: Problems, places: Sequence[int] | None = None) -> Wiring:
    """Connect the nodes of a lab and add errors.

    Args:
        spec: the lab.
        problems: collects the errors.
        places: the index of each link in the lab file, if invalid links were left out; errors that may follow from
            those are not added.
    """
    at = list(range(len(spec.links))) if places is None else list(places)
    wiring = _segments(spec, problems, at)
    _name_interfaces(spec, wiring, problems)
    _number_hardware(wiring, problems)
    for version in versions(spec):
        _number_networks(spec, wiring, problems, at, version)
        for segment in wiring.segments:
            _number_addresses(segment, problems, version)
        _overlaps(spec, wiring, problems, version)
    if at == list(range(len(at))) and not any(
        "links[" in each.table and each.key not in _ALONE for each in problems.found
    ):
        _outsides(spec, wiring, problems)
        _neighbours(spec, wiring, problems)
    return wiring


def _segments(spec: LabSpec, problems: Problems, at: Sequence[int]) -> Wiring:
    links = [
        [Port(end.node, place, number, end, link.mtu) for number, end in enumerate(link.ends)]
        for place, link in zip(at, spec.links, strict=True)
    ]
    wiring = Wiring([], links, {node: [] for node in spec.nodes})
    of_switch: dict[str, Segment] = {}
    for place, ports in zip(at, links, strict=True):
        switches = [port.node for port in ports if spec.nodes[port.node].kind == "switch"]
        joined = [of_switch[switch] for switch in switches if switch in of_switch]
        if len(joined) > len({id(segment) for segment in joined}):
            problem = f"closes a loop: {' and '.join(switches)} are already joined, and frames would circulate for ever"
            problems.add(f"links[{place}]", "ends", problem, "Remove the link.")
        segment = joined[0] if joined else Segment([])
        for other in joined[1:]:
            if other is not segment:
                segment.links += other.links
                segment.ports += other.ports
                wiring.segments.remove(other)
                of_switch = {name: segment if each is other else each for name, each in of_switch.items()}
        if not joined:
            wiring.segments.append(segment)
        of_switch.update(dict.fromkeys(switches, segment))
        segment.links.append(place)
        segment.ports += [port for port in ports if port.node not in switches]
        for port in ports:
            wiring.ports[port.node].append(port)
        if len(ports) > 2 and f"link{place + 1}" in spec.nodes:
            problem = f"is the name of the bridge of links[{place}]"
            problems.add(f"nodes.link{place + 1}", "", problem, "Rename the node.")
    for segment in wiring.segments:
        segment.links.sort()
        segment.ports.sort(key=lambda port: (port.link, port.end))
        wiring.on.update(dict.fromkeys(segment.links, segment))
        seen: set[str] = set()
        for port in segment.ports:
            if port.node in seen:
                problem = f"joins {port.node} to a network that it is already in"
                problems.add(f"links[{port.link}]", "ends", problem, "Remove one of the links, or use another switch.")
            seen.add(port.node)
    wiring.segments.sort(key=lambda segment: segment.links[0])
    return wiring


def _name_interfaces(spec: LabSpec, wiring: Wiring, problems: Problems) -> None:
    for node, ports in wiring.ports.items():
        taken = set(spec.nodes[node].devices) | ({BRIDGE} if spec.nodes[node].kind == "switch" else set())
        for port in ports:
            name = port.spec.ifname
            if name and name in taken:
                problem = f"is {name}, which {node} already has"
                problems.add(f"links[{port.link}]", f"ends[{port.end}]", problem, "Choose another name, or none.")
            elif name:
                port.ifname = name
                taken.add(name)
        free = (name for number in range(len(ports) + len(taken) + 1) if (name := f"eth{number}") not in taken)
        for port in ports:
            port.ifname = port.ifname or next(free)


def _number_hardware(wiring: Wiring, problems: Problems) -> None:
    owners: dict[str, Port] = {}
    for ports in wiring.links:
        for port in ports:
            port.mac = port.spec.mac or hardware_address(port.link, port.end)
            other = owners.setdefault(port.mac, port)
            if other is not port:
                given = port if port.spec.mac else other
                problem = f"is {port.mac}, the MAC address of both {other.node} and {port.node}"
                problems.add(f"links[{given.link}].ends[{given.end}]", "mac", problem, "Give each its own.")


def hardware_address(link: int, end: int, *, bridge: bool = False) -> str:
    """Return the MAC address of a link's end, both counted from 0, or of its bridge port."""
    link, end = link + 1, end + 1
    parts = (2, bridge, end >> 8, link >> 8 & 255, link & 255, end & 255)
    return ":".join(f"{part:02x}" for part in parts)


# ---- networks and addresses ------------------------------------------------------------------------------------------


def _number_networks(spec: LabSpec, wiring: Wiring, problems: Problems, at: Sequence[int], version: Version) -> None:
    key = "subnet" if version == 4 else "subnet6"
    links = dict(zip(at, spec.links, strict=True))
    for segment in wiring.segments:
        for place in segment.links:
            written = getattr(links[place], key)
            if not written:
                continue
            network = ipaddress.ip_network(written)
            known = segment.networks.setdefault(version, network)
            if known != network:
                problem = f"is {network}; another link of the same switch has {known}"
                problems.add(f"links[{place}]", key, problem, "Give it once.")
        for port in segment.ports:
            written = port.spec.address if version == 4 else port.spec.address6
            if "/" in written:
                segment.networks.setdefault(version, ipaddress.ip_interface(written).network)
    pool = Pool(spec.subnets if version == 4 else spec.subnets6)
    for network, _, _ in _networks(spec, wiring, version):
        pool.take(network)
    waiting = [segment for segment in wiring.segments if segment.ports and version not in segment.networks]
    for segment, given in zip(waiting, pool.give([(s.links[0] + 1, len(s.ports)) for s in waiting]), strict=True):
        if given is None:
            problem = f"is missing, and {pool.network} is used up"
            hint = f"Set {key}, or a larger {key.replace('subnet', 'subnets')} at the top."
            problems.add(f"links[{segment.links[0]}]", key, problem, hint)
        else:
            segment.networks[version] = given


def _number_addresses(segment: Segment, problems: Problems, version: Version) -> None:
    network = segment.networks.get(version)
    if network is None:
        return
    first, last = usable(network)
    if last - first + 1 < len(segment.ports):
        key = "subnet" if version == 4 else "subnet6"
        problem = f"is {network}, with {last - first + 1} addresses for {len(segment.ports)} ends"
        problems.add(f"links[{segment.links[0]}]", key, problem, "Write a larger network.")
        return
    key = "address" if version == 4 else "address6"
    base = int(network.network_address)
    owners: dict[int, str] = {}
    given: list[int | None] = []
    for port in segment.ports:
        written = port.spec.address if version == 4 else port.spec.address6
        given.append(None)
        if not written:
            continue
        table, own = f"links[{port.link}].ends[{port.end}]", ipaddress.ip_interface(written)
        if own.ip not in network:
            problems.add(
                table, key, f"is {own.ip}, which is not in {network}", "Choose an address in that network, or none."
            )
        elif "/" in written and own.network != network:
            problems.add(table, key, f"is {written}, but the link's network is {network}", f'Write "{own.ip}".')
        elif not first <= int(own.ip) <= last:
            role = "network" if int(own.ip) == base else "broadcast"
            problem = f"is {own.ip}, the {role} address of {network}"
            problems.add(table, key, problem, f"Use {network[first - base]} to {network[last - base]}.")
        elif int(own.ip) in owners:
            problem = f"is {own.ip}, which {owners[int(own.ip)]} already has"
            problems.add(table, key, problem, "Choose another address, or none.")
        else:
            owners[int(own.ip)] = port.node
            given[-1] = int(own.ip) - first
    for port, place in zip(segment.ports, places(given), strict=True):
        address = network[first - base + place]
        port.addresses[version] = ipaddress.ip_interface(f"{address}/{network.prefixlen}")


def usable(network: Network) -> tuple[int, int]:
    """Return the first and last usable address of a network."""
    first, last = int(network.network_address), int(network.broadcast_address)
    if network.num_addresses <= 2:
        return first, last
    return first + 1, last - (network.version == 4)


def _networks(spec: LabSpec, wiring: Wiring, version: Version) -> Iterator[tuple[Network, str, tuple[str, str]]]:
    """Yield each network with its owner, and the table and key that define it."""
    for segment in wiring.segments:
        if version in segment.networks:
            key = "subnet" if version == 4 else "subnet6"
            yield segment.networks[version], f"links[{segment.links[0]}]", (f"links[{segment.links[0]}]", key)
    for name, node in spec.nodes.items():
        for table, key, address in _own(name, node):
            if ipaddress.ip_interface(address).version == version:
                yield ipaddress.ip_interface(address).network, f"{table}.{key}", (table, key)


def _own(name: str, node: NodeSpec) -> Iterator[tuple[str, str, str]]:
    for key in ("tun", "tun6"):
        if getattr(node, key):
            yield f"nodes.{name}", key, getattr(node, key)
    for ifname, addresses in node.tuns.items():
        for address in addresses:
            yield f"nodes.{name}.tuns", ifname, address
    for place, address in enumerate(node.loopback):
        yield f"nodes.{name}", f"loopback[{place}]", address


def _overlaps(spec: LabSpec, wiring: Wiring, problems: Problems, version: Version) -> None:
    every: Iterable[tuple[Network, str, tuple[str, str]]] = _networks(spec, wiring, version)
    order = sorted(enumerate(every), key=lambda each: (int(each[1][0].network_address), each[1][0].prefixlen, each[0]))
    widest = None
    for place, (network, whose, key) in order:
        if widest is not None and int(network.network_address) <= int(widest[1].broadcast_address):
            # Report the later one in the lab file.
            (_, one, whose_one, key_one), two = widest, (place, network, whose, key)
            if place > widest[0]:
                problem = f"is {network}, which overlaps {one} of {whose_one}"
                problems.add(*key, problem, "Give each its own network.")
            else:
                problems.add(*key_one, f"is {one}, which overlaps {network} of {two[2]}", "Give each its own network.")
        if widest is None or int(network.broadcast_address) > int(widest[1].broadcast_address):
            widest = (place, network, whose, key)


# ---- NAT and routes --------------------------------------------------------------------------------------------------


def _outsides(spec: LabSpec, wiring: Wiring, problems: Problems) -> None:
    for name, node in spec.nodes.items():
        if node.kind != "nat":
            continue
        ports = wiring.ports[name]
        neighbours = {id(port): [other.node for other in _reached(wiring, port)] for port in ports}
        if node.outside:
            found = [port for port in ports if port.ifname == node.outside]
            found = found or [port for port in ports if node.outside in neighbours[id(port)]]
            known = [port.ifname for port in ports] + [each for port in ports for each in neighbours[id(port)]]
            problem = f"is {node.outside!r}, which is neither an interface nor a neighbour of {name}"
            hint = suggest(node.outside, known) or "Add a link in [[links]]."
            if len(found) > 1:
                problem, hint = f"is {node.outside!r}, to which {name} has {len(found)} links", "Name the interface."
        else:
            found = [port for port in ports if any(spec.nodes[each].forward for each in neighbours[id(port)])]
            found = ports if len(ports) == 1 else found
            problem = "is missing, and no link is clearly the outside"
            hint = f'Write outside = "{ports[0].ifname}".' if ports else "Add a link in [[links]]."
        if len(found) == 1:
            wiring.outside[name] = found[0]
        else:
            problems.add(f"nodes.{name}", "outside", problem, hint)


def _reached(wiring: Wiring, port: Port) -> list[Port]:
    """Return the other ports on a port's link, then those on its segment."""
    ends = next(ports for ports in wiring.links if port in ports)
    return [other for other in dict.fromkeys((*ends, *wiring.segment(port).ports)) if other is not port]


def _neighbours(spec: LabSpec, wiring: Wiring, problems: Problems) -> None:
    """Add an error for routes whose next hop is not a neighbour; behind a TUN any address may be one."""
    for name, node in spec.nodes.items():
        if not node.routes:
            continue
        own = {port.address(version) for port in wiring.ports[name] for version in versions(spec)}
        near = {
            other.address(version): other.node
            for port in wiring.ports[name]
            for other in wiring.segment(port).ports
            for version in versions(spec)
        }
        devices = [ipaddress.ip_interface(address) for each in node.devices.values() for address in each]
        for place, route in enumerate(node.routes):
            via = ipaddress.ip_address(route.via)
            behind = any(via in device.network and via != device.ip for device in devices)
            if (route.via in near and route.via not in own) or behind:
                continue
            is_own = route.via in own or any(via == device.ip for device in devices)
            problem = (
                f"is {route.via}, the node's own address" if is_own else f"is {route.via}, not a neighbour's address"
            )
            others = [each for each in near if each and each not in own and (":" in each) == (via.version == 6)]
            hint = f"Choose from {', '.join(others[:5])}." if others else "Add a link first; the node has no neighbour."
            problems.add(f"nodes.{name}.routes[{place}]", "via", problem, hint)
