"""What every test of a lab stands on: a directory of its own for the labs that stay, and nothing left of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.labs import ROUTER
from tunlab.lab import Lab


@pytest.fixture(autouse=True)
def run_directory(tmp_path, monkeypatch):
    """Where this test's labs are; all are taken down after it, and nothing may be left."""
    directory = tmp_path / "run"
    monkeypatch.setenv("TUNLAB_RUN", str(directory))
    monkeypatch.delenv("TUNLAB_LAB", raising=False)
    yield directory
    for lab in Lab.all():
        lab.down()
    assert str(directory) not in Path("/proc/self/mounts").read_text()
    assert not directory.exists() or not list(directory.iterdir())


@pytest.fixture
def router():
    """The lab of three nodes in a row, client - router - server, anonymous."""
    with Lab.from_text(ROUTER) as lab:
        yield lab
