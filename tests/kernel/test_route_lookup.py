"""What the kernel says of a packet's way."""

import pytest

from tunlab.kernel.route_lookup import Way, find_way


@pytest.mark.parametrize(
    ("dst", "src", "way"),
    [
        ("10.1.2.1", "10.1.2.2", Way("local", "", 1)),
        ("10.9.9.9", "10.1.2.2", Way("", refusal="EHOSTUNREACH")),
        ("10.1.2.1", "127.0.0.1", Way("", refusal="EINVAL")),
    ],
)
def test_of_one_that_comes_in(netns, tun, dst, src, way):
    assert find_way(netns, dst, src=src, ifindex=tun.ifindex) == way


def test_of_one_that_is_sent(netns, tun):
    assert find_way(netns, "10.1.2.9") == Way("unicast", "", tun.ifindex)
    tun.rtnl.add_route("192.0.2.0/24", via="10.1.2.7")
    assert find_way(netns, "192.0.2.1") == Way("unicast", "10.1.2.7", tun.ifindex)
    assert find_way(netns, "198.51.100.1") == Way("", refusal="ENETUNREACH")


def test_of_one_that_is_forwarded_and_of_one_that_rp_filter_refuses(netns, tun):
    netns.set_sysctl("net.ipv4.ip_forward", 1)
    tun.rtnl.add_route("192.0.2.0/24", via="10.1.2.7")
    assert find_way(netns, "192.0.2.1", src="10.1.2.2", ifindex=tun.ifindex).via == "10.1.2.7"
    netns.set_sysctl("net.ipv4.conf.tun0.rp_filter", 1)
    assert find_way(netns, "10.1.2.1", src="203.0.113.5", ifindex=tun.ifindex).refusal in ("EINVAL", "EXDEV")
