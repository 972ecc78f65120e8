"""The standard streams of a container, over one connection to its engine.

Source: the Docker Engine API, ContainerAttach: each piece of output has a header of eight octets: which stream, three
zeros, its length. What we send is the container's standard input, octet by octet.
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
    """What a container prints, as pieces, and its standard input. Reading and writing may be two threads'."""

    def __init__(self, connection: Any) -> None:
        """Take what the SDK's attach_socket gives: a SocketIO, a TLS socket, or a process that ssh is in."""
        self._connection = connection
        self._door = getattr(connection, "_sock", connection)
        # The SDK's timeout is for answers: a test may be silent for longer.
        self._door.settimeout(None)
        self._closed = False

    @property
    def door(self) -> Any:
        """What octets go through: a socket, or what the SDK takes for one over TLS and ssh."""
        return self._door

    def pieces(self) -> Iterator[tuple[Stream, bytes]]:
        """Which stream, and what came; ends with the container, or when the connection does."""
        while header := self._read(_HEADER.size):
            if len(header) < _HEADER.size:
                return
            stream, length = _HEADER.unpack(header)
            while length:
                piece = self._read(min(length, _LARGEST_READ))
                if not piece:
                    return
                length -= len(piece)
                yield ("err" if stream == 2 else "out"), piece

    def send(self, octets: bytes) -> None:
        """Write to its standard input. Raises OSError if it has gone."""
        self._door.sendall(octets)

    def end_input(self) -> None:
        """Close its standard input; what it prints still comes."""
        process = getattr(self._door, "proc", None)
        if process is not None:  # the SDK's socket over ssh has no shutdown
            process.stdin.close()
            return
        with contextlib.suppress(OSError):
            self._door.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close all of it; a reader in another thread comes to the end."""
        if self._closed:
            return
        self._closed = True
        if getattr(self._door, "proc", None) is not None:
            from tunlab.engines.connection.ssh_client import close_ssh_socket

            close_ssh_socket(self._door)
            return
        with contextlib.suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        # The response reads through the same descriptor, and the SDK's connection pool holds the socket itself.
        response = getattr(self._connection, "_response", None)
        for each in (response, self._connection, self._door):
            with contextlib.suppress(OSError, ValueError):
                if each is not None:
                    each.close()

    def _read(self, octets: int) -> bytes:
        """Exactly so many, or fewer at the end; over ssh a read waits until it has all that it asks for."""
        got = bytearray()
        while len(got) < octets:
            try:
                piece = self._door.recv(octets - len(got))
            except (OSError, ValueError):  # closed by another thread, or by the engine's end
                break
            if not piece:
                break
            got += piece
        return bytes(got)
