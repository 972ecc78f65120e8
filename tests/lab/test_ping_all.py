"""Tests of `Lab.ping_all` with routers, bridges, NAT, both IP versions, rate limits and netem, against `reachable`."""

import pytest
from hypothesis import given

from tests.topology.strategies import labs, sampled
from tunlab.errors import KernelError
from tunlab.kernel.network.neighbours import flush_neighbours
from tunlab.kernel.network.rtnl import Rtnl
from tunlab.kernel.probe import probe
from tunlab.lab import Lab
from tunlab.packet import ICMP, IPv4
from tunlab.topology import reachable
from tunlab.topology.plan import Impairment

NAT = """
[nodes]
inside = {}
nat = { kind = "nat", outside = "outside" }
outside = {}
[[links]]
ends = ["inside", "nat"]
[[links]]
ends = ["nat", "outside"]
"""

TWO_SWITCHES = """
[nodes]
a = {}
b = {}
one = { kind = "switch" }
two = { kind = "switch" }
[[links]]
ends = ["a", "one"]
[[links]]
ends = ["one", "two"]
[[links]]
ends = ["two", "b"]
"""

DUAL_STACK = """
ip = "both"
[nodes]
a = {}
r1 = { forward = true }
r2 = { forward = true }
b = {}
[[links]]
ends = ["a", "r1"]
[[links]]
ends = ["r1", "r2"]
[[links]]
ends = ["r2", "b"]
"""


def bridge_of(count):
    """Return a lab file with a bridge between the hosts h0, h1, …"""
    names = [f"h{number}" for number in range(count)]
    return "[nodes]\n" + "".join(f"{name} = {{}}\n" for name in names) + f"[[links]]\nends = {names}\n"


def assert_matches_prediction(lab: Lab):
    predicted = reachable(lab.plan)
    assert lab.ping_all() == predicted
    return predicted


class TestPingAll:
    @pytest.mark.parametrize(
        "text", [bridge_of(4), TWO_SWITCHES, DUAL_STACK], ids=["bridge", "two switches", "both IP versions"]
    )
    def test_ping_all_results_equal_predicted_reachability(self, text):
        with Lab.from_text(text) as lab:
            predicted = assert_matches_prediction(lab)
            assert predicted
            assert all(predicted.values())

    def test_ping_program_reaches_a_dual_stack_node_over_each_ip_version(self):
        with Lab.from_text(DUAL_STACK) as lab:
            for address, family in (("10.0.3.2", "-4"), ("fd00:0:0:3::2", "-6")):
                assert lab["b"].addresses.count(address) == 1
                lab["a"].run(["ping", family, "-c", "1", "-W", "5", address], check=True, capture_output=True)

    def test_nat_inside_node_is_unreachable_and_its_packets_are_masqueraded(self):
        with Lab.from_text(NAT) as lab:
            predicted = assert_matches_prediction(lab)
            assert (predicted["inside", "outside"], predicted["outside", "inside"]) == (True, False)
            with lab["outside"].capture() as capture:
                lab["inside"].run(["ping", "-c", "1", lab["outside"].address], check=True, capture_output=True)
                request = capture.expect(ICMP.where(type=8))
                assert request.ip.src == lab["nat"].interface("eth1").addresses[0].partition("/")[0]
                capture.expect(IPv4.where(dst=request.ip.src), ICMP.where(type=0))

    @pytest.mark.slow
    def test_ping_all_of_40_nodes_fills_less_than_half_of_the_neighbour_table(self):
        with Lab.from_text(bridge_of(40)) as lab:
            assert len(reached := lab.ping_all()) == 40 * 39
            assert all(reached.values())
            entries = [len(lab[f"h{number}"].rtnl.neighbours()) for number in range(40)]
            assert 0 < sum(entries) < 512  # all namespaces share a neighbour table of 1,024 entries

    @pytest.mark.slow
    @given(labs(link_keys=({}, {"mtu": 1400})))
    @sampled(60)
    def test_ping_all_of_random_labs_equals_predicted_reachability(self, lab):
        with Lab.from_text(lab.text) as running:
            assert_matches_prediction(running)

    def test_ping_all_of_a_single_node_returns_no_results(self):
        with Lab.from_text('[nodes]\na = { tun = "10.9.0.1/24" }\n') as lab:
            assert lab.ping_all() == {}

    def test_flush_neighbours_empties_the_neighbour_table(self):
        with Lab.from_text(bridge_of(3)) as lab:
            lab.ping_all()
            with Rtnl(lab["h0"].netns) as rtnl:
                assert len(rtnl.neighbours()) == 2
                assert flush_neighbours(rtnl) == 2
                assert rtnl.neighbours() == []


class TestImpairments:
    def test_rate_limit_drops_packets_of_a_burst_until_the_limit_is_removed(self):
        """Send a burst of 200 packets: only those that fit in the token bucket and its queue pass."""
        lab = Lab("slow")
        lab.node("a")
        lab.node("b")
        lab.link({"node": "a", "rate": "1mbit"}, "b")
        with lab:
            receiver = lab["b"].socket(type=2)
            receiver.bind(("", 9))
            receiver.setblocking(False)
            sender = lab["a"].socket(type=2)
            lab.ping_all()  # learn the MAC addresses, so that no packet waits for ARP
            for _ in range(200):
                sender.sendto(bytes(1000), (lab["b"].address, 9))
            link = lab["a"].rtnl.link("eth0")
            # The queue holds 6,250 bytes and the token bucket 3,036; a few more packets pass while the bucket refills.
            assert link.tx_packets < 100
            lab["a"].set_link(impairment=Impairment())
            before = lab["a"].rtnl.link("eth0").tx_packets
            for _ in range(50):
                sender.sendto(bytes(1000), (lab["b"].address, 9))
            assert lab["a"].rtnl.link("eth0").tx_packets == before + 50

    def test_lab_with_delay_raises_kernel_error_on_a_kernel_without_netem(self, machine):
        has_netem = next(each.ok for each in probe() if each.name == "qdisc netem")
        text = '[nodes]\na = {}\nb = {}\n[[links]]\nends = ["a", "b"]\ndelay = "20ms"\nloss = "1%"\n'
        if has_netem:
            with Lab.from_text(text) as lab:
                assert all(lab.ping_all().values())
            return
        with pytest.raises(KernelError) as caught, Lab.from_text(text):
            pass
        assert str(caught.value) == (
            "set delay and loss of the link a:eth0 - b:eth0 (a, and 1 more interfaces):"
            " this kernel has no netem (ENOENT). Load it with `modprobe sch_netem`, or use only rate, not delay,"
            " jitter, loss, reorder or duplicate."
        )
