"""Services on well-known ports: echo, discard, character generator, and HTTP for one file.

The stack calls `update` when a connection may have changed.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from examples.tcp.connection import Connection


class Service(Protocol):
    """The application of one connection."""

    def update(self, connection: Connection) -> None:
        """Read, send or close."""


class Echo:
    """RFC 862: send back everything."""

    def update(self, connection: Connection) -> None:
        """Send back what there is room for."""
        connection.send(connection.read(connection.room))
        _close_after_peer(connection)


class Discard:
    """RFC 863: drop everything."""

    def update(self, connection: Connection) -> None:
        """Read and forget."""
        connection.read()
        _close_after_peer(connection)


class CharacterGenerator:
    """RFC 864: send the printable characters without end, in lines of 72."""

    def __init__(self) -> None:
        self._line = 0

    def update(self, connection: Connection) -> None:
        """Send as many lines as there is room for."""
        connection.read()
        while connection.room >= 74 and not connection.peer_closed:
            connection.send(bytes(32 + (self._line + column) % 95 for column in range(72)) + b"\r\n")
            self._line += 1
        _close_after_peer(connection)


class HttpFile:
    """HTTP/1.0: answer every request with one file (RFC 1945)."""

    def __init__(self, content: bytes) -> None:
        self._head = f"HTTP/1.0 200 OK\r\nContent-Length: {len(content)}\r\n\r\n".encode()
        self._rest = memoryview(self._head + content)
        self._request = b""

    def update(self, connection: Connection) -> None:
        """Send the response once the request's empty line has arrived."""
        self._request += connection.read()
        if b"\r\n\r\n" not in self._request:
            _close_after_peer(connection)
            return
        self._rest = self._rest[connection.send(bytes(self._rest[: connection.room])) :]
        if not self._rest:
            connection.close()


def _close_after_peer(connection: Connection) -> None:
    if connection.peer_closed and not connection.readable:
        connection.close()


SERVICES: Mapping[int, Callable[[], Service]] = {7: Echo, 9: Discard, 19: CharacterGenerator}
"""The services that a host offers by default, by port."""
