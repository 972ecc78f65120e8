"""Packets: construction, access to headers, errors, replies. The three laws are tested in test_laws.py."""

import pytest

from tests.packet.golden import GOLDEN, down, up
from tunlab import packet as public
from tunlab.errors import MalformedError, PacketError
from tunlab.packet import (
    ICMP,
    IGMP,
    TCP,
    UDP,
    ICMPv6,
    IPv4,
    IPv6,
    Packet,
    TCPFlag,
    TruncatedHeader,
    build,
    checksums,
    complete,
    findings,
    hexdump,
    listing,
    parse,
    reply,
    summary,
)


class WithBytes:
    def __bytes__(self):
        return b"own"


@pytest.mark.parametrize(
    ("layers", "payload"),
    [
        ([b"a", b"b"], b"ab"),
        ([bytearray(b"a"), memoryview(b"b")], b"ab"),
        ([WithBytes()], b"own"),
        ([], b""),
        ([Packet.of(down(), UDP())], build(down(), UDP())),
    ],
)
def test_parts_behind_the_headers_are_joined_as_payload(layers, payload):
    assert Packet.of(up(), UDP(), *layers).payload == payload
    assert build(up(), UDP(), *layers)[28:] == payload


@pytest.mark.parametrize("wrong", [5, "text", None, 1.5, [1], True])
def test_payload_of_wrong_type_raises(wrong):
    with pytest.raises(PacketError) as error_info:
        build(up(), UDP(), wrong)
    rule = "not bytes. Give bytes, or an object that has __bytes__."
    assert str(error_info.value) == f"payload is {wrong!r}: {rule}"


@pytest.mark.parametrize("wrong", [5, 20, "text", None, [69, 0]])
@pytest.mark.parametrize("use", [parse, findings, checksums, summary, listing, hexdump])
def test_input_of_wrong_type_raises(use, wrong):
    with pytest.raises(ValueError, match=r"not bytes\. Give bytes, or an object that has __bytes__\.$") as error_info:
        use(wrong)
    assert str(error_info.value).startswith(f"data is {wrong!r}: ")


def test_parse_accepts_objects_with_bytes():
    packet = parse(build(up(), UDP()))
    assert parse(packet) == packet
    assert hexdump(packet) == hexdump(bytes(packet))


NO_IP = "a packet begins with an IP or link-layer header. Give IPv4(src=…, dst=…) first."
MIDDLE = "a header follows bytes. Give the headers first, then the payload."
LAST = ": no header can follow TCP. Give what it carries as bytes."


@pytest.mark.parametrize(
    ("layers", "sentence"),
    [
        ((), NO_IP),
        ((b"raw",), NO_IP),
        ((TCP(),), NO_IP),
        ((TCP(), up()), NO_IP),
        ((Packet.of(up(), UDP()), b"more"), NO_IP),
        ((b"raw", up()), MIDDLE),
        ((up(), b"raw", TCP()), MIDDLE),
        ((up(), TCP(), UDP()), "IPv4, TCP, UDP" + LAST),
        ((up(), TCP(), up()), "IPv4, TCP, IPv4" + LAST),
    ],
)
def test_build_of_misplaced_parts_raises(layers, sentence):
    with pytest.raises(PacketError) as error_info:
        build(*layers)
    assert str(error_info.value) == sentence


@pytest.mark.parametrize("headers", [(TCP(),), (up(), UDP(), UDP())])
def test_packet_with_misplaced_headers_raises_when_used(headers):
    for use in (build, complete, findings, checksums, bytes):
        with pytest.raises(PacketError, match=r"no header can follow UDP|begins with an IP"):
            use(Packet(headers))


def test_packet_without_headers_builds_to_its_payload():
    packet = Packet((), b"not a packet")
    assert build(packet) == bytes(packet) == packet.payload
    assert complete(packet) == packet
    assert summary(packet).startswith("not an IP packet: ")
    for use in (findings, checksums, reply):
        with pytest.raises(PacketError, match="IPv6 header needs 40 bytes"):
            use(packet)


def test_inner_packet_of_a_tunnel_is_parsed():
    packet = parse(build(up(), down(), UDP(1, 2), b"deep"))
    assert [type(header) for header in packet] == [IPv4, IPv4, UDP]
    assert (packet.headers[0].protocol, packet.udp.dst_port, packet.payload) == (4, 2, b"deep")
    assert packet.ip is packet.get(IPv4, 1)
    assert packet[IPv4] is packet.get(IPv4)
    assert packet.get(IPv4, 2) is None
    assert UDP in packet
    assert TCP not in packet
    assert findings(packet) == []


@pytest.mark.parametrize(
    ("name", "layer"), [("SYN", TCP), ("UDP", UDP), ("ping", ICMP), ("IGMP v2 leave", IGMP), ("ping", IPv4)]
)
def test_packet_returns_header_by_class_and_attribute(name, layer):
    packet = parse(bytes.fromhex(GOLDEN[name][0]))
    attribute = "ip" if layer is IPv4 else layer.__name__.lower()
    assert packet[layer] is packet.get(layer) is getattr(packet, attribute)
    assert (packet.transport is packet[layer]) == (layer is not IPv4)


def test_missing_header_error_lists_the_headers():
    packet = parse(bytes.fromhex(GOLDEN["UDP"][0]))
    assert packet.get(TCP) is None
    for ask in (lambda: packet.tcp, lambda: packet[TCP]):
        with pytest.raises(PacketError) as error_info:
            ask()
        assert str(error_info.value) == "the packet has no TCP header; it has IPv4, UDP"
    with pytest.raises(PacketError, match="the packet has no IP header; it has none"):
        Packet(()).ip  # noqa: B018


