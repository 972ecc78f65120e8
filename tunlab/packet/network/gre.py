"""The GRE header: RFC 2784, with key and sequence number of RFC 2890."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntFlag
from functools import partial
from typing import ClassVar, Self

from msgspec.structs import replace

from tunlab.errors import TruncatedError
from tunlab.packet.checksum import Checksum
from tunlab.packet.field import Field
from tunlab.packet.findings import INPUT, Finding, FindingKind
from tunlab.packet.header import Header, Layer, Reading
from tunlab.packet.kinds import received_length
from tunlab.packet.tables import ETHERTYPES, IP_PAYLOADS, MAX_LENGTH, ethertype_name, ethertype_of
from tunlab.packet.values import check_width, flag_converter, is_packet_error

__tracebackhide__ = is_packet_error

PROTOCOL = 47
LENGTH = 4
"""Bytes of a header without optional fields."""

_PACKED = struct.Struct("!HH")
_OPTIONAL = (("checksum", 16), ("reserved1", 16), ("key", 32), ("sequence_number", 32))


def _check_optional(name: str, bits: int, value: object) -> int:
    return check_width("GRE", name, value, bits)


class GREFlag(IntFlag):
    """The flags that announce optional fields."""

    SEQUENCE_NUMBER = 1
    KEY = 2
    ROUTING = 4  # of RFC 1701; must be zero since RFC 2784
    CHECKSUM = 8


class GRE(Header, frozen=True, gc=False):
    """A GRE header. Everything behind it is payload if its version is not 0 or the flag ROUTING is set.

    Attributes:
        flags: None: KEY and SEQUENCE_NUMBER are computed. Give GREFlag.CHECKSUM to have a checksum computed.
        protocol_type: The EtherType of the next header, 0x6558 for Ethernet; None: computed.
        checksum: None: computed if `flags` has CHECKSUM, else absent.
        reserved1: The 16 bits behind the checksum.
        key: None: absent.
        sequence_number: None: absent.
    """

    LAYOUT: ClassVar = (("flags", 4), ("reserved0", 9), ("version", 3), ("protocol_type", 16))
    DERIVED: ClassVar = frozenset({"flags", "protocol_type", "checksum", "key", "sequence_number"})
    COERCE: ClassVar = {
        "flags": flag_converter(GREFlag),
        **{name: partial(_check_optional, name, bits) for name, bits in _OPTIONAL},
    }
    VIEWS: ClassVar = {
        name: (name,) for name in ("checksum", "key", "sequence_number")
    }  # views, because `where` accepts None for views only
    CHECKSUM_OFFSET: ClassVar = 4

    flags: GREFlag | None = None
    reserved0: int = 0
    version: int = 0
    protocol_type: int | None = None
    checksum: int | None = None
    reserved1: int = 0
    key: int | None = None
    sequence_number: int | None = None

    @property
    def has_checksum(self) -> bool:
        """True if the header has a checksum, or gets one when it is built."""
        return self.checksum is not None or bool(self._is_known and self.flags and self.flags & GREFlag.CHECKSUM)

    @property
    def _is_known(self) -> bool:
        return not self.version and not (self.flags and self.flags & GREFlag.ROUTING)

    @property
    def header_length(self) -> int:
        """The header's length in bytes, from the optional fields that are present."""
        return LENGTH + 4 * (self.has_checksum + (self.key is not None) + (self.sequence_number is not None))

    # ----- bytes

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Reading:
        present, needed, flags, version = end - start, LENGTH, GREFlag(0), 0
        if present >= LENGTH:
            word, kind = _PACKED.unpack_from(data, start)
            flags, version = GREFlag(word >> 12), word & 7
        is_known = not version and GREFlag.ROUTING not in flags
        if is_known:
            needed += 4 * flags.bit_count()
        if present < needed:
            raise TruncatedError(layer="GRE", field="", offset=start, needed=needed, present=present, length_from=INPUT)
        body = start + LENGTH
        optional: list[int | None] = [None, 0, None, None]
        if is_known and GREFlag.CHECKSUM in flags:
            optional[:2] = _PACKED.unpack_from(data, body)
            body += 4
        for at, flag in ((2, GREFlag.KEY), (3, GREFlag.SEQUENCE_NUMBER)):
            if is_known and flag in flags:
                optional[at] = int.from_bytes(data[body : body + 4], "big")
                body += 4
        following = ETHERTYPES.get(kind) if is_known and kind > MAX_LENGTH else None
        return _gre(flags, word >> 3 & 0x1FF, version, kind, *optional), body, end, following

    def to_bytes(self) -> bytes:
        reserved, version = self.reserved0, self.version
        try:
            if reserved >> 9 or version >> 3:
                raise self.field_error()
            data = _PACKED.pack(self.flags << 12 | reserved << 3 | version, self.protocol_type)  # type: ignore[operator]
            if self.checksum is not None:
                data += _PACKED.pack(self.checksum, self.reserved1)
            optional = [each.to_bytes(4, "big") for each in (self.key, self.sequence_number) if each is not None]
            return data + b"".join(optional)
        except (struct.error, TypeError):
            raise self.field_error() from None

    def complete(self, outer: Sequence[Header], content: bytes, inner: Header | None) -> Self:
        """Return this header with flags, protocol type and checksum computed where they are None.

        Raises:
            MalformedError: If the protocol type cannot be computed.
        """
        flags, kind = self.flags, self.protocol_type
        if flags is None:
            optional = (self.sequence_number, self.key, None, self.checksum)  # in the order of the flags' bits
            flags = GREFlag(sum(1 << bit for bit, value in enumerate(optional) if value is not None))
        if kind is None:
            kind = ethertype_of("GRE", inner, content, field="protocol_type")
        header = replace(self, flags=flags, protocol_type=kind)
        if self.checksum is not None or not self.has_checksum:
            return header
        header = replace(header, checksum=0)
        data = header.to_bytes() + content
        return replace(header, checksum=self.checksum_of(outer, data[: received_length(outer, len(data))]))

    # ----- judgement

    def checksum_verdict(self, layer: Layer) -> Checksum | None:
        return None if self.checksum is None else super().checksum_verdict(layer)

    def findings(self, layer: Layer) -> list[Finding]:
        if self.version:
            return []
        if self.flags and self.flags & GREFlag.ROUTING:
            return [layer.finding("flags", FindingKind.RESERVED, 0, "routing must be zero (RFC 2784 section 2.2)")]
        if self.reserved0:
            return [layer.finding("reserved0", FindingKind.RESERVED, 0, "must be zero (RFC 2784 section 2.2)")]
        return []

    # ----- texts

    @property
    def title(self) -> str:
        return self.field_text("protocol_type", self.protocol_type)

    def fields(self) -> list[Field]:
        found, at = super().fields(), LENGTH * 8
        for name, bits in _OPTIONAL:
            value = getattr(self, name)
            if value is not None and (name != "reserved1" or self.checksum is not None):
                found.append(Field(name, value, self.field_text(name, value), at, bits))
                at += bits
        return found

    def field_text(self, name: str, value: object) -> str:
        if name == "protocol_type" and isinstance(value, int):
            return ethertype_name(value) if value > MAX_LENGTH else f"{value:#06x}"
        if name == "key" and isinstance(value, int):
            return f"{value:#010x}"
        return super().field_text(name, value)

    def summary(self, layer: Layer, inner: Sequence[Layer], text: str) -> str:
        parts = ["GRE" if not self.version else f"GREv{self.version}"]
        if self.key is not None:
            parts.append(f"key {self.key:#x}")
        if self.sequence_number is not None:
            parts.append(f"seq {self.sequence_number}")
        text = text or f"{self.field_text('protocol_type', self.protocol_type)}, length {layer.size}"
        return ", ".join([*parts, text])


_gre = GRE.unchecked()
IP_PAYLOADS[PROTOCOL] = GRE.read
