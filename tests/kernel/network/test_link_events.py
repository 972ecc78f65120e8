"""Waiting until a link is in a given state."""

import errno
import threading

import pytest

from tunlab.errors import KernelError
from tunlab.kernel.device.packet_socket import PacketSocket
from tunlab.kernel.device.tun import TunDevice
from tunlab.kernel.network.link_events import wait_for_link, wait_until_running


@pytest.fixture
def veth(rtnl):
    rtnl.add_veth("a", "b")
    return rtnl.link_index("a"), rtnl.link_index("b")


def test_wait_for_link_with_true_condition_returns_at_once(rtnl):
    assert wait_for_link(rtnl, 1, lambda link: link.up, timeout=0) is True
    assert wait_until_running(rtnl, 1, timeout=0) is True


def test_wait_for_link_that_times_out_returns_false(rtnl, veth):
    rtnl.set_link(veth[0], up=True)
    assert wait_until_running(rtnl, veth[0], timeout=0.01) is False


def test_wait_until_running_returns_when_link_transmits(netns, rtnl, veth):
    with PacketSocket(netns, "a") as near, PacketSocket(netns, "b") as far:
        for index in veth:
            rtnl.set_link(index, up=True)
        for index in veth:
            assert wait_until_running(rtnl, index)
        near.send(bytes.fromhex("ffffffffffff 020000000001 88b5") + b"at once")
        assert far.wait(5)


def test_wait_for_link_notices_change_made_through_another_socket(netns, rtnl, veth):
    rtnl.set_link(veth[0], up=True)
    waited = []
    waiter = threading.Thread(target=lambda: waited.append(wait_for_link(rtnl, 1, lambda link: link.mtu == 1234, 30)))
    waiter.start()
    with TunDevice.create(netns) as tun:
        tun.rtnl.set_link(1, mtu=1234)
    waiter.join()
    assert waited == [True]


def test_wait_until_running_after_attach_returns_true(netns, tun):
    tun.close()
    with TunDevice.attach(netns, "tun0") as again:
        assert wait_until_running(again.rtnl, again.ifindex)
        with PacketSocket(netns, "tun0") as packets:
            packets.send(b"\x50")
        assert again.wait(5)


def test_wait_for_deleted_link_raises(rtnl):
    with pytest.raises(KernelError) as raised:
        wait_until_running(rtnl, 99)
    assert raised.value.errno == errno.ENODEV
