"""The Internet checksum (RFC 1071), and verdicts on the checksums of a packet."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Verdict(StrEnum):
    """The result of verifying a checksum."""

    GOOD = "good"
    BAD = "bad"
    UNVERIFIABLE = "not verifiable"


class Checksum(Struct, frozen=True):
    """The verdict on the checksum of one header.

    Attributes:
        layer: The header's protocol, as "IPv4" or "TCP".
        value: The checksum in the packet.
        expected: The checksum that the packet should have; None if it cannot be computed.
        reason: Why it is not verifiable; empty otherwise.
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


def internet_checksum(data: bytes) -> int:
    """Return the 16-bit checksum of `data`, whose checksum field is zero (RFC 1071 section 1).

    An odd last byte is padded on the right with a zero. Data that is all zero has the checksum 0xffff.
    """
    # 2**16 ≡ 1 (mod 65535): the ones'-complement sum of the words is the whole number modulo 65535.
    number = word_sum(data)
    return -number % 65535 if number else 0xFFFF


def word_sum(data: bytes) -> int:
    """Return a number with the same remainder modulo 65535 as the sum of the 16-bit words of `data`."""
    return int.from_bytes(data, "big") << (8 if len(data) & 1 else 0)


def checksum_ok(data: bytes) -> bool:
    """Return True if `data`, its checksum field included, sums to 0xffff, as an undamaged header does (RFC 1071)."""
    number = word_sum(data)
    # Data that is all zero leaves no remainder either, but its sum is 0, not 0xffff.
    return number != 0 and number % 65535 == 0
