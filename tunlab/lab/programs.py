"""The programs that a lab file starts in its nodes (key `run`), and when they are ready.

A program's output goes to a file: on disk beside the record of a persistent lab, else in memory. The node's init reads
it, and keeps its head and tail. If the program fails, the error shows the end of its output.

Source: pidfd_open(2), memfd_create(2).
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Collection
from pathlib import Path

from tunlab.errors import LabError
from tunlab.kernel.namespace.machine import Machine
from tunlab.kernel.namespace.node_init import MOST_OUTPUT
from tunlab.kernel.namespace.processes import has_ended, pid_of
from tunlab.lab.readiness import has_tcp_listener, has_udp_socket, program_pids
from tunlab.topology.plan import CommandPlan

_CHECK_INTERVAL = 10
"""Milliseconds between checks: the kernel sends no event when a socket starts to listen."""

_OUTPUT_LINES = 20  # an error message shows at most this many lines of a program's output
_RUN_IN_NODE = "run the program in the node to see why"
_COMMAND_INTERVAL = 100  # milliseconds between runs of a ready command


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
        self._first = os.fstat(output).st_size  # The file has the output of earlier runs.

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
            program.pidfd = machine.spawn(
                command.arguments,
                output,
                environment={**environment, **dict(command.env)},
                number=number,
                directory=command.cwd,
                user=command.user,
            )
            program.pid = pid_of(program.pidfd)
        except BaseException:
            program.close()
            raise
        return program

    @property
    def output(self) -> str:
        """The program's output so far, stdout and stderr together; of a long one the head and the tail."""
        self._update()
        first = self._first if os.fstat(self._output).st_size >= self._first else 0
        # One call, because the init may be writing and removing the middle at the same time.
        return os.pread(self._output, MOST_OUTPUT, first).decode(errors="replace")

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

    def wait_ready(self, others: Collection[int] = ()) -> None:
        """Wait until the program is ready. Raises LabError if it exits or its timeout expires first.

        Args:
            others: the process ids of the node's other programs, whose sockets do not count.
        """
        deadline = time.monotonic() + self.command.timeout
        ended = False
        while missing := self._missing(others):
            if ended:
                raise self._failure(f"{self._exit_text()} before it was ready", _RUN_IN_NODE)
            if time.monotonic() >= deadline:
                problem = f"was not ready after {self.command.timeout:g} s: {missing}"
                raise self._failure(problem, "raise the timeout, or check the ready condition")
            ended = has_ended(self.pidfd, timeout=_COMMAND_INTERVAL if self.command.ready_command else _CHECK_INTERVAL)

    def wait_done(self) -> None:
        """Wait until the program, one of `setup`, has ended. Raises LabError if it fails or its timeout expires."""
        if not has_ended(self.pidfd, timeout=round(self.command.timeout * 1000)):
            problem = f"has not ended after {self.command.timeout:g} s"
            raise self._failure(problem, "raise its timeout, or start it by run if it is to stay")
        if failure := self.failure():
            raise failure

    def _missing(self, others: Collection[int]) -> str:
        """Return the condition that is missing until the program is ready; "" if it is ready."""
        command, netns = self.command, self._machine.netns
        if command.ready_port or command.ready_udp:
            pids = program_pids(netns, self.pid, others)
            if command.ready_port and not has_tcp_listener(netns, command.ready_port, pids):
                return f"no socket of it listens on TCP port {command.ready_port}"
            if command.ready_udp and not has_udp_socket(netns, command.ready_udp, pids):
                return f"no socket of it is bound to UDP port {command.ready_udp}"
        if command.ready_path and not self._machine.call(os.path.exists, command.ready_path):
            return f"the node has no {command.ready_path}"
        if command.ready_line and not re.search(command.ready_line, self.output, re.MULTILINE):
            return f"no line of its output matches {command.ready_line!r}"
        if command.ready_exit >= 0 and self.poll() != command.ready_exit:
            return f"it has not exited with status {command.ready_exit}"
        if (
            command.ready_command
            and self._machine.run(
                command.ready_command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            ).returncode
        ):
            return f"{' '.join(command.ready_command)!r} fails"
        return ""

    def _exit_text(self) -> str:
        status = self.wait()
        return f"exited with status {status}" if status >= 0 else f"was killed by {signal.Signals(-status).name}"

    def _failure(self, problem: str, remedy: str) -> LabError:
        lines = self.output.splitlines()[-_OUTPUT_LINES:]
        printed = "\nthe end of its output:" + "".join(f"\n  {line}" for line in lines) if lines else ""
        command = " ".join(self.command.arguments)
        return LabError(self._lab, f"{command!r} in node {self._node} {problem}", remedy=remedy + printed)

    def failure(self, *, unless_successful: bool = True) -> LabError | None:
        """Return an error if the program has ended and was not meant to.

        Args:
            unless_successful: return None also if its exit status is 0.
        """
        status = self.poll()
        is_meant = self.command.may_exit or (status is not None and status == self.command.ready_exit)
        if status is None or is_meant or (unless_successful and not status):
            return None
        return self._failure(self._exit_text(), _RUN_IN_NODE)

    def close(self) -> None:
        """Close the descriptors. The lab kills the program itself."""
        for fd in (self._output, self.pidfd):
            if fd >= 0:
                os.close(fd)
        self._output = self.pidfd = -1
