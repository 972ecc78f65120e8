"""The configuration of a TUN device in one call."""

import socket

import pytest

from tunlab.errors import KernelError


@pytest.mark.parametrize("mtu", [10, 67, 65_536, -1, "1500"])
def test_configure_with_invalid_mtu_changes_nothing(netns, tun, mtu):
    before = tun.link, tun.addresses
    with pytest.raises(KernelError, match=r"^set the MTU of tun0: the MTU .+ is not valid") as raised:
        tun.configure(["10.1.9.1/24"], mtu=mtu)
    assert raised.value.ifname == "tun0"
    assert (tun.link, tun.addresses) == before


def test_configure_accepts_minimum_and_maximum_mtu(tun):
    for mtu in (68, 65_535):
        tun.configure(mtu=mtu)
        assert tun.mtu == mtu


def test_configured_tun_has_neighbour_entry_that_gc_thresh3_does_not_count(netns, tun, need):
    with netns.socket(type=socket.SOCK_DGRAM) as opened:
        opened.sendto(b"x", ("10.1.2.9", 9))
    shown = netns.run([need("ip"), "neigh", "show", "nud", "all"], capture_output=True, text=True, check=True).stdout
    (entry,) = shown.splitlines()
    assert entry.startswith("0.0.0.0 dev tun0 ")
    assert {"NOARP", "extern_learn"} <= set(entry.split())
