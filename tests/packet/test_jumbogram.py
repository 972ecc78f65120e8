"""IPv6 packets with the payload length 0, and the jumbo payload option (RFC 2675)."""

import pytest

from tunlab.errors import MalformedError
from tunlab.packet import (
    TCP,
    UDP,
    HopByHop,
    IPv6,
    Packet,
    Verdict,
    build,
    checksums,
    findings,
    ipv6_options,
    parse,
    summary,
)

IP = IPv6(src="fd00::2", dst="fd00::1")
EMPTY = IP.replace(payload_length=0)
PAYLOAD = bytes(69_984)


def jumbo(length=70_000):
    return HopByHop(options=[ipv6_options.JumboPayload(length)])


JUMBOGRAM = build(IP, jumbo(), UDP(1, 2), PAYLOAD)


def sentences(data, **more):
    return [str(each) for each in findings(parse(data, **more))]


def test_build_udp_jumbogram_computes_lengths_of_0():
    packet = parse(JUMBOGRAM)
    assert (packet.ip.payload_length, packet.udp.length, packet.payload) == (0, 0, PAYLOAD)
    assert build(packet) == JUMBOGRAM
    assert findings(packet) == []
    assert [each.verdict for each in checksums(packet)] == [Verdict.GOOD]
    assert summary(packet) == "IP6 fd00::2.1 > fd00::1.2: UDP, length 69984"


def test_checksum_of_jumbogram_covers_32_bit_length():
    # The payload is zero, so the sum is that of the pseudo-header (RFC 8200 section 8.1) and the UDP header.
    words = [0xFD00, 2, 0xFD00, 1, 69_992 >> 16, 69_992 & 0xFFFF, 17, 1, 2]
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    assert parse(JUMBOGRAM).udp.checksum == total ^ 0xFFFF


def test_tcp_jumbogram_has_no_findings():
    data = build(IP, jumbo(70_004), TCP(1, 2, flags=16), PAYLOAD[:69_976])
    assert sentences(data) == []
    assert [each.verdict for each in checksums(data)] == [Verdict.GOOD]


LIMITED = ", limited by the end of the input)"


@pytest.mark.parametrize(
    ("data", "found", "verdict"),
    [
        (
            JUMBOGRAM[:156],
            "HopByHop options: the packet is cut short (needed 70000, got 116" + LIMITED,
            Verdict.UNVERIFIABLE,
        ),
        (
            build(EMPTY, jumbo(70_010), UDP(1, 2), PAYLOAD),
            "HopByHop options: the packet is cut short (needed 70010, got 70000" + LIMITED,
            Verdict.UNVERIFIABLE,
        ),
        (
            build(EMPTY, jumbo(69_999), UDP(1, 2), PAYLOAD),
            "HopByHop options: 1 byte follows the end of the packet (needed 69999, got 70000" + LIMITED,
            Verdict.GOOD,
        ),
        (
            build(EMPTY, HopByHop(options=[ipv6_options.RouterAlert()]), UDP(1, 2, checksum=7), b"x"),
            "IPv6 payload length: 0 needs a jumbo payload option (RFC 2675 section 3)",
            Verdict.UNVERIFIABLE,
        ),
        (
            build(EMPTY, HopByHop()),
            "IPv6 payload length: 0 needs a jumbo payload option (RFC 2675 section 3)",
            None,
        ),
    ],
    ids=["cut short", "too long a length", "too short a length", "no option", "no option and no payload"],
)
def test_faulty_jumbogram_has_one_finding(data, found, verdict):
    assert sentences(data) == [found]
    assert [each.verdict for each in checksums(data)] == ([verdict] if verdict else [])


def test_jumbogram_cut_by_the_capture_has_no_findings():
    assert sentences(JUMBOGRAM[:156], wire_length=len(JUMBOGRAM)) == []
    assert str(checksums(parse(JUMBOGRAM[:156], wire_length=len(JUMBOGRAM)))[0]) == (
        "not verifiable: the capture is cut short"
    )


def test_udp_length_0_in_a_small_packet_is_a_finding():
    assert sentences(build(IP, UDP(1, 2, length=0), b"x"))[0].startswith("UDP length: less than the header itself")


@pytest.mark.parametrize("headers", [(IP, TCP()), (IP, HopByHop(), UDP()), (IP, IPv6(src="::1", dst="::2"), UDP())])
def test_build_large_payload_without_jumbo_option_raises(headers):
    with pytest.raises(MalformedError, match=r"^IPv6.payload_length is \d+: a packet has at most 65535 bytes"):
        build(Packet.of(*headers, PAYLOAD))
