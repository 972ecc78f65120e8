"""Build a planned lab: namespaces with veths, bridges, TUNs, addresses, routes, impairments and NAT.

Two threads build everything and move from namespace to namespace: setns(2) takes 3 µs, a new thread 60 µs.
The plan contains all interface indexes, so the kernel need not be asked for them.
If this process ends before `on_namespaces` has bind-mounted the namespaces, the kernel removes them.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeAlias

from tunlab.errors import KernelError, PrivilegeError, TopologyError
from tunlab.kernel.device.tun import TunDevice
from tunlab.kernel.namespace import sysctl
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.namespace.netns_thread import run_in_thread
from tunlab.kernel.network.address_events import wait_for_addresses
from tunlab.kernel.network.link_events import wait_until_running
from tunlab.kernel.network.nftables import masquerade
from tunlab.kernel.network.rtnl import Rtnl
from tunlab.lab.build.containers import Containers
from tunlab.lab.build.limits import check_container, check_limits
from tunlab.lab.build.links import set_impairment
from tunlab.topology.plan import Impairment, InterfacePlan, LabPlan, NodePlan

Namespaces: TypeAlias = dict[str, Netns]
"""The namespace of each node by the node's name, in the plan's order."""

_LOOPBACK = 1
_ETHERNET_MTU = 1500
_RUNNING_TIMEOUT = 5.0
# The kernel returns these errno values for an unknown sysctl or an invalid value, both mistakes in the lab file.
_LAB_FILE_ERRORS = (errno.ENOENT, errno.EINVAL, errno.ERANGE)


def build(
    plan: LabPlan, *, on_namespaces: Callable[[Namespaces], None] | None = None, containers: Containers | None = None
) -> Namespaces:
    """Create the namespaces of all nodes, with their interfaces, addresses, routes and NAT; the caller closes them.

    On an error, remove everything created, except containers and what `on_namespaces` created.

    Args:
        plan: the lab.
        on_namespaces: called with the namespaces while they are empty, to record and bind-mount them.
        containers: starts the nodes that are containers.

    Raises:
        LabError: if a limit of this machine is too low, or a node is a container and `containers` is None.
        PrivilegeError, KernelError: if the kernel refuses; the message names the node or link.
        EngineError: if a container does not start.
    """
    check_limits(plan, containers)
    container_namespaces: Namespaces = {}
    namespaces: Namespaces = {}

    def create() -> None:
        for node in plan.nodes:
            with _naming_errors(node.name):
                if node.name in container_namespaces:
                    if node.container:
                        with _entered(container_namespaces[node.name]) as rtnl:
                            check_container(plan.name, node, rtnl)
                    _prepare_container(node, container_namespaces[node.name])
                    namespaces[node.name] = container_namespaces[node.name]
                else:
                    namespaces[node.name] = Netns.unshare(ipv6=node.ipv6)

    def fill() -> None:
        _wire(plan, namespaces)
        for node in plan.nodes:
            with _naming_errors(node.name):
                _configure(node, namespaces[node.name])
        _wait_for_links(plan, namespaces)

    try:
        for node in plan.nodes:
            if node.kind == "container" and containers is not None:
                container_namespaces[node.name] = containers.adopt(node)
        run_in_thread(create, uninterruptible=True)
        # Call on_namespaces in this thread: that of `create` may be in another mount namespace, entered to set sysctls.
        if on_namespaces is not None:
            on_namespaces(namespaces)
        run_in_thread(fill, uninterruptible=True)
    except BaseException:
        for netns in (*namespaces.values(), *container_namespaces.values()):
            netns.close()
        raise
    return namespaces


def _prepare_container(node: NodePlan, netns: Netns) -> None:
    """Set tunlab's sysctls in a container that it started; in an existing container, only enable IPv6 if needed."""
    netns.enter()
    if node.image:
        sysctl.write_defaults(ipv6=node.ipv6)
    elif node.ipv6:  # the container engine disables IPv6 in a container that has no network
        sysctl.write([("net.ipv6.conf.all.disable_ipv6", "0")])


# ---- links -----------------------------------------------------------------------------------------------------------


