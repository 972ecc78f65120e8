"""Truncated transport headers: the fields that are present."""

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
def test_values_are_the_complete_fields(length, fields):
    header = TruncatedHeader(TCP, bytes.fromhex(GOLDEN["SYN"][0])[20 : 20 + length])
    assert header.values == fields
    assert (header.src_port, header.dst_port, header.seq) == (
        fields.get("src_port"),
        fields.get("dst_port"),
        fields.get("seq"),
    )
    assert (header.type, header.code) == (None, None)


@pytest.mark.parametrize(("layer", "length"), [(ICMP, 8), (IGMP, 8), (TCP, 20), (UDP, 8)])
def test_header_cut_at_any_length_is_a_truncated_header(layer, length):
    data = bytes(range(100, 100 + length))
    for present in range(1, length):
        ip = up(protocol=layer.PROTOCOL)
        packet = parse(build(ip, data[:present]))
        assert packet.transport == TruncatedHeader(layer, data[:present])
        assert packet.transport.layer is layer
        assert packet.payload == b""
        assert build(packet) == build(up(), packet.transport) == build(ip, data[:present])
    assert type(parse(build(up(protocol=layer.PROTOCOL), data)).transport) is layer


def test_type_and_code_of_truncated_icmp():
    header = TruncatedHeader(ICMP, b"\3\1\0")
    assert (header.type, header.code, header.src_port) == (3, 1, None)


def test_values_of_complete_header_are_all_fields():
    assert TruncatedHeader(UDP, bytes(range(8)) + b"more").values == {
        "src_port": 0x0001,
        "dst_port": 0x0203,
        "length": 0x0405,
        "checksum": 0x0607,
    }


def test_ports_of_packet_with_truncated_header():
    assert parse(build(up(), TruncatedHeader(UDP, b"\0\1\0\2\0"))).ports == (1, 2)
    assert parse(build(up(), TruncatedHeader(UDP, b"\0\1\0"))).ports is None


@pytest.mark.parametrize("layer", [6, None, str, Header])
def test_truncated_header_of_wrong_class_raises(layer):
    with pytest.raises(MalformedError) as error_info:
        TruncatedHeader(layer, b"")
    assert str(error_info.value) == (
        f"TruncatedHeader.layer is {layer!r}: not a header class. Give one with fixed fields, as TCP."
    )


def test_truncated_data_is_copied_and_rejects_str():
    given_as = bytearray(b"\0\1")
    header = TruncatedHeader(UDP, given_as)
    given_as[0] = 9
    assert header.data == b"\0\1"
    with pytest.raises(MalformedError, match=r"^TruncatedHeader.data is 'x': not bytes"):
        TruncatedHeader(UDP, "x")


def test_payload_behind_truncated_header_is_built():
    assert build(Packet.of(up(), TruncatedHeader(TCP, b"\0\1"), b"\2\3"))[20:] == b"\0\1\2\3"
