"""The field tree of a packet on the HTML page: each field with its name, its value and its bits in the record.

The names are those of the header classes, so that a test can use them: `TCP.where(src_port=80)`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tunlab.errors import PacketError
from tunlab.packet import Finding, FindingKind, Link, Packet, Verdict
from tunlab.packet.field import Field
from tunlab.packet.judgement import layers_of
from tunlab.recorder import RecordedPacket

QUOTED_DEPTH = 3
"""Maximum depth at which packets quoted in ICMP errors are decoded."""


class FieldRow(NamedTuple):
    """A row of a packet's field tree on the HTML page.

    Attributes:
        depth: Indentation; 0 for a header.
        name: Name of the field.
        value: Value as text.
        start: Position in bits from the start of the record.
        bits: Length in bits; 0 if the row shows no bits of the packet.
        folded: True if the rows below are hidden at first.
        note: Errors in the field, such as a bad checksum, as text.
    """

    depth: int
    name: str
    value: str
    start: int
    bits: int
    folded: bool = False
    note: str = ""


def pluralize(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless the number is 1: "1 byte", "2 bytes"."""
    return f"{number} {noun}{'s' * (number != 1)}"


def field_rows(record: RecordedPacket, packet: Packet | None, found: Iterable[Finding]) -> list[FieldRow]:
    """Return the tree of a record.

    Args:
        record: The record.
        packet: The parsed packet, with its link headers; None if it cannot be parsed.
        found: Findings of the packet.
    """
    size = len(record.data)
    rows = list[FieldRow]()
    if packet is not None:
        rows = _packet(packet, 0, 0)
        for finding in found:
            _note(rows, finding)
    elif size:
        rows = [FieldRow(0, "bytes", pluralize(size, "byte"), 0, size * 8)]
    if record.wire_length > size:
        missing = pluralize(record.wire_length - size, "byte")
        rows.append(FieldRow(0, "missing", f"{missing} on the wire were not recorded", size * 8, 0))
    return rows


def _packet(packet: Packet, depth: int, start: int) -> list[FieldRow]:
    rows = list[FieldRow]()
    for layer in layers_of(packet).layers:
        header = layer.header
        position = start + layer.start * 8
        rows.append(FieldRow(depth, header.layer_name, header.title, position, (layer.body - layer.start) * 8))
        checksum = header.checksum_verdict(layer)
        for field in header.fields():
            # The row of a bad checksum has a note instead, which `_note` adds.
            if field.name == "checksum" and checksum is not None and checksum.verdict is not Verdict.BAD:
                field = field._replace(text=f"{field.text}, {checksum}")
            rows += _field(field, depth + 1, position)
    start += sum(row.bits for row in rows if row.depth == depth)
    size = len(packet.payload) * 8
    if size:
        quoted = _quoted(packet, depth, start)
        text = pluralize(len(packet.payload), "byte") + (", the packet that caused the error" if quoted else "")
        rows.append(FieldRow(depth, "payload", text, start, size))
        rows += quoted
    if packet.trailer:
        padding = ", padding" if isinstance(packet.headers[0], Link) else " after the end of the packet"
        text = pluralize(len(packet.trailer), "byte") + padding
        rows.append(FieldRow(depth, "trailer", text, start + size, len(packet.trailer) * 8))
    return rows


def _field(field: Field, depth: int, start: int) -> list[FieldRow]:
    rows = [FieldRow(depth, field.name, field.text, start + field.start, field.bits, field.folded)]
    for child in field.children:
        rows += _field(child, depth + 1, start)
    return rows


def _quoted(packet: Packet, depth: int, start: int) -> list[FieldRow]:
    if depth >= QUOTED_DEPTH:
        return []
    try:
        return _packet(packet.quoted, depth + 1, start)
    except PacketError:
        return []


def _note(rows: list[FieldRow], finding: Finding) -> None:
    """Add an error to the row of the field with the error, else to the option at its offset, else to its header."""
    heads = [at for at in range(len(rows)) if rows[at].depth == 0]
    position = finding.offset * 8
    # A tunnel may have several headers of the finding's protocol. The error belongs to the last one that starts at or
    # before the field. If the header itself cannot be read, its bytes are the payload's.
    preceding = [at for at in reversed(heads) if rows[at].start <= position]
    head = next((at for at in preceding if rows[at].name == finding.layer), preceding[0])
    after = next((at for at in heads if at > head), len(rows))
    below = range(head + 1, after)
    chosen = next((at for at in below if rows[at].depth == 1 and rows[at].name == finding.field != "options"), None)
    if chosen is None:
        chosen = next((at for at in below if rows[at].start == position and rows[at].depth == 2), head)
    rule = finding.rule
    if finding.kind is FindingKind.CHECKSUM and finding.needed is not None:
        rule = f"bad, should be {finding.needed:#06x}"
    elif finding.needed is not None and finding.present is not None:
        rule += f" (needed {finding.needed}, got {finding.present})"
    before = rows[chosen].note
    rows[chosen] = rows[chosen]._replace(note=f"{before}; {rule}" if before else rule)
