"""Arrows of the ladder on the page: the column that sent a packet, and the columns that received it."""

from __future__ import annotations

from typing import NamedTuple


class Arrow(NamedTuple):
    """The arrow of a packet. Columns and records are numbered from 0.

    Attributes:
        origin: Column of the sender; -1 if it is not recorded.
        targets: Columns of the receivers; empty if the packet was not received.
        received: For each target the record of its receipt; empty if the packet has only one record.
        forwarded: Records at switches that forwarded the packet unchanged.
    """

    origin: int
    targets: tuple[int, ...]
    received: tuple[int, ...] = ()
    forwarded: tuple[int, ...] = ()

    @property
    def later_records(self) -> tuple[int, ...]:
        """All records of the packet but the first."""
        return tuple(sorted({*self.received, *self.forwarded}))


class Columns(NamedTuple):
    """The ladder on the page.

    Attributes:
        columns: Title and subtitle of each column.
        arrows: One entry per record; None if sender and receiver are unknown, or if an earlier record of the same
            packet has the arrow.
    """

    columns: list[tuple[str, str]]
    arrows: list[Arrow | None]
