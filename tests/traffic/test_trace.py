"""What the record says of each datagram: where the test was that sent it, and what became of it."""

import sys

import pytest

from tunlab.errors import ExpectationError
from tunlab.packet import ICMP, IPv4
from tunlab.traffic.trace import caller_location


def here(offset=0):
    frame = sys._getframe(1)
    return f"test_trace.py:{frame.f_lineno + offset}"


def echo(tun, number=1):
    return IPv4(src=tun.peer, dst=tun.address), ICMP.echo_request(7, number)


def test_a_place_is_the_line_that_called():
    assert caller_location() == here()


def test_injected_and_matched_with_the_number_of_the_expectation(tun):
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


def test_passed_over_captured_read_and_waiting(tun):
    for number in range(1, 6):
        tun.inject(*echo(tun, number))
    tun.expect(ICMP.where(sequence_number=2))
    tun.capture(1)
    tun.read()
    replies = [each for each in tun.record if each.direction == "out"]
    assert [each.comment.partition(" at ")[0] for each in replies] == [
        "passed over",
        "matched expectation 1",
        "captured",
        "read",
        "",
    ]
    assert [each.consumed for each in replies] == [False, True, True, True, False]


def test_what_a_failed_expectation_saw_is_passed_over(tun):
    tun.inject(*echo(tun))
    with pytest.raises(ExpectationError):
        tun.expect(ICMP.where(type=3), timeout=0.0)
    passed = f"passed over at {here(-1)}"
    assert tun.record[-1].comment == f"{passed}; the nearest to what was wanted; ICMP.type: wanted 3, got 0"


def test_emitted_octets_keep_their_place_where_the_kernel_sends_between(tun):
    tun.inject(*echo(tun))
    tun.emit(b"\x55 no datagram")
    emitted = here(-1)
    tun.expect(ICMP)
    assert tun.read() == b"\x55 no datagram"
    assert tun.record[-1].comment == f"emitted at {emitted}; read at {here(-1)}"


def test_the_fixtures_that_inject_and_a_function_of_the_test_are_places_too(tun, inject):
    def send():
        inject(*echo(tun))

    send()
    assert tun.record[0].comment == f"injected at {here(-3)}"


def test_what_waits_is_in_the_record_once_it_was_looked_at_and_is_read_later_all_the_same(tun):
    tun.inject(*echo(tun))
    assert len(tun.record) == 1
    (waiting,) = tun.unread()
    assert (waiting.comment, waiting.consumed, waiting is tun.record[-1]) == ("", False, True)
    assert tun.expect(ICMP) is waiting.packet
    assert tun.unread() == []
