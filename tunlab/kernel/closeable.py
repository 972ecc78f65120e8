"""The base class of everything that must be closed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Closeable(ABC):
    """An open resource. Call `close`, or use it in a `with` block."""

    __slots__ = ()

    @abstractmethod
    def close(self) -> None:
        """Release the resource. May be called again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
