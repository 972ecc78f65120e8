"""The options of IPv6's hop-by-hop and destination options headers: RFC 8200 section 4.2, RFC 2711 and RFC 2675."""

from __future__ import annotations

import struct
from typing import ClassVar, Self

from tunlab.errors import MalformedError
from tunlab.packet.option_lists import OptionItem, OptionStop
from tunlab.packet.options import Option, TypedOption, Types
from tunlab.packet.values import is_packet_error

__tracebackhide__ = is_packet_error

PAD1 = 0


class IPv6Option(Option, frozen=True, gc=False):
    """An option without a class of its own, as kind and data; kind 0 (Pad1) is one byte.

    The two highest bits of the kind tell a node that does not know it to skip the option (0) or to discard the packet.
    """

    def __bytes__(self) -> bytes:
        if self.kind == PAD1 and not self.data:
            return b"\0"
        try:
            return bytes((self.kind, len(self.data))) + self.data
        except (TypeError, ValueError):
            rule = "an option has a kind up to 255 and at most 255 bytes of data (RFC 8200 section 4.2)"
            raise MalformedError(layer="IPv6Option", field="", value=self, rule=rule) from None


class TypedIPv6Option(TypedOption, frozen=True, gc=False):
    """The base class of known options of IPv6."""

    RAW: ClassVar = IPv6Option


class PadN(TypedIPv6Option, frozen=True, gc=False):
    """Padding of two or more bytes (RFC 8200 section 4.2)."""

    KIND: ClassVar = 1
    LENGTHS: ClassVar = range(256)
    FORM: ClassVar = "2 or more (RFC 8200 section 4.2)"

    padding: bytes = b""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        return cls(data)

    def data(self) -> bytes:
        return self.padding

    @property
    def fault(self) -> str:
        return "the bytes of padding must be zero (RFC 8200 section 4.2)" if any(self.padding) else ""


class RouterAlert(TypedIPv6Option, frozen=True, gc=False):
    """Router alert: routers should examine the packet (RFC 2711). Value 0: multicast listener discovery, 1: RSVP."""

    KIND: ClassVar = 5
    LENGTHS: ClassVar = (2,)
    FORM: ClassVar = "4 (RFC 2711 section 2.1)"

    value: int = 0

    @classmethod
    def decode(cls, data: bytes) -> Self:
        return cls(int.from_bytes(data, "big"))

    def data(self) -> bytes:
        return struct.pack("!H", self.value)


class JumboPayload(TypedIPv6Option, frozen=True, gc=False):
    """The length of a packet with more than 65,535 bytes behind the IPv6 header (RFC 2675)."""

    KIND: ClassVar = 0xC2
    LENGTHS: ClassVar = (4,)
    FORM: ClassVar = "6 (RFC 2675 section 2)"

    length: int

    @classmethod
    def decode(cls, data: bytes) -> Self:
        return cls(int.from_bytes(data, "big"))

    def data(self) -> bytes:
        return struct.pack("!I", self.length)


TYPES: Types = {each.KIND: each for each in (PadN, RouterAlert, JumboPayload)}
"""The known options by their kind."""


def jumbo_length(options: bytes) -> int:
    """Return the length in the jumbo payload option of hop-by-hop options; 0 if there is none or it is below 65536."""
    for item in split_ipv6_options(options)[0]:
        if item.kind == JumboPayload.KIND and len(item.body) == 4:
            length = int.from_bytes(item.body, "big")
            return length if length > 0xFFFF else 0
    return 0


def split_ipv6_options(data: bytes) -> tuple[list[OptionItem], OptionStop | None]:
    """Return the options of an extension header, and where reading stopped if a length is impossible."""
    found, offset, end = list[OptionItem](), 0, len(data)
    while offset < end:
        kind, present = data[offset], end - offset
        if kind == PAD1:
            size = 1
        elif present < 2:
            return found, OptionStop(offset, f"option {kind} has no length byte", 2, 1)
        else:
            size = data[offset + 1] + 2
        if size > present:
            return found, OptionStop(offset, f"option {kind} overruns the header", size, present)
        found.append(OptionItem(offset, kind, data[offset + 2 : offset + size], size))
        offset += size
    return found, None
