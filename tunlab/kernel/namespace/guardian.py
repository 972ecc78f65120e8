"""The guardian: one small process that ends the programs a dead tunlab process has left in its namespaces.

A program started inside a namespace is the child of a throw-away thread, so PR_SET_PDEATHSIG cannot tie it to us,
and a namespace lives on while a program is in it. The guardian holds a descriptor of each namespace that a program
was started in; when we end, however we end, it sends SIGKILL to whatever lives in one of them, and ends as well.

Source: pidfd_open(2), unix(7) for SCM_RIGHTS, namespaces(7) for a namespace's identity (the device and inode of nsfs).
Rule for editors: this file is also the guardian's whole program, run by `python -I -S`: the standard library only,
and nothing of tunlab.
"""

from __future__ import annotations

import _thread
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
from collections.abc import Collection

Identity = tuple[int, int]

_TESTER, _WATCH, _FORGET, _CLOSE, _CLOSED = b"t", b"w", b"f", b"c", b"d"
_IDENTITY = struct.Struct("=QQ")
_TOGETHER = 8  # descriptors that are handed over at once: each time the guardian wakes up for it


def namespace_identity(fd: int) -> Identity:
    """The identity of the namespace behind a descriptor: (st_dev, st_ino) of nsfs."""
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def process_netns(process: str | int) -> Identity | None:
    """The network namespace of a process; None if it has none any more, or is not ours to look at."""
    try:
        status = os.stat(f"/proc/{process}/ns/net")  # noqa: PTH116
    except OSError:  # a zombie has no namespaces any more
        return None
    return status.st_dev, status.st_ino


