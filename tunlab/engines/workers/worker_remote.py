"""What a worker runs first: it keeps the container's own Python path and directories, then goes on as any worker.

pytest-xdist sends a popen worker the controller's sys.path and temporary directory, which mean nothing in a container.
This module's text is sent instead of pytest-xdist's; at its end it runs the remote module of the pytest-xdist that is
installed on its own side. Source: xdist/remote.py, below `__channelexec__`.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from pathlib import Path
from typing import Any

WAITING = ("logstart", "testreport", "logfinish")
"""Events of a test that may wait for its last one: what a test has ended with is sent before the next begins."""


class WorkerChannel:
    """The channel to the controller, whose first object was received already."""

    def __init__(self, channel: Any, first: object) -> None:
        """Of both, which channel and what came."""
        self._channel, self._first = channel, [first]
        self._outlet = getattr(sys.modules["__main__"], "outlet", None)  # in a container

    def send(self, event: Any) -> None:
        """Send an event; those of one test go together."""
        self._channel.send(event)
        if self._outlet is not None and event[0] not in WAITING:
            self._outlet.send()

    def receive(self, *arguments: float) -> Any:
        """The first object as it was altered, then what comes."""
        return self._first.pop() if self._first else self._channel.receive(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)


def adapt_to_container(first: Any) -> Any:
    """What the controller said, for this side: workerinput, arguments, options, the Python path."""
    workerinput, arguments, options, path = first
    if (carried := workerinput.get("tunlab_path")) is not None:  # in a container
        options = {name: value for name, value in options.items() if name != "basetemp"}
        make_sysctls_writable()
        path = [*carried, *(entry for entry in sys.path if entry not in ("", *carried))]
    return workerinput, arguments, options, path


def make_sysctls_writable() -> None:
    """Make the sysctls of network namespaces writable in this container, where they are not and it may be done.

    Without it each namespace that a test makes takes a mount namespace of its own to write them, which costs more.
    Source: mount(2), for a bind mount and its flags; <linux/mount.h>.
    """
    libc = ctypes.CDLL(None)  # not tunlab's: what is imported before pytest cannot be rewritten by it
    place = b"/proc/sys/net"
    if libc.mount(place, place, None, MS_BIND, None) == 0:
        libc.mount(None, place, None, MS_BIND | MS_REMOUNT, None)


MS_REMOUNT, MS_BIND = 32, 4096


def run_worker(channel: Any) -> None:
    """Run pytest-xdist's own remote module; found by path, for one that is imported cannot be rewritten by pytest."""
    found = importlib.util.find_spec("xdist")
    assert found is not None
    assert found.origin is not None  # a package's __init__.py
    file = Path(found.origin).with_name("remote.py")
    first = adapt_to_container(channel.receive())
    code = compile(file.read_text(encoding="utf-8"), file, "exec")
    exec(code, {"__name__": "__channelexec__", "__file__": str(file), "channel": WorkerChannel(channel, first)})


if __name__ == "__channelexec__":
    run_worker(globals()["channel"])  # by which execnet gives it
