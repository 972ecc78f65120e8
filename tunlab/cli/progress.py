"""A line on the terminal that says how far a lab has come, while it takes more than a moment."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

_A_MOMENT, _BETWEEN = 0.4, 0.1
_ERASE = "\r\x1b[K"  # ECMA-48: back to the first column, and erase to the end of the line


class Progress:
    """While entered, and after a moment, `say()` in one line of standard error, again and again; a terminal's only."""

    def __init__(self, say: Callable[[], str]) -> None:
        self._say = say
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._thread = threading.Thread(target=self._show, name="tunlab-progress", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()

    def _show(self) -> None:
        shown = False
        while not self._done.wait(_BETWEEN if shown else _A_MOMENT):
            sys.stderr.write(_ERASE + self._say())
            sys.stderr.flush()
            shown = True
        if shown:
            sys.stderr.write(_ERASE)
            sys.stderr.flush()