def _wire(plan: LabPlan, namespaces: Mapping[str, Netns]) -> None:
    """Create the bridges, and the veth pairs with each end in the namespace of its node."""
    nodes = {node.name: node for node in plan.nodes}
    interfaces = {(node.name, each.ifname): each for node in plan.nodes for each in node.interfaces}
    bridges: dict[str, int] = {}
    for node in plan.nodes:
        if node.bridge:
            with _naming_errors(node.name), _entered(namespaces[node.name]) as rtnl:
                bridges[node.name] = _add_bridge(rtnl, node)
    # Create a switch's veth pairs in the switch's namespace: one request then creates a pair and adds it to the bridge.
    by_node: dict[str, list[tuple[str, str, str]]] = {}
    for link in plan.links:
        (near, near_ifname), (far, far_ifname) = sorted(link.ends, key=lambda end: not nodes[end[0]].bridge)
        by_node.setdefault(near, []).append((near_ifname, far, far_ifname))
    for near, links in by_node.items():
        with _entered(namespaces[near]) as rtnl:
            for near_ifname, far, far_ifname in links:
                interface, peer = interfaces[near, near_ifname], interfaces[far, far_ifname]
                with _naming_errors(f"link {near}:{near_ifname} - {far}:{far_ifname}"):
                    rtnl.add_veth(
                        near_ifname,
                        far_ifname,
                        peer_netns=namespaces[far],
                        ifindex=interface.ifindex,
                        peer_ifindex=peer.ifindex,
                        hardware_address=interface.hardware_address or None,
                        peer_hardware_address=peer.hardware_address or None,
                        master=bridges.get(near),
                    )
    for near, links in by_node.items():
        for _, far, far_ifname in links:
            if near in bridges and far in bridges:
                with _naming_errors(far), _entered(namespaces[far]) as rtnl:
                    rtnl.set_link(interfaces[far, far_ifname].ifindex, master=bridges[far])


def _add_bridge(rtnl: Rtnl, node: NodePlan) -> int:
    ifindex = max((each.ifindex for each in node.interfaces), default=_LOOPBACK) + 1
    rtnl.add_link(node.bridge, "bridge", ifindex=ifindex, up=True)
    return ifindex


def _configure(node: NodePlan, netns: Netns) -> None:
    """Enter a namespace and create its TUNs, addresses, routes and NAT."""
    for interface in node.interfaces:
        if interface.link < 0:
            _add_tun(netns, interface)
    with _entered(netns) as rtnl:
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
            if error.errno not in _LAB_FILE_ERRORS:
                raise
            problem = f"cannot be {value!r}: {error.reason}"
            raise TopologyError(problem, table=f"nodes.{node.name}.sysctls", key=name, hint=error.remedy) from error


def _add_tun(netns: Netns, interface: InterfacePlan) -> None:
    with TunDevice.create(netns, interface.ifname, exclusive=True) as device:
        device.configure(interface.addresses, mtu=interface.mtu)


def _wait_for_links(plan: LabPlan, namespaces: Mapping[str, Netns]) -> None:
    """Wait until each link has a carrier and usable addresses, because the kernel drops packets sent earlier."""
    for node in plan.nodes:
        linked = [interface for interface in node.interfaces if interface.link >= 0]
        if not linked:
            continue
        with _naming_errors(node.name), _entered(namespaces[node.name]) as rtnl:
            for interface in linked:
                if not rtnl.is_running(interface.ifindex) and not wait_until_running(
                    rtnl, interface.ifindex, _RUNNING_TIMEOUT
                ):
                    operation = f"set {interface.ifname} up"
                    reason = f"no carrier after {_RUNNING_TIMEOUT:g} s"
                    raise KernelError(errno.ENETDOWN, operation, reason=reason, ifname=interface.ifname)
                wait_for_addresses(rtnl, interface.ifindex, interface.addresses)


# ---- namespaces ------------------------------------------------------------------------------------------------------


@contextmanager
def _entered(netns: Netns) -> Iterator[Rtnl]:
    """Move the calling thread into a namespace and leave it there; yield an rtnetlink socket of the namespace."""
    netns.enter()
    with Rtnl(netns, socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, socket.NETLINK_ROUTE)) as rtnl:
        yield rtnl


@contextmanager
def _naming_errors(name: str) -> Iterator[None]:
    """Prefix the messages of kernel errors raised in a `with` block with the name of a node or link."""
    try:
        yield
    except PrivilegeError:  # the privilege is missing for all nodes, so the message names no node
        raise
    except KernelError as error:
        if not error.operation.startswith("node ") and not error.operation.startswith("link "):
            error.operation = f"{name if name.startswith('link ') else f'node {name}'}: {error.operation}"
        raise
