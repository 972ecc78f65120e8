"""What a packet is held against, and why the ones that came were not it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from msgspec import Struct

from tunlab.packet import Header, Match, Packet, summary
from tunlab.packet.match import nearest
from tunlab.traffic.crossing import Crossing

Expectation: TypeAlias = Match | type[Header] | Callable[[Packet], object]
"""What a packet is held against: `TCP.where(…)`, a header class alone, or a function that is true of it."""


class Expected(Struct, frozen=True):
    """Expectations that must all hold: the conditions on fields joined, the functions beside them."""

    match: Match
    tests: tuple[Callable[[Packet], object], ...]

    @classmethod
    def of(cls, wanted: tuple[Expectation, ...]) -> Expected:
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

    def met_by(self, packet: Packet) -> bool:
        """Whether nothing differs and every function is true of it."""
        return not self.match.difference(packet) and all(test(packet) for test in self.tests)

    def explain(self, seen: list[Crossing]) -> list[str]:
        """Each datagram that came, the nearest first, with what differs."""
        came = [crossing.packet for crossing in seen if crossing.packet is not None]
        texts = [
            "\n".join([summary(came[index]), *(f"  {row}" for row in differences)])
            for index, differences in nearest(self.match, came)
        ]
        return texts + [str(crossing) for crossing in seen if crossing.packet is None]

    def __str__(self) -> str:
        names = [str(self.match)] if self.match.conditions else []
        names += [getattr(test, "__name__", repr(test)) for test in self.tests]
        return " & ".join(names) or "any packet"
