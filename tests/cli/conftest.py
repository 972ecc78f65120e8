"""Fixtures of the command-line tests. Each test has its own directory of labs, which must be empty at its end."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tunlab.cli import main
from tunlab.kernel.device.tun import TunDevice
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.network.link_events import LinkEvents
from tunlab.kernel.network.rtnl import Rtnl
from tunlab.lab import PersistentLab

ROOT = Path(__file__).parents[2]


class Result(NamedTuple):
    """The exit code and output of a command."""

    status: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def separate_labs(run_directory):
    """Create the labs of every test below its own `run_directory`."""


@pytest.fixture
def tunlab(capfd):
    """Return a function that runs the command line in this process: `tunlab("up", "--name", "x")`."""

    def run(*arguments: str) -> Result:
        capfd.readouterr()
        status = main(list(arguments))
        return Result(status, *capfd.readouterr())

    return run


@pytest.fixture
def environment(run_directory):
    """Return the environment variables of commands that run in their own process."""
    path = os.pathsep.join([str(ROOT), *(entry for entry in sys.path if entry.endswith("site-packages"))])
    # Remove PYTHONUNBUFFERED, so that commands buffer their output as they do for a user.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return {**inherited, "TUNLAB_RUN": str(run_directory), "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def command(environment):
    """Return a function that runs a command in its own process: `command("ls", prefix=("strace", …))`."""

    def run(*arguments: str, prefix=(), **keywords) -> Result:
        keywords = {"stdin": subprocess.DEVNULL, "env": environment, **keywords}
        done = subprocess.run(
            [*prefix, sys.executable, "-W", "error", "-m", "tunlab", *arguments],
            capture_output=True, text=True, timeout=60, check=False, cwd=ROOT, **keywords,
        )  # fmt: skip
        return Result(done.returncode, done.stdout, done.stderr)

    return run


class BackgroundCommand:
    """A command that a test has started in the background."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def wait_for(self, text: str) -> str:
        """Read standard error up to the line that contains `text`, and return that line."""
        seen = []
        for line in self.process.stderr:
            seen.append(line)
            if text in line:
                return line
        pytest.fail(f"the command ended before it printed {text!r}: {''.join(seen)}")

    def end(self, signal: int | None = None) -> Result:
        """Send the signal, if given, wait for the command to end, and return its result."""
        if signal is not None:
            self.process.send_signal(signal)
        out, err = self.process.communicate(timeout=60)
        return Result(self.process.returncode, out, err)


@pytest.fixture
def start(environment):
    """Return a function that starts a command in the background, killed when the test ends: `start("dump", "lab")`."""
    started = []

    def begin(*arguments: str, prefix=(), **keywords) -> BackgroundCommand:
        keywords = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "env": environment, **keywords}
        command = [*prefix, sys.executable, "-W", "error", "-m", "tunlab", *arguments]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, **keywords)
        started.append(process)
        return BackgroundCommand(process)

    yield begin
    for process in started:
        process.kill()
        with process:
            pass


@pytest.fixture
def lab(tunlab):
    """Create the default lab and return it."""
    assert tunlab("up").status == 0
    return PersistentLab("lab")


@pytest.fixture
def dump(start, lab):
    """Return a function that starts `tunlab dump lab` and waits until it listens: `dump("--count", "1")`."""

    def begin(*options: str, **keywords) -> BackgroundCommand:
        running = start("dump", "lab", *options, **keywords)
        running.wait_for("listening on tun0 in lab lab")
        return running

    return begin


@pytest.fixture
def router(tunlab):
    """Create the lab `router`, which comes with tunlab, and return it."""
    result = tunlab("up", "router")
    assert result.status == 0, result.err
    return PersistentLab.open("router")


@pytest.fixture
def foreign_reader(lab):
    """Open the TUN of `lab` like a program other than tunlab, and yield it."""
    with lab.netns() as netns, TunDevice.attach(netns, "tun0") as device:
        yield device


@pytest.fixture
def list_labs(tunlab):
    """Return a function that returns the objects printed by `tunlab ls --json`, by lab name."""

    def run() -> dict[str, dict[str, object]]:
        result = tunlab("ls", "--json")
        assert result.status == 0
        return {each["name"]: each for each in json.loads(result.out)}

    return run


@pytest.fixture
def broken_file(tmp_path):
    """Return the path of a lab file with several mistakes."""
    file = tmp_path / "broken.toml"
    file.write_text(
        "[nodes]\nclient = {}\nrouter = { forwrad = true }\n"
        '[[links]]\nends = ["client", "ruoter"]\nmtu = 20\n'
        '[[links]]\nends = ["client", "client"]\n'
    )
    return file


@pytest.fixture
def assert_released():
    """Return a context manager that asserts, at its end, that the kernel has freed the namespaces of a lab's nodes.

    It connects each node by a veth pair with a namespace of the test. The kernel deletes the pair when it frees the
    node's namespace, which it does only when no process or file descriptor holds that namespace any more.
    """

    @contextlib.contextmanager
    def watch(name, *nodes):
        with contextlib.ExitStack() as stack:
            here = stack.enter_context(Netns.create())
            rtnl = stack.enter_context(Rtnl(here))
            for number, node in enumerate(nodes):
                with PersistentLab(name).netns(node) as netns:
                    rtnl.add_veth(f"w{number}", f"w{number}", peer_netns=netns)
            events = stack.enter_context(LinkEvents({"here": here}))
            yield
            while len(rtnl.links()) > 1:
                assert events.wait(20), rtnl.links()
                events.read()

    return watch
