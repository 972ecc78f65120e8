"""The programs that a lab file starts in its nodes (key `run`), and when they are ready: an open port or a line.

A program's output goes to a file: on disk beside the record of a persistent lab, else in memory. The node's init reads
it, and keeps its head and tail. If the program fails, the error shows the end of its output.

Source: proc_pid_net(5) for the table of listening sockets, pidfd_open(2), memfd_create(2).
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from tunlab.errors import LabError
from tunlab.kernel.namespace.machine import Machine
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.namespace.processes import has_ended, pid_of
from tunlab.topology.plan import CommandPlan

_CHECK_INTERVAL = 10
"""Milliseconds between checks: the kernel sends no event when a socket starts to listen."""

_OUTPUT_LINES = 20  # an error message shows at most this many lines of a program's output
_LISTEN = "0A"  # the state of listening sockets: TCP_LISTEN in <net/tcp_states.h>


class Program:
    """A program that a node's init has started.

    Attributes:
        command: its arguments and ready condition.
        pidfd: a descriptor that becomes readable when it ends (pidfd_open(2)); -1 after `close`.
        pid: its process id; 0 if it ended at once.
    """

    def __init__(self, lab: str, node: str, machine: Machine, command: CommandPlan, number: int, output: int) -> None:
        """Prepare a program; `output` is the descriptor of the file for its output. Use `start` instead."""
        self.command = command
        self.pidfd, self.pid = -1, 0
        self._lab, self._node, self._machine, self._number, self._output = lab, node, machine, number, output
        self._status: int | None = None

    @classmethod
    def start(
        cls,
        lab: str,
        node: str,
        machine: Machine,
        command: CommandPlan,
        *,
        environment: dict[str, str],
        number: int = 0,
        log: Path | None = None,
    ) -> Program:
        """Start a program and return at once. Raises KernelError.

        Args:
            lab: the lab's name.
            node: the node's name.
            machine: the node's namespaces.
            command: the program.
            environment: its environment.
            number: its index in `run`.
            log: the file for its output; without one it is kept in memory.
        """
        if log is None:
            output = os.memfd_create(f"{node}: {command.arguments[0]}")
        else:
            output = os.open(log, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        program = cls(lab, node, machine, command, number, output)
        try:
            program.pidfd = machine.spawn(command.arguments, output, environment=environment, number=number)
            program.pid = pid_of(program.pidfd)
        except BaseException:
            program.close()
            raise
        return program

    @property
    def output(self) -> str:
        """The program's output so far, stdout and stderr together; of a long one the head and the tail."""
        self._update()
        parts, offset = [], 0
        while part := os.pread(self._output, 1 << 20, offset):
            parts.append(part)
            offset += len(part)
        return b"".join(parts).decode(errors="replace")

    def _update(self) -> None:
        """Have the init write the output so far to the file, and ask it for the exit status."""
        if self._status is None:
            self._status, _ = self._machine.statuses().get(self._number, (None, 0.0))

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal; None if the program runs."""
        if self._status is None and has_ended(self.pidfd):
            self._update()
            if self._status is None:  # The node's init was killed, so the kernel killed the program.
                self._status = -signal.SIGKILL
        return self._status

    def wait(self) -> int:
        """Wait until the program has ended, and return its exit status, negative for a signal."""
        has_ended(self.pidfd, timeout=None)
        status = self.poll()
        assert status is not None
        return status

    def wait_ready(self) -> None:
        """Wait until the program is ready. Raises LabError if it exits or its timeout expires first."""
        if not self.command.ready_port and not self.command.ready_line:
            return
        deadline = time.monotonic() + self.command.timeout
        ended = False
        while not self._is_ready():
            if ended:
                raise self._failure(f"{self._exit_text()} before it was ready", "run it in the node to see why")
            if time.monotonic() >= deadline:
                problem = f"was not ready after {self.command.timeout:g} s: {self._missing()}"
                raise self._failure(problem, "raise its timeout, or check its ready condition")
            ended = has_ended(self.pidfd, timeout=_CHECK_INTERVAL)

    def _is_ready(self) -> bool:
        if self.command.ready_port and self.command.ready_port not in listening_ports(self._machine.netns):
            return False
        if not self.command.ready_line:
            return True
        return re.search(self.command.ready_line, self.output, re.MULTILINE) is not None

    def _missing(self) -> str:
        if self.command.ready_port and self.command.ready_port not in listening_ports(self._machine.netns):
            return f"no socket listens on TCP port {self.command.ready_port}"
        return f"no line of its output matches {self.command.ready_line!r}"

    def _exit_text(self) -> str:
        status = self.wait()
        return f"exited with status {status}" if status >= 0 else f"was killed by {signal.Signals(-status).name}"

    def _failure(self, problem: str, remedy: str) -> LabError:
        lines = self.output.splitlines()[-_OUTPUT_LINES:]
        printed = "\nthe end of its output:" + "".join(f"\n  {line}" for line in lines) if lines else ""
        command = " ".join(self.command.arguments)
        return LabError(self._lab, f"{command!r} in node {self._node} {problem}", remedy=remedy + printed)

    def failure(self) -> LabError | None:
        """Return an error if the program has exited with a status other than 0."""
        if not self.poll():
            return None
        return self._failure(self._exit_text(), "run it in the node to see why")

    def close(self) -> None:
        """Close the descriptors. The lab kills the program itself."""
        for fd in (self._output, self.pidfd):
            if fd >= 0:
                os.close(fd)
        self._output = self.pidfd = -1


def listening_ports(netns: Netns) -> set[int]:
    """Return the TCP ports that have a listening socket in a namespace."""
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
        if path.exists():  # a kernel without IPv6 does not have /proc/net/tcp6
            lines += path.read_text(encoding="ascii").splitlines()[1:]
    return lines
