"""Sockets of programs, to tell when a program is ready.

Source: proc_pid_net(5) for the tables of sockets, proc_pid_fd(5) for the sockets of a process, proc_pid_stat(5).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from pathlib import Path

from tunlab.kernel.namespace.netns import Netns

_LISTEN, _ANY_STATE = "0A", ""  # TCP_LISTEN in <net/tcp_states.h>; a UDP socket has no state


def listening_ports(netns: Netns) -> set[int]:
    """Return the TCP ports that have a listening socket in a namespace."""
    return set(_sockets(netns, "tcp", _LISTEN))


def has_tcp_listener(netns: Netns, port: int, pids: Collection[int]) -> bool:
    """Return True if one of the processes has a listening socket on a TCP port."""
    return _owns(pids, _sockets(netns, "tcp", _LISTEN).get(port, set()))


def has_udp_socket(netns: Netns, port: int, pids: Collection[int]) -> bool:
    """Return True if one of the processes has a socket that is bound to a UDP port."""
    return _owns(pids, _sockets(netns, "udp", _ANY_STATE).get(port, set()))


def program_pids(netns: Netns, program: int, others: Collection[int]) -> list[int]:
    """Return the processes of a program: those in its session, and those that have left every program's session.

    Args:
        netns: the namespace.
        program: the program's process id, which is that of its session too.
        others: the process ids of the other programs.
    """
    found = []
    for pid in netns.processes():
        try:
            text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        except OSError:  # The process has ended.
            continue
        session = int(text.rpartition(")")[2].split()[3])
        if session == program or session not in others:
            found.append(pid)
    return found


def _sockets(netns: Netns, protocol: str, state: str) -> dict[int, set[str]]:
    """Return the inodes of the sockets of a protocol by local port."""
    sockets: dict[int, set[str]] = {}
    for line in netns.call(_read_tables, protocol):
        fields = line.split()
        if len(fields) > 9 and fields[3].startswith(state):
            sockets.setdefault(int(fields[1].rpartition(":")[2], 16), set()).add(fields[9])
    return sockets


def _read_tables(protocol: str) -> list[str]:
    lines = list[str]()
    for table in (protocol, f"{protocol}6"):
        path = Path("/proc/thread-self/net", table)
        if path.exists():  # a kernel without IPv6 does not have /proc/net/tcp6
            lines += path.read_text(encoding="ascii").splitlines()[1:]
    return lines


def _owns(pids: Collection[int], inodes: Collection[str]) -> bool:
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for pid in pids if wanted else ():
        try:
            descriptors = list(Path(f"/proc/{pid}/fd").iterdir())
        except OSError:  # The process has ended.
            continue
        for descriptor in descriptors:
            with contextlib.suppress(OSError):  # The descriptor was closed.
                if os.readlink(descriptor) in wanted:  # noqa: PTH115
                    return True
    return False
