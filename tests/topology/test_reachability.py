"""Who reaches whom, by the plan's routes alone: right ones, missing ones and wrong ones."""

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


def changed(planned, name, **fields):
    return replace(planned, nodes=tuple(replace(n, **fields) if n.name == name else n for n in planned.nodes))


def lost(planned, family=""):
    return {f"{one}{other}" for (one, other), reached in reachable(planned, family).items() if not reached}


def test_reachable_over_a_path_of_routers(path):
    assert lost(path) == lost(path, "ipv4") == lost(path, "ipv6") == set()
    assert list(reachable(path)) == list(itertools.permutations("arsb", 2))


def test_reachable_neighbour_without_routes(path):
    assert lost(changed(path, "a", routes=())) == {"as", "ab", "sa", "ba"}


def test_reachable_differs_by_ip_version(path):
    four = tuple(route for route in path.node("a").routes if ":" not in route.via)
    assert lost(changed(path, "a", routes=four)) == set()
    assert lost(changed(path, "a", routes=four), "ipv6") == {"as", "ab", "sa", "ba"}


def test_reachable_not_through_a_host(path):
    # r's interface towards a answers s still; what is beyond r does not.
    assert lost(changed(path, "r", sysctls=())) == {"as", "ab", "sa", "ba"}
    assert lost(changed(path, "r", sysctls=(*path.node("r").sysctls, ("net.ipv4.ip_forward", "0"))), "ipv4") != set()


def test_reachable_routing_loop_is_unreachable(path):
    routes = (RoutePlan(to="default", via="10.0.2.1"), RoutePlan(to="10.0.1.0/24", via="10.0.2.1"))
    circle = changed(path, "s", routes=routes)
    circle = changed(circle, "r", routes=(RoutePlan(to="default", via="10.0.2.2"),))
    elsewhere = changed(circle, "b", interfaces=(replace(path.node("b").interfaces[0], addresses=("10.9.9.9/24",)),))
    assert {"ab", "rb", "sb"} <= lost(elsewhere, "ipv4")


def test_reachable_unknown_next_hop_is_unreachable(path):
    assert {"as", "ab"} <= lost(changed(path, "a", routes=(RoutePlan(to="default", via="10.0.1.99"),)), "ipv4")
    assert {"as", "ab"} <= lost(changed(path, "a", routes=(RoutePlan(to="default", via="10.7.0.1"),)), "ipv4")


def test_reachable_uses_the_longest_prefix(path):
    routes = (RoutePlan(to="default", via="10.0.1.1"), RoutePlan(to="10.0.3.0/24", via="10.0.2.2"))
    assert lost(changed(path, "r", routes=routes), "ipv4") == set()
    nearer = (RoutePlan(to="10.0.3.0/24", via="10.0.2.2"), RoutePlan(to="10.0.3.2/32", via="10.0.1.1"))
    assert {"ab", "rb"} <= lost(changed(path, "r", routes=nearer), "ipv4")


def test_reachable_through_two_nat_routers():
    lab = Topology("nat")
    for name, keys in (("a", {}), ("m", {"outside": "n"}), ("n", {"outside": "w"}), ("w", {})):
        lab.node(name, **keys)
    for ends in itertools.pairwise("amnw"):
        lab.link(*ends)
    assert lost(plan(lab.spec())) == {"na", "wa", "wm"}


def test_ping_target_is_an_address_that_replies():
    text = (
        '[nodes]\npc={}\nn={kind="nat",outside="web"}\nweb={}\n[[links]]\nends=["n","pc"]\n[[links]]\nends=["n","web"]'
    )
    planned = plan(parse_lab(text))
    assert ping_target(planned, "pc", "n") == "10.0.1.1"
    assert ping_target(planned, "web", "n") == "10.0.2.1"
    assert ping_target(planned, "web", "pc") == "10.0.1.2"  # none answers: the first
    assert ping_targets(planned)["pc", "web"] == "10.0.2.2"
    with pytest.raises(KeyError):
        ping_target(planned, "web", "nobody")


def test_reachable_skips_nodes_without_address():
    planned = plan(parse_lab("[nodes]\na = {}\nb = {}\nlone = {}\n[[links]]\nends = ['a', 'b']"))
    assert set(reachable(planned)) == {("a", "b"), ("b", "a")}
    assert ping_target(planned, "a", "lone") == ""
