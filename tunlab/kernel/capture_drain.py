"""What wants a moment now and then while packets pass: whoever makes some, or waits for some, gives it.

There is no thread that would look by itself: a recorder's buffer fills while nobody looks, and one that is relieved in
time loses nothing.
"""

from __future__ import annotations

from typing import Protocol


class Drainable(Protocol):
    """Something that fills up."""

    def drain(self, *, expect_many: bool = False) -> None:
        """Make room where there is little, or less than half where much is to come; costs next to nothing elsewhere."""


_FILLING: dict[int, Drainable] = {}  # by their ids, for they need not be hashable


def register(filling: Drainable) -> None:
    """Relieve it from now on."""
    _FILLING[id(filling)] = filling


def unregister(filling: Drainable) -> None:
    """Relieve it no more. May be repeated."""
    _FILLING.pop(id(filling), None)


def drain_all(*, expect_many: bool = False) -> None:
    """Relieve what there is: before packets are waited for, and between many of them.

    much   a program is about to be started, and nobody can look again before it has ended
    """
    for filling in tuple(_FILLING.values()):
        filling.drain(expect_many=expect_many)
