"""A field of a header as the listing, the diagram and the HTML page show it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntFlag
from typing import NamedTuple

_ABBREVIATIONS = frozenset({"mtu", "ttl", "dscp", "ecn", "ihl", "pcp", "dei", "vid", "oui", "dsap", "ssap"})


class Field(NamedTuple):
    """One field with its place in the header.

    Attributes:
        value: The field's value.
        text: The value as text, with its unit or its name.
        start: The offset of the field in the header, in bits.
        children: The parts of the field: flags, options, records.
        folded: True if the HTML page hides the children until the user unfolds them.
    """

    name: str
    value: object
    text: str
    start: int
    bits: int
    children: tuple[Field, ...] = ()
    folded: bool = False

    @property
    def title(self) -> str:
        """The field's name in words, as "Src Port" for `src_port`."""
        if self.name in _ABBREVIATIONS:
            return self.name.upper()
        return self.name.replace("_", " ").title() if self.name.islower() else self.name


def count(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: "1 byte", "2 bytes". Give `plural` if it is not the noun with an "s"."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def flag_names(value: IntFlag) -> str:
    """Return the names of the flags that are set, the highest first: "SYN | ACK"."""
    return " | ".join(flag.name or "" for flag in reversed(type(value)) if flag in value) or "none"


def flag_fields(value: IntFlag, start: int, bits: int) -> tuple[Field, ...]:
    """Return each flag of a flags field as a `Field` of one bit."""
    last = start + bits - 1  # the lowest flag is at the last bit
    return tuple(
        Field(flag.name or "", int(flag in value), str(int(flag in value)), last - (flag.bit_length() - 1), 1)
        for flag in reversed(type(value))
    )


def number_fields(names: Iterable[tuple[str, int]], data: bytes, start: int) -> list[Field]:
    """Read numbers that follow each other, and return them as fields.

    Args:
        names: The name of each number and its width in bits.
        start: The offset of `data` in the header, in bits.
    """
    found, number, left = list[Field](), int.from_bytes(data, "big"), len(data) * 8
    for name, bits in names:
        left -= bits
        if left < 0:
            break
        value = number >> left & (1 << bits) - 1
        found.append(Field(name, value, str(value), start, bits))
        start += bits
    return found
