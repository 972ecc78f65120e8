"""Every verdict on a checksum: good, bad and what it should be, not verifiable and why."""

import pytest

from tests.packet.golden import GOLDEN, up
from tunlab.packet import ICMP, TCP, UDP, Verdict, build, checksums, parse


def octets(name):
    return bytes.fromhex(GOLDEN[name][0])


def ip(**fields):
    """A whole datagram of protocol 253, whose payload has no checksum."""
    return build(up(protocol=253, **fields), bytes(range(8)))


# name: (octets, wire length, last layer, verdict, value, expected, reason, words)
VERDICTS = {
    "a good IPv4 one": (ip(), None, "IPv4", Verdict.GOOD, 0x61E0, 0x61E0, "", "good"),
    "a bad IPv4 one": (ip(checksum=0), None, "IPv4", Verdict.BAD, 0, 0x61E0, "", "bad, should be 0x61e0"),
    "an IPv4 header cut short": (
        octets("record route")[:25],
        None,
        "IPv4",
        Verdict.UNVERIFIABLE,
        0x4F90,
        None,
        "the header is cut short",
        "not verifiable: the header is cut short",
    ),
    "a good TCP one": (octets("RST"), None, "TCP", Verdict.GOOD, 0x4F9A, 0x4F9A, "", "good"),
    "a bad TCP one": (
        octets("RST")[:-1] + b"\1",
        None,
        "TCP",
        Verdict.BAD,
        0x4F9A,
        0x4F99,
        "",
        "bad, should be 0x4f99",
    ),
    "a TCP one that was kept in full": (
        octets("data, ECN, SACK, urgent"),
        63,
        "TCP",
        Verdict.GOOD,
        0x9ECC,
        0x9ECC,
        "",
        "good",
    ),
    "a cut capture": (
        octets("data, ECN, SACK, urgent")[:-1],
        63,
        "TCP",
        Verdict.UNVERIFIABLE,
        0x9ECC,
        None,
        "the capture is cut short",
        "not verifiable: the capture is cut short",
    ),
    "a capture that lost padding alone": (octets("UDP"), 60, "UDP", Verdict.GOOD, 0x7A2A, 0x7A2A, "", "good"),
    "a fragment": (
        octets("fragment, first"),
        None,
        "UDP",
        Verdict.UNVERIFIABLE,
        0x69E8,
        None,
        "a fragment does not hold all that it covers",
        "not verifiable: a fragment does not hold all that it covers",
    ),
    "segmentation offload": (
        build(up(total_length=0), TCP(checksum=7)),
        None,
        "TCP",
        Verdict.UNVERIFIABLE,
        7,
        None,
        "segmentation offload leaves it unfinished",
        "not verifiable: segmentation offload leaves it unfinished",
    ),
    "a total length that cannot be": (
        build(up(total_length=19), ICMP(checksum=7)),
        None,
        "ICMP",
        Verdict.UNVERIFIABLE,
        7,
        None,
        "the total length does not say what it covers",
        "not verifiable: the total length does not say what it covers",
    ),
    "UDP without one": (
        octets("UDP without checksum"),
        None,
        "UDP",
        Verdict.UNVERIFIABLE,
        0,
        None,
        "the sender computed none",
        "not verifiable: the sender computed none",
    ),
    "a UDP length under the header": (
        build(up(), UDP(length=7, checksum=9)),
        None,
        "UDP",
        Verdict.UNVERIFIABLE,
        9,
        None,
        "the UDP length does not say what it covers",
        "not verifiable: the UDP length does not say what it covers",
    ),
    "a UDP length past the end": (
        build(up(), UDP(length=9, checksum=9)),
        None,
        "UDP",
        Verdict.UNVERIFIABLE,
        9,
        None,
        "the UDP length does not say what it covers",
        "not verifiable: the UDP length does not say what it covers",
    ),
    # 0xffff and 0 are the same number in ones' complement: RFC 1071 takes either.
    "an ICMP 0xffff for 0": (
        build(up(), ICMP(0xFF, 0xFF, checksum=0xFFFF)),
        None,
        "ICMP",
        Verdict.GOOD,
        0xFFFF,
        0,
        "",
        "good",
    ),
    "an ICMP 0 for 0xffff": (
        build(up(), ICMP(0, 0, checksum=0)),
        None,
        "ICMP",
        Verdict.BAD,
        0,
        0xFFFF,
        "",
        "bad, should be 0xffff",
    ),
}


@pytest.mark.parametrize(
    ("given", "wire_length", "layer", "verdict", "value", "expected", "reason", "words"),
    VERDICTS.values(),
    ids=VERDICTS,
)
def test_the_verdict_on_a_checksum(given, wire_length, layer, verdict, value, expected, reason, words):
    last = checksums(parse(given, wire_length=wire_length))[-1]
    assert (last.layer, last.verdict, last.value, last.expected, last.reason) == (
        layer,
        verdict,
        value,
        expected,
        reason,
    )
    assert str(last) == words


def test_each_layer_has_its_verdict():
    assert [each.layer for each in checksums(octets("SYN"))] == ["IPv4", "TCP"]
    assert [each.layer for each in checksums(octets("fragment, last"))] == ["IPv4"]
    assert [each.layer for each in checksums(octets("SYN")[:30])] == ["IPv4"]
