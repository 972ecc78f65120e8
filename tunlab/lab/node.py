"""A node of a lab that is up: programs, sockets and packets in it."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import zip_longest
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from tunlab.errors import LabError
from tunlab.kernel import libc
from tunlab.kernel.namespace.mount_overlay import MountOverlay
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.network.rtnl import Rtnl
from tunlab.kernel.os_errors import translate_os_errors
from tunlab.lab.build.namespaces import set_impairment, set_up
from tunlab.lab.programs import Program
from tunlab.lab.resolver import RESOLV_CONF
from tunlab.topology.plan import Impairment, InterfacePlan, LabPlan, NodePlan

if TYPE_CHECKING:
    from pathlib import Path

    from tunlab.lab.capture import Capture
    from tunlab.traffic import Tun
    from tunlab.traffic.counter_expectation import CounterExpectation

Socket: TypeAlias = socket.socket

LAB_VARIABLE = "TUNLAB_LAB"
"""The environment variable by which programs inside a lab, and tunlab itself there, know which one it is."""

NODE_VARIABLE = "TUNLAB_NODE"
"""… and in which of its nodes they are."""


def view_of(plan: LabPlan, node: NodePlan) -> MountOverlay:
    """What a program in a node sees: the node's name as the host's, all names in /etc/hosts, its files."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    lines += [" ".join((address, *names)) for address, names in plan.hosts]
    texts = {"/etc/hosts": "\n".join(lines) + "\n", "/etc/resolv.conf": RESOLV_CONF}
    given = dict(node.files)
    return MountOverlay(hostname=node.name, texts={k: v for k, v in texts.items() if k not in given}, files=node.files)


