"""Attributes of netlink requests about links and routes."""

import errno
import socket

import pytest

from tunlab.errors import KernelError
from tunlab.kernel.network.request_attributes import address_family, link_attributes, route_request


def key(dst, via=None, ifindex=None, metric=None, table=254, route_type="unicast"):
    return route_request(dst, "add the route", via, ifindex, metric, table, route_type)


def test_link_attributes_returns_only_given_values():
    assert link_attributes("set") == []
    assert link_attributes("set", mtu=0, master=0) == [("IFLA_MTU", 0), ("IFLA_MASTER", 0)]
    assert link_attributes("set", ifname="tun0", txqueuelen=5) == [("IFLA_IFNAME", "tun0"), ("IFLA_TXQLEN", 5)]


def test_link_attributes_with_invalid_name_or_address_raises():
    with pytest.raises(KernelError):
        link_attributes("set", ifname="x" * 16)
    with pytest.raises(KernelError):
        link_attributes("set", hardware_address="02:00")


@pytest.mark.parametrize("mtu", [-1, 1 << 32, 1500.5, "1500"])
def test_link_attributes_with_mtu_out_of_range_raises(mtu):
    with pytest.raises(KernelError, match=r"the MTU .+ is not valid"):
        link_attributes("set", mtu=mtu)


def test_address_family_returns_family_of_ip_version():
    assert (address_family(4), address_family(6)) == (socket.AF_INET, socket.AF_INET6)


def test_route_request_for_default_without_next_hop_is_ipv4():
    fields, attributes = key("default", ifindex=2)
    assert fields == {"family": socket.AF_INET, "dst_len": 0, "table": 254, "type": 1}
    assert attributes == [("RTA_TABLE", 254), ("RTA_OIF", 2)]


def test_route_request_for_default_with_ipv6_next_hop_is_ipv6():
    fields, attributes = key("default", via="fd00::1")
    assert fields["family"] == socket.AF_INET6
    assert ("RTA_GATEWAY", "fd00::1") in attributes


def test_route_request_has_large_table_number_only_in_an_attribute():
    fields, attributes = key("192.0.2.0/24", table=1000, metric=7)
    assert (fields["table"], fields["dst_len"]) == (0, 24)
    assert attributes == [("RTA_TABLE", 1000), ("RTA_DST", "192.0.2.0"), ("RTA_PRIORITY", 7)]


def test_error_of_route_request_with_unknown_type_gives_reason():
    with pytest.raises(KernelError, match=r"the route type .+ does not exist") as raised:
        key("192.0.2.0/24", route_type="blackole")
    assert raised.value.errno == errno.EINVAL
    assert "blackhole" in raised.value.remedy
