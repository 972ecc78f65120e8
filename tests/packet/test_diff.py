"""Packets side by side: every field that is not equal, by its name, with both values."""

from tunlab.packet import ICMP, TCP, UDP, IPv4, Packet, TCPFlag, build, parse
from tunlab.packet.text.diff import diff, parse_pair

IP = IPv4(src="10.1.2.3", dst="10.1.2.1")
ONE = parse(build(IP, TCP(src_port=1, dst_port=2), b"abc"))


def fields(left, right):
    first = diff(left, right)[0]
    return first.partition(", but for ")[2].split(", ")


def test_fields_of_every_layer_the_checksums_last():
    other = parse(build(IP.replace(ttl=9), TCP(src_port=1, dst_port=2, flags=TCPFlag.SYN), b"abd"))
    lines = diff(ONE, other)
    assert lines[0] == ("IPv4/TCP == IPv4/TCP, but for IPv4.ttl, TCP.flags, TCP.payload, IPv4.checksum, TCP.checksum")
    assert lines[1:4] == [
        "IPv4.ttl: left 64, right 9",
        "TCP.flags: left 0, right SYN",
        "TCP.payload: left 3 bytes, right 3: byte 2 differs",
    ]
    assert "IPv4, left:" in lines
    assert "TCP, left:" in lines
    assert any("+^^^^^^^^^^^^^^^+-+-+-" in line for line in lines)


def test_headers_alone():
    assert diff(UDP(src_port=1), UDP(src_port=2))[:2] == [
        "UDP == UDP, but for UDP.src_port",
        "UDP.src_port: left 1, right 2",
    ]


def test_other_layers_are_named_and_the_common_ones_compared():
    other = parse(build(IP.replace(dscp=1), ICMP.echo_request(1, 1), b"abc"))
    assert "headers: left IPv4/TCP, right IPv4/ICMP" in diff(ONE, other)
    assert {"headers", "IPv4.dscp", "IPv4.protocol"} <= set(fields(ONE, other))


def test_what_follows_the_payload_and_what_was_cut_off():
    assert fields(ONE, ONE.replace(trailer=b"x")) == ["TCP.trailer"]
    assert fields(ONE, ONE.replace(missing=3)) == ["TCP.missing"]


def test_what_is_not_computed_is_explained():
    built = Packet.of(IP, TCP(src_port=1, dst_port=2), b"abc")
    assert "None is computed when the packet is built: compare complete(packet), or bytes(packet)" in diff(ONE, built)
    assert not any("None is computed" in line for line in diff(ONE, ONE.replace(missing=1)))


def test_octets_are_datagrams_where_one_has_the_length_it_says():
    octets = bytes(ONE)
    assert parse_pair(octets, octets[:-1]) == (ONE, parse(octets[:-1]))
    assert parse_pair(octets + b"x", octets + b"y") is None
    assert parse_pair(b"Everybody is here today", b"Everybody was here today") is None
    assert parse_pair(octets, b"short") is None
    assert parse_pair(octets, b"\x60" + octets[1:]) is None
