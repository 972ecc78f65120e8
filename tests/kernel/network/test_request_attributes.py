import errno
import socket

import pytest

from tunlab.errors import KernelError
from tunlab.kernel.network.request_attributes import address_family, link_attributes, route_request


def key(dst, via=None, ifindex=None, metric=None, table=254, route_type="unicast"):
    return route_request(dst, "add the route", via, ifindex, metric, table, route_type)


def test_only_what_is_given_becomes_an_attribute():
    assert link_attributes("set") == []
    assert link_attributes("set", mtu=0, master=0) == [("IFLA_MTU", 0), ("IFLA_MASTER", 0)]
    assert link_attributes("set", ifname="tun0", txqueuelen=5) == [("IFLA_IFNAME", "tun0"), ("IFLA_TXQLEN", 5)]


def test_names_and_hardware_addresses_are_checked():
    with pytest.raises(KernelError):
        link_attributes("set", ifname="x" * 16)
    with pytest.raises(KernelError):
        link_attributes("set", hardware_address="02:00")


@pytest.mark.parametrize("mtu", [-1, 1 << 32, 1500.5, "1500"])
def test_an_mtu_that_no_message_holds_is_refused_before_the_kernel_is_asked(mtu):
    with pytest.raises(KernelError, match="is no MTU"):
        link_attributes("set", mtu=mtu)


def test_a_family_is_that_of_its_version():
    assert (address_family(4), address_family(6)) == (socket.AF_INET, socket.AF_INET6)


def test_default_without_a_next_hop_is_ipv4s():
    fields, attributes = key("default", ifindex=2)
    assert fields == {"family": socket.AF_INET, "dst_len": 0, "table": 254, "type": 1}
    assert attributes == [("RTA_TABLE", 254), ("RTA_OIF", 2)]


def test_default_by_an_ipv6_next_hop_is_ipv6s():
    fields, attributes = key("default", via="fd00::1")
    assert fields["family"] == socket.AF_INET6
    assert ("RTA_GATEWAY", "fd00::1") in attributes


def test_a_large_table_goes_into_the_attribute_alone():
    fields, attributes = key("192.0.2.0/24", table=1000, metric=7)
    assert (fields["table"], fields["dst_len"]) == (0, 24)
    assert attributes == [("RTA_TABLE", 1000), ("RTA_DST", "192.0.2.0"), ("RTA_PRIORITY", 7)]


def test_an_unknown_type_is_explained():
    with pytest.raises(KernelError, match="is no type of route") as raised:
        key("192.0.2.0/24", route_type="blackole")
    assert raised.value.errno == errno.EINVAL
    assert "blackhole" in raised.value.remedy
