"""GRE and the other tunnels over IP: optional fields, checksum, inner packets, findings, texts and the three laws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.packet.golden import HOST, ROUTER, down, up
from tests.packet.strategies import arp, ethernet, fields, headers, numbers, payloads, sampled, tags, udp
from tunlab.errors import MalformedError
from tunlab.packet import (
    GRE,
    UDP,
    Ethernet,
    GREFlag,
    IPv4,
    IPv6,
    Packet,
    Verdict,
    build,
    checksums,
    complete,
    findings,
    listing,
    parse,
    summary,
    to_dict,
)

SIX = IPv6(src="fd00::1", dst="fd00::2")
FRAME = Ethernet(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
C, K, S = GREFlag.CHECKSUM, GREFlag.KEY, GREFlag.SEQUENCE_NUMBER


def gre_bytes(*parts):
    return build(up(), *parts)[20:]


@pytest.mark.parametrize(
    ("header", "data"),
    [
        (GRE(protocol_type=0x88B5), "000088b5"),
        (GRE(protocol_type=0x88B5, flags=C), "800088b5 f7480000"),
        (GRE(protocol_type=0x88B5, key=5), "200088b5 00000005"),
        (GRE(protocol_type=0x88B5, sequence_number=6), "100088b5 00000006"),
        (GRE(protocol_type=0x88B5, flags=C | K | S, key=5, sequence_number=6), "b00088b5 c73d0000 00000005 00000006"),
        (GRE(protocol_type=0x88B5, checksum=7, reserved1=8), "800088b5 00070008"),
    ],
)
def test_gre_optional_fields_are_built_and_parsed(header, data):
    assert gre_bytes(header, b"\0\1").hex() == data.replace(" ", "") + "0001"
    packet = parse(build(up(), header, b"\0\1"))
    assert packet == complete(Packet.of(up(), header, b"\0\1"))
    assert packet[GRE].header_length == len(bytes.fromhex(data))
    assert sum(field.bits for field in packet[GRE].fields()) == len(bytes.fromhex(data)) * 8


@pytest.mark.parametrize(
    ("inner", "protocol_type", "kinds"),
    [
        ([down(), UDP(1, 2)], 0x0800, [IPv4, UDP]),
        ([SIX, UDP(1, 2)], 0x86DD, [IPv6, UDP]),
        ([FRAME, down(), UDP(1, 2)], 0x6558, [Ethernet, IPv4, UDP]),
        ([GRE(), down(), UDP(1, 2)], None, []),
    ],
)
def test_gre_protocol_type_is_computed_and_inner_packet_is_parsed(inner, protocol_type, kinds):
    if protocol_type is None:
        with pytest.raises(MalformedError, match=r"^GRE.protocol_type is None: .* Give `protocol_type`\.$"):
            build(up(), GRE(), *inner)
        return
    packet = parse(build(up(), GRE(), *inner, b"data"))
    assert [type(header) for header in packet] == [IPv4, GRE, *kinds]
    assert (packet[GRE].protocol_type, packet.payload) == (protocol_type, b"data")
    assert packet.ip == packet.headers[-2]
    assert findings(packet) == []


@pytest.mark.parametrize(
    ("outer", "inner", "protocol"),
    [(up(), down(), 4), (up(), SIX, 41), (SIX, down(), 4), (SIX, SIX.replace(hop_limit=9), 41)],
    ids=["IPIP", "6in4", "4in6", "6in6"],
)
def test_ip_in_ip_tunnel_is_parsed(outer, inner, protocol):
    packet = parse(build(outer, inner, UDP(1, 2), b"data"), link_type=229 if outer is SIX else None)
    assert [type(header) for header in packet] == [type(outer), type(inner), UDP]
    assert protocol in (getattr(packet.headers[0], name, None) for name in ("protocol", "next_header"))
    assert packet.ip == packet.get(type(inner), 1 if type(inner) is type(outer) else 0)
    assert all(each.verdict is Verdict.GOOD for each in checksums(packet))
    assert findings(packet) == []


def test_gre_checksum_covers_header_and_content():
    data = build(up(), GRE(flags=C), down(), UDP(1, 2), b"data")
    assert [(each.layer, each.verdict) for each in checksums(parse(data))][1] == ("GRE", Verdict.GOOD)
    damaged = data[:-1] + b"A"
    assert [(each.layer, each.field) for each in findings(damaged)] == [("GRE", "checksum"), ("UDP", "checksum")]
    assert [each.layer for each in checksums(build(up(), GRE(), down(), UDP(1, 2)))] == ["IPv4", "IPv4", "UDP"]
    fragment = build(up(fragment_offset=1, protocol=47), b"data")
    assert [each.layer for each in checksums(fragment)] == ["IPv4"]


@pytest.mark.parametrize(
    ("data", "sentences"),
    {
        "no flags": ("0000", ["GRE header: the header is cut short (needed 4, got 2, limited by IPv4.total_length)"]),
        "key missing": (
            "20000800 0000",
            ["GRE header: the header is cut short (needed 8, got 6, limited by IPv4.total_length)"],
        ),
        "routing": ("40000800 00000000", ["GRE flags: routing must be zero (RFC 2784 section 2.2)"]),
        "reserved bit": ("000888b5", ["GRE reserved0: must be zero (RFC 2784 section 2.2)"]),
        "version 1": ("3081880b 00000000 00000000", []),
        "version 1 with a checksum": ("8001880b 00000000", []),
        "inner packet of another version": (
            "00000800" + "60" + "00" * 39,
            ["IPv4 version: an IPv4 header begins with the version 4 (RFC 791 section 3.1)"],
        ),
        "bytes behind the inner packet": (
            "00000800" + build(up(protocol=89)).hex() + "00",
            [
                (
                    "IPv4 total length: 1 byte follows the end of the packet (needed 20, got 21, limited by"
                    " IPv4.total_length)"
                )
            ],
        ),
    }.values(),
)
def test_faulty_gre_header_has_a_finding(data, sentences):
    data = build(up(protocol=47), bytes.fromhex(data))
    assert list(map(str, findings(parse(data)))) == sentences
    assert build(parse(data)) == data
    assert complete(parse(data)) == parse(data)


def test_summary_listing_and_dictionary_show_gre_fields():
    packet = parse(build(up(), GRE(flags=C | K, key=0xBEEF), down(), UDP(1, 2), b"data"))
    inner = f"IP {ROUTER}.1 > {HOST}.2: UDP, length 4"
    assert summary(packet) == f"IP {HOST} > {ROUTER}: GRE, key 0xbeef, {inner}"
    assert "GRE:\n  Flags: CHECKSUM | KEY\n" in listing(packet, verbose=True)
    assert "  Key: 0x0000beef" in listing(packet, verbose=True)
    assert to_dict(packet)["gre"]["sequence_number"] is None
    unknown = parse(build(up(), GRE(protocol_type=0x88B5, sequence_number=1), b"data"))
    assert summary(unknown) == f"IP {HOST} > {ROUTER}: GRE, seq 1, 0x88b5, length 4"
    version_1 = parse(build(up(), GRE(version=1, protocol_type=0x880B), b"data"))
    assert summary(version_1) == f"IP {HOST} > {ROUTER}: GREv1, 0x880b, length 4"


def test_where_matches_gre_by_key():
    packet = parse(build(up(), GRE(key=5), down(), UDP(1, 2)))
    assert GRE.where(key=5, sequence_number=None, flags=K).matches(packet)
    assert [str(each) for each in GRE.where(key=6).difference(packet)] == ["GRE.key: wanted 6, got 5"]


@pytest.mark.parametrize(("field", "value"), [("key", 1 << 32), ("checksum", 1 << 16), ("flags", 16), ("version", 8)])
def test_error_for_oversized_gre_field_names_the_field(field, value):
    with pytest.raises(MalformedError, match=rf"^GRE.{field} is {value}"):
        GRE(**{field: value})


def test_headers_after_the_256th_are_payload():
    data = build(*[up()] * 256, up(), UDP(1, 2))
    packet = parse(data)
    assert (len(packet.headers), len(packet.payload)) == (256, 28)
    assert build(packet) == data
    assert [str(each) for each in findings(packet)] == [
        "IPv4 header: only the first 256 headers are read; the others count as payload"
    ]


optional = st.one_of(st.none(), numbers(32))
gre = st.builds(
    lambda key, number, extra: GRE(
        key=key,
        sequence_number=number,
        flags=(C * extra) | (K * (key is not None)) | (S * (number is not None)),
    ),
    optional,
    optional,
    st.booleans(),
)
inner = st.one_of(
    st.tuples(headers, udp, payloads),
    st.builds(lambda link, between, message: (link, *between, message), ethernet, tags, arp),
)


@given(headers, gre, inner)
@sampled(200)
def test_gre_obeys_the_three_laws(ip, header, content):
    packet = Packet.of(ip, header, *content)
    data = build(packet)
    assert build(parse(data)) == data
    assert parse(data) == complete(packet)
    assert findings(packet) == []


@given(fields(GRE, *dict(GRE.LAYOUT), checksum=optional.map(lambda n: n and n & 0xFFFF), key=optional), payloads)
@sampled(300)
def test_law_1_with_forced_gre_headers(header, payload):
    for size in range(40):
        data = build(up(), header, payload)[: 20 + size]
        packet = parse(data)
        assert build(packet) == data
        assert complete(packet) == packet
        assert summary(packet)
        assert findings(packet) is not None
