"""Predicted reachability with correct, missing and wrong routes. The pair "ab" is a ping from node a to node b."""

import itertools

import pytest
from msgspec.structs import replace

from tunlab.topology import Topology, parse_lab, ping_target, ping_targets, plan, reachable
from tunlab.topology.plan import RoutePlan


@pytest.fixture
def path():
    lab = Topology("path", ip="both")
    for name, forward in (("a", False), ("r", True), ("s", True), ("b", False)):
        lab.node(name, forward=forward)
    for ends in itertools.pairwise("arsb"):
        lab.link(*ends)
    return plan(lab.spec())


def change_node(planned, name, **fields):
    return replace(planned, nodes=tuple(replace(n, **fields) if n.name == name else n for n in planned.nodes))


def unreachable_pairs(planned, family=""):
    return {f"{one}{other}" for (one, other), reached in reachable(planned, family).items() if not reached}


def test_reachable_is_true_through_two_routers(path):
    assert unreachable_pairs(path) == unreachable_pairs(path, "ipv4") == unreachable_pairs(path, "ipv6") == set()
    assert list(reachable(path)) == list(itertools.permutations("arsb", 2))


def test_reachable_is_true_from_a_node_without_routes_only_to_neighbours(path):
    assert unreachable_pairs(change_node(path, "a", routes=())) == {"as", "ab", "sa", "ba"}


def test_reachable_is_false_only_over_ipv6_without_ipv6_routes(path):
    ipv4_routes = tuple(route for route in path.node("a").routes if ":" not in route.via)
    assert unreachable_pairs(change_node(path, "a", routes=ipv4_routes)) == set()
    assert unreachable_pairs(change_node(path, "a", routes=ipv4_routes), "ipv6") == {"as", "ab", "sa", "ba"}


def test_reachable_is_false_through_a_node_that_does_not_forward(path):
    # Node r does not forward packets, but it replies to its neighbours' pings of any of its addresses.
    assert unreachable_pairs(change_node(path, "r", sysctls=())) == {"as", "ab", "sa", "ba"}
    assert (
        unreachable_pairs(
            change_node(path, "r", sysctls=(*path.node("r").sysctls, ("net.ipv4.ip_forward", "0"))), "ipv4"
        )
        != set()
    )


def test_reachable_is_false_through_a_routing_loop(path):
    routes = (RoutePlan(to="default", via="10.0.2.1"), RoutePlan(to="10.0.1.0/24", via="10.0.2.1"))
    loop = change_node(path, "s", routes=routes)
    loop = change_node(loop, "r", routes=(RoutePlan(to="default", via="10.0.2.2"),))
    loop_beyond_b = change_node(
        loop, "b", interfaces=(replace(path.node("b").interfaces[0], addresses=("10.9.9.9/24",)),)
    )
    assert {"ab", "rb", "sb"} <= unreachable_pairs(loop_beyond_b, "ipv4")


def test_reachable_is_false_through_an_unknown_next_hop(path):
    assert {"as", "ab"} <= unreachable_pairs(
        change_node(path, "a", routes=(RoutePlan(to="default", via="10.0.1.99"),)), "ipv4"
    )
    assert {"as", "ab"} <= unreachable_pairs(
        change_node(path, "a", routes=(RoutePlan(to="default", via="10.7.0.1"),)), "ipv4"
    )


def test_reachable_follows_the_route_with_the_longest_prefix(path):
    routes = (RoutePlan(to="default", via="10.0.1.1"), RoutePlan(to="10.0.3.0/24", via="10.0.2.2"))
    assert unreachable_pairs(change_node(path, "r", routes=routes), "ipv4") == set()
    host_route = (RoutePlan(to="10.0.3.0/24", via="10.0.2.2"), RoutePlan(to="10.0.3.2/32", via="10.0.1.1"))
    assert {"ab", "rb"} <= unreachable_pairs(change_node(path, "r", routes=host_route), "ipv4")


def test_reachable_is_false_from_outside_to_nodes_behind_two_nat_routers():
    lab = Topology("nat")
    for name, keys in (("a", {}), ("m", {"outside": "n"}), ("n", {"outside": "w"}), ("w", {})):
        lab.node(name, **keys)
    for ends in itertools.pairwise("amnw"):
        lab.link(*ends)
    assert unreachable_pairs(plan(lab.spec())) == {"na", "wa", "wm"}


def test_ping_target_is_the_first_address_that_is_reachable():
    text = (
        '[nodes]\npc={}\nn={kind="nat",outside="web"}\nweb={}\n[[links]]\nends=["n","pc"]\n[[links]]\nends=["n","web"]'
    )
    planned = plan(parse_lab(text))
    assert ping_target(planned, "pc", "n") == "10.0.1.1"
    assert ping_target(planned, "web", "n") == "10.0.2.1"
    assert ping_target(planned, "web", "pc") == "10.0.1.2"  # pc's first address, because none of its addresses replies
    assert ping_targets(planned)["pc", "web"] == "10.0.2.2"
    with pytest.raises(KeyError):
        ping_target(planned, "web", "nobody")


def test_reachable_omits_nodes_without_an_address():
    planned = plan(parse_lab("[nodes]\na = {}\nb = {}\nlone = {}\n[[links]]\nends = ['a', 'b']"))
    assert set(reachable(planned)) == {("a", "b"), ("b", "a")}
    assert ping_target(planned, "a", "lone") == ""
