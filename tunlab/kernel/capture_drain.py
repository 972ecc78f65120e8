"""The registry of captures whose kernel buffer must be drained while packets are sent or awaited.

No thread watches the buffers. Code that sends packets, waits for them or starts a program calls `drain_all`.
"""

from __future__ import annotations

from typing import Protocol


class Drainable(Protocol):
    """An object with a kernel buffer that fills while packets pass, such as a packet capture."""

    def drain(self, *, expect_many: bool = False) -> None:
        """Read the buffer out if it is nearly full; with `expect_many`, if less than half of it is free."""


_DRAINABLES: dict[int, Drainable] = {}  # The keys are id()s, because the objects need not be hashable.


def register(drainable: Drainable) -> None:
    """Have `drain_all` drain this object."""
    _DRAINABLES[id(drainable)] = drainable


def unregister(drainable: Drainable) -> None:
    """Undo `register`. May be called again."""
    _DRAINABLES.pop(id(drainable), None)


def drain_all(*, expect_many: bool = False) -> None:
    """Drain every registered object. Call this before waiting for packets, and between sending many.

    Args:
        expect_many: True if a program is about to start, because its packets cannot be drained before it ends.
    """
    for drainable in tuple(_DRAINABLES.values()):
        drainable.drain(expect_many=expect_many)
