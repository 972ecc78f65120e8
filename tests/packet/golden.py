"""Packets as hexadecimal text, each with the headers and payload that build it: the expected values of many tests.

The pings, the reset and the port unreachable were captured from a Linux kernel, the others were made by another library
or by hand, none by this package. tshark reports every checksum as correct.
"""

from __future__ import annotations

from tunlab.packet import (
    ICMP,
    IGMP,
    TCP,
    UDP,
    GroupRecord,
    ICMPTimestamps,
    IPFlag,
    IPv4,
    TCPFlag,
)
from tunlab.packet.ip_options import LooseSourceRoute, RecordRoute, RouterAlert, StrictSourceRoute
from tunlab.packet.tcp_options import MSS, NOP, SACK, SACKPermitted, Timestamps, WindowScale

HOST, ROUTER = "10.1.2.3", "10.1.2.1"
ALERT = [RouterAlert()]

# The 56 bytes that ping sends: a timestamp, then numbers from 16 up.
PING = bytes.fromhex("961f036b00000000 8dea030000000000") + bytes(range(16, 56))

QUESTION = bytes.fromhex("45000024123400000111d98a0a010201c000020913880035001063457175657374696f6e")


def up(**fields):
    """Return an IPv4 header from HOST to ROUTER."""
    return IPv4(src=HOST, dst=ROUTER, **fields)


def down(**fields):
    """Return an IPv4 header from ROUTER to HOST."""
    return IPv4(src=ROUTER, dst=HOST, **fields)


def local(**fields):
    """Return an IPv4 header from 127.0.0.1 to itself."""
    return IPv4(src="127.0.0.1", dst="127.0.0.1", **fields)


def igmp(dst, *, src=HOST, **fields):
    """Return an IPv4 header as IGMP messages have it: TTL 1 and the Router Alert option."""
    return IPv4(src=src, dst=dst, ttl=1, dscp=48, options=ALERT, **fields)


