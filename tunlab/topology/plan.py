"""A lab worked out to the last number: what `tunlab.lab` makes, in the order in which it makes it. Data only.

A lab file says what its author cares about; the plan says everything: each interface with its name, index, hardware
address and addresses, each route, each sysctl. The same file always gives the same plan.

Rule for editors: no field here is optional in meaning. An empty one says that there is nothing to do, never "work it
out": that is tunlab.topology.planner.planner's.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

NodeKind = Literal["host", "router", "switch", "nat", "container"]


class Impairment(Struct, frozen=True, kw_only=True):
    """What an interface does to what leaves through it; zeros do nothing.

    rate                      bits per second (tbf); 0: as fast as it goes
    delay_us, jitter_us       microseconds (netem), as those below
    loss, reorder, duplicate  a share from 0 to 1
    """

    rate: int = 0
    delay_us: int = 0
    jitter_us: int = 0
    loss: float = 0.0
    reorder: float = 0.0
    duplicate: float = 0.0

    @property
    def needs_netem(self) -> bool:
        """Whether the kernel has to have netem for it."""
        return bool(self.delay_us or self.jitter_us or self.loss or self.reorder or self.duplicate)


class InterfacePlan(Struct, frozen=True, kw_only=True):
    """One interface of a node.

    ifindex            from 2 on, in the order of the file; in a container that runs already from 100,001 on
    hardware_address   "02:…", locally administered; "" for a TUN
    addresses          with prefix length, "10.0.1.1/24", "fd00:0:0:1::1/64"; none for a switch's ports
    mtu                octets
    link               the place of its link in LabPlan.links; -1 for a TUN
    """

    ifname: str
    ifindex: int
    hardware_address: str
    addresses: tuple[str, ...]
    mtu: int
    link: int
    impairment: Impairment = Impairment()


class RoutePlan(Struct, frozen=True, kw_only=True):
    """A route: `to` as "10.0.2.0/24" or "default"/"default6", over the address `via`."""

    to: str
    via: str


class CommandPlan(Struct, frozen=True, kw_only=True):
    """A program that runs in a node from the start.

    arguments    the program and its arguments; there is no shell
    ready_port   a TCP port that it opens when it is ready; 0: none is waited for
    ready_line   a regular expression that a line of its output matches when it is ready; "": none is waited for
    timeout      seconds that it may take to be ready
    """

    arguments: tuple[str, ...]
    ready_port: int = 0
    ready_line: str = ""
    timeout: float = 10.0


class NodePlan(Struct, frozen=True, kw_only=True):
    """One node: a network namespace, and what is in it.

    implicit    whether it is a bridge that stands for a link with more than two ends: it was not named in the file
    ipv6        whether its kernel speaks IPv6
    tun         the ifname of its first TUN; "" for none. All its TUNs are among its interfaces, their link being -1
    loopback    addresses of lo beside its own, with prefix length, "192.0.2.1/32"
    bridge      the ifname of the bridge to which a switch's ports belong; "" for others
    outside     the ifname behind which a NAT router hides the others; "" for others
    sysctls     name and value, in order, after tunlab's own
    files       path inside the node, and the source file's path as the lab file has it
    image       of a container that is started for it; container: the name of one that runs already
    env         variables that such a container is started with; its program is the one of run, or the image's own
    """

    name: str
    kind: NodeKind
    interfaces: tuple[InterfacePlan, ...] = ()
    routes: tuple[RoutePlan, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    run: tuple[CommandPlan, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    implicit: bool = False
    ipv6: bool = False
    tun: str = ""
    loopback: tuple[str, ...] = ()
    bridge: str = ""
    outside: str = ""
    image: str = ""
    container: str = ""
    env: tuple[tuple[str, str], ...] = ()


class LinkPlan(Struct, frozen=True, kw_only=True):
    """A veth between two interfaces: each end is (node, ifname). A link of more ends has become a switch's several."""

    ends: tuple[tuple[str, str], tuple[str, str]]


class LabPlan(Struct, frozen=True, kw_only=True):
    """The whole lab.

    hosts   address and name of every interface that has both, for each node's hosts file: (address, (name, …))
    """

    name: str
    nodes: tuple[NodePlan, ...]
    links: tuple[LinkPlan, ...] = ()
    hosts: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def node(self, name: str) -> NodePlan:
        """The node of this name. Raises KeyError."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)
