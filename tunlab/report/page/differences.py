"""What a comment says that differs from what was wanted, read back; and the rows and bits of the packet it is about.

Source: `difference_text`, which an expectation writes behind "the nearest to what was wanted". So it stands
in the recording itself, for Wireshark too, and the page of any recording shows it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from tunlab.packet import Difference, Packet
from tunlab.packet.diagram import differing_fields
from tunlab.report.page.fields import FieldRow

_TOLD = re.compile(r"(\w+(?:\.\w+)?): wanted (.*?), got (.*)")
_PLACE = re.compile(r" at (\d+)(?:–(\d+))?")
_BEHIND = ("payload", "trailer")
"""What stands behind all headers, whichever the match has named it of."""


class Differing(NamedTuple):
    """A field that is not as wanted.

    rows    the numbers of its rows; none where it has none, as a layer that is not there
    places  its differing bits in the record: first bit and bits
    """

    field: str
    wanted: str
    got: str
    rows: list[int]
    places: list[tuple[int, int]]


def read_back(comment: str, packet: Packet | None, rows: Sequence[FieldRow]) -> tuple[str, list[Differing]]:
    """What else the comment says, and the fields that it says differ."""
    rest, found = list[str](), list[Differing]()
    for part in comment.split("; "):
        told = _TOLD.fullmatch(part)
        if told is None or packet is None:
            rest.append(part)
            continue
        field, wanted, got = told.groups()
        own = _rows_of(field, packet, rows)
        places = [place for number in own for place in _places(got, rows[number])]
        found.append(Differing(field, wanted, got, own, places))
    return "; ".join(rest), found


def _places(got: str, row: FieldRow) -> list[tuple[int, int]]:
    """The octets that it names, as far as they are there; else all of the row."""
    named = [(int(first), int(last or first) + 1) for first, last in _PLACE.findall(got)]
    end = row.bits // 8
    parts = [(row.start + first * 8, (min(last, end) - first) * 8) for first, last in named if first < end]
    return parts if named else [(row.start, row.bits)]


def _rows_of(field: str, packet: Packet, rows: Sequence[FieldRow]) -> list[int]:
    """The field's own row; of a view the option that it reads, else the fields that its value stands in."""
    layer, _, name = field.partition(".")
    heads = [number for number, row in enumerate(rows) if row.depth == 0]
    if name in _BEHIND:
        return [number for number in heads if rows[number].name == name]
    head = next((number for number in heads if rows[number].name == layer), None)
    if head is None:
        return []
    below = range(head + 1, next((number for number in heads if number > head), len(rows)))
    own = [number for number in below if rows[number].depth == 1 and rows[number].name == name]
    option = [number for number in below if rows[number].name.lower() == name.replace("_", "")]
    shown = {each for names in differing_fields([Difference(field, None, None)], packet).values() for each in names}
    views = [number for number in below if rows[number].depth == 1 and rows[number].name in shown]
    return own[:1] or option[:1] or views
