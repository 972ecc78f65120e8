"""The program of a device under test: start, output, readiness, and an end with everything that it has started.

Source: pidfd_open(2), memfd_create(2), proc_pid_environ(5).
"""

from __future__ import annotations

import os
import re
import secrets
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunlab.errors import DeviceError
from tunlab.kernel.closeable import Closeable
from tunlab.kernel.namespace.netns import Netns, start_errors
from tunlab.kernel.os_errors import translate_os_errors

LINES = 20  # maximum number of lines of the program's output in an error message
_MARK = "TUNLAB_DUT"
_STOP_TIMEOUT = 1.0  # seconds between SIGTERM and SIGKILL, in which the program can write its reports


class DeviceProcess(Closeable):
    """A running program. Its descriptor, for poll(2), is readable when it has ended.

    Attributes:
        name: Its command line.
        process: The process.
        end_is_known: True if an error has told the test that the program has ended.
    """

    def __init__(self, name: str, process: subprocess.Popen[Any], output: int, mark: str) -> None:
        """Wrap a started process; use `start` instead."""
        self.name, self.process = name, process
        self._output, self._mark = output, mark
        self._pidfd = os.pidfd_open(process.pid)
        self._closed = self.end_is_known = False
        self._ended = select.poll()
        self._ended.register(self._pidfd, select.POLLIN)

    @classmethod
    def start(
        cls,
        arguments: Sequence[str],
        *,
        name: str = "",
        netns: Netns | None = None,
        descriptors: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
    ) -> DeviceProcess:
        """Start a program and return at once.

        Args:
            arguments: The program and its arguments.
            name: Its name in messages; by default the command line.
            netns: The namespace to run it in; None for this process's own.
            descriptors: Descriptors that it inherits, with their numbers.
            environment: Variables to add to this process's environment.

        Raises KernelError if it cannot be started.
        """
        mark = secrets.token_hex(8)
        output = os.memfd_create("output of the device under test")
        options: dict[str, Any] = {
            "env": {**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {}), _MARK: mark},
            "stdin": subprocess.DEVNULL,
            "stdout": output,
            "stderr": subprocess.STDOUT,
            "pass_fds": descriptors,
            "start_new_session": True,  # Ctrl-C in the terminal must not end the program before the test's report
        }
        try:
            if netns is not None:
                process = netns.popen(arguments, **options)
            else:
                with translate_os_errors(f"run {arguments[0]}", reasons=start_errors(arguments[0], None)):
                    process = subprocess.Popen(arguments, **options)
        except BaseException:
            os.close(output)
            raise
        return cls(name or " ".join(arguments), process, output, mark)

    def fileno(self) -> int:
        """Return the descriptor that is readable when the process has ended."""
        return self._pidfd

    @property
    def output(self) -> str:
        """The program's output so far, stdout and stderr together."""
        if self._closed:
            return self._last_output
        parts, offset = [], 0
        while part := os.pread(self._output, 1 << 20, offset):
            parts.append(part)
            offset += len(part)
        return b"".join(parts).decode(errors="replace")

    def last_lines(self) -> str:
        """Return the last lines of the output."""
        return "\n".join(self.output.splitlines()[-LINES:])

    def check(self) -> None:
        """Raise DeviceError if the program has ended."""
        self.wait_for_end(0.0)

    def wait_for_end(self, timeout: float) -> None:
        """Wait until the program has ended, and then raise DeviceError. Do nothing if it still runs at the timeout."""
        if not self._closed and self._ended.poll(timeout * 1000):
            self.end_is_known = True
            raise self.error(self._end_text(), "keep the program running until the test ends")

    def _end_text(self) -> str:
        status = self.process.wait()
        return f"exited with status {status}" if status >= 0 else f"was killed by {signal.Signals(-status).name}"

    def error(self, problem: str, remedy: str = "") -> DeviceError:
        """Return an error about this program, with the end of its output."""
        return DeviceError(self.name, problem, remedy=remedy, output=self.last_lines())

    def wait_for_line(self, pattern: str, timeout: float) -> None:
        """Wait until a line of the output matches. Raises DeviceError if the program ends or the timeout expires."""
        poll_ms, waited = 10, 0
        while re.search(pattern, self.output, re.MULTILINE) is None:
            if self._ended.poll(poll_ms):
                if re.search(pattern, self.output, re.MULTILINE) is not None:
                    return
                raise self.error(f"{self._end_text()} before it was ready", "run the program by hand to see why")
            waited += poll_ms
            if waited >= timeout * 1000:
                raise self.error(f"was not ready after {timeout:g} s: no line of its output matches {pattern!r}",
                                 "check `ready`, or raise `start_timeout`")  # fmt: skip

    def close(self) -> None:
        """End the program, and everything that it has started: SIGTERM, a second later SIGKILL. May be repeated."""
        if self._closed:
            return
        if not self._ended.poll(0):
            self.process.terminate()
            self._ended.poll(_STOP_TIMEOUT * 1000)
        self.process.kill()
        self.process.wait()
        while descendants := _find_marked(self._mark):
            for pid in descendants:
                _kill(pid)
        self._last_output, self._closed = self.output, True
        os.close(self._output)
        os.close(self._pidfd)


def _find_marked(mark: str) -> list[int]:
    """Return the processes that have inherited the environment of a device under test."""
    entry, found = f"{_MARK}={mark}".encode(), []
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            try:
                if entry in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                    found.append(int(name))
            except OSError:  # the process has ended, or belongs to another user
                continue
    return found


def _kill(pid: int) -> None:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        poll.poll()
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)
