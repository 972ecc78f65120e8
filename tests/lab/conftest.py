"""Fixtures for tests of labs."""

from __future__ import annotations

import pytest

from tests.lab.labs import ROUTER
from tunlab.lab import Lab


@pytest.fixture(autouse=True)
def labs_of_its_own(run_directory):
    """Keep the labs of these tests below `run_directory`."""


@pytest.fixture
def router():
    """A running lab: client - router - server."""
    with Lab.from_text(ROUTER) as lab:
        yield lab
