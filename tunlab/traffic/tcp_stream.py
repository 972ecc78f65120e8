"""Sequence numbers of a TCP connection: what has been received, reassembled, and what has been sent.

Numbers are relative to the initial sequence number: SYN has the number 0, the first byte of data 1. They do not wrap.
"""

from __future__ import annotations

from typing import NamedTuple


def unwrap(absolute: int, base: int, near: int) -> int:
    """Return the relative number of an absolute one, of those 2**32 apart the one closest to `near`."""
    return near + (absolute - base - near + 2**31) % 2**32 - 2**31


class Conflict(NamedTuple):
    """A byte that was retransmitted with another value: its sequence number, and both values."""

    number: int
    first: int
    again: int


class ReceivedStream:
    """The data of one direction, put in order by sequence numbers.

    Attributes:
        data: The bytes received without a gap; the first one has the number 1.
        taken: How many of them the test has read.
        synchronized: True after the SYN.
        finished: True after the FIN and all data before it.
        conflict: The first byte whose retransmission differs; None if there is none.
        beyond_window: Number of bytes that were dropped because they were beyond the window.
    """

    def __init__(self) -> None:
        self.data = bytearray()
        self.taken = self.beyond_window = 0
        self.synchronized = self.finished = False
        self.conflict: Conflict | None = None
        self._fin: int | None = None
        self._pending: dict[int, bytes] = {}  # data after a gap, by sequence number; the latest segment is last

    @property
    def next(self) -> int:
        """RCV.NXT: the number that is expected next."""
        return self.synchronized + len(self.data) + self.finished

    def add(self, start: int, data: bytes, *, fin: bool = False, window_end: int | None = None) -> None:
        """Add the data of a segment, in any order. Bytes that are known or from `window_end` on do not count."""
        if window_end is not None and start + len(data) > window_end:
            fits = max(window_end - start, 0)
            self.beyond_window += len(data) - fits
            data, fin = data[:fits], fin and fits == len(data)
        if fin:
            self._fin = start + len(data)
        self._compare(start, data, 1, self.data)
        for number, pending in self._pending.items():
            self._compare(start, data, number, pending)
        if data and not self.finished:
            self._pending[start] = max(self._pending.pop(start, b""), data, key=len)
            self._join()
        if self._fin == 1 + len(self.data):
            self.finished = True

    def _join(self) -> None:
        for number in sorted(self._pending):
            end = 1 + len(self.data)
            if number > end:
                break
            self.data += self._pending.pop(number)[end - number :]

    def _compare(self, start: int, data: bytes, known_start: int, known: bytes | bytearray) -> None:
        low, high = max(start, known_start), min(start + len(data), known_start + len(known))
        if self.conflict is not None or low >= high:
            return
        old, new = known[low - known_start : high - known_start], data[low - start : high - start]
        if old != new:
            at = next(at for at in range(high - low) if old[at] != new[at])
            self.conflict = Conflict(low + at, old[at], new[at])

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """Ranges received behind a gap, as for SACK: the one with the latest segment first (RFC 2018 section 4)."""
        merged: list[list[int]] = []
        for number in sorted(self._pending):
            end = number + len(self._pending[number])
            if merged and number <= merged[-1][1]:
                merged[-1][1] = max(merged[-1][1], end)
            else:
                merged.append([number, end])
        blocks = [(first, end) for first, end in merged]
        order = list(self._pending)
        return sorted(
            blocks, key=lambda block: -max(at for at, number in enumerate(order) if block[0] <= number < block[1])
        )


class SentNumbers:
    """The numbers that have been sent, in any order.

    Attributes:
        next: SND.NXT: the first number that has not been sent. A range sent ahead counts when the gap is filled.
    """

    def __init__(self) -> None:
        self.next = 0
        self._ahead: list[tuple[int, int]] = []

    def add(self, start: int, end: int) -> None:
        """Add the numbers from `start` up to, but not including, `end`."""
        self._ahead = sorted([*self._ahead, (start, end)])
        while self._ahead and self._ahead[0][0] <= self.next:
            self.next = max(self.next, self._ahead.pop(0)[1])
