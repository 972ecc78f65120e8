"""Real pytest runs, as a user starts them."""

import sys

import pytest


@pytest.fixture
def run(pytester, monkeypatch):
    """A pytest run in a process of its own."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "")
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments, warnings="error"):
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", warnings, *map(str, arguments)]
        return pytester.run(*command, timeout=60)

    return run


@pytest.fixture(params=[(), ("-n", "2")], ids=["serial", "parallel"])
def parallel(request):
    """The options of a serial and of a parallel run."""
    return request.param
