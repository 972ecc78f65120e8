"""One faulty packet for each finding, with the data and the sentence of the finding."""

import pytest

from tests.packet.golden import GOLDEN, down, igmp, up
from tunlab.packet import (
    ICMP,
    IGMP,
    TCP,
    UDP,
    Finding,
    FindingKind,
    GroupRecord,
    IPFlag,
    Packet,
    TCPFlag,
    TruncatedHeader,
    build,
    findings,
    parse,
)

EIGHT = bytes(range(8))


def golden(name):
    return bytes.fromhex(GOLDEN[name][0])


def ip(options=b"", **fields):
    """Return a packet of protocol 253, which has no reader, so that only the IP header has findings."""
    return build(up(protocol=253, options=options, **fields), EIGHT)


# name: (packet, (layer, field, kind, offset, needed, present, length_from), sentence)
FAULTS = {
    "header past the end": (
        golden("record route")[:24],
        ("IPv4", "ihl", FindingKind.TRUNCATED, 0, 32, 24, "input"),
        "IPv4 ihl: the header runs past the end (needed 32, got 24, limited by the end of the input)",
    ),
    "total length 0": (
        ip(total_length=0),
        ("IPv4", "total_length", FindingKind.OFFLOAD, 2, None, None, None),
        "IPv4 total length: 0, as segmentation offload leaves it in a capture",
    ),
    "total length 19": (
        ip(total_length=19),
        ("IPv4", "total_length", FindingKind.LENGTH, 2, 20, 19, "IPv4.total_length"),
        "IPv4 total length: less than the header (needed 20, got 19, limited by IPv4.total_length)",
    ),
    "total length under the header with options": (
        ip(bytes(4), total_length=20),
        ("IPv4", "total_length", FindingKind.LENGTH, 2, 24, 20, "IPv4.total_length"),
        "IPv4 total length: less than the header (needed 24, got 20, limited by IPv4.total_length)",
    ),
    "packet cut short": (
        ip(total_length=29),
        ("IPv4", "total_length", FindingKind.TRUNCATED, 2, 29, 28, "input"),
        "IPv4 total length: the packet is cut short (needed 29, got 28, limited by the end of the input)",
    ),
    "link-layer padding": (
        ip() + bytes(18),
        ("IPv4", "total_length", FindingKind.TRAILER, 2, 28, 46, "input"),
        "IPv4 total length: 18 bytes follow the end of the packet (needed 28, got 46, limited by the end of the input)",
    ),
    "reserved flag": (
        ip(flags=IPFlag.RESERVED),
        ("IPv4", "flags", FindingKind.RESERVED, 6, None, None, None),
        "IPv4 flags: the first bit must be zero (RFC 791 section 3.1)",
    ),
    "fragment of an odd size": (
        build(up(protocol=253, flags=IPFlag.MF), b"seven!!"),
        ("IPv4", "total_length", FindingKind.FRAGMENT, 2, None, None, None),
        "IPv4 total length: all fragments but the last hold a multiple of 8 bytes (RFC 791 section 3.2)",
    ),
    "fragment past the largest packet": (
        build(up(protocol=253, fragment_offset=0x1FFF), EIGHT),
        ("IPv4", "fragment_offset", FindingKind.FRAGMENT, 6, None, None, None),
        "IPv4 fragment offset: the fragment ends past the largest packet of 65535 bytes (RFC 791 section 3.1)",
    ),
    "bad header checksum": (
        ip(checksum=0x1234),
        ("IPv4", "checksum", FindingKind.CHECKSUM, 10, 0x61E0, 0x1234, None),
        "IPv4 checksum 0x1234 is bad, should be 0x61e0",
    ),
    "IP option without a length": (
        ip(b"\1\1\1\x07"),
        ("IPv4", "options", FindingKind.OPTION, 23, 2, 1, "IPv4.ihl"),
        "IPv4 options: option 7 has no length byte (needed 2, got 1, limited by IPv4.ihl)",
    ),
    "IP option of length 0": (
        ip(b"\x07\0\0\0"),
        ("IPv4", "options", FindingKind.OPTION, 20, 2, 0, "IPv4.options"),
        "IPv4 options: option 7 has length 0; the minimum is 2 (needed 2, got 0, limited by IPv4.options)",
    ),
    "IP option of length 1": (
        ip(b"\1\x44\1\0"),
        ("IPv4", "options", FindingKind.OPTION, 21, 2, 1, "IPv4.options"),
        "IPv4 options: option 68 has length 1; the minimum is 2 (needed 2, got 1, limited by IPv4.options)",
    ),
    "IP option that overruns the header": (
        ip(b"\x94\4\0\0\x83\7\4\1"),
        ("IPv4", "options", FindingKind.OPTION, 24, 7, 4, "IPv4.ihl"),
        "IPv4 options: option 131 has length 7 and overruns the header (needed 7, got 4, limited by IPv4.ihl)",
    ),
    "IP option cut with its header": (
        golden("record route")[:28],
        ("IPv4", "options", FindingKind.OPTION, 20, 11, 8, "IPv4.ihl"),
        "IPv4 options: option 7 has length 11 and overruns the header (needed 11, got 8, limited by IPv4.ihl)",
    ),
    "no TCP header": (
        build(up(protocol=6), b""),
        ("TCP", "header", FindingKind.TRUNCATED, 20, 20, 0, "IPv4.total_length"),
        "TCP header: the header is cut short (needed 20, got 0, limited by IPv4.total_length)",
    ),
    "TCP header cut by the total length": (
        build(up(), TruncatedHeader(TCP, bytes(19))),
        ("TCP", "header", FindingKind.TRUNCATED, 20, 20, 19, "IPv4.total_length"),
        "TCP header: the header is cut short (needed 20, got 19, limited by IPv4.total_length)",
    ),
    "TCP header cut by the input's end": (
        golden("SYN")[:30],
        ("TCP", "header", FindingKind.TRUNCATED, 20, 20, 10, "input"),
        "TCP header: the header is cut short (needed 20, got 10, limited by the end of the input)",
    ),
    "UDP header cut": (
        build(up(options=bytes(4)), TruncatedHeader(UDP, bytes(7))),
        ("UDP", "header", FindingKind.TRUNCATED, 24, 8, 7, "IPv4.total_length"),
        "UDP header: the header is cut short (needed 8, got 7, limited by IPv4.total_length)",
    ),
    "ICMP header cut": (
        build(up(), TruncatedHeader(ICMP, b"\x08")),
        ("ICMP", "header", FindingKind.TRUNCATED, 20, 8, 1, "IPv4.total_length"),
        "ICMP header: the header is cut short (needed 8, got 1, limited by IPv4.total_length)",
    ),
    "IGMP header cut": (
        build(up(), TruncatedHeader(IGMP, b"\x16\0\0")),
        ("IGMP", "header", FindingKind.TRUNCATED, 20, 8, 3, "IPv4.total_length"),
        "IGMP header: the header is cut short (needed 8, got 3, limited by IPv4.total_length)",
    ),
    "data offset 4": (
        build(up(), TCP(flags=2, data_offset=4)),
        ("TCP", "data_offset", FindingKind.LENGTH, 32, 20, 16, "TCP.data_offset"),
        "TCP data offset: less than the fixed fields (needed 20, got 16, limited by TCP.data_offset)",
    ),
    "data offset past the end": (
        build(up(), TCP(flags=2, data_offset=15)),
        ("TCP", "data_offset", FindingKind.TRUNCATED, 32, 60, 20, "IPv4.total_length"),
        "TCP data offset: the header runs past the end (needed 60, got 20, limited by IPv4.total_length)",
    ),
    "reserved TCP bits": (
        build(up(), TCP(flags=2, reserved=4)),
        ("TCP", "reserved", FindingKind.RESERVED, 32, None, None, None),
        "TCP reserved: must be zero in segments of hosts that give it no meaning (RFC 9293 section 3.1)",
    ),
    "bad TCP checksum": (
        build(up(), TCP(flags=2, checksum=0)),
        ("TCP", "checksum", FindingKind.CHECKSUM, 36, 0x97DD, 0, None),
        "TCP checksum 0x0000 is bad, should be 0x97dd",
    ),
    "TCP option without a length": (
        build(up(), TCP(flags=2, options=b"\1\1\1\x02")),
        ("TCP", "options", FindingKind.OPTION, 43, 2, 1, "TCP.data_offset"),
        "TCP options: option 2 has no length byte (needed 2, got 1, limited by TCP.data_offset)",
    ),
    "TCP option of length 0": (
        build(up(), TCP(flags=2, options=b"\2\0\5\xb4")),
        ("TCP", "options", FindingKind.OPTION, 40, 2, 0, "TCP.options"),
        "TCP options: option 2 has length 0; the minimum is 2 (needed 2, got 0, limited by TCP.options)",
    ),
    "TCP option of length 1": (
        build(up(options=bytes(4)), TCP(flags=2, options=b"\2\1\5\xb4")),
        ("TCP", "options", FindingKind.OPTION, 44, 2, 1, "TCP.options"),
        "TCP options: option 2 has length 1; the minimum is 2 (needed 2, got 1, limited by TCP.options)",
    ),
    "TCP option that overruns the header": (
        build(up(), TCP(flags=2, options=b"\1\1\x08\x0a")),
        ("TCP", "options", FindingKind.OPTION, 42, 10, 2, "TCP.data_offset"),
        "TCP options: option 8 has length 10 and overruns the header (needed 10, got 2, limited by TCP.data_offset)",
    ),
    "UDP length 7": (
        build(up(), UDP(length=7)),
        ("UDP", "length", FindingKind.LENGTH, 24, 8, 7, "UDP.length"),
        "UDP length: less than the header itself (RFC 768) (needed 8, got 7, limited by UDP.length)",
    ),
    "UDP length 0": (
        build(up(), UDP(length=0), b"x"),
        ("UDP", "length", FindingKind.LENGTH, 24, 8, 0, "UDP.length"),
        "UDP length: less than the header itself (RFC 768) (needed 8, got 0, limited by UDP.length)",
    ),
    "UDP length past the end": (
        build(up(), UDP(length=12), b"abc"),
        ("UDP", "length", FindingKind.TRUNCATED, 24, 12, 11, "IPv4.total_length"),
        "UDP length: the UDP datagram is cut short (needed 12, got 11, limited by IPv4.total_length)",
    ),
    "bytes after UDP": (
        build(up(), UDP(length=10, checksum=0), b"abc"),
        ("UDP", "length", FindingKind.TRAILER, 24, 10, 11, "IPv4.total_length"),
        "UDP length: 1 byte follows the end of the UDP datagram (needed 10, got 11, limited by IPv4.total_length)",
    ),
    "bad UDP checksum": (
        build(up(), UDP(checksum=1)),
        ("UDP", "checksum", FindingKind.CHECKSUM, 26, 0xE7D8, 1, None),
        "UDP checksum 0x0001 is bad, should be 0xe7d8",
    ),
    "bad ICMP checksum": (
        build(down(), ICMP(checksum=0)),
        ("ICMP", "checksum", FindingKind.CHECKSUM, 22, 0xF7FF, 0, None),
        "ICMP checksum 0x0000 is bad, should be 0xf7ff",
    ),
    "bad IGMP checksum": (
        build(igmp("224.0.0.1"), IGMP(checksum=0xFFFF)),
        ("IGMP", "checksum", FindingKind.CHECKSUM, 26, 0xEEFF, 0xFFFF, None),
        "IGMP checksum 0xffff is bad, should be 0xeeff",
    ),
    "IGMP query without its sources": (
        build(igmp("224.0.0.1"), IGMP(rest=b"\2\x7d\0\2abcd")),
        ("IGMP", "number of sources", FindingKind.TRUNCATED, 34, 2, 1, "input"),
        (
            "IGMP number of sources: the message ends before the last of them (RFC 3376 section 4) "
            "(needed 2, got 1, limited by the end of the input)"
        ),
    ),
    "IGMP report without its records": (
        build(igmp("224.0.0.22"), IGMP(0x22, group="0.0.0.2", rest=bytes(GroupRecord(1, "224.1.1.1")))),
        ("IGMP", "number of group records", FindingKind.TRUNCATED, 30, 2, 1, "input"),
        (
            "IGMP number of group records: the message ends before the last of them (RFC 3376 section 4) "
            "(needed 2, got 1, limited by the end of the input)"
        ),
    ),
    "IGMP record without its auxiliary data": (
        build(igmp("224.0.0.22"), IGMP(0x22, group="0.0.0.1", rest=b"\1\1\0\0abcd")),
        ("IGMP", "number of group records", FindingKind.TRUNCATED, 30, 1, 0, "input"),
        (
            "IGMP number of group records: the message ends before the last of them (RFC 3376 section 4) "
            "(needed 1, got 0, limited by the end of the input)"
        ),
    ),
}


