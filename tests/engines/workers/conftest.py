"""Fixtures that run pytest with --tunlab-workers as a child process.

TUNLAB_ENGINES       specs of the engines for the tests, separated by spaces; default: local
TUNLAB_WORKER_IMAGE  an image for the workers, instead of the image that is built from this checkout
"""

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from tests.engines.workers.socket_forwarder import SocketForwarder
from tunlab.engines.connection.endpoint import resolve_endpoint
from tunlab.engines.connection.engine import Engine
from tunlab.engines.containers import container_labels
from tunlab.engines.images.suite_image import ensure_suite_image
from tunlab.errors import EngineError

TIMEOUT = 120.0  # seconds to wait for a pytest run's output


@pytest.fixture(scope="session")
def specs(engine_specs):
    """The engines that the tests use, as values of --tunlab-workers."""
    return engine_specs


@pytest.fixture(scope="session")
def image(specs, tmp_path_factory):
    """The tag of the workers' image, built on each engine once per test session."""
    if named := os.environ.get("TUNLAB_WORKER_IMAGE"):
        return named
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with (shared / "worker-image").open("w") as file:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)
        for spec in specs:
            with Engine.connect(spec) as engine:
                tag = ensure_suite_image(engine)
    return tag


@pytest.fixture(scope="session")
def bare_image():
    """The name of an image with Python, without tunlab and pytest."""
    return os.environ.get("TUNLAB_BASE_IMAGE", "python:3.13-slim-bookworm")


@pytest.fixture
def forwarder(specs, tmp_path):
    """A forwarder to the first engine, which a test can freeze or close."""
    forwarder = SocketForwarder(tmp_path / "engine.sock", resolve_endpoint(specs[0]).socket)
    yield forwarder
    forwarder.close()


@pytest.fixture
def two(specs, request):
    """The specs of two engines. If there is only one, the second is a forwarder to it."""
    if len(specs) > 1:
        return specs[:2]
    return [specs[0], request.getfixturevalue("forwarder").spec]


class Run:
    """A running pytest process, and its output so far in `text`."""

    def __init__(self, command, folder, environment):
        self._process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self.folder, self.text, self.status = folder, "", None

    @property
    def pid(self):
        return self._process.pid

    def until(self, pattern, times=1):
        """Read until the pattern has been printed `times` times."""
        while len(re.findall(pattern, self.text, re.MULTILINE)) < times:
            assert self._read(), f"exited before it printed {pattern!r} {times} times:\n{self.text}"
        return self

    def until_waiting(self):
        """Read until a test has written "waiting" to its worker's standard error, possibly inside another line."""
        return self.until("waiting")

    def _read(self):
        readable, _, _ = select.select([self._process.stdout], [], [], TIMEOUT)
        assert readable, f"no output for {TIMEOUT:g} s after:\n{self.text}"
        data = os.read(self._process.stdout.fileno(), 65_536)
        self.text += data.decode(errors="replace")
        return bool(data)

    def signal(self, number, *, group=False):
        """Send a signal to the controller, or to its process group as a terminal does on Ctrl-C."""
        (os.killpg if group else os.kill)(self.pid, number)

    def ended(self):
        """Read until pytest exits; return self, with `status` and the complete `text`."""
        while self._read():
            pass
        self.status = self._process.wait(TIMEOUT)
        return self

    def outcomes(self):
        """Return the counts of pytest's last line, such as {"passed": 3}."""
        last = [line for line in self.text.splitlines() if re.search(r" in [\d.]+s", line)][-1]
        return {outcome: int(count) for count, outcome in re.findall(r"(\d+) (\w+)", last.split(" in ")[0])}

    def junit(self):
        """Return the test cases of the junit file by name. Tests that were started and not finished have no name."""
        return {
            case.get("name"): case
            for case in ElementTree.parse(self.folder / "junit.xml").iter("testcase")
            if case.get("name")
        }

    def close(self):
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
        self._process.stdout.close()


@pytest.fixture
def start(pytester, engine_specs, request):
    """A function: `start("unix://…*2", "-x")` runs pytest in pytester's directory, with worker specs and options."""
    runs = []

    def start(*arguments, prefix=(), environment=(), default_image=False, folder=None):
        workers = [word for each in arguments if not each.startswith("-") for word in ("--tunlab-workers", each)]
        options = [each for each in arguments if each.startswith("-")]
        image = [] if default_image else ["--tunlab-image", request.getfixturevalue("image")]
        command = [
            *prefix, sys.executable, "-u", "-m", "pytest", "-v", "-p", "no:cacheprovider",
            "--junitxml=junit.xml", *image, *workers, *options,
        ]  # fmt: skip
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
        runs.append(Run(command, folder or pytester.path, {**kept, **dict(environment)}))
        return runs[-1]

    yield start
    for each in runs:
        each.close()


@pytest.fixture(scope="session")
def left_by():
    """A function: `left_by(pid, specs)` returns the remaining containers of the controller with this process id."""
    return _left_by


def _left_by(pid, specs):
    """Return the remaining containers, after waiting for those that the engines are removing."""
    found = []
    for spec in specs:
        with Engine.connect(spec) as engine:
            filters = {
                "label": [f"{container_labels.PID}={pid}", f"{container_labels.HOST}={container_labels.host_id()}"]
            }
            for each in engine.api.containers(all=True, filters=filters):
                if each["State"] == "created":
                    # A container that was never started does not exit, so do not wait for it.
                    found.append(each)
                    continue
                with contextlib.suppress(EngineError), engine.translate_errors("wait"):
                    engine.api.wait(each["Id"], condition="removed", timeout=TIMEOUT)
            found += engine.api.containers(all=True, filters=filters)
    return found
