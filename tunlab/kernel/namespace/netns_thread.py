"""Short-lived threads that change their namespace and then end, so that no thread ever has to change back.

Source: setns(2) and unshare(2) affect the calling thread only.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from typing import TypeVar

from tunlab.errors import KernelError

T = TypeVar("T")

PROCESS_LIMIT = (
    "this user or container has the maximum number of processes",
    "end some, or raise the limit (ulimit -u, or pids.max of the control group)",
)
"""The reason and the advice if the kernel starts no more processes and threads (EAGAIN of fork(2))."""


def run_in_thread(function: Callable[[], T], *, uninterruptible: bool = False) -> T:
    """Call `function` in a new thread, which may change its namespace; return its result, or raise its exception.

    Args:
        function: The function.
        uninterruptible: Delay an exception that a signal raises in the calling thread (Ctrl-C) until the function
            has returned.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    # _thread.start_new_thread is 20 µs faster, but code that asks for the current thread's name (as logging does) would
    # leave a dummy thread behind.
    thread = threading.Thread(target=run, name="tunlab-netns")
    done = threading.Event()
    if uninterruptible:
        try:
            _start(thread)
            # Until Python 3.13 an interrupted join() marks the running thread as ended, so wait for the event first.
            done.wait()
        except KernelError:  # The thread could not be started.
            raise
        except BaseException:
            done.wait()
            thread.join()
            raise
    else:
        _start(thread)
    thread.join()
    if errors:
        try:
            raise errors[0]
        finally:
            errors.clear()  # Otherwise a reference cycle through the traceback would keep the frames' sockets open.
    return results[0]


def _start(thread: threading.Thread) -> None:
    try:
        thread.start()
    except RuntimeError:
        reason, remedy = PROCESS_LIMIT
        raise KernelError(errno.EAGAIN, "start a thread", reason=reason, remedy=remedy) from None
