"""The guardian: a small process that kills the programs that a dead tunlab process left in its namespaces.

A program in a namespace is started by a short-lived thread, so PR_SET_PDEATHSIG would kill it too early, and a
namespace exists while a program is in it. The guardian holds a descriptor of each namespace with programs. When the
tunlab process ends, however it ends, the guardian sends SIGKILL to every process in these namespaces and exits.
It also forks the init of each node (`node_init`), because only a process with one thread can create a PID namespace.

Source: pidfd_open(2), unix(7) for SCM_RIGHTS.
The guardian runs this file with `python -I -S`, so it may import only modules that import the standard library only.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import resource
import select
import signal
import socket
import struct
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from tunlab.kernel.namespace.processes import Identity, kill_processes, namespace_identity

_OWNER, _WATCH, _FORGET, _CLOSE, _CLOSED, _INIT = b"t", b"w", b"f", b"c", b"d", b"i"
_IDENTITY = struct.Struct("=QQ")
_PROGRAM = (
    f"import sys; sys.path.insert(0, {str(Path(__file__).parents[3])!r});"
    " from tunlab.kernel.namespace.guardian import main; main()"
)
_BATCH = 8  # descriptors per message: each message wakes up the guardian process, so several share one


# ---- functions of the tunlab process ----------------------------------------------------------------------------


class _State:
    """The connection of this process to its guardian; a forked child starts without one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connection: socket.socket | None = None
        self.pid = 0
        self.watched: set[Identity] = set()
        self.closing: list[int] = []


_state = _State()


def watch(fd: int) -> None:
    """Have the guardian kill the programs in the namespace of `fd` when this process ends.

    The first call starts the guardian without waiting for it, because the socket buffers the messages. Raises OSError
    if the guardian cannot be started.
    """
    with _state.lock:
        identity = namespace_identity(fd)
        if identity in _state.watched:
            return
        _send(_WATCH, [fd])
        _state.watched.add(identity)


def start_init(control: int, namespaces: Sequence[int]) -> None:
    """Have the guardian fork the init of a node, which then answers on the socket of `control`.

    Args:
        control: The init's end of a SOCK_SEQPACKET socket pair.
        namespaces: Descriptors of the network, UTS and mount namespace.

    Raises:
        OSError: The guardian cannot be started.
    """
    with _state.lock:
        _send(_INIT, [control, *namespaces])


def _send(message: bytes, fds: list[int]) -> None:
    if _state.connection is None:
        _start()
    try:
        socket.send_fds(_connection(), [message], fds)
    except (BrokenPipeError, ConnectionResetError):  # The guardian process was killed.
        _end()
        _start()
        socket.send_fds(_connection(), [message], fds)


def forget(identity: Identity) -> None:
    """Undo `watch`, because the namespace is closed or is to outlive this process."""
    with _state.lock:
        if identity in _state.watched:
            _state.watched.remove(identity)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # The guardian process was killed.
                _connection().send(_FORGET + _IDENTITY.pack(*identity))


def close_in_guardian(fd: int) -> None:
    """Close a descriptor later in the guardian, so that this process does not wait for the kernel.

    Closing a packet socket takes 10 to 25 ms (synchronize_net in packet_release). Without a guardian the descriptor is
    closed here.
    """
    with _state.lock:
        _state.closing.append(fd)
        if len(_state.closing) == _BATCH:
            _hand_over()


def _hand_over() -> None:
    with contextlib.suppress(OSError):  # The guardian process cannot be started, or too many descriptors are in flight.
        if _state.connection is None:
            _start()
        socket.send_fds(_connection(), [_CLOSE], _state.closing, socket.MSG_DONTWAIT)
    while _state.closing:
        os.close(_state.closing.pop())
    # Tell the guardian process to close its copies only now, after this process has closed its own: closing a socket's
    # last descriptor takes long, so the guardian process should do that.
    if _state.connection is not None:
        with contextlib.suppress(OSError):
            _state.connection.send(_CLOSED, socket.MSG_DONTWAIT)


def guardian_pid() -> int:
    """Return the guardian's process id; 0 if there is none."""
    return _state.pid


def descriptors() -> set[int]:
    """Return the descriptors open for the guardian: its socket, and those waiting to be closed."""
    with _state.lock:
        return {*_state.closing, *([_state.connection.fileno()] if _state.connection is not None else [])}


