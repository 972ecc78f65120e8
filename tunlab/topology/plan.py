"""The plan of a lab: the interfaces, addresses, routes and sysctls that tunlab.lab creates, in order.

The same lab file always gives the same plan. tunlab.topology.planner computes every value, so an empty field means
"none".
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

NodeKind = Literal["host", "router", "switch", "nat", "container"]


class Impairment(Struct, frozen=True, kw_only=True):
    """The rate limit, delay and losses of packets that leave by an interface; 0 means none.

    Attributes:
        rate: bits per second (tbf).
        delay_us: delay in microseconds (netem, like the fields below).
        jitter_us: variation of the delay in microseconds.
        loss: share of dropped packets, 0 to 1.
        reorder: share of packets sent without the delay, 0 to 1.
        duplicate: share of duplicated packets, 0 to 1.
    """

    rate: int = 0
    delay_us: int = 0
    jitter_us: int = 0
    loss: float = 0.0
    reorder: float = 0.0
    duplicate: float = 0.0

    @property
    def needs_netem(self) -> bool:
        """True if the kernel needs the queueing discipline netem for this impairment."""
        return bool(self.delay_us or self.jitter_us or self.loss or self.reorder or self.duplicate)


class InterfacePlan(Struct, frozen=True, kw_only=True):
    """One interface of a node.

    Attributes:
        ifname: the interface name.
        ifindex: the interface index, from 2 on; in a running container from 100,001 on.
        hardware_address: the MAC address, by default a locally administered one; "" for a TUN.
        addresses: addresses with prefix length; none for the ports of a switch.
        mtu: MTU in bytes.
        link: index of its link in LabPlan.links; -1 for a TUN.
        impairment: the impairment of packets that leave by it.
    """

    ifname: str
    ifindex: int
    hardware_address: str
    addresses: tuple[str, ...]
    mtu: int
    link: int
    impairment: Impairment = Impairment()


class RoutePlan(Struct, frozen=True, kw_only=True):
    """A route to a network ("10.0.2.0/24", "default" or "default6" for IPv6) by the next hop `via`."""

    to: str
    via: str


class CommandPlan(Struct, frozen=True, kw_only=True):
    """A program that a node starts: one entry of its key `run` or `setup`.

    Attributes:
        arguments: the program and its arguments, run without a shell.
        ready_port: a TCP port on which it listens when ready; 0 for none.
        ready_udp: a UDP port to which it is bound when ready; 0 for none.
        ready_line: a regular expression for a line of its output when ready; "" for none.
        ready_path: a path that exists in the node when it is ready; "" for none.
        ready_command: a program that succeeds in the node when it is ready; () for none.
        ready_exit: the exit status with which it has ended when ready; -1 for none.
        timeout: maximum seconds until it is ready; for `setup` until it has ended.
        may_exit: True if its end is not a failure.
        env: environment variables besides those of the node.
        user: the user, or "user:group", that it runs as; "" for that of the node.
        cwd: its working directory; "" for that of the node.
    """

    arguments: tuple[str, ...]
    ready_port: int = 0
    ready_udp: int = 0
    ready_line: str = ""
    ready_path: str = ""
    ready_command: tuple[str, ...] = ()
    ready_exit: int = -1
    timeout: float = 10.0
    may_exit: bool = False
    env: tuple[tuple[str, str], ...] = ()
    user: str = ""
    cwd: str = ""


class DirectoryPlan(Struct, frozen=True, kw_only=True):
    """A directory below /run that a node gets besides those of the machine.

    Attributes:
        path: its absolute path.
        owner: a user, or "user:group"; "" for root.
        mode: its permission bits.
    """

    path: str
    owner: str = ""
    mode: int = 0o755


class NodePlan(Struct, frozen=True, kw_only=True):
    """One node: a network namespace with its interfaces and programs.

    Attributes:
        name: the node's name.
        kind: "host", "router", "switch", "nat" or "container".
        interfaces: its interfaces, TUNs included.
        routes: its routes.
        sysctls: names and values, set in this order after those that tunlab sets in every node.
        run: programs to start.
        setup: programs to run before, one after the other.
        after: nodes whose programs are ready before this node starts its own.
        files: paths in the node and their source files or directories.
        texts: paths in the node and the contents of these files.
        owners: owner and mode of `files` and `texts`: (path, owner, mode); "" and 0 keep what the file has.
        private: directories that are hidden by empty ones, besides /run.
        run_dirs: directories to create in /run.
        share: files, sockets and directories of the machine in private directories.
        visible: directories of the machine that a private directory does not hide.
        implicit: True for a bridge that is not in the lab file: one added for a link with more than two ends.
        ipv6: True if IPv6 is enabled.
        tun: the ifname of its first TUN; "" for none.
        loopback: addresses of lo with prefix length, in addition to 127.0.0.1 and ::1.
        bridge: the ifname of a switch's bridge; "" for other nodes.
        outside: the outside ifname of a NAT router; "" for other nodes.
        image: the image of a container to start.
        container: the name of a running container.
        env: environment variables of its programs, or of a container to start.
        user: the user, or "user:group", that its programs run as; "" for that of tunlab.
        cwd: the working directory of its programs; "" for that of tunlab.
    """

    name: str
    kind: NodeKind
    interfaces: tuple[InterfacePlan, ...] = ()
    routes: tuple[RoutePlan, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    run: tuple[CommandPlan, ...] = ()
    setup: tuple[CommandPlan, ...] = ()
    after: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    texts: tuple[tuple[str, str], ...] = ()
    owners: tuple[tuple[str, str, int], ...] = ()
    private: tuple[str, ...] = ()
    run_dirs: tuple[DirectoryPlan, ...] = ()
    share: tuple[str, ...] = ()
    visible: tuple[str, ...] = ()
    implicit: bool = False
    ipv6: bool = False
    tun: str = ""
    loopback: tuple[str, ...] = ()
    bridge: str = ""
    outside: str = ""
    image: str = ""
    container: str = ""
    env: tuple[tuple[str, str], ...] = ()
    user: str = ""
    cwd: str = ""


class LinkPlan(Struct, frozen=True, kw_only=True):
    """A veth pair; each end is (node, ifname). A link with more than two ends is several veth pairs to a bridge."""

    ends: tuple[tuple[str, str], tuple[str, str]]


class LabPlan(Struct, frozen=True, kw_only=True):
    """The plan of a lab.

    Attributes:
        name: the lab's name.
        nodes: its nodes, in the order of the lab file.
        links: its veth pairs.
        hosts: the entries of /etc/hosts, the same in every node: (address, (name, …)).
    """

    name: str
    nodes: tuple[NodePlan, ...]
    links: tuple[LinkPlan, ...] = ()
    hosts: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def node(self, name: str) -> NodePlan:
        """Return the node of this name. Raises KeyError if there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)
