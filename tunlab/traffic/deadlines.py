"""How long to wait on a machine that wakes late: windows, extended by the lateness that was measured on it.

A process that sleeps until an instant runs some time after it: timer slack (prctl(2), PR_SET_TIMERSLACK) and, on a busy
machine, whoever has the processor. A packet that comes so late is in time; so a deadline is

    seconds + margin,    margin = min(4 × jitter, 0.1 s),    0 for a deadline of no length

where jitter is the worst lateness of three waits of a millisecond by poll(2), measured once in a process and only when
a deadline first runs out: one that ends by its packet never pays. No deadline is ever shorter than was asked for.
"""

from __future__ import annotations

import math
import select
import time
from functools import cache

_WAITS, _MILLISECONDS = 3, 1
_TIMES, _LARGEST_MARGIN = 4, 0.1
LONGEST_GRACE = 0.25
"""Seconds that a deadline which ran out is watched on, at most, for what was wanted: a miss by time alone."""


@cache
def jitter() -> float:
    """Seconds by which this machine wakes late, the worst of a few; takes some four milliseconds, once."""
    poll = select.poll()
    worst = 0.0
    for _ in range(_WAITS):
        started = time.monotonic()
        poll.poll(_MILLISECONDS)
        worst = max(worst, time.monotonic() - started - _MILLISECONDS / 1000)
    return worst


def margin(seconds: float) -> float:
    """By how much a deadline of so many seconds is extended."""
    return min(_TIMES * jitter(), _LARGEST_MARGIN) if seconds > 0 else 0.0


def check_timeout(name: str, value: object) -> float:
    """The value of the argument `name`, a time to wait; raises TypeError or ValueError for what is none."""
    __tracebackhide__ = True
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}={value!r} is no number; give seconds, as {name}=0.5")
    if not 0 <= value < math.inf:
        raise ValueError(f"{name}={value!r} cannot be waited for; give seconds, from 0 on")
    return value


class Deadline:
    """A time to wait, from now on.

    timeout      seconds, as asked for
    margin       seconds by which it was extended so far; 0 until it first ran out
    started_ns   when it began, nanoseconds since the epoch
    """

    __slots__ = ("_deadline", "_extended", "_started", "margin", "started_ns", "timeout")

    def __init__(self, timeout: float) -> None:
        self.timeout, self.margin, self._extended = timeout, 0.0, timeout <= 0
        self._started, self.started_ns = time.monotonic(), time.time_ns()
        self._deadline = self._started + timeout

    def remaining(self) -> float:
        """Seconds to its end, negative after it."""
        return self._deadline - time.monotonic()

    def extend(self) -> bool:
        """Put the margin on, once; whether that was left to do."""
        if self._extended:
            return False
        self.margin, self._extended = margin(self.timeout), True
        self._deadline += self.margin
        return True

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._started

    def grace(self) -> Deadline:
        """What to watch on for after it: as long again, at most LONGEST_GRACE."""
        return Deadline(min(self.timeout + self.margin, LONGEST_GRACE) if self.timeout > 0 else 0.0)
