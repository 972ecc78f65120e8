"""Arrows of the HTML page's sequence diagram: the column that sent a packet, and the columns that received it."""

from __future__ import annotations

from typing import NamedTuple


class Arrow(NamedTuple):
    """The arrow of a packet in a sequence diagram. Columns and records of the recording are numbered from 0.

    Attributes:
        origin: Column of the sender; -1 if the sender is not recorded.
        targets: Columns of the receivers; empty if the packet was not received.
        received: For each target, the record made there; empty if the packet has only one record.
        forwarded: Records made at switches that forwarded the packet unchanged.
    """

    origin: int
    targets: tuple[int, ...]
    received: tuple[int, ...] = ()
    forwarded: tuple[int, ...] = ()

    @property
    def later_records(self) -> tuple[int, ...]:
        """Numbers of all records of the packet except the first."""
        return tuple(sorted({*self.received, *self.forwarded}))


class Columns(NamedTuple):
    """The sequence diagram of the HTML page: columns and the arrows between them.

    Attributes:
        columns: Title and subtitle of each column.
        arrows: One entry per record of the recording; None if sender and receiver are unknown, or if an earlier
            record of the same packet has the arrow.
    """

    columns: list[tuple[str, str]]
    arrows: list[Arrow | None]
