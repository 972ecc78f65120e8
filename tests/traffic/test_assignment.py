"""Packets to expectations: as many as can be met at once are, in whatever order the packets come."""

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from tunlab.traffic.assignment import Assignment

offers = st.integers(1, 5).flatmap(
    lambda count: st.tuples(st.just(count), st.lists(st.sets(st.integers(0, count - 1)), max_size=6))
)


def most(count, choices):
    """The most expectations that can be met, by trying every way."""
    padded = [*range(len(choices)), *[None] * count]
    return max(
        sum(packet is not None and number in choices[packet] for number, packet in enumerate(way))
        for way in set(permutations(padded, count))
    )


@given(offers)
def test_as_many_as_can_be_are_met_each_by_a_packet_of_its_own_that_meets_it(offer):
    count, choices = offer
    assignment = Assignment(count)
    for each in choices:
        assignment.offer(each)
    held = [packet for packet in assignment.holders if packet is not None]
    assert len(held) == len(set(held)) == most(count, choices)
    assert all(packet is None or number in choices[packet] for number, packet in enumerate(assignment.holders))
    assert assignment.complete == (len(held) == count)


@given(offers)
def test_in_order_the_packets_of_the_expectations_come_one_after_another(offer):
    count, choices = offer
    assignment = Assignment(count, ordered=True)
    for each in choices:
        assignment.offer(each)
    held = [packet for packet in assignment.holders if packet is not None]
    assert held == sorted(set(held)) == assignment.holders[: len(held)]
    longest, at = 0, 0
    for each in choices:  # the earliest that fits is never worse
        if at < count and at in each:
            at += 1
    longest = at
    assert len(held) == longest
    free = Assignment(count)
    for each in choices:
        free.offer(each)
    assert assignment.in_any_order().complete == free.complete


def test_who_could_meet_two_gives_way_to_who_can_meet_one():
    assignment = Assignment(2)
    assert assignment.offer([0, 1])
    assert assignment.holders == [0, None]
    assert assignment.offer([0])
    assert assignment.holders == [1, 0]
    assert not assignment.offer([0, 1])


def test_of_nothing_all_is_met():
    assert Assignment(0).complete
    assert not Assignment(0, ordered=True).offer([])
