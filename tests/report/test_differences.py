"""Differing fields of a packet: kept in a recording, read back, and found in the field tree of the HTML report."""

import struct
import subprocess

import pytest

from tests.report.recordings import KERNEL, PEER, recorded
from tests.report.test_fields import rows_of
from tunlab.errors import ExpectationError
from tunlab.packet import ICMP, TCP, UDP, IPv4, TCPFlag, build, parse, tcp_options
from tunlab.recorder import LINKTYPE_RAW, RecordedInterface, RecordedPacket, read_pcapng
from tunlab.report.annotation import Annotation, from_recording
from tunlab.report.evidence import gather_evidence, to_pcapng
from tunlab.report.page.differences import locate_differences
from tunlab.traffic.failure_text import Candidate, describe_candidates
from tunlab.traffic.trace import FieldDifference, TraceEntry

SYN = build(
    IPv4(src=PEER, dst=KERNEL),
    TCP(src_port=1, dst_port=2, flags=TCPFlag.SYN, options=[tcp_options.MSS(1460)]),
    b"hello",
)


def locate(match, data=SYN):
    """Return the rows and bits of each difference between a packet and a match, by way of a recording."""
    packet = parse(data)
    entry = TraceEntry("out", 0, data)
    describe_candidates([Candidate(entry, match.difference(packet))], 0)
    annotation = Annotation("skipped", entry.decisive, differences=entry.differences)
    (record,) = read_pcapng(recorded([("out", data)], annotations={1: annotation}))
    assert from_recording(record) == annotation
    rows, packet = rows_of(record)
    found = locate_differences(annotation.differences, packet, rows)
    assert [f"{each.field}: wanted {each.wanted}, got {each.got}" for each in found] == list(
        map(str, annotation.differences)
    )
    return [([rows[number].name for number in each.rows], each.bits) for each in found]


@pytest.mark.parametrize(
    ("match", "names", "bits"),
    [
        (TCP.where(flags=TCPFlag.ACK), ["flags"], [(33 * 8 - 1, 9)]),
        (IPv4.where(ihl=6), ["ihl"], [(4, 4)]),
        (IPv4.where(src=lambda src: src == KERNEL), ["src"], [(12 * 8, 32)]),
        (TCP.where(mss=1400), ["MSS"], [(40 * 8, 32)]),
        (TCP.where(window_scale=7), ["options"], [(40 * 8, 32)]),
        (TCP.where(payload=b"hullo"), ["payload"], [(45 * 8, 8)]),
        (TCP.where(payload=b"HelLO"), ["payload"], [(44 * 8, 8), (47 * 8, 16)]),
        (TCP.where(payload=b"hel"), ["payload"], [(47 * 8, 16)]),
        (TCP.where(payload=b"hello, you"), ["payload"], []),
        (IPv4.where(is_fragment=True), ["flags", "fragment_offset"], [(48, 3), (51, 13)]),
        (UDP.where(), [], []),
    ],
    ids=lambda value: str(value) if isinstance(value, list) else None,
)
def test_locate_differences_in_one_field_returns_its_rows_and_bits(match, names, bits):
    assert locate(match) == [(names, bits)]


def test_locate_differences_in_several_fields_returns_them_in_packet_order():
    found = locate(IPv4.where(ttl=1, dst=PEER) & TCP.where(dst_port=3))
    assert [names for names, _ in found] == [["ttl"], ["dst"], ["dst_port"]]


def test_locate_differences_in_icmp_error_uses_the_outer_ip_header():
    data = build(IPv4(src=KERNEL, dst=PEER), ICMP.unreachable(3), SYN)
    assert locate(IPv4.where(dst=KERNEL), data) == [(["dst"], [(16 * 8, 32)])]


def test_locate_differences_without_packet_returns_empty_list():
    assert locate_differences((FieldDifference("TCP.flags", "1", "2"),), None, []) == []


@pytest.mark.parametrize("text", ["", "not JSON", "{}x", '{"note": 5}', "[]"])
def test_invalid_or_missing_annotation_in_recording_is_replaced_by_packet_comment(text):
    interface = RecordedInterface(0, "tun0", LINKTYPE_RAW)
    record = RecordedPacket(interface, 0, SYN, len(SYN), "out", "a comment", annotation=text)
    assert from_recording(record) == Annotation("a comment")


def test_annotation_with_many_differing_bytes_keeps_100_byte_ranges(recorded_netns, recorded_tun):
    wanted, got = b"ab" * 700, b"aB" * 700
    recorded_tun.inject(IPv4(src=recorded_tun.peer, dst=recorded_tun.address), ICMP.echo_request(1, 1), got)
    with pytest.raises(ExpectationError):
        recorded_tun.expect(ICMP.where(payload=wanted), timeout=0.0)
    packets = list(read_pcapng(to_pcapng(gather_evidence([recorded_netns]), comment="")))
    (difference,) = from_recording(packets[-1]).differences
    assert len(difference.byte_ranges) == 100
    assert difference.byte_ranges[:2] == ((1, 1), (3, 3))


@pytest.mark.slow
def test_annotation_in_pcapng_survives_copying_by_tshark(need, tmp_path):
    difference = FieldDifference("TCP.flags", "ACK", "SYN")
    annotation = Annotation("closest match", decisive=True, differences=(difference,))
    file, copy = tmp_path / "a.pcapng", tmp_path / "copy.pcapng"
    file.write_bytes(recorded([("out", SYN)], annotations={1: annotation}))
    command = [need("tshark"), "-r", str(file)]
    shown = subprocess.run(
        [*command, "-T", "fields", "-e", "frame.comment"], capture_output=True, text=True, check=True
    )
    assert shown.stdout == "closest match; TCP.flags: wanted ACK, got SYN\n"
    subprocess.run([*command, "-w", str(copy)], capture_output=True, check=True)
    (record,) = read_pcapng(copy)
    assert from_recording(record) == annotation


@pytest.mark.parametrize(
    "option",
    [struct.pack("<I", 32473) + b"other:{}", struct.pack("<I", 1) + b'tunlab:{"decisive":true}', b"\1"],
    ids=["other prefix", "other number", "too short"],
)
def test_pcapng_custom_option_of_another_program_is_ignored(option):
    recording = recorded([("out", SYN)], annotations={1: Annotation("x" * 20)})
    own = struct.pack("<I", 32473) + b'tunlab:{"note":"' + b"x" * 20 + b'"}'
    head = struct.pack("<HH", 2988, len(own)) + own
    assert head in recording
    padded = option + bytes(len(own) - len(option))
    (record,) = read_pcapng(recording.replace(head, struct.pack("<HH", 2988, len(own)) + padded))
    assert record.annotation == ""
