"""The init of a node: process 1 of the node's PID namespace. When it ends, the kernel kills every process of the node.

It starts the node's programs, keeps the head and the tail of their output, and collects the exit status of every
process of the node. It ends with the tunlab process that had it started, unless that process has sent "detach".
The guardian forks it, so this module may import only the standard library and `tunlab.kernel.libc`.

A request is JSON in one message of a SOCK_SEQPACKET socket, and has one reply:

    {"do": "spawn"}         with a memory file of JSON (arguments, environment, …) and a file for the output
    {"do": "status"}        the exit status of each program, after the output so far is in the files
    {"do": "join"}          descriptors of the namespaces
    {"do": "kill"}          kill every process but the init, and forget the programs
    {"do": "detach"}        with a listening socket: outlive the tunlab process, and serve requests there

Source: pid_namespaces(7), pidfd_open(2), unix(7) for SCM_RIGHTS.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import select
import signal
import socket
import time
from typing import Any, NoReturn

from tunlab.kernel import libc

PROCESS_NAME = b"tunlab-init"
"""The name of the process in ps(1)."""

HEAD, TAIL, LIMIT = 1 << 19, 1 << 19, 1 << 21
"""Bytes of a program's output: a file of `LIMIT` bytes is cut down to its first `HEAD` and last `TAIL` bytes."""

_READS, _CHUNK = 32, 1 << 16
MOST_OUTPUT = LIMIT + _CHUNK
"""Bytes that the file has at most, when it is cut down after a read."""

MESSAGE_SIZE = 1 << 16
NAMESPACES = (libc.CLONE_NEWNET, libc.CLONE_NEWUTS, libc.CLONE_NEWNS, libc.CLONE_NEWPID)
"""The namespaces of a node, in the order in which "join" returns them and `setns` enters them."""

Limits = tuple[int, int]


def fork_init(fds: list[int], owner: int, limits: Limits) -> None:
    """Fork the init of a node; the calling process must have one thread.

    Args:
        fds: The socket for requests, then the network, UTS and mount namespace; they are closed.
        owner: A pidfd of the tunlab process.
        limits: The programs' RLIMIT_NOFILE.
    """
    control, *namespaces = fds
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc.unshare(libc.CLONE_NEWPID)
        if not os.fork():
            _run(control, namespaces, owner, limits)
    except OSError as error:
        with socket.socket(fileno=os.dup(control)) as link:
            _reply(link, {"errno": error.errno, "operation": "create a PID namespace"})
    finally:
        with contextlib.suppress(OSError):  # There is nothing to undo if no PID namespace was created.
            libc.setns(own, libc.CLONE_NEWPID)
        for fd in (own, *fds):
            os.close(fd)


def _run(control: int, namespaces: list[int], owner: int, limits: Limits) -> NoReturn:
    try:
        link = socket.socket(fileno=control)
        try:
            namespaces.append(os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC))
            for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
                if int(name) not in (1, 2, control, owner, *namespaces):
                    with contextlib.suppress(OSError):  # listdir has closed its own descriptor.
                        os.close(int(name))
            os.open(os.devnull, os.O_RDONLY)  # /dev/null becomes descriptor 0, the lowest free number.
            os.setsid()
            comm = os.open("/proc/self/comm", os.O_WRONLY)  # A text file would import its codec in every init.
            os.write(comm, PROCESS_NAME)
            os.close(comm)
            # Enter the mount namespace last: the node's /proc may belong to an earlier init, which has ended.
            for kind, fd in zip(NAMESPACES[:3], namespaces[:3], strict=True):
                libc.setns(fd, kind)
            os.chdir("/")
        except OSError as error:
            _reply(link, {"errno": error.errno, "operation": "enter the namespaces of the node"})
            os._exit(1)
        hidden = 0
        try:
            libc.mount("proc", "/proc", "proc", libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC)
        except OSError as error:  # A user namespace may not mount proc if parts of the machine's /proc are hidden.
            hidden = error.errno or errno.EPERM
        init = _Init(link, namespaces, owner, limits)
        _reply(link, {"proc": hidden}, [namespaces[-1], init.own])
        init.serve()
    finally:
        os._exit(1)


