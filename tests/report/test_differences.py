"""What an expectation says of the nearest packet, read back from its comment: the rows and bits that it is about."""

import pytest

from tests.report.recordings import KERNEL, PEER, recorded
from tests.report.test_fields import rows_of
from tunlab.packet import ICMP, TCP, UDP, IPv4, TCPFlag, build, parse, tcp_options
from tunlab.packet.diagram import difference_text
from tunlab.recorder import read_pcapng
from tunlab.report.page.differences import read_back

SYN = build(
    IPv4(src=PEER, dst=KERNEL),
    TCP(src_port=1, dst_port=2, flags=TCPFlag.SYN, options=[tcp_options.MSS(1460)]),
    b"hello",
)


def read(match, octets=SYN):
    """What is read back of what would be written; the rows by their names, and where the bits are."""
    notes = [difference_text(each) for each in match.difference(parse(octets))]
    (record,) = read_pcapng(recorded([("out", octets)], comments={1: "; ".join(["passed over", *notes])}))
    rows, packet = rows_of(record)
    rest, found = read_back(record.comment, packet, rows)
    assert rest == "passed over"
    assert [f"{each.field}: wanted {each.wanted}, got {each.got}" for each in found] == notes
    return [([rows[number].name for number in each.rows], each.places) for each in found]


@pytest.mark.parametrize(
    ("match", "names", "places"),
    [
        (TCP.where(flags=TCPFlag.ACK), ["flags"], [(33 * 8, 8)]),
        (IPv4.where(ihl=6), ["ihl"], [(4, 4)]),
        (IPv4.where(src=lambda src: src == KERNEL), ["src"], [(12 * 8, 32)]),
        (TCP.where(mss=1400), ["MSS"], [(40 * 8, 32)]),
        (TCP.where(window_scale=7), ["options"], [(40 * 8, 32)]),
        (TCP.where(payload=b"hullo"), ["payload"], [(45 * 8, 8)]),
        (TCP.where(payload=b"HelLO"), ["payload"], [(44 * 8, 8), (47 * 8, 16)]),
        (TCP.where(payload=b"hel"), ["payload"], [(47 * 8, 16)]),
        (TCP.where(payload=b"hello, you"), ["payload"], []),
        (IPv4.where(is_fragment=True), ["flags", "fragment_offset"], [(48, 3), (51, 13)]),
        (UDP, [], []),
    ],
    ids=lambda value: str(value) if isinstance(value, list) else None,
)
def test_a_field_has_its_row_and_its_bits(match, names, places):
    assert read(match if match is not UDP else UDP.where()) == [(names, places)]


def test_several_are_several():
    found = read(IPv4.where(ttl=1, dst=PEER) & TCP.where(dst_port=3))
    assert [names for names, _ in found] == [["ttl"], ["dst"], ["dst_port"]]


def test_the_field_is_that_of_its_own_header():
    octets = build(IPv4(src=KERNEL, dst=PEER), ICMP.unreachable(3), SYN)
    assert read(IPv4.where(dst=KERNEL), octets) == [(["dst"], [(16 * 8, 32)])]


@pytest.mark.parametrize("comment", ["", "injected at x.py:1", "what was wanted, got lost", "TCP.flags", "a: b; c"])
def test_what_is_no_difference_is_a_comment(comment):
    (record,) = read_pcapng(recorded([("out", SYN)]))
    rows, packet = rows_of(record)
    assert read_back(comment, packet, rows) == (comment, [])


def test_of_what_is_no_packet_nothing_differs():
    assert read_back("TCP.flags: wanted 1, got 2", None, []) == ("TCP.flags: wanted 1, got 2", [])
