"""Sequence numbers of a connection: reassembly, gaps, wrap."""

import random

from tunlab.traffic.tcp_stream import Conflict, ReceivedStream, SentNumbers, unwrap


def synchronized():
    stream = ReceivedStream()
    stream.synchronized = True
    return stream


def test_unwrap_returns_the_number_closest_to_the_expected_one():
    assert unwrap(5, 5, 0) == 0
    assert unwrap(4, 5, 0) == -1
    assert unwrap(2, 2**32 - 3, 0) == 5
    assert unwrap(2, 2**32 - 3, 2**32) == 2**32 + 5


def test_stream_joins_any_order_of_overlapping_segments():
    data = bytes(range(200))
    for seed in range(50):
        random_order = random.Random(seed)
        segments = [(start, data[start : start + random_order.randint(5, 30)]) for start in range(0, 200, 5)]
        random_order.shuffle(segments)
        stream = synchronized()
        for start, segment in segments:
            stream.add(1 + start, segment)
        assert (bytes(stream.data), stream.next, stream.blocks, stream.conflict) == (data, 201, [], None)


def test_fin_is_received_only_after_the_data_before_it():
    stream = synchronized()
    stream.add(6, b"", fin=True)
    assert (stream.next, stream.finished) == (1, False)
    stream.add(1, b"hello")
    assert (stream.next, stream.finished) == (7, True)


def test_data_after_fin_is_dropped():
    stream = synchronized()
    stream.add(1, b"hello", fin=True)
    stream.add(6, b"more")
    assert (bytes(stream.data), stream.next) == (b"hello", 7)


def test_conflicting_data_after_a_gap_is_found():
    stream = synchronized()
    stream.add(10, b"abc")
    stream.add(9, b"xaYc")
    assert stream.conflict == Conflict(11, ord("b"), ord("Y"))


def test_sack_blocks_are_joined_and_begin_with_the_latest():
    stream = synchronized()
    for start in (20, 10, 15, 40):
        stream.add(start, b"12345")
    assert stream.blocks == [(40, 45), (10, 25)]
    stream.add(12, b"345123451234")
    assert stream.blocks[0] == (10, 25)


def test_numbers_sent_ahead_count_as_sent_when_the_gap_is_filled():
    sent = SentNumbers()
    sent.add(5, 9)
    sent.add(0, 3)
    assert sent.next == 3
    sent.add(3, 5)
    assert sent.next == 9
