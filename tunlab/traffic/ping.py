"""Echo requests by the kernel itself, without a program: icmp(7), ping sockets."""

from __future__ import annotations

import socket
import struct
from typing import TypeAlias

from msgspec import Struct

from tunlab.errors import ExpectationError
from tunlab.kernel.refusal import refusing

ECHO_PAYLOAD = bytes(range(56))
"""What is sent unless told otherwise: 56 octets, as ping(8) does, each telling its place."""

DEFAULT_TIMEOUT = 2.0
"""Seconds to wait: a thousand times what a kernel needs to answer, so that a busy machine passes too."""

Socket: TypeAlias = socket.socket


class EchoReply(Struct, frozen=True):
    """An answer to a ping: from whom, to which request, with which payload."""

    address: str
    sequence_number: int
    payload: bytes


class Ping:
    """Echo requests that the namespace's kernel has sent, and the door at which their replies arrive.

    identifier         as in the requests
    sequence_numbers   of the requests sent so far, from 1
    """

    def __init__(self, door: Socket, address: str) -> None:
        self._socket = door
        self.address = address
        self.identifier: int = door.getsockname()[1]
        self.sequence_numbers: list[int] = []

    def send(self, payload: bytes = ECHO_PAYLOAD) -> int:
        """Send one more request; returns its sequence number. Raises KernelError where no route leads there."""
        number = (self.sequence_numbers[-1] + 1 if self.sequence_numbers else 1) & 0xFFFF
        # The kernel writes identifier and checksum itself (icmp(7), ping sockets); they are zero here.
        with refusing(f"ping {self.address}"):
            self._socket.sendto(struct.pack("!BBHHH", 8, 0, 0, 0, number) + payload, (self.address, 0))
        self.sequence_numbers.append(number)
        return number

    def reply(self, timeout: float = DEFAULT_TIMEOUT) -> EchoReply:
        """The next reply, within `timeout` seconds; raises ExpectationError where none comes."""
        __tracebackhide__ = True
        self._socket.settimeout(timeout)
        try:
            octets, (address, _) = self._socket.recvfrom(65_535)
        except TimeoutError:
            wanted = f"an echo reply from {self.address} (identifier {self.identifier})"
            raise ExpectationError(wanted=wanted, elapsed=timeout) from None
        return EchoReply(address, int.from_bytes(octets[6:8], "big"), octets[8:])

    def close(self) -> None:
        """Close the door; replies that come later are the kernel's to drop."""
        self._socket.close()
