"""Tests of the program of a worker's container, run without a container."""

import json
import signal
import subprocess
import sys
from importlib import resources

import pytest

from tunlab.engines.workers.worker_boot import HELLO

TIMEOUT = 60  # seconds to wait for the worker


@pytest.fixture
def worker():
    """A worker_boot process that has printed its first line and waits for input."""
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


def test_busy_worker_is_killed_when_its_stdin_closes(worker):
    worker.stdin.write(repr("print('busy', flush=True); import signal; signal.pause()") + "\n")
    worker.stdin.flush()
    assert worker.stdout.readline() == "busy\n"
    worker.stdin.close()
    assert worker.wait(TIMEOUT) == -signal.SIGKILL


def test_idle_worker_exits_0_when_its_stdin_closes(worker):
    worker.stdin.close()
    assert worker.wait(TIMEOUT) == 0
