"""A lab's plan as text, for `tunlab up --dry-run`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from tunlab.topology.plan import CommandPlan, Impairment, InterfacePlan, LabPlan, NodePlan

_DEFAULT_ROUTES = {"default": "default", "default6": "default"}


def plan_text(plan: LabPlan) -> str:
    """Return a plan as text: one line for the lab, then a block of lines for each node."""
    blocks = ["\n".join(_node(plan, node)) for node in plan.nodes]
    return "\n\n".join([f"lab {plan.name}: {size(plan)}", *blocks])


def size(plan: LabPlan) -> str:
    """Return the lab's size, for example "3 nodes, 2 links". A link with more than two ends counts as one link."""
    bridges = {node.name for node in plan.nodes if node.implicit}
    nodes = len(plan.nodes) - len(bridges)
    # In a plan, a link with more than two ends is a bridge (an implicit node) with a veth pair to each end.
    links = len(bridges) + sum(not bridges.intersection(node for node, _ in link.ends) for link in plan.links)
    text = f"{nodes} node{'s' * (nodes != 1)}"
    return f"{text}, {links} link{'s' * (links != 1)}" if links else text


def _node(plan: LabPlan, node: NodePlan) -> Iterator[str]:
    kind = "bridge of a link" if node.implicit else node.kind
    source = f" from image {node.image}" if node.image else f" {node.container}" if node.container else ""
    yield f"{node.name}  {kind}{source}{', with IPv6' if node.ipv6 else ''}"
    if node.bridge:
        yield f"  bridge {node.bridge}"
    width = max((len(each.ifname) for each in node.interfaces), default=0)
    for each in node.interfaces:
        yield f"  {each.ifname:<{width}}  {_interface(plan, node, each)}"
    for address in node.loopback:
        yield f"  lo  {address}"
    if node.outside:
        yield f"  NAT (masquerade) on {node.outside}"
    for route in node.routes:
        yield f"  route {_DEFAULT_ROUTES.get(route.to, route.to)} via {route.via}"
    for name, value in node.sysctls:
        yield f"  {name} = {value}"
    for inside, outside in node.files:
        yield f"  file {inside} from {outside}"
    for command in node.run:
        yield f"  run {_command(command)}"


def _interface(plan: LabPlan, node: NodePlan, interface: InterfacePlan) -> str:
    parts = [*interface.addresses, interface.hardware_address, f"mtu {interface.mtu}"]
    if interface.link < 0:
        parts.append("TUN")
    else:
        peer = next(end for end in plan.links[interface.link].ends if end != (node.name, interface.ifname))
        parts.append(f"to {peer[0]} {peer[1]}")
    return "  ".join(filter(None, [*parts, impairment_text(interface.impairment)]))


def impairment_text(impairment: Impairment) -> str:
    """Return the impairment of sent packets, for example "10 Mbit/s, delay 20 ms", or ""."""
    parts = []
    if impairment.rate:
        parts.append(f"{impairment.rate / 1e6:g} Mbit/s")
    for name, microseconds in (("delay", impairment.delay_us), ("jitter", impairment.jitter_us)):
        if microseconds:
            parts.append(f"{name} {microseconds / 1000:g} ms")
    shares = ("loss", impairment.loss), ("reorder", impairment.reorder), ("duplicate", impairment.duplicate)
    for name, share in shares:
        if share:
            parts.append(f"{name} {share * 100:g} %")
    return ", ".join(parts)


def _command(command: CommandPlan) -> str:
    text = shlex.join(command.arguments)
    if command.ready_port:
        return f"{text}, ready when port {command.ready_port} is open (timeout {command.timeout:g} s)"
    if command.ready_line:
        return f"{text}, ready when it prints {command.ready_line!r} (timeout {command.timeout:g} s)"
    return text
