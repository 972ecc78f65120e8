"""A transport header that is cut short: what is there of it."""

import pytest

from tests.packet.golden import GOLDEN, up
from tunlab.errors import MalformedError
from tunlab.packet import ICMP, IGMP, TCP, UDP, Header, Packet, TruncatedHeader, build, parse

TCP_FIELDS = {
    0: {},
    1: {},
    2: {"src_port": 55624},
    4: {"src_port": 55624, "dst_port": 80},
    7: {"src_port": 55624, "dst_port": 80},
    8: {"src_port": 55624, "dst_port": 80, "seq": 0xADC7DB1D},
    13: {"src_port": 55624, "dst_port": 80, "seq": 0xADC7DB1D, "ack": 0, "data_offset": 10, "reserved": 0},
}


@pytest.mark.parametrize(("length", "fields"), TCP_FIELDS.items())
def test_the_numbers_that_are_whole_are_there(length, fields):
    partial = TruncatedHeader(TCP, bytes.fromhex(GOLDEN["SYN"][0])[20 : 20 + length])
    assert partial.values == fields
    assert (partial.src_port, partial.dst_port, partial.seq) == (
        fields.get("src_port"),
        fields.get("dst_port"),
        fields.get("seq"),
    )
    assert (partial.type, partial.code) == (None, None)


@pytest.mark.parametrize(("layer", "length"), [(ICMP, 8), (IGMP, 8), (TCP, 20), (UDP, 8)])
def test_any_header_can_be_cut_anywhere(layer, length):
    octets = bytes(range(100, 100 + length))
    for present in range(1, length):
        ip = up(protocol=layer.PROTOCOL)
        packet = parse(build(ip, octets[:present]))
        assert packet.transport == TruncatedHeader(layer, octets[:present])
        assert packet.transport.layer is layer
        assert packet.payload == b""
        assert build(packet) == build(up(), packet.transport) == build(ip, octets[:present])
    assert type(parse(build(up(protocol=layer.PROTOCOL), octets)).transport) is layer


def test_type_and_code_of_icmp():
    partial = TruncatedHeader(ICMP, b"\3\1\0")
    assert (partial.type, partial.code, partial.src_port) == (3, 1, None)


def test_a_header_that_is_whole_has_all_its_numbers():
    assert TruncatedHeader(UDP, bytes(range(8)) + b"more").values == {
        "src_port": 0x0001,
        "dst_port": 0x0203,
        "length": 0x0405,
        "checksum": 0x0607,
    }


def test_its_ports_are_the_packets():
    assert parse(build(up(), TruncatedHeader(UDP, b"\0\1\0\2\0"))).ports == (1, 2)
    assert parse(build(up(), TruncatedHeader(UDP, b"\0\1\0"))).ports is None


@pytest.mark.parametrize("layer", [6, None, str, Header])
def test_truncated_header_of_no_header_class_is_refused(layer):
    with pytest.raises(MalformedError) as refusal:
        TruncatedHeader(layer, b"")
    assert str(refusal.value) == (
        f"TruncatedHeader.layer is {layer!r}: not a header class. Give one with fixed fields, as TCP"
    )


def test_its_octets_are_octets():
    given_as = bytearray(b"\0\1")
    partial = TruncatedHeader(UDP, given_as)
    given_as[0] = 9
    assert partial.data == b"\0\1"
    with pytest.raises(MalformedError, match=r"^TruncatedHeader.data is 'x': not bytes"):
        TruncatedHeader(UDP, "x")


def test_what_follows_it_is_kept():
    assert build(Packet.of(up(), TruncatedHeader(TCP, b"\0\1"), b"\2\3"))[20:] == b"\0\1\2\3"
