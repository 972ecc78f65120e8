"""Packets that break a rule of their protocol although all lengths and checksums are right, and near misses."""

import pytest

from tests.packet.golden import QUESTION, down, igmp, up
from tunlab.packet import (
    ICMP,
    IGMP,
    TCP,
    UDP,
    GroupRecord,
    IPFlag,
    IPv4,
    TCPFlag,
    Verdict,
    build,
    checksums,
    findings,
    ip_options,
    listing,
    parse,
    reply,
    summary,
    tcp_options,
)

POINTER = "IPv4 options: the pointer is "
NOT_SYN = " may be sent in segments with SYN only (RFC 9293 section 3.7.1, RFC 7323, RFC 2018)"
SOURCE = "IPv4 src: a multicast or broadcast address cannot be the source (RFC 1122 section 3.2.1.3)"


def with_options(text):
    return build(up(options=bytes.fromhex(text)), ICMP())


def segment(**fields):
    return build(up(), TCP(**fields))


RULES = {
    "TTL 0": (build(up(ttl=0), ICMP()), "IPv4 ttl: a packet must not be sent with 0 (RFC 1122 section 3.2.1.7)"),
    "multicast source": (build(IPv4(src="224.0.0.1", dst="10.1.2.1"), ICMP()), SOURCE),
    "broadcast source": (build(IPv4(src="255.255.255.255", dst="10.1.2.1"), ICMP()), SOURCE),
    "record route pointer between addresses": (
        with_options("07070500000000"),
        POINTER + "5, where no address starts; 4, 8, 12, … point to one (RFC 791 section 3.1)",
    ),
    "timestamp pointer below 5": (
        with_options("440c0400" + "00" * 8),
        POINTER + "4, where no timestamp starts; 5 points to the first (RFC 791 section 3.1)",
    ),
    "timestamp overflow": (
        with_options("440408f0"),
        "IPv4 options: the overflow counter is full (RFC 791 section 3.1)",
    ),
    "timestamp room": (
        with_options("440c0901" + "00" * 8),
        POINTER + "9, where no timestamp starts; 5 points to the first (RFC 791 section 3.1)",
    ),
    "timestamp flag 2": (
        with_options("44080502" + "00" * 4),
        "IPv4 options: the timestamp flag is 2; it is 0, 1 or 3 (RFC 791 section 3.1)",
    ),
    "record route twice": (
        with_options("0707040a000001" * 2),
        "IPv4 options: option 7 (RecordRoute) is the second record route; one is allowed (RFC 791)",
    ),
    "loose and strict source route": (
        with_options("830704c0000201 890704c0000201"),
        "IPv4 options: option 137 (StrictSourceRoute) is the second source route; one is allowed (RFC 791)",
    ),
    "IP options after the end": (
        with_options("00010203"),
        "IPv4 options: bytes behind the end of the options are not zero (RFC 791 section 3.1, RFC 9293 section 3.1)",
    ),
    "TCP options after the end": (
        segment(flags=2, options=b"\0\1\2\3"),
        "TCP options: bytes behind the end of the options are not zero (RFC 791 section 3.1, RFC 9293 section 3.1)",
    ),
    "MSS without SYN": (segment(flags=16, options=[tcp_options.MSS(9)]), "TCP options: MSS" + NOT_SYN),
    "window scale without SYN": (
        segment(flags=16, options=[tcp_options.WindowScale(9)]),
        "TCP options: WindowScale" + NOT_SYN,
    ),
    "SYN and RST": (
        segment(flags=TCPFlag.SYN | TCPFlag.RST),
        "TCP flags: SYN and RST contradict each other (RFC 9293 section 3.5)",
    ),
    "no TCP flags": (
        segment(flags=0),
        "TCP flags: without ACK, SYN or RST a receiver drops the segment (RFC 9293 section 3.10.7.4)",
    ),
    "ICMP error about an ICMP error": (
        build(down(), ICMP.unreachable(3), build(up(), ICMP.time_exceeded(), QUESTION)[:40]),
        "ICMP type: an error about an ICMP error must not be sent (RFC 1122 section 3.2.2)",
    ),
    "ICMP error about a multicast packet": (
        build(down(), ICMP.unreachable(3), build(IPv4(src="10.1.2.3", dst="224.0.0.1"), UDP(1, 2))),
        (
            "ICMP type: an error about a packet to a multicast or broadcast address must not be sent "
            "(RFC 1122 section 3.2.2)"
        ),
    ),
    "ICMP error about a later fragment": (
        build(down(), ICMP.unreachable(3), build(up(protocol=17, fragment_offset=1), bytes(8))),
        "ICMP type: an error about a fragment other than the first must not be sent (RFC 1122 section 3.2.2)",
    ),
    "first fragment longer than its UDP length": (
        build(up(flags=IPFlag.MF, protocol=17), bytes.fromhex("0001000200140000"), bytes(48)),
        "UDP length: 36 bytes follow the UDP datagram's end (needed 20, got 56, limited by IPv4.total_length)",
    ),
    "UDP length below the payload": (
        build(up(), UDP(length=12), bytes(12)),
        "UDP length: 8 bytes follow the UDP datagram's end (needed 12, got 20, limited by IPv4.total_length)",
    ),
}


