"""Ctrl-C and SIGTERM held back for as long as being interrupted would lose what cannot be had again.

Source: signal(7); Python runs handlers in the main thread only.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def held() -> Iterator[None]:
    """Hold back the first SIGINT or SIGTERM until the end of the block; a second one is not held back.

    In a thread that is not the main one there is nothing to hold back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        came.append(number)
        if len(came) > 1:
            let_go()

    def let_go() -> None:
        for each, handler in before.items():
            signal.signal(each, handler)
        while came:
            signal.raise_signal(came.pop())

    before = {each: signal.signal(each, note) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        let_go()
