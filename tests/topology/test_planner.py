"""Planning of interface names, addresses and routes."""

import ipaddress
import itertools

import pytest

from tunlab.topology import LabSpec, Topology, parse_lab, plan, reachable
from tunlab.topology.plan import CommandPlan, Impairment, InterfacePlan, LinkPlan, NodePlan, RoutePlan
from tunlab.topology.planner.allocation import Pool

ROUTER = """
name = "router"
[nodes]
client = {}
router = { forward = true }
server = { run = ["python3 -m http.server 80"] }
stack  = { tun = "10.9.0.1/24" }
[[links]]
ends = ["client", "router"]
[[links]]
ends = ["router:lan0", "server:eth0"]
subnet = "10.0.2.0/24"
mtu = 1400
delay = "20ms"
"""


def plan_of(text):
    return plan(parse_lab(text))


def addresses(planned, node):
    return {each.ifname: each.addresses for each in planned.node(node).interfaces}


class TestInterfaces:
    def test_plan_of_a_router_lab_has_every_interface_route_and_host_name(self):
        planned = plan_of(ROUTER)
        delay = Impairment(delay_us=20_000)
        assert planned.node("router") == NodePlan(
            name="router",
            kind="router",
            interfaces=(
                InterfacePlan(
                    ifname="eth0", ifindex=2, hardware_address="02:00:00:00:01:02", addresses=("10.0.1.2/24",),
                    mtu=1500, link=0,
                ),
                InterfacePlan(
                    ifname="lan0", ifindex=3, hardware_address="02:00:00:00:02:01", addresses=("10.0.2.1/24",),
                    mtu=1400, link=1, impairment=delay,
                ),
            ),
            sysctls=(("net.ipv4.ip_forward", "1"),),
        )  # fmt: skip
        assert planned.links == (
            LinkPlan(ends=(("client", "eth0"), ("router", "eth0"))),
            LinkPlan(ends=(("router", "lan0"), ("server", "eth0"))),
        )
        assert planned.node("client").routes == (RoutePlan(to="default", via="10.0.1.2"),)
        assert planned.node("server").routes == (RoutePlan(to="default", via="10.0.2.1"),)
        assert planned.node("server").interfaces[0].impairment == delay
        assert planned.node("server").run == (CommandPlan(arguments=("python3", "-m", "http.server", "80")),)
        assert planned.node("stack").tun == "tun0"
        assert planned.node("stack").interfaces[0].link == -1
        assert planned.hosts == (
            ("10.0.1.1", ("client", "client.lab")),
            ("10.0.1.2", ("router", "router.lab")),
            ("10.0.2.1", ("router", "router.lab")),
            ("10.0.2.2", ("server", "server.lab")),
            ("10.9.0.1", ("stack", "stack.lab")),
        )

    def test_plan_of_the_default_lab_is_one_node_with_a_tun(self):
        (node,) = plan(LabSpec()).nodes
        assert (node.name, node.tun, node.ipv6, node.sysctls, node.routes) == ("stack", "tun0", False, (), ())
        (tun,) = node.interfaces
        assert (tun.ifname, tun.ifindex, tun.addresses, tun.mtu) == ("tun0", 2, ("10.1.2.1/24",), 1500)

    def test_plan_of_a_link_with_three_ends_adds_a_bridge(self):
        planned = plan_of('[nodes]\na={}\nb={}\nc={}\n[[links]]\nends=["a","b","c"]\nmtu=1400\ndelay="1ms"')
        bridge = planned.node("link1")
        assert (bridge.kind, bridge.implicit, bridge.bridge) == ("switch", True, "br0")
        assert [(each.ifname, each.hardware_address, each.mtu) for each in bridge.interfaces] == [
            ("eth0", "02:01:00:00:01:01", 1400),
            ("eth1", "02:01:00:00:01:02", 1400),
            ("eth2", "02:01:00:00:01:03", 1400),
        ]
        # The nodes' interfaces delay packets. The bridge's ports must not, or each packet would be delayed twice.
        assert not any(each.impairment.delay_us for each in bridge.interfaces)
        assert [planned.node(name).interfaces[0].impairment.delay_us for name in "abc"] == [1000] * 3
        assert addresses(planned, "c") == {"eth0": ("10.0.1.3/24",)}
        assert planned.links[2] == LinkPlan(ends=(("c", "eth0"), ("link1", "eth2")))

    def test_plan_gives_links_joined_by_switches_one_network(self):
        text = """
            [nodes]
            a = {}
            s = { kind = "switch" }
            t = { kind = "switch" }
            b = {}
            c = {}
            [[links]]
            ends = ["a", "s"]
            [[links]]
            ends = ["b", "c"]
            [[links]]
            ends = ["t", "b"]
            [[links]]
            ends = ["s", "t"]
        """
        planned = plan_of(text)
        assert addresses(planned, "a") == {"eth0": ("10.0.1.1/24",)}
        assert addresses(planned, "b") == {"eth0": ("10.0.2.1/24",), "eth1": ("10.0.1.2/24",)}
        assert addresses(planned, "s") == {"eth0": (), "eth1": ()}

    def test_plan_keeps_given_addresses_and_assigns_the_missing_ones(self):
        text = """
            [nodes]
            a = {}
            b = {}
            c = {}
            [[links]]
            ends = [{ node = "a", address = "10.0.1.7/24" }, "b"]
            [[links]]
            ends = ["a:eth0", "c", { node = "b", address = "10.0.2.1", ifname = "up", mac = "0A:00:00:00:00:01" }]
            subnet = "10.0.2.0/24"
            [[links]]
            ends = ["a", "b"]
            subnet = "10.0.4.0/24"
            [[links]]
            ends = ["a", "b"]
        """
        planned = plan_of(text)
        assert addresses(planned, "a") == {
            "eth1": ("10.0.1.7/24",),
            "eth0": ("10.0.2.3/24",),  # the default address, 10.0.2.1, belongs to node b
            "eth2": ("10.0.4.1/24",),
            "eth3": ("10.0.0.1/24",),  # the default network, 10.0.4.0/24, belongs to the third link
        }
        assert addresses(planned, "b")["up"] == ("10.0.2.1/24",)
        assert planned.node("b").interfaces[1].hardware_address == "0a:00:00:00:00:01"

    def test_plan_uses_both_addresses_of_a_slash_31_network(self):
        planned = plan_of('[nodes]\na={}\nb={}\n[[links]]\nends=["a","b"]\nsubnet="10.0.1.4/31"')
        assert (addresses(planned, "a"), addresses(planned, "b")) == (
            {"eth0": ("10.0.1.4/31",)},
            {"eth0": ("10.0.1.5/31",)},
        )

    def test_plan_gives_a_bridge_of_300_nodes_a_slash_23_network(self):
        lab = Topology("large")
        names = [lab.node(f"n{number}") for number in range(300)]
        lab.link(*names)
        planned = plan(lab.spec())
        assert addresses(planned, "n0") == {"eth0": ("10.0.2.1/23",)}
        assert addresses(planned, "n299") == {"eth0": ("10.0.3.44/23",)}
        assert planned.node("n299").interfaces[0].hardware_address == "02:00:01:00:01:2c"

    @pytest.mark.parametrize(("hosts", "network"), [(254, "10.0.1.0/24"), (255, "10.0.2.0/23"), (511, "10.0.4.0/22")])
    def test_address_pool_allocates_a_network_that_fits_the_hosts(self, hosts, network):
        assert Pool("10.0.0.0/16").allocate([(1, hosts)]) == [ipaddress.ip_network(network)]

    def test_plan_assigns_networks_that_do_not_overlap_given_networks(self):
        text = '[nodes]\na={}\nb={}\n[[links]]\nends=["a","b"]\n[[links]]\nends=["a","b"]\nsubnet="10.0.0.0/22"'
        assert addresses(plan_of(text), "a") == {"eth0": ("10.0.4.1/24",), "eth1": ("10.0.0.1/22",)}

    def test_plan_with_both_ip_versions_has_ipv4_and_ipv6_addresses_and_routes(self):
        planned = plan_of('ip="both"\n[nodes]\na={}\nr={forward=true}\n[[links]]\nends=["a","r"]')
        assert addresses(planned, "a") == {"eth0": ("10.0.1.1/24", "fd00:0:0:1::1/64")}
        assert planned.node("a").routes == (
            RoutePlan(to="default", via="10.0.1.2"),
            RoutePlan(to="default6", via="fd00:0:0:1::2"),
        )
        assert planned.node("r").sysctls == (("net.ipv4.ip_forward", "1"), ("net.ipv6.conf.all.forwarding", "1"))
        assert planned.node("r").ipv6

    def test_impairment_of_a_link_end_overrides_that_of_the_link(self):
        text = """
            [nodes]
            a = {}
            b = {}
            [[links]]
            ends = [{ node = "a", rate = "1mbit", loss = 0.5 }, "b"]
            delay = "20ms"
            jitter = "100us"
            rate = "10mbit"
            duplicate = "0.1%"
        """
        planned = plan_of(text)
        (from_a,), (from_b,) = (planned.node(name).interfaces for name in "ab")
        assert from_a.impairment == Impairment(
            rate=1_000_000, delay_us=20_000, jitter_us=100, loss=0.5, duplicate=0.001
        )
        assert from_b.impairment == Impairment(rate=10_000_000, delay_us=20_000, jitter_us=100, duplicate=0.001)

    def test_plan_of_a_node_with_two_tuns_has_both_interfaces(self):
        planned = plan_of('[nodes]\nk={forward=true, mtu=1400, tuns={a0="10.1.2.1/24",b0=["10.1.3.1/24"]}}')
        kernel = planned.node("k")
        assert (kernel.tun, kernel.kind) == ("a0", "router")
        assert [(each.ifname, each.ifindex, each.addresses, each.mtu, each.link) for each in kernel.interfaces] == [
            ("a0", 2, ("10.1.2.1/24",), 1400, -1),
            ("b0", 3, ("10.1.3.1/24",), 1400, -1),
        ]

    def test_plan_keeps_programs_files_and_sysctls_of_a_node(self):
        text = """
            [nodes.a]
            loopback = "192.0.2.1"
            sysctls = { "net.ipv4.tcp_sack" = 0 }
            files = { "/etc/motd" = "motd.txt" }
            run = [{ command = ["sleep", "1 h"], ready = { port = 80, line = "^up" }, timeout = "1.5s" }]
            image = "nginx"
        """
        node = plan_of(text).node("a")
        assert (node.kind, node.image) == ("container", "nginx")
        assert (node.loopback, node.sysctls) == (("192.0.2.1/32",), (("net.ipv4.tcp_sack", "0"),))
        assert node.files == (("/etc/motd", "motd.txt"),)
        assert node.run == (CommandPlan(arguments=("sleep", "1 h"), ready_port=80, ready_line="^up", timeout=1.5),)


