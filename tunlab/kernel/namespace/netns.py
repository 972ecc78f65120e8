"""Network namespaces without a name: each is held by a descriptor, and gone when the last holder is.

Source: network_namespaces(7), unshare(2), setns(2); Documentation/networking/ip-sysctl.rst.
Rule for editors: only a throw-away thread ever changes its namespace. One that came back could fail to, and every
test after it would run in the wrong place.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import socket
import struct
import subprocess
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar

from tunlab.errors import KernelError
from tunlab.kernel import capture_drain, libc
from tunlab.kernel.closeable import Closeable
from tunlab.kernel.namespace import guardian, sysctl
from tunlab.kernel.namespace.neighbour_table import wait_for_free_entries
from tunlab.kernel.namespace.netns_thread import run_in_thread
from tunlab.kernel.os_errors import PRIVILEGE_REMEDY, ROOT_REMEDY, translate_os_errors
from tunlab.kernel.process import ancestors

P = ParamSpec("P")
T = TypeVar("T")

_OWN = "/proc/thread-self/ns/net"  # /proc/self would be the main thread's
_NS_GET_NSTYPE = 0xB703  # <linux/nsfs.h>
_SIOCSIFFLAGS = 0x8914  # <linux/sockios.h>
_IFF_UP = 1  # <linux/if.h>


class Netns(Closeable):
    """A network namespace, held open by a descriptor until `close`.

    Make one with `create`, or hold one that is there with `open`, `of_process` or `current`.
    """

    __slots__ = ("__weakref__", "_creator", "_file", "_programs", "identity")

    identity: tuple[int, int]
    """What tells this namespace from every other: (st_dev, st_ino) of its nsfs file."""

    def __init__(self, file: io.FileIO, *, creator: int = 0) -> None:
        """For the constructors below: `creator` is the process that made the namespace, 0 if that was not us."""
        self._file = file
        self._creator = creator
        self._programs: list[subprocess.Popen[Any]] = []
        self.identity = guardian.namespace_identity(file.fileno())

    @classmethod
    def create(
        cls, *, ipv6: bool = False, loopback: bool = True, sysctls: Mapping[str, str | int] | None = None
    ) -> Self:
        """Make a namespace: no devices but lo, no processes, no name, nothing to clean up.

        loopback  set lo up
        sysctls   written after tunlab's own (tunlab.kernel.namespace.sysctl), {"net.ipv4.ip_forward": "1"}

        Raises PrivilegeError without CAP_SYS_ADMIN, KernelError for a sysctl that is refused.
        """

        return run_in_thread(lambda: cls.unshare(ipv6=ipv6, loopback=loopback, sysctls=sysctls))

    @classmethod
    def unshare(
        cls, *, ipv6: bool = False, loopback: bool = True, sysctls: Mapping[str, str | int] | None = None
    ) -> Self:
        """As `create`, in the calling thread, which stays inside: for a throw-away thread (`run_in_thread`) only.

        One thread makes many so, and goes from one to another by `enter`.
        """
        limit = (
            "there are as many network namespaces as this user may have",
            "close some, or raise /proc/sys/user/max_net_namespaces",
        )
        files = "this process has as many files open as it may have", "raise the limit: ulimit -n 4096"
        reasons = {errno.ENOSPC: limit, errno.EMFILE: files}
        wait_for_free_entries()
        with translate_os_errors("make a network namespace", needs="CAP_SYS_ADMIN", reasons=reasons):
            libc.unshare(libc.CLONE_NEWNET)
            file = io.FileIO(_OWN)
        try:
            sysctl.write_defaults(ipv6=ipv6)
            if loopback:
                with translate_os_errors("set lo up", needs="CAP_NET_ADMIN", ifname="lo"):
                    _set_loopback_up()
            if sysctls:
                sysctl.write(sysctls.items())
        except BaseException:
            file.close()
            raise
        return cls(file, creator=os.getpid())

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Hold the namespace behind a file: a pinned one (/run/tunlab/x/net), /run/netns/x, /proc/PID/ns/net.

        Raises KernelError: ENOENT, or EINVAL for a file that is no network namespace.
        """
        operation = f"open the network namespace {os.fspath(path)}"
        closed = (
            'this user may not look at it (ptrace(2), "Ptrace access mode checking")',
            "run as its owner, or as root",
        )
        with translate_os_errors(operation, reasons={errno.EACCES: closed}):
            file = io.FileIO(os.fspath(path))
        try:
            try:
                kind = fcntl.ioctl(file, _NS_GET_NSTYPE)
            except OSError:
                kind = 0
            if kind != libc.CLONE_NEWNET:
                reason = "that file is no network namespace (any more)"
                raise KernelError(
                    errno.EINVAL, operation, reason=reason, remedy="give the file of a pinned one, or /proc/PID/ns/net"
                )
            return cls(file)
        except BaseException:
            file.close()
            raise

    @classmethod
    def of_process(cls, pid: int) -> Self:
        """Hold the namespace of a process. Raises KernelError: ENOENT if there is no such process."""
        return cls.open(f"/proc/{pid}/ns/net")

    @classmethod
    def current(cls) -> Self:
        """Hold the namespace of the calling thread."""
        return cls.open(_OWN)

    @property
    def fd(self) -> int:
        """The descriptor, for setns(2) and IFLA_NET_NS_FD. Raises KernelError (EBADF) when closed."""
        if self._file.closed:
            remedy = "use it inside its with block, or inside the test that has it"
            raise KernelError(errno.EBADF, f"use {self}", reason="this namespace is closed", remedy=remedy)
        return self._file.fileno()

    def fileno(self) -> int:
        """As `fd`."""
        return self.fd

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._file.closed

    def close(self) -> None:
        """Let go of the namespace; it ends with its last socket, device descriptor and process. May be repeated."""
        if not self._file.closed:
            guardian.forget(self.identity)
            self._file.close()

    def __repr__(self) -> str:
        """As the kernel writes it in /proc/PID/ns: net:[4026532177]."""
        return f"<Netns net:[{self.identity[1]}]{' closed' if self.closed else ''}>"

    def __str__(self) -> str:
        return f"net:[{self.identity[1]}]"

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` inside the namespace, in a thread of its own; returns what it returns, raises what it raises.

        What it opens stays in the namespace wherever it is used later: sockets, files of /proc/thread-self/net.
        Costs about 60 µs. Raises PrivilegeError without CAP_SYS_ADMIN.
        """
        self.fileno()  # the error of a closed one here, and not in the thread

        def inside() -> T:
            self.enter()
            return function(*args, **kwargs)

        return run_in_thread(inside)

    def enter(self) -> None:
        """Put the calling thread into the namespace, for good: for a throw-away thread (`run_in_thread`) only.

        Raises PrivilegeError without CAP_SYS_ADMIN.
        """
        grant = PRIVILEGE_REMEDY if self._creator else ROOT_REMEDY
        with translate_os_errors(f"enter {self}", needs="CAP_SYS_ADMIN", grant=grant, netns=str(self)):
            libc.setns(self.fd, libc.CLONE_NEWNET)

    def socket(self, family: int = socket.AF_INET, type: int = socket.SOCK_STREAM, proto: int = 0) -> socket.socket:  # noqa: A002
        """A socket of this namespace, for use in any thread. Raises PrivilegeError where the kind needs a right."""
        needs = "CAP_NET_RAW" if family == socket.AF_PACKET or type & 0xF == socket.SOCK_RAW else ""
        with translate_os_errors("open a socket", needs=needs, netns=str(self)):
            return self.call(socket.socket, family, type, proto)

    def sysctl(self, name: str) -> str:
        """The value of a sysctl, "net.ipv4.ip_forward" or with slashes. Raises KernelError (ENOENT) for none."""
        return self.call(sysctl.read, name)

    def set_sysctl(self, name: str, value: str | int) -> None:
        """Set a sysctl of this namespace. Raises KernelError for an unknown one or a value that is refused."""
        self.call(sysctl.write, [(name, str(value))])

    def read_proc(self, path: str) -> str:
        """The text of /proc/net/`path` as seen in this namespace: "snmp", "tcp", "dev". Raises KernelError."""
        with translate_os_errors(f"read /proc/net/{path}", netns=str(self)):
            return self.call(Path("/proc/thread-self/net", path).read_text, encoding="ascii", errors="replace")

    def popen(
        self,
        args: Sequence[str | os.PathLike[str]],
        *,
        prepare: Callable[[], None] | None = None,
        **popen_kwargs: Any,
    ) -> subprocess.Popen[Any]:
        """Start a program inside the namespace; the keywords are those of subprocess.Popen.

        prepare   called before, in the throw-away thread: what that changes of itself (its mount namespace, say), the
                  program inherits

        No shell and nothing between: the child inherits the namespace of the thread that starts it. In a namespace
        that this process made, it is killed when this process is gone, however that ends (the guardian does it).

        Raises KernelError if the program cannot be started, ENOENT if there is none of that name.
        """
        if isinstance(args, str | bytes) or not args or popen_kwargs.get("shell"):
            raise TypeError(
                'give the program and its arguments as a list: ["ping", "-c1", "10.1.2.2"]; there is no shell'
            )
        capture_drain.drain_all(expect_many=True)
        name = os.fspath(args[0])
        operation = f"run {name}"
        if self._creator == os.getpid():
            with translate_os_errors("start the guardian process", netns=str(self)):
                guardian.watch(self.fd)
        directory = popen_kwargs.get("cwd")
        absent = f"there is no program {name!r} on this machine", "install it, or give its full path"
        if directory is not None and not Path(directory).is_dir():
            absent = f"there is no directory {os.fspath(directory)!r}", "give one as cwd that exists"
        reasons = {
            errno.ENOENT: absent,
            errno.EACCES: (f"{name!r} may not be executed", "give it the execute permission (chmod +x)"),
            errno.EPERM: (f"{name!r} asks for a capability that is kept from us (getcap)", "start us with it"),
            errno.ENOEXEC: (f"{name!r} is no program of this machine's kind", "a script needs a #! line"),
        }

        def start() -> subprocess.Popen[Any]:
            if prepare is not None:
                prepare()
            with translate_os_errors(operation, reasons=reasons, netns=str(self)):
                return subprocess.Popen(args, **popen_kwargs)

        program = self.call(start)
        self._programs.append(program)  # kept, so that a program whose handle is dropped can still be waited for
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
        """Run a program inside the namespace to its end, as subprocess.run: same keywords, same result.

        Raises as `popen`; subprocess.TimeoutExpired after `timeout` seconds, CalledProcessError with `check`.
        """
        if input is not None:
            popen_kwargs["stdin"] = subprocess.PIPE
        if capture_output:
            popen_kwargs["stdout"] = popen_kwargs["stderr"] = subprocess.PIPE
        with self.popen(args, **popen_kwargs) as process:
            # In the calling thread, so that Ctrl-C and pytest's timeouts reach it.
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
        """The ids of the processes in the namespace, ascending (of those that this user may look at)."""
        return guardian.find_processes((self.identity,))

    def kill_processes(self) -> list[int]:
        """SIGKILL every process in the namespace but us and our ancestors, and wait for their end; returns their ids.

        Raises KernelError (EBUSY) for the machine's own namespace, which is that of our oldest ancestor.
        PrivilegeError for a process that this user may not kill.
        """
        return kill_processes_in([self])

    def kill_programs(self) -> list[int]:
        """End what `popen` started here and has not ended, and what that started in turn; returns their ids.

        Costs nothing where no program was started. Raises as `kill_processes`.
        """
        return kill_programs_in([self])

    def kill_children(self) -> None:
        """Kill those that `popen` has started here, and none of the others that live in the namespace."""
        while self._programs:
            with self._programs.pop() as program:
                program.kill()

    def pin(self, path: str | os.PathLike[str]) -> None:
        """Give the namespace a name, a bind mount of it on the file `path`: it lives until `unpin`, also without us.

        The file is made if there is none. From now on its programs outlive us as well.
        Raises PrivilegeError without CAP_SYS_ADMIN.
        """
        file = Path(path)
        with translate_os_errors(f"pin {self} to {file}", needs="CAP_SYS_ADMIN", grant=ROOT_REMEDY, netns=str(self)):
            made = not file.exists()
            file.touch()
            try:
                libc.mount(f"/proc/self/fd/{self.fd}", str(file), "", libc.MS_BIND)
            except OSError:
                if made:
                    file.unlink()
                raise
        guardian.forget(self.identity)
        self._creator = 0


def kill_processes_in(namespaces: Collection[Netns]) -> list[int]:
    """As `Netns.kill_processes`, of several at once: the list of all processes is read as often as for one."""
    names = ", ".join(map(str, namespaces))
    operation = f"kill the processes in {names}"
    identities = {netns.identity for netns in namespaces}
    line = ancestors()
    # Process 1, or the first below it that we may look at.
    oldest = next(filter(None, map(guardian.process_netns, reversed(line))), None)
    if oldest in identities:
        raise KernelError(errno.EBUSY, operation, reason="it is the namespace that this machine works in")
    killed, refused = guardian.kill_processes(identities, spare=line)
    if refused:
        with translate_os_errors(operation, needs="CAP_KILL", netns=names):
            raise PermissionError(errno.EPERM, f"{sorted(refused)} belong to another user")
    return sorted(killed)


def kill_programs_in(namespaces: Collection[Netns]) -> list[int]:
    """As `Netns.kill_programs`, of several at once."""
    started = [netns for netns in namespaces if netns._programs]
    if not started:
        return []
    killed = kill_processes_in(started)
    for netns in started:
        while netns._programs:
            program = netns._programs.pop()
            with program:  # waits for it, and closes its pipes
                program.kill()  # for one that has left the namespace; else it is dead already
    return killed


def unpin(path: str | os.PathLike[str]) -> None:
    """Undo `Netns.pin`: unmount the namespace and delete the file. Raises KernelError, ENOENT if there is no file."""
    absent = "nothing is pinned there", ""
    reasons = {errno.ENOENT: absent}
    with translate_os_errors(f"unpin {os.fspath(path)}", needs="CAP_SYS_ADMIN", grant=ROOT_REMEDY, reasons=reasons):
        try:
            libc.umount2(os.fspath(path), libc.MNT_DETACH)
        except OSError as error:
            if error.errno != errno.EINVAL:  # EINVAL: a file on which nothing is mounted (any more)
                raise
        Path(path).unlink()


def _set_loopback_up() -> None:
    # One ioctl, and the same code behind it as RTM_NEWLINK; pyroute2 need not be loaded (0.1 s) for a bare namespace.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", _IFF_UP))
