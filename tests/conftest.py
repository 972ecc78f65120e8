"""Fixtures for all tests, and checks that each test closes its resources and does not change the machine."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import sys
import threading
from functools import cache
from pathlib import Path

import pytest

import tunlab
from tunlab.kernel.namespace import guardian
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.network.rtnl import Rtnl
from tunlab.lab import PersistentLab
from tunlab.pytest_plugin.leaks import ResourceSnapshot
from tunlab.pytest_plugin.packet_recorder import recorder_key, session_descriptors


def pytest_configure(config):
    """Restore Python's SIGINT handler: shells start background jobs with SIGINT ignored, and programs inherit this."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


VOLATILE = (
    "dentry-state",
    "inode-nr",
    "inode-state",
    "file-nr",
    "aio-nr",
    "ns_last_pid",
    "nf_conntrack_count",
    "nr",
    "syncs",
)
"""Sysctls that change by themselves: counters of kernel objects and events. Those below random/ are skipped too."""


def snapshot():
    """Return the network configuration (links, routes, sysctls …) of the calling thread's namespace."""
    sysctls = {}
    for file in Path("/proc/sys").rglob("*"):
        if file.is_file() and file.name not in VOLATILE and file.parent.name not in ("random", "quota"):
            try:
                sysctls[str(file)] = file.read_bytes()
            except OSError:  # The sysctl is write-only, or it is a secret that is not set.
                continue
    with Netns.current() as netns, Rtnl(netns) as rtnl:
        links = [(link.index, link.name, link.flags, link.mtu, link.txqueuelen, link.master) for link in rtnl.links()]
        return {
            "links": links,
            "addresses": sorted((address.ifindex, address.cidr) for address in rtnl.addresses()),
            "routes": rtnl.routes(0),
            "rules": rtnl.rules(),
            "sysctls": sysctls,
            "firewall": ruleset_generation(),
            "names": sorted(path.name for path in Path("/run/netns").glob("*")),
        }


