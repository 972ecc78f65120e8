"""The listing, hex dump, summary and dictionary of packets, compared with the exact text."""

import json

import pytest

from tests.packet.golden import GOLDEN, HOST, QUESTION, ROUTER, down, igmp, up
from tunlab.packet import (
    ICMP,
    IGMP,
    TCP,
    UDP,
    GroupRecord,
    IPFlag,
    Packet,
    TCPFlag,
    TruncatedHeader,
    build,
    hexdump,
    ip_options,
    listing,
    parse,
    summary,
    tcp_options,
    to_dict,
)
from tunlab.packet.tables import IP_PAYLOADS, payload_name

ECHO = build(down(identification=0x5F13, flags=IPFlag.DF), ICMP.echo_request(0x1234, 1), bytes(range(56)))

LISTING = """\
=== Parsed IP Packet ===
IP Packet:
  Version: IPv4
  IHL: 5 (words)
  Total Length: 84 bytes
  Source: 10.1.2.1
  Destination: 10.1.2.3
  Payload Length: 64 bytes
  Protocol: ICMP"""

HEXDUMP = """\
=== Raw Packet Hexdump ===

Raw IP packet bytes:
Header (IHL: 20 bytes):
45 00 00 54
5f 13 40 00
40 01 c3 90
0a 01 02 01
0a 01 02 03

Payload:
08 00 ee b7
12 34 00 01
00 01 02 03
04 05 06 07
08 09 0a 0b
0c 0d 0e 0f
10 11 12 13
14 15 16 17
18 19 1a 1b
1c 1d 1e 1f
20 21 22 23
24 25 26 27
28 29 2a 2b
2c 2d 2e 2f
30 31 32 33
34 35 36 37"""


def test_listing_and_hexdump_of_echo_request():
    assert listing(ECHO) == listing(parse(ECHO)) == LISTING
    assert hexdump(ECHO) == hexdump(memoryview(ECHO)) == HEXDUMP


def test_verbose_listing_of_syn():
    data = bytes.fromhex(GOLDEN["SYN"][0])
    assert listing(data, verbose=True) == (
        """\
=== Parsed IP Packet ===
IP Packet:
  Version: IPv4
  IHL: 5 (words)
  Total Length: 60 bytes
  Source: 10.1.2.3
  Destination: 10.1.2.1
  Payload Length: 40 bytes
  Protocol: TCP
  DSCP: 0
  ECN: 0
  Identification: 0xc366 (50022)
  Flags: DF
  Fragment Offset: 0 (8-byte units)
  TTL: 64
  Header Checksum: 0x5f50 (good)
TCP:
  Src Port: 55624
  Dst Port: 80
  Seq: 2915556125
  Ack: 0
  Data Offset: 10 (40 bytes)
  Reserved: 0
  Flags: SYN
  Window: 65495
  Checksum: 0x3abd (good)
  Urgent Pointer: 0
  Option: MSS size 1460
  Option: SACKPermitted
  Option: Timestamps value 484865534, echo reply 0
  Option: no operation
  Option: WindowScale shift 10"""
    )


