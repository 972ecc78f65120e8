"""What every test of a lab stands on: a directory of its own for the labs that stay, and nothing left of them."""

from __future__ import annotations

import pytest

from tests.lab.labs import ROUTER
from tunlab.lab import Lab


@pytest.fixture(autouse=True)
def labs_of_its_own(run_directory):
    """Every test here makes its labs below `run_directory`."""


@pytest.fixture
def router():
    """The lab of three nodes in a row, client - router - server, anonymous."""
    with Lab.from_text(ROUTER) as lab:
        yield lab
