"""Packets with findings, and what the Linux kernel does with them: it answers with an error, counts or drops them."""

import socket

import pytest

from tunlab.packet import (
    ICMP,
    TCP,
    UDP,
    Fragment,
    ICMPv6,
    IPv4,
    IPv6,
    Routing,
    build,
    findings,
    parse,
    tcp_options,
)
from tunlab.packet.network.ipv6 import LINKTYPE_IPV6
from tunlab.traffic.tun import Tun

HOST, PEER = "10.1.2.1", "10.1.2.2"
HOST6, PEER6 = "fd00::1", "fd00::2"


def up(**fields):
    return IPv4(**{"src": PEER, "dst": HOST, **fields})


def up6(**fields):
    return IPv6(**{"src": PEER6, "dst": HOST6, **fields})


PING, PING6 = ICMP.echo_request(1, 1), ICMPv6.echo_request(1, 1)
DATAGRAM = build(IPv4(src=HOST, dst=PEER), UDP(99, 7), bytes(40))

# The kernel answers a packet that has one of these IPv4 options with an ICMP Parameter Problem.
REJECTED_OPTIONS = [
    "07070500000000",
    "07040400",
    "070b0a0000000000000000",
    "070304070304",
    "83070401020304 83070401020304",
    "83070401020304 89070401020304",
    "440c04000000000000000000",
    "440c09010000000000000000",
    "440408f0",
    "440c0df00000000000000000",
    "44040500 44040500",
    "860300",
    "9403ff",
    "07ff04",
    "0700",
]
ACCEPTED_OPTIONS = [
    "07070400000000",
    "07070800000000",
    "440c05000000000000000000",
    "440c0d000000000000000000",
    "440c05010000000000000000",
    "82040000",
    "94040000 94040000",
    "01010100",
    "8704abcd",
]


@pytest.mark.parametrize("options", REJECTED_OPTIONS)
def test_options_that_the_kernel_rejects_have_a_finding_at_the_same_place(tun, options):
    packet = tun.inject(up(options=bytes.fromhex(options)), PING)
    pointer = tun.expect(ICMP.where(type=12)).icmp.pointer
    (found,) = findings(packet)
    assert found.field == "options"
    assert found.offset <= pointer <= found.offset + 3


@pytest.mark.parametrize("options", ACCEPTED_OPTIONS)
def test_options_that_the_kernel_accepts_have_no_findings(tun, options):
    packet = tun.inject(up(options=bytes.fromhex(options)), PING)
    tun.expect(ICMP.where(type=0))
    assert findings(packet) == []


REJECTED = {
    "destination 0.1.2.3": ((up(dst="0.1.2.3"), PING), "Ip.InAddrErrors"),
    "bad header checksum": ((up(checksum=1), PING), "Ip.InHdrErrors"),
    "total length below the header": ((up(total_length=19), PING), "Ip.InHdrErrors"),
    "total length 0": ((up(total_length=0), PING), "Ip.InHdrErrors"),
    "bad ICMP checksum": ((up(), PING.replace(checksum=1)), "Icmp.InCsumErrors"),
    "error without a quote": ((up(), ICMP.unreachable(3)), "Icmp.InErrors"),
    "error with a quote of 27 bytes": ((up(), ICMP.unreachable(3), DATAGRAM[:27]), "Icmp.InErrors"),
    "timestamp message of 3 bytes": ((up(), ICMP.timestamp(), b"abc"), "Icmp.InErrors"),
    "data offset 4": ((up(), TCP(dst_port=80, flags=2, data_offset=4)), "Tcp.InErrs"),
    "bad TCP checksum": ((up(), TCP(dst_port=80, flags=2, checksum=1)), "Tcp.InCsumErrors"),
    "UDP length 7": ((up(), UDP(dst_port=99, length=7)), "Udp.InErrors"),
    "UDP length past the end": ((up(), UDP(dst_port=99, length=9)), "Udp.InErrors"),
    "bad UDP checksum": ((up(), UDP(dst_port=99, checksum=1)), "Udp.InCsumErrors"),
    "empty fragment that is not the last": ((up(flags=1, protocol=17), b""), "Ip.ReasmFails"),
}


@pytest.mark.parametrize(("layers", "counter"), REJECTED.values(), ids=REJECTED)
def test_packet_that_the_kernel_counts_as_an_error_has_a_finding(tun, layers, counter):
    tun.bind(99)
    with tun.expect_counters(**{counter.replace(".", "__"): 1}):
        packet = tun.inject(*layers)
    assert findings(packet)


