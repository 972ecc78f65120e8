"""A thread with a mount namespace of its own."""

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
    """Yield a function that calls another in a thread with a private, empty /run, and raises its exceptions.

    `ip netns add` and `tunlab up` mount below /run. Programs that the function starts see the thread's /run.
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
