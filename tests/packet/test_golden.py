"""Build and parse the packets of golden.py, also cut at every length and with every header bit flipped."""

import pytest

from tests.packet.golden import GOLDEN, QUESTION
from tunlab.errors import MalformedError, TruncatedError
from tunlab.packet import (
    FindingKind,
    ICMPTimestamps,
    Packet,
    TruncatedHeader,
    Verdict,
    build,
    checksums,
    complete,
    findings,
    parse,
)

VECTORS = pytest.mark.parametrize(
    ("data", "layers"), [(bytes.fromhex(text), layers) for text, layers in GOLDEN.values()], ids=GOLDEN
)


@VECTORS
def test_build_returns_the_expected_bytes(data, layers):
    assert build(*layers).hex(" ", 4) == data.hex(" ", 4)


@VECTORS
def test_parse_returns_the_expected_headers(data, layers):
    packet = parse(data)
    assert packet == complete(Packet.of(*layers))
    assert packet.trailer == b""
    assert build(packet) == data


@VECTORS
def test_expected_packets_have_no_findings(data, layers):
    # The packet quoted by the port unreachable has an unfinished checksum (offload on lo): it is not verified.
    assert findings(data) == []
    assert all(each.verdict is not Verdict.BAD for each in checksums(data))
    assert checksums(data)[0].verdict is Verdict.GOOD


@VECTORS
def test_packet_truncated_at_any_length_has_a_finding(data, layers):
    length = (data[0] & 15) * 4
    for present in range(len(data)):
        short = data[:present]
        if present < 20:
            with pytest.raises(TruncatedError) as error_info:
                parse(short)
            assert (error_info.value.needed, error_info.value.present) == (20, present)
            continue
        packet = parse(short)
        assert build(packet) == short
        found = {(each.layer, each.field): each for each in findings(packet)}
        assert found["IPv4", "total_length"].kind is FindingKind.TRUNCATED
        assert (found["IPv4", "total_length"].needed, found["IPv4", "total_length"].present) == (len(data), present)
        assert (("IPv4", "ihl") in found) == (present < length)


@VECTORS
def test_flipped_header_bit_makes_a_checksum_bad(data, layers):
    for bit in range(8, (data[0] & 15) * 32):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        verdict = checksums(flipped)[0]
        assert verdict.verdict is Verdict.BAD
        assert verdict.value == int.from_bytes(flipped[10:12], "big") != verdict.expected


@pytest.mark.parametrize("version", [0, 3, 5, 7, 15])
def test_parse_other_ip_version_raises(version):
    data = bytes.fromhex(GOLDEN["ping"][0])
    with pytest.raises(MalformedError, match=rf"^IPv4.version at offset 0 is {version}: .* \(RFC 791 section 3.1\)$"):
        parse(bytes((version << 4 | 5,)) + data[1:])


@pytest.mark.parametrize("ihl", range(5))
def test_parse_ihl_below_five_raises(ihl):
    data = bytes.fromhex(GOLDEN["ping"][0])
    with pytest.raises(MalformedError, match=rf"^IPv4.ihl at offset 0 is {ihl}: the minimum is 5 words"):
        parse(bytes((0x40 | ihl,)) + data[1:])


def test_final_destination_is_last_address_of_unfinished_source_route():
    loose, strict = (
        parse(bytes.fromhex(GOLDEN[name][0])).ip for name in ("loose source route", "strict source route, used up")
    )
    assert (loose.dst, loose.final_destination) == ("10.1.2.1", "192.0.2.77")
    assert (strict.dst, strict.final_destination) == ("10.1.2.1", "10.1.2.1")
    assert loose.pseudo_header(17, 9) == bytes((10, 1, 2, 3, 192, 0, 2, 77, 0, 17, 0, 9))


def test_quoted_packet_of_icmp_error_is_parsed():
    packet = parse(bytes.fromhex(GOLDEN["time exceeded"][0]))
    assert packet.quoted == parse(QUESTION[:28], wire_length=36)
    assert (packet.quoted.ip.dst, packet.quoted.ports, packet.quoted.missing) == ("192.0.2.9", (5000, 53), 8)


def test_icmp_timestamps_are_parsed_from_payload():
    packet = parse(bytes.fromhex(GOLDEN["timestamp reply"][0]))
    assert ICMPTimestamps.parse(packet.payload) == ICMPTimestamps(1000, 2000, 2001)


def test_only_first_fragment_has_a_transport_header():
    first, middle, last = (
        parse(bytes.fromhex(GOLDEN[f"fragment, {which}"][0])) for which in ("first", "middle", "last")
    )
    assert [each.ip.is_fragment for each in (first, middle, last)] == [True] * 3
    assert first.udp.length == 48
    assert (middle.transport, last.transport) == (None, None)
    assert not isinstance(first.transport, TruncatedHeader)
    assert first.payload + middle.payload + last.payload == bytes(range(40))
