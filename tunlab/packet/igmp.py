"""IGMP: version 1 (RFC 1112 appendix I), 2 (RFC 2236) and 3 (RFC 3376)."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar, Self

from msgspec import Struct
from msgspec.structs import force_setattr, replace

from tunlab.errors import MalformedError
from tunlab.packet.address import OCTETS, TEXT, AddressLike, address_text
from tunlab.packet.checksum import internet_checksum
from tunlab.packet.findings import Finding, FindingKind
from tunlab.packet.header import Transport, check_width, to_bytes
from tunlab.packet.ipv4 import IPv4

if TYPE_CHECKING:
    from collections.abc import Iterable

LENGTH = 8

_PACKED = struct.Struct("!BBH4s")


class IGMPType(IntEnum):
    """Message types."""

    MEMBERSHIP_QUERY = 0x11
    V1_MEMBERSHIP_REPORT = 0x12
    V2_MEMBERSHIP_REPORT = 0x16
    LEAVE_GROUP = 0x17
    V3_MEMBERSHIP_REPORT = 0x22


class GroupRecord(Struct, frozen=True, gc=False):
    """One group of a version 3 report (RFC 3376 section 4.2.4); auxiliary data are octets, in whole words."""

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
        force_setattr(self, "group", address_text(self.group))
        force_setattr(self, "sources", tuple(address_text(source) for source in self.sources))

    def __bytes__(self) -> bytes:
        words, rest = divmod(len(self.auxiliary), 4)
        if rest:
            rule = "auxiliary data are whole words of four octets (RFC 3376 section 4.2.6)"
            raise MalformedError(layer="GroupRecord", field="auxiliary", value=self.auxiliary, rule=rule)
        kind, words = (
            check_width("GroupRecord", "type", self.type, 8),
            check_width("GroupRecord", "auxiliary", words, 8),
        )
        head = struct.pack("!BBH", kind, words, check_width("GroupRecord", "sources", len(self.sources), 16))
        return head + b"".join(OCTETS[address] for address in (self.group, *self.sources)) + self.auxiliary


class IGMP(Transport, frozen=True, gc=False):
    """An IGMP message.

    max_response_code   tenths of a second up to 127; above, RFC 3376 section 4.1.1's floating point
    group               octets 4 to 7. In a version 3 report reserved and number of records stand there: `record_count`
    rest                octets after the first eight: a version 3 query's flags and sources, a report's records
    checksum            None: computed
    """

    PROTOCOL: ClassVar = 2
    LAYOUT: ClassVar = (("type", 8), ("max_response_code", 8), ("checksum", 16), ("group", 32))
    DERIVED: ClassVar = frozenset({"checksum"})
    COERCE: ClassVar = {"group": address_text, "rest": to_bytes}
    VIEWS: ClassVar = ("version", "sources", "records", "record_count", "name")

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

    def __post_init__(self) -> None:
        if type(self.group) is not str or self.group not in OCTETS:
            self.normalize("group")
        if type(self.rest) is not bytes:
            self.normalize("rest")

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
        """A membership query: of version 3 where `sources` is given (it may be empty), else of version 2."""
        if sources is None:
            return cls(IGMPType.MEMBERSHIP_QUERY, max_response_code, None, group)
        octets = b"".join(OCTETS[address_text(source)] for source in sources)
        check_width("IGMP", "robustness", robustness, 3)
        check_width("IGMP", "interval_code", interval_code, 8)
        rest = struct.pack("!BBH", robustness, interval_code, len(octets) // 4) + octets
        return cls(IGMPType.MEMBERSHIP_QUERY, max_response_code, None, group, rest)

    @classmethod
    def report(cls, group: AddressLike) -> Self:
        """A version 2 membership report."""
        return cls(IGMPType.V2_MEMBERSHIP_REPORT, 0, None, group)

    @classmethod
    def leave(cls, group: AddressLike) -> Self:
        """A version 2 leave group message."""
        return cls(IGMPType.LEAVE_GROUP, 0, None, group)

    @classmethod
    def report_v3(cls, records: Iterable[GroupRecord]) -> Self:
        """A version 3 membership report."""
        octets = [bytes(record) for record in records]
        return cls(IGMPType.V3_MEMBERSHIP_REPORT, 0, None, TEXT[struct.pack("!HH", 0, len(octets))], b"".join(octets))

    @property
    def version(self) -> int | None:
        """1, 2 or 3 by type and length (RFC 3376 section 7.1); None for a type or a query's length of no version."""
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
        """The source addresses of a version 3 query, as far as they are there."""
        if self.type != IGMPType.MEMBERSHIP_QUERY or len(self.rest) < 4:
            return ()
        count = min(int.from_bytes(self.rest[2:4], "big"), (len(self.rest) - 4) // 4)
        return tuple(TEXT[self.rest[at : at + 4]] for at in range(4, 4 + 4 * count, 4))

    @property
    def record_count(self) -> int | None:
        """How many group records a version 3 report says it has; None for other messages."""
        return int.from_bytes(OCTETS[self.group][2:], "big") if self.type == IGMPType.V3_MEMBERSHIP_REPORT else None

    @property
    def records(self) -> tuple[GroupRecord, ...]:
        """The group records of a version 3 report, as far as they are there."""
        found: list[GroupRecord] = []
        at = 0
        while len(found) < (self.record_count or 0) and at + 8 <= len(self.rest):
            kind, auxiliary_words, count = struct.unpack_from("!BBH", self.rest, at)
            sources_end = at + 8 + 4 * count
            end = sources_end + 4 * auxiliary_words
            if end > len(self.rest):
                break
            addresses = tuple(TEXT[self.rest[each : each + 4]] for each in range(at + 4, sources_end, 4))
            found.append(GroupRecord(kind, addresses[0], addresses[1:], self.rest[sources_end:end]))
            at = end
        return tuple(found)

    def complete(self, ip: IPv4, payload: bytes) -> IGMP:  # noqa: ARG002  # IGMP has no pseudo-header
        """This message with the checksum computed where it is None."""
        return self if self.checksum is not None else replace(self, checksum=igmp_checksum(self, payload))

    def to_bytes(self) -> bytes:
        """The message on the wire; raises MalformedError where a field does not fit."""
        try:
            return _PACKED.pack(self.type, self.max_response_code, self.checksum, OCTETS[self.group]) + self.rest
        except struct.error:
            raise self.field_error() from None


def parse_igmp(octets: bytes, start: int, end: int) -> IGMP:
    """The message in octets[start:end], which are eight at least."""
    kind, code, checksum, group = _PACKED.unpack_from(octets, start)
    return IGMP(kind, code, checksum, TEXT[group], octets[start + LENGTH : end])


def igmp_checksum(igmp: IGMP, payload: bytes) -> int:
    """The checksum that belongs into `igmp`, whatever stands there; over the whole IP payload (RFC 3376 section 4)."""
    return internet_checksum(replace(igmp, checksum=0).to_bytes() + payload)


def igmp_findings(igmp: IGMP, offset: int) -> list[Finding]:
    """What is wrong with a message at `offset`; its checksum apart."""
    if igmp.type == IGMPType.V3_MEMBERSHIP_REPORT:
        field, at, wanted, read = "number of group records", 6, igmp.record_count or 0, len(igmp.records)
    elif igmp.type == IGMPType.MEMBERSHIP_QUERY and len(igmp.rest) >= 4:
        field, at, wanted, read = "number of sources", 10, int.from_bytes(igmp.rest[2:4], "big"), len(igmp.sources)
    else:
        return []
    if read >= wanted:
        return []
    rule = "the message ends before the last of them (RFC 3376 section 4)"
    return [Finding("IGMP", field, FindingKind.TRUNCATED, offset + at, rule, wanted, read, "octets")]
