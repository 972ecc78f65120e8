"""IPv6 and its extension headers: fields, computed values, findings and texts."""

from ipaddress import IPv6Address

import pytest

from tests.packet.golden import down
from tunlab.errors import MalformedError, TruncatedError
from tunlab.packet import (
    AH,
    TCP,
    UDP,
    DestinationOptions,
    Fragment,
    HopByHop,
    IPv6,
    Packet,
    Routing,
    TCPFlag,
    Verdict,
    build,
    checksums,
    complete,
    findings,
    ipv6_options,
    listing,
    parse,
    reply,
    summary,
    to_dict,
)
from tunlab.packet.network.ipv6 import LINKTYPE_IPV6

SYN = bytes.fromhex(
    "60012345 00140640 fd000000 00000000 00000000 00000001 fd000000 00000000 00000000 00000002"
    "9c400050 00000007 00000000 50020009 193e0000"
)
IP = IPv6(src="fd00::1", dst="fd00::2")


def read(data, **more):
    return parse(data, link_type=LINKTYPE_IPV6, **more)


def test_ipv6_packet_is_built_and_parsed():
    headers = (
        IPv6(src="fd00::1", dst=IPv6Address("fd00::2"), flow_label=0x12345),
        TCP(src_port=40000, dst_port=80, seq=7, flags=TCPFlag.SYN, window=9),
    )
    assert build(*headers).hex(" ", 4) == SYN.hex(" ", 4)
    packet = read(SYN)
    assert packet == complete(Packet.of(*headers))
    assert (packet.ip.payload_length, packet.ip.next_header, packet.ip.hop_limit) == (20, 6, 64)
    assert packet.ip is packet[IPv6]
    assert findings(packet) == []


@pytest.mark.parametrize("size", [0, 1, 39])
def test_parse_truncated_ipv6_header_raises(size):
    with pytest.raises(TruncatedError, match=rf"^IPv6 header needs 40 bytes, got {size}"):
        read(SYN[:size])


def test_parse_ipv6_header_with_other_version_raises():
    with pytest.raises(MalformedError, match=r"^IPv6.version at offset 0 is 4: an IPv6 header begins"):
        read(bytes([0x45]) + SYN[1:])


@pytest.mark.parametrize("address", ["10.0.0.1", "fd00::1%eth0", "router", 5, None, "fd00::1/64"])
def test_error_for_invalid_ipv6_address_names_the_field(address):
    with pytest.raises(MalformedError, match=r"^IPv6.dst is .*: not an IPv6 address"):
        IPv6(src="fd00::1", dst=address)


def test_ipv6_address_is_stored_in_canonical_form():
    assert IPv6(src="FD00:0:0::0001", dst="::FFFF:10.0.0.1").src == "fd00::1"
    assert IPv6(src="fd00::1", dst="::ffff:a00:1").dst == "::ffff:10.0.0.1"


def test_error_for_oversized_ipv6_flow_label_names_the_field():
    with pytest.raises(MalformedError, match=r"^IPv6.flow_label is 1048576: the field has 20 bits"):
        IPv6(src="fd00::1", dst="fd00::2", flow_label=1 << 20)


def test_build_ipv6_payload_without_next_header_raises():
    with pytest.raises(MalformedError, match=r"^IPv6.next_header is None: no header follows that implies it"):
        build(IP, b"payload")
    with pytest.raises(MalformedError, match=r"^HopByHop.next_header is None: no header follows that implies it"):
        build(IP, HopByHop(), b"payload")


def test_ipv6_next_header_without_content_is_59():
    assert read(build(IP, HopByHop()))[HopByHop].next_header == 59


def test_build_ipv6_payload_over_65535_bytes_raises():
    with pytest.raises(MalformedError, match=r"^IPv6.payload_length is 65536: a packet has at most 65535 bytes"):
        build(IP, TCP(), bytes(65516))


