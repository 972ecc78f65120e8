"""Windows: never shorter than asked for, longer by what this machine needs, and watched on for what comes too late."""

import re
import threading
import time

import pytest

from tunlab.errors import ExpectationError
from tunlab.packet import ICMP, TCP, IPv4, build
from tunlab.traffic import deadlines
from tunlab.traffic.deadlines import LONGEST_GRACE, Deadline, jitter, margin


@pytest.fixture
def later(tun):
    """`later(seconds, octets)`: they come out of the TUN after that time."""
    timers = []

    def put(seconds, *layers):
        timer = threading.Timer(seconds, tun.device.write, [build(*layers)])
        timers.append(timer)
        timer.start()

    yield put
    for timer in timers:
        timer.join()


@pytest.fixture
def too_late(tun, monkeypatch):
    """`too_late(octets)`: they come out of the TUN when the next deadline is over, and the look behind it begins."""

    def put(*layers, and_then=(), watched=60.0):
        def grace(_):
            for each in (layers, *and_then):
                tun.device.write(build(*each))
            return Deadline(watched)

        monkeypatch.setattr(Deadline, "grace", grace)

    return put


def echo(tun, number=1):
    return IPv4(src=tun.peer, dst=tun.address), ICMP.echo_request(7, number), b"hello"


def test_jitter_is_measured_once_and_cheaply():
    jitter.cache_clear()
    before = time.process_time()
    measured = jitter()
    assert time.process_time() - before < 0.005
    assert measured > 0
    assert jitter() == measured
    assert jitter.cache_info().misses == 1


def test_the_margin_is_four_times_the_jitter_and_bounded(monkeypatch):
    for measured, wanted in ((0.0, 0.0), (0.001, 0.004), (9.0, 0.1)):
        monkeypatch.setattr(deadlines, "jitter", lambda measured=measured: measured)
        assert margin(1) == pytest.approx(wanted)
        assert margin(0) == 0


def test_a_window_is_widened_once_and_one_of_no_length_never(monkeypatch):
    for measured in (0.0, 0.005):
        monkeypatch.setattr(deadlines, "jitter", lambda measured=measured: measured)
        deadline = Deadline(10)
        before = deadline.remaining()
        assert deadline.extend()
        assert deadline.margin == 4 * measured
        assert deadline.remaining() > before + deadline.margin - 1
        assert not deadline.extend()
    assert not Deadline(0).extend()


def test_watching_on_is_bounded():
    assert Deadline(60).grace().timeout == LONGEST_GRACE
    assert Deadline(0.01).grace().timeout == 0.01
    assert Deadline(0).grace().timeout == 0


@pytest.mark.parametrize("seconds", [0.001, 0.03])
def test_a_window_that_runs_out_was_as_long_as_asked_for_at_least(tun, seconds):
    with pytest.raises(ExpectationError) as caught:
        tun.expect(TCP, timeout=seconds)
    error = caught.value
    assert error.elapsed >= seconds + error.margin
    assert (error.timeout, error.late_by, error.late_packets) == (seconds, None, 0)
    assert str(error).startswith(f"waited {error.elapsed:.3f} s for TCP()\n")
    assert str(error).endswith("no packet arrived")


@pytest.mark.parametrize(("margin", "said"), [(0.002, False), (0.0123, True)])
def test_a_margin_that_matters_beside_the_window_is_told(tun, monkeypatch, margin, said):
    monkeypatch.setattr(deadlines, "margin", lambda _: margin)
    with pytest.raises(ExpectationError) as caught:
        tun.expect(TCP, timeout=0.05)
    line = "\n(timeout 50 ms, plus 12.3 ms for scheduling delays)\n"
    assert (line in str(caught.value)) == said


def test_a_window_of_no_length_takes_what_is_there_and_waits_for_nothing(tun):
    tun.inject(*echo(tun))
    assert tun.expect(ICMP, timeout=0)
    with pytest.raises(ExpectationError, match=r"^waited \d+\.\d+ s for ICMP\(\)\nno packet arrived$"):
        tun.expect(ICMP, timeout=0)


