"""Route lookups of sent, received and forwarded packets."""

import pytest

from tunlab.kernel.network.route_lookup import RouteLookup, lookup_route


@pytest.mark.parametrize(
    ("dst", "src", "expected"),
    [
        ("10.1.2.1", "10.1.2.2", RouteLookup("local", "", 1)),
        ("10.9.9.9", "10.1.2.2", RouteLookup("", error="EHOSTUNREACH")),
        ("10.1.2.1", "127.0.0.1", RouteLookup("", error="EINVAL")),
    ],
)
def test_lookup_route_of_received_packet_returns_route_or_error(netns, tun, dst, src, expected):
    assert lookup_route(netns, dst, src=src, ifindex=tun.ifindex) == expected


def test_lookup_route_of_sent_packet_returns_next_hop_or_error(netns, tun):
    assert lookup_route(netns, "10.1.2.9") == RouteLookup("unicast", "", tun.ifindex)
    tun.rtnl.add_route("192.0.2.0/24", via="10.1.2.7")
    assert lookup_route(netns, "192.0.2.1") == RouteLookup("unicast", "10.1.2.7", tun.ifindex)
    assert lookup_route(netns, "198.51.100.1") == RouteLookup("", error="ENETUNREACH")


def test_lookup_route_of_forwarded_packet_applies_rp_filter(netns, tun):
    netns.set_sysctl("net.ipv4.ip_forward", 1)
    tun.rtnl.add_route("192.0.2.0/24", via="10.1.2.7")
    assert lookup_route(netns, "192.0.2.1", src="10.1.2.2", ifindex=tun.ifindex).via == "10.1.2.7"
    netns.set_sysctl("net.ipv4.conf.tun0.rp_filter", 1)
    assert lookup_route(netns, "10.1.2.1", src="203.0.113.5", ifindex=tun.ifindex).error in ("EINVAL", "EXDEV")
