"""A thread with a mount namespace of its own, so that what is mounted there is nowhere else, and goes with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from benchmarks.measure import BenchmarkError
from tunlab.kernel import libc

T = TypeVar("T")


@contextmanager
def private_run() -> Iterator[Callable[[Callable[[], T]], T]]:
    """Gives what calls a function in that thread, and raises what it raises. /run is empty there, and is nobody else's.

    `ip netns add` and `tunlab up` mount below /run; the programs that the function starts see it as the thread does.
    Raises BenchmarkError without CAP_SYS_ADMIN.
    """
    with ThreadPoolExecutor(1) as thread:
        try:
            thread.submit(_leave).result()
        except OSError as error:
            raise BenchmarkError(f"a private /run cannot be mounted ({error.strerror}): run as root") from None
        yield lambda function: thread.submit(function).result()


def _leave() -> None:
    libc.unshare(libc.CLONE_NEWNS)
    libc.mount("none", "/", "", libc.MS_REC | libc.MS_PRIVATE)
    libc.mount("none", "/run", "tmpfs", 0)
