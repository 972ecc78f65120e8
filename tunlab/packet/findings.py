"""Findings: the faults of a packet, as data. A correct sender sends no packet with findings."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from tunlab.packet.field import count

INPUT = "input"
"""The value of `length_from` if the end of the input limited the length, not a length field."""


def trailer_rule(number: int, what: str) -> str:
    """Return the sentence about bytes behind the end of a packet: "1 byte follows the end of the packet"."""
    return f"{count(number, 'byte')} follow{'s' * (number == 1)} the end of {what}"


class FindingKind(StrEnum):
    """The kind of a finding."""

    TRUNCATED = "truncated"  # bytes are missing
    LENGTH = "length"  # a length field contradicts another one, or is below its minimum
    OFFLOAD = "offload"  # total length 0, as captures with segmentation offload show it
    TRAILER = "trailer"  # bytes behind the end that a length field gives
    CHECKSUM = "checksum"
    OPTION = "option"
    RESERVED = "reserved"  # a bit that must be zero
    FRAGMENT = "fragment"  # a fragment that cannot be part of a datagram
    ADDRESS = "address"  # an address that is not allowed in this field
    VALUE = "value"  # a value, or a combination of values, that the protocol forbids


class Finding(Struct, frozen=True):
    """One fault of a packet.

    Attributes:
        layer: The header's protocol, as "IPv4".
        field: The header's field, as "total_length".
        offset: The offset of the field in the packet, in bytes.
        rule: The rule that is broken, and its source.
        needed: The bytes needed; the right value of a checksum; the announced number of list entries; None for other
            rules.
        present: The bytes present; the checksum in the packet; the number of list entries present.
        length_from: The limit of `present`: "input" (the end of the data) or a length field, as "UDP.length".
    """

    layer: str
    field: str
    kind: FindingKind
    offset: int
    rule: str
    needed: int | None = None
    present: int | None = None
    length_from: str | None = None

    def __str__(self) -> str:
        if self.kind is FindingKind.CHECKSUM and self.needed is not None and self.present is not None:
            return f"{self.layer} checksum {self.present:#06x} is bad, should be {self.needed:#06x}"
        text = f"{self.layer} {self.field.replace('_', ' ')}: {self.rule}"
        if self.needed is not None and self.present is not None:
            text += f" (needed {self.needed}, got {self.present}"
            limit = "the end of the input" if self.length_from == INPUT else self.length_from
            text += f", limited by {limit})" if limit else ")"
        return text

    @property
    def brief(self) -> str:
        """The fault in few words, for one-line summaries."""
        if self.kind is FindingKind.CHECKSUM and self.present is not None and self.needed is not None:
            return f"bad {self.layer} checksum {self.present:#06x}, should be {self.needed:#06x}"
        return f"{self.layer} {self.field.replace('_', ' ')}: {self.rule}"
