"""Properties of the plan of every valid lab: addresses are unique, plans repeatable, reachable nodes reached."""

import ipaddress
import itertools

from hypothesis import given

from tests.topology.strategies import labs, sampled
from tunlab.topology import parse_lab, plan, reachable


@given(labs())
@sampled(100)
def test_plan_is_deterministic(lab):
    spec = lab.spec()
    assert plan(spec) == plan(spec) == plan(parse_lab(lab.text))


@given(labs())
@sampled(100)
def test_plan_numbers_are_unique_and_addresses_in_network(lab):
    planned = plan(lab.spec())
    every = [each for node in planned.nodes for each in node.interfaces]
    macs = [each.hardware_address for each in every if each.link >= 0]
    assert len(set(macs)) == len(macs)
    stations = [cidr for each in every for cidr in each.addresses]
    stations += [cidr for node in planned.nodes for cidr in node.loopback]
    assert len({cidr.partition("/")[0] for cidr in stations}) == len(stations)
    networks = {ipaddress.ip_interface(cidr).network for cidr in stations}
    for one, other in itertools.combinations(networks, 2):
        assert one.version != other.version or not one.overlaps(other)
    for node in planned.nodes:
        first = 100_001 if node.container else 2  # one that runs already has interfaces of its own
        assert [each.ifindex for each in node.interfaces] == list(range(first, first + len(node.interfaces)))
        assert len({each.ifname for each in node.interfaces}) == len(node.interfaces)
        for each in node.interfaces:
            if each.link >= 0:
                assert (node.name, each.ifname) in planned.links[each.link].ends
    ends = [end for link in planned.links for end in link.ends]
    assert len(set(ends)) == len(ends) == len(macs)


@given(labs())
@sampled(100)
def test_every_next_hop_is_a_neighbour(lab):
    for node in plan(lab.spec()).nodes:
        networks = [ipaddress.ip_interface(cidr).network for each in node.interfaces for cidr in each.addresses]
        for route in node.routes:
            assert any(ipaddress.ip_address(route.via) in network for network in networks), (node.name, route)


@given(labs())
@sampled(100)
def test_nodes_joined_by_routers_reach_each_other(lab):
    planned = plan(lab.spec())
    nodes = {node.name: node for node in planned.nodes}
    beside = {name: {other for link in planned.links for other, _ in link.ends
                     if name in {end for end, _ in link.ends} and other != name} for name in nodes}  # fmt: skip
    for (one, other), reached in reachable(planned).items():
        seen, waiting = {one}, [one]
        for name in waiting:
            if name == one or nodes[name].kind in ("router", "switch"):
                found = beside[name] - seen
                seen |= found
                waiting += found
        assert reached == (other in seen), (one, other, lab.text)
