"""Network namespaces without a name: the kernel removes one when its last descriptor is closed.

Source: network_namespaces(7), unshare(2), setns(2); Documentation/networking/ip-sysctl.rst.
Only a short-lived thread changes its namespace. A thread that had to change back could fail to, and every later test
would run in the wrong namespace.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import socket
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ParamSpec, Self, TypeVar

from tunlab.errors import KernelError
from tunlab.kernel import libc
from tunlab.kernel.closeable import Closeable
from tunlab.kernel.namespace import guardian, processes, sysctl
from tunlab.kernel.namespace.neighbour_table import wait_for_free_entries
from tunlab.kernel.namespace.netns_thread import run_in_thread
from tunlab.kernel.os_errors import PRIVILEGE_REMEDY, ROOT_REMEDY, translate_os_errors

P = ParamSpec("P")
T = TypeVar("T")

_OWN = "/proc/thread-self/ns/net"  # /proc/self would show the main thread's namespace instead of this thread's.
_NS_GET_NSTYPE = 0xB703  # from <linux/nsfs.h>
_SIOCSIFFLAGS = 0x8914  # from <linux/sockios.h>
_IFF_UP = 1  # from <linux/if.h>


class NetnsHandle(Closeable):
    """A network namespace that an open descriptor keeps alive until `close`. `Netns` adds programs."""

    __slots__ = ("__weakref__", "_creator", "_file", "identity")

    identity: tuple[int, int]
    """The namespace's identity: (st_dev, st_ino) of its nsfs file."""

    def __init__(self, file: io.FileIO, *, creator: int = 0) -> None:
        """Wrap an open nsfs file. `creator` is the pid that created the namespace; 0 if another program did."""
        self._file = file
        self._creator = creator
        self.identity = processes.namespace_identity(file.fileno())

    @classmethod
    def create(
        cls, *, ipv6: bool = False, loopback: bool = True, sysctls: Mapping[str, str | int] | None = None
    ) -> Self:
        """Create a namespace with no interface but lo and no process; it needs no cleanup.

        Args:
            ipv6: Enable IPv6.
            loopback: Set lo up.
            sysctls: Sysctls to set after tunlab's defaults (tunlab.kernel.namespace.sysctl), for example
                {"net.ipv4.ip_forward": "1"}.

        Raises:
            PrivilegeError: CAP_SYS_ADMIN is missing.
            KernelError: A sysctl is refused, or a limit is reached.
        """

        return run_in_thread(lambda: cls.unshare(ipv6=ipv6, loopback=loopback, sysctls=sysctls))

    @classmethod
    def unshare(
        cls, *, ipv6: bool = False, loopback: bool = True, sysctls: Mapping[str, str | int] | None = None
    ) -> Self:
        """Create a namespace as `create` does, and leave the calling thread inside it.

        Only for a short-lived thread (`run_in_thread`), which can create many and move between them with `enter`.
        """
        limit = (
            "this user has the maximum number of network namespaces",
            "close some, or raise /proc/sys/user/max_net_namespaces",
        )
        files = "this process has the maximum number of open files", "raise the limit: ulimit -n 4096"
        reasons = {errno.ENOSPC: limit, errno.EMFILE: files}
        wait_for_free_entries()
        with translate_os_errors("create a network namespace", needs="CAP_SYS_ADMIN", reasons=reasons):
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
        """Open the namespace of a file: /run/tunlab/x/net, /run/netns/x, /proc/PID/ns/net.

        Raises:
            KernelError: ENOENT if there is no file, EINVAL if the file is not a network namespace.
        """
        operation = f"open the network namespace {os.fspath(path)}"
        denied = (
            'this user may not inspect the process (ptrace(2), "Ptrace access mode checking")',
            "run as the owner of the process, or as root",
        )
        with translate_os_errors(operation, reasons={errno.EACCES: denied}):
            file = io.FileIO(os.fspath(path))
        try:
            try:
                kind = fcntl.ioctl(file, _NS_GET_NSTYPE)
            except OSError:
                kind = 0
            if kind != libc.CLONE_NEWNET:
                reason, remedy = "the file is not a network namespace", "give a pinned namespace or /proc/PID/ns/net"
                raise KernelError(errno.EINVAL, operation, reason=reason, remedy=remedy)
            return cls(file)
        except BaseException:
            file.close()
            raise

    @classmethod
    def of_process(cls, pid: int) -> Self:
        """Open the namespace of a process. Raises KernelError: ENOENT if there is no such process."""
        return cls.open(f"/proc/{pid}/ns/net")

    @classmethod
    def current(cls) -> Self:
        """Open the namespace of the calling thread."""
        return cls.open(_OWN)

    @property
    def fd(self) -> int:
        """The descriptor, for setns(2) and IFLA_NET_NS_FD. Raises KernelError (EBADF) if closed."""
        if self._file.closed:
            remedy = "use the namespace inside its `with` block, or inside the test that created it"
            raise KernelError(errno.EBADF, f"use {self}", reason="this namespace is closed", remedy=remedy)
        return self._file.fileno()

    def fileno(self) -> int:
        """Return the descriptor, as `fd` does."""
        return self.fd

    @property
    def closed(self) -> bool:
        """True if closed."""
        return self._file.closed

    def close(self) -> None:
        """Release the namespace; the kernel removes it once no process or socket uses it. May be called again."""
        if not self._file.closed:
            guardian.forget(self.identity)
            self._file.close()

    def __repr__(self) -> str:
        return f"<Netns net:[{self.identity[1]}]{' closed' if self.closed else ''}>"

    def __str__(self) -> str:
        """Return the name that the kernel uses in /proc/PID/ns: net:[4026532177]."""
        return f"net:[{self.identity[1]}]"

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in a new thread inside the namespace; return its result, or raise its exception.

        Sockets and files of /proc/thread-self/net that the function opens show this namespace in other threads, too.
        A call costs about 60 µs. Raises PrivilegeError if CAP_SYS_ADMIN is missing.
        """
        self.fileno()  # Raise the error for a closed namespace here, not in the new thread.

        def inside() -> T:
            self.enter()
            return function(*args, **kwargs)

        return run_in_thread(inside)

    def enter(self) -> None:
        """Move the calling thread into the namespace. Only for a short-lived thread (`run_in_thread`).

        Raises PrivilegeError if CAP_SYS_ADMIN is missing.
        """
        grant = PRIVILEGE_REMEDY if self._creator else ROOT_REMEDY
        with translate_os_errors(f"enter {self}", needs="CAP_SYS_ADMIN", grant=grant, netns=str(self)):
            libc.setns(self.fd, libc.CLONE_NEWNET)

    def socket(self, family: int = socket.AF_INET, type: int = socket.SOCK_STREAM, proto: int = 0) -> socket.socket:  # noqa: A002
        """Open a socket in this namespace, for use in any thread.

        Raises PrivilegeError if a raw or packet socket lacks CAP_NET_RAW.
        """
        needs = "CAP_NET_RAW" if family == socket.AF_PACKET or type & 0xF == socket.SOCK_RAW else ""
        with translate_os_errors("open a socket", needs=needs, netns=str(self)):
            return self.call(socket.socket, family, type, proto)

    def sysctl(self, name: str) -> str:
        """Return a sysctl's value; separate `name` by dots or slashes: "net.ipv4.ip_forward".

        Raises KernelError (ENOENT) if there is no such sysctl.
        """
        return self.call(sysctl.read, name)

    def set_sysctl(self, name: str, value: str | int) -> None:
        """Set a sysctl of this namespace. Raises KernelError if it is unknown or the value is refused."""
        self.call(sysctl.write, [(name, str(value))])

    def read_proc(self, path: str) -> str:
        """Return the text of /proc/net/`path` ("snmp", "tcp", "dev") in this namespace. Raises KernelError."""
        with translate_os_errors(f"read /proc/net/{path}", netns=str(self)):
            return self.call(Path("/proc/thread-self/net", path).read_text, encoding="ascii", errors="replace")

    def pin(self, path: str | os.PathLike[str]) -> None:
        """Bind mount the namespace on the file `path`, so that it and its programs outlive this process, until `unpin`.

        The file is created if it does not exist. Raises PrivilegeError if CAP_SYS_ADMIN is missing.
        """
        file = Path(path)
        operation = f"pin {self} to {file}"
        with translate_os_errors(operation, needs="CAP_SYS_ADMIN", grant=ROOT_REMEDY, netns=str(self)):
            is_new = not file.exists()
            file.touch()
            try:
                libc.mount(f"/proc/self/fd/{self.fd}", str(file), "", libc.MS_BIND)
            except OSError:
                if is_new:
                    file.unlink()
                raise
        guardian.forget(self.identity)
        self._creator = 0


def unpin(path: str | os.PathLike[str]) -> None:
    """Undo `pin`: unmount the namespace and delete the file. Raises KernelError, ENOENT if there is no file."""
    absent = "no namespace is pinned there", "check the path"
    reasons = {errno.ENOENT: absent}
    operation = f"unpin {os.fspath(path)}"
    with translate_os_errors(operation, needs="CAP_SYS_ADMIN", grant=ROOT_REMEDY, reasons=reasons):
        try:
            libc.umount2(os.fspath(path), libc.MNT_DETACH)
        except OSError as error:
            if error.errno != errno.EINVAL:  # EINVAL: nothing is mounted on the file
                raise
        Path(path).unlink()


def _set_loopback_up() -> None:
    # The ioctl does the same as RTM_NEWLINK, without loading pyroute2, which takes 0.1 s.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", _IFF_UP))
