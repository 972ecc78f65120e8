"""The life of a program at the other side of a port: a port waits for packets, and for the end of the program."""

from __future__ import annotations

import select
import time
from typing import Protocol

READ_LIMIT = 1000
"""Packets per `Port.read`: a device that sends without pause must not keep a test from seeing its deadline."""


class Life(Protocol):
    """A program that may end."""

    def fileno(self) -> int:
        """Return a descriptor that is readable when the program has ended (pidfd_open(2))."""

    def check(self) -> None:
        """Raise DeviceError if the program has ended."""

    def wait_for_end(self, timeout: float) -> None:
        """Wait until the program has ended, and then raise DeviceError. Do nothing if it still runs at the timeout."""

    def last_lines(self) -> str:
        """Return the end of the program's output."""


def wait_for_packet(poll: select.poll, life: Life | None, deadline: int) -> bool:
    """Wait for a packet until a monotonic instant, in nanoseconds. Return False if there is none.

    Args:
        poll: The descriptors of the port and of `life`.
        life: The program at the other side.
        deadline: The instant.

    Raises DeviceError if the program has ended and no packet of it is left.
    """
    events = poll.poll(max(0, deadline - time.monotonic_ns()) / 1e6)
    if life is not None and events and all(descriptor == life.fileno() for descriptor, _ in events):
        life.check()
    return bool(events)
