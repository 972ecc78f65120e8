"""The UDP-Lite header: RFC 3828. An example of a protocol in one file, which the package does not have."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import ClassVar

from tunlab.packet.findings import Finding, FindingKind
from tunlab.packet.header import Header, Layer, Reading
from tunlab.packet.kinds import Transport, pseudo_header
from tunlab.packet.tables import IP_PAYLOADS
from tunlab.packet.truncated import truncated
from tunlab.packet.values import is_packet_error

__tracebackhide__ = is_packet_error

LENGTH = 8

_PACKED = struct.Struct("!HHHH")


class UDPLite(Transport, frozen=True, gc=False):
    """A UDP-Lite header.

    Attributes:
        coverage: The number of bytes that the checksum covers, from the start of the header; 0: all.
        checksum: None: computed.
    """

    PROTOCOL: ClassVar = 136
    LAYOUT: ClassVar = (("src_port", 16), ("dst_port", 16), ("coverage", 16), ("checksum", 16))
    CHECKSUM_OFFSET: ClassVar = 6
    ZERO_CHECKSUM: ClassVar = 0xFFFF

    src_port: int = 0
    dst_port: int = 0
    coverage: int = 0
    checksum: int | None = None

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Reading:
        if end - start < LENGTH:
            return truncated(cls, data, start, end)
        return _udp_lite(*_PACKED.unpack_from(data, start)), start + LENGTH, end, None

    def to_bytes(self) -> bytes:
        try:
            return _PACKED.pack(self.src_port, self.dst_port, self.coverage, self.checksum)
        except struct.error:
            raise self.field_error() from None

    def covered(self, outer: Sequence[Header], data: bytes) -> bytes:
        return pseudo_header(outer, self, len(data)) + data[: self.coverage or len(data)]

    def findings(self, layer: Layer) -> list[Finding]:
        if self.coverage and not LENGTH <= self.coverage <= layer.present + layer.missing:
            rule = "less than the header or more than the packet (RFC 3828 section 3.1)"
            return [layer.finding("coverage", FindingKind.LENGTH, 4, rule)]
        return []

    @property
    def title(self) -> str:
        return f"{self.src_port} → {self.dst_port}"

    @property
    def ports(self) -> tuple[int, int]:
        return self.src_port, self.dst_port

    def reply(self, layer: Layer) -> UDPLite:
        return UDPLite(src_port=self.dst_port, dst_port=self.src_port)


_udp_lite = UDPLite.unchecked()
IP_PAYLOADS[UDPLite.PROTOCOL] = UDPLite.read
