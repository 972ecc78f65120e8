"""The field tree of the HTML report: the value of each row, and the bits of the packet that the row covers."""

import gzip
import json
import os
from ipaddress import IPv4Address, ip_address
from pathlib import Path

import pytest

from tests.report.recordings import KERNEL, PEER, SESSION, framed, recorded, session
from tunlab.errors import PacketError
from tunlab.packet import ICMP, TCP, UDP, HopByHop, IPv4, IPv6, build, findings, summary, tcp_options
from tunlab.recorder import LINKTYPE_ETHERNET, RecordedInterface, RecordedPacket, parse_record, read_pcapng
from tunlab.report.page.data import decode_records
from tunlab.report.page.fields import field_rows

CORPUS = os.environ.get("TUNLAB_CORPUS")
needs_corpus = pytest.mark.skipif(
    not CORPUS, reason="the corpus is not part of the project. Set TUNLAB_CORPUS to its folder"
)


def rows_of(record):
    try:
        packet = parse_record(record)
    except PacketError:
        packet = None
    return field_rows(record, packet, findings(packet) if packet else []), packet


def bits(data, row):
    """Return the bits of the packet that a row covers, as a number."""
    return int.from_bytes(data, "big") >> (len(data) * 8 - row.start - row.bits) & (1 << row.bits) - 1


def number(value):
    if not isinstance(value, str):
        return int(value)
    try:
        return int(ip_address(value))
    except ValueError:  # the value is a MAC address
        return int(value.replace(":", ""), 16)


def check_rows(record):
    """Assert that the bits of each row have the row's value, and that child rows are inside their parent."""
    rows, packet = rows_of(record)
    data = record.data
    for row in rows:
        assert 0 <= row.start <= row.start + row.bits <= len(data) * 8, row
    parents = []
    for row in rows:
        del parents[row.depth :]
        if parents:
            assert parents[-1].start <= row.start, row
            assert row.start + row.bits <= parents[-1].start + parents[-1].bits, (parents[-1], row)
        parents.append(row)
    tops = [row for row in rows if row.depth == 0 and row.bits]
    assert [row.start for row in tops] == [0, *(row.start + row.bits for row in tops)][: len(tops)]
    assert sum(row.bits for row in tops) == len(data) * 8
    if packet is None:
        return 0
    checked, at = 0, 0
    for header in packet.headers:
        name = header.layer_name
        position = next(
            index for index, row in enumerate(rows) if row.depth == 0 and row.name == name and row.start == at
        )
        below = [row for row in rows[position + 1 :] if row.depth == 1]
        for row, field in zip(below, header.fields(), strict=False):
            assert (row.name, row.start, row.bits) == (field.name, at + field.start, field.bits)
            if isinstance(field.value, (int, str)):
                assert bits(data, row) == number(field.value), (row, field)
                checked += 1
        at += len(header.to_bytes()) * 8
    return checked


@pytest.mark.parametrize("index", range(len(SESSION)))
def test_bits_of_field_row_have_the_value_of_the_field(index):
    record = list(read_pcapng(session()))[index]
    assert check_rows(record) >= (0 if index == len(SESSION) - 1 else 17)


@needs_corpus
@pytest.mark.slow
def test_bits_of_field_row_of_corpus_packet_have_the_value_of_the_field():
    interface = RecordedInterface(0, "corpus", 101)
    checked = 0
    with gzip.open(Path(CORPUS, "ipv4.jsonl.gz"), "rt") as lines:
        for line in lines:
            entry = json.loads(line)
            data = bytes.fromhex(entry["hex"])
            checked += check_rows(RecordedPacket(interface, 0, data, max(entry["wire_len"], len(data))))
    assert checked > 100_000


def test_field_row_of_each_flag_covers_one_bit():
    (record,) = read_pcapng(recorded([SESSION[1]]))
    rows, _ = rows_of(record)
    flags = {row.name: row for row in rows if row.depth == 2 and row.bits == 1}
    assert [name for name, row in flags.items() if row.value == "1"] == ["DF", "ACK", "SYN"]
    for row in flags.values():
        assert bits(record.data, row) == int(row.value), row
    assert (flags["RESERVED"].start, flags["DF"].start, flags["MF"].start) == (48, 49, 50)
    assert (flags["CWR"].start, flags["FIN"].start) == (33 * 8, 33 * 8 + 7)


