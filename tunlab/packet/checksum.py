"""The Internet checksum (RFC 1071) and what a packet's checksum turned out to be.

Rule for editors: never write `65535 - x % 65535`; it is wrong whenever the sum is a multiple of 65535.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Verdict(StrEnum):
    """What can be said of a checksum."""

    GOOD = "good"
    BAD = "bad"
    UNVERIFIABLE = "not verifiable"


class Checksum(Struct, frozen=True):
    """The verdict on one layer's checksum.

    layer      "IPv4", "ICMP", "IGMP", "TCP" or "UDP"
    value      as the header has it
    expected   as it should be; None where it cannot be known
    reason     why it is not verifiable; empty otherwise
    """

    layer: str
    verdict: Verdict
    value: int
    expected: int | None = None
    reason: str = ""

    def __str__(self) -> str:
        if self.verdict is Verdict.BAD and self.expected is not None:
            return f"bad, should be {self.expected:#06x}"
        return f"{self.verdict}: {self.reason}" if self.reason else str(self.verdict)


def internet_checksum(octets: bytes) -> int:
    """The 16-bit checksum of `octets`, in which the checksum field itself is zero (RFC 1071 section 1).

    An odd last octet is padded on the right with a zero. All-zero input has the checksum 0xffff.
    """
    # 2**16 ≡ 1 (mod 65535): the ones'-complement sum of the words is the whole number modulo 65535.
    number = int.from_bytes(octets, "big") << (8 if len(octets) & 1 else 0)
    return -number % 65535 if number else 0xFFFF


def checksum_ok(octets: bytes) -> bool:
    """Whether `octets`, their checksum field included, sum to 0xffff, as an undamaged header does (RFC 1071)."""
    number = int.from_bytes(octets, "big") << (8 if len(octets) & 1 else 0)
    # All zero leaves no remainder either, but its sum is 0, not 0xffff.
    return number != 0 and number % 65535 == 0
