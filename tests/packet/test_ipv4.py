"""The IPv4 header alone: its views, and what is computed."""

from ipaddress import IPv4Address

import pytest

from tests.packet.golden import up
from tunlab.errors import MalformedError
from tunlab.packet import (
    ICMP,
    TCP,
    UDP,
    ICMPv6,
    IPFlag,
    IPv4,
    Packet,
    Verdict,
    build,
    checksums,
    complete,
    listing,
    parse,
    summary,
)
from tunlab.packet.ip_options import NOP


def test_ipv4_defaults():
    ip = up()
    assert (ip.version, ip.ttl, ip.flags, ip.options) == (4, 64, IPFlag(0), b"")
    assert (ip.ihl, ip.total_length, ip.protocol, ip.checksum) == (None, None, None, None)


def test_complete_computes_lengths_protocol_and_checksum():
    ip = complete(Packet.of(up(options=[NOP]), UDP(), b"abc")).ip
    assert (ip.ihl, ip.total_length, ip.protocol, ip.options) == (6, 35, 17, b"\1\0\0\0")
    assert ip.checksum == parse(build(up(options=[NOP]), UDP(), b"abc")).ip.checksum


@pytest.mark.parametrize("ihl", [6, 15])
def test_checksum_with_forced_ihl_covers_that_many_bytes(ihl):
    ip, *_ = checksums(build(up(ihl=ihl), UDP(1, 2), bytes(range(32))))
    assert (ip.layer, ip.verdict) == ("IPv4", Verdict.GOOD)


def test_computed_protocol_of_ipv6_message_over_ipv4_raises():
    with pytest.raises(MalformedError, match=r"^IPv4.protocol is None: it has no number for ICMPv6. Give `protocol`.$"):
        build(up(), ICMPv6.echo_request(1, 1))


def test_payload_length_in_listing_without_total_length_is_that_of_the_summary():
    data = build(up(total_length=0, protocol=253), bytes(20))
    assert "  Payload Length: 20 bytes" in listing(data)
    assert "length 20" in summary(data)


@pytest.mark.parametrize(
    ("fields", "length"),
    [({}, 20), ({"options": b"\1"}, 24), ({"options": bytes(40)}, 60), ({"ihl": 7}, 28), ({"ihl": 0}, 0)],
)
def test_header_length_in_bytes(fields, length):
    assert up(**fields).header_length == length


@pytest.mark.parametrize(
    ("fields", "fragment"),
    [({}, False), ({"flags": IPFlag.MF}, True), ({"fragment_offset": 1}, True), ({"flags": IPFlag.DF}, False)],
)
def test_is_fragment_with_mf_or_offset(fields, fragment):
    assert up(**fields).is_fragment is fragment


def test_addresses_as_ipaddress_objects():
    assert (up().src_address, up().dst_address) == (IPv4Address("10.1.2.3"), IPv4Address("10.1.2.1"))


def test_complete_keeps_forced_fields():
    ip = up(ihl=9, total_length=1, protocol=200, checksum=7, version=5)
    assert complete(Packet.of(ip, UDP())).ip == ip
    data = build(ip, UDP())
    assert (data[0], data[2:4], data[9], data[10:12]) == (0x59, b"\0\1", 200, b"\0\7")


def test_forced_protocol_does_not_change_the_next_header():
    data = build(up(protocol=17), ICMP())
    assert data[20:] == build(up(), ICMP())[20:]
    assert data[9] == 17


def test_build_payload_without_protocol_raises():
    with pytest.raises(MalformedError) as error_info:
        build(up(), b"payload")
    assert str(error_info.value) == "IPv4.protocol is None: no header follows that implies it. Give `protocol`."


@pytest.mark.parametrize("layers", [[TCP()], [ICMP()], []])
def test_build_over_65535_bytes_raises(layers):
    ip = up() if layers else up(protocol=253)
    room = 65535 - 20 - sum({TCP: 20, ICMP: 8}[type(layer)] for layer in layers)
    assert len(build(ip, *layers, bytes(room))) == 65535
    with pytest.raises(MalformedError) as error_info:
        build(ip, *layers, bytes(room + 1))
    assert str(error_info.value) == (
        "IPv4.total_length is 65536: a packet has at most 65535 bytes (RFC 791 section 3.1). "
        "Send fragments, or force lengths and checksums."
    )


def test_build_over_65535_bytes_with_forced_length_raises_unless_checksum_is_forced():
    with pytest.raises(MalformedError, match=r"^IPv4.total_length is 70040: a packet has at most 65535 bytes"):
        build(up(total_length=0), TCP(), bytes(70_000))
    assert len(build(up(total_length=0), TCP(checksum=0), bytes(70_000))) == 70_040


def test_ipv4_with_positional_addresses_raises():
    with pytest.raises(MalformedError, match=r"IPv4.version"):
        IPv4("10.1.2.3", "10.1.2.1")
