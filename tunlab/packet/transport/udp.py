"""The UDP header: RFC 768."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import ClassVar, Self

from msgspec.structs import replace

from tunlab.packet.findings import Finding, FindingKind, trailer_rule
from tunlab.packet.header import FRAGMENTED, Header, Layer, Reading
from tunlab.packet.kinds import Transport, innermost_network, received_length
from tunlab.packet.tables import IP_PAYLOADS
from tunlab.packet.truncated import truncated
from tunlab.packet.values import is_packet_error

__tracebackhide__ = is_packet_error

LENGTH = 8
MAXIMUM = 0xFFFF
"""In a longer datagram, which only a jumbogram can hold, the length field is 0 (RFC 2675 section 4)."""

_PACKED = struct.Struct("!HHHH")
_unpack = _PACKED.unpack_from


class UDP(Transport, frozen=True, gc=False):
    """A UDP header.

    Attributes:
        length: Bytes of header and payload; None: computed.
        checksum: None: computed; 0: the packet has no checksum.
    """

    PROTOCOL: ClassVar = 17
    LAYOUT: ClassVar = (("src_port", 16), ("dst_port", 16), ("length", 16), ("checksum", 16))
    DERIVED: ClassVar = frozenset({"length", "checksum"})
    LENGTH_FROM: ClassVar = "UDP.length"
    CHECKSUM_OFFSET: ClassVar = 6
    PSEUDO_HEADER: ClassVar = True
    ZERO_CHECKSUM: ClassVar = 0xFFFF

    src_port: int = 0
    dst_port: int = 0
    length: int | None = None
    checksum: int | None = None

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Reading:
        if end - start < LENGTH:
            return truncated(cls, data, start, end)
        src_port, dst_port, length, checksum = _unpack(data, start)
        if LENGTH <= length < end - start:
            end = start + length
        return _udp(src_port, dst_port, length, checksum), start + LENGTH, end, None

    def to_bytes(self) -> bytes:
        try:
            return _PACKED.pack(self.src_port, self.dst_port, self.length, self.checksum)
        except struct.error:
            raise self.field_error() from None

    def complete(self, outer: Sequence[Header], content: bytes, inner: Header | None) -> Self:
        """Return this header with length and checksum computed if they are None."""
        length = self.length
        if length is None:
            # If the length of an outer header is forced, the datagram ends there: one forced field causes one finding.
            length = max(received_length(outer, LENGTH + len(content)), LENGTH)
            length = length if length <= MAXIMUM else 0
        header = self if self.length is not None else replace(self, length=length)
        if self.checksum is not None:
            return header
        # The checksum covers the bytes that the length counts, so that a forced length causes one finding, not two.
        counted = length - LENGTH if length >= LENGTH else len(content)
        return header._with_checksum(outer, content[:counted])

    def content_end(self, start: int, limit: int) -> int:
        length = self.length or 0
        return start + length if length >= LENGTH else limit

    def unverifiable(self, layer: Layer) -> str:
        if self.checksum == 0:
            return "the sender computed none"
        if not LENGTH <= (self.length or 0) <= layer.present and not self._is_jumbo(layer):
            return "the UDP length does not say what it covers"
        return ""

    def findings(self, layer: Layer) -> list[Finding]:
        found: list[Finding] = []
        length, present = self.length or 0, layer.present
        if length < LENGTH and not self._is_jumbo(layer):
            rule = "less than the header itself (RFC 768)"
            found.append(layer.finding("length", FindingKind.LENGTH, 4, rule, LENGTH, length, "UDP.length"))
        elif length > (held := layer.size + LENGTH) and layer.incomplete != FRAGMENTED:
            rule, network = "the UDP datagram is cut short", innermost_network(layer.outer)
            limit = layer.length_from if held == present or network is None else network.LENGTH_FROM
            found.append(layer.finding("length", FindingKind.TRUNCATED, 4, rule, length, held, limit))
        elif LENGTH <= length < present:
            rule = trailer_rule(present - length, "the UDP datagram")
            found.append(layer.finding("length", FindingKind.TRAILER, 4, rule, length, present, layer.length_from))
        if self.checksum == 0:
            network = innermost_network(layer.outer)
            if network is not None and network.REQUIRES_CHECKSUM:
                rule = f"0 stands for no checksum, and {network.REQUIRES_CHECKSUM}"
                found.append(layer.finding("checksum", FindingKind.VALUE, 6, rule))
        return found

    def _is_jumbo(self, layer: Layer) -> bool:
        return self.length == 0 and layer.size + LENGTH > MAXIMUM

    @property
    def title(self) -> str:
        return f"{self.src_port} → {self.dst_port}"

    @property
    def ports(self) -> tuple[int, int]:
        return self.src_port, self.dst_port

    def summary(self, layer: Layer, inner: Sequence[Layer], text: str) -> str:
        return f"UDP, length {layer.size}"

    def reply(self, layer: Layer) -> UDP:
        return UDP(src_port=self.dst_port, dst_port=self.src_port)


_udp = UDP.unchecked()
IP_PAYLOADS[UDP.PROTOCOL] = UDP.read
