"""A progress line on the terminal, for commands that take more than a moment."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

_DELAY, _INTERVAL = 0.4, 0.1  # seconds until the progress line is first shown, and between its updates
_ERASE = "\r\x1b[K"  # ECMA-48: go to the first column, erase to the end of the line


class Progress:
    """A context manager that shows `text()` in one line of standard error, repeatedly, if that is a terminal."""

    def __init__(self, text: Callable[[], str]) -> None:
        self._text = text
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
        while not self._done.wait(_INTERVAL if shown else _DELAY):
            sys.stderr.write(_ERASE + self._text())
            sys.stderr.flush()
            shown = True
        if shown:
            sys.stderr.write(_ERASE)
            sys.stderr.flush()
