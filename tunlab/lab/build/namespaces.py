"""A plan made real: its namespaces, their veths, bridges and TUNs, addresses, routes, impairments, NAT.

Two throw-away threads do it all, each going from namespace to namespace: setns(2) takes 3 µs, a thread 60.
Nothing is asked of the kernel that the plan knows: devices have their indexes from there.
Rule for editors: until `hold` is called, all of it goes with this process; nothing has a name, and no device was ever
seen outside the lab.
"""

from __future__ import annotations

import errno
import os
import resource
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeAlias

from tunlab.errors import KernelError, LabError, PrivilegeError, TopologyError
from tunlab.kernel.device.tun import TunDevice
from tunlab.kernel.namespace import sysctl
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.namespace.netns_thread import run_in_thread
from tunlab.kernel.network.link_events import wait_until_running
from tunlab.kernel.network.nftables import masquerade
from tunlab.kernel.network.qdisc import has_netem, impair, netem_error
from tunlab.kernel.network.rtnl import Rtnl
from tunlab.lab.build.containers import Containers, needed, nobody
from tunlab.topology.plan import Impairment, InterfacePlan, LabPlan, NodePlan

Namespaces: TypeAlias = dict[str, Netns]
"""The namespace of each node, by the node's name, in the plan's order."""

_LOOPBACK = 1
_ETHERNET_MTU = 1500
_RUNNING_TIMEOUT = 5.0
_BRIDGE_PORTS = 1023  # BR_MAX_PORTS in net/bridge/br_private.h, less the one that is none
# No such sysctl, no such value, one that is too large: the kernel alone knows, and who wrote the lab is at fault.
_ITS_AUTHORS = (errno.ENOENT, errno.EINVAL, errno.ERANGE)
_MORE_FILES = 16  # open beside the namespaces while they are made


def make(
    plan: LabPlan, *, hold: Callable[[Namespaces], None] | None = None, containers: Containers | None = None
) -> Namespaces:
    """The namespaces of the lab's nodes with everything in them; close each.

    hold         called when they are made, before anything is in them: to record and to pin them
    containers   starts those of the nodes that are containers, and knows their namespaces

    Raises PrivilegeError and KernelError, with the node's name in the sentence; LabError for a container without
    `containers`, EngineError. What was made by then is gone, but for what `hold` has done and for containers.
    """
    _refuse_what_is_missing(plan, containers)
    adopted: Namespaces = {}
    namespaces: Namespaces = {}

    def create() -> None:
        for node in plan.nodes:
            with _named(node.name):
                if node.name in adopted:
                    if node.container:
                        _refuse_what_is_taken(plan.name, node, adopted[node.name])
                    _prepare(node, adopted[node.name])
                    namespaces[node.name] = adopted[node.name]
                else:
                    namespaces[node.name] = Netns.unshare(ipv6=node.ipv6)

    def fill() -> None:
        _wire(plan, namespaces)
        for node in plan.nodes:
            with _named(node.name):
                _configure(node, namespaces[node.name])
        _settle(plan, namespaces)

    try:
        for node in plan.nodes:
            if node.kind == "container" and containers is not None:
                adopted[node.name] = containers.adopt(node)
        run_in_thread(create, uninterruptible=True)
        if hold is not None:  # by this thread: where /proc/sys is read-only the other has left our mount namespace
            hold(namespaces)
        run_in_thread(fill, uninterruptible=True)
    except BaseException:
        for netns in (*namespaces.values(), *adopted.values()):
            netns.close()
        raise
    return namespaces


def _prepare(node: NodePlan, netns: Netns) -> None:
    """Set in a container's namespace what each new one of tunlab's has; in one that somebody else uses, no more than
    is needed."""
    netns.enter()
    if node.image:
        sysctl.write_defaults(ipv6=node.ipv6)
    elif node.ipv6:  # an engine switches it off where it gives no network
        sysctl.write([("net.ipv6.conf.all.disable_ipv6", "0")])


def _refuse_what_is_taken(lab: str, node: NodePlan, netns: Netns) -> None:
    """A container that runs already keeps the networks that it has: nothing of a lab replaces them."""
    with _inside(netns) as rtnl:
        links = rtnl.links()
        defaults = {":" in route.via for route in rtnl.routes() if route.dst == "default" and route.via}
    there, numbers = {link.name for link in links}, {link.index for link in links}
    for interface in node.interfaces:
        if interface.ifindex in numbers:
            problem = f"the container {node.container} of node {node.name} is a node of a lab already"
            raise LabError(lab, problem, remedy="take that lab down first: tunlab ls shows which are up")
        if interface.ifname in there:
            problem = f"the container {node.container} of node {node.name} has an interface {interface.ifname} already"
            ends = f'ends = ["…", "{node.name}:lab0"]' if interface.link >= 0 else 'ifname = "tun1"'
            raise LabError(lab, problem, remedy=f"give the lab's another name, as {ends}")
    for route in node.routes:
        if route.to in ("default", "default6") and (route.to == "default6") in defaults:
            problem = f"the container {node.container} of node {node.name} has a default route already"
            remedy = f'give the node other routes, as routes = [{{ to = "10.0.0.0/16", via = "{route.via}" }}]'
            raise LabError(lab, problem, remedy=remedy)


