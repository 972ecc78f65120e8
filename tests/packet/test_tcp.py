"""TCP: data offset, flags, and replies."""

import pytest

from tests.packet.golden import down, up
from tunlab.errors import MalformedError
from tunlab.packet import TCP, UDP, Packet, TCPFlag, build, complete, parse, reply
from tunlab.packet.tcp_options import MSS, NOP


@pytest.mark.parametrize(
    ("fields", "length"), [({}, 20), ({"options": [NOP]}, 24), ({"data_offset": 15}, 60), ({"data_offset": 0}, 0)]
)
def test_header_length_in_bytes(fields, length):
    assert TCP(**fields).header_length == length


def test_complete_computes_data_offset_and_pads_options():
    tcp = complete(Packet.of(up(), TCP(options=[MSS(1), NOP]), b"x")).tcp
    assert (tcp.data_offset, tcp.options) == (7, b"\2\4\0\1\1\0\0\0")


@pytest.mark.parametrize("flag", TCPFlag)
def test_flag_is_at_its_bit(flag):
    data = build(up(), TCP(flags=flag))
    assert int.from_bytes(data[32:34], "big") & 0x1FF == flag.value
    assert parse(data).tcp.flags is TCPFlag(flag)


def test_reserved_bits_follow_data_offset():
    assert build(up(), TCP(reserved=0b101))[32] == 0x5A


@pytest.mark.parametrize("data_offset", range(5))
def test_data_offset_below_five_is_read_as_five(data_offset):
    packet = parse(build(up(), TCP(data_offset=data_offset), b"abc"))
    assert (packet.tcp.data_offset, packet.tcp.options, packet.payload) == (data_offset, b"", b"abc")


def test_data_offset_past_the_end_leaves_no_payload():
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
def test_reply_acknowledges_payload_syn_and_fin(flags, payload, counted):
    segment = Packet.of(up(), TCP(src_port=1, dst_port=2, seq=0xFFFFFFFF, ack=7, flags=flags), payload)
    ip, tcp = reply(segment)
    assert ip == down()
    assert tcp == TCP(src_port=2, dst_port=1, seq=7, ack=(0xFFFFFFFF + counted) % 2**32, flags=TCPFlag.ACK)


def test_tcp_oversized_positional_value_raises():
    with pytest.raises(MalformedError):
        build(up(), TCP(1, 2, 3, 4, 5, 6, 7, 1 << 16))
    assert UDP(1, 2).dst_port == 2