def _reply(link: socket.socket, content: dict[str, Any], fds: list[int] | None = None) -> None:
    with contextlib.suppress(OSError):  # The other side has closed the socket.
        socket.send_fds(link, [json.dumps(content).encode()], fds or [])


class BoundedFile:
    """A file for a program's output that keeps its head and tail, and says how many bytes are missing between them."""

    def __init__(self, fd: int) -> None:
        """Write to the end of an open file."""
        self.fd = fd
        self.size = os.fstat(fd).st_size
        self.removed = 0

    def write(self, data: bytes) -> None:
        """Append bytes."""
        self.size += os.pwrite(self.fd, data, self.size)
        if self.size >= LIMIT:
            self._compact()

    def _compact(self) -> None:
        tail = os.pread(self.fd, TAIL, self.size - TAIL)
        tail = tail[tail.find(b"\n") + 1 :]  # Let the tail begin with a whole line.
        marker = len(self._marker()) if self.removed else 0
        self.removed += self.size - HEAD - marker - len(tail)
        rest = self._marker() + tail
        os.ftruncate(self.fd, HEAD)
        self.size = HEAD + os.pwrite(self.fd, rest, HEAD)

    def _marker(self) -> bytes:
        return b"\n[tunlab left out %d bytes]\n" % self.removed


class _Program:
    """A program that the init has started."""

    def __init__(self, request: dict[str, Any], output: int) -> None:
        self.request = request
        self.file = BoundedFile(output)
        self.pid = 0
        self.pipe = -1
        self.status: int | None = None
        self.ended = 0.0

    def drain(self) -> None:
        """Write the output that is in the pipe to the file."""
        for _ in range(_READS):  # Limit the number of reads: a program may write faster than they empty the pipe.
            try:
                data = os.read(self.pipe, _CHUNK) if self.pipe >= 0 else b""
            except BlockingIOError:
                return
            if not data:
                self.close()
                return
            with contextlib.suppress(OSError):  # The disk is full.
                self.file.write(data)

    def close(self) -> None:
        if self.pipe >= 0:
            os.close(self.pipe)
            self.pipe = -1


