"""Routes, rules and neighbours, changed and listed with rtnetlink."""

import errno
import socket

import pytest

from tunlab.errors import KernelError
from tunlab.kernel.namespace.netns import Netns
from tunlab.kernel.network.rtnl import Rtnl


@pytest.fixture
def bridge(rtnl):
    return rtnl.add_link("br0", "bridge")


@pytest.fixture
def routed(rtnl, bridge):
    rtnl.add_address(bridge, "10.1.2.1/24")
    rtnl.set_link(bridge, up=True)
    return bridge


def test_add_address_adds_prefix_route(rtnl, routed):
    (route,) = rtnl.routes()
    assert (route.dst, route.ifindex, route.source, route.protocol) == ("10.1.2.0/24", routed, "10.1.2.1", 2)


def test_add_route_with_next_hop_sets_given_fields(rtnl, routed):
    rtnl.add_route("192.0.2.0/24", via="10.1.2.2", metric=5, mtu=1300, source="10.1.2.1")
    route = next(route for route in rtnl.routes() if route.dst == "192.0.2.0/24")
    assert (route.via, route.ifindex, route.metric, route.mtu, route.source) == (
        "10.1.2.2", routed, 5, 1300, "10.1.2.1",
    )  # fmt: skip


def test_default_route_is_listed_until_deleted(rtnl, routed):
    rtnl.add_route("default", via="10.1.2.2")
    assert "default" in [route.dst for route in rtnl.routes()]
    rtnl.delete_route("default")
    assert "default" not in [route.dst for route in rtnl.routes()]


def test_route_to_single_address_has_link_scope(rtnl, routed):
    rtnl.add_route("192.0.2.7", ifindex=routed)
    route = next(route for route in rtnl.routes() if route.dst == "192.0.2.7/32")
    assert (route.scope, route.via) == (253, "")


@pytest.mark.parametrize("kind", ["blackhole", "unreachable", "prohibit", "throw"])
def test_route_that_drops_packets_has_no_interface(rtnl, kind):
    rtnl.add_route("192.0.2.0/24", type=kind)
    assert [(route.type, route.dst, route.ifindex) for route in rtnl.routes()] == [(kind, "192.0.2.0/24", 0)]


def test_route_of_type_local_allows_binding_to_its_address(rtnl):
    rtnl.add_route("192.0.2.0/24", ifindex=1, type="local", table=255)
    with rtnl.netns.socket(type=socket.SOCK_DGRAM) as bound:
        bound.bind(("192.0.2.99", 0))


def test_route_in_another_table_is_listed_only_in_that_table(rtnl, routed):
    rtnl.add_route("192.0.2.0/24", via="10.1.2.2", table=1000)
    assert [route.dst for route in rtnl.routes(1000)] == ["192.0.2.0/24"]
    assert "192.0.2.0/24" not in [route.dst for route in rtnl.routes()]
    assert {route.table for route in rtnl.routes(0)} == {254, 255, 1000}


def test_second_add_of_a_route_raises_unless_replace_is_given(rtnl, routed):
    rtnl.add_route("192.0.2.0/24", via="10.1.2.2")
    with pytest.raises(KernelError) as raised:
        rtnl.add_route("192.0.2.0/24", via="10.1.2.3")
    assert raised.value.errno == errno.EEXIST
    rtnl.add_route("192.0.2.0/24", via="10.1.2.3", replace=True)
    assert [route.via for route in rtnl.routes() if route.dst == "192.0.2.0/24"] == ["10.1.2.3"]


def test_ipv6_route_is_listed_until_deleted():
    with Netns.create(ipv6=True) as netns, Rtnl(netns) as rtnl:
        index = rtnl.add_link("br0", "bridge", up=True)
        rtnl.add_address(index, "fd00::1/64")
        rtnl.add_route("fd01::/64", via="fd00::2")
        rtnl.add_route("default", via="fd00::2")
        routes = {route.dst: route.via for route in rtnl.routes(family=socket.AF_INET6)}
        assert (routes["fd01::/64"], routes["default"]) == ("fd00::2", "fd00::2")
        rtnl.delete_route("fd01::/64")
        assert "fd01::/64" not in [route.dst for route in rtnl.routes()]


def test_add_route_with_unreachable_next_hop_raises(rtnl, routed):
    with pytest.raises(KernelError, match="Nexthop has invalid gateway") as raised:
        rtnl.add_route("192.0.2.0/24", via="203.0.113.1")
    assert raised.value.errno == errno.ENETUNREACH


def test_delete_of_missing_route_raises(rtnl, routed):
    with pytest.raises(KernelError) as raised:
        rtnl.delete_route("192.0.2.0/24")
    assert raised.value.errno == errno.ESRCH


def test_rules_are_in_evaluation_order():
    with Netns.create(ipv6=True) as netns, Rtnl(netns) as rtnl:
        assert [(rule.family, rule.priority) for rule in rtnl.rules()] == [
            (socket.AF_INET, 0), (socket.AF_INET, 32766), (socket.AF_INET, 32767),
            (socket.AF_INET6, 0), (socket.AF_INET6, 32766),
        ]  # fmt: skip


def test_neighbour_is_listed_until_deleted(rtnl, routed):
    rtnl.add_neighbour(routed, "10.1.2.2", "02:00:00:00:00:02")
    (neighbour,) = rtnl.neighbours(routed)
    assert (neighbour.address, neighbour.hardware_address) == ("10.1.2.2", "02:00:00:00:00:02")
    assert (neighbour.state, neighbour.ifindex, neighbour.family) == ("permanent", routed, socket.AF_INET)
    rtnl.add_neighbour(routed, "10.1.2.2", "02:00:00:00:00:03")
    # Look up the entry by its address, because IGMP may have added an entry for a multicast group.
    hardware = {n.address: n.hardware_address for n in rtnl.neighbours()}
    assert hardware["10.1.2.2"] == "02:00:00:00:00:03"
    rtnl.delete_neighbour(routed, "10.1.2.2")
    assert "10.1.2.2" not in [n.address for n in rtnl.neighbours(routed)]


def test_add_neighbour_with_invalid_hardware_address_raises(rtnl, routed):
    with pytest.raises(KernelError, match="six bytes"):
        rtnl.add_neighbour(routed, "10.1.2.2", "02:00")
