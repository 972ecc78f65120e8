"""The labels of nodes and links in drawings."""

from __future__ import annotations

import ipaddress

from tunlab.topology.plan import Impairment, LabPlan, NodePlan


def size_text(plan: LabPlan) -> str:
    """Return a lab's size, such as "4 nodes, 2 links". A bridge that the planner added counts as one link."""
    bridges = [node for node in plan.nodes if node.implicit]
    nodes = len(plan.nodes) - len(bridges)
    links = len(plan.links) - sum(len(node.interfaces) - 1 for node in bridges)
    return f"{nodes} node{'s' * (nodes != 1)}, {links} link{'s' * (links != 1)}"


def kind_texts(node: NodePlan) -> list[str]:
    """Return the label of a node in parts: its kind, NAT outside interface, container and loopback addresses."""
    texts = ["bridge" if node.implicit else {"nat": "NAT router"}.get(node.kind, node.kind)]
    if node.outside:
        texts.append(f"outside {node.outside}")
    if node.image or node.container:
        texts.append(node.image or node.container)
    texts += [f"lo {cidr}" for cidr in node.loopback]
    return texts


def address_texts(plan: LabPlan, node: NodePlan) -> list[str]:
    """Return one line of a node's label per interface and address; for a switch, its networks."""
    if node.bridge:
        return networks_of(plan, node)
    return [f"{each.ifname} {cidr}" for each in node.interfaces for cidr in each.addresses or ("",)]


def networks_of(plan: LabPlan, switch: NodePlan) -> list[str]:
    """Return the networks of the nodes connected to a switch, directly or through other switches."""
    nodes = {node.name: node for node in plan.nodes}
    found: dict[str, None] = {}
    to_visit, seen = [switch.name], {switch.name}
    for name in to_visit:
        for _, (other, ifname) in node_links(plan, nodes[name]):
            if nodes[other].bridge and other not in seen:
                seen.add(other)
                to_visit.append(other)
            found.update(dict.fromkeys(_networks(nodes[other], ifname)))
    return list(found)


def node_links(plan: LabPlan, node: NodePlan) -> list[tuple[str, tuple[str, str]]]:
    """Return (ifname, (other node, its ifname)) for each interface of a node that is on a link."""
    found = []
    for each in node.interfaces:
        if each.link >= 0:
            one, other = plan.links[each.link].ends
            found.append((each.ifname, other if one == (node.name, each.ifname) else one))
    return found


def link_texts(plan: LabPlan, number: int) -> list[str]:
    """Return a link's network, its impairment and its MTU if not 1500.

    If an end is a switch, the switch's label has the network, so it is left out here. An impairment that differs by
    direction is listed for each end.
    """
    nodes = [plan.node(name) for name, _ in plan.links[number].ends]
    (_, own), (_, other) = plan.links[number].ends
    texts = [] if any(node.bridge for node in nodes) else _networks(nodes[0], own)
    ends = [
        next(each for each in node.interfaces if each.ifname == name)
        for node, name in zip(nodes, (own, other), strict=True)
    ]
    forth, back = (", ".join(impairment_texts(each.impairment)) for each in ends)
    if forth == back:
        texts += [forth] if forth else []
    else:
        texts += [f"{node.name}: {each}" for node, each in zip(nodes, (forth, back), strict=True) if each]
    if ends[0].mtu != 1500:
        texts.append(f"MTU {ends[0].mtu}")
    return texts


def impairment_texts(impairment: Impairment) -> list[str]:
    """Return the impairment as texts: ["10 Mbit/s", "20 ms ± 2 ms", "loss 1 %"]."""
    texts = []
    if impairment.rate:
        texts.append(_rate(impairment.rate))
    if impairment.delay_us:
        jitter = f" ± {_time(impairment.jitter_us)}" if impairment.jitter_us else ""
        texts.append(_time(impairment.delay_us) + jitter)
    shares = {"loss": impairment.loss, "reorder": impairment.reorder, "duplicate": impairment.duplicate}
    return texts + [f"{word} {share * 100:.4g} %" for word, share in shares.items() if share]


def _networks(node: NodePlan, ifname: str) -> list[str]:
    interface = next(each for each in node.interfaces if each.ifname == ifname)
    return [str(ipaddress.ip_interface(cidr).network) for cidr in interface.addresses]


def _rate(bits: int) -> str:
    for unit, size in (("Gbit/s", 10**9), ("Mbit/s", 10**6), ("kbit/s", 10**3)):
        if bits >= size:
            return f"{bits / size:.6g} {unit}"
    return f"{bits} bit/s"


def _time(microseconds: int) -> str:
    for unit, size in (("s", 1_000_000), ("ms", 1_000)):
        if microseconds >= size:
            return f"{microseconds / size:.6g} {unit}"
    return f"{microseconds} µs"
