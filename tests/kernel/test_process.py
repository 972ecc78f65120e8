"""Signals that are deferred until the end of a block."""

import signal
import threading

import pytest

from tunlab.kernel.process import defer_signals


@pytest.fixture
def received():
    """Record SIGINT and SIGTERM in a list instead of handling them."""
    received = []
    before = {
        each: signal.signal(each, lambda number, _: received.append(number)) for each in (signal.SIGINT, signal.SIGTERM)
    }
    yield received
    for each, handler in before.items():
        signal.signal(each, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_defer_signals_delays_first_signal_until_end_of_block(received, number):
    with defer_signals():
        signal.raise_signal(number)
        assert received == []
    assert received == [number]
    signal.raise_signal(number)
    assert received == [number, number]


def test_second_signal_in_defer_signals_block_delivers_both_once(received):
    with defer_signals():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert sorted(received) == [signal.SIGINT, signal.SIGTERM]
    assert sorted(received) == [signal.SIGINT, signal.SIGTERM]


def test_exception_of_deferred_signal_handler_has_error_of_block_as_context():
    def fail():
        with defer_signals():
            signal.raise_signal(signal.SIGINT)
            raise ValueError("of the block")

    with pytest.raises(KeyboardInterrupt) as interrupt:
        fail()
    assert isinstance(interrupt.value.__context__, ValueError)


def test_ignored_signal_stays_ignored_after_defer_signals():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with defer_signals():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_defer_signals_in_other_thread_does_nothing(received):
    def work():
        with defer_signals():
            entered.append(signal.getsignal(signal.SIGINT))

    entered = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert entered == [signal.getsignal(signal.SIGINT)]
