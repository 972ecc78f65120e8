"""Fixtures for tests with a Docker Engine: the engine of DOCKER_HOST, images, a project and `tunlab test` processes."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engines.ssh_server import SSHServer
from tunlab.engines.connection.endpoint import resolve_endpoint
from tunlab.engines.connection.engine import Engine
from tunlab.engines.containers import cleanup, container_labels
from tunlab.engines.images.suite_image import base_image, ensure_suite_image

ROOT = Path(__file__).parents[2]
LIMIT = 60
"""Timeout in seconds, long enough for a busy machine."""


@pytest.fixture
def image():
    """The name of an image with Python that the engine has or can pull."""
    return base_image() or "python:3.13-slim-bookworm"


@pytest.fixture(scope="session")
def suite_image(engine_specs, tmp_path_factory):
    """The tag of tunlab's image, built once per test session, so that tests do not wait for a build."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with (shared / "suite-image").open("w") as file, Engine.connect() as engine:
        fcntl.flock(file, fcntl.LOCK_EX)
        return ensure_suite_image(engine)


@pytest.fixture
def run_id(engine):
    """A run's ID. The test fails if a container with this ID is left at its end."""
    run = container_labels.new_run_id()
    yield run
    left = cleanup.remove_run_containers(engine, run)
    assert left == []


@pytest.fixture
def ssh_server(engine, need, tmp_path):
    """An sshd through which the engine can be reached."""
    directory = tmp_path / "ssh"
    directory.mkdir()
    target = resolve_endpoint(engine.name).socket
    assert target is not None, "these tests need an engine on this machine"
    server = SSHServer(directory, target, sshd=need("sshd"), ssh=need("ssh"), keygen=need("ssh-keygen"))
    yield server
    server.close()


@pytest.fixture
def project(tmp_path):
    """A function: `project(test_x="…")` creates a project with the file test_x.py and returns its directory."""

    def make(**files: str) -> Path:
        directory = tmp_path / "project"
        directory.mkdir(exist_ok=True)
        (directory / "pytest.ini").write_text("[pytest]\n")
        for name, text in files.items():
            (directory / f"{name}.py").write_text(text)
        return directory

    return make


class Running:
    """A running `tunlab test` process."""

    def __init__(self, process: subprocess.Popen[str], engine: Engine) -> None:
        self.process, self._engine = process, engine

    def containers(self) -> list[str]:
        """Return the IDs of the run's containers."""
        filters = {
            "label": [
                f"{container_labels.PID}={self.process.pid}",
                f"{container_labels.HOST}={container_labels.host_id()}",
            ]
        }
        return [each["Id"] for each in self._engine.api.containers(all=True, filters=filters)]

    def wait_for_a_container(self) -> None:
        """Poll until the run has a container or has exited."""
        while not self.containers() and self.process.poll() is None:
            pass

    def wait_for(self, text: str) -> None:
        """Read the output up to a line that contains `text`."""
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if text in line:
                return
        pytest.fail(f"it exited before it printed {text!r}: {''.join(lines)}{self.process.stderr.read()}")

    def end(self, number: signal.Signals | None = None) -> tuple[int, str, str]:
        """Send the process a signal if given, and wait for its exit; return the exit code, output and errors."""
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=LIMIT)
        return self.process.returncode, out, err


@pytest.fixture
def child_environment():
    """Environment variables for child processes that import this checkout, without pytest's and CI's variables."""
    path = os.pathsep.join([str(ROOT), *(entry for entry in sys.path if entry.endswith("site-packages"))])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_") and name != "CI"}
    return {**kept, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def start(engine, child_environment, request):
    """A function: `start(directory, "-q", prefix=…)` starts `tunlab test`. The test fails if a container is left."""
    started = []

    def run(directory: Path, *arguments: str, prefix=(), env=None) -> Running:
        if "DOCKER_HOST" not in (env or {}):
            request.getfixturevalue("suite_image")
        process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "tunlab", "test", *arguments],
            cwd=directory, env={**child_environment, **(env or {})}, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        started.append(Running(process, engine))
        return started[-1]

    yield run
    for running in started:
        running.process.kill()
        with running.process:
            pass
    left = [each for running in started for each in running.containers()]
    for each in left:
        cleanup.remove_container(engine, each)
    assert left == []
