"""Checksum verdicts: good, bad with the expected value, not verifiable with the reason."""

import pytest

from tests.packet.golden import GOLDEN, up
from tunlab.packet import ICMP, TCP, UDP, Verdict, build, checksums, parse


def golden(name):
    return bytes.fromhex(GOLDEN[name][0])


def ip(**fields):
    """Return a packet of protocol 253, whose payload has no checksum."""
    return build(up(protocol=253, **fields), bytes(range(8)))


# name: (packet, wire length, last layer, verdict, value, expected, reason, text)
VERDICTS = {
    "good IPv4 checksum": (ip(), None, "IPv4", Verdict.GOOD, 0x61E0, 0x61E0, "", "good"),
    "bad IPv4 checksum": (ip(checksum=0), None, "IPv4", Verdict.BAD, 0, 0x61E0, "", "bad, should be 0x61e0"),
    "IPv4 header cut short": (
        golden("record route")[:25],
        None,
        "IPv4",
        Verdict.UNVERIFIABLE,
        0x4F90,
        None,
        "the header is cut short",
        "not verifiable: the header is cut short",
    ),
    "good TCP checksum": (golden("RST"), None, "TCP", Verdict.GOOD, 0x4F9A, 0x4F9A, "", "good"),
    "bad TCP checksum": (
        golden("RST")[:-1] + b"\1",
        None,
        "TCP",
        Verdict.BAD,
        0x4F9A,
        0x4F99,
        "",
        "bad, should be 0x4f99",
    ),
    "complete capture": (
        golden("data, ECN, SACK, urgent"),
        63,
        "TCP",
        Verdict.GOOD,
        0x9ECC,
        0x9ECC,
        "",
        "good",
    ),
    "capture cut short": (
        golden("data, ECN, SACK, urgent")[:-1],
        63,
        "TCP",
        Verdict.UNVERIFIABLE,
        0x9ECC,
        None,
        "the capture is cut short",
        "not verifiable: the capture is cut short",
    ),
    "capture without the padding": (golden("UDP"), 60, "UDP", Verdict.GOOD, 0x7A2A, 0x7A2A, "", "good"),
    "fragment": (
        golden("fragment, first"),
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
    "total length below 20": (
        build(up(total_length=19), ICMP(checksum=7)),
        None,
        "ICMP",
        Verdict.UNVERIFIABLE,
        7,
        None,
        "the total length does not say what it covers",
        "not verifiable: the total length does not say what it covers",
    ),
    "UDP without checksum": (
        golden("UDP without checksum"),
        None,
        "UDP",
        Verdict.UNVERIFIABLE,
        0,
        None,
        "the sender computed none",
        "not verifiable: the sender computed none",
    ),
    "UDP length below 8": (
        build(up(), UDP(length=7, checksum=9)),
        None,
        "UDP",
        Verdict.UNVERIFIABLE,
        9,
        None,
        "the UDP length does not say what it covers",
        "not verifiable: the UDP length does not say what it covers",
    ),
    "UDP length past the end": (
        build(up(), UDP(length=9, checksum=9)),
        None,
        "UDP",
        Verdict.UNVERIFIABLE,
        9,
        None,
        "the UDP length does not say what it covers",
        "not verifiable: the UDP length does not say what it covers",
    ),
    # 0xffff and 0 are both zero in ones' complement: a receiver accepts 0xffff (RFC 1071).
    "ICMP checksum 0xffff for 0": (
        build(up(), ICMP(0xFF, 0xFF, checksum=0xFFFF)),
        None,
        "ICMP",
        Verdict.GOOD,
        0xFFFF,
        0,
        "",
        "good",
    ),
    "ICMP checksum 0 for 0xffff": (
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
    ("given", "wire_length", "layer", "verdict", "value", "expected", "reason", "text"),
    VERDICTS.values(),
    ids=VERDICTS,
)
def test_checksum_verdict(given, wire_length, layer, verdict, value, expected, reason, text):
    last = checksums(parse(given, wire_length=wire_length))[-1]
    assert (last.layer, last.verdict, last.value, last.expected, last.reason) == (
        layer,
        verdict,
        value,
        expected,
        reason,
    )
    assert str(last) == text


def test_checksums_lists_each_header_with_a_checksum():
    assert [each.layer for each in checksums(golden("SYN"))] == ["IPv4", "TCP"]
    assert [each.layer for each in checksums(golden("fragment, last"))] == ["IPv4"]
    assert [each.layer for each in checksums(golden("SYN")[:30])] == ["IPv4"]
