"""Which packet meets which expectation: each packet at most one, each expectation one, in an order or in any.

In any order it is a matching in a bipartite graph, grown by augmenting paths (Kuhn 1955): a packet that could meet two
expectations gives way to one that could meet only the first.
"""

from __future__ import annotations

from collections.abc import Collection


class Assignment:
    """Packets are offered as they come; an expectation that has one keeps one.

    holders   for each expectation the packet that meets it, by the number of its offer from 0, or None
    """

    def __init__(self, expectations: int, *, ordered: bool = False) -> None:
        self.holders: list[int | None] = [None] * expectations
        self._ordered = ordered
        self._choices: list[Collection[int]] = []

    def offer(self, choices: Collection[int]) -> bool:
        """One more packet, with the expectations it could meet; whether it now meets one."""
        self._choices.append(choices)
        packet = len(self._choices) - 1
        if self._ordered:  # the earliest that fits leaves the most to those after it
            upcoming = self.holders.index(None) if None in self.holders else -1
            if upcoming not in choices:
                return False
            self.holders[upcoming] = packet
            return True
        return self._place(packet, set())

    def _place(self, packet: int, tried: set[int]) -> bool:
        for expectation in self._choices[packet]:
            if expectation in tried:
                continue
            tried.add(expectation)
            holder = self.holders[expectation]
            if holder is None or self._place(holder, tried):
                self.holders[expectation] = packet
                return True
        return False

    @property
    def complete(self) -> bool:
        """Whether every expectation has its packet."""
        return None not in self.holders

    def in_any_order(self) -> Assignment:
        """The same offers with the order left aside."""
        free = Assignment(len(self.holders))
        for choices in self._choices:
            free.offer(choices)
        return free
