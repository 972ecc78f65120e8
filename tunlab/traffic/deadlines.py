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
from typing import ClassVar

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


class Clock:
    """The clocks of the machine. `VirtualClock` is a clock that a test owns.

    Attributes:
        name: Name of the clock of `time_ns`, as in `Packet.clock`.
    """

    __slots__ = ()
    name: ClassVar[str] = "realtime"

    def monotonic_ns(self) -> int:
        """Return an instant, in nanoseconds, for deadlines."""
        return time.monotonic_ns()

    def time_ns(self) -> int:
        """Return the time, in nanoseconds, for packets."""
        return time.time_ns()

    def margin(self, timeout: float) -> float:
        """Return by how many seconds a timeout is extended when it expires."""
        return margin(timeout)


class VirtualClock(Clock):
    """A clock that starts at 0 and moves only when it is told to.

    Attributes:
        now: The time in nanoseconds.
    """

    __slots__ = ("now",)
    name = "virtual"

    def __init__(self) -> None:
        self.now = 0

    def monotonic_ns(self) -> int:
        """Return `now`."""
        return self.now

    def time_ns(self) -> int:
        """Return `now`."""
        return self.now

    def margin(self, timeout: float) -> float:
        """Return 0.0: nothing is late in virtual time."""
        return 0.0


MACHINE_CLOCK = Clock()


class Deadline:
    """The time at which a wait ends. The wait starts when the object is made.

    Attributes:
        clock: The clock of the deadline.
        instant: The deadline, in nanoseconds of `clock.monotonic_ns`.
        timeout: Seconds from the start, as the caller gave them.
        margin: Seconds by which the timeout was extended; 0 before it first expires.
        started_ns: Start of the wait, in nanoseconds of `clock.time_ns`.
    """

    __slots__ = ("_extended", "_started", "clock", "instant", "margin", "started_ns", "timeout")

    def __init__(self, timeout: float, clock: Clock = MACHINE_CLOCK) -> None:
        self.timeout, self.clock, self.margin, self._extended = timeout, clock, 0.0, timeout <= 0
        self._started, self.started_ns = clock.monotonic_ns(), clock.time_ns()
        self.instant = self._started + _nanoseconds(timeout)

    def remaining(self) -> float:
        """Return the seconds until the deadline; negative after it."""
        return (self.instant - self.clock.monotonic_ns()) / 1e9

    def extend(self) -> bool:
        """Add the margin to the deadline. Return False if an earlier call has added it."""
        if self._extended:
            return False
        self.margin, self._extended = self.clock.margin(self.timeout), True
        self.instant += _nanoseconds(self.margin)
        return True

    @property
    def elapsed(self) -> float:
        """Seconds since the wait started."""
        return (self.clock.monotonic_ns() - self._started) / 1e9

    def grace(self) -> Deadline:
        """Return a new deadline for packets that arrive after this one: the same time again, at most MAX_GRACE."""
        return Deadline(min(self.timeout + self.margin, MAX_GRACE) if self.timeout > 0 else 0.0, self.clock)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1_000_000_000)
