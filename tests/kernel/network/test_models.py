"""Links, addresses, routes and rules, decoded from netlink messages."""

import socket

import msgspec
import pytest

from tunlab.kernel.network.models import ROUTE_TYPES, Address, Link, Route

ADDRESS = Address(ifindex=2, family=socket.AF_INET, address="10.1.2.1", prefix_length=24, peer="", scope=0, flags=128)


def test_cidr_of_address_has_address_and_prefix_length():
    assert ADDRESS.cidr == "10.1.2.1/24"


def test_netlink_models_are_immutable_and_compare_by_value():
    with pytest.raises(AttributeError):
        ADDRESS.ifindex = 3
    again = Address(ifindex=2, family=2, address="10.1.2.1", prefix_length=24, peer="", scope=0, flags=128)
    assert again == ADDRESS
    assert len({again, ADDRESS}) == 1


def test_netlink_models_encode_to_json():
    assert msgspec.json.decode(msgspec.json.encode(ADDRESS), type=Address) == ADDRESS


def test_route_type_has_the_number_of_the_kernel_as_index():
    assert (ROUTE_TYPES[1], ROUTE_TYPES[2], ROUTE_TYPES[6], ROUTE_TYPES[9]) == (
        "unicast",
        "local",
        "blackhole",
        "throw",
    )


def test_link_message_of_lo_is_decoded(rtnl):
    lo = rtnl.link(1)
    assert isinstance(lo, Link)
    assert (lo.name, lo.kind, lo.mtu, lo.up, lo.running, lo.carrier) == ("lo", "", 65536, True, True, True)
    assert (lo.operstate, lo.hardware_address, lo.txqueuelen) == ("unknown", "00:00:00:00:00:00", 1000)
    assert lo.master == lo.peer_index == lo.rx_packets == lo.tx_dropped == 0


def test_point_to_point_address_has_peer(rtnl):
    rtnl.add_address(1, "10.9.0.1/32", peer="10.9.0.2")
    (address,) = [address for address in rtnl.addresses(1) if address.peer]
    assert (address.address, address.peer, address.prefix_length) == ("10.9.0.1", "10.9.0.2", 32)


def test_local_route_is_decoded(rtnl):
    local = next(route for route in rtnl.routes(255) if route.dst == "127.0.0.1/32")
    assert isinstance(local, Route)
    assert (local.type, local.ifindex, local.table, local.source) == ("local", 1, 255, "127.0.0.1")
    assert (local.scope, local.protocol, local.via, local.metric, local.mtu) == (254, 2, "", 0, 0)


def test_rules_of_new_namespace_are_decoded(rtnl):
    rules = rtnl.rules(socket.AF_INET)
    assert [(rule.priority, rule.table) for rule in rules] == [(0, 255), (32766, 254), (32767, 253)]
    assert {(rule.src, rule.dst, rule.iif, rule.oif, rule.fwmark) for rule in rules} == {("", "", "", "", 0)}
