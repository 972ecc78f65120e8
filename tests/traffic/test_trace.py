"""Tests of `tun.record`: for each packet the test line that injected it, and how the test used it."""

import sys

import pytest

from tunlab.errors import ExpectationError
from tunlab.packet import ICMP, IPv4
from tunlab.traffic.trace import PacketRecord, TraceEntry, caller_location


def here(offset=0):
    """Return the caller's file name and line number plus `offset`, as "test_trace.py:42"."""
    frame = sys._getframe(1)
    return f"test_trace.py:{frame.f_lineno + offset}"


def echo(tun, number=1):
    return IPv4(src=tun.peer, dst=tun.address), ICMP.echo_request(7, number)


def test_caller_location_is_file_and_line_of_call():
    assert caller_location() == here()


def test_packet_comments_number_the_expectations(tun):
    tun.inject(*echo(tun))
    injected = here(-1)
    tun.expect(ICMP.where(type=0))
    first = here(-1)
    tun.inject(*echo(tun, 2))
    tun.expect(ICMP.where(sequence_number=2))
    second = here(-1)
    assert [each.comment for each in tun.record] == [
        f"injected at {injected}",
        f"matched expectation 1 at {first}",
        f"injected at {here(-6)}",
        f"matched expectation 2 at {second}",
    ]
    assert all(each.consumed for each in tun.record)


def test_packet_comments_distinguish_skipped_captured_read_and_unread(tun):
    for number in range(1, 6):
        tun.inject(*echo(tun, number))
    tun.expect(ICMP.where(sequence_number=2))
    tun.capture(1)
    tun.read()
    replies = [each for each in tun.record if each.direction == "out"]
    assert [each.comment.partition(" at ")[0] for each in replies] == [
        "skipped",
        "matched expectation 1",
        "captured",
        "read",
        "",
    ]
    assert [each.consumed for each in replies] == [False, True, True, True, False]


def test_failed_expect_marks_the_closest_match_in_the_comment_of_the_packet(tun):
    tun.inject(*echo(tun))
    with pytest.raises(ExpectationError):
        tun.expect(ICMP.where(type=3), timeout=0.0)
    skipped = f"skipped at {here(-1)}"
    assert tun.record[-1].comment == f"{skipped}; closest match; ICMP.type: wanted 3, got 0"


def test_comment_of_emitted_packet_names_line_of_emit_and_read(tun):
    tun.inject(*echo(tun))
    tun.emit(b"\x55 not a packet")
    emitted = here(-1)
    tun.expect(ICMP)
    assert tun.read() == b"\x55 not a packet"
    assert tun.record[-1].comment == f"emitted at {emitted}; read at {here(-1)}"


def test_comment_of_packet_from_inject_fixture_names_the_line_in_the_test(tun, inject):
    def send():
        inject(*echo(tun))

    send()
    assert tun.record[0].comment == f"injected at {here(-3)}"


def test_unread_returns_packets_and_leaves_them_for_a_later_expect(tun):
    tun.inject(*echo(tun))
    assert len(tun.record) == 1
    (waiting,) = tun.unread()
    assert (waiting.comment, waiting.consumed, waiting is tun.record[-1]) == ("", False, True)
    assert tun.expect(ICMP) == waiting.packet
    assert tun.unread() == []


def test_packet_from_expect_has_the_time_of_its_record_entry(tun):
    tun.inject(*echo(tun))
    packet = tun.expect(ICMP)
    assert (packet.time, packet.clock) == (tun.record[-1].time_ns, "realtime")


def test_record_drops_oldest_packets_over_64_mib():
    record = PacketRecord()
    for number in range(2000):
        record.append(TraceEntry("out", number, bytes(60_000)))
    assert len(record) == (1 << 26) // 60_000
    assert record[-1].time_ns == 1999
    record.clear()
    record.append(TraceEntry("out", 0, bytes(60_000)))
    assert len(record) == 1


def test_record_drops_oldest_packets_over_100_000(monkeypatch):
    monkeypatch.setattr(PacketRecord, "MAX_PACKETS", 3)
    record = PacketRecord()
    for number in range(5):
        record.append(TraceEntry("out", number, b""))
    assert [entry.time_ns for entry in record] == [2, 3, 4]