@pytest.mark.parametrize(
    ("layers", "lines"),
    [
        ((up(protocol=89), b"ab"), ["  Protocol: Other (89)", "  Payload Length: 2 bytes"]),
        ((up(protocol=0), b""), ["  Protocol: Other (0)", "  Payload Length: 0 bytes"]),
        ((up(total_length=0), UDP()), ["  Total Length: 0 bytes", "  Payload Length: 8 bytes", "Findings:"]),
        ((up(flags=6), UDP()), ["  Flags: RESERVED | DF"]),
        ((up(), UDP()), ["  Flags: none", "UDP:", "  Length: 8"]),
        (
            (up(options=[ip_options.RecordRoute(("10.0.0.1", "0.0.0.0"), 8)]), UDP()),
            ["  Option: RecordRoute addresses 10.0.0.1 0.0.0.0, pointer 8", "  Option: end of options"],
        ),
        ((up(options=b"\x85\5abc"), UDP()), ["  Option: kind 133 61 62 63"]),
        ((up(), TCP(options=[tcp_options.SACK(((1, 2), (3, 4)))])), ["  Option: SACK blocks 1-2 3-4", "  Flags: none"]),
        ((up(), TCP(options=[tcp_options.FastOpen(b"cook")])), ["  Option: FastOpen cookie 636f6f6b"]),
        (
            (down(), ICMP.redirect("10.1.2.254"), QUESTION),
            ["  Type: 5 (redirect for the host)", "  Gateway: 10.1.2.254"],
        ),
        ((down(), ICMP.unreachable(4, 1400), QUESTION), ["  MTU: 1400"]),
        ((down(), ICMP.parameter_problem(20), QUESTION), ["  Pointer: 20"]),
        (
            (igmp("224.0.0.1"), IGMP.query(sources=["10.0.0.1"])),
            ["  Source: 10.0.0.1", "  Type: 17 (v3 membership query)"],
        ),
        (
            (igmp("224.0.0.22"), IGMP.report_v3([GroupRecord(4, "224.1.2.3", ("10.0.0.1",))])),
            ["  Record: type 4, group 224.1.2.3, 1 source"],
        ),
        ((up(), TruncatedHeader(TCP, b"\0\1\0\2\0")), ["TCP (cut short):", "  Src Port: 1", "  Dst Port: 2"]),
        ((up(checksum=5), UDP()), ["  Header Checksum: 0x0005 (bad, should be 0x62cc)"]),
        ((up(), UDP(checksum=0)), ["  Checksum: 0x0000 (not verifiable: the sender computed none)"]),
    ],
)
def test_verbose_listing_contains_lines(layers, lines):
    shown = listing(build(*layers), verbose=True).splitlines()
    assert [line for line in lines if line not in shown] == []
    assert listing(Packet.of(*layers), verbose=True).splitlines() == shown


def test_listing_ends_with_findings():
    assert listing(build(up(checksum=0), UDP())).endswith(
        "  Protocol: UDP\nFindings:\n  IPv4 checksum 0x0000 is bad, should be 0x62cc"
    )


@pytest.mark.parametrize(
    ("data", "dump"),
    [
        (b"", []),
        (b"\x45\0\0", ["45 00 00"]),
        (b"\x60\0\0\0\0\0\x3a\xff" + bytes(12), ["60 00 00 00", "00 00 3a ff", *["00 00 00 00"] * 3]),
        (b"\x44" + bytes(19), ["44 00 00 00", *["00 00 00 00"] * 4]),
        (bytes(21), [*["00 00 00 00"] * 5, "00"]),
    ],
)
def test_hexdump_of_bytes_that_are_not_a_packet_has_one_section(data, dump):
    assert hexdump(data).splitlines() == ["=== Raw Packet Hexdump ===", "", "Raw IP packet bytes:", *dump]


@pytest.mark.parametrize("missing", [0, 1, 4])
def test_hexdump_without_payload_says_empty(missing):
    data = build(up(protocol=253, options=bytes(4)))
    data = data[: len(data) - missing]
    lines = hexdump(data).splitlines()
    assert lines[3] == "Header (IHL: 24 bytes):"
    assert lines[-3:] == ["", "Payload:", "(empty)"]
    assert bytes.fromhex("".join(lines[4:-3])) == data


