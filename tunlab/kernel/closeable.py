"""What is held until it is closed: a context manager over `close`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Closeable(ABC):
    """Something open: close it, or use it in a `with` block, which does so at its end."""

    __slots__ = ()

    @abstractmethod
    def close(self) -> None:
        """Let go of it. May be repeated."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