class Node:
    """A node; `LiveLab` makes it.

    plan       what it was made from
    netns      its namespace
    programs   those that run in it from the start
    """

    def __init__(
        self,
        lab: LabPlan,
        plan: NodePlan,
        netns: Netns,
        others: Mapping[str, Node],
        before_program: Callable[[], None],
    ) -> None:
        """For LiveLab: `others` are the nodes of the lab by their names; the last is called before a program starts."""
        self.plan, self.netns = plan, netns
        self._before_program = before_program
        self.programs: list[Program] = []
        self._lab, self._others = lab, others
        self._resources = ExitStack()
        self._rtnl: Rtnl | None = None
        self._tuns: dict[str, Tun] = {}
        self._entered = threading.local()

    @property
    def name(self) -> str:
        """As the lab file has it."""
        return self.plan.name

    def __repr__(self) -> str:
        return f"<Node {self.name} in {self.netns}>"

    # ---- what it has -----------------------------------------------------------------------------------------------

    @property
    def addresses(self) -> list[str]:
        """Its addresses without the prefix length, "10.0.1.1", as a resolver of this lab has them: the first first."""
        own = [address for address, names in self._lab.hosts if self.name in names]
        return own or [each.partition("/")[0] for interface in self.plan.interfaces for each in interface.addresses]

    @property
    def address(self) -> str:
        """The first of its addresses. Raises LabError where it has none, as a switch."""
        for address in self.addresses:
            return address
        raise LabError(self._lab.name, f"node {self.name} has no address", remedy="ask one that is no switch")

    def interface(self, ifname: str = "") -> InterfacePlan:
        """The plan of an interface; without a name that of its first. Raises LabError."""
        for interface in self.plan.interfaces:
            if ifname in ("", interface.ifname):
                return interface
        names = ", ".join(each.ifname for each in self.plan.interfaces) or "none"
        problem = f"node {self.name} has no interface {ifname!r}" if ifname else f"node {self.name} has no interface"
        raise LabError(self._lab.name, problem, remedy=f"its interfaces are: {names}")

    @property
    def rtnl(self) -> Rtnl:
        """A rtnetlink socket of its namespace, closed with the lab."""
        if self._rtnl is None:
            self._rtnl = self._resources.enter_context(Rtnl(self.netns))
        return self._rtnl

    # ---- programs --------------------------------------------------------------------------------------------------

    @property
    def view(self) -> MountOverlay:
        """What its programs see of the machine."""
        return view_of(self._lab, self.plan)

    def popen(self, args: Sequence[str | os.PathLike[str]], **popen_kwargs: Any) -> subprocess.Popen[Any]:
        """Start a program in the node, as subprocess.Popen does; it ends with the lab at the latest.

        It sees the lab's names in /etc/hosts, the files of the node, its own /sys, and the node's name as its host's.
        Raises KernelError if it cannot be started.
        """
        self._before_program()
        popen_kwargs.setdefault("env", self.environment())
        return self.netns.popen(args, prepare=self.view.enter, **popen_kwargs)

    def run(self, args: Sequence[str | os.PathLike[str]], **run_kwargs: Any) -> subprocess.CompletedProcess[Any]:
        """Run a program in the node to its end, as subprocess.run does."""
        self._before_program()
        run_kwargs.setdefault("env", self.environment())
        return self.netns.run(args, prepare=self.view.enter, **run_kwargs)

    def environment(self) -> dict[str, str]:
        """This process's environment, with the node's name in TUNLAB_NODE."""
        return {**os.environ, NODE_VARIABLE: self.name}

    def start(self, logs: Sequence[Path] = ()) -> None:
        """Start the programs that it is to run from the start, their output to these files. Raises KernelError."""
        if self.plan.kind == "container":  # it runs them itself
            return
        for command, log in zip_longest(self.plan.run, logs):
            self._before_program()
            # Python would keep the line that we wait for in a buffer, as its output is no terminal.
            environment = {"PYTHONUNBUFFERED": "1", **self.environment()}
            prepare = self.view.enter
            program = Program.start(
                self._lab.name, self.name, self.netns, command, prepare=prepare, environment=environment, log=log
            )
            self.programs.append(program)
            self._resources.callback(program.close)

    def wait_ready(self) -> None:
        """Wait until the programs that it runs from the start are ready. Raises LabError."""
        for program in self.programs:
            program.wait_ready()

    # ---- sockets and packets ---------------------------------------------------------------------------------------

    def socket(self, family: int = socket.AF_INET, type: int = socket.SOCK_STREAM, proto: int = 0) -> Socket:  # noqa: A002
        """An ordinary socket made inside the node, for use in any thread; closed with the lab at the latest."""
        return self._resources.enter_context(self.netns.socket(family, type, proto))

    @property
    def tun(self) -> Tun:
        """The traffic over its first TUN, to which this process is attached from now on: `open_tun`."""
        return self.open_tun()

    def open_tun(self, ifname: str = "") -> Tun:
        """Attach to a TUN of the node, and be its other end; the same object each time, closed with the lab.

        Raises LabError where there is none, or another program is attached to it.
        """
        from tunlab.lab.attachment import attach
        from tunlab.traffic import Tun

        ifname = ifname or self.plan.tun
        if not ifname:
            problem = f"node {self.name} has no TUN"
            raise LabError(self._lab.name, problem, remedy='give it one: tun = "10.9.0.1/24"')
        if ifname not in self._tuns:
            interface = self.interface(ifname)
            device = attach(self.netns, ifname)
            if device is None:
                problem = f"another program is attached to {ifname} of node {self.name}"
                raise LabError(self._lab.name, problem, remedy="end it first, or take a capture")
            address = next((each for each in interface.addresses if ":" not in each), "")
            tun = Tun(self.netns, device, address)
            self._tuns[ifname] = self._resources.enter_context(tun)
        return self._tuns[ifname]

    @property
    def attached(self) -> list[Tun]:
        """The TUNs that this process is the other end of, by `tun` and `open_tun`."""
        return list(self._tuns.values())

    def capture(self, ifname: str = "") -> Capture:
        """What passes an interface from now on, both ways, as packets; closed with the lab at the latest."""
        from tunlab.lab.capture import Capture

        return self._resources.enter_context(Capture(self.netns, self.interface(ifname).ifname))

    @property
    def counters(self) -> dict[str, int]:
        """The kernel's counters in the node as they stand: "Ip.ForwDatagrams", "Udp.NoPorts"."""
        from tunlab.kernel.network.counters import read_counters

        return read_counters(self.netns)

    def expect_counters(self, **wanted: int) -> CounterExpectation:
        """A block within which the node's kernel counts just so: `with router.expect_counters(Ip__ForwDatagrams=2): …`.

        Raises CountError, KernelError as `Tun.counts`.
        """
        from tunlab.traffic.counter_expectation import expect_counters

        __tracebackhide__ = True
        return expect_counters(self.netns, wanted)

    # ---- its links -------------------------------------------------------------------------------------------------

    def set_link(
        self,
        ifname: str = "",
        *,
        up: bool | None = None,
        carrier: bool | None = None,
        impairment: Impairment | None = None,
    ) -> None:
        """Change an interface while the lab is up.

        up          set it up or down
        carrier     put its cable in, or pull it out: a veth has one while its other end is up
        impairment  what it does from now on to what leaves by it; Impairment() nothing

        Raises LabError for no such interface and for the carrier of a TUN, KernelError.
        """
        interface = self.interface(ifname)
        if up is not None:
            set_up(self.rtnl, self.plan, interface, up=up)
        if carrier is not None:
            peer, its = self.peer(interface.ifname)
            set_up(peer.rtnl, peer.plan, its, up=carrier)
        if impairment is not None:
            set_impairment(self.rtnl, interface, impairment)

    def peer(self, ifname: str = "") -> tuple[Node, InterfacePlan]:
        """The other end of a link. Raises LabError for a TUN, whose other end is its reader."""
        interface = self.interface(ifname)
        if interface.link < 0:
            problem = f"{interface.ifname} of node {self.name} is a TUN: its other end is the program that reads it"
            raise LabError(self._lab.name, problem, remedy="attach to it (node.tun); tun.device.set_carrier is there")
        own = self.name, interface.ifname
        (name, its) = next(end for end in self._lab.links[interface.link].ends if end != own)
        return self._others[name], self._others[name].interface(its)

    # ---- inside ----------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Put the calling thread into the node's network namespace until the end of the block; may be nested.

        Of that alone: names of nodes do not resolve (`addresses` has them), and gethostname() is the machine's. What is
        to see those is a program: `run`, `popen`.

        Raises PrivilegeError, and leaves the thread where it is, if the kernel would not let it come back.
        """
        stack = self._entered.__dict__.setdefault("stack", [])
        before = Netns.current()
        try:
            # The way back first: in a user namespace the one to the machine's own network namespace is barred.
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
        """Close what was opened in it; its programs and its namespace are the lab's to end."""
        self._tuns.clear()
        self._rtnl = None
        self._resources.close()
