"""Multicast listener discovery: version 1 (RFC 2710) and version 2 (RFC 3810)."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, Self

from msgspec import Struct
from msgspec.structs import force_setattr

from tunlab.errors import MalformedError
from tunlab.packet.address import IPv6AddressLike, ipv6_address, ipv6_bytes, ipv6_text, is_link_local
from tunlab.packet.field import Field, count, number_fields
from tunlab.packet.findings import INPUT, Finding, FindingKind
from tunlab.packet.header import Layer
from tunlab.packet.ipv6_options import RouterAlert
from tunlab.packet.network.ipv6_extensions import HopByHop
from tunlab.packet.tables import ICMPV6_MESSAGES
from tunlab.packet.transport.icmpv6 import COMMON, ICMPv6, ip_before
from tunlab.packet.transport.icmpv6_types import ICMPv6Type
from tunlab.packet.values import check_width, is_packet_error, to_bytes

__tracebackhide__ = is_packet_error

_QUERY = (("reserved", 4), ("suppress", 1), ("robustness", 3), ("interval_code", 8), ("source_count", 16))
"""Bytes 24 to 27 of a version 2 query (RFC 3810 section 5.1)."""


class MulticastAddressRecord(Struct, frozen=True, gc=False):
    """A record of a version 2 report (RFC 3810 section 5.2); the length of `auxiliary` is a multiple of four bytes."""

    type: int
    multicast_address: str
    sources: tuple[str, ...] = ()
    auxiliary: bytes = b""

    if TYPE_CHECKING:

        def __init__(
            self,
            type: int,  # noqa: A002  # RFC 3810's word
            multicast_address: IPv6AddressLike,
            sources: Iterable[IPv6AddressLike] = (),
            auxiliary: bytes = b"",
        ) -> None: ...

    def __post_init__(self) -> None:
        force_setattr(self, "multicast_address", ipv6_address(self.multicast_address))
        force_setattr(self, "sources", tuple([ipv6_address(source) for source in self.sources]))

    def __bytes__(self) -> bytes:
        name = type(self).__name__
        words, rest = divmod(len(self.auxiliary), 4)
        if rest:
            rule = "auxiliary data are whole words of four bytes (RFC 3810 section 5.2.6)"
            raise MalformedError(layer=name, field="auxiliary", value=self.auxiliary, rule=rule)
        kind, words = check_width(name, "type", self.type, 8), check_width(name, "auxiliary", words, 8)
        head = struct.pack("!BBH", kind, words, check_width(name, "sources", len(self.sources), 16))
        return head + b"".join(map(ipv6_bytes, (self.multicast_address, *self.sources))) + self.auxiliary


class MLDMessage(ICMPv6, frozen=True, gc=False):
    """The base class of the messages of multicast listener discovery: the rules that they share."""

    TAIL: ClassVar = "rest"
    HOP_LIMIT: ClassVar = 1

    if TYPE_CHECKING:

        @property
        def rest(self) -> bytes:
            """The bytes behind the fixed fields."""

    def findings(self, layer: Layer) -> list[Finding]:
        found = list[Finding]()
        ip = ip_before(layer)
        rules = list[str]()
        if ip is not None:
            if ip.hop_limit != 1:
                rules.append(f"the hop limit is {ip.hop_limit} and must be 1")
            # RFC 3590: reports about addresses that are still tentative come from the unspecified address.
            if not is_link_local(ip.src) and (ip.src != "::" or self.type == ICMPv6Type.MULTICAST_LISTENER_QUERY):
                rules.append("the source must be a link-local address")
            if not any(isinstance(each, HopByHop) and each.has_option(RouterAlert) for each in layer.outer):
                rules.append("a hop-by-hop header must have the option router alert")
        found = [layer.finding("type", FindingKind.VALUE, 0, f"{rule} (RFC 3810 section 5)") for rule in rules]
        if not (layer.missing and layer.end == layer.limit):
            found += self.list_findings(layer)
        return found

    def list_findings(self, layer: Layer) -> list[Finding]:
        """Return the findings about the sources or records of the message."""
        raise NotImplementedError


class MLD(MLDMessage, frozen=True, gc=False):
    """A multicast listener query of version 1 or 2, or a report or a "done" of version 1.

    Attributes:
        max_response_code: In milliseconds up to 32767; higher codes are floating-point (RFC 3810 section 5.1.3).
        multicast_address: `::` in a general query.
        rest: The bytes after the first 24: the flags and sources of a version 2 query.
    """

    LAYOUT: ClassVar = (*COMMON, ("max_response_code", 16), ("reserved", 16), ("multicast_address", 128))
    COERCE: ClassVar = {"multicast_address": ipv6_address, "rest": to_bytes}
    VIEWS: ClassVar = {**ICMPv6.VIEWS, "version": ("type", "rest"), "sources": ("rest",)}

    type: int = ICMPv6Type.MULTICAST_LISTENER_QUERY
    max_response_code: int = 0
    reserved: int = 0
    multicast_address: str = "::"
    rest: bytes = b""

    if TYPE_CHECKING:

        def __init__(
            self,
            type: int = ICMPv6Type.MULTICAST_LISTENER_QUERY,  # noqa: A002  # RFC 4443's word
            code: int = 0,
            checksum: int | None = None,
            max_response_code: int = 0,
            reserved: int = 0,
            multicast_address: IPv6AddressLike = "::",
            rest: bytes = b"",
        ) -> None: ...

    @classmethod
    def query(
        cls,
        multicast_address: IPv6AddressLike = "::",
        *,
        max_response_code: int = 10_000,
        sources: Iterable[IPv6AddressLike] | None = None,
        robustness: int = 2,
        interval_code: int = 125,
    ) -> Self:
        """Return a query: of version 2 if `sources` is given (it may be empty), else of version 1."""
        rest = b""
        if sources is not None:
            data = b"".join(ipv6_bytes(ipv6_address(source)) for source in sources)
            check_width("MLD", "robustness", robustness, 3)
            check_width("MLD", "interval_code", interval_code, 8)
            rest = struct.pack("!BBH", robustness, interval_code, len(data) // 16) + data
        kind = ICMPv6Type.MULTICAST_LISTENER_QUERY
        return cls(kind, 0, None, max_response_code, 0, multicast_address, rest)

    @classmethod
    def report(cls, multicast_address: IPv6AddressLike) -> Self:
        """Return a version 1 report."""
        return cls(ICMPv6Type.MULTICAST_LISTENER_REPORT, multicast_address=multicast_address)

    @classmethod
    def done(cls, multicast_address: IPv6AddressLike) -> Self:
        """Return a version 1 "done": no listener is left."""
        return cls(ICMPv6Type.MULTICAST_LISTENER_DONE, multicast_address=multicast_address)

    @property
    def version(self) -> int | None:
        """The version, 1 or 2, from type and length; None for a query of 25 to 27 bytes (RFC 3810 section 8.1)."""
        if self.type != ICMPv6Type.MULTICAST_LISTENER_QUERY or not self.rest:
            return 1
        return 2 if len(self.rest) >= 4 else None

    @property
    def sources(self) -> tuple[str, ...]:
        """The source addresses of a version 2 query, as far as they are present."""
        if self.version != 2:
            return ()
        number = min(self._source_count, (len(self.rest) - 4) // 16)
        return tuple([ipv6_text(self.rest[at : at + 16]) for at in range(4, 4 + 16 * number, 16)])

    @property
    def _source_count(self) -> int:
        return int.from_bytes(self.rest[2:4], "big")

    @property
    def name(self) -> str:
        name = super().name
        return name if self.type != ICMPv6Type.MULTICAST_LISTENER_QUERY else f"{name} v{self.version or '?'}"

    def list_findings(self, layer: Layer) -> list[Finding]:
        """Return the findings about the address and the sources of the message."""
        found = list[Finding]()
        is_general = self.type == ICMPv6Type.MULTICAST_LISTENER_QUERY and self.multicast_address == "::"
        if ipv6_bytes(self.multicast_address)[0] != 0xFF and not is_general:
            rule = "not a multicast address (RFC 3810 section 5)"
            found.append(layer.finding("multicast_address", FindingKind.ADDRESS, 8, rule))
        if self.version is None:
            rule = "a query has 24 bytes, or 28 and more (RFC 3810 section 8.1)"
            found.append(layer.finding("rest", FindingKind.LENGTH, 24, rule, 28, self.header_length))
        elif self.version == 2 and len(self.sources) < self._source_count:
            rule, numbers = "the message ends before the last of them (RFC 3810 section 5)", len(self.sources)
            found.append(
                layer.finding("number of sources", FindingKind.TRUNCATED, 26, rule, self._source_count, numbers, INPUT)
            )
        return found

    def fields(self) -> list[Field]:
        found, at = super().fields(), 192
        if self.version == 2:
            found += number_fields(_QUERY, self.rest[:4], at)
            at += 32
        for source in self.sources:
            found.append(Field("source", source, source, at, 128))
            at += 128
        return [*found, *_rest(self.rest[at // 8 - 24 :], at)]

    def detail(self, layer: Layer) -> str:
        """Return the multicast address, unless it is that of a general query, and the number of sources."""
        sources = f", {count(len(self.sources), 'source')}" if self.sources else ""
        return ("" if self.multicast_address == "::" else f", {self.multicast_address}") + sources


class MLDv2Report(MLDMessage, frozen=True, gc=False):
    """A version 2 report (RFC 3810 section 5.2). `MLDv2Report.of(records)` makes one.

    Attributes:
        record_count: The number of records.
        rest: The records.
    """

    LAYOUT: ClassVar = (*COMMON, ("reserved", 16), ("record_count", 16))
    COERCE: ClassVar = {"rest": to_bytes}
    VIEWS: ClassVar = {**ICMPv6.VIEWS, "records": ("rest",)}

    type: int = ICMPv6Type.VERSION_2_MULTICAST_LISTENER_REPORT
    reserved: int = 0
    record_count: int = 0
    rest: bytes = b""

    @classmethod
    def of(cls, records: Iterable[MulticastAddressRecord]) -> Self:
        """Return a report with these records."""
        data = [bytes(record) for record in records]
        return cls(record_count=len(data), rest=b"".join(data))

    @property
    def name(self) -> str:
        return f"multicast listener report v2{f' code {self.code}' if self.code else ''}"

    @property
    def records(self) -> tuple[MulticastAddressRecord, ...]:
        """The records, as far as they are present."""
        found: list[MulticastAddressRecord] = []
        at = 0
        while len(found) < self.record_count and at + 20 <= len(self.rest):
            kind, words, number = struct.unpack_from("!BBH", self.rest, at)
            sources_end = at + 20 + 16 * number
            end = sources_end + 4 * words
            if end > len(self.rest):
                break
            addresses = [ipv6_text(self.rest[each : each + 16]) for each in range(at + 4, sources_end, 16)]
            found.append(MulticastAddressRecord(kind, addresses[0], addresses[1:], self.rest[sources_end:end]))
            at = end
        return tuple(found)

    def list_findings(self, layer: Layer) -> list[Finding]:
        """Return the findings about the records."""
        records = self.records
        if len(records) < self.record_count:
            rule = "the message ends before the last of them (RFC 3810 section 5)"
            return [
                layer.finding("record_count", FindingKind.TRUNCATED, 6, rule, self.record_count, len(records), INPUT)
            ]
        return []

    def fields(self) -> list[Field]:
        found, at = super().fields(), 64
        for record in self.records:
            bits = len(bytes(record)) * 8
            sources = count(len(record.sources), "source")
            text = f"type {record.type}, multicast address {record.multicast_address}, {sources}"
            found.append(Field("record", record, text, at, bits))
            at += bits
        return [*found, *_rest(self.rest[at // 8 - 8 :], at)]

    def detail(self, layer: Layer) -> str:
        """Return the multicast addresses."""
        return "".join(f", {record.multicast_address}" for record in self.records)


def _rest(data: bytes, start: int) -> list[Field]:
    return [Field("rest", data, count(len(data), "byte"), start, len(data) * 8)] if data else []


for _type in (130, 131, 132):
    ICMPV6_MESSAGES[_type] = MLD.read
ICMPV6_MESSAGES[ICMPv6Type.VERSION_2_MULTICAST_LISTENER_REPORT] = MLDv2Report.read
