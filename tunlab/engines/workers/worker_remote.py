"""The module that a worker runs instead of pytest-xdist's remote module, to adapt it to a container.

pytest-xdist sends a popen worker the controller's sys.path and temporary directory, which do not exist in a container.
This module replaces them, then runs the remote module of the pytest-xdist that is installed in the container.
Source: xdist/remote.py, below `__channelexec__`.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from pathlib import Path
from typing import Any

BUFFERED_EVENTS = ("logstart", "testreport", "logfinish")
"""Events of a test that are buffered until the test's last event, which is sent before the next test starts."""


class WorkerChannel:
    """A wrapper of execnet's channel to the controller, whose first object was already received and changed."""

    def __init__(self, channel: Any, first: object) -> None:
        self._channel, self._first = channel, [first]
        # `buffered_stdout` exists only if the worker runs in a container.
        self._stdout = getattr(sys.modules["__main__"], "buffered_stdout", None)

    def send(self, event: Any) -> None:
        """Send an event, together with the buffered events before it."""
        self._channel.send(event)
        if self._stdout is not None and event[0] not in BUFFERED_EVENTS:
            self._stdout.send()

    def receive(self, *arguments: float) -> Any:
        """Return the changed first object, then the objects that the controller sends."""
        return self._first.pop() if self._first else self._channel.receive(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)


def adapt_to_container(first: Any) -> Any:
    """Return the controller's first object (workerinput, arguments, options, sys.path), changed for a container."""
    workerinput, arguments, options, path = first
    if (copied := workerinput.get("tunlab_path")) is not None:  # The worker runs in a container.
        options = {name: value for name, value in options.items() if name != "basetemp"}
        make_sysctls_writable()
        path = [*copied, *(entry for entry in sys.path if entry not in ("", *copied))]
    return workerinput, arguments, options, path


def make_sysctls_writable() -> None:
    """Remount /proc/sys/net read-write in this container, if that is permitted.

    If it stays read-only, each network namespace needs a mount namespace to write its sysctls, which is slower.
    Source: mount(2), for a bind mount and its flags; <linux/mount.h>.
    """
    # Do not import tunlab.kernel.libc: pytest cannot rewrite modules that were imported before it.
    libc = ctypes.CDLL(None)
    path = b"/proc/sys/net"
    if libc.mount(path, path, None, MS_BIND, None) == 0:
        libc.mount(None, path, None, MS_BIND | MS_REMOUNT, None)


MS_REMOUNT, MS_BIND = 32, 4096


def run_worker(channel: Any) -> None:
    """Run pytest-xdist's remote module from its file: pytest could not rewrite an imported one."""
    found = importlib.util.find_spec("xdist")
    assert found is not None
    assert found.origin is not None  # This is the path of xdist/__init__.py.
    file = Path(found.origin).with_name("remote.py")
    first = adapt_to_container(channel.receive())
    code = compile(file.read_text(encoding="utf-8"), file, "exec")
    exec(code, {"__name__": "__channelexec__", "__file__": str(file), "channel": WorkerChannel(channel, first)})


if __name__ == "__channelexec__":
    run_worker(globals()["channel"])  # execnet defines the global variable `channel`.
