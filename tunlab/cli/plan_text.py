"""A lab's plan in words, for `tunlab up --dry-run`: everything that would be made, and where. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from tunlab.topology.plan import CommandPlan, Impairment, InterfacePlan, LabPlan, NodePlan

_DEFAULT_ROUTES = {"default": "default", "default6": "default"}


def plan_text(plan: LabPlan) -> str:
    """A line for the lab, and below it a block for each node."""
    blocks = ["\n".join(_node(plan, node)) for node in plan.nodes]
    return "\n\n".join([f"lab {plan.name}: {size(plan)}", *blocks])


def size(plan: LabPlan) -> str:
    """ "3 nodes, 2 links"; what stands for a link with more than two ends is told as a link."""
    bridges = {node.name for node in plan.nodes if node.implicit}
    nodes = len(plan.nodes) - len(bridges)
    # Of a link that became a bridge, the veths to it are no links that anybody wrote.
    links = len(bridges) + sum(not bridges.intersection(node for node, _ in link.ends) for link in plan.links)
    said = f"{nodes} node{'s' * (nodes != 1)}"
    return f"{said}, {links} link{'s' * (links != 1)}" if links else said


def _node(plan: LabPlan, node: NodePlan) -> Iterator[str]:
    kind = "the bridge of a link" if node.implicit else node.kind
    source = f" from the image {node.image}" if node.image else f" {node.container}" if node.container else ""
    yield f"{node.name}  {kind}{source}{', IPv6 too' if node.ipv6 else ''}"
    if node.bridge:
        yield f"  bridge {node.bridge}"
    width = max((len(each.ifname) for each in node.interfaces), default=0)
    for each in node.interfaces:
        yield f"  {each.ifname:<{width}}  {_interface(plan, node, each)}"
    for address in node.loopback:
        yield f"  lo  {address}"
    if node.outside:
        yield f"  hides the others behind {node.outside}"
    for route in node.routes:
        yield f"  to {_DEFAULT_ROUTES.get(route.to, route.to)} via {route.via}"
    for name, value in node.sysctls:
        yield f"  {name} = {value}"
    for inside, outside in node.files:
        yield f"  file {inside} from {outside}"
    for command in node.run:
        yield f"  runs {_command(command)}"


def _interface(plan: LabPlan, node: NodePlan, interface: InterfacePlan) -> str:
    parts = [*interface.addresses, interface.hardware_address, f"mtu {interface.mtu}"]
    if interface.link < 0:
        parts.append("TUN")
    else:
        far = next(end for end in plan.links[interface.link].ends if end != (node.name, interface.ifname))
        parts.append(f"to {far[0]} {far[1]}")
    return "  ".join(filter(None, [*parts, impaired(interface.impairment)]))


def impaired(impairment: Impairment) -> str:
    """What is done to what leaves there, "10 Mbit/s, delay 20 ms"; "" for nothing."""
    said = []
    if impairment.rate:
        said.append(f"{impairment.rate / 1e6:g} Mbit/s")
    for name, microseconds in (("delay", impairment.delay_us), ("jitter", impairment.jitter_us)):
        if microseconds:
            said.append(f"{name} {microseconds / 1000:g} ms")
    shares = ("loss", impairment.loss), ("reorder", impairment.reorder), ("duplicate", impairment.duplicate)
    for name, share in shares:
        if share:
            said.append(f"{name} {share * 100:g} %")
    return ", ".join(said)


def _command(command: CommandPlan) -> str:
    said = shlex.join(command.arguments)
    if command.ready_port:
        return f"{said}, ready when port {command.ready_port} is open (within {command.timeout:g} s)"
    if command.ready_line:
        return f"{said}, ready at a line {command.ready_line!r} (within {command.timeout:g} s)"
    return said