def test_extension_headers_are_parsed_in_order():
    options = b"\5\2\0\0"  # router alert
    parts = IP, HopByHop(options=options), DestinationOptions(), Fragment(identification=9), UDP(1, 2)
    packet = read(build(*parts, b"data"))
    assert [type(header) for header in packet] == [type(header) for header in parts]
    assert [packet[kind].next_header for kind in (IPv6, HopByHop, DestinationOptions, Fragment)] == [0, 60, 44, 17]
    assert (packet[HopByHop].length, packet[HopByHop].options) == (0, options + b"\1\0")
    assert (packet[DestinationOptions].options, packet.payload) == (b"\1\4\0\0\0\0", b"data")
    assert findings(packet) == []


@pytest.mark.parametrize(
    ("routing", "final"),
    [
        (Routing(type=0, segments_left=1, data=bytes(4) + IPv6Address("fd00::9").packed), "fd00::9"),
        (Routing(type=0, segments_left=0, data=bytes(4) + IPv6Address("fd00::9").packed), ""),
        (Routing(type=2, segments_left=1, data=bytes(4) + IPv6Address("fd00::9").packed), "fd00::9"),
        (
            Routing(
                type=4,
                segments_left=1,
                data=b"\1\0\0\0" + IPv6Address("fd00::9").packed + IPv6Address("fd00::8").packed,
            ),
            "fd00::9",
        ),
        (Routing(type=3, segments_left=1, data=bytes(20)), ""),
    ],
)
def test_transport_checksum_covers_final_destination_of_route(routing, final):
    assert routing.final_destination == final
    packet = build(IP, routing, UDP(1, 2, checksum=7), b"x")
    direct = build(IP.replace(dst=final or "fd00::2"), UDP(1, 2), b"x")
    assert checksums(read(packet))[0].expected == read(direct).udp.checksum


@pytest.mark.parametrize("ip", [IP, down()], ids=["IPv6", "IPv4"])
@pytest.mark.parametrize("transport", [TCP(1, 2, flags=TCPFlag.SYN), UDP(1, 2)], ids=["TCP", "UDP"])
def test_transport_checksum_behind_authentication_header_is_verified(ip, transport):
    # RFC 4302 section 2.2: the length counts 4-byte units, minus 2.
    data = build(ip, AH(spi=0x100, sequence_number=7, icv=b"twelve bytes"), transport, b"data")
    packet = parse(data, link_type=LINKTYPE_IPV6 if ip is IP else None)
    at = packet.ip.header_length
    wanted = bytes((transport.PROTOCOL, 4)) + bytes.fromhex("0000 00000100 00000007") + b"twelve bytes"
    assert data[at : at + 24] == wanted
    assert [type(header) for header in packet] == [type(ip), AH, type(transport)]
    assert packet.transport == complete(Packet.of(ip, transport, b"data")).headers[1]
    assert checksums(packet)[-1].verdict is Verdict.GOOD
    assert findings(packet) == []


