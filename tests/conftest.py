"""What every test stands on."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import sys
from pathlib import Path

import pytest

import tunlab
from tunlab.kernel import guardian
from tunlab.kernel.netns import Netns
from tunlab.kernel.rtnl import Rtnl
from tunlab.lab import Lab
from tunlab.pytest_plugin.leaks import ResourceSnapshot
from tunlab.pytest_plugin.packet_recorder import recorder_key, session_descriptors


def pytest_configure(config):
    """Started in the background of a script, a run has SIGINT ignored, and its children, which tests interrupt, too."""
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
"""Sysctls that count what happens (quota/syncs: a browser does); and those below random, which differ at each look."""


def snapshot():
    """The network configuration of the calling thread's namespace, by its parts."""
    sysctls = {}
    for file in Path("/proc/sys").rglob("*"):
        if file.is_file() and file.name not in VOLATILE and file.parent.name not in ("random", "quota"):
            try:
                sysctls[str(file)] = file.read_bytes()
            except OSError:  # write-only, or an unset secret
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
    """The number that nf_tables counts up with every change of its ruleset; none where the kernel has no nf_tables."""
    request = struct.pack("=IHHIIBBH", 20, NFT_MSG_GETGEN, NLM_F_REQUEST, 1, 0, 0, 0, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as netlink:
            netlink.sendto(request, (0, 0))
            answer = netlink.recv(65_536)
    except OSError:
        return None
    kind, attribute = struct.unpack_from("=H", answer, 4)[0], struct.unpack_from("=HH", answer, 20)
    return answer[24 : 20 + attribute[0]] if kind != NLMSG_ERROR else None


NETLINK_NETFILTER, NLM_F_REQUEST, NLMSG_ERROR = 12, 1, 2  # <linux/netlink.h>
NFT_MSG_GETGEN = 10 << 8 | 16  # <linux/netfilter/nfnetlink.h>, <linux/netfilter/nf_tables.h>


@pytest.fixture(scope="session")
def machine():
    """`machine()`: the network configuration of the calling thread's namespace, to compare."""
    return snapshot


@pytest.fixture(scope="session", autouse=True)
def the_machine_is_unchanged():
    """Around the whole run, in each worker."""
    before = snapshot()
    yield
    after = snapshot()
    assert {part: after[part] for part in after if after[part] != before[part]} == {}


def holdings(item):
    """What this process has open and running, but for what the plugin keeps for all tests and until the report."""
    found = ResourceSnapshot.now()
    known = item.stash[recorder_key].descriptors() if recorder_key in item.stash else session_descriptors()
    found.descriptors = {each for each in found.descriptors if each[0] not in known}
    found.children -= {guardian.guardian_pid()}
    return found


@pytest.fixture(autouse=True)
def nothing_leaks(request):
    """No descriptor, thread or child process more, or less, after a test than before it, but for the guardian.

    The plugin asks that of the tests that use its fixtures, and only about what is more: this is for all of ours.
    """
    before = holdings(request.node)
    yield
    assert holdings(request.node) == before


@pytest.fixture(scope="session")
def need():
    """`need("tshark")`: the program's path; its absence fails the test, for a skip would hide what is not tested."""

    def find(program: str) -> str:
        # Debian's users do not have the administrator's directories in their PATH.
        path = shutil.which(program) or shutil.which(program, path="/usr/local/sbin:/usr/sbin:/sbin")
        if path is None:
            pytest.fail(f"there is no {program} on this machine: `make test` as root installs it", pytrace=False)
        return path

    return find


@pytest.fixture
def pytester(pytester, monkeypatch):
    """pytest's own; what it runs goes without Hypothesis's plugin, which loads for longer than all the rest."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest")
    return pytester


@pytest.fixture
def engine():
    """The engine; where there is none the test fails in CI, and is skipped at a desk."""
    from tunlab.engines.connection import Engine  # only here: it is slow to load
    from tunlab.errors import EngineError

    try:
        connected = Engine.connect()
    except EngineError as error:
        if os.environ.get("CI"):
            pytest.fail(f"{error}", pytrace=False)
        pytest.skip(f"{error}")
    with connected:
        yield connected


@pytest.fixture
def run_directory(request, tmp_path, monkeypatch):
    """Where this test's labs are; all are taken down after it, and nothing may be left."""
    directory = tmp_path / getattr(request.module, "BELOW", "") / "run"
    monkeypatch.setenv("TUNLAB_RUN", str(directory))
    monkeypatch.delenv("TUNLAB_LAB", raising=False)
    yield directory
    for lab in Lab.all():
        lab.down()
    assert str(directory) not in Path("/proc/self/mounts").read_text()
    assert not directory.exists() or not list(directory.iterdir())


@pytest.fixture
def without_capabilities(need):
    """A prefix for a command: root with no capability at all."""
    return (need("setpriv"), "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all")


@pytest.fixture
def without_tun_node(need):
    """A prefix for a command: in a mount namespace of its own, in which an empty directory hides /dev/net."""
    return (need("unshare"), "--mount", "sh", "-ec", 'mount -t tmpfs none /dev/net; exec "$@"', "sh")


@pytest.fixture
def with_whole_proc(need):
    """A prefix for a command: in a mount namespace of its own, whose /proc no container's runtime masks."""
    whole = '[ -w /proc/sys/net/ipv4/ip_forward ] || mount -t proc none /proc; exec "$@"'
    return (need("unshare"), "--mount", "sh", "-ec", whole, "sh")


@pytest.fixture
def as_nobody(need, tmp_path):
    """`as_nobody(mode="666", work=…)`, a prefix for a command: an unprivileged user, and a TUN node of that mode.

    The machine's own node and directories stay as they are: see as_nobody.sh.
    """

    def prefix(mode: str = "666", work: Path = tmp_path) -> tuple[str, ...]:
        opened = {sys.prefix, sys.base_prefix, str(Path(tunlab.__file__).parents[1])}
        script = Path(__file__).with_name("as_nobody.sh")
        return (need("unshare"), "--mount", "sh", str(script), mode, str(work), *sorted(opened), "--")

    return prefix
