"""Source NAT: whose address the other side sees."""

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
    """Three namespaces, inside - router - outside; outside has no route to inside."""
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


def test_the_other_side_sees_the_routers_address(row):
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


def test_it_is_all_or_nothing_and_once(row):
    router = row[1]
    masquerade(router, "out")
    masquerade(router, "in")


@pytest.mark.parametrize("name", ["", "a name", "x" * 16])
def test_a_name_that_cannot_be(row, name):
    with pytest.raises(KernelError) as caught:
        masquerade(row[1], name)
    assert caught.value.errno == errno.EINVAL


def test_without_the_right_to(without_capabilities):
    script = "from tunlab.kernel.namespace.netns import Netns; from tunlab.kernel.network.nftables import masquerade\n"
    script += "masquerade(Netns.current(), 'out')"
    done = subprocess.run(
        [*without_capabilities, sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert "PrivilegeError: " in done.stderr
    assert "CAP_" in done.stderr.splitlines()[-1]