FROM_HOST = f"IP {HOST} > {ROUTER}: "
FROM_ROUTER = f"IP {ROUTER} > {HOST}: "
SUMMARIES = {
    "ping": f"IP 127.0.0.1 > 127.0.0.1: ICMP echo request, id {0x6892}, seq 1, length 64",
    "SYN": f"IP {HOST}.55624 > {ROUTER}.80: Flags [S], seq 2915556125, win 65495,"
    " options [mss 1460,sackOK,TS val 484865534 ecr 0,nop,wscale 10], length 0",
    "SYN-ACK": f"IP {ROUTER}.80 > {HOST}.55624: Flags [S.], seq 16909060, ack 2915556126, win 65160,"
    " options [mss 1460,sackOK,TS val 7 ecr 484865534,nop,wscale 7], length 0",
    "RST": "IP 127.0.0.1.5 > 127.0.0.1.55624: Flags [R.], seq 0, ack 2915556126, win 0, length 0",
    "data, ECN, SACK, urgent": f"IP {HOST}.55624 > {ROUTER}.80: Flags [P.UEW], seq 4294967295:2, ack 9, win 1, urg 3,"
    " options [nop,nop,sack 100-200 300-400], length 3",
    "UDP": f"IP {HOST}.5353 > {ROUTER}.5353: UDP, length 5",
    "port unreachable": "IP 127.0.0.1 > 127.0.0.1: ICMP port unreachable, for UDP to 127.0.0.1 port 5, length 39",
    "fragmentation needed": FROM_ROUTER
    + "ICMP fragmentation needed and DF set, mtu 1400, for UDP to 192.0.2.9 port 53, length 44",
    "redirect": FROM_ROUTER + "ICMP redirect for the host, to 10.1.2.254, for UDP to 192.0.2.9 port 53, length 44",
    "time exceeded": FROM_ROUTER + "ICMP time to live exceeded in transit, for UDP to 192.0.2.9 port 53, length 36",
    "parameter problem": FROM_ROUTER + "ICMP parameter problem, pointer 20, for UDP to 192.0.2.9 port 53, length 44",
    "router solicitation": f"IP {ROUTER} > 224.0.0.2: ICMP router solicitation, length 8",
    "timestamp": FROM_HOST + "ICMP timestamp, id 9, seq 1, length 20",
    "IGMP v2 query": f"IP {ROUTER} > 224.0.0.1: igmp v2 membership query 0.0.0.0",
    "IGMP v2 leave": f"IP {HOST} > 224.0.0.2: igmp v2 leave group 224.1.2.3",
    "IGMP v3 report": f"IP {HOST} > 224.0.0.22: igmp v3 membership report",
    "unknown protocol": FROM_HOST + "protocol 253, length 10",
    "fragment, first": f"IP {HOST}.7 > {ROUTER}.8: UDP, length 16, fragment id 119 24@0+",
    "fragment, middle": FROM_HOST + "UDP, length 16, fragment id 119 16@24+",
    "fragment, last": FROM_HOST + "UDP, length 8, fragment id 119 8@40",
}


@pytest.mark.parametrize(("name", "line"), SUMMARIES.items())
def test_summary_of_packets_without_findings(name, line):
    data = bytes.fromhex(GOLDEN[name][0])
    assert summary(data) == summary(parse(data)) == summary(bytearray(data)) == line