@pytest.mark.parametrize(("faulty", "wanted", "sentence"), FAULTS.values(), ids=FAULTS)
def test_faulty_packet_has_a_finding_with_data_and_sentence(faulty, wanted, sentence):
    named = [each for each in findings(faulty) if (each.layer, each.field) == wanted[:2]]
    assert len(named) == 1
    found = named[0]
    assert (
        found.layer,
        found.field,
        found.kind,
        found.offset,
        found.needed,
        found.present,
        found.length_from,
    ) == wanted
    assert str(found) == sentence
    assert build(parse(faulty)) == faulty


SINGLE = set(FAULTS) - {
    # A packet that is cut short has more findings: later fields and headers are missing too.
    "header past the end",
    "IP option cut with its header",
    "TCP header cut by the input's end",
    "packet cut short",
}


@pytest.mark.parametrize("name", sorted(SINGLE))
def test_faulty_packet_has_no_other_findings(name):
    faulty, wanted, _ = FAULTS[name]
    # A forced data offset of 4 words does not make the checksum wrong: it covers all bytes.
    assert [(each.layer, each.field) for each in findings(faulty)] == [wanted[:2]]


def test_findings_are_sorted_by_offset():
    broken = build(
        up(flags=IPFlag.RESERVED, checksum=0, options=b"\x07\0\0\0"), TCP(flags=2, reserved=1, checksum=0), b"x"
    )
    offsets = [each.offset for each in findings(broken)]
    assert offsets == [6, 10, 20, 36, 40]


def test_later_fragment_has_no_transport_findings():
    assert findings(build(up(protocol=17, fragment_offset=3), b"\0\0\0\0\0\0")) == []


def test_first_fragment_with_udp_length_of_whole_datagram_has_no_findings():
    assert findings(golden("fragment, first")) == []


def test_findings_are_equal_and_hashable():
    one, other = findings(ip(checksum=1)), findings(ip(checksum=1))
    assert one == other
    assert len({*one, *other}) == 1
    assert isinstance(one[0], Finding)


def test_findings_of_constructed_packet_are_those_of_its_receiver():
    # ihl says six words, but there are five: the receiver reads four bytes of TCP as options.
    packet = Packet.of(up(ihl=6), TCP(flags=TCPFlag.SYN))
    assert [(each.layer, each.field) for each in findings(packet)] == [("TCP", "header")]
