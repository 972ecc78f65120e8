"""Throw-away threads: the only ones that ever change their namespaces, so that nobody has to find the way back.

Source: setns(2) and unshare(2), which change the calling thread alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def run_in_thread(function: Callable[[], T], *, uninterruptible: bool = False) -> T:
    """Call `function` in a thread of its own, which may change namespaces; returns what it returns, raises likewise.

    uninterruptible   a signal's exception (Ctrl-C) in the calling thread is held back until the function is through
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as error:
            errors.append(error)
        finally:
            through.set()

    # Not _thread.start_new_thread, which is 20 µs faster: a function that asks for the current thread's name (logging
    # does) would leave a dummy thread behind for ever.
    thread = threading.Thread(target=run, name="tunlab-netns")
    through = threading.Event()
    if uninterruptible:
        try:
            thread.start()
            # Not by join(): interrupted, that takes the thread for ended while it runs (until Python 3.13).
            through.wait()
        except RuntimeError:  # no thread could be started
            raise
        except BaseException:
            through.wait()
            thread.join()
            raise
    else:
        thread.start()
    thread.join()
    if errors:
        try:
            raise errors[0]
        finally:
            errors.clear()  # else error, traceback, frame and list hold each other, and the sockets of the frames
    return results[0]
