"""The programs that a lab file starts in its nodes (key `run`), and when they are ready: an open port or a line.

A program's output goes to a file: on disk beside the record of a persistent lab, else in memory. A pipe would fill up
and block the program if nobody reads it. If the program fails, the error shows the end of its output.

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

_CHECK_INTERVAL = 0.01
"""Seconds between checks: the kernel sends no event when a socket starts to listen."""

_OUTPUT_LINES = 20  # an error message shows at most this many lines of a program's output
_LISTEN = "0A"  # the state of listening sockets: TCP_LISTEN in <net/tcp_states.h>


class Program:
    """A program started in a node.

    Attributes:
        command: its arguments and ready condition.
        process: the running process.
    """

    def __init__(self, lab: str, node: str, netns: Netns, command: CommandPlan, output: int) -> None:
        """Prepare a program; `output` is the descriptor of the file for its output. Use `start` instead."""
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
        """Start a program and return at once; `log` is the file for its output. Raises KernelError."""
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
                start_new_session=True,  # Ctrl-C in the terminal must not reach the program
            )
        except BaseException:
            program.close()
            raise
        return program

    @property
    def output(self) -> str:
        """The program's output so far, stdout and stderr together."""
        parts, offset = [], 0
        while part := os.pread(self._output, 1 << 20, offset):
            parts.append(part)
            offset += len(part)
        return b"".join(parts).decode(errors="replace")

    def wait_ready(self) -> None:
        """Wait until the program is ready. Raises LabError if it exits or its timeout expires first."""
        if not self.command.ready_port and not self.command.ready_line:
            return
        deadline = time.monotonic() + self.command.timeout
        handle = os.pidfd_open(self.process.pid)
        try:
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            has_exited = False
            while not self._is_ready():
                if has_exited:
                    raise self._failure(f"{self._exit_text()} before it was ready", "run it in the node to see why")
                if time.monotonic() >= deadline:
                    problem = f"was not ready after {self.command.timeout:g} s: {self._missing()}"
                    raise self._failure(problem, "raise its timeout, or check its ready condition")
                has_exited = bool(poll.poll(_CHECK_INTERVAL * 1000))
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
            return f"no socket listens on TCP port {self.command.ready_port}"
        return f"no line of its output matches {self.command.ready_line!r}"

    def _exit_text(self) -> str:
        status = self.process.wait()
        return f"exited with status {status}" if status >= 0 else f"was killed by {signal.Signals(-status).name}"

    def _failure(self, problem: str, remedy: str) -> LabError:
        lines = self.output.splitlines()[-_OUTPUT_LINES:]
        printed = "\nthe end of its output:" + "".join(f"\n  {line}" for line in lines) if lines else ""
        command = " ".join(self.command.arguments)
        return LabError(self._lab, f"{command!r} in node {self._node} {problem}", remedy=remedy + printed)

    def failure(self) -> LabError | None:
        """Return an error if the program has exited with a status other than 0."""
        if not self.process.poll():
            return None
        return self._failure(self._exit_text(), "run it in the node to see why")

    def detach(self) -> None:
        """Let the program outlive this process. If it exits earlier, `reap` collects its exit status."""
        # Without a return code, Popen's destructor would warn that the process still runs.
        self.process.returncode = 0
        _detached.add(self.process.pid)
        self.close()

    def close(self) -> None:
        """Close the file of the program's output. The lab kills the program itself."""
        if self._output >= 0:
            os.close(self._output)
            self._output = -1


_detached: set[int] = set()


def reap() -> None:
    """Collect the exit status of detached programs that have exited, so that they leave no zombies."""
    for pid in list(_detached):
        try:
            exited, _ = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:  # already waited for, or not a child of this process, which was forked later
            exited = pid
        if exited:
            _detached.discard(pid)


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
