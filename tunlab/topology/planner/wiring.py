"""Connect a lab's nodes: choose interface names, MAC addresses, networks and IP addresses, and report errors in them.

A segment is an Ethernet broadcast domain: a link, or several links joined by switches. Its ports share one network.
Source: RFC 3021 for networks of two addresses; RFC 4291 section 2.6.1 for the reserved first IPv6 address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

from msgspec import Struct, field

from tunlab.topology.planner.allocation import Pool, assign_numbers
from tunlab.topology.spec import EndSpec, LabSpec, NodeSpec
from tunlab.topology.values.names import Interface, Network, Version
from tunlab.topology.values.problems import Problems, suggest

BRIDGE = "br0"
"""The interface name of a switch's bridge."""

# If one of these keys of a link has an invalid value, the rest of the lab can still be checked.
_INDEPENDENT_KEYS = frozenset({"mtu", "mac", "rate", "delay", "jitter", "loss", "reorder", "duplicate"})


class Port(Struct, eq=False):
    """An interface on a link.

    Attributes:
        node: the node's name.
        link: the number of the link in the lab file, from 0.
        end: the number of the end in the link's `ends`, from 0.
        spec: the end's content in the lab file.
        mtu: MTU in bytes.
        ifname: the interface name.
        mac: the MAC address.
        addresses: the address of each IP version.
    """

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
    """An Ethernet broadcast domain.

    Attributes:
        links: the numbers of its links.
        ports: its ports, without those of switches.
        networks: the network of each IP version.
    """

    links: list[int]
    ports: list[Port] = field(default_factory=list)
    networks: dict[Version, Network] = field(default_factory=dict)


class Wiring(Struct, eq=False):
    """The connections of a lab, in the order of the lab file.

    Attributes:
        segments: the broadcast domains.
        links: the ports of each link.
        ports: the ports of each node.
        outside: the outside port of each NAT router.
        segment_of_link: the segment of each link, by the link's number.
    """

    segments: list[Segment]
    links: list[list[Port]]
    ports: dict[str, list[Port]]
    outside: dict[str, Port] = field(default_factory=dict)
    segment_of_link: dict[int, Segment] = field(default_factory=dict)

    def segment(self, port: Port) -> Segment:
        """Return the segment of a port."""
        return self.segment_of_link[port.link]


def versions(spec: LabSpec) -> tuple[Version, ...]:
    """Return the IP versions of a lab."""
    both: tuple[Version, ...] = (4, 6)
    return both if spec.ip == "both" else (cast("Version", int(spec.ip[-1])),)


def wire(spec: LabSpec, problems: Problems, link_indexes: Sequence[int] | None = None) -> Wiring:
    """Connect the nodes of a lab; add errors to `problems`.

    Args:
        spec: the lab.
        problems: collects the errors.
        link_indexes: the index in the lab file of each link of `spec`, if invalid links were left out. Checks that
            need the missing links are skipped then.
    """
    indexes = list(range(len(spec.links))) if link_indexes is None else list(link_indexes)
    wiring = _join_links(spec, problems, indexes)
    _name_interfaces(spec, wiring, problems)
    _number_hardware(wiring, problems)
    for version in versions(spec):
        _number_networks(spec, wiring, problems, indexes, version)
        for segment in wiring.segments:
            _number_addresses(segment, problems, version)
        _check_overlaps(spec, wiring, problems, version)
    if indexes == list(range(len(indexes))) and not any(
        "links[" in each.table and each.key not in _INDEPENDENT_KEYS for each in problems.found
    ):
        _find_outsides(spec, wiring, problems)
        _check_next_hops(spec, wiring, problems)
    return wiring


