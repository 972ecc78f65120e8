"""What a lab file says, checked and frozen, before anything is worked out from it.

Source: toml.io for the text.
Rule for editors: every key that a file may have is a field of a spec here; any other is an error that says which one
was meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct, field
from msgspec.structs import replace

from tunlab.errors import TopologyError
from tunlab.topology.plan import CommandPlan, Impairment, NodeKind, RoutePlan
from tunlab.topology.values import names, units
from tunlab.topology.values.names import check_lab_name
from tunlab.topology.values.problems import Problems

DEFAULT_NAME = "lab"
DEFAULT_TUN, DEFAULT_TUN6 = "10.1.2.1/24", "fd00:1:2::1/64"
DEFAULT_SUBNETS, DEFAULT_SUBNETS6 = "10.0.0.0/16", "fd00::/48"

Ip = Literal["ipv4", "ipv6", "both"]


class NodeSpec(Struct, frozen=True, kw_only=True):
    """A node: a network namespace and what is in it.

    forward         whether it passes on what is not for it: a router and a NAT router always do
    tun, tun6       its TUN's IPv4 and IPv6 address with the prefix length of their networks; "" and "": it has none
    tuns            more TUNs: their addresses by their names
    ifname, mtu     the TUN's name, and the MTU of all its TUNs in octets
    loopback        addresses of its own that belong to no link, with the prefix length 32 or 128
    routes          in place of those that are worked out; None: they are worked out
    outside         the link behind which a NAT router hides the others: the name of the node there or of the interface
    run             programs that it starts with
    files           path inside the node, and the source file's path as the lab file has it
    image           of a container that is started for it; container: the name of one that runs already
    env             variables that such a container is started with; its program is the first of run, or the image's own
    """

    kind: NodeKind = "host"
    forward: bool = False
    tun: str = ""
    tun6: str = ""
    tuns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ifname: str = "tun0"
    mtu: int = 1500
    loopback: tuple[str, ...] = ()
    routes: tuple[RoutePlan, ...] | None = None
    outside: str = ""
    run: tuple[CommandPlan, ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    container: str = ""
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def devices(self) -> Mapping[str, tuple[str, ...]]:
        """All its TUNs: their addresses by their names, in order."""
        own = tuple(address for address in (self.tun, self.tun6) if address)
        return {**({self.ifname: own} if own else {}), **self.tuns}


class EndSpec(Struct, frozen=True, kw_only=True):
    """An end of a link; "" for what is worked out.

    address, address6  with or without the prefix length of the link's network
    impairment         what happens to what leaves the node by this end
    """

    node: str
    ifname: str = ""
    address: str = ""
    address6: str = ""
    mac: str = ""
    impairment: Impairment = Impairment()


class LinkSpec(Struct, frozen=True, kw_only=True):
    """A link of two ends, or a bridge of more; "" for a network that is worked out. MTU in octets."""

    ends: tuple[EndSpec, ...]
    subnet: str = ""
    subnet6: str = ""
    mtu: int = 1500


class LabSpec(Struct, frozen=True):
    """A lab: its name, its nodes by theirs, and its links.

    subnets   where the links without a network get theirs: /24 each; subnets6: /64 each
    """

    name: str = DEFAULT_NAME
    nodes: Mapping[str, NodeSpec] = field(default_factory=lambda: {"stack": NodeSpec(tun=DEFAULT_TUN)})
    links: tuple[LinkSpec, ...] = ()
    ip: Ip = "ipv4"
    subnets: str = DEFAULT_SUBNETS
    subnets6: str = DEFAULT_SUBNETS6

    @property
    def node(self) -> NodeSpec:
        """The lab's one node. Raises ValueError if there are more."""
        (node,) = self.nodes.values()
        return node

    def changed(
        self, *, name: str | None = None, tun: str | None = None, ifname: str | None = None, mtu: int | None = None
    ) -> LabSpec:
        """This lab with what is given in the place of what it has, checked.

        Raises TopologyError, also where the TUN is to change and the lab has not one node.
        """
        lab = self if name is None else replace(self, name=check_lab_name(name))
        given = {key: value for key, value in (("tun", tun), ("ifname", ifname), ("mtu", mtu)) if value is not None}
        if not given:
            return lab
        if len(self.nodes) != 1:
            problem = f"is ambiguous: the lab has {len(self.nodes)} nodes"
            raise TopologyError(problem, key=next(iter(given)), hint="Change the lab file instead.")
        node = replace(self.node, **given)
        check_node(node)
        return replace(lab, nodes=dict.fromkeys(self.nodes, node))


def check_node(node: NodeSpec, *, file: str = "", table: str = "") -> None:
    """Raise TopologyError with every invalid value of the node's TUN."""
    problems = Problems(file)
    problems.take(table, "tun", lambda value: str(names.interface(value, 4)), node.tun, "")
    problems.take(table, "ifname", names.ifname, node.ifname, "")
    problems.take(table, "mtu", units.mtu, node.mtu, 0)
    problems.raise_if_any()
