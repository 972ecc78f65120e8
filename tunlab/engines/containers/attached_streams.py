"""The standard streams of a container, over one connection to its engine.

Output arrives in frames with an 8-byte header: stream number, three zero bytes, payload length. Input has no frames.
Source: the Docker Engine API, ContainerAttach.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

from tunlab.kernel.closeable import Closeable

Stream: TypeAlias = Literal["out", "err"]

_HEADER = struct.Struct(">BxxxI")
_LARGEST_READ = 65_536


class AttachedStreams(Closeable):
    """The standard input, output and error of a container. One thread may read while another writes."""

    def __init__(self, connection: Any) -> None:
        """Wrap the result of the SDK's attach_socket: a SocketIO, a TLS socket, or an SSHSocket."""
        self._connection = connection
        self._socket = getattr(connection, "_sock", connection)
        # The SDK sets its timeout for responses on the socket, but a test may print nothing for longer.
        self._socket.settimeout(None)
        self._closed = False

    @property
    def socket(self) -> Any:
        """The socket; over TLS and ssh, the SDK's object with a socket's methods."""
        return self._socket

    def read_output(self) -> Iterator[tuple[Stream, bytes]]:
        """Yield (stream, data) until the container exits or the connection closes."""
        while header := self._read(_HEADER.size):
            if len(header) < _HEADER.size:
                return
            stream, length = _HEADER.unpack(header)
            while length:
                data = self._read(min(length, _LARGEST_READ))
                if not data:
                    return
                length -= len(data)
                yield ("err" if stream == 2 else "out"), data

    def send(self, data: bytes) -> None:
        """Write to the container's standard input. Raises OSError if the connection is closed."""
        self._socket.sendall(data)

    def close_stdin(self) -> None:
        """Close the container's standard input; its output can still be read."""
        process = getattr(self._socket, "proc", None)
        if process is not None:  # The SDK's SSHSocket cannot be shut down in one direction.
            process.stdin.close()
            return
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the streams; a `read_output` in another thread ends."""
        if self._closed:
            return
        self._closed = True
        if getattr(self._socket, "proc", None) is not None:
            from tunlab.engines.connection.ssh_client import close_ssh_socket

            close_ssh_socket(self._socket)
            return
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        # Close the HTTP response too, because it shares the socket's descriptor and the SDK's connection pool keeps it
        # open.
        response = getattr(self._connection, "_response", None)
        for each in (response, self._connection, self._socket):
            with contextlib.suppress(OSError, ValueError):
                if each is not None:
                    each.close()

    def _read(self, size: int) -> bytes:
        """Return `size` bytes, or fewer at the end of the stream."""
        received = bytearray()
        while len(received) < size:
            try:
                data = self._socket.recv(size - len(received))
            except (OSError, ValueError):  # The connection was closed by another thread or by the engine.
                break
            if not data:
                break
            received += data
        return bytes(received)
