"""A finding: one thing about a packet that no correct sender would send, as data.

Parsing frames, findings judge: nothing here raises, and a packet with findings is still a packet.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class FindingKind(StrEnum):
    """What is the matter."""

    TRUNCATED = "truncated"  # octets are missing
    LENGTH = "length"  # a length field disagrees with another, or with its own minimum
    OFFLOAD = "offload"  # total length 0, as captures of segmentation offload have it
    TRAILER = "trailer"  # octets stand after the end that a length field gives
    CHECKSUM = "checksum"
    OPTION = "option"
    RESERVED = "reserved"  # a bit that must be zero
    FRAGMENT = "fragment"  # a fragment that cannot be part of a datagram


class Finding(Struct, frozen=True):
    """One finding.

    layer, field   "IPv4", "total_length"
    offset         of the field, in octets from the datagram's first
    needed         octets needed; for a checksum the right value, for a list its entries; None where no number says it
    present        octets present; for a checksum the value that stands there, for a list its entries
    length_from    which length said how many are present: "octets" (the input's end) or a field, as "UDP.length"
    rule           what it breaks, and its source
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
            text += f" (needed {self.needed}, present {self.present}"
            text += f" by {self.length_from})" if self.length_from else ")"
        return text
