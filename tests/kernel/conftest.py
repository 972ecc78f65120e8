"""What every kernel test stands on: namespaces and devices of its own, and a check that it leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from tunlab.kernel import guardian
from tunlab.kernel.netns import Netns
from tunlab.kernel.rtnl import Rtnl
from tunlab.kernel.tun import TunDevice

ROOT = Path(__file__).parents[2]
NOBODY = 65534


def descriptors():
    found = {}
    for fd in (entry.name for entry in Path("/proc/self/fd").iterdir()):
        try:
            found[int(fd)] = str(Path(f"/proc/self/fd/{fd}").readlink())
        except FileNotFoundError:  # the listing's own
            continue
    link = guardian._state.link
    if link is not None:
        found.pop(link.fileno(), None)
    return found


def children():
    found = set()
    for task in (entry.name for entry in Path("/proc/self/task").iterdir()):
        # A thread that was joined may be seen ending for a moment.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found |= {int(pid) for pid in Path(f"/proc/self/task/{task}/children").read_text().split()}
    return found - {guardian.guardian_pid()}


@pytest.fixture(autouse=True)
def nothing_leaks():
    """No descriptor, thread or child process more after a test than before it, but for the guardian."""
    before = descriptors(), set(threading.enumerate()), children()
    yield
    assert descriptors() == before[0]
    assert set(threading.enumerate()) == before[1]
    assert children() == before[2]


def snapshot():
    sysctls = {}
    for file in Path("/proc/sys/net").rglob("*"):
        if file.is_file() and not file.name.startswith(("nf_conntrack_count", "flush", "random")):
            try:
                sysctls[str(file)] = file.read_text()
            except OSError:  # write-only, or an unset secret
                continue
    with Netns.current() as netns, Rtnl(netns) as rtnl:
        links = [(link.index, link.name, link.flags, link.mtu, link.txqueuelen, link.master) for link in rtnl.links()]
        addresses = sorted(rtnl.addresses(), key=lambda address: (address.ifindex, address.address))
        return links, addresses, rtnl.routes(0), rtnl.rules(), sysctls, netns.identity


@pytest.fixture(autouse=True, scope="session")
def the_machine_is_unchanged():
    """The namespace that the tests run in has the same links, addresses, routes, rules and sysctls afterwards."""
    before = snapshot()
    yield
    assert snapshot() == before


@pytest.fixture
def netns():
    with Netns.create() as netns:
        yield netns
        netns.kill_processes()


@pytest.fixture
def other_netns():
    with Netns.create() as netns:
        yield netns
        netns.kill_processes()


@pytest.fixture
def rtnl(netns):
    with Rtnl(netns) as rtnl:
        yield rtnl


@pytest.fixture
def tun(netns):
    """A TUN, 10.1.2.1/24, up."""
    with TunDevice.create(netns) as tun:
        tun.configure(["10.1.2.1/24"])
        yield tun


@pytest.fixture
def run_python():
    """Run Python source in a process of its own, behind a `prefix` of other programs; returns what it printed.

    With `nobody`, as an unprivileged user, in a mount namespace in which the TUN node is open to all and in which
    that user can reach the interpreter: the machine's own node and directories stay as they are.
    """

    def run(source, *arguments, prefix=(), nobody=False, launcher=(), tun_mode=0o666, status=0):
        program = [sys.executable, *launcher, "-W", "error", "-c", textwrap.dedent(source), *map(str, arguments)]
        if launcher:
            program = [sys.executable, *launcher, sys.executable, *program[1 + len(launcher) :]]
        command = [*prefix, *program]
        if nobody:
            drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *command]
            command = ["unshare", "--mount", "sh", "-ec", OPEN_TO_ALL, "sh", f"{tun_mode:o}", sys.base_prefix, *drop]
        done = subprocess.run(
            command, env=child_environment(), capture_output=True, text=True, timeout=60, check=False, cwd="/"
        )
        assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
        return done.stderr if status else done.stdout

    return run


def child_environment():
    path = os.pathsep.join([str(ROOT), *(entry for entry in sys.path if entry.endswith("site-packages"))])
    return {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


# The node with the mode wanted, and the interpreter's directories where another user may enter them: what is below a
# closed directory is bound to the same place below a tmpfs.
OPEN_TO_ALL = """
mode=$1; base=$2; shift 2
mount -t tmpfs -o mode=0755 none /mnt
mknod -m "$mode" /mnt/tun c 10 200
mount --bind /mnt/tun /dev/net/tun
closed=$base
while [ "$closed" != / ]; do
    closed=$(dirname "$closed")
    if [ "$(stat -c %a "$closed" | tail -c 2)" = 0 ]; then
        mkdir /mnt/base
        mount --bind "$base" /mnt/base
        mount -t tmpfs -o mode=0755 none "$closed"
        mkdir -p "$base"
        mount --bind /mnt/base "$base"
    fi
done
exec "$@"
"""


def checksum(octets):
    octets += bytes(len(octets) % 2)
    total = sum(struct.unpack(f">{len(octets) // 2}H", octets)) % 0xFFFF
    return 0xFFFF - total


@pytest.fixture
def datagram():
    """Build an IPv4 datagram by hand: this floor knows no packets."""

    def build(payload=b"", *, src="10.1.2.2", dst="10.1.2.1", protocol=1, size=None, bad_checksum=False):
        if size is not None:
            payload = payload.ljust(size - 20, b"x")
        addresses = bytes(map(int, f"{src}.{dst}".split(".")))
        header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0) + addresses
        header = header[:10] + struct.pack(">H", checksum(header) ^ bad_checksum) + header[12:]
        return header + payload

    return build


@pytest.fixture
def echo_request(datagram):
    def build(payload=b"12345678", **keywords):
        message = struct.pack(">BBHHH", 8, 0, 0, 7, 1) + payload
        return datagram(message[:2] + struct.pack(">H", checksum(message)) + message[4:], **keywords)

    return build
