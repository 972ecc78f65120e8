"""The authentication header of IPsec: RFC 4302. The integrity check value is kept, not verified."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import ClassVar, Self

from msgspec.structs import replace

from tunlab.errors import MalformedError, TruncatedError
from tunlab.packet.field import Field, count
from tunlab.packet.findings import INPUT, Finding, FindingKind
from tunlab.packet.header import Header, Layer, Reading
from tunlab.packet.kinds import Extension, Network
from tunlab.packet.tables import IP_PAYLOADS, next_header_name, next_header_of, next_reader
from tunlab.packet.values import is_packet_error, to_bytes

__tracebackhide__ = is_packet_error

FIXED = 12

_PACKED = struct.Struct("!BBHII")


class AH(Extension, frozen=True, gc=False):
    """An authentication header, in IPv4 or IPv6.

    Attributes:
        next_header: The protocol of the next header; None: computed, 59 if nothing follows.
        payload_length: The header's length in 4-byte units without the first two; None: computed.
        spi: The security parameters index.
        icv: The integrity check value, with its padding.
    """

    LAYOUT: ClassVar = (
        ("next_header", 8), ("payload_length", 8), ("reserved", 16), ("spi", 32), ("sequence_number", 32),
    )  # fmt: skip
    TAIL: ClassVar = "icv"
    DERIVED: ClassVar = frozenset({"next_header", "payload_length"})
    COERCE: ClassVar = {"icv": to_bytes}

    next_header: int | None = None
    payload_length: int | None = None
    reserved: int = 0
    spi: int = 0
    sequence_number: int = 0
    icv: bytes = bytes(12)

    @property
    def header_length(self) -> int:
        """The header's length in bytes, from `payload_length`; if that is None, from the fields."""
        return FIXED + len(self.icv) if self.payload_length is None else self.payload_length * 4 + 8

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Reading:
        if end - start < FIXED:
            present = end - start
            raise TruncatedError(layer="AH", field="", offset=start, needed=FIXED, present=present, length_from=INPUT)
        following, length, reserved, spi, number = _PACKED.unpack_from(data, start)
        if length < 1:
            rule = "the minimum is 1, for the fixed fields (RFC 4302 section 2.2)"
            raise MalformedError(layer="AH", field="payload_length", value=length, rule=rule, offset=start)
        body = min(start + length * 4 + 8, end)
        header = _ah(following, length, reserved, spi, number, data[start + FIXED : body])
        return header, body, end, next_reader(following)

    def to_bytes(self) -> bytes:
        try:
            fixed = _PACKED.pack(self.next_header, self.payload_length, self.reserved, self.spi, self.sequence_number)
        except struct.error:
            raise self.field_error() from None
        return fixed + self.icv

    def complete(self, outer: Sequence[Header], content: bytes, inner: Header | None) -> Self:
        """Return this header with next header and length computed where they are None.

        If the length is computed, zeros pad the header to a multiple of 4 bytes, in IPv6 of 8 (RFC 4302 section
        3.3.3.2.1).

        Raises:
            MalformedError: If they cannot be computed.
        """
        following, length, icv = self.next_header, self.payload_length, self.icv
        if following is None:
            following = next_header_of("AH", inner, content)
        if length is None:
            ip = next((header for header in reversed(outer) if isinstance(header, Network)), None)
            icv += bytes(-(FIXED + len(icv)) % (8 if ip is not None and ":" in ip.src else 4))
            length = (FIXED + len(icv)) // 4 - 2
            if length > 255:
                rule = "an authentication header has at most 1028 bytes (RFC 4302 section 2.2)"
                raise MalformedError(layer="AH", field="icv", value=f"{len(icv)} bytes", rule=rule)
        return replace(self, next_header=following, payload_length=length, icv=icv)

    @property
    def payload_name(self) -> str:
        return next_header_name(self.next_header)

    def findings(self, layer: Layer) -> list[Finding]:
        found, present = list[Finding](), layer.limit - layer.start
        if self.header_length > present + layer.missing:
            rule, needed = "the header runs past the end", self.header_length
            found.append(
                layer.finding("payload_length", FindingKind.TRUNCATED, 1, rule, needed, present, layer.length_from)
            )
        if self.reserved:
            found.append(layer.finding("reserved", FindingKind.RESERVED, 2, "must be zero (RFC 4302 section 2.3)"))
        return found

    def field_text(self, name: str, value: object) -> str:
        if name == "next_header" and isinstance(value, int):
            return f"{value} ({next_header_name(value)})"
        if name == "payload_length" and isinstance(value, int):
            return f"{value} ({value * 4 + 8} bytes)"
        return f"{value:#010x}" if name == "spi" and isinstance(value, int) else super().field_text(name, value)

    def fields(self) -> list[Field]:
        found, icv = super().fields(), self.icv
        return [*found, Field("icv", icv, count(len(icv), "byte"), FIXED * 8, len(icv) * 8)] if icv else found

    def summary(self, layer: Layer, inner: Sequence[Layer], text: str) -> str:
        text = text or f"{self.payload_name}, length {layer.size}"
        return f"AH(spi={self.spi:#010x},seq={self.sequence_number:#x}): {text}"


_ah = AH.unchecked()
IP_PAYLOADS[51] = AH.read
