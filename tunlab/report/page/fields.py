"""The field tree of a recorded packet: each field with its name, its value and its bits in the record.

Names are those of the header classes, as tests use them. Positions come from `LAYOUT`.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntFlag
from typing import NamedTuple

from tunlab.errors import PacketError
from tunlab.packet import (
    ICMP,
    IGMP,
    Finding,
    FindingKind,
    IPv4,
    Packet,
    TruncatedHeader,
    Verdict,
    checksums,
    ip_options,
    tcp_options,
)
from tunlab.packet.header import Header
from tunlab.packet.options import END_OF_OPTIONS, NO_OPERATION, Option, Types, split_options
from tunlab.packet.text import protocol_name
from tunlab.recorder import LINKTYPE_ETHERNET, RecordedPacket
from tunlab.report import arp

HEXADECIMAL = frozenset({"identification", "checksum"})
ARP = 0x0806
ETHERTYPES = {0x0800: "IPv4", 0x0806: "ARP", 0x86DD: "IPv6", 0x8100: "802.1Q", 0x88A8: "802.1ad", 0x9100: "VLAN"}
TAGS = (0x8100, 0x88A8, 0x9100)
QUOTED_DEPTH = 3
"""Levels of packets quoted in ICMP errors that are decoded, at most."""


class FieldRow(NamedTuple):
    """One line of the tree.

    Attributes:
        depth: Indentation; 0 for a header.
        name: Name of the field.
        value: Value as text.
        start: Position in bits from the start of the record.
        bits: Length in bits; 0 if the line has no bits of its own.
        folded: True if the lines below it are hidden at first.
        note: Findings about the field.
    """

    depth: int
    name: str
    value: str
    start: int
    bits: int
    folded: bool = False
    note: str = ""


def pluralize(number: int, what: str) -> str:
    """Return "1 byte", "2 bytes"."""
    return f"{number} {what}{'s' * (number != 1)}"


def field_rows(
    record: RecordedPacket, place: slice | None, packet: Packet | None, found: Iterable[Finding]
) -> list[FieldRow]:
    """Return the tree of a record.

    Args:
        record: The record.
        place: Position of the IPv4 packet; None if there is none.
        packet: The parsed packet; None if it cannot be parsed.
        found: Findings of the packet.
    """
    octets = record.data
    start = len(octets) if place is None else place.start
    end = len(octets) if place is None else place.stop
    rows = list(_link(record, start))
    if packet is not None:
        first = len(rows)
        rows += _packet(packet, 0, start * 8)
        for finding in found:
            _note(rows, first, finding, start * 8)
    elif place is not None:
        rows.append(FieldRow(0, "bytes", pluralize(end - start, "byte"), start * 8, (end - start) * 8))
    if end < len(octets):
        rows.append(FieldRow(0, "padding", pluralize(len(octets) - end, "byte"), end * 8, (len(octets) - end) * 8))
    if record.wire_length > len(octets):
        missing = pluralize(record.wire_length - len(octets), "byte")
        rows.append(FieldRow(0, "missing", f"{missing} on the wire were not recorded", len(octets) * 8, 0))
    return rows


def _link(record: RecordedPacket, end: int) -> Iterable[FieldRow]:
    """Yield the rows of the first `end` bytes: the link header, or the whole record without an IPv4 packet."""
    octets = record.data
    if record.interface.linktype != LINKTYPE_ETHERNET or len(octets) < 14:
        if end:
            yield FieldRow(0, "link", pluralize(end, "byte"), 0, end * 8)
        return
    at, kind, rows = 12, int.from_bytes(octets[12:14], "big"), list[FieldRow]()
    while kind in TAGS and at + 6 <= len(octets):
        tag = int.from_bytes(octets[at + 2 : at + 4], "big")
        rows.append(FieldRow(1, "vlan", f"{tag & 0xFFF} ({_ethertype(kind)}, priority {tag >> 13})", at * 8, 32))
        at, kind = at + 4, int.from_bytes(octets[at + 4 : at + 6], "big")
    yield FieldRow(0, "Ethernet", f"{octets[6:12].hex(':')} → {octets[:6].hex(':')}", 0, (at + 2) * 8)
    yield FieldRow(1, "dst", octets[:6].hex(":"), 0, 48)
    yield FieldRow(1, "src", octets[6:12].hex(":"), 48, 48)
    yield from rows
    yield FieldRow(1, "type", _ethertype(kind), at * 8, 16)
    at += 2
    if kind == ARP and arp.is_ethernet_ipv4(octets[at:end]):
        yield from _arp(octets[at : at + arp.LENGTH], at)
        if end > at + arp.LENGTH:
            padded = end - at - arp.LENGTH
            yield FieldRow(0, "padding", pluralize(padded, "byte"), (end - padded) * 8, padded * 8)
    elif end > at:
        yield FieldRow(0, "payload", pluralize(end - at, "byte"), at * 8, (end - at) * 8)


def _arp(octets: bytes, at: int) -> Iterable[FieldRow]:
    yield FieldRow(0, "ARP", arp.summarize(octets).removeprefix("ARP "), at * 8, arp.LENGTH * 8)
    for name, start, length in arp.FIELDS:
        yield FieldRow(1, name, arp.field_text(name, octets[start : start + length]), (at + start) * 8, length * 8)


def _ethertype(kind: int) -> str:
    return f"{kind:#06x} ({ETHERTYPES[kind]})" if kind in ETHERTYPES else f"{kind:#06x}"


def link_summary(record: RecordedPacket) -> str:
    """Return one line on a record without an IPv4 packet, from its link header."""
    octets = record.data
    if record.interface.linktype == LINKTYPE_ETHERNET and len(octets) >= 14:
        at = 12
        while int.from_bytes(octets[at : at + 2], "big") in TAGS:
            at += 4
        kind = int.from_bytes(octets[at : at + 2], "big")
        if kind == ARP and arp.is_ethernet_ipv4(octets[at + 2 :]):
            return arp.summarize(octets[at + 2 :])
        return f"Ethernet {ETHERTYPES.get(kind) or f'type {kind:#06x}'}, length {record.wire_length}"
    if octets and octets[0] >> 4 == 6:
        return f"IPv6, length {record.wire_length}"
    return f"no IPv4 datagram, length {record.wire_length} (link type {record.interface.linktype})"


def _packet(packet: Packet, depth: int, start: int) -> list[FieldRow]:
    # A finding reports a bad checksum.
    verdicts = {each.layer: str(each) for each in checksums(packet) if each.verdict is not Verdict.BAD}
    rows = list[FieldRow]()
    for header in packet.headers:
        length = len(header.to_bytes()) * 8
        layer = header.layer.__name__ if isinstance(header, TruncatedHeader) else type(header).__name__
        rows.append(FieldRow(depth, layer, _title(header), start, length))
        rows += _fields(header, depth + 1, start, verdicts.get(layer, ""))
        start += length
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


def _title(header: Header) -> str:
    match header:
        case IPv4():
            return f"{header.src} → {header.dst}"
        case ICMP() | IGMP():
            return header.name
        case TruncatedHeader():
            return f"truncated, {pluralize(len(header.present), 'byte')}"
        case _:
            return f"{getattr(header, 'src_port', '')} → {getattr(header, 'dst_port', '')}"


def _quoted(packet: Packet, depth: int, start: int) -> list[FieldRow]:
    icmp = packet.get(ICMP)
    if icmp is None or not icmp.is_error or depth >= QUOTED_DEPTH:
        return []
    try:
        return _packet(packet.quoted, depth + 1, start)
    except PacketError:
        return []


def _fields(header: Header, depth: int, start: int, verdict: str) -> list[FieldRow]:
    if isinstance(header, TruncatedHeader):
        return _partial(header, depth, start)
    rows, at = list[FieldRow](), start
    for name, bits in header.LAYOUT:
        value = getattr(header, name)
        text = _text(header, name, value) + (f", {verdict}" if name == "checksum" and verdict else "")
        rows.append(FieldRow(depth, name, text, at, bits, isinstance(value, IntFlag)))
        if isinstance(value, IntFlag):
            first = at + bits - 1  # the lowest flag is the last bit
            rows += [
                FieldRow(depth + 1, flag.name or "", str(int(flag in value)), first - (flag.bit_length() - 1), 1)
                for flag in reversed(type(value))
            ]
        at += bits
    if isinstance(header, ICMP):
        rows += _icmp_views(header, depth, start)
    options = getattr(header, "options", b"")
    if options:
        types = ip_options.TYPES if isinstance(header, IPv4) else tcp_options.TYPES
        rows += _options(options, types, depth, at)
    if isinstance(header, IGMP) and header.rest:
        rows += _igmp_rest(header, depth, at)
    return rows


def _text(header: Header, name: str, value: object) -> str:
    if isinstance(value, IntFlag):
        return " | ".join(flag.name or "" for flag in reversed(type(value)) if flag in value) or "none"
    if not isinstance(value, int):
        return str(value)
    match name:
        case "checksum":
            return f"{value:#06x}"
        case "identification":
            return f"{value:#06x} ({value})"
        case "protocol":
            return f"{value} ({protocol_name(value)})"
        case "ihl" | "data_offset":
            return f"{value} ({value * 4} bytes)"
        case "fragment_offset" if value:
            return f"{value} (byte {value * 8})"
        case "type" if isinstance(header, (ICMP, IGMP)):
            return f"{int(value)} ({header.name})"
    return str(int(value))


def _partial(partial: TruncatedHeader, depth: int, start: int) -> list[FieldRow]:
    rows, at = list[FieldRow](), start
    widths, values = dict(partial.layer.LAYOUT), partial.fields
    for name, value in values.items():
        rows.append(FieldRow(depth, name, f"{value:#06x}" if name in HEXADECIMAL else str(value), at, widths[name]))
        at += widths[name]
    left = start + len(partial.present) * 8 - at
    if left:
        rows.append(FieldRow(depth, "rest", f"{pluralize(left, 'bit')} of {list(widths)[len(values)]}", at, left))
    return rows


def _icmp_views(icmp: ICMP, depth: int, start: int) -> Iterable[FieldRow]:
    """Return the fields that some ICMP messages have in bytes 4 to 7, in place of identifier and sequence number."""
    views = (("gateway", icmp.gateway, 32, 32), ("pointer", icmp.pointer, 32, 8), ("mtu", icmp.mtu, 48, 16))
    return [FieldRow(depth, name, str(value), start + at, bits) for name, value, at, bits in views if value is not None]


def _options(octets: bytes, types: Types, depth: int, start: int) -> list[FieldRow]:
    rows = [FieldRow(depth, "options", pluralize(len(octets), "byte"), start, len(octets) * 8)]
    pairs, fault = split_options(octets)
    at = start
    for kind, data in pairs:
        if kind in (END_OF_OPTIONS, NO_OPERATION):
            name = "end of options" if kind == END_OF_OPTIONS else "no operation"
            rows.append(FieldRow(depth + 1, name, "", at, 8))
            at += 8
            continue
        typed = types[kind].read(data) if kind in types else None
        name = type(typed).__name__ if typed is not None else f"option {kind}"
        text = _typed(typed) if typed is not None else Option(kind, data).data.hex(" ")
        length = (len(data) + 2) * 8
        rows.append(FieldRow(depth + 1, name, text, at, length, folded=True))
        rows.append(FieldRow(depth + 2, "kind", str(kind), at, 8))
        rows.append(FieldRow(depth + 2, "length", str(len(data) + 2), at + 8, 8))
        if data:
            rows.append(FieldRow(depth + 2, "data", data.hex(" "), at + 16, len(data) * 8))
        at += length
    left = start + len(octets) * 8 - at
    if left:
        rows.append(FieldRow(depth + 1, "unread" if fault else "padding", pluralize(left // 8, "byte"), at, left))
    return rows


def _typed(option: object) -> str:
    """Return the names and values of a decoded option."""
    names: tuple[str, ...] = getattr(option, "__struct_fields__", ())
    return ", ".join(f"{name} {_option_value(getattr(option, name))}" for name in names)


def _option_value(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join("–".join(map(str, each)) if isinstance(each, tuple) else str(each) for each in value)
    return value.hex(" ") if isinstance(value, bytes) else str(value)


def _igmp_rest(igmp: IGMP, depth: int, start: int) -> list[FieldRow]:
    """Return sources of a version 3 query, group records of a version 3 report (RFC 3376 section 4), or bytes."""
    rows, at, end = list[FieldRow](), start, start + len(igmp.rest) * 8
    if igmp.sources or (igmp.version == 3 and igmp.records == ()):
        octets = igmp.rest
        if len(octets) >= 4 and igmp.type == 0x11:
            for name, value, offset, bits in (
                ("reserved", octets[0] >> 4, 0, 4), ("suppress", octets[0] >> 3 & 1, 4, 1),
                ("robustness", octets[0] & 7, 5, 3), ("interval_code", octets[1], 8, 8),
                ("source_count", int.from_bytes(octets[2:4], "big"), 16, 16),
            ):  # fmt: skip
                rows.append(FieldRow(depth, name, str(value), start + offset, bits))
            at += 32
        for source in igmp.sources:
            rows.append(FieldRow(depth, "source", source, at, 32))
            at += 32
    for record in igmp.records:
        length = len(bytes(record)) * 8
        text = f"type {record.type}, group {record.group}, {pluralize(len(record.sources), 'source')}"
        rows.append(FieldRow(depth, "record", text, at, length))
        at += length
    if at < end:
        rows.append(FieldRow(depth, "rest", pluralize((end - at) // 8, "byte"), at, end - at))
    return rows


def _note(rows: list[FieldRow], first: int, finding: Finding, start: int) -> None:
    """Add a finding to the row of its field, else of the option at its offset, else of its header."""
    heads = [at for at in range(first, len(rows)) if rows[at].depth == 0]
    head = next((at for at in heads if rows[at].name == finding.layer), None)
    if head is None:
        head = next((at for at in heads), None)
    if head is None:
        return
    after = next((at for at in heads if at > head), len(rows))
    below = range(head + 1, after)
    place = start + finding.offset * 8
    chosen = next((at for at in below if rows[at].depth == 1 and rows[at].name == finding.field != "options"), None)
    if chosen is None:
        chosen = next((at for at in below if rows[at].start == place and rows[at].depth == 2), head)
    rule = finding.rule
    if finding.kind is FindingKind.CHECKSUM and finding.needed is not None:
        rule = f"bad, should be {finding.needed:#06x}"
    elif finding.needed is not None and finding.present is not None:
        rule += f" (needed {finding.needed}, present {finding.present})"
    before = rows[chosen].note
    rows[chosen] = rows[chosen]._replace(note=f"{before}; {rule}" if before else rule)
