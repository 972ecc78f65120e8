"""The kinds of device under test, all with the TCP of examples/tcp, and the kernel."""

import pytest

OBJECT = "object:examples.tcp.stack:Stack"
DESCRIPTOR = "fd:tests.dut.devices:serve_tcp"


@pytest.fixture(params=[OBJECT, DESCRIPTOR], ids=["object", "fd"])
def target(request):
    """Return each kind of device under test in turn."""
    return request.param


@pytest.fixture
def dut(make_dut, target):
    """Start the device under test of each kind in turn."""
    return make_dut(target)
