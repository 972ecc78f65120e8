"""Rows and bytes that the HTML page marks because a packet differs from the expectation there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tunlab.packet import Difference, Packet
from tunlab.packet.text.diagram import differing_fields
from tunlab.report.page.fields import FieldRow
from tunlab.traffic.trace import FieldDifference

_AFTER_HEADERS = ("payload", "trailer")
"""Parts after all headers. They are not below the layer that a match names."""


class LocatedDifference(NamedTuple):
    """A field that differs from the expected value, with its place on the HTML page.

    Attributes:
        field: Layer and field: "TCP.flags".
        wanted: The expected value.
        got: The actual value.
        rows: Numbers of the field's rows in the field tree; empty for a missing layer.
        bits: The parts that differ, each as the first bit in the record and the number of bits.
    """

    field: str
    wanted: str
    got: str
    rows: list[int]
    bits: list[tuple[int, int]]


def locate_differences(
    differences: Sequence[FieldDifference], packet: Packet | None, rows: Sequence[FieldRow]
) -> list[LocatedDifference]:
    """Return each difference with the rows of the field tree and the bits of the packet that it concerns."""
    if packet is None:
        return []
    located = []
    for each in differences:
        own = _find_rows(each.field, packet, rows)
        bits = [part for number in own for part in _differing_bits(each, rows[number])]
        located.append(LocatedDifference(each.field, each.wanted, each.got, own, bits))
    return located


def _differing_bits(difference: FieldDifference, row: FieldRow) -> list[tuple[int, int]]:
    if not difference.byte_ranges:
        return [(row.start, row.bits)]
    end = row.bits // 8
    return [
        (row.start + first * 8, (min(last + 1, end) - first) * 8)
        for first, last in difference.byte_ranges
        if first < end
    ]


def _find_rows(field: str, packet: Packet, rows: Sequence[FieldRow]) -> list[int]:
    """Return the rows of a field. A derived value such as TCP.mss has the rows of its option or its fields."""
    layer, _, name = field.partition(".")
    headers = [number for number, row in enumerate(rows) if row.depth == 0]
    if name in _AFTER_HEADERS:
        return [number for number in headers if rows[number].name == name]
    header = next((number for number in headers if rows[number].name == layer), None)
    if header is None:
        return []
    below = range(header + 1, next((number for number in headers if number > header), len(rows)))
    own = [number for number in below if rows[number].depth == 1 and rows[number].name == name]
    option = [number for number in below if rows[number].name.lower() == name.replace("_", "")]
    marked = differing_fields([Difference(field, None, None)], packet).values()
    parts = {part for names in marked for part in names}
    source_fields = [number for number in below if rows[number].depth == 1 and rows[number].name in parts]
    return own[:1] or option[:1] or source_fields