class TestRoutes:
    def test_routes_over_equally_long_paths_take_the_first_path(self):
        text = """
            [nodes]
            r1 = { forward = true }
            r2 = { forward = true }
            r3 = { forward = true }
            r4 = { forward = true }
            [[links]]
            ends = ["r1", "r2"]
            [[links]]
            ends = ["r1", "r3"]
            [[links]]
            ends = ["r2", "r4"]
            [[links]]
            ends = ["r3", "r4"]
        """
        assert plan_of(text).node("r1").routes == (
            RoutePlan(to="10.0.3.0/24", via="10.0.1.2"),
            RoutePlan(to="10.0.4.0/24", via="10.0.2.2"),
        )
        assert plan_of(text).node("r4").routes == (
            RoutePlan(to="10.0.1.0/24", via="10.0.3.1"),
            RoutePlan(to="10.0.2.0/24", via="10.0.4.1"),
        )

    def test_routes_of_a_host_between_two_routers_use_both_routers(self):
        text = '[nodes]\nh={}\nr={forward=true,tun="10.8.0.1/24"}\ns={forward=true,loopback="192.0.2.1"}\n' + "".join(
            f'[[links]]\nends=["h","{router}"]\n' for router in "rs"
        )
        assert plan_of(text).node("h").routes == (
            RoutePlan(to="10.8.0.0/24", via="10.0.1.2"),
            RoutePlan(to="192.0.2.1/32", via="10.0.2.2"),
        )

    def test_routes_to_a_tun_network_lead_to_the_node_with_the_tun(self):
        text = '[nodes]\na={}\nr={forward=true}\nstack={tun="10.9.0.1/24"}\n' + "".join(
            f'[[links]]\nends=["{node}","r"]\n' for node in ("a", "stack")
        )
        planned = plan_of(text)
        assert planned.node("r").routes == (RoutePlan(to="10.9.0.0/24", via="10.0.2.1"),)
        assert all(reachable(planned).values())

    def test_routes_to_the_tun_of_a_neighbour_bypass_the_default_gateway(self):
        text = """
            [nodes]
            h = {}
            r = { forward = true }
            stack = { tun = "10.9.0.1/24" }
            far = {}
            [[links]]
            ends = ["h", "r", "stack"]
            [[links]]
            ends = ["r", "far"]
        """
        assert plan_of(text).node("h").routes == (
            RoutePlan(to="10.9.0.0/24", via="10.0.1.3"),
            RoutePlan(to="default", via="10.0.1.2"),
        )

    def test_routes_given_as_an_empty_list_leave_a_node_without_routes(self):
        text = '[nodes]\na = { routes = [] }\nr = { forward = true }\n[[links]]\nends = ["a", "r"]'
        assert plan_of(text).node("a").routes == ()

    def test_routes_given_in_the_lab_file_replace_computed_routes(self):
        text = """
            ip = "both"
            [nodes]
            a = { routes = [{ to = "0.0.0.0/0", via = "10.0.1.2" }, { to = "default", via = "fd00:0:0:1::2" }] }
            b = { forward = true, routes = [] }
            c = { routes = [{ to = "10.0.1.0/24", via = "10.0.2.1" }] }
            t = { tun = "10.7.0.1/24", routes = [{ to = "default", via = "10.7.0.9" }] }
            [[links]]
            ends = ["a", "b"]
            [[links]]
            ends = ["b", "c"]
        """
        planned = plan_of(text)
        assert [node.routes for node in planned.nodes] == [
            (RoutePlan(to="default", via="10.0.1.2"), RoutePlan(to="default6", via="fd00:0:0:1::2")),
            (),
            (RoutePlan(to="10.0.1.0/24", via="10.0.2.1"),),
            (RoutePlan(to="default", via="10.7.0.9"),),
        ]

    def test_routes_outside_a_nat_router_omit_its_inside_networks(self):
        text = """
            [nodes]
            pc = {}
            inner = { forward = true }
            home = { kind = "nat", outside = "isp", tun = "10.7.0.1/24", loopback = "192.0.2.1" }
            isp = { forward = true }
            web = {}
            [[links]]
            ends = ["pc", "inner"]
            [[links]]
            ends = ["inner", "home"]
            [[links]]
            ends = ["home", "isp"]
            [[links]]
            ends = ["isp", "web"]
        """
        planned = plan_of(text)
        assert planned.node("home").outside == "eth1"
        assert planned.node("isp").routes == (RoutePlan(to="192.0.2.1/32", via="10.0.3.1"),)
        assert planned.node("inner").routes == tuple(
            RoutePlan(to=to, via="10.0.2.2") for to in ("10.0.3.0/24", "10.0.4.0/24", "10.7.0.0/24", "192.0.2.1/32")
        )
        unreachable = {pair for pair, reached in reachable(planned).items() if not reached}
        assert unreachable == set(itertools.product(("isp", "web"), ("pc", "inner")))

    def test_nat_router_without_outside_key_uses_the_interface_toward_the_next_router(self):
        text = '[nodes]\npc={}\nn={kind="nat"}\nr={forward=true}\n[[links]]\nends=["pc","n"]\n[[links]]\nends=["n","r"]'
        assert plan_of(text).node("n").outside == "eth1"
        assert plan_of('[nodes]\nn={kind="nat"}\na={}\n[[links]]\nends=["n:x","a"]').node("n").outside == "x"

    def test_nat_router_is_the_default_gateway_of_inside_nodes_only(self):
        text = '[nodes]\npc={}\nn={outside="web"}\nweb={}\n[[links]]\nends=["pc","n"]\n[[links]]\nends=["n","web"]'
        assert plan_of(text).node("web").routes == ()
        assert plan_of(text).node("pc").routes == (RoutePlan(to="default", via="10.0.1.2"),)
