"""Fixtures for tests of labs."""

from __future__ import annotations

import pytest

from tests.lab.labs import DEFAULT, ROUTER
from tunlab.lab import Lab, PersistentLab


@pytest.fixture(autouse=True)
def use_run_directory(run_directory):
    """Create the persistent labs of these tests below `run_directory`."""


@pytest.fixture
def router():
    """Yield a running lab: client - router - server."""
    with Lab.from_text(ROUTER) as lab:
        yield lab


@pytest.fixture
def persistent_lab():
    """Create the default lab as a persistent lab, and return it."""
    return PersistentLab.up(DEFAULT)
