"""The door of a lab's TUN: through it, another tunlab writes to a device that this one is attached to.

A TUN has one descriptor. While `tunlab dump` reads the device it holds that, and listens on a Unix datagram socket
beside the lab's state for what `tunlab inject` would have it write. Each message brings the datagram's octets and the
writing end of a pipe, on which the error number goes back, 0 for none.

Source: unix(7) for SCM_RIGHTS.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from tunlab.errors import KernelError

_LARGEST = 65_535
_ANSWER = struct.Struct("=i")


class InjectServer:
    """The listening side; the process that is attached to the device owns the name."""

    def __init__(self, directory: Path, ifname: str) -> None:
        """Open it, in the place of one whose owner has died. Raises KernelError."""
        self._path = _path(directory, ifname)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._path.unlink(missing_ok=True)
            with _short(self._path) as path:
                self._socket.bind(path)
            self._path.chmod(stat.S_IRUSR | stat.S_IWUSR)
            self._socket.setblocking(False)
        except OSError as error:
            self._socket.close()
            raise KernelError(error.errno or 0, f"open the door {self._path}", reason=error.strerror or "") from error

    def fileno(self) -> int:
        """For poll(2): readable when somebody knocks."""
        return self._socket.fileno()

    def answer(self, write: Callable[[bytes], None]) -> Iterator[bytes]:
        """Write what waits by `write`, each with an answer to its sender; gives what was written, one at a time."""
        while True:
            try:
                octets, descriptors, _, _ = socket.recv_fds(self._socket, _LARGEST + 1, 1)
            except BlockingIOError:
                return
            code = 0
            try:
                write(octets)
            except KernelError as error:
                code = error.errno or errno.EIO
            for descriptor in descriptors:
                with contextlib.suppress(BrokenPipeError), open(descriptor, "wb", buffering=0) as pipe:  # noqa: PTH123
                    pipe.write(_ANSWER.pack(code))
            if not code:
                yield octets

    def close(self) -> None:
        """Close it and remove its name."""
        self._socket.close()
        self._path.unlink(missing_ok=True)


def request_inject(directory: Path, ifname: str, octets: bytes) -> bool:
    """Have whoever reads the device write a datagram to it; False where nobody listens.

    Raises KernelError for what the kernel did not take.
    """
    answers, theirs = os.pipe()
    with open(answers, "rb", buffering=0) as pipe, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:  # noqa: PTH123
        try:
            with _short(_path(directory, ifname)) as path:
                sender.connect(path)
            socket.send_fds(sender, [octets], [theirs])
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError as error:
            raise KernelError(error.errno or 0, f"inject into {ifname}", reason=error.strerror or "") from error
        finally:
            os.close(theirs)
        answer = pipe.read(_ANSWER.size)
    if len(answer) < _ANSWER.size:  # it has ended before it came to that
        return False
    code: int = _ANSWER.unpack(answer)[0]
    if code:
        raise KernelError(code, f"inject into {ifname}", reason=os.strerror(code))
    return True


def _path(directory: Path, ifname: str) -> Path:
    return directory / f"{ifname}.door"


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """The path in a form that fits a socket's address, which holds 107 octets."""
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{path.name}"
    finally:
        os.close(fd)
