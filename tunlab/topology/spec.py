"""The checked content of a lab file. Each key of the file is a field of a class here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct, field
from msgspec.structs import replace

from tunlab.errors import TopologyError
from tunlab.topology.plan import CommandPlan, DirectoryPlan, Impairment, NodeKind, RoutePlan
from tunlab.topology.values import names, units
from tunlab.topology.values.names import check_lab_name
from tunlab.topology.values.problems import Problems

DEFAULT_NAME = "lab"
DEFAULT_TUN, DEFAULT_TUN6 = "10.1.2.1/24", "fd00:1:2::1/64"
DEFAULT_SUBNETS, DEFAULT_SUBNETS6 = "10.0.0.0/16", "fd00::/48"

Ip = Literal["ipv4", "ipv6", "both"]


class NodeSpec(Struct, frozen=True, kw_only=True):
    """The content of a table below [nodes]: one node.
    Attributes:
        kind: the kind of node.
        forward: True if it forwards packets, as each router and NAT router does.
        tun: addresses of its TUN, with prefix length.
        tuns: TUNs besides the one of `tun`: each name with its addresses.
        ifname: the name of the TUN of `tun`.
        mtu: MTU of its TUNs in bytes.
        loopback: addresses on lo, with prefix length 32 or 128.
        routes: its routes; None if tunlab computes them.
        outside: the outside of a NAT router: the name of an interface or of the node at its other end.
        run: programs to start.
        sysctls: sysctls of its network namespace.
        setup: programs to run before, one after the other.
        after: nodes whose programs are ready before this node starts its own.
        files: paths in the node and their source files or directories.
        texts: paths in the node and the contents of these files, given in `files`.
        owners: owner and mode by path of `files` and `texts`, given in `files`.
        private: directories that are hidden by empty ones, besides /run.
        run_dirs: directories to create in /run.
        share: files, sockets and directories of the machine in private directories.
        image: the image of a container to start.
        container: the name of a running container.
        env: environment variables of its programs, or of a container to start.
        user: the user, or "user:group", that its programs run as.
        cwd: the working directory of its programs.
    """

    kind: NodeKind = "host"
    forward: bool = False
    tun: tuple[str, ...] = ()
    tuns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ifname: str = "tun0"
    mtu: int = 1500
    loopback: tuple[str, ...] = ()
    routes: tuple[RoutePlan, ...] | None = None
    outside: str = ""
    run: tuple[CommandPlan, ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    setup: tuple[CommandPlan, ...] = ()
    after: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    owners: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    private: tuple[str, ...] = ()
    run_dirs: tuple[DirectoryPlan, ...] = ()
    share: tuple[str, ...] = ()
    image: str = ""
    container: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    cwd: str = ""

    @property
    def devices(self) -> Mapping[str, tuple[str, ...]]:
        """All TUNs of the node: each name with its addresses."""
        return {**({self.ifname: self.tun} if self.tun else {}), **self.tuns}


class EndSpec(Struct, frozen=True, kw_only=True):
    """An end of a link; an empty string means that the planner chooses the value.
    Attributes:
        node: the node's name.
        ifname: the interface name.
        address: IPv4 address, with or without prefix length.
        address6: IPv6 address, with or without prefix length.
        mac: the MAC address.
        impairment: the impairment of packets that leave by this end.
    """

    node: str
    ifname: str = ""
    address: str = ""
    address6: str = ""
    mac: str = ""
    impairment: Impairment = Impairment()


class LinkSpec(Struct, frozen=True, kw_only=True):
    """A link between two ends, or a bridge between more.

    Attributes:
        ends: its ends.
        subnet: its IPv4 network; "" to let the planner choose one.
        subnet6: its IPv6 network; "" to let the planner choose one.
        mtu: MTU in bytes.
    """

    ends: tuple[EndSpec, ...]
    subnet: str = ""
    subnet6: str = ""
    mtu: int = 1500


class LabSpec(Struct, frozen=True):
    """The content of a lab file.

    Attributes:
        name: the lab's name.
        nodes: the nodes by name.
        links: the links.
        ip: the IP versions.
        subnets: the network from which links get a /24 each.
        subnets6: the network from which links get a /64 each.
    """

    name: str = DEFAULT_NAME
    nodes: Mapping[str, NodeSpec] = field(default_factory=lambda: {"stack": NodeSpec(tun=(DEFAULT_TUN,))})
    links: tuple[LinkSpec, ...] = ()
    ip: Ip = "ipv4"
    subnets: str = DEFAULT_SUBNETS
    subnets6: str = DEFAULT_SUBNETS6

    @property
    def node(self) -> NodeSpec:
        """The node of a lab with one node. Raises ValueError if the lab has more."""
        (node,) = self.nodes.values()
        return node

    def override(
        self,
        *,
        name: str | None = None,
        tun: str | Sequence[str] = (),
        ifname: str | None = None,
        mtu: int | None = None,
    ) -> LabSpec:
        """Return a copy in which the given values replace those of the lab file.

        Args:
            name: the lab's name.
            tun: addresses of the only node's TUN, with prefix length. The lab gets the IP versions that they need.
            ifname: the name of that TUN.
            mtu: MTU of that TUN in bytes.

        Raises:
            TopologyError: for an invalid value, or for a value of a TUN if the lab has several nodes.
        """
        lab = self if name is None else replace(self, name=check_lab_name(name))
        addresses = (tun,) if isinstance(tun, str) else tuple(tun)
        values: dict[str, Any] = {"tun": addresses or None, "ifname": ifname, "mtu": mtu}
        given = {key: value for key, value in values.items() if value is not None}
        if not given:
            return lab
        if len(self.nodes) != 1:
            problem = f"is ambiguous: the lab has {len(self.nodes)} nodes"
            raise TopologyError(problem, key=next(iter(given)), hint="Change the lab file instead.")
        node = replace(self.node, **given)
        ip: Ip = "both" if {"ipv6" if ":" in each else "ipv4" for each in addresses} - {self.ip} else self.ip
        check_node(node, ip)
        return replace(lab, nodes=dict.fromkeys(self.nodes, node), ip=ip)


def check_node(node: NodeSpec, ip: Ip = "ipv4") -> None:
    """Check the node's TUN: addresses, name and MTU. Raises TopologyError with every invalid value."""
    problems = Problems()
    for address in node.tun:
        problems.read("", "tun", names.any_interface, address, None)
    problems.read("", "ifname", names.ifname, node.ifname, "")
    problems.read("", "mtu", lambda value: units.mtu(value, ipv6=ip != "ipv4"), node.mtu, 0)
    problems.raise_if_any()
