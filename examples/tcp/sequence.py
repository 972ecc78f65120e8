"""Arithmetic on sequence numbers, which wrap at 2**32 (RFC 9293 section 3.4)."""


def add(number: int, count: int) -> int:
    """Return the sequence number `count` after `number`."""
    return (number + count) & 0xFFFFFFFF


def distance(start: int, end: int) -> int:
    """Return how far `end` is after `start`; negative if it is before."""
    return ((end - start + 0x80000000) & 0xFFFFFFFF) - 0x80000000
