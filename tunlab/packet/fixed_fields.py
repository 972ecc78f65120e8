"""Fixed fields read and written by a header class's LAYOUT, for protocols with many messages."""

from __future__ import annotations

from functools import cache
from struct import Struct
from typing import Any

from tunlab.packet.address import ipv6_bytes, ipv6_text
from tunlab.packet.header import Header
from tunlab.packet.values import is_packet_error

__tracebackhide__ = is_packet_error

_FORMATS = {8: "B", 16: "H", 32: "I", 128: "16s"}
_ADDRESS = 128


@cache
def fixed_length(layer: type[Header]) -> int:
    """Return the length of the fixed fields of a header class, in bytes."""
    return sum(bits for _, bits in layer.LAYOUT) // 8


@cache
def _packing(layer: type[Header]) -> tuple[Struct, tuple[int, ...]] | None:
    """Return a `Struct` for the fixed fields, and which of them are IPv6 addresses; None if no `Struct` fits."""
    widths = [bits for _, bits in layer.LAYOUT]
    is_converted = any(name in layer.COERCE and bits != _ADDRESS for name, bits in layer.LAYOUT)
    if is_converted or not _FORMATS.keys() >= set(widths):
        return None
    addresses = tuple(index for index, bits in enumerate(widths) if bits == _ADDRESS)
    return Struct("!" + "".join(_FORMATS[bits] for bits in widths)), addresses


def read_fields(layer: type[Header], data: bytes, start: int) -> list[Any]:
    """Return the values of the fixed fields at `start`; fields of 128 bits are IPv6 addresses."""
    packing = _packing(layer)
    if packing is not None:
        values = list[Any](packing[0].unpack_from(data, start))
        for index in packing[1]:
            values[index] = ipv6_text(values[index])
        return values
    values, left = [], fixed_length(layer) * 8
    number = int.from_bytes(data[start : start + left // 8], "big")
    for name, bits in layer.LAYOUT:
        left -= bits
        value = number >> left & (1 << bits) - 1
        if bits == _ADDRESS:
            values.append(ipv6_text(value.to_bytes(16, "big")))
        else:
            values.append(layer.COERCE[name](value) if name in layer.COERCE else value)
    return values


def write_fields(header: Header) -> bytes:
    """Return the bytes of the fixed fields.

    Raises:
        MalformedError: If a derived field is None, or a field does not fit.
    """
    number = 0
    try:
        for name, bits in header.LAYOUT:
            value = getattr(header, name)
            if bits == _ADDRESS:
                value = int.from_bytes(ipv6_bytes(value), "big")
            if value >> bits:
                raise header.field_error()
            number = number << bits | value
    except TypeError:
        raise header.field_error() from None
    return number.to_bytes(fixed_length(type(header)), "big")
