"""Timeouts: never early, extended by a margin for late wake-ups, and followed by a short wait for late packets."""

import re
import threading
import time

import pytest

from tunlab.errors import ExpectationError
from tunlab.packet import ICMP, TCP, IPv4, build
from tunlab.traffic import deadlines
from tunlab.traffic.deadlines import MAX_GRACE, Deadline, jitter, margin


@pytest.fixture
def later(tun):
    """Return a function `later(seconds, *layers)` that injects a packet after that time."""
    timers = []

    def inject_later(seconds, *layers):
        timer = threading.Timer(seconds, tun.device.write, [build(*layers)])
        timers.append(timer)
        timer.start()

    yield inject_later
    for timer in timers:
        timer.join()


@pytest.fixture
def too_late(tun, monkeypatch):
    """Return a function `too_late(*layers)` that has a packet injected right after the next timeout."""

    def inject_later(*layers, then=(), grace_seconds=60.0):
        def grace(_):
            for each in (layers, *then):
                tun.device.write(build(*each))
            return Deadline(grace_seconds)

        monkeypatch.setattr(Deadline, "grace", grace)

    return inject_later


def echo(tun, number=1):
    return IPv4(src=tun.peer, dst=tun.address), ICMP.echo_request(7, number), b"hello"


def test_jitter_of_wake_ups_is_measured_once():
    jitter.cache_clear()
    before = time.process_time()
    measured = jitter()
    assert time.process_time() - before < 0.005
    assert measured > 0
    assert jitter() == measured
    assert jitter.cache_info().misses == 1


def test_timeout_margin_is_four_times_jitter_and_at_most_100_ms(monkeypatch):
    for measured, wanted in ((0.0, 0.0), (0.001, 0.004), (9.0, 0.1)):
        monkeypatch.setattr(deadlines, "jitter", lambda measured=measured: measured)
        assert margin(1) == pytest.approx(wanted)
        assert margin(0) == 0


def test_deadline_is_extended_once_but_not_with_zero_timeout(monkeypatch):
    for measured in (0.0, 0.005):
        monkeypatch.setattr(deadlines, "jitter", lambda measured=measured: measured)
        deadline = Deadline(10)
        before = deadline.remaining()
        assert deadline.extend()
        assert deadline.margin == 4 * measured
        assert deadline.remaining() > before + deadline.margin - 1
        assert not deadline.extend()
    assert not Deadline(0).extend()


def test_wait_for_late_packets_takes_at_most_250_ms():
    assert Deadline(60).grace().timeout == MAX_GRACE
    assert Deadline(0.01).grace().timeout == 0.01
    assert Deadline(0).grace().timeout == 0


@pytest.mark.parametrize("seconds", [0.001, 0.03])
def test_expect_without_packet_waits_at_least_the_timeout(tun, seconds):
    with pytest.raises(ExpectationError) as caught:
        tun.expect(TCP, timeout=seconds)
    error = caught.value
    assert error.elapsed >= seconds + error.margin
    assert (error.timeout, error.late_by, error.late_packets) == (seconds, None, 0)
    assert str(error).startswith(f"waited {error.elapsed:.3f} s for TCP()\n")
    assert str(error).endswith("no packet arrived")


@pytest.mark.parametrize(("margin", "is_shown"), [(0.002, False), (0.0123, True)])
def test_error_of_expect_shows_timeout_margin_only_if_large(tun, monkeypatch, margin, is_shown):
    monkeypatch.setattr(deadlines, "margin", lambda _: margin)
    with pytest.raises(ExpectationError) as caught:
        tun.expect(TCP, timeout=0.05)
    line = "\n(timeout 50 ms, plus 12.3 ms for scheduling delays)\n"
    assert (line in str(caught.value)) == is_shown


def test_expect_with_zero_timeout_does_not_wait(tun):
    tun.inject(*echo(tun))
    assert tun.expect(ICMP, timeout=0)
    with pytest.raises(ExpectationError, match=r"^waited \d+\.\d+ s for ICMP\(\)\nno packet arrived$"):
        tun.expect(ICMP, timeout=0)


def test_expect_returns_packet_that_arrives_within_margin_after_timeout(tun, later, monkeypatch):
    monkeypatch.setattr(deadlines, "margin", lambda _: 60.0)
    later(0.03, *echo(tun))
    assert tun.expect(ICMP, timeout=0.001)


def test_capture_without_count_ends_at_timeout_without_margin(tun, monkeypatch):
    monkeypatch.setattr(deadlines, "margin", lambda _: pytest.fail("the margin is not needed here"))
    assert tun.capture(timeout=0.001) == []


