"""Property tests of the three laws that the docstring of `tunlab.packet.packet` states."""

import gzip
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict

from tests.packet.strategies import (
    forced,
    forced_transports,
    headers,
    headers6,
    healthy,
    ill,
    payloads,
    sampled,
    transported,
    transported6,
)
from tunlab.errors import MalformedError, TruncatedError
from tunlab.packet import IPv4, Packet, build, checksums, complete, findings, hexdump, listing, parse, summary, to_dict
from tunlab.packet.field import count
from tunlab.packet.packet import link_type_of
from tunlab.packet.tables import IP_PAYLOADS

CORPUS = os.environ.get("TUNLAB_CORPUS")


def version(raw):
    return raw[0] >> 4 if raw else 4


def has_ip_header(raw):
    return len(raw) >= 40 if version(raw) == 6 else len(raw) >= 20 and version(raw) == 4 and raw[0] & 15 >= 5


def assert_law_1(raw):
    """Assert that `raw` is rejected if it has no IP header, else that it parses, prints and builds the same bytes."""
    if not has_ip_header(raw):
        short = version(raw) == 6 or (version(raw) == 4 and len(raw) < 20)
        wanted = TruncatedError if short else MalformedError
        with pytest.raises((TruncatedError, MalformedError)) as error_info:
            parse(raw)
        assert type(error_info.value) is wanted
        assert f"{count(len(raw), 'byte')}, not an IP packet: {error_info.value.problem}" == summary(raw)
        assert hexdump(raw).startswith("=== Raw Packet Hexdump ===")
        return
    packet = parse(raw)
    assert build(packet) == raw
    assert complete(packet) == packet
    assert parse(memoryview(raw)) == parse(bytearray(raw)) == packet
    found, verdicts = findings(packet), checksums(packet)
    assert found == findings(raw)
    assert verdicts == checksums(raw)
    assert [each.offset for each in found] == sorted(each.offset for each in found)
    assert all(0 <= each.offset <= len(raw) for each in found)
    assert listing(packet) in listing(raw)
    assert listing(packet, verbose=True).startswith("=== Parsed IP Packet ===\n")
    assert summary(packet).startswith(f"IP{'6' if version(raw) == 6 else ''} {packet.headers[0].src}")
    assert json.loads(json.dumps(to_dict(packet)))["findings"] == [str(each) for each in found]
    dumped = [line for line in hexdump(raw).splitlines() if all(len(byte) == 2 for byte in line.split(" "))]
    assert bytes.fromhex("".join(dumped)) == raw


@given(st.binary(max_size=100))
@sampled(400)
def test_law_1_with_random_bytes(raw):
    assert_law_1(raw)


@given(st.integers(5, 15), st.sampled_from([1, 2, 6, 17, 0, 4, 255]), st.binary(min_size=19, max_size=120))
@sampled(500)
def test_law_1_with_valid_first_byte_and_random_rest(ihl, protocol, raw):
    raw = bytes((0x40 | ihl,)) + raw
    assert_law_1(raw[:9] + bytes((protocol,)) + raw[10:])


@pytest.mark.slow
@given(ill)
@sampled(500)
def test_law_1_with_every_field_forced(packet):
    assert_law_1(build(packet))


