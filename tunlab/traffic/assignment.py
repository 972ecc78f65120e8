"""Assignment of packets to the expectations of `expect_all`, in a given order or in any order.

Each packet is assigned to at most one expectation. Without an order this is a maximum matching in a bipartite graph,
grown by augmenting paths (Kuhn 1955): a new packet may take an expectation from an earlier packet if that one matches
another expectation too.
"""

from __future__ import annotations

from collections.abc import Collection


class Assignment:
    """Packets assigned to expectations as they arrive. An expectation that has a packet never becomes free again.

    Attributes:
        packets: For each expectation the number of its packet, from 0 in arrival order; None if it has none.
    """

    def __init__(self, expectations: int, *, ordered: bool = False) -> None:
        self.packets: list[int | None] = [None] * expectations
        self._ordered = ordered
        self._choices: list[Collection[int]] = []

    def offer(self, choices: Collection[int]) -> bool:
        """Add a packet that matches the expectations with the indexes `choices`. Return True if it is assigned."""
        self._choices.append(choices)
        packet = len(self._choices) - 1
        if self._ordered:  # taking the first match leaves the most packets for later expectations
            expected = self.packets.index(None) if None in self.packets else -1
            if expected not in choices:
                return False
            self.packets[expected] = packet
            return True
        return self._assign(packet, set())

    def _assign(self, packet: int, tried: set[int]) -> bool:
        for expectation in self._choices[packet]:
            if expectation in tried:
                continue
            tried.add(expectation)
            current = self.packets[expectation]
            if current is None or self._assign(current, tried):
                self.packets[expectation] = packet
                return True
        return False

    @property
    def complete(self) -> bool:
        """True if every expectation has a packet."""
        return None not in self.packets

    def in_any_order(self) -> Assignment:
        """Return the assignment of the same packets without an order."""
        unordered = Assignment(len(self.packets))
        for choices in self._choices:
            unordered.offer(choices)
        return unordered