GOLDEN = {
    "ping": (
        (
            "45000054 5a6a4000 4001e23c 7f000001 7f000001 0800a624 68920001 961f036b 00000000 8dea0300 00000000"
            "10111213 14151617 18191a1b 1c1d1e1f 20212223 24252627 28292a2b 2c2d2e2f 30313233 34353637"
        ),
        [local(identification=0x5A6A, flags=IPFlag.DF), ICMP.echo_request(0x6892, 1), PING],
    ),
    "ping's answer": (
        (
            "45000054 5a6b0000 4001223c 7f000001 7f000001 0000ae24 68920001 961f036b 00000000 8dea0300 00000000"
            "10111213 14151617 18191a1b 1c1d1e1f 20212223 24252627 28292a2b 2c2d2e2f 30313233 34353637"
        ),
        [local(identification=0x5A6B), ICMP.echo_reply(0x6892, 1), PING],
    ),
    "SYN": (
        (
            "4500003c c3664000 40065f50 0a010203 0a010201 d9480050 adc7db1d 00000000 a002ffd7 3abd0000 020405b4"
            "0402080a 1ce675fe 00000000 0103030a"
        ),
        [
            up(identification=0xC366, flags=IPFlag.DF),
            TCP(
                src_port=55624,
                dst_port=80,
                seq=0xADC7DB1D,
                flags=TCPFlag.SYN,
                window=65495,
                options=[MSS(1460), SACKPermitted(), Timestamps(484865534), NOP, WindowScale(10)],
            ),
        ],
    ),
    "SYN-ACK": (
        (
            "4500003c 00004000 400622b7 0a010201 0a010203 0050d948 01020304 adc7db1e a012fe88 37f10000 020405b4"
            "0402080a 00000007 1ce675fe 01030307"
        ),
        [
            down(flags=IPFlag.DF),
            TCP(
                src_port=80,
                dst_port=55624,
                seq=0x01020304,
                ack=0xADC7DB1E,
                flags=TCPFlag.SYN | TCPFlag.ACK,
                window=65160,
                options=[MSS(1460), SACKPermitted(), Timestamps(7, 484865534), NOP, WindowScale(7)],
            ),
        ],
    ),
    "RST": (
        "45000028 00004000 40063cce 7f000001 7f000001 0005d948 00000000 adc7db1e 50140000 4f9a0000",
        [
            local(flags=IPFlag.DF),
            TCP(src_port=5, dst_port=55624, ack=0xADC7DB1E, flags=TCPFlag.RST | TCPFlag.ACK, window=0),
        ],
    ),
    "data, ECN, SACK, urgent": (
        (
            "45b9003f 00010000 400661fa 0a010203 0a010201 d9480050 ffffffff 00000009 a0f80001 9ecc0003 01010512"
            "00000064 000000c8 0000012c 00000190 616263"
        ),
        [
            up(dscp=46, ecn=1, identification=1),
            TCP(
                src_port=55624,
                dst_port=80,
                seq=0xFFFFFFFF,
                ack=9,
                flags=TCPFlag.PSH | TCPFlag.ACK | TCPFlag.URG | TCPFlag.ECE | TCPFlag.CWR,
                window=1,
                urgent_pointer=3,
                options=[NOP, NOP, SACK(((100, 200), (300, 400)))],
            ),
            b"abc",
        ],
    ),
    "UDP": (
        "45000021 00020000 401162c5 0a010203 0a010201 14e914e9 000d7a2a 68656c6c 6f",
        [up(identification=2), UDP(src_port=5353, dst_port=5353), b"hello"],
    ),
    "UDP without checksum": (
        "4500001f 00030000 ff11a3c5 0a010203 0a010201 00440043 000b0000 68690a",
        [up(identification=3, ttl=255), UDP(src_port=68, dst_port=67, checksum=0), b"hi\n"],
    ),
    "port unreachable": (
        (
            "45c0003b 5a6d0000 40012193 7f000001 7f000001 0303b0af 00000000 4500001f eff04000 40114cdb 7f000001"
            "7f000001 dbb40005 000bfe1e 68690a"
        ),
        [
            local(dscp=48, identification=0x5A6D),
            ICMP.unreachable(3),
            bytes.fromhex("4500001feff0400040114cdb7f0000017f000001dbb40005000bfe1e68690a"),
        ],
    ),
    "fragmentation needed": (
        "45000040 00050000 400162b3 0a010201 0a010203 0304c5b0 00000578" + QUESTION.hex(),
        [down(identification=5), ICMP.unreachable(4, mtu=1400), QUESTION],
    ),
    "source quench": (
        "45000040 00060000 400162b2 0a010201 0a010203 0400ca2c 00000000" + QUESTION.hex(),
        [down(identification=6), ICMP(4), QUESTION],
    ),
    "redirect": (
        "45000040 00070000 400162b1 0a010201 0a010203 0501bc2c 0a0102fe" + QUESTION.hex(),
        [down(identification=7), ICMP.redirect("10.1.2.254"), QUESTION],
    ),
    "router solicitation": (
        "4500001c 00090000 0101cdd4 0a010201 e0000002 0a00f5ff 00000000",
        [IPv4(src=ROUTER, dst="224.0.0.2", ttl=1, identification=9), ICMP(10)],
    ),
    "time exceeded": (
        "45000038 000a0000 400162b6 0a010201 0a010203 0b007ded 00000000" + QUESTION[:28].hex(),
        [down(identification=10), ICMP.time_exceeded(), QUESTION[:28]],
    ),
    "parameter problem": (
        "45000040 000b0000 400162ad 0a010201 0a010203 0c00ae2c 14000000" + QUESTION.hex(),
        [down(identification=11), ICMP.parameter_problem(20), QUESTION],
    ),
    "timestamp": (
        "45000028 000c0000 400162c4 0a010203 0a010201 0d00ef0d 00090001 000003e8 00000000 00000000",
        [up(identification=12), ICMP.timestamp(9, 1), ICMPTimestamps(1000)],
    ),
    "timestamp reply": (
        "45000028 000d0000 400162c3 0a010201 0a010203 0e00de6c 00090001 000003e8 000007d0 000007d1",
        [down(identification=13), ICMP.timestamp_reply(9, 1), ICMPTimestamps(1000, 2000, 2001)],
    ),
    "information request": (
        "4500001c 000e0000 400162ce 0a010203 0a010201 0f00f0f8 00030004",
        [up(identification=14), ICMP(15, identifier=3, sequence_number=4)],
    ),
    "information reply": (
        "4500001c 000f0000 400162cd 0a010201 0a010203 1000eff8 00030004",
        [down(identification=15), ICMP(16, identifier=3, sequence_number=4)],
    ),
    "IGMP v1 query": (
        "46c00020 00100000 01023805 0a010201 e0000001 94040000 1100eeff 00000000",
        [igmp("224.0.0.1", src=ROUTER, identification=16), IGMP.query(max_response_code=0)],
    ),
    "IGMP v1 report": (
        "46c00020 00110000 010235ff 0a010203 e0010203 94040000 12000bfb e0010203",
        [igmp("224.1.2.3", identification=17), IGMP(0x12, group="224.1.2.3")],
    ),
    "IGMP v2 query": (
        "46c00020 00120000 01023803 0a010201 e0000001 94040000 1164ee9b 00000000",
        [igmp("224.0.0.1", src=ROUTER, identification=18), IGMP.query()],
    ),
    "IGMP v2 report": (
        "46c00020 00130000 010235fd 0a010203 e0010203 94040000 160007fb e0010203",
        [igmp("224.1.2.3", identification=19), IGMP.report("224.1.2.3")],
    ),
    "IGMP v2 leave": (
        "46c00020 00140000 010237fe 0a010203 e0000002 94040000 170006fb e0010203",
        [igmp("224.0.0.2", identification=20), IGMP.leave("224.1.2.3")],
    ),
    "IGMP v3 query": (
        "46c0002c 00150000 010235f1 0a010201 e0010203 94040000 110ae45c e0010203 027d0002 0a090901 0a090902",
        [
            igmp("224.1.2.3", src=ROUTER, identification=21),
            IGMP.query("224.1.2.3", max_response_code=10, sources=["10.9.9.1", "10.9.9.2"]),
        ],
    ),
    "IGMP v3 report": (
        (
            "46c00038 00160000 010237d0 0a010203 e0000016 94040000 2200e7de 00000002 04000000 e0010203 01000002"
            "e8010101 0a090901 0a090902"
        ),
        [
            igmp("224.0.0.22", identification=22),
            IGMP.report_v3([GroupRecord(4, "224.1.2.3"), GroupRecord(1, "232.1.1.1", ("10.9.9.1", "10.9.9.2"))]),
        ],
    ),
    "record route": (
        "48000029 001a0000 40114f90 0a010203 0a010201 070b080a 00000100 00000000 00010002 00096fd3 78",
        [
            up(identification=26, options=[RecordRoute(("10.0.0.1", "0.0.0.0"), pointer=8)]),
            UDP(src_port=1, dst_port=2),
            b"x",
        ],
    ),
    # The UDP checksum covers 192.0.2.77, the final destination, not 10.1.2.1, the next hop.
    "loose source route": (
        "48000029 001b0000 401189cc 0a010203 0a010201 83 0b04 0a000001 c000024d 00 00010002 0009b987 78",
        [
            up(identification=27, options=[LooseSourceRoute(("10.0.0.1", "192.0.2.77"))]),
            UDP(src_port=1, dst_port=2),
            b"x",
        ],
    ),
    "strict source route, used up": (
        (
            "48000034 001c0000 4006c783 0a010203 0a010201 89 0b0c 0a000001 0a000002 00 00010002 00000000 00000000"
            "50100009 97c30000"
        ),
        [
            up(identification=28, options=[StrictSourceRoute(("10.0.0.1", "10.0.0.2"), pointer=12)]),
            TCP(src_port=1, dst_port=2, flags=TCPFlag.ACK, window=9),
        ],
    ),
    "unknown protocol": (
        "4500001e 001d0000 40fd61c1 0a010203 0a010201 65787065 72696d65 6e74",
        [up(identification=29, protocol=253), b"experiment"],
    ),
    # A UDP datagram of 48 bytes in three fragments; the checksum in the first covers all three.
    "fragment, first": (
        "4500002c 00772000 40114245 0a010203 0a010201 00070008 003069e8 00010203 04050607 08090a0b 0c0d0e0f",
        [
            up(identification=0x77, flags=IPFlag.MF),
            UDP(src_port=7, dst_port=8, length=48, checksum=0x69E8),
            bytes(range(16)),
        ],
    ),
    "fragment, middle": (
        "45000024 00772003 4011424a 0a010203 0a010201 10111213 14151617 18191a1b 1c1d1e1f",
        [up(identification=0x77, flags=IPFlag.MF, fragment_offset=3, protocol=17), bytes(range(16, 32))],
    ),
    "fragment, last": (
        "4500001c 00770005 40116250 0a010203 0a010201 20212223 24252627",
        [up(identification=0x77, fragment_offset=5, protocol=17), bytes(range(32, 40))],
    ),
}
