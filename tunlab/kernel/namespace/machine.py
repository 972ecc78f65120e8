"""A node as a machine: a mount, a UTS and a PID namespace beside its network namespace, with an init.

Nothing is created before the first program of the node. The init keeps the namespaces alive and ends with this
process; `detach` lets it outlive this process, and leaves a Unix socket by which other processes join the node.

Source: setns(2), pid_namespaces(7), unix(7) for SCM_RIGHTS.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import signal
import socket
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from tunlab.errors import KernelError
from tunlab.kernel import libc
from tunlab.kernel.closeable import Closeable
from tunlab.kernel.namespace import guardian, processes
from tunlab.kernel.namespace.mount_overlay import MountOverlay
from tunlab.kernel.namespace.netns import Netns, start_errors
from tunlab.kernel.namespace.netns_thread import run_in_thread
from tunlab.kernel.namespace.node_init import MESSAGE_SIZE, NAMESPACES
from tunlab.kernel.os_errors import translate_os_errors

P = ParamSpec("P")
T = TypeVar("T")

_INIT_TIMEOUT = 1000  # milliseconds to wait until a killed init has ended


class Machine(Closeable):
    """The namespaces of a node, and the programs in them."""

    def __init__(self, netns: Netns, view: Callable[[], MountOverlay], *, path: Path | None = None) -> None:
        """Describe a machine.

        Args:
            netns: The network namespace.
            view: Returns the view of the file system; called when the namespaces are created.
            path: The socket of a machine that outlives this process. If nobody listens there, the machine is created.
        """
        self.netns = netns
        self._view, self._path = view, path
        self._lock = threading.RLock()
        self._namespaces: dict[int, int] = {}
        self._link: socket.socket | None = None
        self._init = -1  # the pidfd of the init, or -1
        self.hidden_proc = 0
        """The error number with which the kernel refused to mount /proc; 0 if it did not."""

    # ---- namespaces --------------------------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """True if the node has an init."""
        with self._lock:
            if self._init < 0 or processes.has_ended(self._init):
                return False
            # An init that is being killed has left its network namespace, and no process can be created in its PID
            # namespace (pid_namespaces(7)), so the node needs a new init.
            pid = processes.pid_of(self._init)
            is_ending = pid > 0 and processes.process_netns(pid) is None
            return not (is_ending and processes.has_ended(self._init, timeout=_INIT_TIMEOUT))

    def start(self) -> None:
        """Create or join the namespaces, if this has not been done. Raises KernelError."""
        with self._lock:
            if self.is_running:
                return
            self._disconnect()
            if self._path is None:
                self._create()
                return
            # Take a lock: if two processes use the node for the first time at once, only one may create the machine.
            fcntl.flock(self.netns.fd, fcntl.LOCK_EX)
            try:
                if not self.join():
                    self._create()
                    self.detach(self._path)
            finally:
                fcntl.flock(self.netns.fd, fcntl.LOCK_UN)

    def join(self) -> bool:
        """Join the machine that listens on the socket; return False if there is none. Raises KernelError."""
        assert self._path is not None
        link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with short_path(self._path) as path:
                link.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            link.close()
            return False
        except OSError as error:
            link.close()
            raise KernelError(error.errno or 0, f"connect to {self._path}", reason=error.strerror or "") from error
        self._link = link
        _, fds = self._request({"do": "join"})
        self._release()
        *namespaces, self._init = fds
        self._namespaces = dict(zip(NAMESPACES, namespaces, strict=True))
        return True

    def _create(self) -> None:
        if not self._namespaces:
            self._namespaces = self.netns.call(self._unshare)
        kinds = NAMESPACES[1:3]
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, translate_os_errors("start the guardian process", netns=str(self.netns)):
            guardian.start_init(theirs.fileno(), [self.netns.fd, *(self._namespaces[kind] for kind in kinds)])
        self._link = ours
        try:
            reply, fds = self._receive()
            if "errno" in reply:
                with translate_os_errors(reply["operation"], needs="CAP_SYS_ADMIN", netns=str(self.netns)):
                    raise OSError(reply["errno"], os.strerror(reply["errno"]))
        except BaseException:
            self._disconnect()
            raise
        self.hidden_proc = reply["proc"]
        if (old := self._namespaces.pop(libc.CLONE_NEWPID, -1)) >= 0:
            os.close(old)
        self._namespaces[libc.CLONE_NEWPID], self._init = fds

    def _unshare(self) -> dict[int, int]:
        self._view().enter()
        names = {libc.CLONE_NEWUTS: "uts", libc.CLONE_NEWNS: "mnt"}
        return {kind: os.open(f"/proc/thread-self/ns/{names[kind]}", os.O_RDONLY | os.O_CLOEXEC) for kind in names}

    def enter(self) -> None:
        """Move the calling thread into the namespaces. Only for a short-lived thread, or a process about to exec.

        Only children that the thread starts afterwards are in the PID namespace. The working directory stays the same,
        unless it does not exist in the node.
        """
        self.start()
        directory = _working_directory()
        with translate_os_errors("enter the node", needs="CAP_SYS_ADMIN", netns=str(self.netns)):
            libc.unshare(libc.CLONE_FS)
            self.netns.enter()
            for kind in NAMESPACES[1:]:
                self._enter(kind)
            with contextlib.suppress(OSError):  # The directory does not exist in the node.
                os.chdir(directory)

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in a new thread that sees the node's network and files; return its result."""

        def inside() -> T:
            self.enter()
            return function(*args, **kwargs)

        return run_in_thread(inside)

    def enter_pid_namespace(self) -> None:
        """Have the children that the calling thread starts from now on be in the PID namespace."""
        self.start()
        with translate_os_errors("enter the node", needs="CAP_SYS_ADMIN", netns=str(self.netns)):
            self._enter(libc.CLONE_NEWPID)

    def _enter(self, kind: int) -> None:
        try:
            libc.setns(self._namespaces[kind], kind)
        except OSError as error:
            # EINVAL: the calling process is in another node. A process may enter only PID namespaces below its own.
            if kind != libc.CLONE_NEWPID or error.errno != errno.EINVAL:
                raise

    # ---- programs ----------------------------------------------------------------------------------------------------

    def popen(self, args: Sequence[str | os.PathLike[str]], **popen_kwargs: Any) -> subprocess.Popen[Any]:
        """Start a program in the node as a child of this process; it ends with the node. Raises KernelError."""
        return self.netns.popen(args, prepare=self.enter, **popen_kwargs)

    def run(self, args: Sequence[str | os.PathLike[str]], **run_kwargs: Any) -> subprocess.CompletedProcess[Any]:
        """Run a program in the node to its end, as `Netns.run` does."""
        return self.netns.run(args, prepare=self.enter, **run_kwargs)

    def spawn(
        self,
        arguments: Sequence[str],
        output: int,
        *,
        environment: Mapping[str, str],
        number: int = 0,
        directory: str = "",
        user: str = "",
    ) -> int:
        """Have the init start a program; return its pidfd.

        Args:
            arguments: The program and its arguments.
            output: The file for its output, of which the init keeps head and tail.
            environment: Its environment.
            number: The number by which `statuses` names it.
            directory: Its working directory, by default that of this process.
            user: The user, or "user:group", that it runs as.

        Raises:
            KernelError: The program cannot be started.
        """
        self.start()
        content = {
            "arguments": list(arguments),
            "environment": dict(environment),
            "number": number,
            "directory": directory or _working_directory(),
            "user": user,
        }
        with open(os.memfd_create("program"), "w+", encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
            json.dump(content, file)
            file.flush()
            file.seek(0)
            reply, fds = self._request({"do": "spawn"}, [file.fileno(), output])
        if "errno" in reply:
            self._raise(reply, arguments[0], directory, user)
        return fds[0]

    def _raise(self, reply: dict[str, Any], program: str, directory: str, user: str) -> None:
        reasons = start_errors(program, directory or None)
        if reply["operation"] == "directory":
            absent = f"node has no directory {directory!r}", "give an existing directory"
            reasons = {errno.ENOENT: absent}
        elif reply["operation"] == "user":
            reasons = {errno.ENOENT: (f"this machine has no user {user!r}", "name a user of /etc/passwd")}
        with translate_os_errors(f"run {program}", reasons=reasons, netns=str(self.netns)):
            raise OSError(reply["errno"], os.strerror(reply["errno"]))

    def statuses(self) -> dict[int, tuple[int | None, float]]:
        """Return (exit status, time of the end) by number for each program of `spawn`; the status is None if it runs.

        Output that the programs have written is in their files afterwards. Without an init the result is empty.
        """
        if not self.is_running:
            return {}
        try:
            reply, _ = self._request({"do": "status"})
        except KernelError:  # The init was killed.
            return {}
        return {each["number"]: (each["status"], each["ended"]) for each in reply["programs"]}

    def kill_programs(self) -> None:
        """Kill every process of the node but its init, and forget the programs of `spawn`."""
        if self.is_running:
            self._request({"do": "kill"})

    # ---- the end -----------------------------------------------------------------------------------------------------

    def detach(self, path: Path) -> None:
        """Let the machine, if it runs, outlive this process, and listen on a socket at `path`. Raises KernelError."""
        if not self.is_running:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            with translate_os_errors(f"listen on {path}"), short_path(path) as name:
                path.unlink(missing_ok=True)
                listener.bind(name)
                path.chmod(stat.S_IRUSR | stat.S_IWUSR)
                listener.listen()
            self._request({"do": "detach"}, [listener.fileno()])
        guardian.forget(self.netns.identity)

    def kill(self) -> None:
        """Kill every process of the node, and wait for their ends. Files that only they saw are gone."""
        with self._lock:
            if self._init < 0:
                return
            inode = os.fstat(self._namespaces[libc.CLONE_NEWPID]).st_ino
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._init, signal.SIGKILL)
            self.netns.kill_children()  # The init cannot end before this process has reaped its own children.
            processes.wait_for_init(self._init, inode)

    def close(self) -> None:
        """Close the descriptors. Unless it is detached, the machine ends."""
        with self._lock:
            self._disconnect()
            self._release()

    def _disconnect(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None
        if self._init >= 0:
            os.close(self._init)
            self._init = -1

    def _release(self) -> None:
        for fd in self._namespaces.values():
            os.close(fd)
        self._namespaces = {}

    # ---- requests ----------------------------------------------------------------------------------------------------

    def _request(self, content: dict[str, Any], fds: Sequence[int] = ()) -> tuple[dict[str, Any], list[int]]:
        with self._lock:
            assert self._link is not None
            try:
                socket.send_fds(self._link, [json.dumps(content).encode()], list(fds))
            except OSError as error:
                raise self._ended_error() from error
            return self._receive()

    def _receive(self) -> tuple[dict[str, Any], list[int]]:
        assert self._link is not None
        try:
            message, fds, _, _ = socket.recv_fds(self._link, MESSAGE_SIZE, len(NAMESPACES) + 1, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            message, fds = b"", []
        if not message:
            raise self._ended_error()
        return json.loads(message), fds

    def _ended_error(self) -> KernelError:
        reason, remedy = "the node's init was killed, and with it every process of the node", "start the programs again"
        return KernelError(errno.ESRCH, "use the node", reason=reason, remedy=remedy, netns=str(self.netns))


def _working_directory() -> str:
    try:
        return str(Path.cwd())
    except FileNotFoundError:  # The working directory was removed.
        return "/"


def read_statuses(path: Path) -> dict[int, tuple[int | None, float]]:
    """Return the result of `Machine.statuses` for the machine that listens on the socket. Raises KernelError."""
    with Netns.current() as unused, Machine(unused, MountOverlay, path=path) as machine:
        return machine.statuses() if machine.join() else {}


def kill_machine(path: Path) -> None:
    """Kill every process of the detached machine that listens on the socket, if there is one. Raises KernelError."""
    with Netns.current() as unused, Machine(unused, MountOverlay, path=path) as machine:
        if machine.join():
            machine.kill()


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Yield a name of the socket `path` that fits into a socket address, which has 108 bytes (unix(7))."""
    if len(os.fsencode(path)) < 100:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
