"""Run a program in a node that is a container, with the container's files, processes and environment.

No container engine is needed: /proc shows which processes are in the network namespace, and setns(2) with the pidfd of
such a process enters its other namespaces too.
Source: setns(2) for a pidfd; pid_namespaces(7): only the children of a process that enters a PID namespace are in it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from tunlab.errors import KernelError
from tunlab.kernel import libc
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.namespace.processes import find_processes
from tunlab.kernel.os_errors import translate_os_errors
from tunlab.lab.persistent.exec_child import run_as_child

_NAMESPACES = libc.CLONE_NEWNS | libc.CLONE_NEWUTS | libc.CLONE_NEWIPC | libc.CLONE_NEWPID | libc.CLONE_NEWNET
_INHERITED = ("TERM", "LANG", "LC_ALL", "COLUMNS", "LINES")


def exec_in_container(command: Sequence[str], node: str, netns: Netns, variables: Mapping[str, str]) -> NoReturn:
    """Run `command` in the container that has this network namespace, and exit with its status.

    Args:
        command: the program and its arguments.
        node: the node's name, for errors.
        netns: the container's network namespace.
        variables: environment variables in addition to those of the container and of the terminal (TERM, LANG, …).

    Raises:
        KernelError: ESRCH if the container has exited.
        PrivilegeError: without CAP_SYS_ADMIN.
    """
    pid = _find_process(node, netns)
    with translate_os_errors(f"enter the container of node {node}", needs="CAP_SYS_ADMIN"):
        own = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        directory = str(Path(f"/proc/{pid}/cwd").readlink())
        handle = os.pidfd_open(pid)
        try:
            libc.setns(handle, _NAMESPACES)
        finally:
            os.close(handle)
    environment = {
        os.fsdecode(name): os.fsdecode(value) for name, _, value in (each.partition(b"=") for each in own) if name
    }
    environment |= {name: os.environ[name] for name in _INHERITED if name in os.environ} | dict(variables)
    run_as_child(command, lambda: None, environment, directory=directory)


def _find_process(node: str, netns: Netns) -> int:
    """Return the lowest PID in `netns`, skipping programs that tunlab started: they share this PID namespace."""
    ours = os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116
    for pid in find_processes((netns.identity,)):
        try:
            if os.stat(f"/proc/{pid}/ns/pid").st_ino != ours:  # noqa: PTH116
                return pid
        except OSError:  # the process with this PID has exited meanwhile
            continue
    reason, remedy = "the container has exited", "see its log, and remove the lab with `tunlab down`"
    raise KernelError(errno.ESRCH, f"enter the container of node {node}", reason=reason, remedy=remedy)
