"""UDP: length and checksum, and a checksum of zero."""

import pytest

from tests.packet.golden import up
from tunlab.errors import MalformedError
from tunlab.packet import (
    UDP,
    Fragment,
    IPFlag,
    IPv6,
    Packet,
    Verdict,
    build,
    checksums,
    complete,
    findings,
    parse,
    summary,
)


def test_complete_computes_length():
    assert complete(Packet.of(up(), UDP(1, 2), b"abc")).udp.length == 11


def test_computed_checksum_of_zero_is_sent_as_ffff():
    # These ports make the sum 0xffff and the checksum 0, which would mean that the sender computed none.
    bare = complete(Packet.of(up(), UDP(0, 0))).udp.checksum
    udp = complete(Packet.of(up(), UDP(bare, 0))).udp
    assert udp.checksum == 0xFFFF
    assert checksums(build(up(), udp))[1].verdict is Verdict.GOOD


def test_forced_checksum_of_zero_is_not_verifiable():
    data = build(up(), UDP(1, 2, checksum=0), b"abc")
    assert data[26:28] == b"\0\0"
    assert checksums(data)[1].verdict is Verdict.UNVERIFIABLE


def test_bytes_beyond_udp_length_are_trailer():
    packet = parse(build(up(), UDP(1, 2, length=10), b"abc"))
    assert (packet.payload, packet.trailer) == (b"ab", b"c")


@pytest.mark.parametrize("length", [0, 7, 12, 65535])
def test_impossible_length_is_ignored_for_the_payload(length):
    packet = parse(build(up(), UDP(1, 2, length=length), b"abc"))
    assert (packet.udp.length, packet.payload, packet.trailer) == (length, b"abc", b"")


def test_payload_too_large_for_length_raises():
    with pytest.raises(MalformedError, match=r"^IPv4.total_length is 65556: a packet has at most 65535 bytes"):
        build(up(), UDP(), bytes(65528))


@pytest.mark.parametrize(
    ("ip", "limit"),
    [(up(), "IPv4.total_length"), (IPv6(src="fd00::1", dst="fd00::2"), "IPv6.payload_length")],
    ids=["IPv4", "IPv6"],
)
def test_udp_length_beyond_the_ip_packet_is_found_in_a_capture_cut_short(ip, limit):
    data = build(ip, UDP(1, 2, length=1000), bytes(100))
    packet = parse(data[:80], wire_length=len(data))
    assert [str(each) for each in findings(packet)] == [
        f"UDP length: the UDP datagram is cut short (needed 1000, got 108, limited by {limit})"
    ]
    assert "UDP, length 100 [" in summary(packet)
    correct = build(ip, UDP(1, 2), bytes(100))
    assert findings(parse(correct[:80], wire_length=len(data))) == []


@pytest.mark.parametrize(
    "headers",
    [(up(flags=IPFlag.MF),), (IPv6(src="fd00::1", dst="fd00::2"), Fragment(more_fragments=1))],
    ids=["IPv4", "IPv6"],
)
def test_udp_length_beyond_the_first_fragment_is_not_a_finding(headers):
    data = build(*headers, UDP(1, 2, length=1000), bytes(96))
    assert findings(parse(data)) == []
    assert findings(parse(data[:80], wire_length=len(data))) == []
