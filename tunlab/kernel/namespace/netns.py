"""Network namespaces, and the programs that run in them."""

from __future__ import annotations

import errno
import io
import os
import subprocess
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from tunlab.errors import KernelError
from tunlab.kernel import capture_drain
from tunlab.kernel.namespace import guardian, processes
from tunlab.kernel.namespace.handle import NetnsHandle
from tunlab.kernel.namespace.netns_thread import PROCESS_LIMIT
from tunlab.kernel.os_errors import Reasons, translate_os_errors
from tunlab.kernel.process import ancestors


class Netns(NetnsHandle):
    """A network namespace that an open descriptor keeps alive until `close`.

    Create one with `create`, or open an existing one with `open`, `of_process` or `current`.
    """

    __slots__ = ("_programs",)

    def __init__(self, file: io.FileIO, *, creator: int = 0) -> None:
        """Wrap an open nsfs file. `creator` is the pid that created the namespace; 0 if another program did."""
        super().__init__(file, creator=creator)
        self._programs: list[subprocess.Popen[Any]] = []

    def popen(
        self,
        args: Sequence[str | os.PathLike[str]],
        *,
        prepare: Callable[[], None] | None = None,
        **popen_kwargs: Any,
    ) -> subprocess.Popen[Any]:
        """Start a program inside the namespace, without a shell.

        If this process created the namespace, the guardian kills the program when this process ends, however it ends.

        Args:
            args: The program and its arguments.
            prepare: A function to call first, in the thread that starts the program. If it changes the thread, for
                example its mount namespace, the program inherits the change.
            **popen_kwargs: The other arguments of subprocess.Popen.

        Raises:
            KernelError: The program cannot be started; ENOENT if there is no such program.
        """
        if isinstance(args, str | bytes) or not args or popen_kwargs.get("shell"):
            raise TypeError(
                f"the program {args!r} is not a list, or shell=True is set."
                ' Give a list without a shell, as ["ping", "-c1", "10.1.2.2"].'
            )
        capture_drain.drain_all(expect_many=True)
        name = os.fspath(args[0])
        if self._creator == os.getpid():
            with translate_os_errors("start the guardian process", netns=str(self)):
                guardian.watch(self.fd)
        reasons = start_errors(name, popen_kwargs.get("cwd"))

        def start() -> subprocess.Popen[Any]:
            if prepare is not None:
                prepare()
            with translate_os_errors(f"run {name}", reasons=reasons, netns=str(self)):
                return subprocess.Popen(args, **popen_kwargs)

        program = self.call(start)
        self._programs.append(program)  # kill_programs waits for the program even if the caller drops the Popen object.
        return program

    def run(
        self,
        args: Sequence[str | os.PathLike[str]],
        *,
        input: str | bytes | None = None,  # noqa: A002
        capture_output: bool = False,
        timeout: float | None = None,
        check: bool = False,
        **popen_kwargs: Any,
    ) -> subprocess.CompletedProcess[Any]:
        """Run a program inside the namespace to its end; arguments and result are those of subprocess.run.

        Raises:
            KernelError: The program cannot be started, as in `popen`.
            subprocess.TimeoutExpired: It ran for `timeout` seconds, and was killed.
            subprocess.CalledProcessError: Its exit status is not 0, with `check`.
        """
        if input is not None:
            popen_kwargs["stdin"] = subprocess.PIPE
        if capture_output:
            popen_kwargs["stdout"] = popen_kwargs["stderr"] = subprocess.PIPE
        with self.popen(args, **popen_kwargs) as process:
            # Wait in the calling thread, so that Ctrl-C and pytest's timeouts can interrupt the wait.
            try:
                stdout, stderr = process.communicate(input, timeout)
            except subprocess.TimeoutExpired as expired:
                process.kill()
                expired.stdout, expired.stderr = process.communicate()
                raise
            except BaseException:
                process.kill()
                raise
            finally:
                self._programs.remove(process)
        completed = subprocess.CompletedProcess(args, process.returncode, stdout, stderr)
        if check:
            completed.check_returncode()
        return completed

    def processes(self) -> list[int]:
        """Return the ids of the processes in the namespace that this user may inspect, ascending, without inits."""
        return [pid for pid in processes.find_processes((self.identity,)) if not processes.is_node_init(pid)]

    def kill_processes(self) -> list[int]:
        """Kill every process in the namespace except this one and its ancestors; return their ids after they ended.

        Raises:
            KernelError: EBUSY for the machine's own namespace, in which this process's oldest ancestor runs.
            PrivilegeError: A process belongs to another user.
        """
        return kill_processes_in([self])

    def kill_programs(self) -> list[int]:
        """Kill the programs started with `popen` and their descendants; return the ids after they ended.

        Without such programs it does nothing. Raises the errors of `kill_processes`.
        """
        return kill_programs_in([self])

    def kill_children(self) -> None:
        """Kill the programs started with `popen`, but no other process in the namespace."""
        while self._programs:
            with self._programs.pop() as program:
                program.kill()


def kill_processes_in(namespaces: Collection[Netns]) -> list[int]:
    """Kill the processes in several namespaces, as `Netns.kill_processes` does, but list the processes once."""
    names = ", ".join(map(str, namespaces))
    operation = f"kill the processes in {names}"
    identities = {netns.identity for netns in namespaces}
    spared = ancestors()
    # Find the namespace of process 1, or of the oldest ancestor that this user may inspect.
    oldest = next(filter(None, map(processes.process_netns, reversed(spared))), None)
    if oldest in identities:
        reason, remedy = "this is the machine's own network namespace", "give a namespace that tunlab created"
        raise KernelError(errno.EBUSY, operation, reason=reason, remedy=remedy)
    killed, refused = processes.kill_processes(identities, spare=spared)
    if refused:
        with translate_os_errors(operation, needs="CAP_KILL", netns=names):
            raise PermissionError(errno.EPERM, f"the processes {sorted(refused)} belong to another user")
    return sorted(killed)


def kill_programs_in(namespaces: Collection[Netns]) -> list[int]:
    """Kill the programs in several namespaces, as `Netns.kill_programs` does."""
    started = [netns for netns in namespaces if netns._programs]
    if not started:
        return []
    killed = kill_processes_in(started)
    for netns in started:
        while netns._programs:
            program = netns._programs.pop()
            with program:  # The with block waits for the program and closes its pipes.
                program.kill()  # kill_processes_in misses programs that moved to another namespace.
    return killed


def start_errors(name: str, directory: str | os.PathLike[str] | None) -> Reasons:
    """Return a reason and advice for each error number with which starting a program may fail."""
    absent = f"there is no program {name!r} on this machine", "install it, or give its full path"
    if directory is not None and not Path(directory).is_dir():
        absent = f"there is no directory {os.fspath(directory)!r}", "give an existing directory as cwd"
    return {
        errno.ENOENT: absent,
        errno.EACCES: (f"{name!r} is not executable", "make it executable with chmod +x"),
        errno.EPERM: (f"{name!r} needs a capability that this process lacks (getcap)", "run with that capability"),
        errno.EAGAIN: PROCESS_LIMIT,
        errno.ENOEXEC: (f"{name!r} is not an executable for this machine", "a script needs a #! line"),
    }