@pytest.mark.parametrize(("ip", "size"), [(IP, 24), (down(), 20)], ids=["IPv6", "IPv4"])
def test_authentication_header_is_padded_to_the_unit_of_the_ip_version(ip, size):
    header = complete(Packet.of(ip, AH(icv=b"seven b"), UDP()))[AH]
    assert (header.header_length, header.payload_length) == (size, size // 4 - 2)
    assert header.icv == b"seven b" + bytes(size - 19)


def test_only_first_ipv6_fragment_has_a_transport_header():
    first = read(build(IP, Fragment(more_fragments=1, identification=5), UDP(1, 2, length=24), bytes(16)))
    later = read(build(IP, Fragment(next_header=17, fragment_offset=3, identification=5), bytes(8)))
    assert [type(header) for header in first] == [IPv6, Fragment, UDP]
    assert [type(header) for header in later] == [IPv6, Fragment]
    assert checksums(first)[0].verdict is Verdict.UNVERIFIABLE
    assert summary(later) == "IP6 fd00::1 > fd00::2: UDP, length 8, fragment id 0x5 8@24"
    assert findings(later) == []


def short(layer, field, rule, needed, got, limit):
    return f"{layer} {field}: {rule} (needed {needed}, got {got}, limited by {limit})"


CUT, END, BY_LENGTH = "the header is cut short", "the end of the input", "IPv6.payload_length"
MULTICAST_SOURCE = "IPv6 src: a multicast address cannot be the source (RFC 4291 section 2.7)"
UNSPECIFIED = "IPv6 dst: the unspecified address cannot be the destination (RFC 4291 section 2.5.2)"
ODD = "Fragment more fragments: all fragments but the last hold a multiple of 8 bytes (RFC 8200 section 4.5)"
PAST = "Fragment fragment offset: the fragment ends past the largest packet of 65535 bytes (RFC 8200 section 4.5)"
FAULTS = {
    "packet cut short": (
        SYN[:-1],
        [
            short("IPv6", "payload length", "the packet is cut short", 20, 19, END),
            short("TCP", "header", CUT, 20, 19, END),
        ],
    ),
    "trailer": (SYN + b"x", [short("IPv6", "payload length", "1 byte follows the end of the packet", 20, 21, END)]),
    "payload length 0": (
        SYN[:4] + b"\0\0" + SYN[6:],
        ["IPv6 payload length: 0, as segmentation offload leaves it in a capture"],
    ),
    "multicast source": (build(IPv6(src="ff02::1", dst="fd00::2")), [MULTICAST_SOURCE]),
    "multicast destination of scope 0": (
        build(IPv6(src="fd00::1", dst="ff00::1")),
        ["IPv6 dst: a multicast address cannot have the reserved scope 0 (RFC 4291 section 2.7)"],
    ),
    "UDP without checksum": (
        build(IP, UDP(1, 2, checksum=0)),
        ["UDP checksum: 0 stands for no checksum, and IPv6 requires a checksum (RFC 8200 section 8.1)"],
    ),
    "routing header of type 0": (
        build(IP, Routing(type=0, data=bytes(20)), UDP()),
        ["Routing type: type 0 is deprecated and must not be used (RFC 5095)"],
    ),
    "routing header of type 2 with two segments left": (
        build(IP, Routing(type=2, segments_left=2, data=bytes(20)), UDP()),
        ["Routing segments left: a type 2 header has one address and one segment left (RFC 6275 section 6.4)"],
    ),
    "more segments left than addresses": (
        build(IP, Routing(segments_left=2, data=bytes(20)), UDP()),
        ["Routing segments left: 2 segments are left of 1 address (RFC 8754 section 4.3.1.1)"],
    ),
    "TCP header cut by the first fragment": (
        build(IP, Fragment(next_header=6, more_fragments=1), bytes(8)),
        [short("TCP", "header", CUT, 20, 8, BY_LENGTH)],
    ),
    "unspecified destination": (build(IPv6(src="fd00::1", dst="::")), [UNSPECIFIED]),
    "extension past the end": (
        build(IP, HopByHop(next_header=6, length=1, options=bytes(6))),
        [
            short("HopByHop", "length", "the header runs past the end", 16, 8, BY_LENGTH),
            short("TCP", "header", CUT, 20, 0, BY_LENGTH),
        ],
    ),
    "extension cut short": (
        build(IP.replace(next_header=0), b"\6\0"),
        [short("HopByHop", "header", CUT, 8, 2, BY_LENGTH)],
    ),
    "authentication header cut short": (
        build(IP.replace(next_header=51), bytes(8)),
        [short("AH", "header", CUT, 12, 8, BY_LENGTH)],
    ),
    "authentication header past the end": (
        build(IP, AH(next_header=59, payload_length=5)),
        [short("AH", "payload length", "the header runs past the end", 28, 24, BY_LENGTH)],
    ),
    "authentication header of length 0": (
        build(IP, AH(next_header=59, payload_length=0)),
        ["AH payload length: the minimum is 1, for the fixed fields (RFC 4302 section 2.2)"],
    ),
    "fragment of an odd size": (
        build(IP, Fragment(next_header=17, more_fragments=1, fragment_offset=1), b"odd"),
        [ODD],
    ),
    "fragment past 65535": (build(IP, Fragment(next_header=17, fragment_offset=8191), bytes(8)), [PAST]),
    "fragment with reserved bits": (
        build(IP, Fragment(reserved_bits=1), UDP(1, 2)),
        ["Fragment reserved: must be zero (RFC 8200 section 4.5)"],
    ),
    "hop-by-hop header behind another": (
        build(IP, DestinationOptions(), HopByHop(), UDP(1, 2)),
        ["HopByHop next header: the header must follow the IPv6 header immediately (RFC 8200 section 4.1)"],
    ),
    "option past the end": (
        build(IP, HopByHop(options=b"\x1e\5" + bytes(4)), UDP(1, 2)),
        [short("HopByHop", "options", "option 30 overruns the header", 7, 6, "HopByHop.length")],
    ),
    "option without a length": (
        build(IP, DestinationOptions(options=b"\x1e\3abc\x1e"), UDP(1, 2)),
        [short("DestinationOptions", "options", "option 30 has no length byte", 2, 1, "DestinationOptions.length")],
    ),
    "padding that is not zero": (
        build(IP, HopByHop(options=b"\1\4\0\0\0\1"), UDP(1, 2)),
        ["HopByHop options: the bytes of padding must be zero (RFC 8200 section 4.2)"],
    ),
    "router alert of a wrong length": (
        build(IP, HopByHop(options=b"\5\4\0\0\0\0"), UDP(1, 2)),
        ["HopByHop options: option 5 (RouterAlert) has 6 bytes; it needs 4 (RFC 2711 section 2.1)"],
    ),
    "jumbo payload beside a payload length": (
        build(IP, HopByHop(options=[ipv6_options.JumboPayload(65536)]), UDP(1, 2)),
        [
            "HopByHop options: the IPv6 payload length must be 0 beside a jumbo payload option (RFC 2675 section 3)",
        ],
    ),
    "jumbo payload below 65536": (
        build(IP.replace(payload_length=0), HopByHop(options=[ipv6_options.JumboPayload(65535)])),
        ["HopByHop options: the jumbo payload length is below 65536 (RFC 2675 section 3)"],
    ),
    "bad TCP checksum": (SYN[:-4] + bytes(4), ["TCP checksum 0x0000 is bad, should be 0x193e"]),
}


@pytest.mark.parametrize(("data", "sentences"), FAULTS.values(), ids=FAULTS)
def test_faulty_ipv6_packet_has_a_finding(data, sentences):
    packet = read(data)
    assert list(map(str, findings(packet))) == sentences
    assert build(packet) == data


def test_ipv6_packet_truncated_by_the_capture_has_no_findings():
    packet = read(SYN[:50], wire_length=60)
    assert findings(packet) == []
    assert packet.missing == 10


def test_summary_listing_and_dictionary_show_ipv6_fields():
    packet = read(SYN)
    assert summary(packet) == "IP6 fd00::1.40000 > fd00::2.80: Flags [S], seq 7, win 9, length 0"
    assert listing(packet) == (
        "=== Parsed IP Packet ===\nIP Packet:\n  Version: IPv6\n  Payload Length: 20 bytes\n  Source: fd00::1\n"
        "  Destination: fd00::2\n  Next Header: TCP"
    )
    assert "  Flow Label: 0x12345" in listing(packet, verbose=True)
    assert to_dict(packet)["ipv6"]["src"] == "fd00::1"


def test_ipv6_where_matches_and_reply_swaps_addresses():
    packet = read(SYN)
    assert IPv6.where(src="FD00::1", traffic_class=0).matches(packet)
    (difference,) = IPv6.where(hop_limit=1).difference(packet)
    assert str(difference) == "IPv6.hop_limit: wanted 1, got 64"
    assert reply(packet)[0] == IPv6(src="fd00::2", dst="fd00::1")


@pytest.mark.parametrize(
    ("outer", "inner"),
    [(IP, down()), (IP, IPv6(src="fd01::1", dst="fd01::2"))],
    ids=["4in6", "6in6"],
)
def test_packet_inside_ipv6_tunnel_is_parsed(outer, inner):
    data = build(outer, inner, UDP(1, 2), b"data")
    packet = read(data)
    assert [type(header) for header in packet] == [type(outer), type(inner), UDP]
    assert (packet.ip.dst, packet.payload) == (inner.dst, b"data")
    assert findings(packet) == []
    assert all(each.verdict is Verdict.GOOD for each in checksums(packet))
