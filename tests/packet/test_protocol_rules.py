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
    to_dict,
)

POINTER = "IPv4 options: the pointer is "
NOT_SYN = " may be sent in segments with SYN only (RFC 9293 section 3.7.1, RFC 7323, RFC 2018)"
NOT_SENT = " must not be sent (RFC 1122 section 3.2.2)"
QUOTE = "ICMP quoted packet: an error quotes the IP header and the 8 bytes behind it (RFC 792) "
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
        "IPv4 options: option 7 (RecordRoute) is the second record route; one is allowed (RFC 791 section 3.1)",
    ),
    "loose and strict source route": (
        with_options("830704c0000201 890704c0000201"),
        "IPv4 options: option 137 (StrictSourceRoute) is the second source route; one is allowed (RFC 791 section 3.1)",
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
        "ICMP type: an error about an ICMP error" + NOT_SENT,
    ),
    "ICMP error about a multicast packet": (
        build(down(), ICMP.unreachable(3), build(IPv4(src="10.1.2.3", dst="224.0.0.1"), UDP(1, 2))),
        "ICMP type: an error about a packet to a multicast or broadcast address" + NOT_SENT,
    ),
    "ICMP error about a later fragment": (
        build(down(), ICMP.unreachable(3), build(up(protocol=17, fragment_offset=1), bytes(8))),
        "ICMP type: an error about a fragment other than the first" + NOT_SENT,
    ),
    "first fragment longer than its UDP length": (
        build(up(flags=IPFlag.MF, protocol=17), bytes.fromhex("0001000200140000"), bytes(48)),
        "UDP length: 36 bytes follow the end of the UDP datagram (needed 20, got 56, limited by IPv4.total_length)",
    ),
    "two signatures": (
        segment(flags=16, options=[tcp_options.MD5(bytes(16)), tcp_options.AO(1, 1, bytes(12))]),
        "TCP options: option 29 (AO) is the second signature; one is allowed (RFC 5925 section 2.2)",
    ),
    "security option twice": (
        with_options("82040000" * 2),
        "IPv4 options: option 130 (Security) is the second security option; one is allowed (RFC 1108 section 2)",
    ),
    "destination that begins with 0": (
        build(IPv4(src="10.1.2.1", dst="0.1.2.3"), ICMP()),
        "IPv4 dst: an address that begins with 0 cannot be the destination (RFC 1122 section 3.2.1.3)",
    ),
    "ICMP error about a packet without a source": (
        build(down(), ICMP.unreachable(3), build(IPv4(src="0.0.0.0", dst="10.1.2.1"), UDP(1, 2))),
        "ICMP type: an error about a packet whose source is not a single host" + NOT_SENT,
    ),
    "ICMP error with a quote of 27 bytes": (
        build(down(), ICMP.unreachable(3), QUESTION[:27]),
        QUOTE + "(needed 28, got 27, limited by IPv4.total_length)",
    ),
    "ICMP error without a quote": (
        build(down(), ICMP.unreachable(3)),
        QUOTE + "(needed 28, got 0, limited by IPv4.total_length)",
    ),
    "ICMP timestamp message without its timestamps": (
        build(up(), ICMP.timestamp(), bytes(11)),
        (
            "ICMP timestamps: the message ends before the last of its three timestamps (RFC 792) "
            "(needed 12, got 11, limited by IPv4.total_length)"
        ),
    ),
    "UDP length below the payload": (
        build(up(), UDP(length=12), bytes(12)),
        "UDP length: 8 bytes follow the end of the UDP datagram (needed 12, got 20, limited by IPv4.total_length)",
    ),
}


@pytest.mark.parametrize(("packet", "sentence"), RULES.values(), ids=RULES)
def test_packet_that_breaks_a_rule_has_one_finding(packet, sentence):
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
        build(down(), ICMP.unreachable(2), build(up(protocol=253), b"short")),
        build(down(), ICMP.unreachable(1), build(IPv4(src="10.1.2.3", dst="240.0.0.1"), UDP(1, 2))),
        build(up(), ICMP.timestamp(), bytes(12)),
        build(up(flags=IPFlag.MF, protocol=6), bytes(8)),
    ],
)
def test_packet_that_just_keeps_a_rule_has_no_findings(packet):
    assert findings(packet) == []


@pytest.mark.parametrize("header", [TCP(flags=2), ICMP()])
def test_checksum_of_packet_shorter_than_total_length_is_not_verifiable(header):
    verdict = checksums(build(up(), header, b"abcdef")[:-3])[-1]
    assert (verdict.verdict, verdict.reason) == (Verdict.UNVERIFIABLE, "the packet is cut short")


def test_summary_and_reply_of_truncated_packet_use_the_length_on_the_wire():
    whole = build(up(), TCP(flags=TCPFlag.ACK, seq=100), bytes(100))
    packet = parse(whole[:60], wire_length=len(whole))
    assert summary(packet).endswith("seq 100:200, ack 0, win 65535, length 100")
    assert reply(packet)[1].ack == 200
    assert findings(packet) == []


def test_summary_of_fragment_with_total_length_0_shows_its_present_size():
    data = bytes.fromhex("450000000001200140060000 0a010203 0a010201") + bytes(20)
    assert ", fragment id 1 20@8+" in summary(data)


def test_icmp_error_quoting_28_bytes_has_no_findings():
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
        (build(up(), ICMP(99, identifier=1, sequence_number=2)), ["  Type: 99 (type 99 code 0)", "  Rest: 65538"]),
    ],
    ids=["redirect", "RFC 4884 length", "timestamp with addresses", "version 3 report", "unknown ICMP type"],
)
def test_verbose_listing_names_the_fields_of_the_message(packet, lines):
    shown = listing(packet, verbose=True).splitlines()
    assert [line for line in lines if line not in shown] == []
    assert not any("Identifier" in line or "Group: 0.0.0.3" in line for line in shown)


@pytest.mark.parametrize(
    ("header", "payload", "wanted"),
    [
        (ICMP.redirect("10.1.2.254"), QUESTION, {"type": 5, "code": 1, "gateway": "10.1.2.254"}),
        (ICMP.parameter_problem(20), QUESTION, {"type": 12, "code": 0, "pointer": 20, "length": 0}),
        (ICMP.echo_request(1, 2), b"", {"type": 8, "code": 0, "identifier": 1, "sequence_number": 2}),
        (
            IGMP.report_v3([GroupRecord(1, "224.1.1.1")]),
            b"",
            {"type": 34, "record_count": 1, "rest": "01000000e0010101"},
        ),
    ],
    ids=["redirect", "parameter problem", "echo request", "version 3 report"],
)
def test_to_dict_has_the_fields_of_the_message(header, payload, wanted):
    values = to_dict(build(down(), header, payload))[header.layer_name.lower()]
    assert {name: value for name, value in values.items() if name != "checksum"} == wanted


@pytest.mark.parametrize("total_length", [28, 30, 39])
def test_udp_length_and_checksum_are_computed_from_a_forced_total_length(total_length):
    packet = build(up(total_length=total_length), UDP(1, 2), bytes(12))
    assert [each.field for each in findings(packet)] == ["total_length"]
    assert parse(packet).udp.length == total_length - 20