@pytest.mark.parametrize(
    ("layers", "ports"),
    [
        ((up(), TCP(src_port=1, dst_port=2)), (1, 2)),
        ((up(), UDP(3, 4)), (3, 4)),
        ((up(), TruncatedHeader(TCP, b"\0\5\0\6")), (5, 6)),
        ((up(), TruncatedHeader(ICMP, b"\0\5\0\6")), None),
        ((up(), ICMP()), None),
        ((up(protocol=17, fragment_offset=1), bytes(8)), None),
    ],
)
def test_ports_of_packet(layers, ports):
    assert Packet.of(*layers).ports == parse(build(*layers)).ports == ports


@pytest.mark.parametrize("protocol", [1, 2, 6, 17])
def test_later_fragment_is_payload_without_transport(protocol):
    packet = parse(build(up(protocol=protocol, fragment_offset=1), bytes(40)))
    assert (packet.transport, packet.payload) == (None, bytes(40))


@pytest.mark.parametrize("total_length", [0, 5, 19])
def test_total_length_below_header_length_is_ignored(total_length):
    packet = parse(build(up(total_length=total_length), UDP(), b"abc") + b"more")
    assert (packet.payload, packet.trailer) == (b"abc", b"more")  # the UDP length still separates payload and trailer
    packet = parse(build(up(total_length=total_length), ICMP(), b"abc") + b"more")
    assert (packet.payload, packet.trailer) == (b"abcmore", b"")


def test_bytes_beyond_total_length_are_trailer():
    packet = parse(build(up(), TCP(), b"abc") + b"padding")
    assert (packet.payload, packet.trailer) == (b"abc", b"padding")
    assert build(Packet(packet.headers, b"abc", b"padding")) == build(packet)


def test_computed_total_length_excludes_trailer():
    raw = build(Packet((up(), UDP()), b"abc", b"padding"))
    assert parse(raw).ip.total_length == 31
    assert raw.endswith(b"abcpadding")


@pytest.mark.parametrize(("wire_length", "missing"), [(None, 0), (0, 0), (30, 0), (31, 0), (32, 1), (1500, 1469)])
def test_missing_is_wire_length_minus_present_bytes(wire_length, missing):
    assert parse(build(up(), UDP(), b"abc"), wire_length=wire_length).missing == missing


def test_reply_swaps_addresses_and_ports():
    assert reply(Packet.of(up(), UDP(1, 2), b"x")) == (down(), UDP(2, 1))
    syn = parse(bytes.fromhex(GOLDEN["SYN"][0]))
    ip, tcp = reply(syn)
    assert (ip, tcp.ack, tcp.flags) == (down(), 0xADC7DB1E, TCPFlag.ACK)


@pytest.mark.parametrize(
    "layers",
    [(up(), ICMP.echo_reply()), (up(), IGMP.query()), (up(protocol=89), b""), (up(), TruncatedHeader(TCP, b""))],
)
def test_reply_to_unanswerable_packet_raises(layers):
    with pytest.raises(PacketError) as error_info:
        reply(Packet.of(*layers))
    assert str(error_info.value) == "reply() cannot answer this packet. Give a TCP or UDP packet or an echo request."


@pytest.mark.parametrize(
    ("ip", "message", "src"),
    [
        (IPv4(src="10.1.2.3", dst="224.0.0.1"), ICMP.echo_request(), "10.1.2.9"),
        (IPv4(src="10.1.2.3", dst="255.255.255.255"), ICMP.echo_request(), "10.1.2.9"),
        (IPv6(src="fd00::2", dst="ff02::1"), ICMPv6.echo_request(), "fd00::9"),
    ],
)
def test_reply_to_multicast_or_broadcast_packet_needs_a_source(ip, message, src):
    packet = Packet.of(ip, message)
    with pytest.raises(PacketError, match=rf"^the destination {ip.dst} cannot be the source of a reply. Give a source"):
        reply(packet)
    answer, _ = reply(packet, src=src)
    assert (answer.src, answer.dst) == (src, ip.src)


def test_reply_to_packet_in_tunnel_has_the_innermost_ip_header_only():
    assert reply(Packet.of(up(), IPv6(src="fd00::1", dst="fd00::2"), UDP(1, 2))) == (
        IPv6(src="fd00::2", dst="fd00::1"),
        UDP(2, 1),
    )


def test_packet_time_takes_no_part_in_equality_and_hash():
    data = bytes.fromhex(GOLDEN["SYN"][0])
    early, late = parse(data, time=1, clock="monotonic"), parse(data, time=2, clock="realtime")
    assert (early.time, early.clock, late.time) == (1, "monotonic", 2)
    assert early == late == parse(data)
    assert not early != late  # noqa: SIM202  # both operators are defined
    assert hash(early) == hash(late)
    assert early != early.replace(payload=b"x")
    assert early != data


def test_dunder_all_of_package_is_sorted_and_complete():
    assert public.__all__ == sorted(
        public.__all__, key=lambda name: (name.islower() or "_" in name, not name.isupper(), name)
    )
    assert all(hasattr(public, name) for name in public.__all__)


def test_findings_raise_if_packet_cannot_be_built():
    with pytest.raises(MalformedError, match=r"^IPv4.protocol is None"):
        findings(Packet.of(up(), b"payload"))
