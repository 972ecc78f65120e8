"""Properties of the plans of random labs: unique numbers, the same plan each time, and complete routes."""

import ipaddress
import itertools

from hypothesis import given

from tests.topology.strategies import labs, sampled
from tunlab.topology import parse_lab, plan, reachable


@given(labs())
@sampled(100)
def test_plan_of_the_same_lab_is_always_the_same(lab):
    spec = lab.spec()
    assert plan(spec) == plan(spec) == plan(parse_lab(lab.text))


@given(labs())
@sampled(100)
def test_names_addresses_and_indexes_in_a_plan_are_unique(lab):
    planned = plan(lab.spec())
    interfaces = [each for node in planned.nodes for each in node.interfaces]
    macs = [each.hardware_address for each in interfaces if each.link >= 0]
    assert len(set(macs)) == len(macs)
    addresses = [cidr for each in interfaces for cidr in each.addresses]
    addresses += [cidr for node in planned.nodes for cidr in node.loopback]
    assert len({cidr.partition("/")[0] for cidr in addresses}) == len(addresses)
    networks = {ipaddress.ip_interface(cidr).network for cidr in addresses}
    for one, other in itertools.combinations(networks, 2):
        assert one.version != other.version or not one.overlaps(other)
    for node in planned.nodes:
        first = 100_001 if node.container else 2  # low indexes may be in use in a running container
        assert [each.ifindex for each in node.interfaces] == list(range(first, first + len(node.interfaces)))
        assert len({each.ifname for each in node.interfaces}) == len(node.interfaces)
        for each in node.interfaces:
            if each.link >= 0:
                assert (node.name, each.ifname) in planned.links[each.link].ends
    ends = [end for link in planned.links for end in link.ends]
    assert len(set(ends)) == len(ends) == len(macs)


@given(labs())
@sampled(100)
def test_routes_in_a_plan_have_next_hops_in_networks_of_the_node(lab):
    for node in plan(lab.spec()).nodes:
        networks = [ipaddress.ip_interface(cidr).network for each in node.interfaces for cidr in each.addresses]
        for route in node.routes:
            assert any(ipaddress.ip_address(route.via) in network for network in networks), (node.name, route)


@given(labs())
@sampled(100)
def test_reachable_is_true_exactly_for_nodes_connected_by_routers_and_switches(lab):
    planned = plan(lab.spec())
    nodes = {node.name: node for node in planned.nodes}
    neighbours = {name: {other for link in planned.links for other, _ in link.ends
                     if name in {end for end, _ in link.ends} and other != name} for name in nodes}  # fmt: skip
    for (one, other), reached in reachable(planned).items():
        connected, to_visit = {one}, [one]
        for name in to_visit:
            if name == one or nodes[name].kind in ("router", "switch"):
                found = neighbours[name] - connected
                connected |= found
                to_visit += found
        assert reached == (other in connected), (one, other, lab.text)
