"""IPv6 addresses of a device are usable when the call that adds them or sets the link up returns."""

import errno

import pytest

from tunlab.errors import KernelError
from tunlab.kernel.device.tun import TunDevice
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.network.address_events import wait_for_addresses
from tunlab.kernel.network.counters import read_counters
from tunlab.packet import UDP, IPv6, build


@pytest.fixture
def device():
    with Netns.create(ipv6=True) as netns, TunDevice.create(netns, "tun0") as device:
        yield device


def send(device, dst):
    device.write(build(IPv6(src="fd00::9", dst=dst), UDP(src_port=1, dst_port=2)))


@pytest.mark.parametrize("attempt", range(10))
@pytest.mark.parametrize("change", ["configure", "add", "set", "up"])
def test_packet_to_new_ipv6_address_is_received_at_once(device, change, attempt):
    device.configure(["fd00::1/64"], up=change != "up")
    if change == "add":
        device.add_address("fd00::2/64")
    elif change == "set":
        device.set_address("fd00::2/64")
    elif change == "up":
        device.up()
    send(device, "fd00::2" if change in ("add", "set") else "fd00::1")
    counters = read_counters(device.netns)
    assert (counters["Udp6.NoPorts"], counters["Ip6.InAddrErrors"]) == (1, 0)


def test_wait_for_addresses_returns_at_once_without_a_running_link(device):
    device.configure(["fd00::1/64"], up=False)
    wait_for_addresses(device.rtnl, device.ifindex, ["fd00::1/64"], timeout=0)
    device.set_carrier(False)
    device.up()


def test_error_of_wait_for_addresses_names_the_unusable_address(device):
    device.configure(["fd00::1/64"])
    device.rtnl.delete_route("fd00::1", ifindex=device.ifindex, table=255)
    with pytest.raises(KernelError, match="fd00::1 is not usable after 0 s") as caught:
        wait_for_addresses(device.rtnl, device.ifindex, ["fd00::1/64"], timeout=0)
    assert caught.value.errno == errno.ETIMEDOUT
