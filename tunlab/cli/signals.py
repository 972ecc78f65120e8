"""SIGINT and SIGTERM as a descriptor for poll(2), for commands that clean up before they end."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Self


class SignalPipe:
    """A context manager with a pipe that becomes readable on SIGINT or SIGTERM. The signals interrupt nothing else.

    Attributes:
        number: The last signal received, or None.
    """

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
        """Return the descriptor for poll(2)."""
        return self._read

    def drain(self) -> int:
        """Empty the readable pipe, and return the number of the last signal."""
        return os.read(self._read, 4096)[-1]
