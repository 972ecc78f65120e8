"""Assignment of packets to expectations, in any order (as many as possible) and in a given order."""

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from tunlab.traffic.assignment import Assignment

offers = st.integers(1, 5).flatmap(
    lambda count: st.tuples(st.just(count), st.lists(st.sets(st.integers(0, count - 1)), max_size=6))
)


def max_matching(count, choices):
    """Return how many expectations the best assignment meets, found by trying every assignment."""
    padded = [*range(len(choices)), *[None] * count]
    return max(
        sum(packet is not None and number in choices[packet] for number, packet in enumerate(arrangement))
        for arrangement in set(permutations(padded, count))
    )


@given(offers)
def test_assignment_in_any_order_meets_as_many_expectations_as_possible(offer):
    count, choices = offer
    assignment = Assignment(count)
    for each in choices:
        assignment.offer(each)
    assigned = [packet for packet in assignment.packets if packet is not None]
    assert len(assigned) == len(set(assigned)) == max_matching(count, choices)
    assert all(packet is None or number in choices[packet] for number, packet in enumerate(assignment.packets))
    assert assignment.complete == (len(assigned) == count)


@given(offers)
def test_assignment_in_given_order_meets_the_longest_prefix_of_expectations(offer):
    count, choices = offer
    assignment = Assignment(count, ordered=True)
    for each in choices:
        assignment.offer(each)
    assigned = [packet for packet in assignment.packets if packet is not None]
    assert assigned == sorted(set(assigned)) == assignment.packets[: len(assigned)]
    longest, at = 0, 0
    for each in choices:  # The first match is the best one: it leaves the most packets for later expectations.
        if at < count and at in each:
            at += 1
    longest = at
    assert len(assigned) == longest
    free = Assignment(count)
    for each in choices:
        free.offer(each)
    assert assignment.in_any_order().complete == free.complete


def test_assignment_moves_a_packet_that_matches_two_expectations_to_the_other_one():
    assignment = Assignment(2)
    assert assignment.offer([0, 1])
    assert assignment.packets == [0, None]
    assert assignment.offer([0])
    assert assignment.packets == [1, 0]
    assert not assignment.offer([0, 1])


def test_assignment_without_expectations_is_complete():
    assert Assignment(0).complete
    assert not Assignment(0, ordered=True).offer([])
