"""The program of a worker's container, run as the container runs it, but here."""

import json
import signal
import subprocess
import sys
from importlib import resources

import pytest

from tunlab.engines.workers.worker_boot import HELLO

LIMIT = 60  # seconds; a bound for what hangs, not a measure


@pytest.fixture
def worker():
    """It has said hello, and waits for its first line."""
    text = resources.files("tunlab.engines.workers").joinpath("worker_boot.py").read_text(encoding="utf-8")
    command = [sys.executable, "-u", "-c", text]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            assert line.startswith(HELLO)
            assert json.loads(line.removeprefix(HELLO))["versions"]["pytest"] == pytest.__version__
            yield process
        finally:
            process.kill()


def test_it_ends_with_its_input_whatever_it_is_doing(worker):
    worker.stdin.write(repr("print('busy', flush=True); import signal; signal.pause()") + "\n")
    worker.stdin.flush()
    assert worker.stdout.readline() == "busy\n"
    worker.stdin.close()
    assert worker.wait(LIMIT) == -signal.SIGKILL


def test_one_that_is_never_claimed_ends_as_well(worker):
    worker.stdin.close()
    assert worker.wait(LIMIT) == 0
