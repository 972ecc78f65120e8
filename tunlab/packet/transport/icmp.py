"""ICMP: RFC 792, with the next-hop MTU of RFC 1191 and the extension length of RFC 4884."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import ClassVar, Self

from msgspec import Struct

from tunlab.errors import PacketError, TruncatedError
from tunlab.packet.address import AddressLike, ipv4_address, ipv4_bytes, ipv4_text
from tunlab.packet.field import Field
from tunlab.packet.findings import INPUT, Finding, FindingKind
from tunlab.packet.header import Layer, Reading, json_value
from tunlab.packet.kinds import Transport
from tunlab.packet.layers import quote_text
from tunlab.packet.tables import IP_PAYLOADS
from tunlab.packet.truncated import truncated
from tunlab.packet.values import check_width, is_packet_error

__tracebackhide__ = is_packet_error

LENGTH = 8

_PACKED = struct.Struct("!BBHHH")
_unpack = _PACKED.unpack_from


class ICMPType(IntEnum):
    """Message types (RFC 792; 9 and 10: RFC 1256; 17 and 18: RFC 950; 42 and 43: RFC 8335)."""

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
    ADDRESS_MASK_REQUEST = 17
    ADDRESS_MASK_REPLY = 18
    EXTENDED_ECHO_REQUEST = 42
    EXTENDED_ECHO_REPLY = 43


ERRORS = frozenset({3, 4, 5, 11, 12})
"""The error types, whose payload begins with the packet that caused the error."""

HAVE_IDENTIFIER = frozenset({0, 8, 13, 14, 15, 16, 17, 18})
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
    (12, 0): "parameter problem",
    (12, 1): "parameter problem, required option missing",  # RFC 1108
    (12, 2): "parameter problem, bad length",
}

_TIMESTAMPS = frozenset({ICMPType.TIMESTAMP, ICMPType.TIMESTAMP_REPLY})

_UNUSED, _LENGTH = ("unused", 8), ("length", 8)  # the length is RFC 4884's
_REST: dict[int, tuple[tuple[str, int], ...]] = {
    3: (_UNUSED, _LENGTH, ("unused", 16)),
    4: (("unused", 32),),
    5: (("gateway", 32),),
    9: (("address_count", 8), ("entry_size", 8), ("lifetime", 16)),
    10: (("reserved", 32),),
    11: (_UNUSED, _LENGTH, ("unused", 16)),
    12: (("pointer", 8), _LENGTH, ("unused", 16)),
    42: (("identifier", 16), ("sequence_number", 8), ("flags", 8)),
    43: (("identifier", 16), ("sequence_number", 8), ("flags", 8)),
}
"""The fields in bytes 4 to 7 by type, for types without identifier and sequence number."""


class ICMP(Transport, frozen=True, gc=False):
    """An ICMP header of eight bytes; the rest of the message is the payload.

    Attributes:
        identifier: Bytes 4 and 5, as echo and timestamp messages use them. Other messages have other fields in bytes 4
            to 7: `gateway`, `pointer` and `mtu` return them, and the class methods `redirect`, `parameter_problem` and
            `unreachable` set them.
        sequence_number: Bytes 6 and 7.
        checksum: None: computed.
    """

    PROTOCOL: ClassVar = 1
    LAYOUT: ClassVar = (("type", 8), ("code", 8), ("checksum", 16), ("identifier", 16), ("sequence_number", 16))
    COERCE: ClassVar = {"gateway": ipv4_address}
    VIEWS: ClassVar = {
        "gateway": ("identifier", "sequence_number"),
        "pointer": ("identifier",),
        "mtu": ("sequence_number",),
        "is_error": ("type",),
        "name": ("type", "code"),
    }
    CHECKSUM_OFFSET: ClassVar = 2

    type: int = ICMPType.ECHO_REQUEST
    code: int = 0
    checksum: int | None = None
    identifier: int = 0
    sequence_number: int = 0

    @classmethod
    def echo_request(cls, identifier: int = 0, sequence_number: int = 0) -> Self:
        """Return an echo request (a ping); the reply has the same payload."""
        return cls(ICMPType.ECHO_REQUEST, 0, None, identifier, sequence_number)

    @classmethod
    def echo_reply(cls, identifier: int = 0, sequence_number: int = 0) -> Self:
        """Return an echo reply; it has the identifier, the sequence number and the payload of the request."""
        return cls(ICMPType.ECHO_REPLY, 0, None, identifier, sequence_number)

    @classmethod
    def unreachable(cls, code: int, mtu: int = 0) -> Self:
        """Return "destination unreachable"; its payload is the quoted packet. `mtu` is for code 4 (RFC 1191)."""
        return cls(ICMPType.DESTINATION_UNREACHABLE, code, None, 0, check_width("ICMP", "mtu", mtu, 16))

    @classmethod
    def time_exceeded(cls, code: int = 0) -> Self:
        """Return "time exceeded", in transit (code 0) or in reassembly (1); its payload is the quoted packet."""
        return cls(ICMPType.TIME_EXCEEDED, code)

    @classmethod
    def redirect(cls, gateway: AddressLike, code: int = 1) -> Self:
        """Return a redirect to `gateway`; its payload is the quoted packet."""
        high, low = struct.unpack("!HH", ipv4_bytes(ipv4_address(gateway)))
        return cls(ICMPType.REDIRECT, code, None, high, low)

    @classmethod
    def parameter_problem(cls, pointer: int, code: int = 0) -> Self:
        """Return "parameter problem" at byte `pointer` of the quoted packet, which is the payload."""
        return cls(ICMPType.PARAMETER_PROBLEM, code, None, check_width("ICMP", "pointer", pointer, 8) << 8, 0)

    @classmethod
    def timestamp(cls, identifier: int = 0, sequence_number: int = 0) -> Self:
        """Return a timestamp request; its payload is `ICMPTimestamps`."""
        return cls(ICMPType.TIMESTAMP, 0, None, identifier, sequence_number)

    @classmethod
    def timestamp_reply(cls, identifier: int = 0, sequence_number: int = 0) -> Self:
        """Return the answer to a timestamp request; its payload is `ICMPTimestamps`."""
        return cls(ICMPType.TIMESTAMP_REPLY, 0, None, identifier, sequence_number)

    @property
    def name(self) -> str:
        """The message in words, as "echo request" or "port unreachable"; "type 99 code 1" for unknown ones."""
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
        """True if the message is an error, which quotes the packet that caused it."""
        return self.type in ERRORS

    @property
    def gateway(self) -> str | None:
        """A redirect's gateway address; None for other messages."""
        if self.type != ICMPType.REDIRECT:
            return None
        return ipv4_text(struct.pack("!HH", self.identifier, self.sequence_number))

    @property
    def pointer(self) -> int | None:
        """A parameter problem's pointer, a byte offset in the quoted packet; None for other messages."""
        return self.identifier >> 8 if self.type == ICMPType.PARAMETER_PROBLEM else None

    @property
    def mtu(self) -> int | None:
        """The next hop's MTU in bytes, of "fragmentation needed" (RFC 1191 section 4); None for other messages."""
        return self.sequence_number if (self.type, self.code) == (ICMPType.DESTINATION_UNREACHABLE, 4) else None

    @property
    def quoted_length(self) -> int | None:
        """Bytes of the quoted packet and its padding, if extensions follow it (RFC 4884 section 4); else None."""
        if self.type not in (3, 11, 12):
            return None
        return (self.identifier & 0xFF) * 4 or None

    def quoted(self, payload: bytes) -> bytes:
        """Return the packet that an error quotes at the start of its payload, without padding and extensions.

        Raises:
            PacketError: If the message is not an error.
        """
        if not self.is_error:
            raise PacketError(f"an ICMP {self.name} quotes no packet. Only ICMP errors do (RFC 792).")
        data = payload[: self.quoted_length]
        # RFC 4884 section 4.1: the quoted packet is padded with zeros to 128 bytes.
        return data[: max(int.from_bytes(data[2:4], "big"), 20)] if self.quoted_length else data

    # ----- bytes

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Reading:
        if end - start < LENGTH:
            return truncated(cls, data, start, end)
        return _icmp(*_unpack(data, start)), start + LENGTH, end, None

    def to_bytes(self) -> bytes:
        try:
            return _PACKED.pack(self.type, self.code, self.checksum, self.identifier, self.sequence_number)
        except struct.error:
            raise self.field_error() from None

    # ----- judgement

    def findings(self, layer: Layer) -> list[Finding]:
        if self.type in _TIMESTAMPS and layer.size < 12:
            rule = "the message ends before the last of its three timestamps (RFC 792)"
            kind = FindingKind.TRUNCATED
            return [layer.finding("timestamps", kind, LENGTH, rule, 12, layer.size, layer.length_from)]
        if not self.is_error:
            return []
        data = self.quoted(layer.data[layer.body : layer.end])
        needed = (data[0] & 15) * 4 + 8 if data else 28
        if len(data) >= 20:
            needed = min(needed, int.from_bytes(data[2:4], "big"))  # a shorter packet is quoted whole
        if layer.size < needed:
            rule = "an error quotes the IP header and the 8 bytes behind it (RFC 792)"
            kind = FindingKind.TRUNCATED
            return [layer.finding("quoted packet", kind, LENGTH, rule, needed, layer.size, layer.length_from)]
        rule = _quote_rule(data) if len(data) >= 20 else ""
        return [layer.finding("type", FindingKind.VALUE, 0, rule)] if rule else []

    # ----- texts

    @property
    def title(self) -> str:
        return self.name

    def fields(self) -> list[Field]:
        found = super().fields()
        if self.type in HAVE_IDENTIFIER:
            return found
        rest = _REST.get(self.type, (("rest", 32),))
        number = self.identifier << 16 | self.sequence_number
        if self.mtu is not None:
            rest = (_UNUSED, _LENGTH, ("mtu", 16))
        del found[3:]
        at, left = 32, 32
        for name, bits in rest:
            left -= bits
            value: object = number >> left & (1 << bits) - 1 if name != "gateway" else self.gateway
            found.append(Field(name, value, str(value), at, bits))
            at += bits
        return found

    def to_dict(self) -> dict[str, object]:
        """Return the fields that this type of message has, as numbers and text for JSON."""
        return {field.name: json_value(field.value) for field in self.fields() if field.name != "unused"}

    def field_text(self, name: str, value: object) -> str:
        return f"{int(self.type)} ({self.name})" if name == "type" else super().field_text(name, value)

    def summary(self, layer: Layer, inner: Sequence[Layer], text: str) -> str:
        size = LENGTH + layer.size
        if not self.is_error and self.type not in HAVE_IDENTIFIER:
            return f"ICMP {self.name}, length {size}"
        if not self.is_error:
            return f"ICMP {self.name}, id {self.identifier}, seq {self.sequence_number}, length {size}"
        about = f", mtu {self.mtu}" if self.mtu is not None else f", to {self.gateway}" if self.gateway else ""
        about += f", pointer {self.pointer}" if self.pointer is not None else ""
        return f"ICMP {self.name}{about}{quote_text(self.quoted(layer.data[layer.body : layer.end]))}, length {size}"

    def reply(self, layer: Layer) -> ICMP | None:
        if self.type != ICMPType.ECHO_REQUEST:
            return None
        return ICMP.echo_reply(self.identifier, self.sequence_number)