# ---- before --------------------------------------------------------------------------------------------------------


def _refuse_what_is_missing(plan: LabPlan, containers: Containers | None) -> None:
    if containers is None and needed(plan):
        raise nobody(plan)
    _refuse_what_is_too_large(plan)
    check_netem(plan)


def check_netem(plan: LabPlan) -> None:
    """Nothing, where this kernel can do to packets what the lab wants. Raises KernelError, PrivilegeError."""
    delayed = [
        (node, interface)
        for node in plan.nodes
        for interface in node.interfaces
        if interface.impairment.needs_netem and interface.link >= 0
    ]
    if not delayed:
        return
    with Netns.create() as netns, Rtnl(netns) as rtnl:
        if has_netem(rtnl):
            return
    node, interface = delayed[0]
    (one, its), (other, others) = plan.links[interface.link].ends
    wanted = " and ".join(_netem_words(interface.impairment))
    more = f", and {len(delayed) - 1} more of its interfaces" if len(delayed) > 1 else ""
    raise netem_error(f"give the link {one}:{its} - {other}:{others} its {wanted} ({node.name}{more})")


def _refuse_what_is_too_large(plan: LabPlan) -> None:
    for node in plan.nodes:
        if node.bridge and len(node.interfaces) > _BRIDGE_PORTS:
            problem = (
                f"{node.name} is a bridge with {len(node.interfaces)} ports, and the kernel's have {_BRIDGE_PORTS}"
            )
            raise LabError(plan.name, problem, remedy="make it two switches with a link between them")
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    there = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    if there + len(plan.nodes) + _MORE_FILES > limit:
        problem = f"the lab has {len(plan.nodes)} nodes, each takes an open file, and this process may have {limit}"
        raise LabError(plan.name, problem, remedy=f"raise the limit: ulimit -n {2 * (there + len(plan.nodes))}")


def _netem_words(impairment: Impairment) -> list[str]:
    words = {
        "delay": impairment.delay_us,
        "jitter": impairment.jitter_us,
        "loss": impairment.loss,
        "reorder": impairment.reorder,
        "duplicate": impairment.duplicate,
    }
    return [word for word, value in words.items() if value]


# ---- made ----------------------------------------------------------------------------------------------------------


def _wire(plan: LabPlan, namespaces: Mapping[str, Netns]) -> None:
    """The bridges, and the veths with both ends where they belong."""
    nodes = {node.name: node for node in plan.nodes}
    interfaces = {(node.name, each.ifname): each for node in plan.nodes for each in node.interfaces}
    bridges: dict[str, int] = {}
    for node in plan.nodes:
        if node.bridge:
            with _named(node.name), _inside(namespaces[node.name]) as rtnl:
                bridges[node.name] = _add_bridge(rtnl, node)
    # From a switch's side, so that its port belongs to the bridge from the first; one socket makes all of a node's.
    by_node: dict[str, list[tuple[str, str, str]]] = {}
    for link in plan.links:
        (near, ifname), (far, its) = sorted(link.ends, key=lambda end: not nodes[end[0]].bridge)
        by_node.setdefault(near, []).append((ifname, far, its))
    for near, links in by_node.items():
        with _inside(namespaces[near]) as rtnl:
            for ifname, far, its in links:
                one, other = interfaces[near, ifname], interfaces[far, its]
                with _named(f"link {near}:{ifname} - {far}:{its}"):
                    rtnl.add_veth(
                        ifname,
                        its,
                        peer_netns=namespaces[far],
                        ifindex=one.ifindex,
                        peer_ifindex=other.ifindex,
                        hardware_address=one.hardware_address or None,
                        peer_hardware_address=other.hardware_address or None,
                        master=bridges.get(near),
                    )
    for near, links in by_node.items():
        for _, far, its in links:
            if near in bridges and far in bridges:
                with _named(far), _inside(namespaces[far]) as rtnl:
                    rtnl.set_link(interfaces[far, its].ifindex, master=bridges[far])


def _add_bridge(rtnl: Rtnl, node: NodePlan) -> int:
    ifindex = max((each.ifindex for each in node.interfaces), default=_LOOPBACK) + 1
    rtnl.add_link(node.bridge, "bridge", ifindex=ifindex, up=True)
    return ifindex


