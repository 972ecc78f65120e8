"""A port on a network stack that is a Python object without I/O, in virtual time.

The object has three methods. It owns no clock, no socket and no thread, so that a test of ten minutes takes
milliseconds, needs no privileges and runs the same each time.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import ParamSpec, Protocol, TypeVar

from tunlab.errors import DeviceError
from tunlab.traffic.deadlines import VirtualClock
from tunlab.traffic.ports.port import TimedBytes

P = ParamSpec("P")
T = TypeVar("T")

CALL_LIMIT = 10.0
"""Seconds of real time after which a call of the object is interrupted."""
_MAX_POLLS = 10_000  # maximum number of calls of `poll` while virtual time stands still


class Stack(Protocol):
    """A network stack without I/O. Times are nanoseconds of a monotonic clock that starts at 0.

    After each `receive`, each call of its application, and when `next_deadline` is due, `poll` is called.
    """

    def receive(self, data: bytes, now: int) -> None:
        """Process a packet that arrives."""

    def poll(self, now: int) -> list[bytes]:
        """Return the packets to send now, and run the timers that are due."""

    def next_deadline(self) -> int | None:
        """Return when `poll` is to be called at the latest; None if no timer runs."""


class ObjectPort:
    """A port on a `Stack`. Waiting moves its virtual clock to the next deadline of the stack."""

    netns = None

    def __init__(self, stack: Stack, name: str, link_type: int | None = None) -> None:
        self.name, self.link_type, self.clock, self.closed = name, link_type, VirtualClock(), False
        self._stack = stack
        self._arrived: list[TimedBytes] = []
        self._polls = 0

    def write(self, data: bytes) -> None:
        """Hand a packet to the stack, and poll it."""
        self._polls = 0
        self.call(self._stack.receive, data, self.clock.now)
        self.poll()

    def read(self) -> list[TimedBytes]:
        """Return the packets that the stack has sent up to now."""
        while (deadline := self._next_deadline()) is not None and deadline <= self.clock.now:
            self.poll()
        arrived, self._arrived = self._arrived, []
        return arrived

    def wait(self, deadline: int) -> bool:
        """Move the clock from one deadline of the stack to the next until it sends a packet, at most to `deadline`."""
        while not self._arrived:
            due = self._next_deadline()
            if due is None or due > deadline:
                self._move(deadline)
                return False
            self._move(due)
            self.poll()
        return True

    def poll(self) -> None:
        """Poll the stack, as after a call of its application. Raises DeviceError if it breaks its interface's rules."""
        self._polls += 1
        sent = self.call(self._stack.poll, self.clock.now)
        if not isinstance(sent, list) or not all(isinstance(each, bytes) for each in sent):
            raise self._error(f"returned {sent!r:.80} from poll()", "return a list of bytes, one item per packet")
        if self._polls > _MAX_POLLS:
            problem = f"is busy: after {_MAX_POLLS:,} calls of poll(), the time is still {self.clock.now} ns"
            raise self._error(problem, "return a later time from next_deadline() once poll() has done what is due")
        self._arrived += [TimedBytes(self.clock.now, each) for each in sent]

    def close(self) -> None:
        """Drop the packets that were not read."""
        self.closed = True
        self._arrived.clear()

    def _next_deadline(self) -> int | None:
        deadline = self.call(self._stack.next_deadline)
        if deadline is not None and (isinstance(deadline, bool) or not isinstance(deadline, int)):
            remedy = "return nanoseconds as an int, or None if no timer runs"
            raise self._error(f"returned {deadline!r:.80} from next_deadline()", remedy)
        return deadline

    def _move(self, instant: int) -> None:
        if instant > self.clock.now:
            self.clock.now, self._polls = instant, 0

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the stack; raise DeviceError in the middle of the call if it takes longer than CALL_LIMIT."""
        # Signals interrupt only the main thread. A timeout plugin of pytest that has set the timer interrupts the call.
        if threading.current_thread() is not threading.main_thread() or signal.getitimer(signal.ITIMER_REAL)[0]:
            return function(*args, **kwargs)

        def interrupt(_: int, __: FrameType | None) -> None:
            problem = f"hangs: its {function.__name__}() did not return within {CALL_LIMIT:g} s"
            raise self._error(problem, "the traceback ends where it was interrupted")

        previous = signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, CALL_LIMIT)
        try:
            return function(*args, **kwargs)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)

    def _error(self, problem: str, remedy: str) -> DeviceError:
        return DeviceError(self.name, problem, remedy=remedy)
