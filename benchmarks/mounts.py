"""A thread in its own mount namespace, so that no other process sees its mounts."""

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
    """Yield a function that calls its argument in a thread with a private, empty /run.

    Benchmarks need this because `ip netns add` and `tunlab up` mount below /run.

    Raises:
        BenchmarkError: CAP_SYS_ADMIN is missing.
    """
    with ThreadPoolExecutor(1) as thread:
        try:
            thread.submit(_enter_mount_namespace).result()
        except OSError as error:
            raise BenchmarkError(f"cannot mount a private /run ({error.strerror}); run as root") from None
        yield lambda function: thread.submit(function).result()


def _enter_mount_namespace() -> None:
    libc.unshare(libc.CLONE_NEWNS)
    libc.mount("none", "/", "", libc.MS_REC | libc.MS_PRIVATE)
    libc.mount("none", "/run", "tmpfs", 0)
