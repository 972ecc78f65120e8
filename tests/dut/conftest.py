"""The kinds of device under test, all with the TCP of examples/tcp, and the kernel."""

import sys

import pytest

OBJECT = "object:examples.tcp.stack:Stack"
DESCRIPTOR = "fd:tests.dut.devices:serve_tcp"
PROGRAM = f"{sys.executable} -m examples.tcp {{ifname}} {{address}} --control {{control}}"


@pytest.fixture(params=["kernel", PROGRAM, DESCRIPTOR, OBJECT], ids=["kernel", "program", "fd", "object"])
def target(request):
    """Return each kind of device under test in turn."""
    return request.param


@pytest.fixture
def dut(make_dut, target):
    """Start the device under test of each kind in turn."""
    return make_dut(target)
