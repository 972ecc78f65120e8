"""Echo requests by the kernel itself, without a program: icmp(7), ping sockets."""

from __future__ import annotations

import errno
import socket
import struct
from typing import Self

from msgspec import Struct

from tunlab.errors import ExpectationError, KernelError, PacketError
from tunlab.kernel import capture_drain
from tunlab.kernel.closeable import Closeable
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.os_errors import SOCKET_REASONS, translate_os_errors
from tunlab.kernel.validation import parse_address
from tunlab.packet.header import to_bytes
from tunlab.traffic.sockets import open_ping_socket

ECHO_PAYLOAD = bytes(range(56))
"""What is sent unless told otherwise: 56 octets, as ping(8) does, each telling its place."""

DEFAULT_TIMEOUT = 2.0
"""Seconds to wait: a thousand times what a kernel needs to answer, so that a busy machine passes too."""


class EchoReply(Struct, frozen=True):
    """An answer to a ping: from whom, to which request, with which payload."""

    address: str
    sequence_number: int
    payload: bytes


_REASONS = {
    **SOCKET_REASONS,
    errno.EACCES: (
        "it is a broadcast address",
        "ping one host, or send an echo request of your own: inject, or a socket",
    ),
}


class Ping(Closeable):
    """Echo requests that a namespace's kernel has sent, and the door at which their replies arrive.

    identifier         as in the requests
    sequence_numbers   of the requests sent so far, from 1
    """

    def __init__(self, door: socket.socket, address: str) -> None:
        self._door = door
        self.address = address
        self.identifier: int = door.getsockname()[1]
        self.sequence_numbers: list[int] = []

    @classmethod
    def start(
        cls,
        netns: Netns,
        address: str,
        *,
        count: int = 1,
        payload: bytes = ECHO_PAYLOAD,
        identifier: int = 0,
    ) -> Self:
        """Send `count` requests at once. Raises KernelError for no address, no route, a payload that is too long."""
        capture_drain.drain_all()
        operation = f"ping {address}"
        parse_address(address, operation)
        if count < 1:
            raise KernelError(errno.EINVAL, operation, reason=f"{count} requests are none", remedy="send one or more")
        ping = cls(open_ping_socket(netns, identifier), address)
        try:
            for _ in range(count):
                ping.send(payload)
        except BaseException:
            ping.close()
            raise
        return ping

    def send(self, payload: bytes = ECHO_PAYLOAD) -> int:
        """Send one more request; returns its sequence number. Raises KernelError where no route leads there."""
        try:
            octets = to_bytes(payload)
        except ValueError as error:
            raise PacketError(f"the payload holds {error}") from None
        number = (self.sequence_numbers[-1] + 1 if self.sequence_numbers else 1) & 0xFFFF
        # The kernel writes identifier and checksum itself (icmp(7), ping sockets); they are zero here.
        with translate_os_errors(f"ping {self.address}", reasons=_REASONS):
            self._door.sendto(struct.pack("!BBHHH", 8, 0, 0, 0, number) + octets, (self.address, 0))
        self.sequence_numbers.append(number)
        return number

    def reply(self, timeout: float = DEFAULT_TIMEOUT) -> EchoReply:
        """The next reply, within `timeout` seconds; raises ExpectationError where none comes."""
        __tracebackhide__ = True
        self._door.settimeout(timeout)
        try:
            octets, (address, _) = self._door.recvfrom(65_535)
        except TimeoutError:
            wanted = f"an echo reply from {self.address} (identifier {self.identifier})"
            raise ExpectationError(wanted=wanted, elapsed=timeout) from None
        return EchoReply(address, int.from_bytes(octets[6:8], "big"), octets[8:])

    def close(self) -> None:
        """Close the door; replies that come later are the kernel's to drop."""
        self._door.close()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._door.fileno() < 0
