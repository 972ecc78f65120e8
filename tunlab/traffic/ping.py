"""Echo requests that the kernel sends through a ping socket (icmp(7))."""

from __future__ import annotations

import errno
import socket
import struct

from msgspec import Struct

from tunlab.errors import ExpectationError
from tunlab.kernel.closeable import Closeable
from tunlab.kernel.os_errors import SOCKET_REASONS, translate_os_errors
from tunlab.packet.values import to_bytes
from tunlab.traffic.sockets import SocketAddress

ECHO_PAYLOAD = bytes(range(56))
"""Default payload: 56 bytes as in ping(8). The value of each byte is its offset."""

DEFAULT_TIMEOUT = 2.0
"""Default timeout in seconds, long enough for a busy machine."""


class EchoReply(Struct, frozen=True):
    """A reply to an echo request."""

    address: str
    sequence_number: int
    payload: bytes


_REASONS = {
    **SOCKET_REASONS,
    errno.EACCES: (
        "it is a broadcast address",
        "ping one host, or inject an echo request",
    ),
}


class Ping(Closeable):
    """A ping socket in a namespace: it sends echo requests and receives the replies.

    Attributes:
        address: Destination of the requests.
        identifier: ICMP identifier of the requests.
        sequence_numbers: Sequence numbers of the requests sent so far; the first is 1.
    """

    def __init__(self, ping_socket: socket.socket, address: str, destination: SocketAddress) -> None:
        """Use a socket and the destination's socket address from `SocketFactory.ping`."""
        self._socket, self._destination = ping_socket, destination
        self.address = address
        self.identifier: int = ping_socket.getsockname()[1]
        self.sequence_numbers: list[int] = []

    def send(self, payload: bytes = ECHO_PAYLOAD) -> int:
        """Send another request, and return its sequence number. Raises KernelError if there is no route."""
        data = to_bytes(payload, "payload")
        number = (self.sequence_numbers[-1] + 1 if self.sequence_numbers else 1) & 0xFFFF
        # The kernel replaces the two zeros by checksum and identifier (icmp(7)).
        kind = 8 if self._socket.family == socket.AF_INET else 128
        with translate_os_errors(f"ping {self.address}", reasons=_REASONS):
            self._socket.sendto(struct.pack("!BBHHH", kind, 0, 0, 0, number) + data, self._destination)
        self.sequence_numbers.append(number)
        return number

    def reply(self, timeout: float = DEFAULT_TIMEOUT) -> EchoReply:
        """Wait for the next reply. Raises ExpectationError after `timeout` seconds."""
        __tracebackhide__ = True
        self._socket.settimeout(timeout)
        try:
            data, (address, *_) = self._socket.recvfrom(65_535)
        except TimeoutError:
            wanted = f"an echo reply from {self.address} (identifier {self.identifier})"
            raise ExpectationError(wanted=wanted, elapsed=timeout) from None
        return EchoReply(address.partition("%")[0], int.from_bytes(data[6:8], "big"), data[8:])

    def close(self) -> None:
        """Close the socket. The kernel drops later replies."""
        self._socket.close()

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return self._socket.fileno() < 0
