"""ICMP: RFC 792, with the next-hop MTU of RFC 1191 and the extension length of RFC 4884."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import ClassVar, Self

from msgspec import Struct
from msgspec.structs import replace

from tunlab.errors import TruncatedError
from tunlab.packet.address import OCTETS, TEXT, AddressLike, address_text
from tunlab.packet.checksum import internet_checksum
from tunlab.packet.header import Transport, check_width
from tunlab.packet.ipv4 import IPv4

LENGTH = 8

_PACKED = struct.Struct("!BBHHH")
unpack_icmp = _PACKED.unpack_from


class ICMPType(IntEnum):
    """Message types (RFC 792; 9 and 10 are RFC 1256's)."""

    ECHO_REPLY = 0
    DESTINATION_UNREACHABLE = 3
    SOURCE_QUENCH = 4
    REDIRECT = 5
    ECHO_REQUEST = 8
    ROUTER_ADVERTISEMENT = 9
    ROUTER_SOLICITATION = 10
    TIME_EXCEEDED = 11
    PARAMETER_PROBLEM = 12
    TIMESTAMP = 13
    TIMESTAMP_REPLY = 14
    INFORMATION_REQUEST = 15
    INFORMATION_REPLY = 16


ERRORS = frozenset({3, 4, 5, 11, 12})
"""Types whose payload begins with the datagram that caused them."""

HAVE_IDENTIFIER = frozenset({0, 8, 13, 14, 15, 16})
"""Types with an identifier and a sequence number."""

CODES: dict[tuple[int, int], str] = {
    (3, 0): "net unreachable",
    (3, 1): "host unreachable",
    (3, 2): "protocol unreachable",
    (3, 3): "port unreachable",
    (3, 4): "fragmentation needed and DF set",
    (3, 5): "source route failed",
    (3, 6): "destination network unknown",  # 6 to 12: RFC 1122 section 3.2.2.1
    (3, 7): "destination host unknown",
    (3, 8): "source host isolated",
    (3, 9): "net administratively prohibited",
    (3, 10): "host administratively prohibited",
    (3, 11): "network unreachable for type of service",
    (3, 12): "host unreachable for type of service",
    (3, 13): "communication administratively prohibited",  # 13 to 15: RFC 1812 section 5.2.7.1
    (3, 14): "host precedence violation",
    (3, 15): "precedence cutoff in effect",
    (5, 0): "redirect for the network",
    (5, 1): "redirect for the host",
    (5, 2): "redirect for the type of service and network",
    (5, 3): "redirect for the type of service and host",
    (11, 0): "time to live exceeded in transit",
    (11, 1): "fragment reassembly time exceeded",
    (12, 0): "the pointer shows the error",
    (12, 1): "required option missing",  # RFC 1108
    (12, 2): "bad length",
}


class ICMP(Transport, frozen=True, gc=False):
    """The eight bytes that every ICMP message begins with; the rest of the message is the packet's payload.

    Attributes:
        type, code: Kind of message (RFC 792).
        checksum: None means compute.
        identifier, sequence_number: Bytes 4 to 7 as echo and timestamp messages use them. Redirects, parameter
            problems and unreachables hold other fields there: `gateway`, `pointer` and `mtu` read the same bytes,
            and the class methods of these names write them.
    """

    PROTOCOL: ClassVar = 1
    LAYOUT: ClassVar = (("type", 8), ("code", 8), ("checksum", 16), ("identifier", 16), ("sequence_number", 16))
    DERIVED: ClassVar = frozenset({"checksum"})
    COERCE: ClassVar = {"gateway": address_text}
    VIEWS: ClassVar = ("gateway", "pointer", "mtu", "is_error", "name")

    type: int = ICMPType.ECHO_REQUEST
    code: int = 0
    checksum: int | None = None
    identifier: int = 0
    sequence_number: int = 0

    @classmethod
    def echo_request(cls, identifier: int = 0, sequence_number: int = 0) -> Self:
        """A ping; its payload comes back unchanged."""
        return cls(ICMPType.ECHO_REQUEST, 0, None, identifier, sequence_number)

    @classmethod
    def echo_reply(cls, identifier: int = 0, sequence_number: int = 0) -> Self:
        """The answer to a ping: with its identifier, sequence number and payload."""
        return cls(ICMPType.ECHO_REPLY, 0, None, identifier, sequence_number)

    @classmethod
    def unreachable(cls, code: int, mtu: int = 0) -> Self:
        """Destination unreachable, before the quoted datagram; `mtu` in octets goes with code 4 (RFC 1191)."""
        return cls(ICMPType.DESTINATION_UNREACHABLE, code, None, 0, check_width("ICMP", "mtu", mtu, 16))

    @classmethod
    def time_exceeded(cls, code: int = 0) -> Self:
        """Time exceeded in transit (code 0) or in reassembly (1), before the quoted datagram."""
        return cls(ICMPType.TIME_EXCEEDED, code)

    @classmethod
    def redirect(cls, gateway: AddressLike, code: int = 1) -> Self:
        """Redirect to `gateway`, before the quoted datagram."""
        high, low = struct.unpack("!HH", OCTETS[address_text(gateway)])
        return cls(ICMPType.REDIRECT, code, None, high, low)

    @classmethod
    def parameter_problem(cls, pointer: int, code: int = 0) -> Self:
        """Parameter problem at octet `pointer` of the quoted datagram."""
        return cls(ICMPType.PARAMETER_PROBLEM, code, None, check_width("ICMP", "pointer", pointer, 8) << 8, 0)

    @classmethod
    def timestamp(cls, identifier: int = 0, sequence_number: int = 0) -> Self:
        """A timestamp message, before `ICMPTimestamps`."""
        return cls(ICMPType.TIMESTAMP, 0, None, identifier, sequence_number)

    @classmethod
    def timestamp_reply(cls, identifier: int = 0, sequence_number: int = 0) -> Self:
        """The answer to a timestamp message, before `ICMPTimestamps`."""
        return cls(ICMPType.TIMESTAMP_REPLY, 0, None, identifier, sequence_number)

    @property
    def name(self) -> str:
        """The message in words, as "echo request" or "port unreachable"; by its numbers where it has none."""
        specific = CODES.get((self.type, self.code))
        if specific is not None:
            return specific
        try:
            name = ICMPType(self.type).name.replace("_", " ").lower()
        except ValueError:
            return f"type {self.type} code {self.code}"
        return f"{name} code {self.code}" if self.code else name

    @property
    def is_error(self) -> bool:
        """Whether the message is about a datagram that it quotes."""
        return self.type in ERRORS

    @property
    def gateway(self) -> str | None:
        """A redirect's gateway address; None for other messages."""
        if self.type != ICMPType.REDIRECT:
            return None
        return TEXT[struct.pack("!HH", self.identifier, self.sequence_number)]

    @property
    def pointer(self) -> int | None:
        """A parameter problem's pointer, in octets into the quoted datagram; None for other messages."""
        return self.identifier >> 8 if self.type == ICMPType.PARAMETER_PROBLEM else None

    @property
    def mtu(self) -> int | None:
        """The next hop's MTU in octets, of "fragmentation needed" (RFC 1191 section 4); None for other messages."""
        return self.sequence_number if (self.type, self.code) == (ICMPType.DESTINATION_UNREACHABLE, 4) else None

    @property
    def quoted_length(self) -> int | None:
        """Octets of the quoted datagram, where extensions follow it (RFC 4884 section 4); None: all of the payload."""
        if self.type not in (3, 11, 12):
            return None
        return (self.identifier & 0xFF) * 4 or None

    def complete(self, ip: IPv4, payload: bytes) -> ICMP:  # noqa: ARG002  # ICMP has no pseudo-header
        """This header before `payload`, with the checksum computed where it is None."""
        return self if self.checksum is not None else replace(self, checksum=icmp_checksum(self, payload))

    def to_bytes(self) -> bytes:
        """The eight octets on the wire; raises MalformedError where a field does not fit."""
        try:
            return _PACKED.pack(self.type, self.code, self.checksum, self.identifier, self.sequence_number)
        except struct.error:
            raise self.field_error() from None


class ICMPTimestamps(Struct, frozen=True):
    """The payload of timestamp messages: milliseconds since midnight UT (RFC 792, page 16)."""

    originate: int = 0
    receive: int = 0
    transmit: int = 0

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """From the payload's first twelve octets; raises TruncatedError for fewer."""
        if len(payload) < 12:
            raise TruncatedError(
                layer="ICMP", field="timestamps", offset=0, needed=12, present=len(payload), length_from="octets"
            )
        return cls(*struct.unpack_from("!III", payload))

    def __bytes__(self) -> bytes:
        fields = self.__struct_fields__
        return struct.pack(
            "!III", *(check_width("ICMP timestamps", field, getattr(self, field), 32) for field in fields)
        )


def icmp_checksum(icmp: ICMP, payload: bytes) -> int:
    """The checksum that belongs into `icmp`, whatever stands there."""
    return internet_checksum(replace(icmp, checksum=0).to_bytes() + payload)
