"""Datagrams by hand, both ways: the layers make the octets, the octets give the layers; and cut at every length."""

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
    ("octets", "layers"), [(bytes.fromhex(text), layers) for text, layers in GOLDEN.values()], ids=GOLDEN
)


@VECTORS
def test_the_layers_make_the_octets(octets, layers):
    assert build(*layers).hex(" ", 4) == octets.hex(" ", 4)


@VECTORS
def test_the_octets_give_the_layers(octets, layers):
    packet = parse(octets)
    assert packet == complete(Packet.of(*layers))
    assert packet.trailer == b""
    assert build(packet) == octets


@VECTORS
def test_nothing_is_wrong_with_them(octets, layers):
    # The unreachable quotes a checksum that loopback left unfinished: what is quoted is not judged.
    assert findings(octets) == []
    assert all(each.verdict is not Verdict.BAD for each in checksums(octets))
    assert checksums(octets)[0].verdict is Verdict.GOOD


@VECTORS
def test_each_cut_is_told_and_rebuilt(octets, layers):
    length = (octets[0] & 15) * 4
    for present in range(len(octets)):
        short = octets[:present]
        if present < 20:
            with pytest.raises(TruncatedError) as refusal:
                parse(short)
            assert (refusal.value.needed, refusal.value.present) == (20, present)
            continue
        packet = parse(short)
        assert build(packet) == short
        found = {(each.layer, each.field): each for each in findings(packet)}
        assert found["IPv4", "total_length"].kind is FindingKind.TRUNCATED
        assert (found["IPv4", "total_length"].needed, found["IPv4", "total_length"].present) == (len(octets), present)
        assert (("IPv4", "ihl") in found) == (present < length)


@VECTORS
def test_each_flipped_bit_of_the_header_is_a_bad_checksum(octets, layers):
    for bit in range(8, (octets[0] & 15) * 32):
        flipped = bytearray(octets)
        flipped[bit // 8] ^= 1 << bit % 8
        verdict = checksums(flipped)[0]
        assert verdict.verdict is Verdict.BAD
        assert verdict.value == int.from_bytes(flipped[10:12], "big") != verdict.expected


@pytest.mark.parametrize("version", [0, 3, 5, 6, 15])
def test_another_version_is_refused(version):
    octets = bytes.fromhex(GOLDEN["ping"][0])
    with pytest.raises(MalformedError, match=rf"^IPv4.version at offset 0 is {version}: .* \(RFC 791 section 3.1\)$"):
        parse(bytes((version << 4 | 5,)) + octets[1:])


@pytest.mark.parametrize("ihl", range(5))
def test_a_header_under_five_words_is_refused(ihl):
    octets = bytes.fromhex(GOLDEN["ping"][0])
    with pytest.raises(MalformedError, match=rf"^IPv4.ihl at offset 0 is {ihl}: the minimum is 5 words"):
        parse(bytes((0x40 | ihl,)) + octets[1:])


def test_the_final_destination_is_the_last_hop_of_a_route_that_is_not_used_up():
    loose, strict = (
        parse(bytes.fromhex(GOLDEN[name][0])).ip for name in ("loose source route", "strict source route, used up")
    )
    assert (loose.dst, loose.final_destination) == ("10.1.2.1", "192.0.2.77")
    assert (strict.dst, strict.final_destination) == ("10.1.2.1", "10.1.2.1")
    assert loose.pseudo_header(17, 9) == bytes((10, 1, 2, 3, 192, 0, 2, 77, 0, 17, 0, 9))


def test_the_quoted_datagram_is_a_packet():
    packet = parse(bytes.fromhex(GOLDEN["time exceeded"][0]))
    assert packet.quoted == parse(QUESTION[:28], wire_length=36)
    assert (packet.quoted.ip.dst, packet.quoted.ports, packet.quoted.missing) == ("192.0.2.9", (5000, 53), 8)


def test_the_timestamps_are_read_back():
    packet = parse(bytes.fromhex(GOLDEN["timestamp reply"][0]))
    assert ICMPTimestamps.parse(packet.payload) == ICMPTimestamps(1000, 2000, 2001)


def test_fragments_but_the_first_have_no_transport_header():
    first, middle, last = (
        parse(bytes.fromhex(GOLDEN[f"fragment, {which}"][0])) for which in ("first", "middle", "last")
    )
    assert [each.ip.is_fragment for each in (first, middle, last)] == [True] * 3
    assert first.udp.length == 48
    assert (middle.transport, last.transport) == (None, None)
    assert not isinstance(first.transport, TruncatedHeader)
    assert first.payload + middle.payload + last.payload == bytes(range(40))