def stop() -> None:
    """End the guardian process, which first kills the processes in the watched namespaces."""
    with _state.lock:
        if _state.connection is not None:
            _end()


def _connection() -> socket.socket:
    assert _state.connection is not None
    return _state.connection


def _start() -> None:
    # SOCK_SEQPACKET keeps messages and their descriptors separate.
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, contextlib.ExitStack() as stack:
        stack.callback(ours.close)
        own_pidfd = os.pidfd_open(os.getpid())
        stack.callback(os.close, own_pidfd)
        # The guardian process gets a pidfd of this process. End of file on the socket is not enough: a forked child
        # holds a copy of the socket and may outlive this process.
        socket.send_fds(ours, [_OWNER], [own_pidfd])
        # Descriptors that Python opened are close-on-exec; main() closes any others that the guardian process inherits.
        # Call setsid, because Ctrl-C signals the terminal's foreground process group, and the guardian process must
        # outlive this process.
        _state.pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", "-c", _PROGRAM],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, theirs.fileno(), 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=(),
        )
        stack.pop_all()
        os.close(own_pidfd)
    _state.connection = ours


def _end() -> None:
    # Call shutdown before close, because a forked child's copy of the socket would delay the end of file.
    with contextlib.suppress(OSError):
        _connection().shutdown(socket.SHUT_RDWR)
    _connection().close()
    with contextlib.suppress(ChildProcessError):  # Another call of waitpid(-1) has reaped the guardian process.
        os.waitpid(_state.pid, 0)
    _state.connection, _state.pid = None, 0
    _state.watched.clear()


def _after_fork_in_child() -> None:
    global _state
    if _state.connection is not None:
        _state.connection.close()
    for fd in _state.closing:
        os.close(fd)
    _state = _State()


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(stop)


# ---- functions of the guardian process --------------------------------------------------------------------------


def _serve(link: socket.socket, limits: tuple[int, int]) -> dict[Identity, int]:
    """Handle messages until the tunlab process ends; return the descriptors of the watched namespaces."""
    watched: dict[Identity, int] = {}
    closing: list[int] = []
    owner = -1
    poll = select.poll()
    poll.register(link, select.POLLIN)
    while True:
        ready = [fd for fd, _ in poll.poll()]
        if link.fileno() not in ready:  # The tunlab process has ended, and its last message has been read.
            return watched
        try:
            message, fds, _, _ = socket.recv_fds(link, 1 + _IDENTITY.size, _BATCH)
        except ConnectionResetError:
            return watched
        if message == _OWNER:
            owner = fds[0]
            poll.register(owner, select.POLLIN)
        elif message == _WATCH:
            watched[namespace_identity(fds[0])] = fds[0]
        elif message == _CLOSE:
            closing += fds
        elif message == _CLOSED:
            _close(closing)
            closing = []
        elif message == _INIT:
            # Imported here, because only labs need this module and the import takes time.
            from tunlab.kernel.namespace.node_init import fork_init

            fork_init(fds, owner, limits)
        elif message.startswith(_FORGET):
            fd = watched.pop(_IDENTITY.unpack_from(message, 1), None)
            if fd is not None:
                os.close(fd)
        else:  # End of file: the tunlab process has closed the socket.
            return watched


def _close(fds: list[int]) -> None:
    """Close descriptors in a child process: a second thread would forbid the guardian to create PID namespaces."""
    if not os.fork():
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
            if int(name) not in fds:  # Close namespaces first: for the sockets in `fds` the kernel takes long.
                with contextlib.suppress(OSError):
                    os.close(int(name))
        os._exit(0)
    for fd in fds:
        os.close(fd)


def main() -> None:
    """Run the guardian process, whose standard input is the socket to the tunlab process."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        if int(name) > 2:
            with contextlib.suppress(OSError):
                # The descriptor with which listdir read the directory is closed already.
                os.close(int(name))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Raise the limit of descriptors: the guardian holds one for each watched namespace.
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # With SIG_IGN, the kernel reaps child processes.
    watched = _serve(socket.socket(fileno=0), limits)
    if watched:
        kill_processes(watched.keys(), spare=(os.getpid(),))
    os._exit(0)
