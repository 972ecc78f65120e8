"""Ctrl-C and SIGTERM as something that poll(2) sees, for a command that they end in good order."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Self


class SignalPipe:
    """While entered, SIGINT and SIGTERM interrupt nothing: they make `fileno` readable, and `number` tells which."""

    number: int | None = None

    def __enter__(self) -> Self:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wakeup = signal.set_wakeup_fd(self._write)
        self._before = {each: signal.signal(each, self._note) for each in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._read)
        os.close(self._write)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.number = number

    def fileno(self) -> int:
        """For poll(2)."""
        return self._read
