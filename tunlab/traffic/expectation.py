"""Expectations: conditions that a packet must meet, and the differences of a packet that does not meet them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from msgspec import Struct

from tunlab.errors import PacketError
from tunlab.packet import ARP, Difference, Header, ICMPv6, Match, Matcher, NDMessage, Packet
from tunlab.packet.match import ABSENT
from tunlab.packet.transport.mld import MLDMessage
from tunlab.traffic.function_names import function_name

Expectation: TypeAlias = Match | type[Header] | Matcher | Callable[[Packet], object]
"""A condition on a packet: `TCP.where(…)`, a header class, a `Matcher`, or a function that returns a true value."""


class CombinedExpectation(Struct, frozen=True):
    """Several expectations that one packet must meet: `match` is checked first, then the matchers and functions."""

    match: Match
    tests: tuple[Matcher | Callable[[Packet], object], ...]

    @classmethod
    def of(cls, wanted: tuple[Expectation, ...]) -> CombinedExpectation:
        """Combine expectations. Raises TypeError for a value that is not an expectation."""
        match, tests = Match(()), list[Matcher | Callable[[Packet], object]]()
        for each in wanted:
            if isinstance(each, Match):
                match &= each
            elif isinstance(each, type) and issubclass(each, Header):
                match &= each.where()
            elif isinstance(each, Header):
                raise TypeError(
                    f"{type(each).__name__}(…) is a header, not a condition. Expect {type(each).__name__}.where(…)."
                )
            elif callable(each) or hasattr(each, "difference"):
                tests.append(each)
            else:
                raise TypeError(
                    f"{each!r} is not an expectation. Give TCP.where(…), a header class or a function of a packet."
                )
        return cls(match, tuple(tests))

    @property
    def names_routine(self) -> bool:
        """True if it names what routine packets are: ARP, a message of ND or MLD, or a type of ICMPv6."""
        return any(
            issubclass(layer, (ARP, NDMessage, MLDMessage)) or (layer is ICMPv6 and "type" in dict(wanted))
            for layer, wanted in self.match.conditions
        )

    def difference(self, packet: Packet) -> list[Difference]:
        """Return the fields that differ; if none does, those of the first matcher or function that objects.

        A function that raises PacketError, for example because the packet lacks a header, counts as false.
        """
        rows = self.match.difference(packet)
        if not rows:
            for test in self.tests:
                if not callable(test):
                    if rows := test.difference(packet):
                        return rows
                    continue
                try:
                    if test(packet):
                        continue
                    got = "a packet for which it returns false"
                except PacketError as error:
                    got = f"a packet for which it raises PacketError: {error}"
                return [Difference("packet", test, got)]
        return rows

    def may_match(self, packet: Packet) -> bool:
        """Return True if the packet meets every expectation, or a header of it that could not be read may do so."""
        if self.matches(packet):
            return True
        unread = packet.unread_header
        if unread is None:
            return False
        may_be = all(_may_meet(packet, unread, condition) for condition in self.match.conditions)
        return may_be and not any(_excludes(test, packet, unread) for test in self.tests)

    def matches(self, packet: Packet) -> bool:
        """Return True if the packet meets every expectation."""
        return not self.difference(packet)

    def __str__(self) -> str:
        names = [self.match.text(function_name)] if self.match.conditions else []
        names += [function_name(test) if callable(test) else str(test) for test in self.tests]
        return " & ".join(names) or "any packet"


def _may_meet(
    packet: Packet, unread: type[Header], condition: tuple[type[Header], tuple[tuple[str, object], ...]]
) -> bool:
    """Return True if a header meets the condition, or may do so: `unread`, or one that `unread` may carry."""
    layer, _ = condition
    rows = Match((condition,)).difference(packet)
    last = packet.headers[-1] if packet.headers else None
    if last is not None and last.IS_LAST and isinstance(last, layer):  # `last` has the first fields of `unread`
        names = [row.field.partition(".")[2] for row in rows]
        return not any(name in last.__struct_fields__ or last.VIEWS.get(name) for name in names)
    return not rows or not unread.IS_LAST or issubclass(unread, layer) or issubclass(layer, unread)


def _excludes(test: Matcher | Callable[[Packet], object], packet: Packet, unread: type[Header]) -> bool:
    """Return True if the test fails, and not because of a header that could not be read."""
    if not callable(test):
        hidden = [each.__name__ for each in unread.__mro__]
        rows = test.difference(packet) if packet.headers else []
        return not all(row.wanted is ABSENT and (not unread.IS_LAST or row.field in hidden) for row in rows)
    try:
        return not test(packet)
    except PacketError:  # the function reads a header that the packet does not have
        return False