def _join_links(spec: LabSpec, problems: Problems, indexes: Sequence[int]) -> Wiring:
    """Return the ports and segments, still without names and addresses; add an error for each loop of switches."""
    links = [
        [Port(end.node, index, number, end, link.mtu) for number, end in enumerate(link.ends)]
        for index, link in zip(indexes, spec.links, strict=True)
    ]
    wiring = Wiring([], links, {node: [] for node in spec.nodes})
    segment_of_switch: dict[str, Segment] = {}
    for index, ports in zip(indexes, links, strict=True):
        switches = [port.node for port in ports if spec.nodes[port.node].kind == "switch"]
        joined = [segment_of_switch[switch] for switch in switches if switch in segment_of_switch]
        if len(joined) > len({id(segment) for segment in joined}):
            problem = f"closes a loop: {' and '.join(switches)} are already joined, and frames would circulate for ever"
            problems.add(f"links[{index}]", "ends", problem, "Remove the link.")
        segment = joined[0] if joined else Segment([])
        for other in joined[1:]:
            if other is not segment:
                segment.links += other.links
                segment.ports += other.ports
                wiring.segments.remove(other)
                segment_of_switch = {
                    name: segment if each is other else each for name, each in segment_of_switch.items()
                }
        if not joined:
            wiring.segments.append(segment)
        segment_of_switch.update(dict.fromkeys(switches, segment))
        segment.links.append(index)
        segment.ports += [port for port in ports if port.node not in switches]
        for port in ports:
            wiring.ports[port.node].append(port)
        if len(ports) > 2 and f"link{index + 1}" in spec.nodes:
            problem = f"is also the name of the bridge that tunlab adds for links[{index}]"
            problems.add(f"nodes.link{index + 1}", "", problem, "Rename the node.")
    for segment in wiring.segments:
        segment.links.sort()
        segment.ports.sort(key=lambda port: (port.link, port.end))
        wiring.segment_of_link.update(dict.fromkeys(segment.links, segment))
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
        used = set(spec.nodes[node].devices) | ({BRIDGE} if spec.nodes[node].kind == "switch" else set())
        for port in ports:
            name = port.spec.ifname
            if name and name in used:
                problem = f"is {name}, which {node} already has"
                problems.add(f"links[{port.link}]", f"ends[{port.end}]", problem, "Choose another name, or none.")
            elif name:
                port.ifname = name
                used.add(name)
        free = (name for number in range(len(ports) + len(used) + 1) if (name := f"eth{number}") not in used)
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
                problems.add(f"links[{given.link}].ends[{given.end}]", "mac", problem, "Give each its own MAC address.")


def hardware_address(link: int, end: int, *, bridge: bool = False) -> str:
    """Return the default MAC address of an end of a link, or of the bridge port for it. Links and ends count from 0."""
    link, end = link + 1, end + 1
    parts = (2, bridge, end >> 8, link >> 8 & 255, link & 255, end & 255)
    return ":".join(f"{part:02x}" for part in parts)


# ---- networks and addresses ------------------------------------------------------------------------------------------


def _number_networks(
    spec: LabSpec, wiring: Wiring, problems: Problems, indexes: Sequence[int], version: Version
) -> None:
    key = "subnet" if version == 4 else "subnet6"
    links = dict(zip(indexes, spec.links, strict=True))
    for segment in wiring.segments:
        for index in segment.links:
            subnet = getattr(links[index], key)
            if not subnet:
                continue
            network = ipaddress.ip_network(subnet)
            first = segment.networks.setdefault(version, network)
            if first != network:
                problem = f"is {network}; another link of the same switch has {first}"
                problems.add(f"links[{index}]", key, problem, "Set it on one of the links.")
        for port in segment.ports:
            address = port.spec.address if version == 4 else port.spec.address6
            if "/" in address:
                segment.networks.setdefault(version, ipaddress.ip_interface(address).network)
    pool = Pool(spec.subnets if version == 4 else spec.subnets6)
    for network, _, _ in _networks(spec, wiring, version):
        pool.reserve(network)
    unnumbered = [segment for segment in wiring.segments if segment.ports and version not in segment.networks]
    requests = [(segment.links[0] + 1, len(segment.ports)) for segment in unnumbered]
    for segment, allocated in zip(unnumbered, pool.allocate(requests), strict=True):
        if allocated is None:
            problem = f"is missing, and {pool.network} is used up"
            hint = f"Set {key}, or a larger {key.replace('subnet', 'subnets')} at the top."
            problems.add(f"links[{segment.links[0]}]", key, problem, hint)
        else:
            segment.networks[version] = allocated


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
        address = port.spec.address if version == 4 else port.spec.address6
        given.append(None)
        if not address:
            continue
        table, interface = f"links[{port.link}].ends[{port.end}]", ipaddress.ip_interface(address)
        if interface.ip not in network:
            problems.add(
                table,
                key,
                f"is {interface.ip}, which is not in {network}",
                "Choose an address in that network, or none.",
            )
        elif "/" in address and interface.network != network:
            problems.add(table, key, f"is {address}, but the link's network is {network}", f'Write "{interface.ip}".')
        elif not first <= int(interface.ip) <= last:
            role = "network" if int(interface.ip) == base else "broadcast"
            problem = f"is {interface.ip}, the {role} address of {network}"
            problems.add(table, key, problem, f"Use {network[first - base]} to {network[last - base]}.")
        elif int(interface.ip) in owners:
            problem = f"is {interface.ip}, which {owners[int(interface.ip)]} already has"
            problems.add(table, key, problem, "Choose another address, or none.")
        else:
            owners[int(interface.ip)] = port.node
            given[-1] = int(interface.ip) - first
    for port, number in zip(segment.ports, assign_numbers(given), strict=True):
        port.addresses[version] = ipaddress.ip_interface(f"{network[first - base + number]}/{network.prefixlen}")


