"""Assignment of arriving packets to the expectations of `Tun.expect_all`, in a given order or in any order.

Each packet is assigned to at most one expectation. If any order is allowed, the assignment is a maximum matching in a
bipartite graph (augmenting paths, Kuhn 1955): a new packet may take the expectation of an earlier packet if the earlier
packet also matches another one.
"""

from __future__ import annotations

from collections.abc import Collection


class Assignment:
    """An assignment of packets to expectations that grows as packets arrive. A met expectation stays met.

    Attributes:
        packets: For each expectation, the number of its packet (0 is the first to arrive), or None.
    """

    def __init__(self, expectations: int, *, ordered: bool = False) -> None:
        self.packets: list[int | None] = [None] * expectations
        self._ordered = ordered
        self._choices: list[Collection[int]] = []

    def offer(self, choices: Collection[int]) -> bool:
        """Add the next packet, which matches the expectations numbered in `choices`. Return True if it is assigned."""
        self._choices.append(choices)
        packet = len(self._choices) - 1
        if self._ordered:  # The first match is the best one: it leaves the most packets for later expectations.
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
        """Return a new assignment of the same packets that allows any order."""
        unordered = Assignment(len(self.packets))
        for choices in self._choices:
            unordered.offer(choices)
        return unordered
