"""pytest runs on engines, as a user starts them: watched while they go on, signalled, and asked what they leave.

TUNLAB_ENGINES       specs of the engines that tests may use, with spaces between; by default the one that `local` is
TUNLAB_WORKER_IMAGE  an image for the workers, instead of the one that is built from this source
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
from tunlab.engines.connection.endpoint import endpoint
from tunlab.engines.connection.engine import Engine
from tunlab.engines.containers import container_labels
from tunlab.engines.images.suite_image import ensure_suite_image
from tunlab.errors import EngineError

PATIENCE = 120.0  # seconds; a bound for what hangs, not a measure


@pytest.fixture(scope="session")
def specs(engine_specs):
    """The specs of the engines that tests use."""
    return engine_specs


@pytest.fixture(scope="session")
def image(specs, tmp_path_factory):
    """The workers' image, on each of the engines; made once for all of this run's workers."""
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
    """An image with Python and nothing of ours: the one that the others are built on."""
    return os.environ.get("TUNLAB_BASE_IMAGE", "python:3.13-slim-bookworm")


@pytest.fixture
def forwarder(specs, tmp_path):
    """The first engine under another name."""
    made = SocketForwarder(tmp_path / "engine.sock", endpoint(specs[0]).socket)
    yield made
    made.cut()


@pytest.fixture
def two(specs, request):
    """Two engines: where there is only one, it has two names."""
    if len(specs) > 1:
        return specs[:2]
    return [specs[0], request.getfixturevalue("forwarder").spec]


class Run:
    """A pytest run that goes on; its lines are read as they come."""

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
        """Read on until this has been printed so often."""
        while len(re.findall(pattern, self.text, re.MULTILINE)) < times:
            assert self._read(), f"ended before {pattern!r} came {times} times:\n{self.text}"
        return self

    def until_waiting(self):
        """Read on until a test has written "waiting" to its worker's standard error.

        That may arrive within a line of the report: nothing is asked of what stands around it.
        """
        return self.until("waiting")

    def _read(self):
        readable, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
        assert readable, f"nothing came for {PATIENCE:g} s after:\n{self.text}"
        octets = os.read(self._process.stdout.fileno(), 65_536)
        self.text += octets.decode(errors="replace")
        return bool(octets)

    def signal(self, number, *, group=False):
        """To the controller alone, or to its process group as a terminal's Ctrl-C does."""
        (os.killpg if group else os.kill)(self.pid, number)

    def ended(self):
        """Read to the end; returns itself, with `status` and all of the `text`."""
        while self._read():
            pass
        self.status = self._process.wait(PATIENCE)
        return self

    def outcomes(self):
        """The counts of the last line, as pytest has them: {"passed": 3}."""
        last = [line for line in self.text.splitlines() if re.search(r" in [\d.]+s", line)][-1]
        return {what: int(number) for number, what in re.findall(r"(\d+) (\w+)", last.split(" in ")[0])}

    def junit(self):
        """The test cases of the junit file, by name; pytest gives those none that were begun and not ended."""
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
    """`start("unix://…*2", "-x")`: a run of the files in pytester's directory; specs first, then pytest's arguments."""
    runs = []

    def start(*arguments, prefix=(), environment=(), default_image=False, folder=None):
        on = [word for each in arguments if not each.startswith("-") for word in ("--tunlab-workers", each)]
        more = [each for each in arguments if each.startswith("-")]
        chosen = [] if default_image else ["--tunlab-image", request.getfixturevalue("image")]
        command = [
            *prefix, sys.executable, "-u", "-m", "pytest", "-v", "-p", "no:cacheprovider",
            "--junitxml=junit.xml", *chosen, *on, *more,
        ]  # fmt: skip
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
        runs.append(Run(command, folder or pytester.path, {**kept, **dict(environment)}))
        return runs[-1]

    yield start
    for each in runs:
        each.close()


@pytest.fixture(scope="session")
def left_by():
    """`left_by(pid, specs)`: what containers of that controller there still are; none, when all is well."""
    return _left_by


def _left_by(pid, specs):
    """What containers of that controller there still are, once those have gone that the engines are removing."""
    found = []
    for spec in specs:
        with Engine.connect(spec) as engine:
            of_it = {"label": [f"{container_labels.PID}={pid}", f"{container_labels.HOST}={container_labels.host()}"]}
            for each in engine.api.containers(all=True, filters=of_it):
                if each["State"] == "created":  # it never ran, so nothing ends it
                    found.append(each)
                    continue
                with contextlib.suppress(EngineError), engine.asking("wait"):
                    engine.api.wait(each["Id"], condition="removed", timeout=PATIENCE)
            found += engine.api.containers(all=True, filters=of_it)
    return found