def usable(network: Network) -> tuple[int, int]:
    """Return the first and last usable address of a network."""
    first, last = int(network.network_address), int(network.broadcast_address)
    if network.num_addresses <= 2:
        return first, last
    return first + 1, last - (network.version == 4)


def _networks(spec: LabSpec, wiring: Wiring, version: Version) -> Iterator[tuple[Network, str, tuple[str, str]]]:
    """Yield each network with the name to show in errors, and the table and key that define it."""
    for segment in wiring.segments:
        if version in segment.networks:
            key = "subnet" if version == 4 else "subnet6"
            yield segment.networks[version], f"links[{segment.links[0]}]", (f"links[{segment.links[0]}]", key)
    for name, node in spec.nodes.items():
        for table, key, address in _node_addresses(name, node):
            if ipaddress.ip_interface(address).version == version:
                yield ipaddress.ip_interface(address).network, f"{table}.{key}", (table, key)


def _node_addresses(name: str, node: NodeSpec) -> Iterator[tuple[str, str, str]]:
    """Yield the table, key and value of each address of a node's TUNs and loopback."""
    for address in node.tun:
        yield f"nodes.{name}", "tun", address
    for ifname, addresses in node.tuns.items():
        for address in addresses:
            yield f"nodes.{name}.tuns", ifname, address
    for index, address in enumerate(node.loopback):
        yield f"nodes.{name}", f"loopback[{index}]", address


def _check_overlaps(spec: LabSpec, wiring: Wiring, problems: Problems, version: Version) -> None:
    """Add an error for each network that overlaps another, in the order of their addresses."""
    networks: Iterable[tuple[Network, str, tuple[str, str]]] = _networks(spec, wiring, version)
    by_address = sorted(
        enumerate(networks), key=lambda each: (int(each[1][0].network_address), each[1][0].prefixlen, each[0])
    )
    # `last` is the network with the highest last address so far.
    last = None
    for current in by_address:
        index, (network, _, _) = current
        if last is not None and int(network.network_address) <= int(last[1][0].broadcast_address):
            # Of two overlapping networks, report the one that comes later in the lab file.
            (_, (other, owner, _)), (_, (reported, _, key)) = (last, current) if index > last[0] else (current, last)
            problem = f"is {reported}, which overlaps {other} of {owner}"
            problems.add(*key, problem, "Give each its own network.")
        if last is None or int(network.broadcast_address) > int(last[1][0].broadcast_address):
            last = current


# ---- NAT and routes --------------------------------------------------------------------------------------------------


def _find_outsides(spec: LabSpec, wiring: Wiring, problems: Problems) -> None:
    """Set the outside port of each NAT router; add an error if the lab file does not determine it."""
    for name, node in spec.nodes.items():
        if node.kind != "nat":
            continue
        ports = wiring.ports[name]
        neighbours = {id(port): [other.node for other in _neighbour_ports(wiring, port)] for port in ports}
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
            problem = "is missing, and the other keys do not show which link is the outside"
            hint = f'Write outside = "{ports[0].ifname}".' if ports else "Add a link in [[links]]."
        if len(found) == 1:
            wiring.outside[name] = found[0]
        else:
            problems.add(f"nodes.{name}", "outside", problem, hint)


def _neighbour_ports(wiring: Wiring, port: Port) -> list[Port]:
    """Return the neighbours of a port: the other ports on its link, then those on its segment."""
    ends = next(ports for ports in wiring.links if port in ports)
    return [other for other in dict.fromkeys((*ends, *wiring.segment(port).ports)) if other is not port]


def _check_next_hops(spec: LabSpec, wiring: Wiring, problems: Problems) -> None:
    """Add an error for each route whose next hop is not a neighbour. In a TUN's network, any address is accepted."""
    for name, node in spec.nodes.items():
        if not node.routes:
            continue
        own = {port.address(version) for port in wiring.ports[name] for version in versions(spec)}
        neighbours = {
            other.address(version): other.node
            for port in wiring.ports[name]
            for other in wiring.segment(port).ports
            for version in versions(spec)
        }
        tuns = [ipaddress.ip_interface(address) for each in node.devices.values() for address in each]
        for index, route in enumerate(node.routes):
            via = ipaddress.ip_address(route.via)
            is_behind_tun = any(via in tun.network and via != tun.ip for tun in tuns)
            if (route.via in neighbours and route.via not in own) or is_behind_tun:
                continue
            is_own = route.via in own or any(via == tun.ip for tun in tuns)
            problem = (
                f"is {route.via}, the node's own address" if is_own else f"is {route.via}, not a neighbour's address"
            )
            others = [each for each in neighbours if each and each not in own and (":" in each) == (via.version == 6)]
            hint = f"Choose from {', '.join(others[:5])}." if others else "Add a link first; the node has no neighbour."
            problems.add(f"nodes.{name}.routes[{index}]", "via", problem, hint)
