"""Strict tests: a packet that no expectation matched and nothing read fails the test after its body has passed."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

from tunlab.pytest_plugin.fixture_errors import fail_without_traceback

if TYPE_CHECKING:
    from tunlab.traffic import Tun

_strict_tuns = pytest.StashKey[list["Tun"]]()


def enable_strict(item: pytest.Item, tun: Tun) -> None:
    """Fail the test if it ends without having read or expected every packet of this Tun."""
    item.stash.setdefault(_strict_tuns, []).append(tun)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Check after the test's body and within the call phase, so that the test fails, not its teardown."""
    __tracebackhide__ = True
    result = yield
    for tun in item.stash.get(_strict_tuns, ()):
        if unmatched := tun.unmatched():
            from tunlab.traffic.failure_text import strict_error

            error = strict_error(unmatched, tun.ifname)
            fail_without_traceback(f"{type(error).__name__}: {error}")  # no line of the test is at fault
    return result
