"""A cache of values that are computed from a few bits of a header, as DSCP and ECN from one byte."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Cache(dict[K, V]):
    """A dictionary that computes the value of a missing key. It is emptied when it has `LIMIT` keys.

    Looking up a key takes half as long as a call of a function with `functools.lru_cache`.
    """

    __slots__ = ("_compute",)

    LIMIT = 1024

    def __init__(self, compute: Callable[[K], V]) -> None:
        super().__init__()
        self._compute = compute

    def __missing__(self, key: K) -> V:
        if len(self) >= self.LIMIT:
            self.clear()
        value = self[key] = self._compute(key)
        return value
