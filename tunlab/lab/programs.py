"""Programs that run in a node from the start, and how one knows that they are ready: a port, a line of output.

What a program prints goes to a file: of a lab that stays, beside its state; else one without a name. No pipe can fill
up, nobody has to read, and the end of it is there to be shown when the program fails.

Source: proc_pid_net(5) for the table of listening sockets, pidfd_open(2), memfd_create(2).
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tunlab.errors import LabError
from tunlab.kernel.namespace.netns import Netns
from tunlab.topology.plan import CommandPlan

_TICK = 0.01
"""Seconds between two looks at what tells of nothing: the kernel announces no socket that begins to listen."""

_TAIL = 20  # lines of output that an error shows
_LISTEN = "0A"  # <net/tcp_states.h>


class Program:
    """One program that was started in a node.

    command   as it was planned
    process   its handle
    """

    def __init__(self, lab: str, node: str, netns: Netns, command: CommandPlan, output: int) -> None:
        """For `start`: `output` is a descriptor of what it prints, and the program's own from now on."""
        self.command = command
        self._lab, self._node, self._netns, self._output = lab, node, netns, output
        self.process: subprocess.Popen[Any]

    @classmethod
    def start(
        cls,
        lab: str,
        node: str,
        netns: Netns,
        command: CommandPlan,
        *,
        prepare: Callable[[], None],
        environment: dict[str, str],
        log: Path | None = None,
    ) -> Program:
        """Start it; returns at once. `log` is the file for its output. Raises KernelError if it cannot be started."""
        if log is None:
            output = os.memfd_create(f"{node}: {command.arguments[0]}")
        else:
            output = os.open(log, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        program = cls(lab, node, netns, command, output)
        try:
            program.process = netns.popen(
                command.arguments,
                prepare=prepare,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C at our terminal is not for it
            )
        except BaseException:
            program.close()
            raise
        return program

    @property
    def output(self) -> str:
        """What it has printed so far, on either stream."""
        octets, offset = [], 0
        while part := os.pread(self._output, 1 << 20, offset):
            octets.append(part)
            offset += len(part)
        return b"".join(octets).decode(errors="replace")

    def wait_ready(self) -> None:
        """Wait until it is ready, for as long as it may take. Raises LabError if it ends before, or takes longer."""
        if not self.command.ready_port and not self.command.ready_line:
            return
        deadline = time.monotonic() + self.command.timeout
        handle = os.pidfd_open(self.process.pid)
        try:
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            ended = False
            while not self._is_ready():
                if ended:
                    raise self._failure(f"{self._ending()} before it was ready", "run it by hand in the node")
                if time.monotonic() >= deadline:
                    problem = f"was not ready within {self.command.timeout:g} s: {self._missing()}"
                    raise self._failure(problem, "give it more time (timeout), or look at what it waits for")
                ended = bool(poll.poll(_TICK * 1000))
        finally:
            os.close(handle)

    def _is_ready(self) -> bool:
        if self.command.ready_port and self.command.ready_port not in listening_ports(self._netns):
            return False
        if not self.command.ready_line:
            return True
        return re.search(self.command.ready_line, self.output, re.MULTILINE) is not None

    def _missing(self) -> str:
        if self.command.ready_port and self.command.ready_port not in listening_ports(self._netns):
            return f"nothing listens on TCP port {self.command.ready_port}"
        return f"no line of its output matches {self.command.ready_line!r}"

    def _ending(self) -> str:
        status = self.process.wait()
        return f"ended with exit code {status}" if status >= 0 else f"was killed by {signal.Signals(-status).name}"

    def _failure(self, what: str, remedy: str) -> LabError:
        lines = self.output.splitlines()[-_TAIL:]
        printed = "\nthe end of what it printed:" + "".join(f"\n  {line}" for line in lines) if lines else ""
        command = " ".join(self.command.arguments)
        return LabError(self._lab, f"{command!r} in node {self._node} {what}", remedy=remedy + printed)

    def failure(self) -> LabError | None:
        """Why it is not well: it has ended by now, and not with exit code 0. None else."""
        if not self.process.poll():
            return None
        return self._failure(self._ending(), "run it by hand in the node")

    def leave(self) -> None:
        """Let it run when this process has ended; until then it is for `reap`."""
        leave(self.process)
        self.close()

    def close(self) -> None:
        """Let go of its output; the program is ended with its namespace."""
        if self._output >= 0:
            os.close(self._output)
            self._output = -1


_left: set[int] = set()


def leave(process: subprocess.Popen[Any]) -> None:
    """Let a program run when this process has ended; until then it is for `reap`."""
    # Popen warns of a program that nobody has waited for, and this one is not ours to wait for any more.
    process.returncode = 0
    _left.add(process.pid)


def reap() -> None:
    """Wait for those that we have left and that are dead by now, whoever has ended them: they are our children."""
    for pid in list(_left):
        try:
            ended, _ = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:  # somebody's waitpid(-1) was faster; or we are a forked child, and they are not ours
            ended = pid
        if ended:
            _left.discard(pid)


def listening_ports(netns: Netns) -> set[int]:
    """The TCP ports on which somebody listens in a namespace, on any address."""
    ports = set()
    for line in netns.call(_read_tables):
        fields = line.split()
        if len(fields) > 3 and fields[3] == _LISTEN:
            ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


def _read_tables() -> Sequence[str]:
    lines = []
    for table in ("tcp", "tcp6"):
        path = Path("/proc/thread-self/net", table)
        if path.exists():  # a kernel without IPv6 has no second
            lines += path.read_text(encoding="ascii").splitlines()[1:]
    return lines
