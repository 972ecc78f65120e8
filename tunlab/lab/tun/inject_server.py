"""InjectServer: writes packets from `tunlab inject` to the TUN that `tunlab dump` is attached to.

Only one process can attach to a TUN. While `tunlab dump` is attached, it listens on a Unix datagram socket beside the
lab's record. Each request is a datagram with the write end of a pipe, to which the server writes an error number, or 0.

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
_RESULT = struct.Struct("=i")


class InjectServer:
    """A Unix socket on which the process attached to a TUN receives packets to inject."""

    def __init__(self, directory: Path, ifname: str) -> None:
        """Listen on the socket, and replace a socket file that a killed process left. Raises KernelError."""
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
            raise KernelError(error.errno or 0, f"listen on {self._path}", reason=error.strerror or "") from error

    def fileno(self) -> int:
        """Return the descriptor for poll(2): readable when a request waits."""
        return self._socket.fileno()

    def serve(self, write: Callable[[bytes], None]) -> Iterator[bytes]:
        """Pass each requested datagram to `write`, report the result to the requester, and yield written datagrams."""
        while True:
            try:
                datagram, descriptors, _, _ = socket.recv_fds(self._socket, _LARGEST + 1, 1)
            except BlockingIOError:
                return
            code = 0
            try:
                write(datagram)
            except KernelError as error:
                code = error.errno or errno.EIO
            for descriptor in descriptors:
                with contextlib.suppress(BrokenPipeError), open(descriptor, "wb", buffering=0) as pipe:  # noqa: PTH123
                    pipe.write(_RESULT.pack(code))
            if not code:
                yield datagram

    def close(self) -> None:
        """Close the socket and remove its path."""
        self._socket.close()
        self._path.unlink(missing_ok=True)


def request_inject(directory: Path, ifname: str, datagram: bytes) -> bool:
    """Ask the process attached to a TUN to write a datagram; return False if none listens.

    Raises KernelError if the kernel refuses the datagram.
    """
    read_end, write_end = os.pipe()
    with open(read_end, "rb", buffering=0) as pipe, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:  # noqa: PTH123
        try:
            with _short(_path(directory, ifname)) as path:
                sender.connect(path)
            socket.send_fds(sender, [datagram], [write_end])
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError as error:
            raise KernelError(error.errno or 0, f"inject into {ifname}", reason=error.strerror or "") from error
        finally:
            os.close(write_end)
        result = pipe.read(_RESULT.size)
    if len(result) < _RESULT.size:  # the server's process exited before it sent the result
        return False
    code: int = _RESULT.unpack(result)[0]
    if code:
        raise KernelError(code, f"inject into {ifname}", reason=os.strerror(code))
    return True


def _path(directory: Path, ifname: str) -> Path:
    return directory / f"{ifname}.inject"


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """Yield a short alias of a path: the address of a Unix socket has at most 107 bytes."""
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{path.name}"
    finally:
        os.close(fd)
