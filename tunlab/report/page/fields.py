"""The field tree of a packet on the HTML page: each field with its name, its value and its bits in the record.

The names are those of the header classes, so that a test can use them: `TCP.where(src_port=80)`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

from tunlab.errors import PacketError
from tunlab.packet import Finding, FindingKind, Packet, Verdict
from tunlab.packet.field import Field
from tunlab.packet.judgement import layers_of
from tunlab.recorder import LINKTYPE_ETHERNET, RecordedPacket, skip_vlan_tags
from tunlab.report import arp

ARP = 0x0806
ETHERTYPES = {0x0800: "IPv4", 0x0806: "ARP", 0x86DD: "IPv6", 0x8100: "802.1Q", 0x88A8: "802.1ad", 0x9100: "VLAN"}
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


def field_rows(
    record: RecordedPacket, position: slice | None, packet: Packet | None, found: Iterable[Finding]
) -> list[FieldRow]:
    """Return the rows of a packet's field tree.

    Args:
        record: The packet as read from the recording.
        position: Position of the IPv4 packet in the record's bytes; None if there is none.
        packet: The parsed packet; None if it cannot be parsed.
        found: Errors in the packet, such as a bad checksum.
    """
    data = record.data
    start = len(data) if position is None else position.start
    end = len(data) if position is None else position.stop
    rows = list(_link(record, start))
    if packet is not None:
        first = len(rows)
        rows += _packet(packet, 0, start * 8)
        for finding in found:
            _note(rows, first, finding, start * 8)
    elif position is not None:
        rows.append(FieldRow(0, "bytes", pluralize(end - start, "byte"), start * 8, (end - start) * 8))
    if end < len(data):
        rows.append(FieldRow(0, "padding", pluralize(len(data) - end, "byte"), end * 8, (len(data) - end) * 8))
    if record.wire_length > len(data):
        missing = pluralize(record.wire_length - len(data), "byte")
        rows.append(FieldRow(0, "missing", f"{missing} on the wire were not recorded", len(data) * 8, 0))
    return rows


def _link(record: RecordedPacket, end: int) -> Iterable[FieldRow]:
    """Yield the rows for the first `end` bytes: the link header, or all bytes if there is no IPv4 packet."""
    data = record.data
    if record.interface.linktype != LINKTYPE_ETHERNET or len(data) < 14:
        if end:
            yield FieldRow(0, "link", pluralize(end, "byte"), 0, end * 8)
        return
    at, rows = skip_vlan_tags(data), list[FieldRow]()
    for start in range(12, at, 4):
        kind, tag = struct.unpack_from(">HH", data, start)
        rows.append(FieldRow(1, "vlan", f"{tag & 0xFFF} ({_ethertype(kind)}, priority {tag >> 13})", start * 8, 32))
    kind = int.from_bytes(data[at : at + 2], "big")
    yield FieldRow(0, "Ethernet", f"{data[6:12].hex(':')} → {data[:6].hex(':')}", 0, (at + 2) * 8)
    yield FieldRow(1, "dst", data[:6].hex(":"), 0, 48)
    yield FieldRow(1, "src", data[6:12].hex(":"), 48, 48)
    yield from rows
    yield FieldRow(1, "type", _ethertype(kind), at * 8, 16)
    at += 2
    if kind == ARP and arp.is_ethernet_ipv4(data[at:end]):
        yield from _arp(data[at : at + arp.LENGTH], at)
        if end > at + arp.LENGTH:
            padded = end - at - arp.LENGTH
            yield FieldRow(0, "padding", pluralize(padded, "byte"), (end - padded) * 8, padded * 8)
    elif end > at:
        yield FieldRow(0, "payload", pluralize(end - at, "byte"), at * 8, (end - at) * 8)


def _arp(data: bytes, at: int) -> Iterable[FieldRow]:
    yield FieldRow(0, "ARP", arp.summarize(data).removeprefix("ARP "), at * 8, arp.LENGTH * 8)
    for name, start, length in arp.FIELDS:
        yield FieldRow(1, name, arp.field_text(name, data[start : start + length]), (at + start) * 8, length * 8)


def _ethertype(kind: int) -> str:
    return f"{kind:#06x} ({ETHERTYPES[kind]})" if kind in ETHERTYPES else f"{kind:#06x}"


def link_summary(record: RecordedPacket) -> str:
    """Return a one-line summary of a record that has no IPv4 packet."""
    data = record.data
    if record.interface.linktype == LINKTYPE_ETHERNET and len(data) >= 14:
        at = skip_vlan_tags(data)
        kind = int.from_bytes(data[at : at + 2], "big")
        if kind == ARP and arp.is_ethernet_ipv4(data[at + 2 :]):
            return arp.summarize(data[at + 2 :])
        return f"Ethernet {ETHERTYPES.get(kind) or f'type {kind:#06x}'}, length {record.wire_length}"
    if data and data[0] >> 4 == 6:
        return f"IPv6, length {record.wire_length}"
    return f"not an IP packet, length {record.wire_length} (link type {record.interface.linktype})"


def _packet(packet: Packet, depth: int, start: int) -> list[FieldRow]:
    rows = list[FieldRow]()
    for layer in layers_of(packet).layers:
        header = layer.header
        position = start + layer.start * 8
        rows.append(FieldRow(depth, header.layer_name, header.title, position, (layer.body - layer.start) * 8))
        checksum = header.checksum_verdict(layer)
        for field in header.fields():
            # A bad checksum is not marked here, because its row has a note.
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
        text = pluralize(len(packet.trailer), "byte") + " after the end of the packet"
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


def _note(rows: list[FieldRow], first: int, finding: Finding, start: int) -> None:
    """Add an error to the row of the field with the error, else to the option at its offset, else to its header."""
    heads = [at for at in range(first, len(rows)) if rows[at].depth == 0]
    if not heads:
        return
    position = start + finding.offset * 8
    # A tunnel has several headers of this protocol. The error belongs to the last one that starts before the field.
    head = next(
        (at for at in reversed(heads) if rows[at].name == finding.layer and rows[at].start <= position), heads[0]
    )
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
