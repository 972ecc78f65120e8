"""The explanation of a failed `left == right`: each field that differs, with both values."""

from tunlab.packet import ICMP, TCP, UDP, IPv4, IPv6, Packet, TCPFlag, build, parse
from tunlab.packet.text.diff import diff, parse_pair

IP = IPv4(src="10.1.2.3", dst="10.1.2.1")
ONE = parse(build(IP, TCP(src_port=1, dst_port=2), b"abc"))


def named_fields(left, right):
    first = diff(left, right)[0]
    return first.partition(", but for ")[2].split(", ")


def test_diff_lists_fields_of_all_headers_checksums_last():
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


def test_diff_of_two_headers_lists_their_fields():
    assert diff(UDP(src_port=1), UDP(src_port=2))[:2] == [
        "UDP == UDP, but for UDP.src_port",
        "UDP.src_port: left 1, right 2",
    ]


def test_diff_of_different_header_classes_compares_the_common_ones():
    other = parse(build(IP.replace(dscp=1), ICMP.echo_request(1, 1), b"abc"))
    assert "headers: left IPv4/TCP, right IPv4/ICMP" in diff(ONE, other)
    assert {"headers", "IPv4.dscp", "IPv4.protocol"} <= set(named_fields(ONE, other))


def test_diff_lists_trailer_and_missing():
    assert named_fields(ONE, ONE.replace(trailer=b"x")) == ["TCP.trailer"]
    assert named_fields(ONE, ONE.replace(missing=3)) == ["TCP.missing"]


def test_diff_with_unbuilt_packet_suggests_complete():
    built = Packet.of(IP, TCP(src_port=1, dst_port=2), b"abc")
    assert "None is computed when the packet is built: compare complete(packet), or bytes(packet)" in diff(ONE, built)
    assert not any("None is computed" in line for line in diff(ONE, ONE.replace(missing=1)))


def test_parse_pair_requires_total_length_of_one_side():
    data = bytes(ONE)
    assert parse_pair(data, data[:-1]) == (ONE, parse(data[:-1]))
    assert parse_pair(data + b"x", data + b"y") is None
    assert parse_pair(b"Everybody is here today", b"Everybody was here today") is None
    assert parse_pair(data, b"short") is None
    assert parse_pair(data, b"\x50" + data[1:]) is None
    six = build(IPv6(src="fd00::1", dst="fd00::2"), UDP(src_port=1, dst_port=2))
    assert parse_pair(six, six[:-1]) == (parse(six), parse(six[:-1]))
