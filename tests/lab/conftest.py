"""Fixtures for tests of labs."""

from __future__ import annotations

import pytest

from tests.lab.labs import DEFAULT, ROUTER
from tunlab.lab import Lab, PersistentLab


@pytest.fixture(autouse=True)
def use_run_directory(run_directory):
    """Keep the persistent labs of these tests below `run_directory`."""


@pytest.fixture
def router():
    """Return a running lab: client - router - server."""
    with Lab.from_text(ROUTER) as lab:
        yield lab


@pytest.fixture
def persistent_lab():
    """Return the default lab, brought up as a persistent lab."""
    return PersistentLab.up(DEFAULT)