DROPPED_SEGMENTS = {
    "SYN and RST": TCP(dst_port=80, flags=6),
    "no flags": TCP(dst_port=80, flags=0),
    "two signatures": TCP(dst_port=80, flags=2, options=[tcp_options.MD5(bytes(16)), tcp_options.AO(1, 1, bytes(12))]),
}


@pytest.mark.parametrize("segment", DROPPED_SEGMENTS.values(), ids=DROPPED_SEGMENTS)
def test_segment_that_a_listening_socket_drops_has_a_finding(tun, segment):
    tun.listen(80)
    packet = tun.inject(up(), segment)
    tun.expect_none(TCP)
    assert findings(packet)


@pytest.mark.parametrize("source", ["224.0.0.1", "255.255.255.255"])
def test_source_address_that_the_kernel_drops_has_a_finding(tun, source):
    packet = tun.inject(up(src=source), PING)
    tun.expect_none(ICMP)
    assert [each.field for each in findings(packet)] == ["src"]


@pytest.mark.parametrize("total_length", [28, 30])
def test_datagram_with_wrong_total_length_is_delivered(tun, total_length):
    bound = tun.bind(99)
    tun.inject(up(total_length=total_length), UDP(4000, 99), bytes(range(12)))
    assert bound.recv(100) == bytes(range(12))[: total_length - 28]


def test_first_fragment_of_8_bytes_is_reassembled(tun):
    tun.listen(80)
    segment = build(up(), TCP(src_port=4000, dst_port=80, flags=2))[20:]
    first = tun.inject(up(identification=1, flags=1, protocol=6), segment[:8])
    assert findings(first) == []
    tun.inject(up(identification=1, fragment_offset=1, protocol=6), segment[8:])
    tun.expect(TCP.where(flags=18))


REJECTED_IPV6 = {
    "multicast source": ((up6(src="ff02::1"), PING6), "Ip6.InHdrErrors"),
    "destination of multicast scope 0": ((up6(dst="ff00::1"), PING6), "Ip6.InHdrErrors"),
    "unspecified destination": ((up6(dst="::"), PING6), "Ip6.InAddrErrors"),
    "payload length past the end": ((up6(payload_length=60), PING6), "Ip6.InTruncatedPkts"),
    "UDP without a checksum": ((up6(), UDP(dst_port=99, checksum=0)), "Udp6.InCsumErrors"),
    "UDP length past the end": ((up6(), UDP(dst_port=99, length=9)), "Udp6.InErrors"),
    "UDP length 7": ((up6(), UDP(dst_port=99, length=7)), "Udp6.InErrors"),
    "routing header of type 0": (
        (up6(), Routing(type=0, segments_left=1, data=bytes(20)), PING6),
        "Icmp6.OutParmProblems",
    ),
    "routing header of type 2 with two segments left": (
        (up6(), Routing(type=2, segments_left=2, data=bytes(20)), PING6),
        "Icmp6.OutParmProblems",
    ),
    "fragment of an odd size": (
        (up6(), Fragment(more_fragments=1, next_header=17), UDP(1, 99, length=20), b"x"),
        "Icmp6.OutParmProblems",
    ),
    "fragment past the largest packet": (
        (up6(), Fragment(fragment_offset=8191, next_header=17), bytes(24)),
        "Icmp6.OutParmProblems",
    ),
    "first fragment with a part of the TCP header": (
        (up6(), Fragment(more_fragments=1, next_header=6), bytes(8)),
        "Icmp6.OutParmProblems",
    ),
}


@pytest.fixture(scope="module")
def tun6():
    """A TUN with an IPv6 address that the kernel answers for, and a UDP socket at port 99."""
    with Tun.create(ipv6=True) as tun, tun.socket(socket.AF_INET6, socket.SOCK_DGRAM) as bound:
        tun.device.add_address(f"{HOST6}/64")
        bound.bind(("::", 99))
        for _ in range(10_000):  # the kernel adds the route of a new address in another thread
            tun.inject(build(up6(), PING6))
            if tun.counters["Icmp6.InEchos"]:
                break
        yield tun


@pytest.mark.parametrize(("layers", "counter"), REJECTED_IPV6.values(), ids=REJECTED_IPV6)
def test_ipv6_packet_that_the_kernel_rejects_has_a_finding(tun6, layers, counter):
    packet = build(*layers)
    with tun6.expect_counters(**{counter.replace(".", "__"): 1}):
        tun6.inject(packet)
    assert findings(parse(packet, link_type=LINKTYPE_IPV6))


def test_ipv6_packet_with_hop_limit_0_is_answered_and_has_no_findings(tun6):
    packet = build(up6(hop_limit=0), PING6)
    with tun6.expect_counters(Icmp6__OutEchoReplies=1):
        tun6.inject(packet)
    assert findings(parse(packet, link_type=LINKTYPE_IPV6)) == []
