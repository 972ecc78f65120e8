"""IGMP: version 1 (RFC 1112 appendix I), 2 (RFC 2236) and 3 (RFC 3376)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar, Self

from msgspec import Struct
from msgspec.structs import force_setattr

from tunlab.errors import MalformedError
from tunlab.packet.address import AddressLike, ipv4_address, ipv4_bytes, ipv4_text
from tunlab.packet.field import Field, count, number_fields
from tunlab.packet.findings import INPUT, Finding, FindingKind
from tunlab.packet.header import Layer, Reading
from tunlab.packet.kinds import Transport
from tunlab.packet.tables import IP_PAYLOADS
from tunlab.packet.truncated import truncated
from tunlab.packet.values import check_width, is_packet_error, to_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

__tracebackhide__ = is_packet_error

LENGTH = 8

_PACKED = struct.Struct("!BBH4s")
_unpack = _PACKED.unpack_from


class IGMPType(IntEnum):
    """IGMP message types."""

    MEMBERSHIP_QUERY = 0x11
    V1_MEMBERSHIP_REPORT = 0x12
    V2_MEMBERSHIP_REPORT = 0x16
    LEAVE_GROUP = 0x17
    V3_MEMBERSHIP_REPORT = 0x22


class GroupRecord(Struct, frozen=True, gc=False):
    """A group of a version 3 report (RFC 3376 section 4.2.4); the length of `auxiliary` is a multiple of four bytes."""

    type: int
    group: str
    sources: tuple[str, ...] = ()
    auxiliary: bytes = b""

    if TYPE_CHECKING:

        def __init__(
            self,
            type: int,  # noqa: A002  # RFC 3376's word
            group: AddressLike,
            sources: Iterable[AddressLike] = (),
            auxiliary: bytes = b"",
        ) -> None: ...

    def __post_init__(self) -> None:
        force_setattr(self, "group", ipv4_address(self.group))
        force_setattr(self, "sources", tuple([ipv4_address(source) for source in self.sources]))

    def __bytes__(self) -> bytes:
        words, rest = divmod(len(self.auxiliary), 4)
        if rest:
            rule = "auxiliary data are whole words of four bytes (RFC 3376 section 4.2.6)"
            raise MalformedError(layer="GroupRecord", field="auxiliary", value=self.auxiliary, rule=rule)
        kind, words = (
            check_width("GroupRecord", "type", self.type, 8),
            check_width("GroupRecord", "auxiliary", words, 8),
        )
        head = struct.pack("!BBH", kind, words, check_width("GroupRecord", "sources", len(self.sources), 16))
        return head + b"".join(map(ipv4_bytes, (self.group, *self.sources))) + self.auxiliary


class IGMP(Transport, frozen=True, gc=False):
    """An IGMP message.

    Attributes:
        max_response_code: In tenths of a second up to 127; higher codes are floating-point (RFC 3376 section 4.1.1).
        group: Bytes 4 to 7. A version 3 report keeps the number of records there: `record_count`.
        rest: Bytes after the first eight: a version 3 query's flags and sources, a report's records.
        checksum: None: computed.
    """

    PROTOCOL: ClassVar = 2
    LAYOUT: ClassVar = (("type", 8), ("max_response_code", 8), ("checksum", 16), ("group", 32))
    TAIL: ClassVar = "rest"
    COERCE: ClassVar = {"group": ipv4_address, "rest": to_bytes}
    VIEWS: ClassVar = {
        "version": ("type", "rest"),
        "name": ("type",),
        "sources": ("rest",),
        "records": ("rest",),
        "record_count": ("group",),
    }
    CHECKSUM_OFFSET: ClassVar = 2

    type: int = IGMPType.MEMBERSHIP_QUERY
    max_response_code: int = 0
    checksum: int | None = None
    group: str = "0.0.0.0"
    rest: bytes = b""

    if TYPE_CHECKING:

        def __init__(
            self,
            type: int = IGMPType.MEMBERSHIP_QUERY,  # noqa: A002  # RFC 3376's word
            max_response_code: int = 0,
            checksum: int | None = None,
            group: AddressLike = "0.0.0.0",
            rest: bytes = b"",
        ) -> None: ...

    @property
    def header_length(self) -> int:
        """The message's length in bytes."""
        return LENGTH + len(self.rest)

    @classmethod
    def query(
        cls,
        group: AddressLike = "0.0.0.0",
        *,
        max_response_code: int = 100,
        sources: Iterable[AddressLike] | None = None,
        robustness: int = 2,
        interval_code: int = 125,
    ) -> Self:
        """Return a membership query: of version 3 if `sources` is given (it may be empty), else of version 2."""
        if sources is None:
            return cls(IGMPType.MEMBERSHIP_QUERY, max_response_code, None, group)
        data = b"".join(ipv4_bytes(ipv4_address(source)) for source in sources)
        check_width("IGMP", "robustness", robustness, 3)
        check_width("IGMP", "interval_code", interval_code, 8)
        rest = struct.pack("!BBH", robustness, interval_code, len(data) // 4) + data
        return cls(IGMPType.MEMBERSHIP_QUERY, max_response_code, None, group, rest)

    @classmethod
    def report(cls, group: AddressLike) -> Self:
        """Return a version 2 membership report."""
        return cls(IGMPType.V2_MEMBERSHIP_REPORT, 0, None, group)

    @classmethod
    def leave(cls, group: AddressLike) -> Self:
        """Return a version 2 leave group message."""
        return cls(IGMPType.LEAVE_GROUP, 0, None, group)

    @classmethod
    def report_v3(cls, records: Iterable[GroupRecord]) -> Self:
        """Return a version 3 membership report."""
        data = [bytes(record) for record in records]
        return cls(IGMPType.V3_MEMBERSHIP_REPORT, 0, None, ipv4_text(struct.pack("!HH", 0, len(data))), b"".join(data))

    @property
    def version(self) -> int | None:
        """The IGMP version, from type and length of the message (RFC 3376 section 7.1); None for unknown messages."""
        if self.type == IGMPType.MEMBERSHIP_QUERY:
            if 0 < len(self.rest) < 4:
                return None
            return 3 if len(self.rest) >= 4 else 2 if self.max_response_code else 1
        return {0x12: 1, 0x16: 2, 0x17: 2, 0x22: 3}.get(self.type)

    @property
    def name(self) -> str:
        """The message in words, as "v2 membership report"."""
        report = "membership report"
        names = {0x11: "membership query", 0x12: report, 0x16: report, 0x17: "leave group", 0x22: report}
        name, version = names.get(self.type), self.version
        if name is None:
            return f"type {self.type:#04x}"
        return f"{name} of no version" if version is None else f"v{version} {name}"

    @property
    def sources(self) -> tuple[str, ...]:
        """The source addresses of a version 3 query, as far as they are present."""
        if self.type != IGMPType.MEMBERSHIP_QUERY or len(self.rest) < 4:
            return ()
        number = min(self._source_count, (len(self.rest) - 4) // 4)
        return tuple([ipv4_text(self.rest[at : at + 4]) for at in range(4, 4 + 4 * number, 4)])

    @property
    def record_count(self) -> int | None:
        """The number of group records that a version 3 report announces; None for other messages."""
        return int.from_bytes(ipv4_bytes(self.group)[2:], "big") if self.type == IGMPType.V3_MEMBERSHIP_REPORT else None

    @property
    def records(self) -> tuple[GroupRecord, ...]:
        """The group records of a version 3 report, as far as they are present."""
        found: list[GroupRecord] = []
        at = 0
        while len(found) < (self.record_count or 0) and at + 8 <= len(self.rest):
            kind, auxiliary_words, count = struct.unpack_from("!BBH", self.rest, at)
            sources_end = at + 8 + 4 * count
            end = sources_end + 4 * auxiliary_words
            if end > len(self.rest):
                break
            addresses = tuple(ipv4_text(self.rest[each : each + 4]) for each in range(at + 4, sources_end, 4))
            found.append(GroupRecord(kind, addresses[0], addresses[1:], self.rest[sources_end:end]))
            at = end
        return tuple(found)

    # ----- bytes

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> Reading:
        if end - start < LENGTH:
            return truncated(cls, data, start, end)
        kind, code, checksum, group = _unpack(data, start)
        return _igmp(kind, code, checksum, ipv4_text(group), data[start + LENGTH : end]), end, end, None

    def to_bytes(self) -> bytes:
        try:
            return _PACKED.pack(self.type, self.max_response_code, self.checksum, ipv4_bytes(self.group)) + self.rest
        except struct.error:
            raise self.field_error() from None

    # ----- judgement

    def findings(self, layer: Layer) -> list[Finding]:
        if layer.missing and layer.end == layer.limit:
            return []
        if self.type == IGMPType.V3_MEMBERSHIP_REPORT:
            field, at, wanted, read = "number of group records", 6, self.record_count or 0, len(self.records)
        elif self.type == IGMPType.MEMBERSHIP_QUERY and len(self.rest) >= 4:
            field, at, wanted, read = "number of sources", 10, self._source_count, len(self.sources)
        else:
            return []
        if read >= wanted:
            return []
        rule = "the message ends before the last of them (RFC 3376 section 4)"
        return [layer.finding(field, FindingKind.TRUNCATED, at, rule, wanted, read, INPUT)]

    @property
    def _source_count(self) -> int:
        return int.from_bytes(self.rest[2:4], "big")

    # ----- texts

    @property
    def title(self) -> str:
        return self.name

    def field_text(self, name: str, value: object) -> str:
        return f"{int(self.type)} ({self.name})" if name == "type" else super().field_text(name, value)

    def fields(self) -> list[Field]:
        found, at = super().fields(), LENGTH * 8
        if self.record_count is not None:
            reserved = found[1]._replace(name="reserved")
            counts = number_fields((("reserved", 16), ("record_count", 16)), ipv4_bytes(self.group), 32)
            found = [found[0], reserved, found[2], *counts]
        elif self.type == IGMPType.MEMBERSHIP_QUERY and len(self.rest) >= 4:
            found += number_fields(_QUERY, self.rest[:4], at)
            at += 32
        for source in self.sources:
            found.append(Field("source", source, source, at, 32))
            at += 32
        for record in self.records:
            bits = len(bytes(record)) * 8
            text = f"type {record.type}, group {record.group}, {count(len(record.sources), 'source')}"
            found.append(Field("record", record, text, at, bits))
            at += bits
        left = self.rest[at // 8 - LENGTH :]
        return [*found, Field("rest", left, count(len(left), "byte"), at, len(left) * 8)] if left else found

    def to_dict(self) -> dict[str, object]:
        """Return the fields that this type of message has, as numbers and text for JSON."""
        found = super().to_dict()
        if self.record_count is not None:
            del found["max_response_code"], found["group"]
            found["record_count"] = self.record_count
        return found

    def summary(self, layer: Layer, inner: Sequence[Layer], text: str) -> str:
        return f"igmp {self.name}" + (f" {self.group}" if self.record_count is None else "")


_QUERY = (("reserved", 4), ("suppress", 1), ("robustness", 3), ("interval_code", 8), ("source_count", 16))
"""Bytes 8 to 11 of a version 3 query (RFC 3376 section 4.1)."""

_igmp = IGMP.unchecked()
IP_PAYLOADS[IGMP.PROTOCOL] = IGMP.read
