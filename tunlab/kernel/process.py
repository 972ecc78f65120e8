"""Processes and signals of this machine: when a process started, its ancestors, signals deferred for a block.

Source: proc_pid_stat(5), signal(7).
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType


def process_start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None if no such process runs.

    A pid alone may be reused; a pid with its start time identifies one process for good.
    """
    fields = _stat(pid)
    return None if fields is None or fields[0] in "ZX" else int(fields[19])


def ancestors() -> list[int]:
    """Return the id of this process, of its parent, and so on up to process 1."""
    pids, pid = list[int](), os.getpid()
    while pid:
        pids.append(pid)
        fields = _stat(pid)
        pid = 0 if fields is None else int(fields[1])
    return pids


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the third (the state) on."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:  # The process has ended, or proc is mounted with hidepid.
        return None
    # The second field is the program's name in parentheses. The name may contain any character, so split at the last
    # parenthesis.
    return text.rpartition(")")[2].split()


@contextmanager
def defer_signals() -> Iterator[None]:
    """Defer the first SIGINT or SIGTERM until the end of the block; a second one is delivered at once.

    Python runs signal handlers in the main thread only, so in any other thread this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pending: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        pending.append(number)
        if len(pending) > 1:
            deliver()

    def deliver() -> None:
        for each, handler in before.items():
            signal.signal(each, handler)
        while pending:
            signal.raise_signal(pending.pop())

    before = {each: signal.signal(each, note) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        deliver()
