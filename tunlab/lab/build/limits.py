"""Checks before a lab is built: limits of this kernel and of this process, and conflicts with existing containers."""

from __future__ import annotations

import os
import resource

from tunlab.errors import LabError
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.network.qdisc import has_netem, netem_error
from tunlab.kernel.network.rtnl import Rtnl
from tunlab.lab.build.containers import Containers, container_nodes, no_engine_error
from tunlab.topology.plan import Impairment, LabPlan, NodePlan

_BRIDGE_PORTS = 1023  # BR_MAX_PORTS in net/bridge/br_private.h, less the reserved port 0
_OPEN_FILES = 16  # building a lab needs this many file descriptors in addition to one per namespace


def check_limits(plan: LabPlan, containers: Containers | None) -> None:
    """Raise LabError, KernelError or PrivilegeError if this process cannot build the lab on this kernel."""
    if containers is None and container_nodes(plan):
        raise no_engine_error(plan)
    for node in plan.nodes:
        if node.bridge and len(node.interfaces) > _BRIDGE_PORTS:
            problem = f"switch {node.name} has {len(node.interfaces)} ports; a bridge has at most {_BRIDGE_PORTS}"
            raise LabError(plan.name, problem, remedy="split the switch into two with a link between them")
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    open_now = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    if open_now + len(plan.nodes) + _OPEN_FILES > limit:
        problem = f"the lab needs an open file for each of its {len(plan.nodes)} nodes; the limit is {limit}"
        raise LabError(plan.name, problem, remedy=f"raise the limit: `ulimit -n {2 * (open_now + len(plan.nodes))}`")
    check_netem(plan)


def check_netem(plan: LabPlan) -> None:
    """Raise KernelError if the lab needs netem and this kernel does not have it.

    Raises PrivilegeError if this process may not create the namespace for the check.
    """
    impaired = [
        (node, interface)
        for node in plan.nodes
        for interface in node.interfaces
        if interface.impairment.needs_netem and interface.link >= 0
    ]
    if not impaired:
        return
    with Netns.create() as netns, Rtnl(netns) as rtnl:
        if has_netem(rtnl):
            return
    node, interface = impaired[0]
    (near, near_ifname), (far, far_ifname) = plan.links[interface.link].ends
    keys = " and ".join(_netem_keys(interface.impairment))
    more = f", and {len(impaired) - 1} more interfaces" if len(impaired) > 1 else ""
    raise netem_error(f"set {keys} of the link {near}:{near_ifname} - {far}:{far_ifname} ({node.name}{more})")


def _netem_keys(impairment: Impairment) -> list[str]:
    values = {
        "delay": impairment.delay_us,
        "jitter": impairment.jitter_us,
        "loss": impairment.loss,
        "reorder": impairment.reorder,
        "duplicate": impairment.duplicate,
    }
    return [key for key, value in values.items() if value]


def check_container(lab: str, node: NodePlan, rtnl: Rtnl) -> None:
    """Raise LabError if an existing container has interfaces or routes that conflict with those of the lab."""
    links = rtnl.links()
    defaults = {":" in route.via for route in rtnl.routes() if route.dst == "default" and route.via}
    names, indexes = {link.name for link in links}, {link.index for link in links}
    container = f"container {node.container} of node {node.name}"
    for interface in node.interfaces:
        if interface.ifindex in indexes:
            problem = f"{container} is already in another lab"
            raise LabError(lab, problem, remedy="take that lab down first. `tunlab ls` lists the running labs")
        if interface.ifname in names:
            problem = f"{container} already has an interface {interface.ifname}"
            ends = f'ends = ["…", "{node.name}:lab0"]' if interface.link >= 0 else 'ifname = "tun1"'
            raise LabError(lab, problem, remedy=f"name the lab's interface: {ends}")
    for route in node.routes:
        if route.to in ("default", "default6") and (route.to == "default6") in defaults:
            problem = f"{container} already has a default route"
            remedy = f'give the node other routes: routes = [{{ to = "10.0.0.0/16", via = "{route.via}" }}]'
            raise LabError(lab, problem, remedy=remedy)
