"""Source NAT: the source address of packets that leave the router."""

import errno
import socket
import subprocess
import sys

import pytest

from tunlab.errors import KernelError
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.network.nftables import masquerade
from tunlab.kernel.network.rtnl import Rtnl


@pytest.fixture
def row():
    """Create the namespaces inside, router and outside, linked in this order; outside has no route to inside."""
    with (
        Netns.create() as inside,
        Netns.create(sysctls={"net.ipv4.ip_forward": "1"}) as router,
        Netns.create() as outside,
        Rtnl(router) as here,
        Rtnl(inside) as one,
        Rtnl(outside) as other,
    ):
        here.add_veth("in", "eth0", peer_netns=inside, ifindex=2, peer_ifindex=2)
        here.add_veth("out", "eth0", peer_netns=outside, ifindex=3, peer_ifindex=2)
        ends = ((here, 2, "10.0.1.1/24"), (here, 3, "10.0.2.1/24"), (one, 2, "10.0.1.2/24"), (other, 2, "10.0.2.2/24"))
        for rtnl, ifindex, address in ends:
            rtnl.add_address(ifindex, address)
            rtnl.set_link(ifindex, up=True)
        one.add_route("default", via="10.0.1.1")
        yield inside, router, outside


def test_masquerade_rewrites_source_to_router_address(row):
    inside, router, outside = row
    masquerade(router, "out")
    with (
        outside.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        inside.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(("", 9))
        receiver.settimeout(10)
        sender.settimeout(10)
        sender.sendto(b"question", ("10.0.2.2", 9))
        question, (address, port) = receiver.recvfrom(100)
        assert (question, address) == (b"question", "10.0.2.1")
        receiver.sendto(b"answer", (address, port))
        assert sender.recv(100) == b"answer"


def test_second_masquerade_keeps_one_table(row):
    router = row[1]
    masquerade(router, "out")
    masquerade(router, "in")


@pytest.mark.parametrize("name", ["", "a name", "x" * 16])
def test_masquerade_with_invalid_interface_name_raises(row, name):
    with pytest.raises(KernelError) as caught:
        masquerade(row[1], name)
    assert caught.value.errno == errno.EINVAL


def test_masquerade_without_capability_raises(without_capabilities):
    script = "from tunlab.kernel.namespace.netns import Netns; from tunlab.kernel.network.nftables import masquerade\n"
    script += "masquerade(Netns.current(), 'out')"
    done = subprocess.run(
        [*without_capabilities, sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert "PrivilegeError: " in done.stderr
    assert "CAP_" in done.stderr.splitlines()[-1]
