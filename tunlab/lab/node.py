"""Node: programs, sockets, packets and links in one node of a running lab."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from msgspec.structs import replace

from tunlab.errors import LabError
from tunlab.kernel import libc
from tunlab.kernel.namespace.machine import Machine
from tunlab.kernel.namespace.mount_overlay import MountOverlay
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.network.rtnl import Rtnl
from tunlab.kernel.os_errors import translate_os_errors
from tunlab.lab.build.links import set_impairment, set_up
from tunlab.lab.programs import Program
from tunlab.lab.run_directory import run_directory
from tunlab.topology.plan import CommandPlan, Impairment, InterfacePlan, LabPlan, NodePlan

if TYPE_CHECKING:
    from tunlab.lab.capture import Capture
    from tunlab.traffic import Tun
    from tunlab.traffic.counter_expectation import CounterExpectation

Socket: TypeAlias = socket.socket

LAB_VARIABLE = "TUNLAB_LAB"
"""The environment variable that holds the lab's name in programs of a persistent lab."""

NODE_VARIABLE = "TUNLAB_NODE"
"""The environment variable that holds the node's name in programs of a lab."""


def mount_overlay(plan: LabPlan, node: NodePlan) -> MountOverlay:
    """Return the host name and the mounted files that a node's programs see: `files`, and /etc/hosts with all nodes."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    lines += [" ".join((address, *names)) for address, names in plan.hosts]
    # Leave out the host's name servers: a node cannot reach them, so a lookup of an unknown name would time out.
    texts = {"/etc/hosts": "\n".join(lines) + "\n", "/etc/resolv.conf": "search lab\n"}
    given = dict(node.files)
    return MountOverlay(
        hostname=node.name,
        texts={**{path: text for path, text in texts.items() if path not in given}, **dict(node.texts)},
        files=node.files,
        owners={path: (owner, mode) for path, owner, mode in node.owners},
        private=("/run", "/var/run", *node.private),
        directories=tuple((each.path, each.owner, each.mode) for each in node.run_dirs),
        visible=(*_visible(), *node.visible, *node.share),
    )


def _visible() -> tuple[str, ...]:
    """Return the directories that a private directory must not hide: tunlab's own, Python's, the working directory."""
    package = Path(__file__).parents[2]
    own = (str(run_directory()), sys.prefix, sys.base_prefix, str(package))
    try:
        return (*own, str(Path.cwd()))
    except FileNotFoundError:  # The working directory was removed.
        return own


class Node:
    """A node of a running lab: `lab["client"]`.

    Attributes:
        plan: the node's interfaces, addresses and routes.
        netns: its network namespace.
        machine: its mount, UTS and PID namespace, created for its first program.
        programs: the programs that `run` in the lab file starts.
    """

    def __init__(
        self,
        lab: LabPlan,
        plan: NodePlan,
        netns: Netns,
        nodes: Mapping[str, Node],
        path: Path | None = None,
    ) -> None:
        """Create the object of a node; use `lab["client"]` instead.

        Args:
            lab: the plan of the lab.
            plan: the plan of the node.
            netns: its network namespace.
            nodes: all nodes of the lab by name.
            path: the socket of its init, in a persistent lab.
        """
        self.plan, self.netns = plan, netns
        self.machine = Machine(netns, lambda: self.overlay, path=path)
        self.programs: list[Program] = []
        self._lab, self._nodes = lab, nodes
        self._resources = ExitStack()
        self._rtnl: Rtnl | None = None
        self._tuns: dict[str, Tun] = {}
        self._entered = threading.local()

    @property
    def name(self) -> str:
        """The node's name."""
        return self.plan.name

    def __repr__(self) -> str:
        return f"<Node {self.name} in {self.netns}>"

    # ---- addresses and interfaces ------------------------------------------------------------------------------------

    @property
    def addresses(self) -> list[str]:
        """The node's addresses without prefix length, those of its links first."""
        own = [address for address, names in self._lab.hosts if self.name in names]
        return own or [each.partition("/")[0] for interface in self.plan.interfaces for each in interface.addresses]

    @property
    def address(self) -> str:
        """The node's first address. Raises LabError for a node without one, such as a switch."""
        for address in self.addresses:
            return address
        raise LabError(self._lab.name, f"node {self.name} has no address", remedy="use a node that is not a switch")

    def interface(self, ifname: str = "") -> InterfacePlan:
        """Return the planned name, addresses and MTU of an interface, by default the first. Raises LabError."""
        for interface in self.plan.interfaces:
            if ifname in ("", interface.ifname):
                return interface
        names = ", ".join(each.ifname for each in self.plan.interfaces) or "none"
        problem = f"node {self.name} has no interface {ifname!r}" if ifname else f"node {self.name} has no interface"
        raise LabError(self._lab.name, problem, remedy=f"its interfaces are {names}")

    @property
    def rtnl(self) -> Rtnl:
        """An rtnetlink socket in the node's namespace, closed with the lab."""
        if self._rtnl is None:
            self._rtnl = self._resources.enter_context(Rtnl(self.netns))
        return self._rtnl

    # ---- programs ----------------------------------------------------------------------------------------------------

    @property
    def overlay(self) -> MountOverlay:
        """The host name and files that the node's programs see."""
        return mount_overlay(self._lab, self.plan)

    def popen(self, args: Sequence[str | os.PathLike[str]], **popen_kwargs: Any) -> subprocess.Popen[Any]:
        """Start a program in the node, like subprocess.Popen; it is killed when the lab ends.

        The program sees all nodes in /etc/hosts, the node's `files`, its own /sys, and the node's name as host name.

        Raises:
            KernelError: if it cannot be started.
        """
        popen_kwargs.setdefault("env", self.environment())
        return self.machine.popen(args, **popen_kwargs)

    def run(self, args: Sequence[str | os.PathLike[str]], **run_kwargs: Any) -> subprocess.CompletedProcess[Any]:
        """Run a program in the node and wait for it, like subprocess.run. Raises KernelError if it cannot start."""
        run_kwargs.setdefault("env", self.environment())
        return self.machine.run(args, **run_kwargs)

    def environment(self) -> dict[str, str]:
        """Return this process's environment with TUNLAB_NODE and the node's `env`."""
        return {**os.environ, NODE_VARIABLE: self.name, **dict(self.plan.env)}

    def start(self, logs: Sequence[Path] = (), *, setup: bool = True) -> None:
        """Run the programs of `setup` in the lab file one after the other, then start those of `run`.

        Args:
            logs: the output files of the programs of `run`.
            setup: run the programs of `setup`.

        Raises:
            LabError: if a program of `setup` fails.
            KernelError: if a program cannot be started.
        """
        if self.plan.kind == "container":  # the container engine starts a container's program
            return
        # Without PYTHONUNBUFFERED, a Python program without a terminal buffers the line that `ready` waits for.
        environment = {"PYTHONUNBUFFERED": "1", **self.environment()}

        def start(command: CommandPlan, number: int, log: Path | None = None) -> Program:
            command = replace(command, cwd=command.cwd or self.plan.cwd)
            return Program.start(
                self._lab.name, self.name, self.machine, command, number=number, environment=environment, log=log
            )

        for number, command in enumerate(self.plan.setup if setup else (), 1):
            with contextlib.closing(start(command, -number)) as program:
                program.wait_done()
        for number, (command, log) in enumerate(zip_longest(self.plan.run, logs)):
            program = start(replace(command, user=command.user or self.plan.user), number, log)
            self.programs.append(program)
            self._resources.callback(program.close)

    def wait_ready(self) -> None:
        """Wait until the node's programs (`run` in the lab file) are ready. Raises LabError."""
        for program in self.programs:
            program.wait_ready({each.pid for each in self.programs if each is not program})

    # ---- sockets and packets -----------------------------------------------------------------------------------------

    def socket(self, family: int = socket.AF_INET, type: int = socket.SOCK_STREAM, proto: int = 0) -> Socket:  # noqa: A002
        """Return a socket created in the node, for use in any thread; closed with the lab."""
        return self._resources.enter_context(self.netns.socket(family, type, proto))

    @property
    def tun(self) -> Tun:
        """The node's first TUN, opened by this process; the same as `open_tun()`."""
        return self.open_tun()

    def open_tun(self, ifname: str = "") -> Tun:
        """Attach this process to a TUN of the node; return the same object each time, closed with the lab.

        Raises:
            LabError: if the node has no such TUN, or another program is attached to it.
        """
        from tunlab.lab.attachment import attach
        from tunlab.traffic import Tun

        ifname = ifname or self.plan.tun
        if not ifname:
            problem = f"node {self.name} has no TUN"
            raise LabError(self._lab.name, problem, remedy='add tun = "10.9.0.1/24" to the node')
        if ifname not in self._tuns:
            interface = self.interface(ifname)
            device = attach(self.netns, ifname)
            if device is None:
                problem = f"another program is attached to {ifname} of node {self.name}"
                raise LabError(self._lab.name, problem, remedy="end that program, or use capture()")
            tun = Tun(self.netns, device, interface.addresses)
            self._tuns[ifname] = self._resources.enter_context(tun)
        return self._tuns[ifname]

    @property
    def attached(self) -> list[Tun]:
        """The TUNs that `tun` and `open_tun` have opened so far."""
        return list(self._tuns.values())

    def capture(self, ifname: str = "") -> Capture:
        """Capture an interface's packets from now on, in both directions; closed with the lab."""
        from tunlab.lab.capture import Capture

        return self._resources.enter_context(Capture(self.netns, self.interface(ifname).ifname))

    @property
    def counters(self) -> dict[str, int]:
        """The node's kernel counters, such as "Ip.ForwDatagrams" and "Udp.NoPorts"."""
        from tunlab.kernel.network.counters import read_counters

        return read_counters(self.netns)

    def expect_counters(self, **wanted: int) -> CounterExpectation:
        """Assert that the node's kernel counters change by exactly these numbers while a `with` block runs.

            with router.expect_counters(Ip__ForwDatagrams=2): ...

        Raises:
            CountError: at the end of the block, if a counter changed by another number.
        """
        from tunlab.traffic.counter_expectation import CounterExpectation

        __tracebackhide__ = True
        return CounterExpectation(self.netns, wanted)

    # ---- links -------------------------------------------------------------------------------------------------------

    def set_link(
        self,
        ifname: str = "",
        *,
        up: bool | None = None,
        carrier: bool | None = None,
        impairment: Impairment | None = None,
    ) -> None:
        """Change an interface of the running lab.

        Args:
            ifname: the interface; by default the first.
            up: set it up or down.
            carrier: True plugs the cable in, False pulls it out, by setting the other end of the link up or down.
            impairment: the new impairment of packets that leave by it; `Impairment()` removes the old one.

        Raises:
            LabError: if there is no such interface, or for the carrier of a TUN.
            KernelError: if the kernel refuses.
        """
        interface = self.interface(ifname)
        if up is not None:
            set_up(self.rtnl, self.plan, interface, up=up)
        if carrier is not None:
            peer, peer_interface = self.peer(interface.ifname)
            set_up(peer.rtnl, peer.plan, peer_interface, up=carrier)
        if impairment is not None:
            set_impairment(self.rtnl, interface, impairment)

    def peer(self, ifname: str = "") -> tuple[Node, InterfacePlan]:
        """Return the node and interface at the other end of a link. Raises LabError for a TUN, which has no link."""
        interface = self.interface(ifname)
        if interface.link < 0:
            problem = f"{interface.ifname} of node {self.name} is a TUN, not on a link"
            raise LabError(self._lab.name, problem, remedy="attach to it (node.tun) and use tun.device.set_carrier")
        own = self.name, interface.ifname
        name, peer_ifname = next(end for end in self._lab.links[interface.link].ends if end != own)
        return self._nodes[name], self._nodes[name].interface(peer_ifname)

    # ---- entering the network namespace ------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Move the calling thread into the node's network namespace for a `with` block; such blocks may be nested.

        Only the network changes: node names do not resolve (use `addresses`) and gethostname() is the host's. In
        programs started by `run` or `popen`, node names resolve and the host name is the node's.

        Raises:
            PrivilegeError: if the thread could not return afterwards; it then does not enter the node.
        """
        stack = self._entered.__dict__.setdefault("stack", [])
        before = Netns.current()
        try:
            # Check first that the thread can return: in a user namespace it cannot enter the host's network namespace.
            before.enter()
            self.netns.enter()
        except BaseException:
            before.close()
            raise
        stack.append(before)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._entered.stack.pop() as before, translate_os_errors(f"leave node {self.name}", needs="CAP_SYS_ADMIN"):
            libc.setns(before.fd, libc.CLONE_NEWNET)

    def close(self) -> None:
        """Close the sockets, TUNs and captures that this object opened; `Lab.close` kills the programs."""
        self._tuns.clear()
        self._rtnl = None
        self._resources.close()
        self.machine.close()
