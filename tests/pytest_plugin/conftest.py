"""Fixtures that run pytest in a subprocess, as a user would."""

import sys

import pytest


@pytest.fixture
def run(pytester, monkeypatch):
    """Return a function that runs pytest in a subprocess. The command in `prefix`, such as sudo, starts pytest."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "")
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments, warnings="error", prefix=()):
        command = [
            *prefix,
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-W",
            warnings,
            *map(str, arguments),
        ]
        return pytester.run(*command, timeout=60)

    return run


@pytest.fixture(params=[(), ("-n", "2")], ids=["serial", "parallel"])
def parallel(request):
    """Return pytest options: none for a serial run, `-n 2` for a parallel run."""
    return request.param
