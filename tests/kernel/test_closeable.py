"""The base class of objects that are closed."""

import pytest

from tunlab.kernel.closeable import Closeable
from tunlab.kernel.device.packet_socket import PacketSocket
from tunlab.kernel.device.tun import TunDevice
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.network.rtnl import Rtnl

OPENED = {
    "netns": lambda _: Netns.create(),
    "rtnl": Rtnl,
    "tun": lambda netns: TunDevice.create(netns, "tun7"),
    "packet socket": lambda netns: PacketSocket(netns, "lo"),
}


@pytest.mark.parametrize("make", OPENED.values(), ids=OPENED)
def test_with_block_closes_object_which_may_be_closed_twice(netns, make):
    opened = make(netns)
    assert isinstance(opened, Closeable)
    with opened as entered:
        assert entered is opened
        assert not opened.closed
    assert opened.closed
    opened.close()
    assert opened.closed


@pytest.mark.parametrize("make", OPENED.values(), ids=OPENED)
def test_error_in_with_block_closes_object_and_propagates(netns, make):
    with pytest.raises(ZeroDivisionError), make(netns) as opened:
        raise ZeroDivisionError
    assert opened.closed


@pytest.mark.parametrize("make", OPENED.values(), ids=OPENED)
def test_unknown_attribute_of_closeable_cannot_be_set(netns, make):
    with make(netns) as opened, pytest.raises(AttributeError):
        opened.clsoed = True


def test_closeable_subclass_without_close_method_cannot_be_instantiated():
    class Forgetful(Closeable):
        pass

    with pytest.raises(TypeError, match="close"):
        Forgetful()
