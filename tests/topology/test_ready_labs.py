"""The plans of the ready labs, which are the files in lab/. tests/cli creates each of these labs."""

from pathlib import Path

import pytest

from tunlab.topology import parse_lab, plan, reachable

LABS = Path(__file__).parents[2] / "lab"
NAMES = ["bridge", "default", "dnsmasq", "dual-stack", "nat", "router", "two-hosts", "two-stacks"]


def plan_of(name):
    file = LABS / f"{name}.toml"
    return plan(parse_lab(file.read_text(), str(file)))


def test_readme_lists_every_ready_lab():
    assert sorted(file.stem for file in LABS.glob("*.toml")) == NAMES
    readme = (LABS / "README.md").read_text()
    assert all(f"`{name}.toml`" in readme for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_ready_lab_is_named_after_its_file(name):
    assert plan_of(name).name == ("lab" if name == "default" else name)


@pytest.mark.parametrize("name", ["bridge", "dual-stack", "two-hosts"])
@pytest.mark.parametrize("family", ["", "ipv4"])
def test_ready_lab_nodes_reach_each_other(name, family):
    matrix = reachable(plan_of(name), family)
    assert matrix
    assert all(matrix.values())


def test_dual_stack_lab_nodes_reach_each_other_over_ipv6():
    assert all(reachable(plan_of("dual-stack"), "ipv6").values())
    assert len(reachable(plan_of("dual-stack"), "ipv6")) == 20


def test_router_lab_node_without_link_is_unreachable():
    assert {pair for pair, reached in reachable(plan_of("router")).items() if reached} == {
        (one, other)
        for one in ("client", "router", "server")
        for other in ("client", "router", "server")
        if one != other
    }


def test_nat_lab_inside_nodes_are_unreachable_from_outside():
    unreachable = {pair for pair, reached in reachable(plan_of("nat")).items() if not reached}
    assert unreachable == {("server", "laptop"), ("server", "phone")}


def test_two_stacks_lab_forwards_between_its_two_tuns():
    (kernel,) = plan_of("two-stacks").nodes
    assert kernel.sysctls == (("net.ipv4.ip_forward", "1"),)
    assert {each.ifname: each.addresses for each in kernel.interfaces} == {
        "tun0": ("10.1.2.1/24",),
        "tun1": ("10.1.3.1/24",),
    }
