"""A protocol added by one file is parsed, built, matched, printed and drawn, without a change anywhere else."""

import re
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.packet.golden import HOST, ROUTER, down, up
from tests.packet.strategies import fields, headers, payloads, sampled
from tests.packet.udp_lite import UDPLite
from tests.report.recordings import recorded
from tests.report.test_ladder import evidence, observation
from tests.report.test_page import check_data
from tunlab.cli.packet_filter import parse_protocol
from tunlab.errors import MalformedError
from tunlab.packet import (
    Packet,
    TruncatedHeader,
    Verdict,
    build,
    checksums,
    complete,
    findings,
    listing,
    parse,
    reply,
    summary,
    to_dict,
)
from tunlab.packet.tables import IP_PAYLOADS
from tunlab.packet.text.diagram import header_diagram
from tunlab.report.ladder import draw_ladder
from tunlab.report.page import render

del IP_PAYLOADS[UDPLite.PROTOCOL]  # Other tests in this process need 136 as an unknown protocol.

# tshark reports both checksums as correct. The UDP-Lite checksum covers the pseudo-header and 12 bytes.
QUESTION = bytes.fromhex("45000024000000004088624d0a0102010a0102030fa00035000c00987175657374696f6e")
LINE = f"IP {ROUTER}.4000 > {HOST}.53: UDPLite, length 8"


@pytest.fixture(autouse=True, scope="module")
def registered():
    """Register UDP-Lite as an IP protocol for the tests of this module only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(IP_PAYLOADS, UDPLite.PROTOCOL, UDPLite.read)
        yield


def test_new_protocol_is_parsed_and_built():
    packet = parse(QUESTION)
    assert packet[UDPLite] == UDPLite(src_port=4000, dst_port=53, coverage=12, checksum=0x98)
    assert (packet.payload, packet.ports, packet.transport) == (b"question", (4000, 53), packet[UDPLite])
    assert build(down(), UDPLite(4000, 53, coverage=12), b"question") == QUESTION


@given(st.builds(Packet.of, headers, fields(UDPLite, "src_port", "dst_port"), payloads))
@sampled(50)
def test_built_packet_of_new_protocol_is_parsed_as_the_same_packet(packet):
    data = build(packet)
    assert build(parse(data)) == data
    assert parse(data) == complete(packet)
    assert findings(data) == []


def test_error_of_new_protocol_with_invalid_field_names_the_field():
    with pytest.raises(MalformedError, match=r"^UDPLite.coverage is 65536: the field has 16 bits"):
        UDPLite(coverage=65536)


def test_wrong_checksum_and_fields_of_new_protocol_are_found():
    assert [each.verdict for each in checksums(QUESTION)] == [Verdict.GOOD, Verdict.GOOD]
    assert findings(QUESTION[:-1] + b"N") == []  # The checksum does not cover the last byte.
    assert [each.field for each in findings(QUESTION[:20] + b"\1" + QUESTION[21:])] == ["checksum"]
    assert [each.field for each in findings(build(down(), UDPLite(coverage=7)))] == ["coverage"]


def test_truncated_header_of_new_protocol_is_parsed():
    assert parse(build(down(protocol=136), QUESTION[20:24])).headers[1] == TruncatedHeader(UDPLite, QUESTION[20:24])


def test_match_of_new_protocol_returns_differing_fields():
    assert UDPLite.where(dst_port=53, payload=b"question").difference(parse(QUESTION)) == []
    (difference,) = UDPLite.where(dst_port=54).difference(parse(QUESTION))
    assert (difference.field, difference.wanted, difference.got) == ("UDPLite.dst_port", 54, 53)


def test_reply_of_new_protocol_has_swapped_addresses_and_ports():
    assert reply(parse(QUESTION)) == (up(), UDPLite(src_port=53, dst_port=4000))


def test_summary_listing_and_diagram_show_fields_of_new_protocol():
    assert summary(QUESTION) == LINE
    assert listing(QUESTION).endswith("\n  Protocol: UDPLite")
    assert listing(QUESTION, verbose=True).endswith(
        "UDPLite:\n  Src Port: 4000\n  Dst Port: 53\n  Coverage: 12\n  Checksum: 0x0098 (good)"
    )
    assert to_dict(QUESTION)["udplite"] == {"src_port": 4000, "dst_port": 53, "coverage": 12, "checksum": 0x98}
    assert re.search(r"\|\s+coverage\s+\|\s+checksum\s+\|", "\n".join(header_diagram(parse(QUESTION)[UDPLite], set())))


def test_terminal_and_html_reports_show_new_protocol():
    assert LINE in draw_ladder(evidence(observation("kernel", "out", QUESTION)))[1]
    recording = recorded([("out", QUESTION)])
    data = check_data(recording, render(recording, title="test_x"))
    assert {"UDPLite", "coverage"} <= {label[1] for label in data["labels"]}
    assert LINE in str(data)


def test_dump_filter_accepts_name_of_new_protocol():
    assert parse_protocol("udplite") == 136
    with pytest.raises(ValueError, match=r"Give .*, udplite, vlan or a number from 0 to 255"):
        parse_protocol("x")


def test_packet_of_new_protocol_is_expected_over_a_tun(tun):
    with tun.netns.socket(socket.AF_INET, socket.SOCK_RAW, UDPLite.PROTOCOL) as sender:
        sender.sendto(QUESTION[20:], (tun.peer, 0))
    assert tun.expect(UDPLite.where(dst_port=53)).payload == b"question"
