"""What a test leaves behind: descriptors, namespaces, sockets, threads and child processes, each by its name.

Asked of tests that use tunlab's fixtures, and only about what has come since they began; what a fixture of a wider
scope has made meanwhile is the fixture's. Source: proc_pid_fd(5), proc_pid_task(5).
"""

from __future__ import annotations

import gc
import os
import socket
import threading
import warnings
from collections.abc import Callable, Generator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

_MODES = ("error", "warn", "off")
_GRACE = 0.2  # seconds in all for threads that are about to end
# Of an event loop that somebody else owns, and of the machinery of multiprocessing: they are there for all tests.
_SHARED_THREADS = ("asyncio_", "QueueFeederThread", "QueueManagerThread", "tunlab-netns")
_WHAT = {
    "net:": "a network namespace",
    "pipe:": "one end of a pipe",
    "anon_inode:[eventpoll]": "an epoll instance",
    "anon_inode:[pidfd]": "a pidfd",
    "anon_inode:[eventfd]": "an eventfd",
    "/dev/net/tun": "a TUN device",
}


class LeakWarning(pytest.PytestWarning):
    """A test left something behind (--tunlab-leaks=warn)."""


@dataclass
class ResourceSnapshot:
    """What a process holds: descriptors with what they are, threads, and children by their ids."""

    descriptors: set[tuple[int, int, int]]
    threads: set[threading.Thread]
    children: set[int]

    @classmethod
    def now(cls) -> ResourceSnapshot:
        """Take stock."""
        return cls(_descriptors(), set(threading.enumerate()), _children())

    def less(self, other: ResourceSnapshot) -> ResourceSnapshot:
        """What is here and not there."""
        return ResourceSnapshot(
            self.descriptors - other.descriptors, self.threads - other.threads, self.children - other.children
        )

    def add(self, other: ResourceSnapshot) -> None:
        """Have it all be here."""
        self.descriptors |= other.descriptors
        self.threads |= other.threads
        self.children |= other.children

    def __bool__(self) -> bool:
        return bool(self.descriptors or self.threads or self.children)


_known = pytest.StashKey[Callable[[], set[int]]]()
_before = pytest.StashKey[ResourceSnapshot]()  # of the running test, in the config's stash


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("tunlab").addoption(
        "--tunlab-leaks",
        choices=_MODES,
        default=None,
        help="What a test gets that leaves descriptors, threads or processes behind: error (the default), warn, off.",
    )
    parser.addini("tunlab_leaks", "As --tunlab-leaks: error, warn or off.", default="error")
    parser.addini(
        "tunlab_leaks_ignore",
        "What may stay, a pattern each: thread names (ThreadPoolExecutor-*), descriptors (/var/log/*), commands.",
        type="linelist",
    )


def pytest_configure(config: pytest.Config) -> None:
    if (mode := config.getini("tunlab_leaks")) not in _MODES:
        raise pytest.UsageError(f"tunlab_leaks = {mode!r} in the configuration: give one of {', '.join(_MODES)}")


def _mode(config: pytest.Config) -> str:
    return str(config.getoption("tunlab_leaks") or config.getini("tunlab_leaks"))


def begin(item: pytest.Item, known: Callable[[], set[int]]) -> None:
    """From now on, what comes and stays is the test's; `known` gives the descriptors that are not."""
    item.stash[_known] = known
    if _mode(item.config) != "off":
        item.config.stash[_before] = ResourceSnapshot.now()


def pass_over(item: pytest.Item) -> None:
    """Do not ask this test."""
    if _before in item.config.stash:
        del item.config.stash[_before]


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest) -> Generator[None]:
    stash = request.config.stash
    if fixturedef.scope == "function" or _before not in stash:
        return (yield)
    before = ResourceSnapshot.now()
    try:
        return (yield)
    finally:
        if _before in stash:
            stash[_before].add(ResourceSnapshot.now().less(before))


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    if call.excinfo is not None:
        pass_over(item)  # the traceback holds what the test had in its hands


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    try:
        yield
        before = item.config.stash.get(_before, None)
        if before is not None and (left := _left(item, before)):
            text = f"{item.nodeid} left behind:\n" + "\n".join(f"  {line}" for line in left)
            if _mode(item.config) == "warn":
                warnings.warn(LeakWarning(f"tunlab: {text}"), stacklevel=1)
            else:
                remedy = (
                    "close, join or wait for each before the test ends; what a wider fixture owns may be named in"
                    " tunlab_leaks_ignore; --tunlab-leaks=warn says it more gently"
                )
                raise pytest.fail.Exception(f"tunlab: {text}\n{remedy}", pytrace=False)
    finally:
        pass_over(item)


