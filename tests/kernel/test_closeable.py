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
def test_a_with_block_closes_at_its_end_and_closing_may_be_repeated(netns, make):
    opened = make(netns)
    assert isinstance(opened, Closeable)
    with opened as entered:
        assert entered is opened
        assert not opened.closed
    assert opened.closed
    opened.close()
    assert opened.closed


@pytest.mark.parametrize("make", OPENED.values(), ids=OPENED)
def test_an_error_closes_and_goes_on(netns, make):
    with pytest.raises(ZeroDivisionError), make(netns) as opened:
        raise ZeroDivisionError
    assert opened.closed


@pytest.mark.parametrize("make", OPENED.values(), ids=OPENED)
def test_nothing_can_be_hung_on_it_by_a_mistyped_name(netns, make):
    with make(netns) as opened, pytest.raises(AttributeError):
        opened.clsoed = True


def test_who_does_not_say_how_to_close_cannot_be_made():
    class Forgetful(Closeable):
        pass

    with pytest.raises(TypeError, match="close"):
        Forgetful()
