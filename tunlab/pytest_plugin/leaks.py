"""Warnings about sockets, network namespaces, TUN devices and child processes that a test leaves open.

Only tests that use tunlab's fixtures are checked. A resource that a module, class or session fixture opens during the
test is not reported. Source: proc_pid_fd(5), proc_pid_task(5).
"""

from __future__ import annotations

import gc
import os
import socket
import sys
import warnings
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tunlab.pytest_plugin.fixture_errors import fail_without_traceback

_MODES = ("warn", "error", "off")
_NETWORK_FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_PACKET, socket.AF_NETLINK)


class LeakWarning(pytest.PytestWarning):
    """A warning that a test left a socket, namespace, TUN device or process open."""


@dataclass
class ResourceSnapshot:
    """The open file descriptors and the child processes of this process, at one time.

    Attributes:
        descriptors: Number of each descriptor with its device and inode numbers, because a number may be reused.
        children: Process IDs.
    """

    descriptors: set[tuple[int, int, int]]
    children: set[int]

    @classmethod
    def take(cls) -> ResourceSnapshot:
        """Return a snapshot of this process as it is now."""
        return cls(_descriptors(), _children())

    def __sub__(self, other: ResourceSnapshot) -> ResourceSnapshot:
        return ResourceSnapshot(self.descriptors - other.descriptors, self.children - other.children)

    def add(self, other: ResourceSnapshot) -> None:
        """Add the descriptors and processes of another snapshot."""
        self.descriptors |= other.descriptors
        self.children |= other.children

    def __bool__(self) -> bool:
        return bool(self.descriptors or self.children)


_own_descriptors = pytest.StashKey[Callable[[], set[int]]]()
_before = pytest.StashKey[ResourceSnapshot]()
"""Resources from before the test. `config` has them, because fixtures of a wider scope change them during the test."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("tunlab").addoption(
        "--tunlab-leaks",
        choices=_MODES,
        default=None,
        help="If a test leaves network sockets, namespaces, TUN devices or child processes open: warn (default), fail"
        " the test with an error, or do not check (off).",
    )
    parser.addini("tunlab_leaks", "Default of --tunlab-leaks: warn, error or off.", default="warn")


def pytest_configure(config: pytest.Config) -> None:
    if (mode := config.getini("tunlab_leaks")) not in _MODES:
        raise pytest.UsageError(f"tunlab_leaks is {mode!r}. Set it to one of {', '.join(_MODES)}.")


def _mode(config: pytest.Config) -> str:
    return str(config.getoption("tunlab_leaks") or config.getini("tunlab_leaks"))


def start_check(item: pytest.Item, own_descriptors: Callable[[], set[int]]) -> None:
    """Start the leak check of a test. It reports resources that are opened from now on and open at the end.

    Args:
        item: The running test.
        own_descriptors: Function that returns the descriptors that tunlab itself keeps open.
    """
    item.stash[_own_descriptors] = own_descriptors
    if _mode(item.config) != "off":
        item.config.stash[_before] = ResourceSnapshot.take()


def cancel_check(config: pytest.Config) -> None:
    """Stop the leak check of the running test."""
    if _before in config.stash:
        del config.stash[_before]


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest) -> Generator[None]:
    __tracebackhide__ = True
    stash = request.config.stash
    if fixturedef.scope == "function" or _before not in stash:
        return (yield)
    before = ResourceSnapshot.take()
    try:
        return (yield)
    finally:
        if _before in stash:
            stash[_before].add(ResourceSnapshot.take() - before)


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    if call.excinfo is not None:
        cancel_check(item.config)  # A failed test's traceback keeps its local variables, such as sockets, alive.


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    __tracebackhide__ = True
    try:
        yield
        before = item.config.stash.get(_before, None)
        if before is not None and (leaks := _find_leaks(item, before)):
            text = f"tunlab: {item.nodeid} left open:\n" + "\n".join(f"  {line}" for line in leaks)
            if _mode(item.config) == "warn":
                warnings.warn(LeakWarning(text), stacklevel=1)
            else:
                advice = (
                    "Close each descriptor and wait for each process before the test ends, or use --tunlab-leaks=warn."
                )
                fail_without_traceback(f"{text}\n{advice}")
    finally:
        cancel_check(item.config)


def _find_leaks(item: pytest.Item, before: ResourceSnapshot) -> list[str]:
    """Return a line for each resource that is open now and was not open in the snapshot `before`."""
    if not ResourceSnapshot.take() - before:
        return []
    gc.collect()  # The garbage collector closes sockets in reference cycles, which are not leaks.
    found, own = ResourceSnapshot.take() - before, item.stash[_own_descriptors]()
    named = [(fd, _describe(fd)) for fd, *_ in sorted(found.descriptors) if fd not in own]
    lines = [f"descriptor {fd}: {description}" for fd, description in named if description]
    return lines + [f"process {pid}: {_command(pid)}" for pid in sorted(found.children - _shared_processes())]


def _shared_processes() -> set[int | None]:
    """Return the IDs of processes that tunlab and multiprocessing start once for the whole run."""
    from tunlab.kernel.namespace.guardian import guardian_pid

    tracker: object = sys.modules.get("multiprocessing.resource_tracker")
    server: object = sys.modules.get("multiprocessing.forkserver")
    return {
        guardian_pid(),
        getattr(getattr(tracker, "_resource_tracker", None), "_pid", None),
        getattr(getattr(server, "_forkserver", None), "_forkserver_pid", None),
    }


def _descriptors() -> set[tuple[int, int, int]]:
    found = set()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208  # takes half the time of Path.iterdir
        fd = int(name)
        if fd > 2:  # pytest's output capture replaces the standard streams, so they are not leaks.
            try:
                status = os.fstat(fd)
            except OSError:  # listdir has closed its own descriptor.
                continue
            found.add((fd, status.st_dev, status.st_ino))
    return found


def _children() -> set[int]:
    found = set[int]()
    for task in os.listdir("/proc/self/task"):  # noqa: PTH208
        try:
            with open(f"/proc/self/task/{task}/children", encoding="ascii") as file:  # noqa: PTH123
                found.update(map(int, file.read().split()))
        except OSError:  # The thread has ended, or the kernel was built without CONFIG_PROC_CHILDREN.
            continue
    return found


def _describe(fd: int) -> str:
    """Return a description of a socket, namespace or TUN device; "" for any other descriptor."""
    target = os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115
    if target.startswith("socket:"):
        return _describe_socket(fd)
    if target.startswith("net:"):
        return f"network namespace {target}"
    return "TUN or TAP device" if target == "/dev/net/tun" else ""


def _describe_socket(fd: int) -> str:
    try:
        with socket.socket(fileno=os.dup(fd)) as opened:
            family, kind = opened.family, opened.type
            if family not in _NETWORK_FAMILIES:
                return ""
            text = f"socket {getattr(family, 'name', family)} {getattr(kind, 'name', kind)}"
            if family in (socket.AF_INET, socket.AF_INET6):
                address, port, *_ = opened.getsockname()
                listening = opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                text += f"{', listening' if listening else ''} on {address} port {port}" if port else ""
            return text
    except OSError:
        return ""


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        if words != [b""]:
            return b" ".join(words).decode(errors="replace")
        name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "ended"
    return f"{name} (ended; call wait() on it)"