def find_processes(identities: Collection[Identity]) -> list[int]:
    """The ids of the processes whose network namespace is one of `identities`, ascending."""
    names = [name for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208
    return sorted(int(name) for name in names if process_netns(name) in identities)


def kill_processes(identities: Collection[Identity], *, spare: Collection[int] = ()) -> tuple[set[int], set[int]]:
    """SIGKILL every process in the namespaces, those born meanwhile too, and wait for their end.

    Returns the ids of those killed, and of those that the kernel would not let us kill.
    """
    killed: set[int] = set()
    refused: set[int] = set()
    while victims := set(find_processes(identities)) - set(spare) - refused:
        with contextlib.ExitStack() as stack:
            dying: list[int] = []
            for pid in victims:
                try:
                    handle = os.pidfd_open(pid)
                except ProcessLookupError:
                    continue
                stack.callback(os.close, handle)
                # From here on the handle means one process; look again, for the number may have changed hands.
                if process_netns(pid) not in identities:
                    continue
                try:
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                except PermissionError:
                    refused.add(pid)
                    continue
                killed.add(pid)
                dying.append(handle)
            for handle in dying:
                poll = select.poll()
                poll.register(handle, select.POLLIN)
                poll.poll()
    return killed, refused


# ---- our side ------------------------------------------------------------------------------------------------------


class _State:
    """What this process knows of its guardian; a forked child starts with none."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.link: socket.socket | None = None
        self.pid = 0
        self.watched: set[Identity] = set()
        self.closing: list[int] = []


_state = _State()


def watch(fd: int) -> None:
    """Have the programs in the namespace behind `fd` killed when this process is gone.

    The guardian is started at the first call, and is not waited for: what is sent before it runs stays in the socket.
    Raises OSError if it cannot be started.
    """
    with _state.lock:
        identity = namespace_identity(fd)
        if identity in _state.watched:
            return
        if _state.link is None:
            _start()
        try:
            socket.send_fds(_linked(), [_WATCH], [fd])
        except (BrokenPipeError, ConnectionResetError):  # somebody has killed the guardian
            _end()
            _start()
            socket.send_fds(_linked(), [_WATCH], [fd])
        _state.watched.add(identity)


def forget(identity: Identity) -> None:
    """Take back `watch`: the namespace is closed, or is handed over to live longer than this process."""
    with _state.lock:
        if identity in _state.watched:
            _state.watched.remove(identity)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # a dead guardian holds nothing
                _linked().send(_FORGET + _IDENTITY.pack(*identity))


def close_in_guardian(fd: int) -> None:
    """Close a descriptor soon, and let the guardian wait for what the kernel does at its end.

    For a packet socket that takes 10 to 25 ms: the kernel waits for every processor to have passed by (synchronize_net
    in packet_release). Where the guardian cannot take it, it is closed here, in that time.
    """
    with _state.lock:
        _state.closing.append(fd)
        if len(_state.closing) == _TOGETHER:
            _hand_over()


def _hand_over() -> None:
    with contextlib.suppress(OSError):  # there is no guardian to be had, or more is on its way than it may hold
        if _state.link is None:
            _start()
        socket.send_fds(_linked(), [_CLOSE], _state.closing, socket.MSG_DONTWAIT)
    while _state.closing:
        os.close(_state.closing.pop())
    # Only now: who closes the last descriptor of a socket is the one who waits.
    if _state.link is not None:
        with contextlib.suppress(OSError):
            _state.link.send(_CLOSED, socket.MSG_DONTWAIT)


def guardian_pid() -> int:
    """The guardian's process id; 0 while there is none."""
    return _state.pid


def descriptors() -> set[int]:
    """What is open here for its sake: the socket that leads to it, and what is about to be closed."""
    with _state.lock:
        return {*_state.closing, *([_state.link.fileno()] if _state.link is not None else [])}


def stop() -> None:
    """End the guardian as at our own end: it kills what is left in the namespaces it watches, and is reaped."""
    with _state.lock:
        if _state.link is not None:
            _end()


def _linked() -> socket.socket:
    assert _state.link is not None
    return _state.link


def _start() -> None:
    # SOCK_SEQPACKET keeps each message, and the descriptor that comes with it, apart from the next.
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, contextlib.ExitStack() as stack:
        stack.callback(ours.close)
        myself = os.pidfd_open(os.getpid())
        stack.callback(os.close, myself)
        # The socket alone would not do: a forked child of ours holds a copy of it and may outlive us.
        socket.send_fds(ours, [_TESTER], [myself])
        # Everything Python opens is close-on-exec; what else we inherited, main() closes.
        # setsid: Ctrl-C goes to the terminal's foreground group and must not take the guardian first.
        _state.pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", __file__],
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
        os.close(myself)
    _state.link = ours


def _end() -> None:
    # shutdown, for a forked child's copy of the socket would hold back the end of file that close() gives.
    with contextlib.suppress(OSError):
        _linked().shutdown(socket.SHUT_RDWR)
    _linked().close()
    with contextlib.suppress(ChildProcessError):  # somebody's waitpid(-1) was faster
        os.waitpid(_state.pid, 0)
    _state.link, _state.pid = None, 0
    _state.watched.clear()


def _after_fork_in_child() -> None:
    global _state
    if _state.link is not None:
        _state.link.close()
    for fd in _state.closing:
        os.close(fd)
    _state = _State()


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(stop)


# ---- the guardian's side -------------------------------------------------------------------------------------------


def _keep_watch(link: socket.socket) -> dict[Identity, int]:
    """Follow the tester until its end; returns the descriptors of the namespaces watched then."""
    watched: dict[Identity, int] = {}
    closing: list[int] = []
    poll = select.poll()
    poll.register(link, select.POLLIN)
    while True:
        ready = [fd for fd, _ in poll.poll()]
        if link.fileno() not in ready:  # the tester is dead, and its last message has been read
            return watched
        try:
            message, fds, _, _ = socket.recv_fds(link, 1 + _IDENTITY.size, _TOGETHER)
        except ConnectionResetError:
            return watched
        if message == _TESTER:
            poll.register(fds[0], select.POLLIN)
        elif message == _WATCH:
            watched[namespace_identity(fds[0])] = fds[0]
        elif message == _CLOSE:
            closing += fds
        elif message == _CLOSED:
            _thread.start_new_thread(_close, (closing,))
            closing = []
        elif message.startswith(_FORGET):
            fd = watched.pop(_IDENTITY.unpack_from(message, 1), None)
            if fd is not None:
                os.close(fd)
        else:  # end of file
            return watched


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def main() -> None:
    """Be the guardian: standard input is the socket."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        if int(name) > 2:
            with contextlib.suppress(OSError):  # the listing's own
                os.close(int(name))
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # one descriptor per namespace watched
    watched = _keep_watch(socket.socket(fileno=0))
    if watched:
        kill_processes(watched.keys(), spare=(os.getpid(),))
    os._exit(0)


if __name__ == "__main__":
    main()
