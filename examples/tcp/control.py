"""The control channel of a device under test: a line per request, and a line in reply (`dut.listen`, `dut.connect`)."""

import socket
from itertools import count

from examples.tcp.stack import Stack


class ControlServer:
    """The application of a stack, which does what the lines on a stream socket ask."""

    def __init__(self, stack: Stack, descriptor: int) -> None:
        """Serve the socket with this descriptor."""
        self.socket = socket.socket(fileno=descriptor)
        self._stack = stack
        self._received = b""
        self._numbers = count(1)
        self._ports, self._connections = {}, {}

    def serve(self) -> None:
        """Read what has arrived, and reply to each complete line."""
        self._received += self.socket.recv(65536)
        while b"\n" in self._received:
            line, _, self._received = self._received.partition(b"\n")
            try:
                reply = self._do(*line.decode().split())
            except Exception as error:  # the test shows the text
                reply = f"error {error!r}"
            self.socket.sendall(f"{reply}\n".encode())

    def _do(self, request: str, *arguments: str) -> str:
        number = next(self._numbers)
        if request == "listen":
            self._ports[str(number)] = int(arguments[0])
            self._stack.listen(int(arguments[0]))
            return f"ok {number}"
        if request in ("accept", "connect"):
            if request == "accept":
                connection = self._stack.accept(self._ports[arguments[0]])
            else:
                connection = self._stack.connect(arguments[0], int(arguments[1]))
            self._connections[str(number)] = connection
            return f"ok {number}" if connection else "ok"
        connection = self._connections[arguments[0]]
        if request == "send":
            return f"ok {connection.send(bytes.fromhex(arguments[1]))}"
        if request == "read":
            data = connection.read(int(arguments[1]))
            return "end" if not data and connection.peer_closed else f"ok {data.hex()}"
        {"close": connection.close, "abort": connection.abort}[request]()
        return "ok"
