"""Find and kill the processes of namespaces.

Source: namespaces(7) for the identity of a namespace (device and inode of nsfs),
proc_pid_status(5) for NSpid, pidfd_open(2).
The guardian runs these functions, so this module may import only the standard library.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Collection

Identity = tuple[int, int]
"""(st_dev, st_ino) of a namespace's nsfs file."""


def namespace_identity(fd: int) -> Identity:
    """Return the identity of a descriptor's namespace: (st_dev, st_ino) of nsfs."""
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def process_netns(process: str | int) -> Identity | None:
    """Return the identity of a process's network namespace; None if the process ended or may not be inspected."""
    try:
        status = os.stat(f"/proc/{process}/ns/net")  # noqa: PTH116
    except OSError:  # The process has ended, is a zombie (which has no namespaces), or may not be inspected.
        return None
    return status.st_dev, status.st_ino


def find_processes(identities: Collection[Identity]) -> list[int]:
    """Return the ids of the processes whose network namespace is one of `identities`, ascending."""
    names = [name for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208
    return sorted(int(name) for name in names if process_netns(name) in identities)


def kill_processes(identities: Collection[Identity], *, spare: Collection[int] = ()) -> tuple[set[int], set[int]]:
    """Send SIGKILL to every process in the namespaces, new ones included, and wait until they end.

    If the init of a PID namespace is among them, every process of that namespace ends too.

    Args:
        identities: The namespaces.
        spare: Processes not to kill.

    Returns:
        The ids of the killed processes without inits, and of those that the kernel did not allow us to kill.
    """
    killed: set[int] = set()
    refused: set[int] = set()
    with contextlib.ExitStack() as outer:
        inits: list[tuple[int, int]] = []
        while victims := set(find_processes(identities)) - set(spare) - refused:
            with contextlib.ExitStack() as stack:
                dying: list[int] = []
                # An init's end ends its namespace's other processes, which would then not be counted: inits come last.
                for pid in sorted(victims, key=_init_namespace):
                    try:
                        handle = os.pidfd_open(pid)
                    except ProcessLookupError:
                        continue
                    stack.callback(os.close, handle)
                    # The pid may have been reused before pidfd_open, so check the namespace again.
                    if process_netns(pid) not in identities:
                        continue
                    pid_namespace = _init_namespace(pid)
                    try:
                        signal.pidfd_send_signal(handle, signal.SIGKILL)
                    except ProcessLookupError:
                        continue
                    except PermissionError:
                        refused.add(pid)
                        continue
                    if pid_namespace:
                        inits.append((os.dup(handle), pid_namespace))
                        outer.callback(os.close, inits[-1][0])
                        continue
                    killed.add(pid)
                    dying.append(handle)
                for handle in dying:
                    has_ended(handle, timeout=None)
        for handle, pid_namespace in inits:
            wait_for_init(handle, pid_namespace)
    return killed, refused


def wait_for_init(handle: int, pid_namespace: int) -> None:
    """Wait until a killed init has ended, and with it every process of its PID namespace.

    An init does not end before each of these has been waited for, and a parent outside the namespace may never do
    that. So the wait ends too when only zombies are left, and one of them has such a parent.
    """
    while not has_ended(handle, timeout=5) and not _waits_for_parent(pid_namespace):
        continue


def has_ended(handle: int, *, timeout: int | None = 0) -> bool:
    """Wait up to `timeout` milliseconds for the end of a pidfd's process; return True if it has ended."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(timeout))


def pid_of(handle: int) -> int:
    """Return the id of a pidfd's process in this process's PID namespace; 0 if it has ended or is not in there."""
    with open(f"/proc/self/fdinfo/{handle}", encoding="ascii") as file:  # noqa: PTH123
        fields = file.read().split()
    return max(0, int(fields[fields.index("Pid:") + 1]))


def _init_namespace(pid: int) -> int:
    """Return the inode of the PID namespace of which a process is the init; 0 if it is not an init."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:  # noqa: PTH123
            ids = next((line.split()[1:] for line in status if line.startswith("NSpid:")), [])
    except OSError:  # The process has ended.
        return 0
    return _pid_namespace(pid) if len(ids) > 1 and ids[-1] == "1" else 0


def is_node_init(pid: int) -> bool:
    """Return True if a process is the init of a node (`node_init`)."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as comm:  # noqa: PTH123
            return comm.read() == "tunlab-init\n" and _init_namespace(pid) != 0
    except OSError:  # The process has ended.
        return False


def _waits_for_parent(pid_namespace: int) -> bool:
    found = False
    for name in os.listdir("/proc"):  # noqa: PTH208
        if not name.isdigit() or _pid_namespace(name) != pid_namespace or _init_namespace(int(name)) == pid_namespace:
            continue
        try:
            with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as stat:  # noqa: PTH123
                state, parent = stat.read().rpartition(")")[2].split()[:2]
        except OSError:  # The process has ended.
            continue
        if state not in "ZX":
            return False
        found = found or _pid_namespace(parent) != pid_namespace
    return found


def _pid_namespace(process: str | int) -> int:
    try:
        return os.stat(f"/proc/{process}/ns/pid").st_ino  # noqa: PTH116
    except OSError:  # The process has ended, or may not be inspected.
        return 0
