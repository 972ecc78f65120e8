"""Strict tests: a packet that nobody expected, captured or read fails the test, when its body has ended well.

A packet that `expect` passed over is one that nobody expected. A test that fails by itself fails by that alone.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tunlab.traffic import Tun

_tuns = pytest.StashKey[list["Tun"]]()


def enable_strict(node: pytest.Item, tun: Tun) -> None:
    """Let the test fail by what comes out of this Tun unexpected."""
    node.stash.setdefault(_tuns, []).append(tun)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """As a part of the call, so that it is the test that fails, and not its teardown."""
    result = yield
    for tun in item.stash.get(_tuns, ()):
        if unmatched := tun.unmatched():
            from tunlab.traffic.failure_text import strict_error

            # No traceback: the test ended well, and no line of it is to blame.
            error = strict_error(unmatched, tun.ifname)
            raise pytest.fail.Exception(f"{type(error).__name__}: {error}", pytrace=False)
    return result
