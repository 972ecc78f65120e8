"""Strict tests: a test fails at its end if it did not expect, capture or read every packet."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

from tunlab.pytest_plugin.fixture_errors import fail_without_traceback

if TYPE_CHECKING:
    from tunlab.traffic.endpoint import Endpoint

_strict_tuns = pytest.StashKey[list["Endpoint"]]()


def enable_strict(item: pytest.Item, tun: Endpoint) -> None:
    """Make the test strict: it fails if it did not expect, capture or read every packet from this endpoint."""
    item.stash.setdefault(_strict_tuns, []).append(tun)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Check strict tests in the call phase, so that pytest reports a failed test and not a teardown error."""
    __tracebackhide__ = True
    result = yield
    for tun in item.stash.get(_strict_tuns, ()):
        if unmatched := tun.unmatched():
            from tunlab.traffic.failure_text import strict_error

            error = strict_error(unmatched, tun.name)
            fail_without_traceback(f"{type(error).__name__}: {error}")
    return result
