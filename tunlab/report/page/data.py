"""What the page's script shows: every record decoded, in a form that says nothing twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from tunlab.errors import PacketError
from tunlab.packet import Finding, Packet, findings, parse, summary
from tunlab.recorder import RecordedPacket, locate_ipv4
from tunlab.report.page.arrows import Columns
from tunlab.report.page.columns import find_columns
from tunlab.report.page.differences import read_back
from tunlab.report.page.fields import field_rows, link_summary
from tunlab.traffic.trace import DECISIVE_COMMENTS


class DecodedRecord(Struct, frozen=True):
    """A record with what is made of it; `place` of the datagram, `packet` where there is one."""

    record: RecordedPacket
    place: slice | None
    packet: Packet | None
    found: list[Finding]
    summary: str


class DecodedRecording(Struct, frozen=True):
    """The records of a recording, in its order, and the ladder.

    rows   the numbers of those that have a line, from 0: each other is the packet of one of these, seen once more
    begin  the first time, in nanoseconds since the epoch; 0 where there is none
    """

    lines: list[DecodedRecord]
    drawn: Columns
    rows: list[int]
    begin: int


def decode_records(records: Sequence[RecordedPacket]) -> DecodedRecording:
    """All that is to be known of the records."""
    lines = [_line(record) for record in records]
    drawn = find_columns(records, [line.packet for line in lines])
    again = {number for arrow in drawn.arrows if arrow is not None for number in arrow.again}
    rows = [number for number in range(len(lines)) if number not in again]
    return DecodedRecording(lines, drawn, rows, next((each.time_ns for each in records if each.time_ns is not None), 0))


def _line(record: RecordedPacket) -> DecodedRecord:
    place = locate_ipv4(record)
    if place is None:
        return DecodedRecord(record, None, None, [], link_summary(record))
    octets = record.data[place]
    missing = record.wire_length - len(record.data)
    try:
        packet = parse(octets, wire_length=len(octets) + missing)
    except PacketError:
        return DecodedRecord(record, place, None, [], summary(octets))
    return DecodedRecord(record, place, packet, findings(packet), summary(packet))


def initial_packet(all_lines: DecodedRecording, outcome: str) -> int:
    """Which packet a reader comes for, from 0.

    That by which the test failed, else the first suspicious one, else the last of a failure, the first of the rest.
    """
    lines, rows = all_lines.lines, all_lines.rows
    for number in reversed(rows):
        if any(comment in DECISIVE_COMMENTS for comment in lines[number].record.comment.split("; ")):
            return number
    suspicious = next((number for number in rows if lines[number].found), None)
    if suspicious is not None:
        return suspicious
    return rows[-1 if outcome == "failed" else 0] if rows else 0


class _Table:
    """Values told once, and by their number wherever they stand."""

    def __init__(self) -> None:
        self.values: list[object] = []
        self._numbers: dict[object, int] = {}

    def number(self, value: object) -> int:
        found = self._numbers.get(value)
        if found is None:
            found = self._numbers[value] = len(self.values)
            self.values.append(value)
        return found


def page_data(recording: bytes, all_lines: DecodedRecording, outcome: str) -> Mapping[str, object]:
    """What the script is given.

    chosen    the number of the packet that is shown first, from 0
    columns   the ladder's, each title and what is below it
    rows      the numbers of the packets that have a line of their own
    labels    depth, name, first bit, bits, folded (0, 1): of rows
    texts     values, notes, names of devices
    packets   offset and length of the octets in the recording, octets on the wire, time in nanoseconds from the first,
              device, direction, column from (-1: from nowhere) and columns to (null: not known between whom),
              summary, comment, packets lost before it, findings, rows as pairs of label and text, notes as pairs of
              row and text, what differs from what was wanted (field, wanted, got, rows, places as first bit and
              bits), numbers of its records at those who received it, and at switches on the way; of a packet
              without a line only what tells of a record: it has the findings and the rows of the one with a line
    """
    labels, texts, lined = _Table(), _Table(), set(all_lines.rows)
    packets, at = list[list[object]](), 0
    for place, (line, arrow) in enumerate(zip(all_lines.lines, all_lines.drawn.arrows, strict=True)):
        record, shown = line.record, place in lined
        # Records come in the file's order: this is found at its own place or before, and the same octets either way.
        at = recording.index(record.data, at)
        rows = field_rows(record, line.place, line.packet, line.found) if shown else []
        tree, notes = list[int](), list[int]()
        for number, row in enumerate(rows):
            tree += (
                labels.number((row.depth, row.name, row.start, row.bits, int(row.folded))),
                texts.number(row.value),
            )
            if row.note:
                notes += (number, texts.number(row.note))
        again = [all_lines.lines[number].record for number in (arrow.again if arrow is not None else ())]
        comment, differing = read_back(record.comment, line.packet, rows)
        packets.append([
            at, len(record.data), record.wire_length,
            None if record.time_ns is None else record.time_ns - all_lines.begin,
            texts.number(record.interface.name), record.direction or "",
            *((-1, None) if arrow is None else (arrow.origin, arrow.targets)), line.summary, comment,
            sum(each.dropped or 0 for each in (record, *again)),
            [str(each) for each in line.found] if shown else [], tree, notes, differing,
            *(((), ()) if arrow is None else (arrow.received, arrow.passed)),
        ])  # fmt: skip
        at += len(record.data)
    return {
        "chosen": initial_packet(all_lines, outcome),
        "columns": all_lines.drawn.columns,
        "rows": all_lines.rows,
        "labels": labels.values,
        "texts": texts.values,
        "packets": packets,
    }
