"""The IPv4 header: RFC 791, with DSCP (RFC 2474) and ECN (RFC 3168) in place of the type of service."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntFlag
from typing import TYPE_CHECKING, ClassVar, Self

from msgspec import UNSET
from msgspec.structs import replace

from tunlab.errors import MalformedError, TruncatedError
from tunlab.packet import ip_options
from tunlab.packet.address import ADDRESS_TEXTS, AddressLike, ipv4_address, ipv4_bytes
from tunlab.packet.cache import Cache
from tunlab.packet.checksum import Checksum, Verdict, internet_checksum
from tunlab.packet.field import Field, flag_names
from tunlab.packet.findings import INPUT, Finding, FindingKind, trailer_rule
from tunlab.packet.header import FRAGMENTED, Header, Layer, Reading
from tunlab.packet.kinds import Link, Network
from tunlab.packet.options import (
    Option,
    TypedOption,
    check_options,
    decode_options,
    option_findings,
    options_field,
    options_to_bytes,
    pad_options,
)
from tunlab.packet.tables import ETHERTYPES, IP_PAYLOADS, IP_VERSIONS, LINK_TYPES, not_implied, number_of, payload_name
from tunlab.packet.values import flag_converter, is_packet_error

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import SupportsBytes

__tracebackhide__ = is_packet_error

FIXED = 20
"""Bytes of a header without options."""


class IPFlag(IntFlag):
    """The three flags before the fragment offset (RFC 791 section 3.1)."""

    MF = 1  # more fragments
    DF = 2  # do not fragment
    RESERVED = 4  # must be zero


FLAGS = tuple(IPFlag(number) for number in range(8))  # indexing this is 25 times as fast as IPFlag(number)
MORE_FRAGMENTS = (False, True) * 4  # by the flags as a number; operators of IntFlag take ten times as long
_HARMLESS = (FLAGS[0], IPFlag.DF)

_PACKED = struct.Struct("!BBHHBBBBH4s4s")
_pack_pseudo = struct.Struct("!4s4sxBH").pack
unpack_ipv4 = struct.Struct("!HHHHBBH8s").unpack_from
"""Unpacks the header into the parts below, fields of whole bytes, and both addresses as eight bytes."""
FIRST_WORD = Cache[int, tuple[int, int, int]](
    lambda word: (word >> 8 & 15 if word >> 12 == 4 else 0, word >> 2 & 63, word & 3)
)
"""IHL, DSCP and ECN by the first 16 bits; the IHL is 0 if the version is not 4."""
FRAGMENT = Cache[int, tuple[IPFlag, int]](lambda bits: (FLAGS[bits >> 13], bits & 0x1FFF))
"""Flags and fragment offset by the 16 bits that hold both."""


class IPv4(Network, frozen=True, gc=False):
    """An IPv4 header.

    Attributes:
        ihl: The header's length in 32-bit words; None: computed.
        total_length: Bytes of header and content; None: computed.
        fragment_offset: In 8-byte units, as on the wire.
        protocol: None: computed from the next header.
        checksum: None: computed.
        src: Given as text or as an `ipaddress` object, held as text.
        options: Bytes as on the wire, given as bytes or as a list of options (`ip_options`).
    """

    LAYOUT: ClassVar = (
        ("version", 4), ("ihl", 4), ("dscp", 6), ("ecn", 2), ("total_length", 16),
        ("identification", 16), ("flags", 3), ("fragment_offset", 13),
        ("ttl", 8), ("protocol", 8), ("checksum", 16), ("src", 32), ("dst", 32),
    )  # fmt: skip
    TAIL: ClassVar = "options"
    DERIVED: ClassVar = frozenset({"ihl", "total_length", "protocol", "checksum"})
    COERCE: ClassVar = {
        "src": ipv4_address, "dst": ipv4_address, "final_destination": ipv4_address,
        "flags": flag_converter(IPFlag), "options": options_to_bytes,
    }  # fmt: skip
    VIEWS: ClassVar = {
        "header_length": ("ihl",),
        "is_fragment": ("flags", "fragment_offset"),
        "final_destination": ("dst", "options"),
    }
    LENGTH_FROM: ClassVar = "IPv4.total_length"
    CHECKSUM_OFFSET: ClassVar = 10

    version: int = 4
    ihl: int | None = None
    dscp: int = 0
    ecn: int = 0
    total_length: int | None = None
    identification: int = 0
    flags: IPFlag = FLAGS[0]
    fragment_offset: int = 0
    ttl: int = 64
    protocol: int | None = None
    checksum: int | None = None
    src: str = UNSET  # type: ignore[assignment]  # required, but users give it by keyword after optional fields
    dst: str = UNSET  # type: ignore[assignment]
    options: bytes = b""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            src: AddressLike,
            dst: AddressLike,
            version: int = 4,
            ihl: int | None = None,
            dscp: int = 0,
            ecn: int = 0,
            total_length: int | None = None,
            identification: int = 0,
            flags: IPFlag | int = FLAGS[0],
            fragment_offset: int = 0,
            ttl: int = 64,
            protocol: int | None = None,
            checksum: int | None = None,
            options: bytes | Iterable[SupportsBytes] = b"",
        ) -> None: ...

    @property
    def header_length(self) -> int:
        """The header's length in bytes, from `ihl`; if that is None, from the options."""
        return self.ihl * 4 if self.ihl is not None else FIXED + len(pad_options(self.options))

    @property
    def is_fragment(self) -> bool:
        """True if this packet is a fragment: the flag MF is set, or the fragment offset is not 0."""
        return self.fragment_offset != 0 or MORE_FRAGMENTS[self.flags]

    @property
    def decoded_options(self) -> tuple[Option | TypedOption, ...]:
        """The options as objects, as far as they can be read; `findings` says where reading stopped."""
        return decode_options(self.options, ip_options.TYPES)

    @property
    def final_destination(self) -> str:
        """The packet's last destination: `dst`, or the end of a source route that has hops left (RFC 791 section 3.1).

        Transport checksums cover this address instead of `dst`.
        """
        if self.options:
            for option in self.decoded_options:
                if isinstance(option, ip_options.SourceRoute) and option.pointer <= len(option.addresses) * 4 + 3:
                    return option.addresses[-1]
        return self.dst

    # ----- bytes

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Reading:
        # `packet.parse` has a copy of this for the first header of a packet: change both.
        if end - start < FIXED:
            raise header_error(data, start, end)
        word, total, identification, bits, ttl, protocol, checksum, addresses = unpack_ipv4(data, start)
        ihl, dscp, ecn = FIRST_WORD[word]
        if ihl < 5:
            raise header_error(data, start, end)
        flags, offset = FRAGMENT[bits]
        src, dst = ADDRESS_TEXTS[addresses]
        body = min(start + ihl * 4, end)
        header = new_ipv4(
            4, ihl, dscp, ecn, total, identification, flags, offset, ttl, protocol, checksum, src, dst,
            data[start + FIXED : body],
        )  # fmt: skip
        if ihl * 4 <= total <= end - start:  # shorter than the header, as 0 with segmentation offload: ignored
            end = start + total
        return header, body, end, None if offset else IP_PAYLOADS.get(protocol)

    def to_bytes(self) -> bytes:
        version, ihl, dscp, ecn = self.version, self.ihl, self.dscp, self.ecn
        flags, offset = self.flags, self.fragment_offset
        try:
            if version >> 4 or ihl >> 4 or dscp >> 6 or ecn >> 2 or flags >> 3 or offset >> 13:  # type: ignore[operator]
                raise self.field_error()
            fixed = _PACKED.pack(
                version << 4 | ihl, dscp << 2 | ecn, self.total_length,  # type: ignore[operator]  # None: a TypeError
                self.identification, flags << 5 | offset >> 8, offset & 0xFF,
                self.ttl, self.protocol, self.checksum, ipv4_bytes(self.src), ipv4_bytes(self.dst),
            )  # fmt: skip
            return fixed + self.options
        except (struct.error, TypeError):
            raise self.field_error() from None

    def complete(self, outer: Sequence[Header], content: bytes, inner: Header | None) -> Self:
        """Return this header with length, protocol and checksum computed where they are None.

        Raises:
            MalformedError: If the length or the protocol cannot be computed.
        """
        if None not in (self.ihl, self.total_length, self.protocol, self.checksum):
            return self
        protocol = number_of(IP_PAYLOADS, inner) if self.protocol is None else self.protocol
        if protocol is None:
            raise not_implied("IPv4", "protocol", inner)
        options = self.options if self.ihl is not None else check_options("IPv4", self.options, "RFC 791 section 3.1")
        total_length = self.total_length
        if total_length is None:
            total_length = FIXED + len(options) + len(content)
            if total_length > 0xFFFF:
                raise _too_long(total_length)
        header = replace(
            self,
            ihl=5 + len(options) // 4 if self.ihl is None else self.ihl,
            total_length=total_length,
            protocol=protocol,
            options=options,
            checksum=0 if self.checksum is None else self.checksum,
        )
        if self.checksum is not None:
            return header
        covered = (header.to_bytes() + content)[: max(header.header_length, FIXED)]  # as a forced IHL counts them
        return replace(header, checksum=internet_checksum(covered))

    def content_end(self, start: int, limit: int) -> int:
        total = self.total_length or 0
        return start + total if total >= (self.ihl or 5) * 4 else limit

    def content_length(self, size: int) -> int:
        total = self.total_length
        return size if total is None or total < self.header_length else min(size, total - self.header_length)

    @property
    def payload_name(self) -> str:
        return payload_name(IP_PAYLOADS, self.protocol)

    def pseudo_header(self, protocol: int, length: int, inner: Sequence[Header] = ()) -> bytes:
        """Return the 12 bytes that TCP and UDP checksums cover too (RFC 9293 section 3.1, RFC 768).

        Raises:
            MalformedError: If no packet has this length.
        """
        if length > 0xFFFF:
            raise _too_long(FIXED + len(self.options) + length)
        dst = self.final_destination if self.options else self.dst
        return _pack_pseudo(ipv4_bytes(self.src), ipv4_bytes(dst), protocol, length)

    # ----- judgement

    def checksum_verdict(self, layer: Layer) -> Checksum:
        data, value = layer.data[layer.start : layer.body], self.checksum or 0
        if len(data) < (self.ihl or 5) * 4:
            return Checksum("IPv4", Verdict.UNVERIFIABLE, value, None, "the header is cut short")
        error = int.from_bytes(data, "big") % 65535
        expected = (value - error) % 65535 if error else value
        return Checksum("IPv4", Verdict.BAD if error else Verdict.GOOD, value, expected)

    def incomplete(self, layer: Layer) -> str:
        total = self.total_length or 0
        if self.fragment_offset or MORE_FRAGMENTS[self.flags]:
            return FRAGMENTED
        if total == 0:
            return "segmentation offload leaves it unfinished"
        if total < (self.ihl or 5) * 4:
            return "the total length does not say what it covers"
        if total > layer.limit - layer.start:
            return "the capture is cut short" if layer.missing else "the packet is cut short"
        return ""

    def findings(self, layer: Layer) -> list[Finding]:
        found: list[Finding] = []
        length, total, present = (self.ihl or 5) * 4, self.total_length or 0, layer.limit - layer.start
        sent, kind, find = present + layer.missing, FindingKind, layer.finding
        if self.ttl == 0:
            found.append(find("ttl", kind.VALUE, 8, "a packet must not be sent with 0 (RFC 1122 section 3.2.1.7)"))
        if 224 <= layer.data[layer.start + 12] < 240 or self.src == "255.255.255.255":
            rule = "a multicast or broadcast address cannot be the source (RFC 1122 section 3.2.1.3)"
            found.append(find("src", kind.ADDRESS, 12, rule))
        if layer.data[layer.start + 16] == 0:
            rule = "an address that begins with 0 cannot be the destination (RFC 1122 section 3.2.1.3)"
            found.append(find("dst", kind.ADDRESS, 16, rule))
        if total == sent and length == FIXED and self.flags in _HARMLESS and not self.fragment_offset:
            return found
        if length > sent:
            rule = "the header runs past the end"
            found.append(find("ihl", kind.TRUNCATED, 0, rule, length, present, layer.length_from))
        if total == 0:
            found.append(find("total_length", kind.OFFLOAD, 2, "0, as segmentation offload leaves it in a capture"))
        elif total < length:
            rule = "less than the header"
            found.append(find("total_length", kind.LENGTH, 2, rule, length, total, "IPv4.total_length"))
        elif total > sent:
            rule = "the packet is cut short"
            found.append(find("total_length", kind.TRUNCATED, 2, rule, total, present, layer.length_from))
        elif total < present and not (layer.outer and isinstance(layer.outer[-1], Link)):
            rule = trailer_rule(present - total, "the packet")
            found.append(find("total_length", kind.TRAILER, 2, rule, total, present, layer.length_from))
        if self.flags > 3:  # RESERVED is set
            found.append(find("flags", kind.RESERVED, 6, "the first bit must be zero (RFC 791 section 3.1)"))
        if total >= length:
            size = total - length
            if size % 8 and MORE_FRAGMENTS[self.flags]:
                rule = "all fragments but the last hold a multiple of 8 bytes (RFC 791 section 3.2)"
                found.append(find("total_length", kind.FRAGMENT, 2, rule))
            if self.is_fragment and self.fragment_offset * 8 + size > 0xFFFF - FIXED:
                rule = "the fragment ends past the largest packet of 65535 bytes (RFC 791 section 3.1)"
                found.append(find("fragment_offset", kind.FRAGMENT, 6, rule))
        if self.options and not (layer.missing and layer.body == layer.limit):
            found += option_findings(layer, self.options, FIXED, "IPv4.ihl", ip_options.TYPES)
        return found

    # ----- texts

    @property
    def title(self) -> str:
        return f"{self.src} → {self.dst}"

    def fields(self) -> list[Field]:
        found = super().fields()
        return [*found, options_field(self.options, FIXED * 8, ip_options.TYPES)] if self.options else found

    def field_text(self, name: str, value: object) -> str:
        if isinstance(value, int) and not isinstance(value, IntFlag):
            match name:
                case "identification":
                    return f"{value:#06x} ({value})"
                case "protocol":
                    return f"{value} ({payload_name(IP_PAYLOADS, value)})"
                case "ihl":
                    return f"{value} ({value * 4} bytes)"
                case "fragment_offset" if value:
                    return f"{value} (byte {value * 8})"
        return super().field_text(name, value)

    def listing(self, layer: Layer, *, verbose: bool) -> list[str]:
        lines = [
            "IP Packet:",
            f"  Version: IPv{self.version}",
            f"  IHL: {self.ihl} (words)",
            f"  Total Length: {self.total_length} bytes",
            f"  Source: {self.src}",
            f"  Destination: {self.dst}",
            f"  Payload Length: {layer.size} bytes",
            f"  Protocol: {self.payload_name}",
        ]
        if not verbose:
            return lines
        options = options_field(self.options, 0, ip_options.TYPES).children
        return [
            *lines,
            f"  DSCP: {self.dscp}",
            f"  ECN: {self.ecn}",
            f"  Identification: {self.identification:#06x} ({self.identification})",
            f"  Flags: {flag_names(self.flags)}",
            f"  Fragment Offset: {self.fragment_offset} (8-byte units)",
            f"  TTL: {self.ttl}",
            f"  Header Checksum: {self.checksum:#06x} ({self.checksum_verdict(layer)})",
            *(f"  Option: {each.name} {each.text}".rstrip() for each in options),
        ]

    def summary(self, layer: Layer, inner: Sequence[Layer], text: str) -> str:
        if not text:
            name = self.payload_name if self.protocol in IP_PAYLOADS else f"protocol {self.protocol}"
            text = f"{name}, length {layer.size}"
        if self.fragment_offset or MORE_FRAGMENTS[self.flags]:
            more = "+" * (IPFlag.MF in self.flags)
            text += f", fragment id {self.identification} {layer.size}@{self.fragment_offset * 8}{more}"
        return f"IP {self.endpoints(inner)}: {text}"

    def reply(self, layer: Layer) -> IPv4:
        return IPv4(src=self.dst, dst=self.src)


def header_error(data: bytes, start: int, end: int) -> TruncatedError | MalformedError:
    """Return the error about bytes that do not begin with an IPv4 header; a wrong version is reported first."""
    if start < end and data[start] >> 4 != 4:
        rule = "an IPv4 header begins with the version 4 (RFC 791 section 3.1)"
        return MalformedError(layer="IPv4", field="version", value=data[start] >> 4, rule=rule, offset=start)
    present = end - start
    if present < FIXED:
        return TruncatedError(layer="IPv4", field="", offset=start, needed=FIXED, present=present, length_from=INPUT)
    rule = "the minimum is 5 words, for the fixed fields (RFC 791 section 3.1)"
    return MalformedError(layer="IPv4", field="ihl", value=data[start] & 15, rule=rule, offset=start)


def _too_long(total_length: int) -> MalformedError:
    rule = "a packet has at most 65535 bytes (RFC 791 section 3.1). Send fragments, or force lengths and checksums."
    return MalformedError(layer="IPv4", field="total_length", value=total_length, rule=rule)


new_ipv4 = IPv4.unchecked()
IP_VERSIONS[4] = IPv4.read
IP_PAYLOADS[4] = ETHERTYPES[0x0800] = LINK_TYPES[228] = IPv4.read