def _configure(node: NodePlan, netns: Netns) -> None:
    """What is in one namespace: it is entered."""
    for interface in node.interfaces:
        if interface.link < 0:
            _add_tun(netns, interface)
    with _inside(netns) as rtnl:
        for cidr in node.loopback:
            rtnl.add_address(_LOOPBACK, cidr)
        for interface in node.interfaces:
            if interface.link < 0:
                continue
            for cidr in interface.addresses:
                rtnl.add_address(interface.ifindex, cidr)
            mtu = None if interface.mtu == _ETHERNET_MTU else interface.mtu
            rtnl.set_link(interface.ifindex, mtu=mtu, up=True)
            if interface.impairment != Impairment():
                set_impairment(rtnl, interface)
        _set_sysctls(node)
        for route in node.routes:
            rtnl.add_route("default" if route.to == "default6" else route.to, via=route.via)
    if node.outside:
        masquerade(netns, node.outside)


def _set_sysctls(node: NodePlan) -> None:
    for name, value in node.sysctls:
        try:
            sysctl.write([(name, value)])
        except KernelError as error:
            if error.errno not in _ITS_AUTHORS:
                raise
            problem, hint = f"{value!r}: {error.reason}", error.remedy
            raise TopologyError(problem, table=f"nodes.{node.name}.sysctls", key=name, hint=hint) from error


def _add_tun(netns: Netns, interface: InterfacePlan) -> None:
    with TunDevice.create(netns, interface.ifname, exclusive=True) as device:
        device.configure(interface.addresses, mtu=interface.mtu)


def set_impairment(rtnl: Rtnl, interface: InterfacePlan, impairment: Impairment | None = None) -> None:
    """Let an interface impair what leaves it as it is planned to, or so. Raises KernelError."""
    wanted = interface.impairment if impairment is None else impairment
    impair(
        rtnl,
        interface.ifindex,
        rate=wanted.rate,
        delay_us=wanted.delay_us,
        jitter_us=wanted.jitter_us,
        loss=wanted.loss,
        reorder=wanted.reorder,
        duplicate=wanted.duplicate,
        mtu=interface.mtu,
    )


def set_up(rtnl: Rtnl, node: NodePlan, interface: InterfacePlan, *, up: bool) -> None:
    """Set an interface up or down while the lab is up. Raises KernelError.

    With a device that goes down the kernel drops its routes and its IPv6 addresses: they come back with it.
    """
    rtnl.set_link(interface.ifindex, up=up)
    if not up:
        return
    for cidr in interface.addresses:
        if ":" in cidr:
            with suppressing(errno.EEXIST):
                rtnl.add_address(interface.ifindex, cidr)
    for route in node.routes:
        with suppressing(errno.EEXIST, errno.ENETUNREACH, errno.EHOSTUNREACH):  # the last two: over another interface
            rtnl.add_route("default" if route.to == "default6" else route.to, via=route.via)


@contextmanager
def suppressing(*codes: int) -> Iterator[None]:
    """Pass over what the kernel refuses for one of these reasons."""
    try:
        yield
    except KernelError as error:
        if error.errno not in codes:
            raise


def _settle(plan: LabPlan, namespaces: Mapping[str, Netns]) -> None:
    """Wait until each end of each link transmits: what is sent before is dropped without a word."""
    for node in plan.nodes:
        linked = [interface for interface in node.interfaces if interface.link >= 0]
        if not linked:
            continue
        with _named(node.name), _inside(namespaces[node.name]) as rtnl:
            for interface in linked:
                if not rtnl.is_running(interface.ifindex) and not wait_until_running(
                    rtnl, interface.ifindex, _RUNNING_TIMEOUT
                ):
                    operation = f"set {interface.ifname} up"
                    reason = f"the link got no carrier within {_RUNNING_TIMEOUT:g} s"
                    raise KernelError(errno.ENETDOWN, operation, reason=reason, ifname=interface.ifname)


# ---- where it is done ----------------------------------------------------------------------------------------------


@contextmanager
def _inside(netns: Netns) -> Iterator[Rtnl]:
    """Put this throw-away thread into a namespace; gives a rtnetlink socket of it."""
    netns.enter()
    with Rtnl(netns, socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, socket.NETLINK_ROUTE)) as rtnl:
        yield rtnl


@contextmanager
def _named(whose: str) -> Iterator[None]:
    """Say in an error which node or link it was."""
    try:
        yield
    except PrivilegeError:  # it would be missing at any
        raise
    except KernelError as error:
        if not error.operation.startswith("node ") and not error.operation.startswith("link "):
            error.operation = f"{whose if whose.startswith('link ') else f'node {whose}'}: {error.operation}"
        raise
