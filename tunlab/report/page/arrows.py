"""A packet's arrow of the ladder: which column it left, and which columns it came to."""

from __future__ import annotations

from typing import NamedTuple


class Arrow(NamedTuple):
    """Columns and records by their number, from 0.

    origin    the column that it left; -1: it came from nowhere that is recorded
    targets   the columns that it came to, none where nobody has received it
    received  for each target the record of its coming; empty where that is the one record that there is
    passed    its records at those that passed it on as it was: the switches
    """

    origin: int
    targets: tuple[int, ...]
    received: tuple[int, ...] = ()
    passed: tuple[int, ...] = ()

    @property
    def again(self) -> tuple[int, ...]:
        """The records of the same packet after its first."""
        return tuple(sorted({*self.received, *self.passed}))


class Columns(NamedTuple):
    """`columns`: a title and what is said below it; `arrows`: for each record its arrow.

    None: it is not known between whom it went, or it is the same packet once more and stands in an earlier one's arrow.
    """

    columns: list[tuple[str, str]]
    arrows: list[Arrow | None]
