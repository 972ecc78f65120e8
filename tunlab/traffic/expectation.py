"""What a packet is held against, and in what it differs from that."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from msgspec import Struct

from tunlab.errors import PacketError
from tunlab.packet import Difference, Header, Match, Packet
from tunlab.traffic.function_names import function_name

Expectation: TypeAlias = Match | type[Header] | Callable[[Packet], object]
"""What a packet is held against: `TCP.where(…)`, a header class alone, or a function that is true of it."""


class CombinedExpectation(Struct, frozen=True):
    """Expectations that must all hold: the conditions on fields joined, the functions beside them."""

    match: Match
    tests: tuple[Callable[[Packet], object], ...]

    @classmethod
    def of(cls, wanted: tuple[Expectation, ...]) -> CombinedExpectation:
        """Raises TypeError for what is no expectation."""
        match, tests = Match(()), list[Callable[[Packet], object]]()
        for each in wanted:
            if isinstance(each, Match):
                match &= each
            elif isinstance(each, type) and issubclass(each, Header):
                match &= each.where()
            elif isinstance(each, Header):
                raise TypeError(f"{type(each).__name__}(…) is a whole header; expect {type(each).__name__}.where(…)")
            elif callable(each):
                tests.append(each)
            else:
                raise TypeError(
                    f"{each!r} is no expectation; give TCP.where(…), a header class or a function of a packet"
                )
        return cls(match, tuple(tests))

    def difference(self, packet: Packet) -> list[Difference]:
        """The fields that differ, or where none does the first function that is not true; empty for a match.

        A function that asks for a header the packet has not is not true of it.
        """
        rows = self.match.difference(packet)
        if not rows:
            for test in self.tests:
                try:
                    if test(packet):
                        continue
                    got = "one of which it is not true"
                except PacketError as error:
                    got = f"one that does not have it: {error}"
                return [Difference("packet", test, got)]
        return rows

    def matches(self, packet: Packet) -> bool:
        """Whether nothing differs and every function is true of it."""
        return not self.difference(packet)

    def __str__(self) -> str:
        names = [self.match.text(function_name)] if self.match.conditions else []
        names += [function_name(test) for test in self.tests]
        return " & ".join(names) or "any packet"
