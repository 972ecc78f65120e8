"""Timeouts with a margin for a machine that wakes processes late.

A process that sleeps until a deadline wakes some time after it, because of timer slack (prctl(2), PR_SET_TIMERSLACK)
and, on a busy machine, because other processes use the CPU. A packet that arrives during that delay counts as in time.
A timeout is therefore extended once, when it first expires:

    timeout + margin,    margin = min(4 × jitter, 0.1 s),    0 for a timeout of 0

Jitter is the largest delay of three 1 ms waits by poll(2). It is measured once per process, after the first timeout, so
that successful waits do not take longer. No wait is shorter than the timeout.
"""

from __future__ import annotations

import math
import select
import time
from functools import cache

_SAMPLES, _SAMPLE_MS = 3, 1
_JITTER_FACTOR, _MAX_MARGIN = 4, 0.1
MAX_GRACE = 0.25
"""Longest wait for a late packet after a timeout, in seconds."""


@cache
def jitter() -> float:
    """Return by how many seconds this machine wakes a process late. The first call measures it, in about 4 ms."""
    poll = select.poll()
    worst = 0.0
    for _ in range(_SAMPLES):
        started = time.monotonic()
        poll.poll(_SAMPLE_MS)
        worst = max(worst, time.monotonic() - started - _SAMPLE_MS / 1000)
    return worst


def margin(timeout: float) -> float:
    """Return by how many seconds a timeout is extended when it expires."""
    return min(_JITTER_FACTOR * jitter(), _MAX_MARGIN) if timeout > 0 else 0.0


def check_timeout(name: str, value: object) -> float:
    """Return `value` if it is a valid number of seconds. `name` is the name of the argument, for the error.

    Raises:
        TypeError: The value is not a number.
        ValueError: The value is negative, infinite or NaN.
    """
    __tracebackhide__ = True
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}={value!r} is not a number. Give seconds, as `{name}=0.5`.")
    if not 0 <= value < math.inf:
        raise ValueError(f"{name}={value!r} is not a finite time. Give 0 or more seconds.")
    return value


class Deadline:
    """The time at which a wait ends. The wait starts when the object is made.

    Attributes:
        timeout: Seconds from the start, as the caller gave them.
        margin: Seconds by which the timeout was extended; 0 before it first expires.
        started_ns: Start of the wait, in nanoseconds since the epoch.
    """

    __slots__ = ("_deadline", "_extended", "_started", "margin", "started_ns", "timeout")

    def __init__(self, timeout: float) -> None:
        self.timeout, self.margin, self._extended = timeout, 0.0, timeout <= 0
        self._started, self.started_ns = time.monotonic(), time.time_ns()
        self._deadline = self._started + timeout

    def remaining(self) -> float:
        """Return the seconds until the deadline; negative after it."""
        return self._deadline - time.monotonic()

    def extend(self) -> bool:
        """Add the margin to the deadline. Return False if an earlier call has added it."""
        if self._extended:
            return False
        self.margin, self._extended = margin(self.timeout), True
        self._deadline += self.margin
        return True

    @property
    def elapsed(self) -> float:
        """Seconds since the wait started."""
        return time.monotonic() - self._started

    def grace(self) -> Deadline:
        """Return a new deadline for packets that arrive after this one: the same time again, at most MAX_GRACE."""
        return Deadline(min(self.timeout + self.margin, MAX_GRACE) if self.timeout > 0 else 0.0)
