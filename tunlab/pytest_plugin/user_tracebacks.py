"""Tracebacks of errors in what the user gives: they end at the user's line, without frames of tunlab."""

from __future__ import annotations

import linecache
import os
from pathlib import Path

import pytest

_PACKAGE = os.path.join(str(Path(__file__).parents[1]), "")  # noqa: PTH118
_STANDARD_LIBRARY = os.path.join(str(Path(os.__file__).parent), "")  # noqa: PTH118
_PYTEST = ("_pytest", "pluggy")


@pytest.hookimpl(specname="pytest_runtest_makereport", tryfirst=True)
def pytest_end_traceback_at_user(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Drop the frames behind the user's last line. `--full-trace` shows them."""
    if call.excinfo is None or item.config.getoption("fulltrace"):
        return
    entries = call.excinfo.traceback
    paths = [str(entry.path) for entry in entries]
    if not paths or not paths[-1].startswith(_PACKAGE) or not _is_usage_error(call.excinfo):
        return
    last = max((at for at, path in enumerate(paths) if not _is_internal(path)), default=-1)
    if last >= 0 and not set(_PYTEST) & set(Path(paths[last]).parts):
        entry = call.excinfo.tb
        for _ in range(last):
            entry = entry.tb_next or entry
        entry.tb_next = None  # pytest reads the traceback again from its first entry.
        call.excinfo.traceback = type(entries)(call.excinfo.tb)


def _is_usage_error(excinfo: pytest.ExceptionInfo[BaseException]) -> bool:
    """Return True for an error that tunlab raises by a statement of its own, not for an error inside tunlab."""
    from tunlab.errors import TunlabError

    if isinstance(excinfo.value, TunlabError):
        return True
    last = excinfo.traceback[-1]
    line = linecache.getline(str(last.path), last.lineno + 1)
    return isinstance(excinfo.value, (TypeError, ValueError)) and line.lstrip().startswith("raise ")


def _is_internal(path: str) -> bool:
    return path.startswith(_PACKAGE) or (path.startswith(_STANDARD_LIBRARY) and "site-packages" not in path)