class _Init:
    """The state of the init and its loop."""

    def __init__(self, link: socket.socket, namespaces: list[int], owner: int, limits: Limits) -> None:
        self.link, self.namespaces, self.owner, self.limits = link, namespaces, owner, limits
        self.own = os.pidfd_open(os.getpid())
        self.listener: socket.socket | None = None
        self.clients = {link.fileno(): link}
        self.programs: list[_Program] = []
        self.poll = select.poll()
        for fd in (link.fileno(), owner):
            self.poll.register(fd, select.POLLIN)
        self.woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        os.set_blocking(wake, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self.poll.register(self.woken, select.POLLIN)

    def serve(self) -> None:
        """Handle requests until the init is to end."""
        while True:
            for fd, _ in self.poll.poll():
                if fd == self.woken:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self.woken, 4096)
                    self.reap()
                elif fd == self.owner:
                    return
                elif self.listener is not None and fd == self.listener.fileno():
                    client, _ = self.listener.accept()
                    self.clients[client.fileno()] = client
                    self.poll.register(client, select.POLLIN)
                elif fd in self.clients:
                    if not self.answer(self.clients[fd]) and self.listener is None:
                        return  # The tunlab process has closed the node.
                else:
                    for program in self.programs:
                        if program.pipe == fd:
                            self.drain(program)

    def drain(self, program: _Program) -> None:
        pipe = program.pipe
        program.drain()
        if program.pipe < 0 <= pipe:
            self.poll.unregister(pipe)

    def reap(self) -> None:
        """Collect the exit status of every process that has ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for program in self.programs:
                if program.pid == pid:
                    program.status, program.ended = os.waitstatus_to_exitcode(status), time.time()

    def answer(self, client: socket.socket) -> bool:
        """Handle one request; return False if the client has closed its socket."""
        try:
            message, fds, _, _ = socket.recv_fds(client, MESSAGE_SIZE, 4, socket.MSG_CMSG_CLOEXEC)
        except OSError:
            message, fds = b"", []
        if not message:
            self.poll.unregister(client)
            del self.clients[client.fileno()]
            client.close()
            return False
        reply: dict[str, Any] = {}
        answered, temporary = list[int](), list[int]()
        match json.loads(message)["do"]:
            case "spawn":
                reply = self.spawn(*fds)
                fds = []
                if "errno" not in reply:
                    answered = temporary = [os.pidfd_open(self.programs[-1].pid)]
            case "status":
                self.reap()
                for program in self.programs:
                    self.drain(program)
                reply["programs"] = [
                    {"number": each.request["number"], "status": each.status, "ended": each.ended}
                    for each in self.programs
                ]
            case "join":
                answered = [*self.namespaces, self.own]
            case "kill":
                self.kill()
            case "detach":
                self.listener = socket.socket(fileno=fds.pop())
                self.poll.register(self.listener, select.POLLIN)
                self.poll.unregister(self.owner)
                os.close(self.owner)
                self.owner = -1
        _reply(client, reply, answered)
        for fd in (*fds, *temporary):
            os.close(fd)
        return True

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # Only this process is left, which kill(2) does not signal.
            os.kill(-1, signal.SIGKILL)
        for program in self.programs:
            if program.status is None:
                os.waitpid(program.pid, 0)
            self.drain(program)
            if program.pipe >= 0:
                self.poll.unregister(program.pipe)
                program.close()
            os.close(program.file.fd)
        self.programs.clear()
        self.reap()

    def spawn(self, content: int, output: int) -> dict[str, Any]:
        with open(content, encoding="utf-8", errors="surrogateescape") as file:
            request = json.load(file)
        program = _Program(request, output)
        program.pipe, write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(program.pipe, False)
        failures, report = os.pipe2(os.O_CLOEXEC)
        try:
            program.pid = os.fork()
            if not program.pid:
                _execute(request, write, report, self.limits)
        except OSError as error:
            failure = f"{error.errno} fork".encode()
        else:
            os.close(report)
            report = -1
            failure = os.read(failures, 4096)
        finally:
            for fd in (write, failures, report):
                if fd >= 0:
                    os.close(fd)
        if failure:
            program.close()
            os.close(output)
            number, _, step = failure.decode().partition(" ")
            return {"errno": int(number), "operation": step}
        self.programs.append(program)
        self.poll.register(program.pipe, select.POLLIN)
        return {}


def _execute(request: dict[str, Any], output: int, report: int, limits: Limits) -> NoReturn:
    """Execute the program in the forked child; on an error, write its number and the failed step to `report`."""
    step = "run"
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        os.setsid()
        for fd in (1, 2):
            os.dup2(output, fd)
        step = "user"
        if request["user"]:
            _become(request["user"])
        step = "directory"
        os.chdir(request["directory"])
        step = "run"
        arguments = request["arguments"]
        os.execvpe(arguments[0], arguments, request["environment"])
    except KeyError:
        os.write(report, f"{errno.ENOENT} {step}".encode())
    except OSError as error:
        os.write(report, f"{error.errno} {step}".encode())
    finally:
        os._exit(127)


def _become(user: str) -> None:
    import grp
    import pwd

    name, _, group = user.partition(":")
    entry = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    gid = entry.pw_gid
    if group:
        gid = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    os.initgroups(entry.pw_name, gid)
    os.setgid(gid)
    os.setuid(entry.pw_uid)