def test_field_row_of_each_tcp_option_covers_its_bytes():
    (record,) = read_pcapng(recorded([SESSION[0]]))
    rows, _ = rows_of(record)
    options = [row for row in rows if row.depth == 2 and row.start >= 40 * 8 and row.bits >= 8]
    assert [(row.name, row.value, row.start // 8, row.bits // 8) for row in options] == [
        ("MSS", "size 1460", 40, 4),
        ("SACKPermitted", "", 44, 2),
        ("Timestamps", "value 1, echo reply 0", 46, 10),
        ("no operation", "", 56, 1),
        ("WindowScale", "shift 7", 57, 3),
    ]


def test_field_rows_of_icmp_error_include_fields_of_the_quoted_packet():
    (record,) = read_pcapng(recorded([SESSION[4]]))
    rows, _ = rows_of(record)
    quoted = next(row for row in rows if row.name == "IPv4" and row.depth == 1)
    assert (quoted.start, quoted.value) == (28 * 8, f"{PEER} → {KERNEL}")
    port = next(row for row in rows if row.name == "dst_port")
    assert (port.value, bits(record.data, port)) == ("9", 9)


def test_field_row_of_each_igmp_source_covers_its_bytes():
    (record,) = read_pcapng(recorded([SESSION[6]]))
    rows, _ = rows_of(record)
    sources = [row for row in rows if row.name == "source"]
    assert [row.value for row in sources] == ["192.0.2.1", "192.0.2.2"]
    for row in sources:
        assert bits(record.data, row) == int(IPv4Address(row.value))
    assert next(row for row in rows if row.name == "source_count").value == "2"


@pytest.mark.parametrize(
    ("layers", "noted", "note"),
    [
        ((TCP(flags=2, checksum=0x1234),), "checksum", "bad, should be"),
        ((UDP(length=7),), "length", "less than the header itself (RFC 768) (needed 8, got 7)"),
        ((TCP(flags=2, options=b"\2\3\4\0"),), "kind 2", "it needs 4 (RFC 9293 section 3.2)"),
        ((TCP(flags=2, options=b"\1\2\0\0", data_offset=6),), "unread", "has length 0"),
        ((TCP(flags=2, reserved=1),), "reserved", "must be zero"),
        ((TCP(flags=2, data_offset=4),), "data_offset", "less than the fixed fields"),
    ],
)
def test_field_row_of_faulty_field_has_a_note(layers, noted, note):
    (record,) = read_pcapng(recorded([("in", IPv4(src=PEER, dst=KERNEL), *layers)]))
    rows, _ = rows_of(record)
    found = [(row.name, row.note) for row in rows if row.note]
    assert [name for name, _ in found] == [noted]
    assert note in found[0][1]


def test_field_rows_of_truncated_header_show_its_present_fields():
    data = build(IPv4(src=PEER, dst=KERNEL, protocol=6), b"\0\x50\x1f\x90\0\0")
    (record,) = read_pcapng(recorded([("in", data)]))
    rows, _ = rows_of(record)
    assert [(row.name, row.value) for row in rows if row.depth == 1][-3:] == [
        ("src_port", "80"), ("dst_port", "8080"), ("rest", "16 bits of seq"),
    ]  # fmt: skip
    check_rows(record)


def test_field_rows_of_ethernet_frame_include_vlan_tags_and_padding():
    data = build(IPv4(src=PEER, dst=KERNEL), ICMP.echo_request(1, 1))
    (record,) = read_pcapng(framed(data, tags=bytes.fromhex("88a80005 8100e00a")))
    rows, _ = rows_of(record)
    tops = [(row.name, row.start // 8, row.bits // 8) for row in rows if row.depth == 0]
    assert tops == [
        ("Ethernet", 0, 14), ("VLAN", 14, 4), ("VLAN", 18, 4), ("IPv4", 22, 20), ("ICMP", 42, 8), ("trailer", 50, 10),
    ]  # fmt: skip
    assert [row.value for row in rows if row.name == "type" and row.depth == 1][:3] == [
        "VLAN (0x88a8)", "VLAN (0x8100)", "IPv4 (0x0800)",
    ]  # fmt: skip
    assert [row.value for row in rows if row.name == "VLAN"] == ["5, priority 0", "10, priority 7"]
    assert rows[-1].value == "10 bytes, padding"
    assert check_rows(record) == 29


def test_field_rows_of_ipv6_packet_in_vlan_include_every_header():
    data = build(IPv6(src="fd00::1", dst="fd00::2"), HopByHop(), UDP(1, 2), b"abc")
    (record,) = read_pcapng(framed(data, tags=bytes.fromhex("81000007"), kind=b"\x86\xdd"))
    rows, packet = rows_of(record)
    names = [row.name for row in rows if row.depth == 0]
    assert names == ["Ethernet", "VLAN", "IPv6", "HopByHop", "UDP", "payload"]
    assert summary(packet) == "vlan 7, IP6 fd00::1.1 > fd00::2.2: UDP, length 3"
    assert check_rows(record) >= 20


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (b"\x08\x06", "ARP (0x0806), length 46 [ARP header: the header is cut short]"),
        (b"\x86\xdd", "IPv6 (0x86dd), length 46 [IPv6 version: an IPv6 header begins with the version 6 (RFC 8200"),
        (b"\x88\xcc", "0x88cc, length 46"),
    ],
)
def test_summary_of_frame_with_unreadable_content_names_the_ethertype(kind, text):
    (record,) = read_pcapng(framed(b"payload", kind=kind))
    rows, packet = rows_of(record)
    assert summary(packet).startswith(f"{packet.ethernet.src} > {packet.ethernet.dst}, {text}")
    assert [row.name for row in rows if row.depth == 0] == ["Ethernet", "payload"]
    check_rows(record)


def test_summary_of_frame_without_a_whole_ethernet_header_says_why():
    (record,) = read_pcapng(recorded([(None, bytes(13))], linktype=LINKTYPE_ETHERNET))
    (decoded,) = decode_records([record]).records
    assert decoded.summary == "13 bytes, not a frame: Ethernet header needs 14 bytes, got 13 (input ended at offset 13)"
    assert [row[:3] for row in rows_of(record)[0]] == [(0, "bytes", "13 bytes")]


ARP_REQUEST = bytes.fromhex("0001 0800 0604 0001 020000000101 0a000101 000000000000 0a000102")
ARP_REPLY = bytes.fromhex("0001 0800 0604 0002 020000000102 0a000102 020000000101 0a000101")


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (ARP_REQUEST, "ARP who has 10.0.1.2? tell 10.0.1.1"),
        (ARP_REPLY, "ARP 10.0.1.2 is at 02:00:00:00:01:02"),
        (ARP_REQUEST[:7] + b"\3" + ARP_REQUEST[8:], "ARP 3 (reverse request)"),
    ],
)
def test_arp_message_has_field_rows_and_summary(message, text):
    (record,) = read_pcapng(framed(message, kind=b"\x08\x06"))
    rows, packet = rows_of(record)
    assert summary(packet) == text
    tops = [(row.name, row.start // 8, row.bits // 8) for row in rows if row.depth == 0]
    assert tops == [("Ethernet", 0, 14), ("ARP", 14, 28), ("trailer", 42, 18)]
    values = {row.name: (row.value, bits(record.data, row)) for row in rows if row.depth == 1}
    assert values["target_protocol"] == (f"10.0.1.{message[-1]}", int.from_bytes(message[-4:], "big"))
    assert values["sender_hardware"] == (message[8:14].hex(":"), int.from_bytes(message[8:14], "big"))
    assert values["operation"][1] == message[7]
    check_rows(record)


def test_field_rows_show_truncated_arp_message_as_payload():
    (record,) = read_pcapng(recorded([(None, bytes(12) + b"\x08\x06" + ARP_REQUEST[:27])], linktype=LINKTYPE_ETHERNET))
    rows, packet = rows_of(record)
    assert summary(packet).endswith("ARP (0x0806), length 27 [ARP header: the header is cut short]")
    assert [row.name for row in rows if row.depth == 0] == ["Ethernet", "payload"]
    noted = [(row.name, row.note) for row in rows if row.note]
    assert noted == [("payload", "the header is cut short (needed 28, got 27)")]


def test_field_rows_of_partly_recorded_packet_include_the_missing_bytes():
    record = RecordedPacket(
        RecordedInterface(0, "x", 101), 0, build(IPv4(src=PEER, dst=KERNEL), UDP(), bytes(100))[:40], 128
    )
    rows, _ = rows_of(record)
    assert rows[-1][1:3] == ("missing", "88 bytes on the wire were not recorded")


def test_field_rows_show_tcp_option_of_wrong_length_as_bytes():
    assert tcp_options.MSS.read(b"\4") is None
    (record,) = read_pcapng(recorded([("in", IPv4(src=PEER, dst=KERNEL), TCP(options=b"\2\3\4\0"))]))
    assert ("kind 2", "04") in [(row.name, row.value) for row in rows_of(record)[0]]
