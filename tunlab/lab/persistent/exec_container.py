"""Running a program inside a node that is a container: with its files, its processes and its environment.

Nothing is asked of its engine: a process of the container is found by the network namespace, and its others are entered
through it.
Source: setns(2) for a pidfd, pid_namespaces(7): who enters one is in it only with its children.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from tunlab.errors import KernelError
from tunlab.kernel import libc
from tunlab.kernel.namespace.guardian import find_processes
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.os_errors import translate_os_errors

_ALL = libc.CLONE_NEWNS | libc.CLONE_NEWUTS | libc.CLONE_NEWIPC | libc.CLONE_NEWPID | libc.CLONE_NEWNET
_HANDED_ON = ("TERM", "LANG", "LC_ALL", "COLUMNS", "LINES")


def exec_in_container(command: Sequence[str], node: str, netns: Netns, more: Mapping[str, str]) -> NoReturn:
    """Run `command` in the container that has this network namespace, and end as it ends.

    more   variables beside those of the container and what the terminal needs

    Raises KernelError: ESRCH if the container has ended; PrivilegeError.
    """
    pid = _process_of(node, netns)
    with translate_os_errors(f"enter the container of node {node}", needs="CAP_SYS_ADMIN"):
        own = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        directory = str(Path(f"/proc/{pid}/cwd").readlink())
        handle = os.pidfd_open(pid)
        try:
            libc.setns(handle, _ALL)
        finally:
            os.close(handle)
    environment = {
        os.fsdecode(name): os.fsdecode(value) for name, _, value in (each.partition(b"=") for each in own) if name
    }
    environment |= {name: os.environ[name] for name in _HANDED_ON if name in os.environ} | dict(more)
    child = os.fork()
    if not child:
        _become(command, directory, environment)
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # the terminal sends them to both
    signal.signal(signal.SIGTERM, lambda number, _: os.kill(child, number))
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def _process_of(node: str, netns: Netns) -> int:
    """The container's oldest: one in another PID namespace than ours, in which all that we run in the node is."""
    ours = os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116
    for pid in find_processes((netns.identity,)):
        try:
            if os.stat(f"/proc/{pid}/ns/pid").st_ino != ours:  # noqa: PTH116
                return pid
        except OSError:  # it has ended
            continue
    reason, remedy = "it has ended", "tunlab down removes the lab; the container's log says why"
    raise KernelError(errno.ESRCH, f"enter the container of node {node}", reason=reason, remedy=remedy)


def _become(command: Sequence[str], directory: str, environment: Mapping[str, str]) -> NoReturn:
    """What the child does; it must not return."""
    status = 127
    try:
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.chdir(directory)
        os.execvpe(command[0], list(command), environment)
    except OSError as error:
        status = 126 if error.errno == errno.EACCES else 127
        os.write(
            2, f"tunlab: the container has no program {command[0]!r} that can be run ({error.strerror})\n".encode()
        )
    finally:
        os._exit(status)