@pytest.mark.slow
@given(healthy, st.data())
@sampled(300)
def test_law_1_with_flipped_bits(packet, data):
    raw = bytearray(build(packet))
    for at in data.draw(st.lists(st.integers(0, len(raw) * 8 - 1), min_size=1, max_size=4)):
        raw[at // 8] ^= 1 << at % 8
    assert_law_1(bytes(raw))


@given(healthy)
@sampled(25)
def test_law_1_with_packets_cut_at_every_length(packet):
    raw = build(packet)
    for length in range(len(raw)):
        assert_law_1(raw[:length])


@given(healthy, st.binary(min_size=1, max_size=50))
@sampled(150)
def test_law_1_with_appended_bytes(packet, more):
    assert_law_1(build(packet) + more)


@given(healthy, st.integers(0, 2000))
@sampled(150)
def test_wire_length_changes_only_missing(packet, missing):
    raw = build(packet)
    assert parse(raw, wire_length=len(raw) + missing) == parse(raw).replace(missing=missing)
    assert parse(raw, wire_length=0).missing == 0


@pytest.mark.slow
@given(healthy)
@sampled(400)
def test_law_2_parse_of_build_equals_complete(packet):
    before = repr(packet)
    raw = build(packet)
    assert parse(raw) == complete(packet)
    assert bytes(packet) == build(*packet.headers, packet.payload) == raw
    assert repr(packet) == before


@pytest.mark.slow
@given(st.one_of(healthy, ill, st.builds(Packet.of, forced, payloads)))
@sampled(500)
def test_law_2_complete_changes_only_none_fields(packet):
    whole = complete(packet)
    assert (whole.payload, whole.trailer, whole.missing) == (packet.payload, packet.trailer, packet.missing)
    for given_header, header in zip(packet.headers, whole.headers, strict=True):
        assert type(given_header) is type(header)
        for field, value in asdict(given_header).items():
            completed = getattr(header, field)
            if value is None:
                assert field in header.DERIVED
                assert completed is not None
            elif field == "options":  # padded if the length of the header is computed
                length = {"IPv4": "ihl", "TCP": "data_offset"}[type(header).__name__]
                pad = -len(value) % 4 if getattr(given_header, length) is None else 0
                assert completed == value + bytes(pad)
            else:
                assert completed == value
    assert complete(whole) == whole


@pytest.mark.slow
@given(healthy)
@sampled(400)
def test_law_3_packets_without_forced_fields_have_no_findings(packet):
    raw = build(packet)
    assert findings(raw) == []
    assert findings(packet) == []
    assert "[" not in summary(raw).replace("Flags [", "").replace("options [", "")


tunnels = st.builds(
    lambda outer, middle, packet: Packet.of(*outer, *middle, *packet.headers, packet.payload),
    st.one_of(st.builds(lambda ip: (ip,), headers), st.builds(lambda ip: (ip,), headers6)),
    st.lists(st.one_of(headers, headers6), max_size=1),
    st.one_of(transported, transported6),
)


@pytest.mark.slow
@given(st.one_of(transported6, tunnels))
@sampled(300)
def test_ipv6_and_tunnels_obey_the_three_laws(packet):
    raw = build(packet)
    read = parse(raw, link_type_of(packet))
    assert build(read) == raw
    assert read == complete(packet)
    assert findings(packet) == findings(read) == []


@pytest.mark.slow
@given(st.one_of(transported6, tunnels), st.data())
@sampled(300)
def test_law_1_with_flipped_bits_of_ipv6_and_tunnels(packet, data):
    raw = bytearray(build(packet))
    for at in data.draw(st.lists(st.integers(8, len(raw) * 8 - 1), min_size=1, max_size=4)):
        raw[at // 8] ^= 1 << at % 8
    raw = bytes(raw[: data.draw(st.integers(0, len(raw)))])
    try:
        read = parse(raw, link_type_of(packet))
    except (TruncatedError, MalformedError):
        return  # the first header cannot be read
    assert build(read) == raw
    assert complete(read) == read
    found = findings(read)
    assert [each.offset for each in found] == sorted(each.offset for each in found)
    assert json.loads(json.dumps(to_dict(read)))["findings"] == [str(each) for each in found]
    assert summary(read)
    assert listing(read, verbose=True)


@pytest.mark.slow
@given(headers, st.sampled_from(sorted(IP_PAYLOADS)), st.binary(max_size=80))
@sampled(300)
def test_law_2_with_payload_that_parses_as_a_header(ip, protocol, payload):
    packet = Packet.of(ip.replace(protocol=protocol), payload)
    raw = build(packet)
    assert build(parse(raw)) == raw
    if len(parse(raw).headers) == 1:
        assert parse(raw) == complete(packet)


@given(healthy, st.integers(0, 2**64), st.sampled_from(["realtime", "monotonic"]))
@sampled(50)
def test_laws_hold_for_packets_with_a_time(packet, time, clock):
    raw = build(packet)
    received = parse(raw, time=time, clock=clock)
    assert (received.time, received.clock) == (time, clock)
    assert received == parse(raw)
    assert hash(received) == hash(parse(raw))
    assert build(received) == raw
    assert complete(received).time == time
    assert findings(received) == findings(raw)


@pytest.mark.slow
@given(forced, forced_transports, payloads)
@sampled(300)
def test_findings_and_texts_of_packet_equal_those_of_its_bytes(ip, transport, payload):
    packet = Packet.of(ip, transport, payload)
    raw = build(packet)
    if has_ip_header(raw) and version(raw) == 4:
        assert findings(packet) == findings(raw)
        assert checksums(packet) == checksums(raw)
        assert listing(packet, verbose=True) == listing(raw, verbose=True)
        assert to_dict(packet) == to_dict(raw)
    else:
        with pytest.raises(MalformedError):
            findings(packet)
        assert summary(packet).startswith("not an IP packet: ")


@pytest.mark.parametrize("length", [20, 24, 60])
@pytest.mark.parametrize("protocol", [1, 2, 6, 17, 89])
@pytest.mark.parametrize("total_length", [0, 5, 20, 0xFFFF])
def test_law_1_with_data_over_65535_bytes(length, protocol, total_length):
    ip = IPv4(src="1.2.3.4", dst="5.6.7.8", options=bytes(length - 20), protocol=protocol, total_length=total_length)
    raw = build(ip, bytes(70_000))
    packet = parse(raw)
    assert build(packet) == raw
    assert [each.field for each in findings(packet) if each.layer == "IPv4"] == ["total_length"]
    assert summary(packet)


@pytest.mark.skipif(not CORPUS, reason="the corpus is not part of the project. Set TUNLAB_CORPUS to its folder")
@pytest.mark.slow
def test_law_1_with_the_corpus():
    with gzip.open(Path(CORPUS, "ipv4.jsonl.gz"), "rt") as lines:
        packets = [bytes.fromhex(json.loads(line)["hex"]) for line in lines]
    assert len(packets) == 6142
    for raw in packets:
        assert_law_1(raw)
