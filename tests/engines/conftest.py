"""What every test with a Docker Engine stands on: the engine of DOCKER_HOST, a project, and that nothing is left."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engines.ssh_server import SSHServer
from tunlab.engines.connection.endpoint import endpoint
from tunlab.engines.connection.engine import Engine
from tunlab.engines.containers import cleanup, container_labels
from tunlab.engines.images.suite_image import base_image, ensure_suite_image

ROOT = Path(__file__).parents[2]
LIMIT = 60
"""Seconds within which everything has to end, a machine with other work included."""


@pytest.fixture
def image():
    """An image with Python that the engine has or can get."""
    return base_image() or "python:3.13-slim-bookworm"


@pytest.fixture(scope="session")
def suite_image(engine_specs, tmp_path_factory):
    """tunlab's own image, once for all of this run's workers: what a test then waits for builds none of its own."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with (shared / "suite-image").open("w") as file, Engine.connect() as engine:
        fcntl.flock(file, fcntl.LOCK_EX)
        return ensure_suite_image(engine)


@pytest.fixture
def run_of(engine):
    """A run's name; nothing of it is left after the test."""
    run = container_labels.new_run_id()
    yield run
    left = cleanup.remove_run_containers(engine, run)
    assert left == []


@pytest.fixture
def ssh_server(engine, need, tmp_path):
    """The engine behind an sshd; whoever has its environment gets there by its spec."""
    directory = tmp_path / "ssh"
    directory.mkdir()
    target = endpoint(engine.name).socket
    assert target is not None, "these tests need an engine of this machine"
    server = SSHServer(directory, target, sshd=need("sshd"), ssh=need("ssh"), keygen=need("ssh-keygen"))
    yield server
    server.close()


@pytest.fixture
def project(tmp_path):
    """`project(test_x="…")`: a project of these files; its directory."""

    def make(**files: str) -> Path:
        directory = tmp_path / "project"
        directory.mkdir(exist_ok=True)
        (directory / "pytest.ini").write_text("[pytest]\n")
        for name, text in files.items():
            (directory / f"{name}.py").write_text(text)
        return directory

    return make


class Running:
    """`tunlab test` beside the test, in its own session as from a terminal."""

    def __init__(self, process: subprocess.Popen[str], engine: Engine) -> None:
        self.process, self._engine = process, engine

    def containers(self) -> list[str]:
        """The ids of its containers."""
        filters = {
            "label": [
                f"{container_labels.PID}={self.process.pid}",
                f"{container_labels.HOST}={container_labels.host()}",
            ]
        }
        return [each["Id"] for each in self._engine.api.containers(all=True, filters=filters)]

    def wait_for_a_container(self) -> None:
        """Ask until it has one, or has ended."""
        while not self.containers() and self.process.poll() is None:
            pass

    def wait_for(self, text: str) -> None:
        """Read its output up to the line with this text."""
        seen = []
        for line in self.process.stdout:
            seen.append(line)
            if text in line:
                return
        pytest.fail(f"it ended before it said {text!r}: {''.join(seen)}{self.process.stderr.read()}")

    def end(self, number: signal.Signals | None = None) -> tuple[int, str, str]:
        """Send it a signal and see it end: its exit code, and the rest of what it said."""
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=LIMIT)
        return self.process.returncode, out, err


@pytest.fixture
def child_environment():
    path = os.pathsep.join([str(ROOT), *(entry for entry in sys.path if entry.endswith("site-packages"))])
    given = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_") and name != "CI"}
    return {**given, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def start(engine, child_environment, request):
    """`start(directory, "-q", prefix=…)`: begin `tunlab test` there; none of its containers is left after the test."""
    started = []

    def begin(directory: Path, *arguments: str, prefix=(), env=None) -> Running:
        if "DOCKER_HOST" not in (env or {}):
            request.getfixturevalue("suite_image")
        process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "tunlab", "test", *arguments],
            cwd=directory, env={**child_environment, **(env or {})}, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        started.append(Running(process, engine))
        return started[-1]

    yield begin
    for running in started:
        running.process.kill()
        with running.process:
            pass
    left = [each for running in started for each in running.containers()]
    for each in left:
        cleanup.remove(engine, each)
    assert left == []