def _left(item: pytest.Item, before: ResourceSnapshot) -> list[str]:
    """What the test left, a line each."""
    if not _own(item, ResourceSnapshot.now().less(before)):
        return []
    gc.collect()  # what hangs in a cycle is nobody's, and closes itself
    for thread in set(threading.enumerate()) - before.threads:
        thread.join(_GRACE)
    found, ignored = _own(item, ResourceSnapshot.now().less(before)), item.config.getini("tunlab_leaks_ignore")
    named = [(f"descriptor {fd}: {{}}", _describe(fd)) for fd, *_ in sorted(found.descriptors)]
    named += [(f"thread {{!r}}{' (a daemon)' * thread.daemon}", thread.name) for thread in found.threads]
    named += [(f"process {pid}: {{}}", _command(pid)) for pid in sorted(found.children)]
    return [line.format(name) for line, name in named if not any(fnmatchcase(name, each) for each in ignored)]


def _own(item: pytest.Item, found: ResourceSnapshot) -> ResourceSnapshot:
    """Without what is tunlab's and Python's own."""
    from tunlab.kernel.guardian import guardian_pid

    if found.descriptors:
        known = item.stash[_known]() | _of_multiprocessing()[0]
        found.descriptors = {each for each in found.descriptors if each[0] not in known}
    if found.children:
        found.children -= {guardian_pid(), *_of_multiprocessing()[1]}
    found.threads = {each for each in found.threads if not each.name.startswith(_SHARED_THREADS)}
    return found


def _of_multiprocessing() -> tuple[set[int], set[int]]:
    """The descriptors and the processes that multiprocessing starts once and keeps: resource tracker, fork server."""
    import sys

    descriptors, children = set[int](), set[int]()
    for module, name in (("resource_tracker", "_resource_tracker"), ("forkserver", "_forkserver")):
        loaded = sys.modules.get(f"multiprocessing.{module}")
        keeper = getattr(loaded, name, None)
        for attribute in ("_fd", "_forkserver_alive_fd", "_inherited_fds"):
            if isinstance(fd := getattr(keeper, attribute, None), int):
                descriptors.add(fd)
        for attribute in ("_pid", "_forkserver_pid"):
            if isinstance(pid := getattr(keeper, attribute, None), int):
                children.add(pid)
    return descriptors, children


def _descriptors() -> set[tuple[int, int, int]]:
    """Each with the device and inode behind it: half the time of asking for what it is called."""
    found = set()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208  # half the time of Path's
        fd = int(name)
        if fd > 2:  # pytest's capture puts others in their places, and is not always on
            try:
                status = os.fstat(fd)
            except OSError:  # the listing's own
                continue
            found.add((fd, status.st_dev, status.st_ino))
    return found


def _children() -> set[int]:
    found = set[int]()
    for task in os.listdir("/proc/self/task"):  # noqa: PTH208
        try:
            with open(f"/proc/self/task/{task}/children", encoding="ascii") as file:  # noqa: PTH123
                found.update(map(int, file.read().split()))
        except OSError:  # a thread that has just ended; a kernel that lists no children
            continue
    return found


def _describe(fd: int) -> str:
    target = os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115
    if target.startswith("socket:"):
        return f"{_socket(fd)} ({target})"
    what = next((what for prefix, what in _WHAT.items() if target.startswith(prefix)), "")
    return f"{what} ({target})" if what else target


def _socket(fd: int) -> str:
    try:
        with socket.socket(fileno=os.dup(fd)) as opened:
            family, kind = opened.family, opened.type
            words = f"a socket, {getattr(family, 'name', family)} {getattr(kind, 'name', kind)}"
            if family in (socket.AF_INET, socket.AF_INET6):
                address, port, *_ = opened.getsockname()
                listening = opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                words += f"{', listening' if listening else ''} on {address} port {port}" if port else ""
            return words
    except OSError:
        return "a socket"


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        if words != [b""]:
            return b" ".join(words).decode(errors="replace")
        name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "has ended"
    return f"{name}, which has ended, and nobody has waited for it"