class TestLatePacket:
    """Packets that arrive after the timeout and its margin."""

    @pytest.fixture(autouse=True)
    def margin(self, monkeypatch):
        monkeypatch.setattr(deadlines, "margin", lambda _: 0.001)

    def test_error_of_expect_tells_how_late_a_match_after_timeout_was(self, tun, too_late):
        too_late(*echo(tun))
        with pytest.raises(ExpectationError) as caught:
            tun.expect(ICMP.where(type=0), timeout=0.05)
        error = caught.value
        assert error.late_by > 0
        text = str(error)
        assert f"\na matching packet arrived {error.late_by * 1000:.3g} ms after the timeout of 50 ms. " in text
        assert "Raise the timeout or find the delay." in text
        assert error.seen == ()

    def test_match_after_timeout_of_expect_stays_unread(self, tun, too_late):
        too_late(*echo(tun))
        with pytest.raises(ExpectationError, match="a matching packet arrived"):
            tun.expect(ICMP, timeout=0.02)
        assert tun.expect(ICMP, timeout=0)

    def test_match_after_timeout_of_expect_is_noted_in_record_and_timeouts(self, tun, too_late):
        too_late(*echo(tun))
        with pytest.raises(ExpectationError, match="a matching packet arrived"):
            tun.expect(ICMP, timeout=0.02)
        assert re.fullmatch(
            r"matches, but arrived \S+ ms after test_deadlines.py:\d+ timed out", tun.record[-1].comment
        )
        assert not tun.record[-1].consumed
        ((ended_ns, text),) = tun.timeouts
        assert re.fullmatch(r"test_deadlines.py:\d+ waited \S+ ms for ICMP\(\)", text)
        assert ended_ns < tun.record[-1].time_ns

    def test_matches_after_timeout_of_expect_all_are_all_marked(self, tun, too_late):
        too_late(*echo(tun, 1), then=[echo(tun, 7), echo(tun, 2)])
        with pytest.raises(ExpectationError, match="a matching packet arrived"):
            tun.expect_all([ICMP.where(sequence_number=1), ICMP.where(sequence_number=2)], timeout=0.02)
        assert [each.comment[:20] for each in tun.record if each.direction == "out"] == [
            "matches, but arrived", "", "matches, but arrived",
        ]  # fmt: skip

    def test_error_of_expect_all_reports_a_match_after_timeout(self, tun, too_late):
        tun.inject(*echo(tun, 1))
        too_late(*echo(tun, 2))
        with pytest.raises(ExpectationError, match="a matching packet arrived") as caught:
            tun.expect_all([ICMP.where(sequence_number=1), ICMP.where(sequence_number=2)], timeout=0.02)
        assert "1 arrived, 1 did not" in str(caught.value)

    def test_errors_of_read_and_capture_report_a_packet_after_timeout(self, tun, too_late):
        too_late(*echo(tun))
        with pytest.raises(ExpectationError, match=r"waited .* for any packet.*\n.*a matching packet arrived"):
            tun.read(timeout=0.02)
        tun.capture()
        too_late(*echo(tun))
        with pytest.raises(ExpectationError, match=r"waited .* for 1 packet\n.*a matching packet arrived"):
            tun.capture(1, timeout=0.02)


def test_error_of_expect_counts_other_packets_after_timeout(tun, too_late):
    too_late(*echo(tun), grace_seconds=0.5)
    with pytest.raises(ExpectationError) as caught:
        tun.expect(TCP, timeout=0.01)
    assert (caught.value.late_by, caught.value.late_packets) == (None, 1)
    assert "no packet arrived\n1 more packet arrived after the timeout, without a match" in str(caught.value)


@pytest.mark.parametrize(
    "wait",
    [
        lambda tun, time: tun.expect(timeout=time), lambda tun, time: tun.expect_all([], timeout=time),
        lambda tun, time: tun.expect_none(timeout=time), lambda tun, time: tun.expect_silence(timeout=time),
        lambda tun, time: tun.fence(settle=time), lambda tun, time: tun.capture(timeout=time),
        lambda tun, time: tun.read(timeout=time),
    ],
)  # fmt: skip
def test_tun_methods_with_invalid_timeout_raise(tun, wait):
    for wrong in (-1, float("nan"), float("inf"), -float("inf")):
        with pytest.raises(ValueError, match=r"=-?(1|nan|inf) is not a finite time\. Give 0 or more seconds"):
            wait(tun, wrong)
    for wrong in ("1", True, b"1"):
        with pytest.raises(TypeError, match=r"is not a number\. Give seconds, as "):
            wait(tun, wrong)