@pytest.mark.parametrize(("packet", "sentence"), RULES.values(), ids=RULES)
def test_broken_rule_has_one_finding(packet, sentence):
    assert list(map(str, findings(packet))) == [sentence]


@pytest.mark.parametrize(
    "packet",
    [
        build(up(ttl=1), ICMP()),
        build(IPv4(src="223.255.255.255", dst="224.0.0.1"), ICMP()),
        build(IPv4(src="240.0.0.1", dst="10.1.2.1"), ICMP()),
        with_options("94040000" * 2),
        with_options("440c0500" + "00" * 8),
        segment(flags=TCPFlag.SYN | TCPFlag.AE),
        segment(flags=TCPFlag.SYN, options=[tcp_options.MSS(9), tcp_options.WindowScale(9)]),
        segment(flags=TCPFlag.RST),
        build(down(), ICMP.unreachable(3), build(up(), ICMP.echo_request())),
        build(down(), ICMP.unreachable(3), QUESTION[:28]),
    ],
)
def test_near_miss_of_a_rule_has_no_findings(packet):
    assert findings(packet) == []


@pytest.mark.parametrize("header", [TCP(flags=2), ICMP()])
def test_checksum_of_packet_shorter_than_total_length_is_not_verifiable(header):
    verdict = checksums(build(up(), header, b"abcdef")[:-3])[-1]
    assert (verdict.verdict, verdict.reason) == (Verdict.UNVERIFIABLE, "the packet is cut short")


def test_cut_capture_shows_and_acknowledges_the_length_on_the_wire():
    whole = build(up(), TCP(flags=TCPFlag.ACK, seq=100), bytes(100))
    packet = parse(whole[:60], wire_length=len(whole))
    assert summary(packet).endswith("seq 100:200, ack 0, win 65535, length 100")
    assert reply(packet)[1].ack == 200
    assert findings(packet) == []


def test_summary_of_fragment_with_total_length_0_shows_its_present_size():
    data = bytes.fromhex("450000000001200140060000 0a010203 0a010201") + bytes(20)
    assert ", fragment id 1 20@8+" in summary(data)


def test_quoted_packet_of_28_bytes_has_no_findings():
    packet = parse(build(down(), ICMP.unreachable(3), build(up(), UDP(1, 2), b"payload")[:28]))
    assert findings(packet.quoted) == findings(packet) == []


def test_padding_of_rfc_4884_is_not_part_of_the_quoted_packet():
    quoted = build(up(), UDP(1, 2), b"hi")
    message = build(down(), ICMP(3, 3, identifier=32), quoted, bytes(128 - len(quoted)), bytes.fromhex("2000dfff"))
    assert findings(message) == findings(parse(message).quoted) == []
    assert parse(message).quoted.payload == b"hi"


@pytest.mark.parametrize(
    ("packet", "lines"),
    [
        (build(down(), ICMP.redirect("10.1.2.254"), QUESTION), ["  Gateway: 10.1.2.254"]),
        (build(down(), ICMP(3, 3, identifier=32), QUESTION), ["  Unused: 0", "  Length: 32"]),
        (
            build(up(options=[ip_options.Timestamp((0x0A000001, 5), flag=1, pointer=13)]), UDP()),
            ["  Option: Timestamp words 10.0.0.1 5, pointer 13, overflow 0, flag 1"],
        ),
        (
            build(igmp("224.0.0.22"), IGMP.report_v3([GroupRecord(1, "224.1.1.1")] * 3)),
            ["  Reserved: 0", "  Record Count: 3"],
        ),
    ],
    ids=["redirect", "RFC 4884 length", "timestamp with addresses", "version 3 report"],
)
def test_verbose_listing_names_the_fields_of_the_message(packet, lines):
    shown = listing(packet, verbose=True).splitlines()
    assert [line for line in lines if line not in shown] == []
    assert not any("Identifier" in line or "Group: 0.0.0.3" in line for line in shown)
