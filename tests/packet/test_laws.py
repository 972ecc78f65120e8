"""The three laws of `tunlab.packet.packet`, on octets of every kind."""

import gzip
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict

from tests.packet.strategies import forced, forced_transports, healthy, ill, payloads, sampled
from tunlab.errors import MalformedError, TruncatedError
from tunlab.packet import IPv4, Packet, build, checksums, complete, findings, hexdump, listing, parse, summary, to_dict

HERE = os.environ.get("TUNLAB_CORPUS")


def has_a_header(octets):
    return len(octets) >= 20 and octets[0] >> 4 == 4 and octets[0] & 15 >= 5


def holds_law_1(octets):
    """Refused for want of a header and for nothing else, or rebuilt octet by octet, judged and printed."""
    if not has_a_header(octets):
        wanted = TruncatedError if len(octets) < 20 and (not octets or octets[0] >> 4 == 4) else MalformedError
        with pytest.raises((TruncatedError, MalformedError)) as refusal:
            parse(octets)
        assert type(refusal.value) is wanted
        assert f"{len(octets)} bytes, not an IP packet: {refusal.value}" == summary(octets)
        assert hexdump(octets).startswith("=== Raw Packet Hexdump ===")
        return
    packet = parse(octets)
    assert build(packet) == octets
    assert complete(packet) == packet
    assert parse(memoryview(octets)) == parse(bytearray(octets)) == packet
    found, verdicts = findings(packet), checksums(packet)
    assert found == findings(octets)
    assert verdicts == checksums(octets)
    assert [each.offset for each in found] == sorted(each.offset for each in found)
    assert all(0 <= each.offset <= len(octets) for each in found)
    assert listing(packet) in listing(octets)
    assert listing(packet, verbose=True).startswith("=== Parsed IP Packet ===\n")
    assert summary(packet).startswith(f"IP {packet.headers[0].src}")
    assert json.loads(json.dumps(to_dict(packet)))["findings"] == [str(each) for each in found]
    dumped = [line for line in hexdump(octets).splitlines() if all(len(octet) == 2 for octet in line.split(" "))]
    assert bytes.fromhex("".join(dumped)) == octets


@given(st.binary(max_size=100))
@sampled(400)
def test_law_1_on_any_octets(octets):
    holds_law_1(octets)


@given(st.integers(5, 15), st.sampled_from([1, 2, 6, 17, 0, 4, 255]), st.binary(min_size=19, max_size=120))
@sampled(500)
def test_law_1_on_any_octets_behind_a_first_octet_that_promises_a_header(ihl, protocol, octets):
    octets = bytes((0x40 | ihl,)) + octets
    holds_law_1(octets[:9] + bytes((protocol,)) + octets[10:])


@pytest.mark.slow
@given(ill)
@sampled(500)
def test_law_1_on_headers_whose_every_field_is_forced(packet):
    holds_law_1(build(packet))


@pytest.mark.slow
@given(healthy, st.data())
@sampled(300)
def test_law_1_on_healthy_packets_with_bits_flipped(packet, data):
    octets = bytearray(build(packet))
    for at in data.draw(st.lists(st.integers(0, len(octets) * 8 - 1), min_size=1, max_size=4)):
        octets[at // 8] ^= 1 << at % 8
    holds_law_1(bytes(octets))


@given(healthy)
@sampled(25)
def test_law_1_on_healthy_packets_cut_at_every_length(packet):
    octets = build(packet)
    for length in range(len(octets)):
        holds_law_1(octets[:length])


@given(healthy, st.binary(min_size=1, max_size=50))
@sampled(150)
def test_law_1_on_healthy_packets_with_octets_appended(packet, more):
    holds_law_1(build(packet) + more)


@given(healthy, st.integers(0, 2000))
@sampled(150)
def test_a_wire_length_changes_nothing_but_what_is_known_to_be_cut(packet, missing):
    octets = build(packet)
    assert parse(octets, wire_length=len(octets) + missing) == parse(octets).replace(missing=missing)
    assert parse(octets, wire_length=0).missing == 0


@pytest.mark.slow
@given(healthy)
@sampled(400)
def test_law_2_a_packet_is_parsed_as_it_was_completed(packet):
    before = repr(packet)
    octets = build(packet)
    assert parse(octets) == complete(packet)
    assert bytes(packet) == build(*packet.headers, packet.payload) == octets
    assert repr(packet) == before


@pytest.mark.slow
@given(st.one_of(healthy, ill, st.builds(Packet.of, forced, payloads)))
@sampled(500)
def test_law_2_completing_changes_only_what_was_none(packet):
    whole = complete(packet)
    assert (whole.payload, whole.trailer, whole.missing) == (packet.payload, packet.trailer, packet.missing)
    for given_header, header in zip(packet.headers, whole.headers, strict=True):
        assert type(given_header) is type(header)
        for field, value in asdict(given_header).items():
            completed = getattr(header, field)
            if value is None:
                assert field in header.DERIVED
                assert completed is not None
            elif field == "options":  # padding, where their length is computed
                length = {"IPv4": "ihl", "TCP": "data_offset"}[type(header).__name__]
                pad = -len(value) % 4 if getattr(given_header, length) is None else 0
                assert completed == value + bytes(pad)
            else:
                assert completed == value
    assert complete(whole) == whole


@pytest.mark.slow
@given(healthy)
@sampled(400)
def test_law_3_nothing_is_wrong_where_nothing_was_forced(packet):
    octets = build(packet)
    assert findings(octets) == []
    assert findings(packet) == []
    assert "[" not in summary(octets).replace("Flags [", "").replace("options [", "")


@pytest.mark.slow
@given(forced, forced_transports, payloads)
@sampled(300)
def test_a_packet_is_judged_as_its_receiver_reads_it(ip, transport, payload):
    packet = Packet.of(ip, transport, payload)
    octets = build(packet)
    if has_a_header(octets):
        assert findings(packet) == findings(octets)
        assert checksums(packet) == checksums(octets)
        assert listing(packet, verbose=True) == listing(octets, verbose=True)
        assert to_dict(packet) == to_dict(octets)
    else:
        with pytest.raises(MalformedError):
            findings(packet)
        assert summary(packet).startswith("not an IP packet: ")


@pytest.mark.parametrize("length", [20, 24, 60])
@pytest.mark.parametrize("protocol", [1, 2, 6, 17, 89])
@pytest.mark.parametrize("total_length", [0, 5, 20, 0xFFFF])
def test_law_1_on_more_octets_than_a_datagram_can_have(length, protocol, total_length):
    ip = IPv4(src="1.2.3.4", dst="5.6.7.8", options=bytes(length - 20), protocol=protocol, total_length=total_length)
    octets = build(ip, bytes(70_000))
    packet = parse(octets)
    assert build(packet) == octets
    assert [each.field for each in findings(packet) if each.layer == "IPv4"] == ["total_length"]
    assert summary(packet)


@pytest.mark.skipif(not HERE, reason="the corpus lives outside the project: set TUNLAB_CORPUS to its folder")
@pytest.mark.slow
def test_law_1_on_every_packet_of_the_corpus():
    with gzip.open(Path(HERE, "ipv4.jsonl.gz"), "rt") as lines:
        corpus = [bytes.fromhex(json.loads(line)["hex"]) for line in lines]
    assert len(corpus) == 6142
    for octets in corpus:
        holds_law_1(octets)
