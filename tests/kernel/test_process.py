import signal
import threading

import pytest

from tunlab.kernel.process import defer_signals


@pytest.fixture
def came():
    """The signals that reached who was there before; its handlers are put back."""
    seen = []
    before = {
        each: signal.signal(each, lambda number, _: seen.append(number)) for each in (signal.SIGINT, signal.SIGTERM)
    }
    yield seen
    for each, handler in before.items():
        signal.signal(each, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_waits_for_the_end_of_the_block(came, number):
    with defer_signals():
        signal.raise_signal(number)
        assert came == []
    assert came == [number]
    signal.raise_signal(number)
    assert came == [number, number]


def test_a_second_one_comes_at_once_and_each_comes_once(came):
    with defer_signals():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert sorted(came) == [signal.SIGINT, signal.SIGTERM]
    assert sorted(came) == [signal.SIGINT, signal.SIGTERM]


def test_what_it_raises_is_raised_and_an_error_of_the_block_is_its_context():
    def fail():
        with defer_signals():
            signal.raise_signal(signal.SIGINT)
            raise ValueError("of the block")

    with pytest.raises(KeyboardInterrupt) as interrupt:
        fail()
    assert isinstance(interrupt.value.__context__, ValueError)


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with defer_signals():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_it_holds_nothing_back(came):
    def work():
        with defer_signals():
            entered.append(signal.getsignal(signal.SIGINT))

    entered = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert entered == [signal.getsignal(signal.SIGINT)]
