"""The control channel: what the application of a device under test does, as its test asks.

A `Control` has one implementation per kind of device: methods of an object, lines to a program, sockets of the kernel.
`DutListener` and `DutConnection` are what tests use.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeVar

from tunlab.dut.process import DeviceProcess
from tunlab.errors import DeviceError
from tunlab.traffic.ports.object_port import ObjectPort
from tunlab.traffic.sockets import SocketFactory

T = TypeVar("T")

REPLY_TIMEOUT = 5.0
"""Seconds in which a program has to reply to a line of the control channel."""
_MAX_READ = 65536


class Control(Protocol):
    """The application of a device under test. No method waits. A handle is a listening socket or a connection."""

    def listen(self, port: int) -> Any:
        """Listen on a port, and return a handle."""

    def accept(self, listener: Any) -> Any | None:
        """Return the handle of the next connection; None if there is none yet."""

    def connect(self, address: str, port: int) -> Any:
        """Open a connection, without waiting for the handshake, and return its handle."""

    def send(self, connection: Any, data: bytes) -> int:
        """Send data; return how many bytes there was room for."""

    def read(self, connection: Any, count: int) -> bytes | None:
        """Return up to `count` bytes that have arrived; b"" if there are none yet, None at the end of the stream."""

    def close(self, connection: Any) -> None:
        """Close the connection: a FIN follows the data."""

    def abort(self, connection: Any) -> None:
        """Reset the connection."""


class ObjectControl:
    """The control channel to an object: it has `listen`, `accept`, `connect`, and its connections the other methods."""

    def __init__(self, stack: Any, port: ObjectPort) -> None:
        self._stack, self._port = stack, port

    def _call(self, owner: Any, name: str, *arguments: object) -> Any:
        method = getattr(owner, name, None)
        if method is None:
            remedy = "write listen, accept and connect, and send, read, close and abort of a connection"
            raise DeviceError(self._port.name, f"has no method {name}() for the control channel", remedy=remedy)
        result = self._port.call(method, *arguments)
        self._port.poll()
        return result

    def listen(self, port: int) -> Any:
        """Call `listen(port)`."""
        self._call(self._stack, "listen", port)
        return port

    def accept(self, listener: Any) -> Any | None:
        """Call `accept(port)`."""
        return self._call(self._stack, "accept", listener)

    def connect(self, address: str, port: int) -> Any:
        """Call `connect(address, port)`."""
        return self._call(self._stack, "connect", address, port)

    def send(self, connection: Any, data: bytes) -> int:
        """Call `send(data)` of the connection."""
        return int(self._call(connection, "send", data))

    def read(self, connection: Any, count: int) -> bytes | None:
        """Call `read(count)` of the connection; None if there is nothing and its `peer_closed` is true."""
        data: bytes = self._call(connection, "read", count)
        return data or (None if connection.peer_closed else b"")

    def close(self, connection: Any) -> None:
        """Call `close()` of the connection."""
        self._call(connection, "close")

    def abort(self, connection: Any) -> None:
        """Call `abort()` of the connection."""
        self._call(connection, "abort")


class LineControl:
    """The control channel to a program: a line per request, and one line in reply, over a stream socket.

    Requests are `listen PORT`, `accept ID`, `connect ADDRESS PORT`, `send ID HEX`, `read ID COUNT`, `close ID` and
    `abort ID`. Replies are `ok` with a value, as far as there is one, `end` at the end of a stream, or `error TEXT`.
    """

    def __init__(self, opened: socket.socket, process: DeviceProcess) -> None:
        self._socket, self._process, self._received = opened, process, b""
        opened.settimeout(REPLY_TIMEOUT)

    def _ask(self, *words: object) -> str | None:
        request = " ".join(map(str, words))
        try:
            self._socket.sendall(f"{request}\n".encode())
            while b"\n" not in self._received:
                part = self._socket.recv(_MAX_READ)
                if not part:
                    raise ConnectionResetError
                self._received += part
        except TimeoutError:
            problem = f"did not reply to {request!r:.80} within {REPLY_TIMEOUT:g} s"
        except OSError:
            self._process.wait_for_end(1.0)
            problem = f"has closed its control channel before it replied to {request!r:.80}"
        else:
            line, _, self._received = self._received.partition(b"\n")
            status, _, value = line.decode(errors="replace").partition(" ")
            if status in ("ok", "end"):
                return None if status == "end" else value
            problem = f"replied {line.decode(errors='replace')!r:.80} to {request!r:.80}"
        raise self._process.error(problem, "reply to each line of the control channel with one line")

    def listen(self, port: int) -> Any:
        """Ask `listen PORT`."""
        return self._ask("listen", port)

    def accept(self, listener: Any) -> Any | None:
        """Ask `accept ID`."""
        return self._ask("accept", listener) or None

    def connect(self, address: str, port: int) -> Any:
        """Ask `connect ADDRESS PORT`."""
        return self._ask("connect", address, port)

    def send(self, connection: Any, data: bytes) -> int:
        """Ask `send ID HEX`."""
        return int(self._ask("send", connection, data.hex()) or 0)

    def read(self, connection: Any, count: int) -> bytes | None:
        """Ask `read ID COUNT`."""
        value = self._ask("read", connection, count)
        return None if value is None else bytes.fromhex(value)

    def close(self, connection: Any) -> None:
        """Ask `close ID`."""
        self._ask("close", connection)

    def abort(self, connection: Any) -> None:
        """Ask `abort ID`."""
        self._ask("abort", connection)


class KernelControl:
    """The control channel to the kernel: sockets of its namespace, which `close` closes."""

    def __init__(self, sockets: SocketFactory, name: str, enter: Callable[[socket.socket], object]) -> None:
        """Make sockets with `sockets`; `enter` has each of them closed when the device is closed."""
        self._sockets, self._name, self._enter = sockets, name, enter

    def _own(self, opened: socket.socket) -> socket.socket:
        opened.setblocking(False)
        self._enter(opened)
        return opened

    def listen(self, port: int) -> Any:
        """Open a listening socket."""
        return self._own(self._sockets.listen(port, "", 16))

    def accept(self, listener: Any) -> Any | None:
        """Accept a connection."""
        try:
            return self._own(listener.accept()[0])
        except BlockingIOError:
            return None

    def connect(self, address: str, port: int) -> Any:
        """Open a socket and send its SYN."""
        return self._own(self._sockets.connect(address, port, 0))

    def send(self, connection: Any, data: bytes) -> int:
        """Send what there is room for."""
        return self._try(lambda: int(connection.send(data)), 0)

    def read(self, connection: Any, count: int) -> bytes | None:
        """Receive what has arrived."""
        nothing: bytes | None = b""
        return self._try(lambda: connection.recv(count) or None, nothing)

    def _try(self, operate: Callable[[], T], nothing: T) -> T:
        try:
            return operate()
        except OSError as error:
            # ENOTCONN: the handshake is not complete yet
            if error.errno in (errno.EAGAIN, errno.ENOTCONN):
                return nothing
            raise DeviceError(self._name, f"reports that the connection failed: {os.strerror(error.errno or 0)}",
                              remedy="see the packets in the report") from None  # fmt: skip

    def close(self, connection: Any) -> None:
        """Send a FIN; the socket still reads."""
        try:
            connection.shutdown(socket.SHUT_WR)
        except OSError:  # the connection has ended
            connection.close()

    def abort(self, connection: Any) -> None:
        """Close the socket with a reset (SO_LINGER of 0 seconds, socket(7))."""
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()


Wait = Callable[[Callable[[], Any], str, float | None], Any]
"""A function that calls another one until its result is true, and raises ExpectationError at the timeout."""


class DutConnection:
    """A connection of the application of a device under test."""

    def __init__(self, control: Control, handle: Any, wait: Wait) -> None:
        self._control, self._handle, self._wait = control, handle, wait

    def send(self, data: bytes, *, timeout: float | None = None) -> None:
        """Have the application send data. Raises ExpectationError if its buffer stays full until the timeout."""
        rest = memoryview(data)
        while rest:
            attempt = partial(self._control.send, self._handle, bytes(rest))
            rest = rest[self._wait(attempt, f"room to send {len(rest)} bytes", timeout) :]

    def read(self, count: int = _MAX_READ, *, timeout: float | None = None) -> bytes:
        """Have the application read, and return up to `count` bytes; b"" at the end of the stream.

        Raises ExpectationError if no data arrives until the timeout.
        """
        found: list[bytes] = []

        def attempt() -> bool:
            data = self._control.read(self._handle, count)
            if data is None or data:
                found.append(data or b"")
            return bool(found)

        self._wait(attempt, "data for the application", timeout)
        return found[0]

    def close(self) -> None:
        """Have the application close the connection: a FIN follows the data."""
        self._control.close(self._handle)

    def abort(self) -> None:
        """Have the application reset the connection."""
        self._control.abort(self._handle)


class DutListener:
    """A listening port of the application of a device under test."""

    def __init__(self, control: Control, port: int, wait: Wait) -> None:
        self._control, self._wait, self._port = control, wait, port
        self._handle = control.listen(port)

    def accept(self, *, timeout: float | None = None) -> DutConnection:
        """Have the application accept the next connection. Raises ExpectationError at the timeout."""
        wanted = f"a connection to accept on port {self._port}"
        handle = self._wait(lambda: self._control.accept(self._handle), wanted, timeout)
        return DutConnection(self._control, handle, self._wait)
