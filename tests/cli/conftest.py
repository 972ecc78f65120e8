"""What every CLI test stands on: a directory of its own for its labs, and a check that nothing is left of them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tunlab.cli import main
from tunlab.kernel.netns import Netns
from tunlab.kernel.rtnl import Rtnl
from tunlab.lab import Lab

ROOT = Path(__file__).parents[2]


class Said(NamedTuple):
    """What a command ended with and printed."""

    status: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def labs_of_its_own(run_directory):
    """Every test here makes its labs below `run_directory`."""


@pytest.fixture
def tunlab(capfd):
    """`tunlab("up", "--name", "x")`: run the command line in this process; what it ended with and printed."""

    def run(*arguments: str) -> Said:
        capfd.readouterr()
        status = main(list(arguments))
        return Said(status, *capfd.readouterr())

    return run


@pytest.fixture
def environment(run_directory):
    path = os.pathsep.join([str(ROOT), *(entry for entry in sys.path if entry.endswith("site-packages"))])
    # Output is buffered as for a user, whatever the one who runs the tests has set.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return {**inherited, "TUNLAB_RUN": str(run_directory), "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def command(environment):
    """`command("ls", prefix=("strace", …))`: the same in a process of its own."""

    def run(*arguments: str, prefix=(), **keywords) -> Said:
        keywords = {"stdin": subprocess.DEVNULL, "env": environment, **keywords}
        done = subprocess.run(
            [*prefix, sys.executable, "-W", "error", "-m", "tunlab", *arguments],
            capture_output=True, text=True, timeout=60, check=False, cwd=ROOT, **keywords,
        )  # fmt: skip
        return Said(done.returncode, done.stdout, done.stderr)

    return run


class Running:
    """A command that runs beside the test."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def wait_for(self, text: str) -> str:
        """Read standard error up to the line that contains `text`, which is returned."""
        seen = []
        for line in self.process.stderr:
            seen.append(line)
            if text in line:
                return line
        pytest.fail(f"it ended before it said {text!r}: {''.join(seen)}")

    def end(self, signal: int | None = None) -> Said:
        if signal is not None:
            self.process.send_signal(signal)
        out, err = self.process.communicate(timeout=60)
        return Said(self.process.returncode, out, err)


@pytest.fixture
def start(environment):
    """`start("dump", "lab")`: begin a command in a process of its own; it is killed with the test at the latest."""
    started = []

    def begin(*arguments: str, prefix=(), **keywords) -> Running:
        keywords = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "env": environment, **keywords}
        command = [*prefix, sys.executable, "-W", "error", "-m", "tunlab", *arguments]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, **keywords)
        started.append(process)
        return Running(process)

    yield begin
    for process in started:
        process.kill()
        with process:
            pass


@pytest.fixture
def lab(tunlab):
    """A lab called "lab" that is up."""
    assert tunlab("up").status == 0
    return Lab("lab")


@pytest.fixture
def dump(start, lab):
    """`dump("--count", "1")`: a reader of the lab, attached when it is returned."""

    def begin(*options: str, **keywords) -> Running:
        running = start("dump", "lab", *options, **keywords)
        running.wait_for("listening on tun0 in lab lab")
        return running

    return begin


def machine():
    """What of this machine no lab may change; its counters and what expires are left out."""
    sysctls = {}
    for name in ("ipv4", "ipv6"):
        for file in Path("/proc/sys/net", name, "conf").rglob("*"):
            with contextlib.suppress(OSError):  # a directory, write-only, or an unset secret
                sysctls[str(file)] = file.read_text()
    for name in ("ip_forward", "ping_group_range", "icmp_ratemask", "tcp_invalid_ratelimit"):
        sysctls[name] = Path("/proc/sys/net/ipv4", name).read_text()
    named = Path("/run/netns")
    with Netns.current() as netns, Rtnl(netns) as rtnl:
        links = [(link.index, link.name, link.flags, link.mtu, link.txqueuelen, link.master) for link in rtnl.links()]
        addresses = [(address.ifindex, address.cidr) for address in rtnl.addresses()]
        names = sorted(path.name for path in named.iterdir()) if named.exists() else None
        return links, addresses, rtnl.routes(0), rtnl.rules(), sysctls, names, Path("/dev/net/tun").stat().st_mode


@pytest.fixture(autouse=True, scope="session")
def the_machine_is_unchanged():
    """Links, addresses, routes, rules, sysctls, /run/netns and the TUN node are the same before and after."""
    before = machine()
    yield
    assert machine() == before
