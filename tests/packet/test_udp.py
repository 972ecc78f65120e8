"""UDP: length and checksum, and a checksum of zero."""

import pytest

from tests.packet.golden import up
from tunlab.errors import MalformedError
from tunlab.packet import UDP, Packet, Verdict, build, checksums, complete, parse


def test_length_and_checksum_are_computed():
    assert complete(Packet.of(up(), UDP(1, 2), b"abc")).udp.length == 11


def test_a_sum_of_zero_is_sent_as_all_ones():
    # Ports that bring the sum to 0xffff: its complement is zero, which would say that no checksum was made.
    bare = complete(Packet.of(up(), UDP(0, 0))).udp.checksum
    udp = complete(Packet.of(up(), UDP(bare, 0))).udp
    assert udp.checksum == 0xFFFF
    assert checksums(build(up(), udp))[1].verdict is Verdict.GOOD


def test_a_checksum_of_zero_says_that_there_is_none():
    octets = build(up(), UDP(1, 2, checksum=0), b"abc")
    assert octets[26:28] == b"\0\0"
    assert checksums(octets)[1].verdict is Verdict.UNVERIFIABLE


def test_what_the_length_does_not_count_is_the_trailer():
    packet = parse(build(up(), UDP(1, 2, length=10), b"abc"))
    assert (packet.payload, packet.trailer) == (b"ab", b"c")


@pytest.mark.parametrize("length", [0, 7, 12, 65535])
def test_a_length_that_cannot_be_counts_nothing_off(length):
    packet = parse(build(up(), UDP(1, 2, length=length), b"abc"))
    assert (packet.udp.length, packet.payload, packet.trailer) == (length, b"abc", b"")


def test_a_payload_that_no_length_can_count_is_refused():
    with pytest.raises(MalformedError, match=r"^UDP.length is 65536: the field has 16 bits"):
        build(up(), UDP(), bytes(65528))