def test_a_packet_within_the_margin_is_in_time(tun, later, monkeypatch):
    monkeypatch.setattr(deadlines, "margin", lambda _: 60.0)
    later(0.03, *echo(tun))
    assert tun.expect(ICMP, timeout=0.001)


def test_a_capture_of_all_that_comes_waits_as_long_as_it_was_told_to(tun, monkeypatch):
    monkeypatch.setattr(deadlines, "margin", lambda _: pytest.fail("no deadline is missed here"))
    assert tun.capture(timeout=0.001) == []


class TestTooLate:
    """The margin is small, and what comes after the timeout is watched for."""

    @pytest.fixture(autouse=True)
    def margin(self, monkeypatch):
        monkeypatch.setattr(deadlines, "margin", lambda _: 0.001)

    def test_is_said_to_be_time_and_not_behaviour_and_fails_all_the_same(self, tun, too_late):
        too_late(*echo(tun))
        with pytest.raises(ExpectationError) as caught:
            tun.expect(ICMP.where(type=0), timeout=0.05)
        error = caught.value
        assert error.late_by > 0
        text = str(error)
        assert f"\na matching packet arrived {error.late_by * 1000:.3g} ms after the timeout of 50 ms; " in text
        assert "raise the timeout or find the delay" in text
        assert error.seen == ()

    def test_it_stays_unread(self, tun, too_late):
        too_late(*echo(tun))
        with pytest.raises(ExpectationError, match="a matching packet arrived"):
            tun.expect(ICMP, timeout=0.02)
        assert tun.expect(ICMP, timeout=0)

    def test_the_record_says_so_and_when_it_was_given_up(self, tun, too_late):
        too_late(*echo(tun))
        with pytest.raises(ExpectationError, match="a matching packet arrived"):
            tun.expect(ICMP, timeout=0.02)
        assert re.fullmatch(
            r"as wanted, but too late; \S+ ms after test_deadlines.py:\d+ gave up", tun.record[-1].comment
        )
        assert not tun.record[-1].consumed
        ((ended_ns, text),) = tun.timeouts
        assert re.fullmatch(r"test_deadlines.py:\d+ waited \S+ ms for ICMP\(\)", text)
        assert ended_ns < tun.record[-1].time_ns

    def test_of_several_each_that_was_lacking(self, tun, too_late):
        too_late(*echo(tun, 1), and_then=[echo(tun, 7), echo(tun, 2)])
        with pytest.raises(ExpectationError, match="a matching packet arrived"):
            tun.expect_all([ICMP.where(sequence_number=1), ICMP.where(sequence_number=2)], timeout=0.02)
        assert [each.comment.partition(";")[0] for each in tun.record if each.direction == "out"] == [
            "as wanted, but too late", "", "as wanted, but too late",
        ]  # fmt: skip

    def test_several(self, tun, too_late):
        tun.inject(*echo(tun, 1))
        too_late(*echo(tun, 2))
        with pytest.raises(ExpectationError, match="a matching packet arrived") as caught:
            tun.expect_all([ICMP.where(sequence_number=1), ICMP.where(sequence_number=2)], timeout=0.02)
        assert "1 came, 1 did not" in str(caught.value)

    def test_reading_and_capturing(self, tun, too_late):
        too_late(*echo(tun))
        with pytest.raises(ExpectationError, match=r"waited .* for any datagram.*\n.*a matching packet arrived"):
            tun.read(timeout=0.02)
        tun.capture()
        too_late(*echo(tun))
        with pytest.raises(ExpectationError, match=r"waited .* for 1 packet\n.*a matching packet arrived"):
            tun.capture(1, timeout=0.02)


def test_other_packet_after_the_timeout_is_counted_as_late(tun, too_late):
    too_late(*echo(tun), watched=0.5)
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
def test_a_time_that_cannot_be_waited_for_is_refused_in_a_sentence(tun, wait):
    for wrong in (-1, float("nan"), float("inf"), -float("inf")):
        with pytest.raises(ValueError, match=r"=-?(1|nan|inf) cannot be waited for; give seconds, from 0 on"):
            wait(tun, wrong)
    for wrong in ("1", True, b"1"):
        with pytest.raises(TypeError, match="is no number; give seconds, as "):
            wait(tun, wrong)
