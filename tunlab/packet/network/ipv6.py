"""The IPv6 header: RFC 8200, with DSCP (RFC 2474) and ECN (RFC 3168) in place of the traffic class."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Self

from msgspec import UNSET
from msgspec.structs import replace

from tunlab.errors import MalformedError, PacketError, TruncatedError
from tunlab.packet.address import IPv6AddressLike, ipv6_address, ipv6_bytes, ipv6_text
from tunlab.packet.findings import INPUT, Finding, FindingKind, trailer_rule
from tunlab.packet.header import Header, Layer, Reading
from tunlab.packet.kinds import Extension, Link, Network
from tunlab.packet.tables import (
    ETHERTYPES,
    IP_PAYLOADS,
    IP_VERSIONS,
    LINK_TYPES,
    next_header_name,
    next_header_of,
    next_reader,
)
from tunlab.packet.truncated import TruncatedHeader
from tunlab.packet.values import is_packet_error

__tracebackhide__ = is_packet_error

LENGTH = 40
MINIMUM_MTU = 1280
"""In bytes: every link that carries IPv6 has at least this MTU (RFC 8200 section 5)."""
LINKTYPE_IPV6 = 229

_PACKED = struct.Struct("!IHBB16s16s")
_unpack = _PACKED.unpack_from


class IPv6(Network, frozen=True, gc=False):
    """An IPv6 header.

    Attributes:
        payload_length: Bytes behind the header, extension headers included; None: computed.
        next_header: The protocol of the next header; None: computed, 59 if nothing follows.
        hop_limit: None: computed, 255 before neighbor discovery, 1 before multicast listener discovery, else 64.
        src: Given as text or as an `ipaddress` object, held as text in the form of RFC 5952.
    """

    LAYOUT: ClassVar = (
        ("version", 4), ("dscp", 6), ("ecn", 2), ("flow_label", 20),
        ("payload_length", 16), ("next_header", 8), ("hop_limit", 8), ("src", 128), ("dst", 128),
    )  # fmt: skip
    DERIVED: ClassVar = frozenset({"payload_length", "next_header", "hop_limit"})
    COERCE: ClassVar = {"src": ipv6_address, "dst": ipv6_address}
    VIEWS: ClassVar = {"traffic_class": ("dscp", "ecn")}
    LENGTH_FROM: ClassVar = "IPv6.payload_length"
    REQUIRES_CHECKSUM: ClassVar = "IPv6 requires a checksum (RFC 8200 section 8.1)"

    version: int = 6
    dscp: int = 0
    ecn: int = 0
    flow_label: int = 0
    payload_length: int | None = None
    next_header: int | None = None
    hop_limit: int | None = None
    src: str = UNSET  # type: ignore[assignment]  # required, but users give it by keyword after optional fields
    dst: str = UNSET  # type: ignore[assignment]

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            src: IPv6AddressLike,
            dst: IPv6AddressLike,
            version: int = 6,
            dscp: int = 0,
            ecn: int = 0,
            flow_label: int = 0,
            payload_length: int | None = None,
            next_header: int | None = None,
            hop_limit: int | None = None,
        ) -> None: ...

    @property
    def traffic_class(self) -> int:
        """DSCP and ECN in one byte."""
        return self.dscp << 2 | self.ecn

    # ----- bytes

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Reading:
        if end - start < LENGTH or data[start] >> 4 != 6:
            raise _header_error(data, start, end)
        word, length, following, hop_limit, src, dst = _unpack(data, start)
        header = _ipv6(
            6, word >> 22 & 63, word >> 20 & 3, word & 0xFFFFF, length, following, hop_limit,
            ipv6_text(src), ipv6_text(dst),
        )  # fmt: skip
        body = start + LENGTH
        if 0 < length <= end - body:  # 0 stands for a jumbogram, or for segmentation offload in a capture
            end = body + length
        return header, body, end, next_reader(following)

    def to_bytes(self) -> bytes:
        version, dscp, ecn, label = self.version, self.dscp, self.ecn, self.flow_label
        try:
            if version >> 4 or dscp >> 6 or ecn >> 2 or label >> 20:
                raise self.field_error()
            return _PACKED.pack(
                version << 28 | dscp << 22 | ecn << 20 | label, self.payload_length, self.next_header,
                self.hop_limit, ipv6_bytes(self.src), ipv6_bytes(self.dst),
            )  # fmt: skip
        except (struct.error, TypeError):
            raise self.field_error() from None

    def complete(self, outer: Sequence[Header], content: bytes, inner: Header | None) -> Self:
        """Return this header with length, next header and hop limit computed where they are None.

        Raises:
            MalformedError: If they cannot be computed.
        """
        length, following = self.payload_length, self.next_header
        if length is None:
            length = len(content)
            if length > 0xFFFF:
                if not isinstance(inner, Extension) or not inner.content_end(0, 0):
                    raise _too_long(length)
                length = 0  # the hop-by-hop header holds the length of a jumbogram (RFC 2675 section 2)
        if following is None:
            following = next_header_of("IPv6", inner, content)
        hop_limit = _hop_limit(inner, following, content) if self.hop_limit is None else self.hop_limit
        return replace(self, payload_length=length, next_header=following, hop_limit=hop_limit)

    def content_end(self, start: int, limit: int) -> int:
        return start + LENGTH + self.payload_length if self.payload_length else limit

    def content_length(self, size: int) -> int:
        return min(size, self.payload_length) if self.payload_length else size

    @property
    def payload_name(self) -> str:
        return next_header_name(self.next_header)

    def pseudo_header(self, protocol: int, length: int, inner: Sequence[Header] = ()) -> bytes:
        """Return the 40 bytes that transport checksums cover too (RFC 8200 section 8.1)."""
        dst = self.dst
        for header in inner:
            if isinstance(header, Extension):
                dst = header.final_destination or dst
        return ipv6_bytes(self.src) + ipv6_bytes(dst) + struct.pack("!II", length, protocol)

    # ----- judgement

    def incomplete(self, layer: Layer) -> str:
        length = self.payload_length or 0
        if not length and layer.end > layer.body and self.next_header:  # the hop-by-hop header judges a jumbogram
            return "segmentation offload leaves it unfinished"
        if length > layer.limit - layer.body:
            return "the capture is cut short" if layer.missing else "the packet is cut short"
        return ""

    def findings(self, layer: Layer) -> list[Finding]:
        found: list[Finding] = []
        kind, find = FindingKind, layer.finding
        length, present = self.payload_length or 0, layer.limit - layer.body
        if length > present + layer.missing:
            rule = "the packet is cut short"
            found.append(find("payload_length", kind.TRUNCATED, 4, rule, length, present, layer.length_from))
        elif not length and present and self.next_header:
            rule = "0, as segmentation offload leaves it in a capture"
            found.append(find("payload_length", kind.OFFLOAD, 4, rule))
        elif length < present and length and not (layer.outer and isinstance(layer.outer[-1], Link)):
            rule = trailer_rule(present - length, "the packet")
            found.append(find("payload_length", kind.TRAILER, 4, rule, length, present, layer.length_from))
        if layer.data[layer.start + 8] == 0xFF:
            rule = "a multicast address cannot be the source (RFC 4291 section 2.7)"
            found.append(find("src", kind.ADDRESS, 8, rule))
        if self.dst == "::":
            rule = "the unspecified address cannot be the destination (RFC 4291 section 2.5.2)"
            found.append(find("dst", kind.ADDRESS, 24, rule))
        elif layer.data[layer.start + 24] == 0xFF and not layer.data[layer.start + 25] & 15:
            rule = "a multicast address cannot have the reserved scope 0 (RFC 4291 section 2.7)"
            found.append(find("dst", kind.ADDRESS, 24, rule))
        return found

    # ----- texts

    @property
    def title(self) -> str:
        return f"{self.src} → {self.dst}"

    def field_text(self, name: str, value: object) -> str:
        if name == "flow_label" and isinstance(value, int):
            return f"{value:#07x}"
        if name == "next_header" and isinstance(value, int):
            return f"{value} ({next_header_name(value)})"
        return super().field_text(name, value)

    def listing(self, layer: Layer, *, verbose: bool) -> list[str]:
        lines = [
            "IP Packet:",
            f"  Version: IPv{self.version}",
            f"  Payload Length: {self.payload_length} bytes",
            f"  Source: {self.src}",
            f"  Destination: {self.dst}",
            f"  Next Header: {self.payload_name}",
        ]
        if not verbose:
            return lines
        return [
            *lines,
            f"  DSCP: {self.dscp}",
            f"  ECN: {self.ecn}",
            f"  Flow Label: {self.flow_label:#07x}",
            f"  Hop Limit: {self.hop_limit}",
        ]

    def summary(self, layer: Layer, inner: Sequence[Layer], text: str) -> str:
        return f"IP6 {self.endpoints(inner)}: {text or f'{self.payload_name}, length {layer.size}'}"

    def reply(self, layer: Layer) -> IPv6:
        return IPv6(src=self.dst, dst=self.src)


def _header_error(data: bytes, start: int, end: int) -> TruncatedError | MalformedError:
    if start < end and data[start] >> 4 != 6:
        rule = "an IPv6 header begins with the version 6 (RFC 8200 section 3)"
        return MalformedError(layer="IPv6", field="version", value=data[start] >> 4, rule=rule, offset=start)
    present = end - start
    return TruncatedError(layer="IPv6", field="", offset=start, needed=LENGTH, present=present, length_from=INPUT)


def _too_long(length: int) -> MalformedError:
    rule = "a packet has at most 65535 bytes behind the IPv6 header (RFC 8200 section 3). Send fragments or force it."
    return MalformedError(layer="IPv6", field="payload_length", value=length, rule=rule)


def _hop_limit(inner: Header | None, following: int, content: bytes) -> int:
    """Return the hop limit that the header behind all extension headers asks for."""
    reader, start, end = next_reader(following), 0, len(content)
    while isinstance(inner, Extension) and reader is not None and start < end:
        try:
            inner, start, end, reader = reader(content, start, end)
        except PacketError:  # a forced length or next header field leads to bytes that are not a header
            break
    kind = inner.layer if isinstance(inner, TruncatedHeader) else inner
    return Header.HOP_LIMIT if kind is None else kind.HOP_LIMIT


_ipv6 = IPv6.unchecked()
IP_VERSIONS[6] = LINK_TYPES[LINKTYPE_IPV6] = ETHERTYPES[0x86DD] = IPv6.read
IP_PAYLOADS[41] = IPv6.read
