"""Fixtures of the kernel tests: namespaces and devices without the pytest plugin, which is a higher layer."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tunlab.kernel.device.tun import TunDevice
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.network.rtnl import Rtnl

ROOT = Path(__file__).parents[2]


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
    """Create a TUN with the address 10.1.2.1/24, up."""
    with TunDevice.create(netns) as tun:
        tun.configure(["10.1.2.1/24"])
        yield tun


@pytest.fixture
def run_python(as_nobody):
    """Return a function that runs Python source in a new process, after a `prefix` command, and returns its output.

    With `nobody` it runs as an unprivileged user in a mount namespace where /dev/net/tun is open to all and the
    interpreter is readable.
    """

    def run(source, *arguments, prefix=(), nobody=False, launcher=(), tun_mode=0o666, status=0):
        program = [sys.executable, *launcher, "-W", "error", "-c", textwrap.dedent(source), *map(str, arguments)]
        if launcher:
            program = [sys.executable, *launcher, sys.executable, *program[1 + len(launcher) :]]
        command = [*prefix, *program]
        if nobody:
            command = [*as_nobody(mode=f"{tun_mode:o}"), *command]
        done = subprocess.run(
            command, env=child_environment(), capture_output=True, text=True, timeout=60, check=False, cwd="/"
        )
        assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
        return done.stderr if status else done.stdout

    return run


def child_environment():
    path = os.pathsep.join([str(ROOT), *(entry for entry in sys.path if entry.endswith("site-packages"))])
    return {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


def checksum(data):
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data)) % 0xFFFF
    return 0xFFFF - total


@pytest.fixture
def datagram():
    """Return a function that builds an IPv4 datagram, because this layer must not use tunlab.packet."""

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