def ruleset_generation():
    """Return the number of changes to the nftables rules; None if the kernel has no nftables support."""
    request = struct.pack("=IHHIIBBH", 20, NFT_MSG_GETGEN, NLM_F_REQUEST, 1, 0, 0, 0, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as netlink:
            netlink.sendto(request, (0, 0))
            answer = netlink.recv(65_536)
    except OSError:
        return None
    kind, attribute = struct.unpack_from("=H", answer, 4)[0], struct.unpack_from("=HH", answer, 20)
    return answer[24 : 20 + attribute[0]] if kind != NLMSG_ERROR else None


NETLINK_NETFILTER, NLM_F_REQUEST, NLMSG_ERROR = 12, 1, 2  # Source: <linux/netlink.h>
NFT_MSG_GETGEN = 10 << 8 | 16  # Source: <linux/netfilter/nfnetlink.h>, <linux/netfilter/nf_tables.h>


@pytest.fixture(scope="session")
def machine():
    """Return a function that returns the network configuration of the calling thread's namespace."""
    return snapshot


@pytest.fixture(scope="session", autouse=True)
def check_machine_is_unchanged():
    """Assert that the whole test run does not change the machine's network configuration."""
    before = snapshot()
    yield
    after = snapshot()
    assert {part: after[part] for part in after if after[part] != before[part]} == {}


def open_resources(item):
    """Return open file descriptors, child processes and threads, except those that tunlab keeps for the whole run."""
    resources = ResourceSnapshot.take()
    known = item.stash[recorder_key].descriptors() if recorder_key in item.stash else session_descriptors()
    resources.descriptors = {each for each in resources.descriptors if each[0] not in known}
    resources.children -= {guardian.guardian_pid()}
    return resources, set(threading.enumerate())


@pytest.fixture(autouse=True)
def check_for_leaks(request):
    """Assert that a test leaves no open file descriptor, thread or child process.

    The leak check of tunlab's pytest plugin covers only network resources, in tests that use its fixtures.
    """
    before = open_resources(request.node)
    yield
    assert open_resources(request.node) == before


@pytest.fixture(scope="session")
def need():
    """Return a function that returns the path of a program. If the program is missing, the test fails."""

    def find(program: str) -> str:
        # On Debian, sbin is not in an unprivileged user's PATH.
        path = shutil.which(program) or shutil.which(program, path="/usr/local/sbin:/usr/sbin:/sbin")
        if path is None:
            pytest.fail(f"{program} is not installed; `make test` as root installs it", pytrace=False)
        return path

    return find


@pytest.fixture
def pytester(pytester, monkeypatch):
    """Return pytest's `pytester`, which then runs pytest without Hypothesis's plugin, because that loads slowly."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest")
    return pytester


ENGINE_SPECS = os.environ.get("TUNLAB_ENGINES", "").split() or ["local"]
"""The Docker Engines that tests use; by default the one that Docker's own client would use."""


@cache
def engine_problem():
    """Return why the tests marked `docker` cannot run; "" if every engine answers. The result is cached."""
    from tunlab.engines.connection.engine import Engine  # Imported here because this import is slow.
    from tunlab.errors import EngineError

    try:
        for spec in ENGINE_SPECS:
            Engine.connect(spec).close()
    except EngineError as error:
        return str(error)
    return ""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Skip the tests marked `docker` if a Docker Engine does not answer; fail them if CI is set.

    All skips have the same reason and line, so pytest's summary shows them as one line.
    """
    marked = item.get_closest_marker("docker") is not None
    if not marked and "engine_specs" in item.fixturenames:
        pytest.fail("the test uses a Docker Engine: mark it with `docker`", pytrace=False)
    if marked and (problem := engine_problem()):
        reason = f"needs a Docker Engine: {problem}"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def engine_specs():
    """Return the addresses of the Docker Engines. A test that uses them must be marked `docker`."""
    return ENGINE_SPECS


@pytest.fixture
def engine(engine_specs):
    """Yield a connection to the default Docker Engine."""
    from tunlab.engines.connection.engine import Engine

    with Engine.connect() as connected:
        yield connected


@pytest.fixture
def run_directory(request, tmp_path, monkeypatch):
    """Yield the directory of this test's labs. Teardown removes the labs and asserts that no mount or file remains."""
    directory = tmp_path / getattr(request.module, "BELOW", "") / "run"
    monkeypatch.setenv("TUNLAB_RUN", str(directory))
    monkeypatch.delenv("TUNLAB_LAB", raising=False)
    yield directory
    for lab in PersistentLab.ls():
        lab.down()
    assert str(directory) not in Path("/proc/self/mounts").read_text()
    assert not directory.exists() or not list(directory.iterdir())


@pytest.fixture
def without_capabilities(need):
    """Return a command prefix that runs a program as root without any capability."""
    return (need("setpriv"), "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all")


@pytest.fixture
def without_tun_node(need):
    """Return a command prefix that runs a program in a mount namespace where /dev/net is empty."""
    return (need("unshare"), "--mount", "sh", "-ec", 'mount -t tmpfs none /dev/net; exec "$@"', "sh")


@pytest.fixture
def with_whole_proc(need):
    """Return a command prefix that runs a program with a writable /proc, which containers do not have."""
    whole = '[ -w /proc/sys/net/ipv4/ip_forward ] || mount -t proc none /proc; exec "$@"'
    return (need("unshare"), "--mount", "sh", "-ec", whole, "sh")


@pytest.fixture
def as_nobody(need, tmp_path):
    """Return a function that returns a command prefix to run a program as the user nobody.

    The program has a /dev/net/tun with the given mode. It is in a mount namespace (see as_nobody.sh), so the machine's
    own device node does not change.
    """

    def prefix(mode: str = "666", work: Path = tmp_path) -> tuple[str, ...]:
        opened = {sys.prefix, sys.base_prefix, str(Path(tunlab.__file__).parents[1])}
        script = Path(__file__).with_name("as_nobody.sh")
        return (need("unshare"), "--mount", "sh", str(script), mode, str(work), *sorted(opened), "--")

    return prefix