@pytest.mark.parametrize(
    ("layers", "line"),
    [
        ((up(), TCP(flags=2)), f"IP {HOST}.0 > {ROUTER}.0: Flags [S], seq 0, win 65535, length 0"),
        (
            (up(), TCP(flags=TCPFlag.FIN | TCPFlag.ACK, options=[tcp_options.Option(254), b"\0"])),
            f"IP {HOST}.0 > {ROUTER}.0: Flags [F.], seq 0, ack 0, win 65535, options [kind 254,eol], length 0",
        ),
        (
            (up(), TruncatedHeader(TCP, b"\0\5\0\6\0")),
            f"IP {HOST}.5 > {ROUTER}.6: TCP, src_port 5, dst_port 6 [TCP header: the header is cut short]",
        ),
        (
            (down(), ICMP.time_exceeded(), b"short"),
            (
                FROM_ROUTER + "ICMP time to live exceeded in transit, length 13"
                " [ICMP quoted packet: an error quotes the IP header and the 8 bytes behind it (RFC 792)]"
            ),
        ),
        (
            (down(), ICMP.time_exceeded(), build(up(protocol=89))),
            FROM_ROUTER + "ICMP time to live exceeded in transit, for Other (89) to 10.1.2.1, length 28",
        ),
        (
            (up(checksum=0), UDP()),
            f"IP {HOST}.0 > {ROUTER}.0: UDP, length 0 [bad IPv4 checksum 0x0000, should be 0x62cc]",
        ),
        (
            (up(flags=4), UDP(length=9), b""),
            (
                f"IP {HOST}.0 > {ROUTER}.0: UDP, length 0"
                " [IPv4 flags: the first bit must be zero (RFC 791 section 3.1)]"
                " [UDP length: the UDP datagram is cut short]"
            ),
        ),
    ],
)
def test_summary_with_findings_and_rare_headers(layers, line):
    assert summary(build(*layers)) == summary(Packet.of(*layers)) == line


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", "0 bytes, not an IP packet: IPv4 header needs 20 bytes, got 0 (input ended at offset 0)"),
        (b"\x45\0", "2 bytes, not an IP packet: IPv4 header needs 20 bytes, got 2 (input ended at offset 2)"),
        (b"\x50" + bytes(39), "40 bytes, not an IP packet: IPv4.version at offset 0 is 5: "),
        (b"garbage", "7 bytes, not an IP packet: IPv6 header needs 40 bytes, got 7 (input ended at offset 7)"),
        (b"\x41" + bytes(19), "20 bytes, not an IP packet: IPv4.ihl at offset 0 is 1: "),
    ],
)
def test_summary_of_bytes_that_are_not_a_packet_does_not_raise(data, line):
    assert summary(data).startswith(line)
    assert "\n" not in summary(data)


def test_summary_does_not_raise_if_packet_cannot_be_built():
    assert summary(Packet.of(up(), b"payload")) == (
        "not an IP packet: IPv4.protocol is None: no header follows that implies it. Give `protocol`."
    )


def test_to_dict_is_valid_json():
    data = build(up(options=b"\1"), UDP(1, 2), b"abc") + b"pad"
    values = to_dict(data)
    assert json.loads(json.dumps(values)) == values
    assert values == {
        "ipv4": {
            "version": 4,
            "ihl": 6,
            "dscp": 0,
            "ecn": 0,
            "total_length": 35,
            "identification": 0,
            "flags": 0,
            "fragment_offset": 0,
            "ttl": 64,
            "protocol": 17,
            "checksum": 0x60C5,
            "src": HOST,
            "dst": ROUTER,
            "options": "01000000",
        },
        "udp": {"src_port": 1, "dst_port": 2, "length": 11, "checksum": 0x236D},
        "payload": "616263",
        "trailer": "706164",
        "checksums": {"ipv4": "good", "udp": "good"},
        "findings": [
            (
                "IPv4 total length: 3 bytes follow the end of the packet "
                "(needed 35, got 38, limited by the end of the input)"
            )
        ],
        "summary": f"IP {HOST}.1 > {ROUTER}.2: UDP, length 3 [IPv4 total length: 3 bytes follow the end of the packet]",
    }
    assert "trailer" not in to_dict(data[:-3])
    assert to_dict(parse(data)) == values


def test_to_dict_of_truncated_header():
    values = to_dict(build(up(), TruncatedHeader(TCP, b"\0\1")))
    assert values["tcp"] == {"src_port": 1, "truncated": "0001"}


@pytest.mark.parametrize(
    ("number", "name"), [(1, "ICMP"), (2, "IGMP"), (6, "TCP"), (17, "UDP"), (0, "Other (0)"), (None, "Other (None)")]
)
def test_payload_name_of_protocol_numbers(number, name):
    assert payload_name(IP_PAYLOADS, number) == name
