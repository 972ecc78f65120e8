"""Headers that only captures have, SLL, SLL2 and Loopback: fields, computed values, findings and texts."""

import pytest

from tests.packet.golden import HOST, ROUTER, up
from tunlab.errors import MalformedError, TruncatedError
from tunlab.packet import (
    ARP,
    SLL,
    SLL2,
    UDP,
    IPv4,
    IPv6,
    Loopback,
    Packet,
    build,
    complete,
    findings,
    listing,
    parse,
    summary,
)
from tunlab.packet.packet import link_type_of

ADDRESS = "02:00:00:00:00:01:00:00"
HEADERS = {
    "sll": (113, SLL(packet_type=4, address=ADDRESS), "0004 0001 0006 0200000000010000 0800"),
    "sll2": (276, SLL2(packet_type=4, address=ADDRESS, ifindex=7), "0800 0000 00000007 0001 04 06 0200000000010000"),
    "null": (0, Loopback(), "00000002"),
    "loop": (108, Loopback(family=2), "00000002"),
    "null of a little-endian machine": (0, Loopback(family=0x02000000), "02000000"),
}


@pytest.mark.parametrize(("link_type", "header", "data"), HEADERS.values(), ids=HEADERS)
def test_capture_header_is_parsed_and_built_to_the_same_bytes(link_type, header, data):
    packet = Packet.of(header, up(), UDP(1, 2), b"abc")
    raw = build(packet)
    assert raw[:-31].hex() == data.replace(" ", "")
    parsed = parse(raw, link_type=link_type)
    assert parsed == complete(packet)
    assert build(parsed) == raw
    assert findings(parsed) == []
    assert summary(parsed) == f"IP {HOST}.1 > {ROUTER}.2: UDP, length 3"
    assert listing(parsed, verbose=True).count(f"{type(header).__name__}:") == 1
    assert link_type_of(parsed) in (link_type, 0)
    for size in range(len(bytes.fromhex(data))):
        with pytest.raises(TruncatedError):
            parse(raw[:size], link_type=link_type)


def test_sll_summary_before_arp_and_unknown_protocol():
    message = ARP(sender_hardware="02:00:00:00:00:01", sender_protocol=HOST, target_protocol=ROUTER)
    packet = parse(build(SLL(), message, b""), link_type=113)
    assert summary(packet) == f"ARP who has {ROUTER}? tell {HOST}"
    unknown = parse(build(SLL2(protocol=0x88B5), b"abc"), link_type=276)
    assert (summary(unknown), unknown.payload) == ("SLL2, 0x88b5, length 3", b"abc")
    lines = listing(unknown, verbose=True).splitlines()
    assert "  Packet Type: 0 (to us)" in lines
    assert f"  Address: {':'.join(['00'] * 8)}" in lines


def test_loopback_families_of_all_bsds_are_parsed_as_ipv6():
    six = build(IPv6(src="fd00::1", dst="fd00::2"), UDP(1, 2))
    for family in ("0000000a", "18000000", "0000001c", "1e000000"):
        assert IPv6 in parse(bytes.fromhex(family) + six, link_type=0)
    assert build(Loopback(), IPv6(src="fd00::1", dst="fd00::2"))[:4].hex() == "0000000a"
    unknown = parse(bytes.fromhex("00000063") + b"abc", link_type=0)
    assert IPv4 not in unknown
    assert summary(unknown) == "Loopback, family 0x00000063, length 3"


@pytest.mark.parametrize(("header", "field"), [(SLL(), "protocol"), (SLL2(), "protocol"), (Loopback(), "family")])
def test_build_capture_header_without_next_header_or_field_raises(header, field):
    with pytest.raises(MalformedError, match=f"{field} is None: no header follows that implies it. Give `{field}`."):
        build(header, b"abc")


def test_error_for_invalid_sll_address_names_the_field():
    with pytest.raises(
        MalformedError, match=r"^SLL.address is '02:01': 2 bytes. Give eight bytes, or their numbers as"
    ):
        SLL(address="02:01")
