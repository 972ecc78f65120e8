"""The decoded packets of a recording, as JSON data for the script of the HTML page. Equal values are stored once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from tunlab.errors import PacketError
from tunlab.packet import Finding, Packet, findings, summary
from tunlab.recorder import RecordedPacket, parse_record
from tunlab.report.annotation import Annotation, from_recording
from tunlab.report.page.arrows import Columns
from tunlab.report.page.columns import find_columns
from tunlab.report.page.differences import locate_differences
from tunlab.report.page.fields import field_rows


class DecodedRecord(Struct, frozen=True):
    """A packet of a recording, decoded.

    Attributes:
        record: The packet as read from the recording.
        packet: The parsed packet; None if it cannot be parsed.
        findings: Errors in the packet, such as a bad checksum.
        summary: The packet in one line.
        annotation: A note on how the test used the packet.
    """

    record: RecordedPacket
    packet: Packet | None
    findings: list[Finding]
    summary: str
    annotation: Annotation


class DecodedRecording(Struct, frozen=True):
    """A recording, decoded.

    Attributes:
        records: The packets in the order of the file.
        ladder: Columns and arrows of the sequence diagram.
        rows: Numbers of the records with a line on the page, from 0. Other records show the same packets elsewhere.
        begin: Time of the first record, in nanoseconds since the epoch; 0 if no record has a time.
    """

    records: list[DecodedRecord]
    ladder: Columns
    rows: list[int]
    begin: int


def decode_records(records: Sequence[RecordedPacket]) -> DecodedRecording:
    """Return the packets of a recording decoded, with their sequence diagram."""
    decoded = [_decode(record) for record in records]
    ladder = find_columns(records, [each.packet for each in decoded])
    later = {number for arrow in ladder.arrows if arrow is not None for number in arrow.later_records}
    rows = [number for number in range(len(decoded)) if number not in later]
    begin = next((each.time_ns for each in records if each.time_ns is not None), 0)
    return DecodedRecording(decoded, ladder, rows, begin)


def _decode(record: RecordedPacket) -> DecodedRecord:
    annotation = from_recording(record)
    try:
        packet = parse_record(record)
    except PacketError:
        text = summary(record.data, link_type=record.interface.linktype)
        return DecodedRecord(record, None, [], text, annotation)
    return DecodedRecord(record, packet, findings(packet), summary(packet), annotation)


def initial_packet(decoded: DecodedRecording, outcome: str) -> int:
    """Return the number of the packet that the HTML page selects first, counted from 0.

    This is the last packet that made the test fail; else the first packet with an error; else the last packet of a
    failed test, or the first packet.
    """
    records, rows = decoded.records, decoded.rows
    for number in reversed(rows):
        if records[number].annotation.decisive:
            return number
    suspicious = next((number for number in rows if records[number].findings), None)
    if suspicious is not None:
        return suspicious
    return rows[-1 if outcome == "failed" else 0] if rows else 0


class _Table:
    """A list of distinct values. The page's data refers to a value by its index."""

    def __init__(self) -> None:
        self.values: list[object] = []
        self._indexes: dict[object, int] = {}

    def index(self, value: object) -> int:
        """Return the index of a value. A new value is added to the list."""
        found = self._indexes.get(value)
        if found is None:
            found = self._indexes[value] = len(self.values)
            self.values.append(value)
        return found


def page_data(recording: bytes, decoded: DecodedRecording, outcome: str) -> Mapping[str, object]:
    """Return the data for the script of the HTML page.

    Keys:
        chosen: Number of the packet that is selected first, from 0.
        columns: Title and subtitle of each column of the sequence diagram.
        rows: Numbers of the packets with a line in the packet list.
        labels: Depth, name, first bit, number of bits and folded (0 or 1) of the rows of field trees.
        texts: Values, notes and names of devices.
        packets: A list for each record: offset and length of its bytes in the recording, length on the wire,
            nanoseconds since the first record, device, direction, column of the sender (-1: not recorded), columns of
            the receivers (null: unknown), summary, note, number of packets lost before, findings, field tree as pairs
            of label and text, notes as pairs of row and text, differences (field, wanted, got, rows, bits), records
            at the receivers, and records at switches. Without a line, findings and field tree are empty.
    """
    labels, texts, with_line = _Table(), _Table(), set(decoded.rows)
    packets, at = list[list[object]](), 0
    for number, (packet, arrow) in enumerate(zip(decoded.records, decoded.ladder.arrows, strict=True)):
        record, shown = packet.record, number in with_line
        # If the same bytes also occur before the record, index() finds those, and the page shows the same bytes.
        at = recording.index(record.data, at)
        rows = field_rows(record, packet.packet, packet.findings) if shown else []
        tree, notes = list[int](), list[int]()
        for index, row in enumerate(rows):
            tree += (
                labels.index((row.depth, row.name, row.start, row.bits, int(row.folded))),
                texts.index(row.value),
            )
            if row.note:
                notes += (index, texts.index(row.note))
        later = [decoded.records[each].record for each in (arrow.later_records if arrow is not None else ())]
        packets.append([
            at, len(record.data), record.wire_length,
            None if record.time_ns is None else record.time_ns - decoded.begin,
            texts.index(record.interface.name), record.direction or "",
            *((-1, None) if arrow is None else (arrow.origin, arrow.targets)), packet.summary, packet.annotation.note,
            sum(each.dropped or 0 for each in (record, *later)),
            [str(each) for each in packet.findings] if shown else [], tree, notes,
            locate_differences(packet.annotation.differences, packet.packet, rows),
            *(((), ()) if arrow is None else (arrow.received, arrow.forwarded)),
        ])  # fmt: skip
        at += len(record.data)
    return {
        "chosen": initial_packet(decoded, outcome),
        "columns": decoded.ladder.columns,
        "rows": decoded.rows,
        "labels": labels.values,
        "texts": texts.values,
        "packets": packets,
    }