class ICMPTimestamps(Struct, frozen=True):
    """The payload of timestamp messages: milliseconds since midnight UT (RFC 792, page 16)."""

    originate: int = 0
    receive: int = 0
    transmit: int = 0

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Return the timestamps of a payload's first twelve bytes.

        Raises:
            TruncatedError: If there are fewer.
        """
        if len(payload) < 12:
            present = len(payload)
            raise TruncatedError(
                layer="ICMP", field="timestamps", offset=0, needed=12, present=present, length_from=INPUT
            )
        return cls(*struct.unpack_from("!III", payload))

    def __bytes__(self) -> bytes:
        fields = self.__struct_fields__
        return struct.pack(
            "!III", *(check_width("ICMP timestamps", field, getattr(self, field), 32) for field in fields)
        )


def _quote_rule(data: bytes) -> str:
    """Return the rule of RFC 1122 section 3.2.2 that forbids an error about this packet; empty if none does."""
    length = (data[0] & 15) * 4
    if data[9] == ICMP.PROTOCOL and data[length : length + 1] and data[length] in ERRORS:
        about = "an ICMP error"
    elif 224 <= data[16] < 240 or data[16:20] == b"\xff\xff\xff\xff":
        about = "a packet to a multicast or broadcast address"
    elif data[12] >= 224 or data[12:16] == bytes(4):
        about = "a packet whose source is not a single host"
    elif int.from_bytes(data[6:8], "big") & 0x1FFF:
        about = "a fragment other than the first"
    else:
        return ""
    return f"an error about {about} must not be sent (RFC 1122 section 3.2.2)"


_icmp = ICMP.unchecked()
IP_PAYLOADS[ICMP.PROTOCOL] = ICMP.read
