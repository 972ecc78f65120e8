"""TCP: data offset, flags, and the answer to a segment."""

import pytest

from tests.packet.golden import down, up
from tunlab.errors import MalformedError
from tunlab.packet import TCP, UDP, Packet, TCPFlag, build, complete, parse, reply
from tunlab.packet.tcp_options import MSS, NOP


@pytest.mark.parametrize(
    ("fields", "length"), [({}, 20), ({"options": [NOP]}, 24), ({"data_offset": 15}, 60), ({"data_offset": 0}, 0)]
)
def test_the_header_length_in_octets(fields, length):
    assert TCP(**fields).header_length == length


def test_the_data_offset_is_computed_and_the_options_padded():
    tcp = complete(Packet.of(up(), TCP(options=[MSS(1), NOP]), b"x")).tcp
    assert (tcp.data_offset, tcp.options) == (7, b"\2\4\0\1\1\0\0\0")


@pytest.mark.parametrize("flag", TCPFlag)
def test_each_flag_is_its_bit(flag):
    octets = build(up(), TCP(flags=flag))
    assert int.from_bytes(octets[32:34], "big") & 0x1FF == flag.value
    assert parse(octets).tcp.flags is TCPFlag(flag)


def test_the_reserved_bits_are_beside_the_data_offset():
    assert build(up(), TCP(reserved=0b101))[32] == 0x5A


@pytest.mark.parametrize("data_offset", range(5))
def test_a_data_offset_under_five_words_leaves_the_rest_as_payload(data_offset):
    packet = parse(build(up(), TCP(data_offset=data_offset), b"abc"))
    assert (packet.tcp.data_offset, packet.tcp.options, packet.payload) == (data_offset, b"", b"abc")


def test_a_data_offset_past_the_end_takes_what_is_there():
    packet = parse(build(up(), TCP(data_offset=15), b"abc"))
    assert (packet.tcp.options, packet.payload) == (b"abc", b"")


@pytest.mark.parametrize(
    ("flags", "payload", "counted"),
    [
        (TCPFlag.SYN, b"", 1),
        (TCPFlag.FIN | TCPFlag.ACK, b"", 1),
        (TCPFlag.SYN | TCPFlag.FIN, b"abc", 5),
        (TCPFlag.ACK, b"abc", 3),
        (TCPFlag.ACK, b"", 0),
    ],
)
def test_the_answer_acknowledges_what_comes_next(flags, payload, counted):
    segment = Packet.of(up(), TCP(src_port=1, dst_port=2, seq=0xFFFFFFFF, ack=7, flags=flags), payload)
    ip, tcp = reply(segment)
    assert ip == down()
    assert tcp == TCP(src_port=2, dst_port=1, seq=7, ack=(0xFFFFFFFF + counted) % 2**32, flags=TCPFlag.ACK)


def test_a_header_is_given_by_keyword():
    with pytest.raises(MalformedError):
        build(up(), TCP(1, 2, 3, 4, 5, 6, 7, 1 << 16))
    assert UDP(1, 2).dst_port == 2
