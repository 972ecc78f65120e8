"""What a report stands on: a Tun whose namespace is recorded, as the plugin records those of its fixtures."""

import pytest

from tunlab.kernel.drops import DropWatch
from tunlab.kernel.namespace_record import NamespaceRecord
from tunlab.kernel.netns import Netns
from tunlab.report.evidence import Home
from tunlab.traffic import Tun


@pytest.fixture
def home():
    """`home.tuns[0]` is the Tun."""
    with Netns.create() as netns, NamespaceRecord.open(netns) as record, Tun.create(netns=netns) as tun:
        yield Home("kernel", netns, record, [tun])


@pytest.fixture
def recorded_tun(home):
    return home.tuns[0]


@pytest.fixture
def drops():
    with DropWatch() as drops:
        yield drops
